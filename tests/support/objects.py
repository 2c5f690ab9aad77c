"""A real S3 of this machine: Moto's server, from an environment of its own that `make s3` sets up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

SERVER: Final = Path(sys.prefix) / "s3" / "bin" / "moto_server"
BUCKET: Final = "moiety"


def require_s3() -> None:
    """Skip the test, and say so, where the server is not installed; fail where peers are required."""
    if not SERVER.exists():
        reason = "an S3 server is not installed: run make s3"
        (pytest.fail if os.environ.get("MOIETY_REQUIRE_PEERS") else pytest.skip)(reason)


@contextmanager
def s3_server(*, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The endpoint's URL and the process of an S3 server that has one empty bucket."""
    command = [str(SERVER), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            found = None
            while found is None and (line := process.stderr.readline()):
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert found
            request = urllib.request.Request(f"{found[0]}/{BUCKET}", method="PUT")  # our own server
            with urllib.request.urlopen(request):
                pass
            yield found[0], process
        finally:
            process.kill()
