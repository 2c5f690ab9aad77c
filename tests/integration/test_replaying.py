"""Replays whose batches are weighed by processes: the same verdicts as without, and what becomes of the processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Final

import pytest
import sqlalchemy as sa

from audit.batches.weighing import Weighing
from audit.replay import Verdict, replay_round
from audit.store.stored_log import StoredLog
from ledger.errors import StoreUnavailableError
from ledger.log.leaves import decode
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.logs.objects import open_bodies
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.calls import Work, work_of_call
from ledger.store.postgres.database import Address
from ledger.usage.entries import UsageContent
from moiety import Mode, Policy, batch_of
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from services.replaying import process, processes
from services.replaying.process import Source
from services.replaying.processes import Processes, Replaying
from tests.support.books import execute
from tests.support.deployment import Deployment
from tests.support.pool_log import verdict_of
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene

pytestmark = pytest.mark.surface

FIRST_BATCH: Final = 3
"""The leaf of the first of three batches in a row."""


@pytest.fixture(autouse=True)
def _all_are_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "APART_FROM_BYTES", 0)


@pytest.fixture(scope="module")
def replaying() -> Iterator[Replaying]:
    """Processes that can be forked at once."""
    opened = Replaying()
    assert opened.load(None)
    yield opened
    opened.close()


def settle(deployment: Deployment) -> Scene:
    """Two rounds over batches that name other collectives in other modes, with duplicates, and one that waits."""
    scene = open_scene(deployment, policy=Policy(fee_ppm=100_000))
    scene.pay_in(1000, "r-1")
    scene.submit([*events(range(10)), event(3), event(20, mode=Mode.HUMAN_AI, shares={"breton": 5})], "b-1")
    scene.submit(events(range(100, 140)), "b-2")
    scene.submit([event(200, shares={"breton": 7}), event(100)], "b-3")
    scene.cut("q-1")
    scene.pay_in(500, "r-2")
    scene.platform.submit_usage(POOL, batch_of(events(range(30, 50))), METHOD)
    scene.submit([event(300, mode=Mode.HUMAN_AI)], "b-5")
    scene.cut("q-2")
    return scene


def replayed(scene: Scene, number: int, replaying: Replaying | None) -> Verdict:
    """The verdict on a round, by processes if they are given."""
    parts = scene.deployment.running.parts
    with parts.database.reading() as connection:
        pool = pool_ref(connection, POOL)
    log = StoredLog(parts.database, pool, parts.bodies)
    with ExitStack() as stack:
        weighing: Weighing | None = None
        if replaying:
            source = Source(parts.database.address, pool, scene.deployment.settings.bodies_url)
            weighing = stack.enter_context(replaying.weighing(source))
        registry = StoredLog(parts.database, REGISTRY, parts.bodies)
        return verdict_of(replay_round(log, registry, round_leaf(scene, number), weighing=weighing))


def round_leaf(scene: Scene, number: int) -> int:
    return int(scene.operator.get_round(POOL, number).leaf_index)


def test_rounds_replay_to_the_same_match(deployment: Deployment, replaying: Replaying) -> None:
    scene = settle(deployment)
    for number in (1, 2):
        verdict = replayed(scene, number, replaying)
        assert verdict == replayed(scene, number, None)
        assert verdict.finding is None


TAMPERED: Final = [
    "UPDATE body SET bytes = set_byte(bytes, 300, 77) FROM batch WHERE sha256 = body_sha256 AND leaf_index = 4",
    "DELETE FROM body USING batch WHERE sha256 = body_sha256 AND leaf_index IN (4, 5)",
    "DELETE FROM leaf WHERE leaf_index = 5 AND pool_id = 1",
    "UPDATE leaf SET hash = sha256(hash) WHERE leaf_index = 4 AND pool_id = 1",
]


@pytest.mark.parametrize("statement", TAMPERED)
def test_the_same_is_found(deployment: Deployment, owner: sa.Engine, replaying: Replaying, statement: str) -> None:
    scene = settle(deployment)
    assert execute(owner, statement)
    verdict = replayed(scene, 1, replaying)
    assert verdict.finding is not None
    assert verdict.finding == replayed(scene, 1, None).finding


def test_bodies_elsewhere_are_read_there(
    deploy: Callable[..., Deployment], replaying: Replaying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.store.logs.bodies.ELSEWHERE_BYTES", 1)
    url = (tmp_path / "objects").as_uri()
    scene = settle(deploy(bodies_url=url))
    assert open_bodies(url).are_elsewhere(b"x")
    assert replayed(scene, 2, replaying).finding is None
    assert any(path.is_file() for path in (tmp_path / "objects").rglob("*"))


def test_a_process_that_is_killed_ends_the_replay_and_not_the_next(
    deployment: Deployment, replaying: Replaying, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = settle(deployment)
    begin = Processes.begin

    def killed(self: Processes, leaf_index: int, content: object) -> object:
        begun = begin(self, leaf_index, content)  # type: ignore[arg-type]
        assert leaf_index > FIRST_BATCH or waiting(2) == 2
        kill_forked()
        return begun

    monkeypatch.setattr(Processes, "begin", killed)
    with pytest.raises(StoreUnavailableError):
        replayed(scene, 1, replaying)
    monkeypatch.undo()
    assert replayed(scene, 1, replaying).finding is None


def test_nobody_waits_for_a_process_once_the_call_is_given_up(deployment: Deployment, replaying: Replaying) -> None:
    work, scene = Work(), settle(deployment)
    source, content = first_batch(scene)
    given = work_of_call.set(work)
    with replaying.weighing(source) as weighing:
        work_of_call.reset(given)
        first = weighing.begin(FIRST_BATCH, content)
        assert first is not None
        assert (first().accepted, waiting(2)) == (content.accepted, 2)
        for each in forked():
            os.kill(each, signal.SIGSTOP)
        waited = weighing.begin(FIRST_BATCH, content)
        assert waited is not None
        work.give_up()
        with pytest.raises(StoreUnavailableError):
            waited()
        kill_forked()


def first_batch(scene: Scene) -> tuple[Source, UsageContent]:
    """Where its body is, and what its leaf says of it."""
    parts = scene.deployment.running.parts
    with parts.database.reading() as connection:
        source = Source(parts.database.address, pool_ref(connection, POOL), "")
    (encoded,) = StoredLog(parts.database, source.pool, parts.bodies).leaves(FIRST_BATCH, FIRST_BATCH + 1)
    return source, decode(encoded.entry, {UsageContent.type: UsageContent}).content


def forked() -> list[int]:
    """The processes of replays, which are children of a child of this one."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                named = b"services.replaying" in (folder / "cmdline").read_bytes()
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if named:
                parents[int(folder.name)] = parent
    return [found for found, parent in parents.items() if parents.get(parent) == os.getpid()]


def kill_forked() -> None:
    for each in forked():
        with suppress(ProcessLookupError):  # it was killed before, and is gone since it was listed
            os.kill(each, signal.SIGKILL)


def weighed(replaying: Replaying, source: Source, content: UsageContent) -> set[int]:
    """The processes that a batch was weighed by one of, in a replay that came to its end."""
    with replaying.weighing(source) as weighing:
        waited = weighing.begin(FIRST_BATCH, content)
        assert waited is not None
        assert (waited().accepted, waiting(2)) == (content.accepted, 2)
        return set(forked())


def test_processes_are_kept_for_the_next_replay_and_forget_the_last(
    deployment: Deployment, replaying: Replaying
) -> None:
    source, content = first_batch(settle(deployment))
    first = weighed(replaying, source, content)
    with replaying.weighing(source) as weighing:
        waited = weighing.begin(FIRST_BATCH, content)
        assert waited is not None
        assert (waited().accepted, set(forked())) == (content.accepted, first)
        assert sum(len(summed.parts) for summed in weighing.sums()) == 2


@pytest.mark.parametrize("how", ["killed", "too late", "given up"])
def test_those_that_may_not_be_there_are_replaced(
    deployment: Deployment, replaying: Replaying, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    source, content = first_batch(settle(deployment))
    first = weighed(replaying, source, content)
    match how:
        case "killed":
            killed = min(first)
            os.kill(killed, signal.SIGKILL)
            assert comes_true(lambda: not Path(f"/proc/{killed}").exists())
        case "too late":
            monkeypatch.setattr(processes, "KEPT_SECONDS", 0)
        case _:
            with suppress(KeyboardInterrupt), replaying.weighing(source) as weighing:
                assert weighing.begin(FIRST_BATCH, content)
                raise KeyboardInterrupt
    weighed(replaying, source, content)
    assert comes_true(lambda: len(forked()) == 2 and not first & set(forked()))


def test_a_process_that_nobody_asks_for_anything_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ENDS_AFTER_SECONDS", 0.01)
    server, theirs = socket.socketpair()
    dealing, dealt = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with server, dealing, dealt:
        process.work(Connection(theirs.detach()), dealt)


def test_a_process_does_not_end_within_a_replay_however_long_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may take in a long registry's log, or calculate a round over millions, before it asks again."""
    monkeypatch.setattr(process, "ENDS_AFTER_SECONDS", 0.01)
    server, theirs = socket.socketpair()
    dealing, dealt = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with Connection(server.detach()) as said, dealing, dealt:
        said.send(Source(Address("postgresql://nowhere", None, pooler=False), PoolRef(1, POOL, "EUR"), ""))
        working = Thread(target=process.work, args=(Connection(theirs.detach()), dealt))
        working.start()
        working.join(0.2)
        said.send(process.Ask.TAKE)
        working.join(0.2)
        said.send(process.Ask.SUM)
        assert said.recv().parts == []
        said.send(process.Ask.REST)
        working.join(10)
        assert not working.is_alive()


def test_one_replay_has_processes_at_a_time(deployment: Deployment, replaying: Replaying) -> None:
    source, content = first_batch(settle(deployment))
    with replaying.weighing(source) as first, replaying.weighing(source) as second:
        waited = first.begin(FIRST_BATCH, content)
        assert waited is not None
        assert second.begin(FIRST_BATCH, content) is None
        assert (waited().accepted, waiting(2)) == (content.accepted, 2)
        assert sorted(len(summed.parts) for summed in first.sums()) == [0, 2]
        assert second.sums() == []


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it does within some seconds."""
    ends = time.monotonic() + 10
    while not condition() and time.monotonic() < ends:
        time.sleep(0.02)
    return condition()


def waiting(count: int) -> int:
    """How many processes there are, once there are so many; or after some seconds."""
    comes_true(lambda: len(forked()) == count)
    return len(forked())


def test_replays_over_the_contract_have_processes_once_these_can_be_forked(deployment: Deployment) -> None:
    scene = settle(deployment)
    for _ in range(3):
        assert scene.operator.replay_round(POOL, 2).outcome == REPLAY_OUTCOME_MATCH
