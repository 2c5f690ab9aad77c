"""The service to measure: a process of its own, on an embedded Postgres that the peers use too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services import keys
from services.embedded import embedded_postgres
from services.host import FIRST_OPERATOR
from services.schema import upgrade
from services.settings import load_settings
from services.wiring import system_clock, wire


@dataclass(frozen=True, slots=True)
class Measured:
    """Where the service and its Postgres are, and an operator's key."""

    address: str
    operator_key: str
    database_url: str


@contextmanager
def service() -> Iterator[Measured]:
    """Start both, and stop both at the end. Postgres runs with its defaults: fsync and synchronous_commit are on."""
    with tempfile.TemporaryDirectory() as folder, embedded_postgres(Path(folder) / "data") as url:
        upgrade(url)
        chosen = {"MOIETY_DATABASE_URL": url, "MOIETY_LISTEN": "127.0.0.1:0", "MOIETY_LOG_LEVEL": "WARNING"}
        process = subprocess.Popen(
            [sys.executable, "-m", "moiety", "serve", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **chosen},
        )
        try:
            assert process.stdout is not None
            document = "".join(iter(process.stdout.readline, "}\n")) + "}"
            yield Measured(json.loads(document)["address"], _operator_key(url), url)
        finally:
            process.terminate()
            process.wait()


def _operator_key(url: str) -> str:
    parts = wire(load_settings(database_url=url))
    try:
        with parts.database.transaction() as connection:
            return keys.issue_key(connection, FIRST_OPERATOR, system_clock())[1]
    finally:
        parts.close()
