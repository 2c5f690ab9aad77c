"""The service as a process of its own, which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import grpc

from services.process.host import serving
from services.settings import load_settings
from tests.support.deployment import SteppedClock
from tests.support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
SERVE: Final = ("-m", "services.cli", "serve")


def shown_by_up(process: subprocess.Popen[str]) -> str:
    """What `moiety up` has printed once it runs; it must not end before."""
    assert process.stdout
    printed = ""
    for line in process.stdout:
        if line == "Press Ctrl-C to stop.\n":
            return printed
        printed += line
    raise AssertionError(f"it ended, with status {process.wait()}, and printed {printed!r}")


class ServerProcess:
    """`moiety serve` as a process of its own, always at the same address."""

    def __init__(
        self, database_url: str, *, command: Sequence[str] = SERVE, more: Mapping[str, str] | None = None
    ) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        own = {"MOIETY_DATABASE_URL": database_url, "MOIETY_LISTEN": self.address}
        self._command, self._environment = [sys.executable, *command], {**os.environ, **own, **(more or {})}
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with grpc.insecure_channel(self.address) as channel:
            grpc.channel_ready_future(channel).result(timeout=240)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is: its connections stay, and nothing comes of them."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, as `docker stop` does."""
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        return self._process.wait(timeout=120)


def serve_at(clock: SteppedClock) -> tuple[str, ...]:
    """The command of a server for which it is always the time that this clock shows now."""
    return "-m", __name__, clock().isoformat()


def main() -> None:
    """Serve at the time that the first argument says, until a signal ends it."""
    with serving(load_settings(), clock=SteppedClock(datetime.fromisoformat(sys.argv[1]))):
        signal.pause()


if __name__ == "__main__":
    main()
