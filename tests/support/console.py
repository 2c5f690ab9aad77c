"""The console sessions of the pages: their commands are run as they stand, and print what the pages show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from moiety import Client, NotFoundError

SECRET: Final = re.compile(r"moiety_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
SHORTENED_VKEY: Final = "localhost/moiety+..."
WAIT_SECONDS: Final = 240
"""How long the service may take for what it does by itself: the review time to pass, a checkpoint to be signed."""

_OF_CHECKPOINTS: Final = (
    "moiety log checkpoint", "moiety bundle", "moiety usage proof", "moiety statement", "moiety split files",
)  # fmt: skip
"""Commands that need a checkpoint of the log as it is."""

_MOIETY: Final = f"{sys.executable} -m services.cli"


def blocks(page: str, mark: str) -> list[list[str]]:
    """The lines of each fenced block after `<!-- mark -->`."""
    return [text.splitlines() for text in re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)```", page, re.DOTALL)]


def commands(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block, without its prompt, and the lines that the page shows of its output."""
    shown: list[str] = []
    command = ""
    for line in [*lines, "$ "]:
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line.removeprefix("$ "), []
        else:
            shown.append(line)


def require_lines(shown: list[str], printed: str) -> None:
    """Every shown line stands in what was printed, in order; `...` stands for the rest of a line, or its beginning."""
    remaining = iter(_plain(line) for line in printed.splitlines())
    for line in shown:
        assert any(_is_shown(found, _plain(line)) for found in remaining), f"{line!r} is not in:\n{printed}"


def _plain(line: str) -> str:
    return " ".join(line.split())


def _is_shown(found: str, line: str) -> bool:
    parts = [re.escape(part.strip()) for part in line.split("...")]
    return re.fullmatch(".*".join(parts), found) is not None


@dataclass
class Console:
    """A shell in `folder` beside a running `moiety up`, whose output was `printed`."""

    printed: str
    folder: Path
    key: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    """The key of each principal who was given one, by name."""

    def __post_init__(self) -> None:
        self.secrets |= dict(re.findall(r"key of (\S+) +(\S+)", self.printed))

    @property
    def vkey(self) -> str:
        """The deployment's public key."""
        found = re.search(r"localhost/moiety\+\S+", self.printed)
        assert found
        return found[0]

    @property
    def address(self) -> str:
        """Where the service listens."""
        found = re.search(r"127\.0\.0\.1:\d+", self.printed)
        assert found
        return found[0]

    def run_page(self, page: str) -> None:
        """Run the sessions of a page, and compare what they print with what it shows."""
        for lines in blocks(page, "session"):
            for command, shown in commands(lines):
                self._run(command, shown)

    def _run(self, command: str, shown: list[str]) -> None:
        if command == "moiety up &":
            require_lines([_without_port(line) for line in shown], self.printed)
            return
        if change := re.fullmatch(r"export MOIETY_API_KEY=moiety_\.\.\.  # (\S+)", command):
            self.key = self.secrets[change[1]]
            return
        done = self._shell(command)
        if command.startswith("moiety round approve"):
            # The policy's review time has to pass, as it does while a person types.
            deadline = time.monotonic() + WAIT_SECONDS
            while done.returncode and time.monotonic() < deadline:
                time.sleep(0.2)
                done = self._shell(command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        require_lines(shown, done.stdout)
        if issued := re.fullmatch(r"moiety key issue (\S+)", command):
            found = SECRET.search(done.stdout)
            assert found
            self.secrets[issued[1]] = found[0]

    def _shell(self, command: str) -> subprocess.CompletedProcess[str]:
        if command.startswith(_OF_CHECKPOINTS):
            self.wait_for_checkpoint()
        whole = command.replace(SHORTENED_VKEY, self.vkey)
        return self._bash(re.sub(r"^moiety ", f"{_MOIETY} ", whole))

    def wait_for_checkpoint(self, principal: str = "operators/first") -> None:
        """Until one is signed of the pool's log as it is."""
        deadline = time.monotonic() + WAIT_SECONDS
        with Client(self.address, self.secrets[principal]) as client:
            while client.get_log_head("folk").size != _signed_size(client):
                assert time.monotonic() < deadline, "no checkpoint was signed"
                time.sleep(0.1)

    def _bash(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MOIETY_ADDRESS": self.address, "MOIETY_API_KEY": self.key}
        return subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, env=environment, cwd=self.folder, check=False
        )


def _signed_size(client: Client) -> int | None:
    try:
        return client.get_checkpoint("folk").size
    except NotFoundError:
        return None


def _without_port(line: str) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:...", line)
