"""One round over as many collectives as a society of the world might have, and one collective's line of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from bench.figures import Figure, timed
from bench.intake import append_usage
from bench.stage import CURRENCY, Stage, Stream
from bench.statements import KEY, file_seconds
from bench.workload import Workload
from moiety import Client
from services.api.rounds.statement_files import StatementFiles
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer

SHARES_PER_EVENT: Final = 50
BATCHES: Final = 20
"""A batch may name 65,536 collectives."""
MINUTES: Final = 60.0
FILE_SECONDS: Final = 1.0


def measure(stage: Stage, *, collectives: int) -> list[Figure]:
    """Run once: a round is posted once."""
    named = collectives // BATCHES
    shares = min(named, SHARES_PER_EVENT)
    workload = Workload(BATCHES, named // shares, shares, collectives, covering=True)
    pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
    append_usage([Stream(stage.address, pool, key)], workload.tables())
    with Client(stage.address, key) as platform:
        platform.report_revenue(pool, 10**9, CURRENCY, request_id="revenue")
    stage.settle()
    with Client(stage.address, stage.operator_key, timeout_seconds=600) as operator, timed() as calculated:
        operator.calculate_round(pool, request_id="round")  # which its policy posts at once
        listed = sum(1 for _ in operator.list_allocations(pool, 1))
    if listed != collectives:
        raise AssertionError(f"{listed} allocations are listed, of {collectives}")
    with tempfile.TemporaryDirectory() as folder:
        Signer(stage.parts.database, stage.parts.clock, KEY, CheckpointFolder(Path(folder))).run_once()
    files = StatementFiles()
    first, later = (file_seconds(stage, files, pool, name) for name in workload.collective_ids()[:: collectives - 1])
    among = f"{collectives:,} collectives"
    return [
        _figure("large-round", f"calculate, post and list a round of {among}", calculated(), MINUTES),
        _figure("large-tree", "its dossiers, their tree and the first statement file", first, 2 * MINUTES),
        _figure("large-file", "another statement file of it", later, FILE_SECONDS),
    ]


def _figure(name: str, what: str, seconds: float, limit: float) -> Figure:
    return Figure(name, what, "", "s", [seconds], [], limit, limit / 2, lower=True)
