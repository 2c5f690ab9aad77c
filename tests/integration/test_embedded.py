"""The embedded Postgres is closed to every other user of the machine, and opens nothing of theirs."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
import pytest

from ledger.errors import InvalidInputError
from services.cli.base.exits import Exit
from services.process.embedded import default_data_folder, embedded_postgres, is_running
from services.process.host import everything
from services.settings import load_settings
from tests.support.ports import free_port
from tests.support.server_process import shown_by_up

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


IMPATIENT: Final = """
from services.cli.entry import main
from services.cli.local import server

server._RESTART_SECONDS = 0.5
main()
"""
"""The command, which gives Postgres no time to be started again."""


def test_a_service_ends_with_its_postgres_and_starts_again(folder: Path) -> None:
    environment = {**os.environ, "MOIETY_LISTEN": "127.0.0.1:0"}
    command = [sys.executable, "-c", IMPATIENT, "up", "--data", str(folder)]
    for ended in ("killed", "stopped by somebody else"):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as up:
            first = shown_by_up(up)
            assert ("Founded by" in first) == (ended == "killed")
            postgres = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
            os.kill(postgres, signal.SIGKILL if ended == "killed" else signal.SIGINT)
            _, said = up.communicate(timeout=120)
            assert (up.returncode, "it ended; start again" in said) == (Exit.SERVICE_AWAY, True), said


def test_a_first_start_that_fails_founds_nothing_whose_key_nobody_saw(folder: Path) -> None:
    anywhere = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0"}
    no_file = folder / "none.pem"
    with socket.socket() as taken, embedded_postgres(folder) as url:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address, one = f"127.0.0.1:{taken.getsockname()[1]}", f"127.0.0.1:{free_port()}"
        failing: list[tuple[dict[str, Any], str]] = [
            ({"listen": address}, "Address already in use"),
            ({"http_listen": address}, "Address already in use"),
            ({"listen": one, "http_listen": one}, "Address already in use"),
            ({"tls_certificate_file": no_file, "tls_key_file": no_file}, "cannot be read"),
        ]
        for wrong, reason in failing:
            settings = load_settings(**{**anywhere, **wrong})
            with pytest.raises(InvalidInputError, match=reason), everything(settings, folder, url):
                pass
        with everything(load_settings(**anywhere), folder, url) as running:
            assert list(running.founders_keys) == ["operators/first"]


def test_a_postgres_that_takes_no_more_connections_is_running(folder: Path) -> None:
    url = f"postgresql://postgres:@/postgres?host={folder}"
    assert not is_running(url)
    with socket.socket(socket.AF_UNIX) as silent, ExitStack() as waiting:
        silent.bind(str(folder / ".s.PGSQL.5432"))
        assert not is_running(url)
        silent.listen(1)
        for _ in range(4):
            another = waiting.enter_context(socket.socket(socket.AF_UNIX))
            another.setblocking(False)
            with suppress(BlockingIOError):
                another.connect(str(folder / ".s.PGSQL.5432"))
        assert is_running(url)


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


@pytest.mark.parametrize("locale", ["xx_XX.UTF-8", "en_US.ISO-8859-1", "C"])
def test_a_locale_that_the_machine_lacks_does_not_matter(
    folder: Path, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    with embedded_postgres(folder) as url, psycopg.connect(url) as connection:
        found = connection.execute("SELECT datcollate, datctype, pg_encoding_to_char(encoding) FROM pg_database")
        assert set(found) == {("C", "C", "UTF8")}


def test_a_first_start_may_be_killed_at_any_moment(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from services.process.embedded import embedded_postgres\n"
        "with embedded_postgres(Path(sys.argv[1])): pass"
    )
    starting = subprocess.Popen([sys.executable, "-c", code, folder])
    try:
        while not list(folder.glob("postgres*/PG_VERSION")):
            assert starting.poll() is None
            time.sleep(0.01)
    finally:
        starting.kill()  # its initdb goes on
        starting.wait()
    with embedded_postgres(folder) as url:
        psycopg.connect(url).close()
    while sorted(path.name for path in folder.iterdir()) != ["lock", "postgres"]:
        with embedded_postgres(folder):  # where that initdb still wrote, the next start clears it away
            pass


def test_a_start_that_its_whole_group_is_told_to_end_leaves_no_postgres(folder: Path) -> None:
    """As `timeout` and terminals do: what starts Postgres for us is not ended before it has."""
    command = [
        sys.executable,
        "-m",
        "services.cli",
        "up",
        "--data",
        str(folder),
        "--listen",
        "127.0.0.1:0",
        "--http",
        "",
    ]
    starting = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not (folder / "postgres/postmaster.pid").exists():
            assert starting.poll() is None
            time.sleep(0.005)
        os.killpg(starting.pid, signal.SIGTERM)
        assert starting.wait(60) == Exit.OK
    finally:
        starting.kill()
        starting.wait()
    assert not (folder / "postgres/postmaster.pid").exists()


@pytest.mark.parametrize("leads", ["file", "nowhere", "elsewhere"])
def test_what_lies_in_place_of_the_files_is_named_and_stays(folder: Path, leads: str) -> None:
    files, other = folder / "postgres", folder / "other"
    other.mkdir(mode=0o755)
    (other / "kept").touch()
    if leads == "file":
        files.touch()
    else:
        files.symlink_to(other if leads == "elsewhere" else "none/there")
    before = other.stat()
    reason = re.escape("data: cannot be used: [Errno ") + f".*{folder}"
    with pytest.raises(InvalidInputError, match=reason), embedded_postgres(folder):
        pass
    assert (other.stat().st_uid, other.stat().st_mode) == (before.st_uid, before.st_mode)
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "other", "postgres"]


def test_files_of_another_postgres_are_refused_by_their_version(folder: Path) -> None:
    with embedded_postgres(folder):
        pass
    (folder / "postgres" / "PG_VERSION").write_text("15\n")
    with (
        pytest.raises(InvalidInputError, match=r"is of Postgres 15; this installation brings 1[0-9]$"),
        embedded_postgres(folder),
    ):
        pass


def test_a_user_without_a_home_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(InvalidInputError, match="data: must be named"):
        default_data_folder()
