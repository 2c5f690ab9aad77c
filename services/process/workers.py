"""Several server processes on one port: `moiety serve` if MOIETY_WORKERS is more than one.

Python runs one thread at a time, so one process serves small calls on one processor. Workers are complete servers that
share only the port, over which the kernel distributes connections (SO_REUSEPORT), and the database. Where there are as
many as processors, each keeps to one of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Final

import structlog

from ledger.errors import BusyError, InvalidInputError, LedgerError, StoreUnavailableError
from services.metrics import SHARED_FOLDER, forget_worker
from services.process.host import serving
from services.process.listening import bound_socket
from services.process.logs import configure_logs
from services.process.memory import collect_less_often
from services.process.stopping import CUT_OFF, until_stopped
from services.processors import keep_to_one
from services.settings import PREFIX, Settings, load_settings

logger: Final = structlog.get_logger("moiety.workers")


FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A worker that ends is restarted after a pause, which doubles each time, and starts over after this long."""
_CANNOT_SERVE: Final = 2
_DATABASE_AWAY: Final = 5
"""Exit statuses by which a worker tells its parent why it does not serve; the same as the command's."""
_STOP: Final = b"s"
"""What a worker reads that is to stop."""


@contextmanager
def working(settings: Settings) -> Iterator[tuple[str, str]]:
    """The settings' number of workers, all of which serve at the addresses that this gives; at the end all drain.

    The first address is that of gRPC, and the second of HTTP, which is empty where there is none.

    A worker that ends before that is restarted while the others go on.

    Raises:
        InvalidInputError: the process cannot listen on the address, or a worker does not start, which has logged why.
        StoreUnavailableError: a worker does not start because it cannot reach the database.
    """
    with ExitStack() as stack:
        address = stack.enter_context(_held_port(settings.listen, "MOIETY_LISTEN"))
        http_address = ""
        if settings.http_listen:
            http_address = stack.enter_context(_held_port(settings.http_listen, "MOIETY_HTTP_LISTEN"))
        mtls_address = ""
        if settings.mtls_listen:
            mtls_address = stack.enter_context(_held_port(settings.mtls_listen, "MOIETY_MTLS_LISTEN"))
        counted = stack.enter_context(TemporaryDirectory(prefix="moiety-metrics-"))
        shared = {
            f"{PREFIX}HTTP_LISTEN": http_address,
            f"{PREFIX}MTLS_LISTEN": mtls_address,
            SHARED_FOLDER: counted,
        }
        told = Event()
        slots: list[_Slot] = []
        stack.callback(_drain, slots)
        stack.callback(told.set)
        slots.extend(_Slot(place, address, told, shared) for place in range(settings.workers))
        for slot in slots:
            if not slot.answers():
                raise _why(slot.process.wait())
        for slot in slots:
            Thread(target=slot.keep_up, daemon=True).start()
        yield address, http_address


class _Slot:
    """A worker's slot: the process in it, and after its end another one."""

    def __init__(self, place: int, address: str, told: Event, shared: Mapping[str, str]) -> None:
        self._place = place
        self._address = address
        self._shared = shared
        self._told = told
        self._lock = Lock()
        self.process = _start(place, address, shared)

    def answers(self) -> bool:
        """Returns whether the process reports that it listens at the address; waits until it does or ends."""
        return self.process.stdout is not None and self.process.stdout.readline().decode().strip() == self._address

    def keep_up(self) -> None:
        """Restart the worker whenever it ends, until told to stop."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            code = self.process.wait()
            forget_worker(self.process.pid, self._shared[SHARED_FOLDER])
            if self._told.is_set():
                return
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - began > STEADY_SECONDS else pause
            logger.error("a worker ended", process=self.process.pid, exit_code=code, restart_in_seconds=pause)
            if self._told.wait(pause):
                return
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            with self._lock:
                if self._told.is_set():
                    return
                started = self._start_again()
            if started and self.answers():
                logger.info("a worker serves again", process=self.process.pid)

    def _start_again(self) -> bool:
        """Whether another process was started: what killed the last one, such as a lack of memory, may prevent it."""
        try:
            following = _start(self._place, self._address, self._shared)
        except OSError as error:
            logger.error("a worker cannot be started", reason=error.strerror)  # noqa: TRY400  # the reason says it all
            return False
        _close(self.process)
        self.process = following
        return True

    def stop(self) -> None:
        """Make the process drain; `told` is set already, so that no other follows it."""
        with self._lock:
            if self.process.stdin:
                with suppress(OSError):  # it has ended
                    self.process.stdin.write(_STOP)
                    self.process.stdin.flush()


@contextmanager
def _held_port(listen: str, setting: str) -> Iterator[str]:
    """The address with a port of its own: a free one where it says 0. Held without listening, until the end."""
    with bound_socket(listen, setting, is_shared=True) as held:
        yield f"{listen.rpartition(':')[0]}:{held.getsockname()[1]}"


def _start(place: int, address: str, shared: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A worker, which is told its place among them.

    Its standard input tells it to stop, and so does the input's end: it does not outlive this process.
    """
    return subprocess.Popen(  # noqa: S603  # it is this program
        [sys.executable, "-P", "-m", "services.process.workers", str(place)],  # -P: whatever the current folder holds
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, f"{PREFIX}LISTEN": address, **shared},
        start_new_session=True,  # Ctrl-C is for the one that tells them
    )


def _why(exit_code: int) -> LedgerError:
    """Returns the error for a worker that ended before it served."""
    if exit_code == _DATABASE_AWAY:
        return StoreUnavailableError()
    return InvalidInputError.of("MOIETY_WORKERS", f"a worker did not start: exit status {exit_code}")


def _drain(slots: list[_Slot]) -> None:
    for slot in slots:
        slot.stop()
    ended = [slot.process.wait() for slot in slots]
    for slot in slots:
        _close(slot.process)
    if CUT_OFF in ended:  # of which that worker has told its log
        sys.exit(CUT_OFF)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()


def main(place: str) -> None:
    """Run a worker: serve, print the address, and stop at the end of standard input."""
    settings = load_settings()
    keep_to_one(int(place), settings.workers)
    configure_logs(settings)
    try:
        _serve(settings)
    except LedgerError as error:
        logger.error("a worker cannot serve", reason=str(error))  # noqa: TRY400  # it says what to do; a traceback does not
        sys.exit(_DATABASE_AWAY if isinstance(error, StoreUnavailableError | BusyError) else _CANNOT_SERVE)


def _serve(settings: Settings) -> None:
    with until_stopped(settings.drain_seconds) as stopped, serving(settings) as running:
        collect_less_often()
        print(running.address, flush=True)  # noqa: T201  # it is for the process that waits for it
        Thread(target=_obey, args=(sys.stdin.fileno(), stopped), daemon=True).start()
        stopped.wait()


def _obey(parent: int, stopped: Event) -> None:
    """Stop when the parent says so, or is gone. If it goes after that, it was ended at once, and so is this."""
    is_told = os.read(parent, 1)
    stopped.set()
    if is_told:
        os.read(parent, 1)
        os._exit(CUT_OFF)


if __name__ == "__main__":
    main(*sys.argv[1:])
