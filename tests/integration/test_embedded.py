"""The embedded Postgres is closed to every other user of the machine, and opens nothing of theirs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psycopg
import pytest

from services.process.embedded import embedded_postgres

pytestmark = pytest.mark.surface

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")

_OTHER_USER: Final = 65_534
_ALL_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder outside pytest's own, whose modes pytest sets again and again."""
    with TemporaryDirectory(prefix="moiety-test-") as made:
        yield Path(made)


def _socket_folder(url: str) -> Path:
    with psycopg.connect(url) as connection:
        (found,) = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
    return Path(found)


@pytest.mark.parametrize("name", ["data", "x" * 120, "with a 'quote, and more"])
def test_the_socket_lies_where_nobody_else_may_look(folder: Path, name: str) -> None:
    with embedded_postgres(folder / name) as url:
        there = _socket_folder(url)
        (socket,) = (path for path in there.iterdir() if path.is_socket())
        assert not stat.S_IMODE(there.stat().st_mode) & _ALL_MAY
        assert not stat.S_IMODE(socket.stat().st_mode) & _ALL_MAY
    assert not socket.exists()


@as_root
def test_another_user_cannot_connect_where_the_path_is_long(folder: Path) -> None:
    with embedded_postgres(folder / ("x" * 120)) as url:
        there = _socket_folder(url)
        found = subprocess.run(["ls", there], user=_OTHER_USER, group=_OTHER_USER, extra_groups=[], check=False)
    assert found.returncode != 0


def test_what_a_killed_process_left_running_is_taken_over(folder: Path) -> None:
    data = folder / ("x" * 120)
    code = (
        "import os, sys; from pathlib import Path; from services.process.embedded import embedded_postgres\n"
        "with embedded_postgres(Path(sys.argv[1])) as url: print(url, flush=True); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, data], check=False, capture_output=True, text=True)
    assert killed.returncode == 9
    with embedded_postgres(data) as url:
        assert url == killed.stdout.strip()
        assert _socket_folder(url).exists()
    assert not (data / "postgres" / "postmaster.pid").exists()


@as_root
def test_root_opens_no_private_folder_to_others(folder: Path) -> None:
    inner = folder / "private" / "inner"
    inner.mkdir(parents=True, mode=0o700)
    (folder / "private").chmod(0o700)
    (inner / "secret").write_text("for root alone")
    with embedded_postgres(inner / "data") as url:
        psycopg.connect(url).close()
    for private in (folder, folder / "private", inner):
        assert not private.stat().st_mode & stat.S_IRWXO, private
    for command in (["ls", str(inner)], ["cat", str(inner / "secret")]):
        done = subprocess.run(command, user=_OTHER_USER, group=_OTHER_USER, extra_groups=[], check=False)
        assert done.returncode != 0, command


def test_what_others_left_in_the_temporary_folder_does_not_matter(folder: Path) -> None:
    (folder / ".lockfile").mkdir()  # stands for one of another user: neither can be opened
    code = (
        "import sys; from pathlib import Path; from services.process.embedded import embedded_postgres\n"
        "with embedded_postgres(Path(sys.argv[1])) as url: print(url)"
    )
    env = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"} | {"TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code, folder / "data"], env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_connections_keep_the_memory_that_they_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1048576")
    with embedded_postgres(folder) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE said (line text)")
        connection.execute("COPY said FROM PROGRAM 'env'")
        found = connection.execute("SELECT line FROM said WHERE line LIKE 'MALLOC%' ORDER BY line").fetchall()
    # What whoever starts it has chosen stays.
    assert found == [("MALLOC_MMAP_THRESHOLD_=1048576",), ("MALLOC_TRIM_THRESHOLD_=16777216",)]
