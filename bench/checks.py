"""The check of the live database against verifying a bundle of the same log, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.figures import Figure, timed
from bench.intake import append_usage
from bench.stage import CURRENCY, Stage, Stream
from bench.workload import Workload, uuid7_ids
from ledger.log.note_keys import SigningKey
from moiety import Client
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer

KEY: Final = SigningKey("localhost/bench", bytes(range(32)))


def measure(stage: Stage, runs: int, *, batches: int) -> list[Figure]:
    """`moiety db fsck POOL` in seconds, beside `moiety verify` of a bundle of that pool; a round is part of both.

    Where ids ascend, both read the same: bodies, and ids and weights that follow from them. Random ids have a row each
    besides. Of small batches, each takes as long as what there is of it.
    """
    small = Workload(batches=24 * batches, events_per_batch=213, shares_per_event=4)
    with tempfile.TemporaryDirectory() as folder:
        return [
            _measured(stage, runs, Path(folder), name, what, workload)
            for name, what, workload in (
                ("fsck", "ids in order", Workload(batches=batches, ids=uuid7_ids)),
                ("fsck-random", "random ids", Workload(batches=batches)),
                ("fsck-small", "random ids", small),
            )
        ]


def _measured(stage: Stage, runs: int, folder: Path, name: str, ids: str, workload: Workload) -> Figure:
    pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
    append_usage([Stream(stage.address, pool, key)], workload.tables())
    with Client(stage.address, key) as platform:
        platform.report_revenue(pool, 100_000_000, CURRENCY, request_id="revenue")
    stage.operator.calculate_round(pool, request_id="round")
    Signer(stage.parts.database, stage.parts.clock, KEY, CheckpointFolder(folder / "kept")).run_once()
    bundle = folder / f"{name}.tar"
    _seconds(stage, "bundle", pool, str(bundle))
    stage.settle()
    checked, verified = [], []
    for _ in range(runs):
        checked.append(_seconds(stage, "db", "fsck", pool))
        verified.append(_seconds(stage, "verify", str(bundle), "--key", str(KEY.verifier_key)))
    what = f"check the database of {workload.events:,} events in {workload.batches:,} batches (`moiety db fsck`), {ids}"
    against = "`moiety verify` of the same log's bundle"
    return Figure(name, what, against, "s", checked, verified, 1.0, 0.8, lower=True)


def _seconds(stage: Stage, *command: str) -> float:
    """How long a command takes, which must find that all holds."""
    own = {
        "MOIETY_ADDRESS": stage.address,
        "MOIETY_API_KEY": stage.operator_key,
        "MOIETY_DATABASE_URL": stage.database_url,
        "MOIETY_BODIES_URL": stage.parts.settings.bodies_url,
    }
    with timed() as seconds:
        subprocess.run(
            [sys.executable, "-m", "services.cli", *command], env={**os.environ, **own}, check=True, capture_output=True
        )
    return seconds()
