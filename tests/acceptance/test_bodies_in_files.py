"""`moiety up` keeps large bodies in files: a kill loses none, and who reads without them is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np

from ledger.store.logs.bodies import ELSEWHERE_BYTES
from moiety import Client, Collective, Method, Mode, Platform, Policy, Pool, UsageEvent, batch_of
from moiety.keys import make_key
from services.cli.base.exits import Exit
from tests.support.console import SECRET
from tests.support.scene import METHOD, NOON, POOL
from tests.support.server_process import shown_by_up

ROOT: Final = Path(__file__).parents[2]
EVENTS: Final = 4_000
"""With ids at random, whose body is then larger than what stays in Postgres."""


@contextmanager
def up(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`moiety up` in a folder, and what it printed."""
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(folder), "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*command, "--http", ""], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process, shown_by_up(process)
        finally:
            process.terminate()


def address_in(printed: str) -> str:
    (line,) = (line for line in printed.splitlines() if line.startswith("listening on"))
    return line.split()[-1]


def large() -> list[UsageEvent]:
    ids = np.random.default_rng(1).bytes(16 * EVENTS)
    return [
        UsageEvent(UUID(bytes=ids[16 * n : 16 * n + 16]), NOON, 1, Mode.AI_ONLY, {"irish": 600_000_000})
        for n in range(EVENTS)
    ]


def fsck(folder: Path, bodies_url: str) -> tuple[int, str]:
    """Its exit status, and what it said to the operator of this database."""
    url = f"postgresql://postgres:@/postgres?host={folder / 'postgres'}"
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "db", "fsck"],
        env={**os.environ, "MOIETY_DATABASE_OWNER_URL": url, "MOIETY_BODIES_URL": bodies_url},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_large_bodies_lie_in_files_that_outlive_a_kill(own_folder: Path) -> None:
    with up(own_folder) as (process, printed):
        (secret,) = SECRET.findall(printed)
        platform_key = make_key()
        with Client(address_in(printed), secret) as operator:
            operator.create_platform("tunesmith", Platform(display_name="tunesmith"))
            operator.create_collective("irish", Collective(display_name="irish", members=1))
            opened = Pool(display_name=POOL, currency="EUR", policy=Policy(), platforms=["platforms/tunesmith"])
            operator.create_pool(POOL, opened)
            operator.create_method(POOL, METHOD, Method(display_name=METHOD, confidence_ppm=1_000_000))
            operator.create_api_key("platforms/tunesmith", platform_key.hash)
        with Client(address_in(printed), platform_key.text) as platform:
            platform.submit_usage(POOL, batch_of(large()), METHOD, batch_id="large")
            platform.submit_usage(POOL, batch_of(large()[:1]), METHOD, batch_id="small")
        process.kill()
        process.wait()
    files = [path for path in (own_folder / "bodies").rglob("*") if path.is_file()]
    assert [path.stat().st_size >= ELSEWHERE_BYTES for path in files] == [True]
    assert (own_folder / "bodies").stat().st_mode & 0o077 == 0
    with up(own_folder) as (_, printed):
        with Client(address_in(printed), platform_key.text) as platform:
            (again,) = platform.submit_usage(POOL, batch_of(large()), METHOD, batch_id="large")
            assert (again.accepted_count, again.duplicate_count) == (EVENTS, 0)
        code, said = fsck(own_folder, "")
        assert (code, "MOIETY_BODIES_URL is empty" in said) == (Exit.SERVICE_AWAY, True), said
        code, said = fsck(own_folder, (own_folder / "bodies").as_uri())
        assert code == Exit.OK, said
