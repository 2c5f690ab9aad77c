"""The check of the live database passes over each table once, however many rows, batches and pools there are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest
import sqlalchemy as sa

from audit.fsck import check_registry_log, read_registry
from ledger.store import tables as lt
from ledger.store.logs.bodies import Bodies
from moiety import Policy, Pool
from payout.store import tables as t
from tests.support.deployment import Deployment
from tests.support.fsck_scene import check, report_of
from tests.support.scene import NAMED_PLATFORMS, POOL, Scene, event, events, open_scene

BATCHES: Final = 40
EACH: Final = 40

ONCE: Final = (
    lt.leaf, lt.node, lt.event, lt.claim_page, lt.batch, lt.batch_weights, lt.retraction, lt.report, lt.transfer,
    lt.balance, lt.checkpoint, lt.cosignature, lt.movement, t.round_,
)  # fmt: skip

READ: Final = """
    SELECT parent.relname AS name, sum(seq_tup_read + idx_tup_fetch) AS rows, sum(seq_scan) AS scans
    FROM pg_stat_xact_user_tables AS stat
    JOIN LATERAL (
        SELECT coalesce((SELECT inhparent FROM pg_inherits WHERE inhrelid = stat.relid), stat.relid) AS relid
    ) AS whole ON true
    JOIN pg_class AS parent ON parent.oid = whole.relid
    WHERE schemaname = 'public' GROUP BY 1
"""


@pytest.fixture(scope="module", autouse=True)
def scene(shared_deployment: Deployment) -> Scene:
    """A pool with many batches, rounds and retractions, and others beside it."""
    scene = open_scene(shared_deployment)
    numbers = count()
    for batch in range(BATCHES):
        scene.submit([event(next(numbers) << 112) for _ in range(EACH)], f"rows-{batch}")
        scene.submit(events(range(2**90 + 100 * batch, 2**90 + 100 * batch + EACH)), f"pages-{batch}")
    for batch in range(0, BATCHES, 4):
        scene.platform.retract_usage(POOL, batch_id=f"rows-{batch}", reason="a test", request_id=f"back-{batch}")
    for number in range(3):
        scene.submit([event((10_000 + number) << 112)], f"late-{number}")
        scene.pay_in(900, f"money-{number}")
        scene.cut(f"round-{number}")
    for name in ("jazz", "choro"):
        scene.operator.create_pool(
            name, Pool(display_name=name, currency="USD", policy=Policy(), platforms=NAMED_PLATFORMS)
        )
    return scene


@pytest.fixture
def connection(shared_owner: sa.Engine) -> Iterator[sa.Connection]:
    with shared_owner.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
    with shared_owner.connect() as connection:
        yield connection
        connection.rollback()


def test_each_table_is_passed_over_once(connection: sa.Connection) -> None:
    reports = [report_of(check_registry_log(connection, read_registry(connection), Bodies())), *check(connection)]
    assert [report.finding_count for report in reports] == [0] * len(reports)
    read = {row.name: row for row in connection.execute(sa.text(READ))}
    rows = {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in ONCE
    }
    assert rows["event"] >= BATCHES * EACH
    # Beside the pass, of `leaf`: the registry's log again, by which the pools' is judged, the first leaf of each pool,
    # the leaves of rounds, which `round` lists before, and the batch of each retraction.
    again = {
        "leaf": reports[0].leaves + len(reports) + rows["round"] + 3 * rows["retraction"],
        "round": rows["round"],
    }
    assert {name: int(read[name].rows) for name in rows if read[name].rows > rows[name] + again.get(name, 0)} == {}
    assert int(read["event"].scans) == 0
