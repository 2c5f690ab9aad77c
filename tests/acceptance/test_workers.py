"""`moiety serve` in several processes on one port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import sqlalchemy as sa
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moiety import Client
from tests.support.books import require_sound_log, row_counts, wait_until
from tests.support.deployment import START, Deployment, SteppedClock, found_for_tests
from tests.support.http import ask
from tests.support.programs import children_of, is_alive
from tests.support.scene import METHOD, POOL, Scene, events, open_scene

WORKERS: Final = 2


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@contextmanager
def serving(
    database_url: str, listen: str = "127.0.0.1:0", folder: Path | None = None, workers: int = WORKERS
) -> Iterator[subprocess.Popen[str]]:
    found_for_tests(database_url, SteppedClock(START))
    with started(database_url, listen, folder, workers) as process:
        yield process


@contextmanager
def started(
    database_url: str, listen: str = "127.0.0.1:0", folder: Path | None = None, workers: int = WORKERS
) -> Iterator[subprocess.Popen[str]]:
    chosen = {"MOIETY_DATABASE_URL": database_url, "MOIETY_LISTEN": listen, "MOIETY_WORKERS": str(workers)}
    command = [sys.executable, "-P", "-m", "services.cli", "serve"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env={**os.environ, **chosen}, stdout=pipe, stderr=pipe, text=True, cwd=folder
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line.removeprefix("listening on ").strip()


def http_address_of(process: subprocess.Popen[str]) -> str:
    """What it says in its second line."""
    assert process.stdout is not None
    return process.stdout.readline().rpartition("/")[2].strip()


def test_all_workers_take_usage_in_and_drain_when_told_to(scene: Scene, database_url: str, owner: sa.Engine) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    with serving(database_url) as process:
        address = address_of(process)
        workers = children_of(process.pid)
        assert len(workers) == WORKERS

        def submit(place: int) -> int:
            with Client(address, key) as client:
                usage = events(range(10 * place, 10 * place + 10))
                return client.submit_events(POOL, usage, METHOD, batch_id=f"b-{place}").accepted_count

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(submit, range(24))) == [10] * 24
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
        assert not any(map(is_alive, workers))
    counts = row_counts(owner)
    assert (counts["batch"], counts["event"]) == (24, 240)
    require_sound_log(owner, POOL)


@pytest.mark.parametrize("house", ["services", "ledger", "payout"])
def test_foreign_packages_in_the_current_folder_are_not_run(database_url: str, tmp_path: Path, house: str) -> None:
    for room in (house, f"{house}/process", f"{house}/store"):
        (tmp_path / room).mkdir()
        trap = "import pathlib; pathlib.Path('ran').touch(); print('127.0.0.1:1', flush=True)"
        (tmp_path / room / "__init__.py").write_text(trap)
    (tmp_path / "services" / "process").mkdir(parents=True, exist_ok=True)
    (tmp_path / "services" / "process" / "workers.py").write_text(trap)
    with serving(database_url, folder=tmp_path) as process:
        with grpc.insecure_channel(address_of(process)) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=120).status
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
    assert not (tmp_path / "ran").exists()


def test_a_worker_that_ends_is_started_again_while_the_others_go_on(scene: Scene, database_url: str) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    with serving(database_url) as process:
        address = address_of(process)
        first, second = children_of(process.pid)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(set(children_of(process.pid)) - {first, second}) == 1)
        assert is_alive(second)
        with Client(address, key) as client:
            assert client.submit_events(POOL, events(range(3)), METHOD, batch_id="b").accepted_count == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
        assert not is_alive(second)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not say where processes may run")
def test_as_many_workers_as_processors_keep_to_one_each(database_url: str) -> None:
    processors = os.sched_getaffinity(0)
    with serving(database_url, workers=len(processors)) as process:
        address_of(process)
        first, *others = children_of(process.pid)
        kept = os.sched_getaffinity(first)
        assert len(kept) == 1
        assert kept.union(*map(os.sched_getaffinity, others)) == processors

        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(set(children_of(process.pid)) - {first, *others}) == 1)
        (again,) = set(children_of(process.pid)) - {first, *others}
        wait_until(lambda: os.sched_getaffinity(again) == kept)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not say where processes may run")
def test_more_workers_than_processors_run_anywhere(database_url: str) -> None:
    processors = os.sched_getaffinity(0)
    with serving(database_url, workers=len(processors) + 1) as process:
        address_of(process)
        for worker in children_of(process.pid):
            assert os.sched_getaffinity(worker) == processors


@pytest.mark.parametrize(("before", "after"), [(2, 2), (1, 2), (2, 1)])
def test_the_port_of_a_server_that_just_ended_is_taken_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    monkeypatch.setenv("MOIETY_DRAIN_SECONDS", "1")  # connections that say nothing would keep it waiting
    with serving(database_url, workers=before) as process:
        listen = address_of(process)
        host, _, port = listen.rpartition(":")
        connections = [socket.create_connection((host, int(port))) for _ in range(8)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
    for connection in connections:
        connection.close()
    with serving(database_url, listen, workers=after) as again:
        assert address_of(again) == listen


@pytest.mark.parametrize("workers", [1, 2])
def test_a_database_that_is_away_is_said_alike_by_any_number_of_workers(workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with started(f"postgresql://a:b@127.0.0.1:{port}/x", workers=workers) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 5
    assert out == ""
    assert "the database is not available" in err
    assert "Traceback" not in err


def test_workers_do_not_outlive_a_killed_parent(database_url: str) -> None:
    with serving(database_url) as process:
        address_of(process)
        workers = children_of(process.pid)
        process.kill()
        wait_until(lambda: not any(map(is_alive, workers)))


def test_a_taken_port_is_named(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving(database_url, listen) as process:
            out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "MOIETY_LISTEN" in out + err


def test_health_is_answered_on_the_shared_port(database_url: str) -> None:
    with serving(database_url) as process, grpc.insecure_channel(address_of(process)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=120)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_each_worker_tells_prometheus_what_all_have_counted(scene: Scene, database_url: str) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    with serving(database_url) as process:
        address, http_address = address_of(process), http_address_of(process)
        for number in range(12):  # on connections of their own, which the kernel spreads
            with Client(address, key) as client:
                client.submit_events(POOL, events([number]), METHOD, batch_id=f"b{number}")
        line = "moiety_intake_batches_total 12.0"
        assert all(line in ask(http_address, "/metrics").text for _ in range(6))
        assert ask(http_address, "/readyz").status == 200
