"""Exports in tests: run as the command line does, and read back without any engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.cli.app import main
from services.exports.parquet.schema import SCHEMAS
from tests.support.deployment import Deployment
from tests.support.scene import POOL

IBIS_ON_DUCKDB: Final = "ignore:fetch_arrow_table:DeprecationWarning"
"""Ibis 12 asks DuckDB 2 for Arrow under a name that is going away."""


def run_export(
    deployment: Deployment, folder: Path, *formats: str, pool: str = POOL, principal: str = "auditors/ada"
) -> int:
    """Run `moiety export` and give its exit code."""
    connection = ["--address", deployment.address, "--api-key", deployment.key(principal)]
    with pytest.raises(SystemExit) as ended:
        main(["export", pool, str(folder), *formats, *connection])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def printed_by_export(deployment: Deployment, folder: Path, *formats: str) -> str:
    """What `moiety export` prints, in a process of its own: the service under test logs to the same output."""
    environment = {**os.environ, "MOIETY_ADDRESS": deployment.address, "MOIETY_API_KEY": deployment.key("auditors/ada")}
    command = [sys.executable, "-m", "services.cli", "export", POOL, str(folder), *formats]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def files_of(folder: Path, table: str, pool: str = POOL) -> list[Path]:
    return sorted((folder / table / f"pool={pool}").glob("*.parquet"))


def read_table(folder: Path, table: str, pool: str = POOL) -> list[dict[str, Any]]:
    """The rows of a table, in the order of its files."""
    # By ParquetFile: what is in the file itself, without the pool that is in its path.
    parts = [pq.ParquetFile(file).read() for file in files_of(folder, table, pool)]
    found: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist()
    return found


def all_tables(folder: Path, pool: str = POOL) -> dict[str, list[dict[str, Any]]]:
    return {table: read_table(folder, table, pool) for table in SCHEMAS}
