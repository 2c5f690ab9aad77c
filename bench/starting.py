"""From an empty folder to the first usage: `moiety up`, and what an operator does before a platform can submit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import moiety
from bench.figures import Figure, timed
from bench.stage import CURRENCY, METHOD
from moiety import Client
from moiety.keys import make_key
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED


def measure(runs: int) -> list[Figure]:
    """Seconds until the receipt of the first event is there; and until the service listens, in the notes."""
    seconds, listening = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            until_listening, until_receipt = _first_usage(Path(folder))
        seconds.append(until_receipt)
        listening.append(until_listening)
    what = "first usage in, from an empty folder by `moiety up`"
    return [Figure("start", what, "", "s", seconds, [], 5, 3, lower=True, notes={"listening_seconds": listening})]


def _first_usage(folder: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(folder / "data"), "--json"]
    own = {"MOIETY_LISTEN": "127.0.0.1:0", "MOIETY_HTTP_LISTEN": "127.0.0.1:0"}
    with timed() as seconds:
        server = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            started = json.loads(_document(server.stdout))
            until_listening = seconds()
            _submit(started["address"], next(iter(started["keys"].values())))
            return until_listening, seconds()
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()


def _document(lines: Iterable[str]) -> str:
    """The lines of a JSON document that is printed over several of them."""
    read = ""
    for line in lines:
        read += line
        if line.startswith("}"):
            break
    return read


def _submit(address: str, operator_key: str) -> None:
    """Register a platform and a collective, open a pool, and have the platform submit an event."""
    key = make_key()
    with Client(address, operator_key) as operator:
        operator.create_platform("acme", moiety.Platform(display_name="Acme"))
        operator.create_api_key("platforms/acme", key.hash)
        operator.create_collective("folk", moiety.Collective(display_name="Folk", members=1))
        pool = moiety.Pool(
            display_name="First", currency=CURRENCY, policy=moiety.Policy(), platforms=["platforms/acme"],
            distribute=DISTRIBUTE_REPORTED,
        )  # fmt: skip
        operator.create_pool("first", pool)
        operator.create_method("first", METHOD, moiety.Method(display_name="Bench", confidence_ppm=900_000))
    with Client(address, key.text) as platform:
        event = moiety.UsageEvent(
            event_id=UUID(int=1), occurred_at=datetime.now(UTC), units=1, mode=moiety.Mode.AI_ONLY, shares={"folk": 1}
        )
        receipt = platform.submit_events("first", [event], METHOD, batch_id="first")
    if receipt.accepted_count != 1:
        raise AssertionError("the first event is not in")
