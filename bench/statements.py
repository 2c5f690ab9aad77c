"""Statement files: one line among many, made by a service that has just started, and verified."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from audit.statements.check import check_statement
from bench.figures import Figure, timed
from bench.intake import append_usage
from bench.stage import CURRENCY, Stage, Stream
from bench.workload import Workload
from ledger.log.note_keys import SigningKey
from moiety import Client
from services.api.rounds.statement_files import StatementFiles
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer

KEY: Final = SigningKey("localhost/bench", bytes(range(32)))
SECONDS_MAX: Final = 1.0
"""What a collective is to wait for its own line, at most."""


def measure(stage: Stage, runs: int, *, collectives: int) -> list[Figure]:
    """The first file of a round, for which the tree of all its lines is made; a later one; and verifying it."""
    shares = min(1_000, collectives)
    workload = Workload(2, collectives // shares, shares, collectives, covering=True)
    pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
    append_usage([Stream(stage.address, pool, key)], replace(workload, seed=1).tables())
    with Client(stage.address, key) as platform:
        platform.report_revenue(pool, 100_000_000, CURRENCY, request_id="revenue")
    stage.operator.calculate_round(pool, request_id="round")
    own = "collective-00002"
    stage.operator.record_payment(pool, own, 1, request_id="payment")
    own_key = stage.new_key(f"collectives/{own}")
    with tempfile.TemporaryDirectory() as folder:
        Signer(stage.parts.database, stage.parts.clock, KEY, CheckpointFolder(Path(folder))).run_once()
    stage.settle()
    first, later, verified, alone = [], [], [], []
    for _ in range(runs):
        files = StatementFiles()
        first.append(file_seconds(stage, files, pool, "collective-00000"))
        later.append(file_seconds(stage, files, pool, f"collective-{collectives - 1:05d}"))
        verified.append(_verify_seconds(stage, files, pool))
        alone.append(_alone_seconds(stage.address, own_key, pool))
    among = f"among {collectives:,} collectives"
    return [
        _figure("statement-first", f"the first statement file of a round, {among}", first),
        _figure("statement-later", f"a later statement file of it, {among}", later),
        _figure("statement-verify", "verify a statement file", verified),
        _figure("statement-own", f"a collective gets its line and verifies it by its key and the vkey, {among}", alone),
    ]


def _figure(name: str, what: str, seconds: list[float]) -> Figure:
    return Figure(name, what, "", "s", seconds, [], SECONDS_MAX, SECONDS_MAX / 4, lower=True)


def file_seconds(stage: Stage, files: StatementFiles, pool: str, collective: str) -> float:
    """How long it takes to make a collective's file of the pool's first round."""
    reference = stage.ref(pool)
    with stage.parts.database.snapshot() as connection, timed() as seconds:
        files.make(connection, reference, 1, collective)
    return seconds()


def _alone_seconds(address: str, own_key: str, pool: str) -> float:
    """How long a collective takes from its call to the verdict: amount, weights, terms, approval and payment."""
    with timed() as seconds, Client(address, own_key) as client:
        report = check_statement(client.get_statement_file(pool, 1), KEY.verifier_key)
    shown = ("amount_minor", "weight", "policy_version", "decided_by", "payments")
    if not report.holds or not all(report.facts[name] for name in shown):
        raise AssertionError(f"the line is not shown whole: {report.reason}, {report.facts}")
    return seconds()


def _verify_seconds(stage: Stage, files: StatementFiles, pool: str) -> float:
    reference = stage.ref(pool)
    with stage.parts.database.snapshot() as connection:
        data = files.make(connection, reference, 1, "collective-00001").to_bytes()
    with timed() as seconds:
        report = check_statement(data, KEY.verifier_key)
    if not report.holds:
        raise AssertionError(f"the file does not hold: {report.reason}")
    return seconds()
