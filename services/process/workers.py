"""Several server processes on one port: `moiety serve` where MOIETY_WORKERS is more than one.

Python runs one thread at a time, so one process serves small calls on one processor. Workers are whole servers that
share nothing but the port, over which the kernel spreads connections (SO_REUSEPORT), and the database.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Final

import structlog

from ledger.errors import InvalidInputError
from services.process.host import serving, until_stopped
from services.process.logs import configure_logs
from services.process.memory import collect_less_often
from services.settings import PREFIX, Settings, load_settings

logger: Final = structlog.get_logger("moiety.workers")


@dataclass
class Workers:
    """The processes, and where they listen. `ended` has the exit code of each that ended before it was told to."""

    address: str
    ended: list[int] = field(default_factory=list)


@contextmanager
def working(settings: Settings, stopped: Event) -> Iterator[Workers]:
    """The settings' number of workers, all of which serve. `stopped` is set where one ends; at the end all drain.

    Raises:
        InvalidInputError: the address cannot be listened on or a worker does not start, which has logged why.
    """
    with ExitStack() as stack:
        workers = Workers(stack.enter_context(_held_port(settings.listen)))
        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(_drain, processes)
        processes.extend(_start(workers.address) for _ in range(settings.workers))
        for process in processes:
            if not (process.stdout and process.stdout.readline()):
                raise InvalidInputError.of("MOIETY_WORKERS", f"one did not start: exit code {process.wait()}")
        told = Event()
        stack.callback(told.set)
        for process in processes:
            Thread(target=_watch, args=(process, workers, told, stopped), daemon=True).start()
        yield workers


def _watch(process: subprocess.Popen[bytes], workers: Workers, told: Event, stopped: Event) -> None:
    code = process.wait()
    if not told.is_set():
        logger.error("a worker ended", process=process.pid, exit_code=code)
        workers.ended.append(code)
        stopped.set()


@contextmanager
def _held_port(listen: str) -> Iterator[str]:
    """The address with a port of its own: a free one where it says 0. Held without listening, until the end."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        held = socket.socket(family, kind, protocol)
        with held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(address)
            yield f"{host}:{held.getsockname()[1]}"
    except OSError as error:
        raise InvalidInputError.of("MOIETY_LISTEN", f"{listen} cannot be listened on: {error.strerror}") from None


def _start(address: str) -> subprocess.Popen[bytes]:
    """A worker. The end of its standard input tells it to stop, so that it does not outlive this process."""
    return subprocess.Popen(
        [sys.executable, "-m", "services.process.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, f"{PREFIX}LISTEN": address},
        start_new_session=True,  # Ctrl-C is for the one that tells them
    )


def _drain(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.stdin:
            process.stdin.close()
    for process in processes:
        process.wait()
        if process.stdout:
            process.stdout.close()


def main() -> None:
    """Be a worker: serve, say so in a line, and stop at the end of standard input."""
    settings = load_settings()
    configure_logs(settings)
    with until_stopped() as stopped, serving(settings) as running:
        collect_less_often()
        print(running.address, flush=True)  # noqa: T201  # it is for the process that waits for it
        Thread(target=_at_end_of_input, args=(stopped.set,), daemon=True).start()
        stopped.wait()


def _at_end_of_input(do: Callable[[], None]) -> None:
    sys.stdin.read()
    do()


if __name__ == "__main__":
    main()
