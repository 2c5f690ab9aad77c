"""The check of the live database: a row that anyone edits, deletes or inserts by hand is found, and named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from audit.batches.means import Means
from audit.files.spills import SpillFolder
from audit.fsck import LISTED_MAX, CheckReport, Registry, check_pool, check_strays, numbered, read_registry
from ledger.log.merkle import Frontier, leaf_hash
from ledger.store import tables as lt
from ledger.store.logs.bodies import Bodies
from ledger.store.postgres.database import Database
from moiety import Collective, Platform, Policy, Pool
from payout.store import tables as t
from tests.support.batches import Event, event_id, record_batch, replaced, stream
from tests.support.deployment import Deployment
from tests.support.fsck_scene import build, check, findings, report_of
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, event, open_scene
from tests.support.tampering import another, rows_of
from tests.support.wire import Wire, request_of

APPEND: Final = "UsageService/AppendUsage"

FOLK: Final = 1
"""The store's number of the pool: the first that was made."""

TABLES: Final = (
    lt.leaf, lt.node, lt.head, lt.body, lt.admission, lt.method, lt.membership, lt.id_scheme, lt.event, lt.claim_page,
    lt.batch_weights, lt.batch, lt.retraction, lt.report, lt.receipt, lt.match, lt.reversal, lt.movement, lt.transfer,
    lt.balance, t.policy, t.round_, lt.decision, t.posting, lt.checkpoint, lt.turn, lt.cosignature, lt.proposal,
    t.objection, t.answer, t.waiver, t.tariff, t.schedule,
    t.adjustment,
)  # fmt: skip

REQUIRED: Final = tuple(table for table in TABLES if table not in (lt.checkpoint, lt.cosignature))
"""Rows that must be there. When to sign a checkpoint is the signer's choice, and so a lost one is not missed."""


@pytest.fixture(scope="module", autouse=True)
def scene(shared_deployment: Deployment) -> Scene:
    return build(shared_deployment)


@pytest.fixture
def tampering(shared_owner: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction of the database's owner, of which nothing stays."""
    with shared_owner.connect() as connection:
        yield connection
        connection.rollback()


def middle_row(connection: sa.Connection, table: sa.Table) -> Any:
    """Picks a row of the pool that has some before it and some after it, where there are so many."""
    found = rows_of(connection, table, table.c.pool_id == FOLK)
    return found[len(found) // 2]


def test_a_sound_database_has_no_findings(tampering: sa.Connection) -> None:
    folk, other, strays = check(tampering)
    assert [folk.findings, other.findings, strays.findings] == [[], [], []]
    assert [folk.finding_count, other.finding_count, strays.finding_count] == [0, 0, 0]
    assert folk.unfollowed_from is None
    assert {name for name, count in folk.rows.items() if count} == {table.name for table in (*TABLES, lt.pool)}


@pytest.mark.parametrize("table", REQUIRED, ids=lambda table: table.name)
def test_a_deleted_row_is_found_and_its_table_named(tampering: sa.Connection, table: sa.Table) -> None:
    assert tampering.execute(sa.delete(table).where(middle_row(tampering, table))).rowcount == 1
    found = findings(tampering)
    missed = lt.event if table is lt.claim_page else table  # an event that is in no page should have a row
    assert (missed.name, "row") in {(name, figure) for name, _, figure in found}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_an_inserted_row_is_found_and_its_table_named(tampering: sa.Connection, table: sa.Table) -> None:
    changed = {column.name: another(column) for column in table.columns if column.name not in ("pool_id", "level")}
    if table in (lt.head, t.schedule):
        changed = {"pool_id": sa.literal(99)}
    copied = [changed.get(column.name, column) for column in table.columns]
    rows = sa.select(*copied).where(middle_row(tampering, table))
    tampering.execute(sa.insert(table).from_select([each.name for each in table.columns], rows))
    found = findings(tampering)
    figures = {figure for name, _, figure in found if name == table.name}
    assert figures & {"row", "note"}


def test_a_closing_that_the_log_does_not_say_so_is_found(tampering: sa.Connection) -> None:
    rows = lt.closing
    moved = sa.update(rows).values(leaf_index=rows.c.leaf_index + 1)
    renamed = sa.update(rows).values(pool_id=FOLK)
    later = sa.update(rows).values(closed_at=another(rows.c.closed_at))
    for change in (moved, renamed, later, sa.delete(rows)):
        savepoint = tampering.begin_nested()
        assert tampering.execute(change).rowcount == 1
        assert rows.name in {each.where.table for report in check(tampering) for each in report.findings}
        savepoint.rollback()


def test_a_schedule_of_a_pool_that_has_none_is_found(tampering: sa.Connection) -> None:
    copied = [sa.literal(2) if column.name == "pool_id" else column for column in t.schedule.columns]
    row = sa.select(*copied).where(t.schedule.c.pool_id == FOLK)
    tampering.execute(sa.insert(t.schedule).from_select(t.schedule.columns.keys(), row))
    assert [(each.where.table, each.figure) for report in check(tampering) for each in report.findings] == [
        ("schedule", "row")
    ]


@pytest.mark.parametrize(
    ("skipped", "found"),
    [
        (("3000-01-01", "NO_USAGE"), ["skipped_at"]),
        (("2020-01-01", "NO_USAGE"), ["skipped_at"]),
        (("2026-01-01 06:30", None), ["skipped_because"]),
        (("2026-01-01 06:30", "WHIM"), ["skipped_because"]),
        ((None, "NO_USAGE"), ["skipped_because"]),
        (("2026-01-01 06:30", "NO_USAGE"), []),
        ((str(datetime.now(UTC) + timedelta(minutes=50)), "NO_USAGE"), []),  # before the clock was set back
    ],
)
def test_a_skipped_time_has_come_since_the_schedule_was_set(
    tampering: sa.Connection, skipped: tuple[str | None, str | None], found: list[str]
) -> None:
    at, because = skipped
    tampering.execute(sa.update(t.schedule).values(skipped_at=at and sa.text(f"'{at}'"), skipped_because=because))
    assert [(table, figure) for table, _, figure in findings(tampering)] == [("schedule", each) for each in found]


def test_every_body_that_is_edited_is_named(tampering: sa.Connection) -> None:
    digests = tampering.execute(sa.select(lt.body.c.sha256).where(lt.body.c.pool_id == FOLK)).scalars().all()
    for digest in digests:
        savepoint = tampering.begin_nested()
        edit = sa.update(lt.body).where(lt.body.c.sha256 == digest).values(bytes=another(lt.body.c.bytes))
        tampering.execute(edit)
        assert ("body", f"sha256={digest.hex()}", "bytes") in findings(tampering)
        savepoint.rollback()
    assert len(digests) > 10


def test_a_leaf_that_is_edited_or_deleted_is_named_wherever_it_stands(tampering: sa.Connection) -> None:
    size = tampering.execute(sa.select(lt.head.c.size).where(lt.head.c.pool_id == FOLK)).scalar_one()
    for index in (0, 1, size // 2, size - 2, size - 1):
        here = (lt.leaf.c.pool_id == FOLK) & (lt.leaf.c.leaf_index == index)
        for change, figure in (
            (sa.update(lt.leaf).values(entry=another(lt.leaf.c.entry)), "entry"),
            (sa.update(lt.leaf).values(hash=another(lt.leaf.c.hash)), "hash"),
            (sa.delete(lt.leaf), "row"),
        ):
            savepoint = tampering.begin_nested()
            tampering.execute(change.where(here))
            assert findings(tampering) == [("leaf", f"leaf_index={index}", figure)]
            savepoint.rollback()


def test_an_entry_that_was_edited_with_its_hash_does_not_fit_the_tree(tampering: sa.Connection) -> None:
    entry, _ = revenue_leaf(tampering)
    forged = entry.replace(b'"amount_minor":"500"', b'"amount_minor":"900"')
    assert forged != entry
    tampering.execute(sa.update(lt.leaf).where(lt.leaf.c.entry == entry).values(entry=forged, hash=leaf_hash(forged)))
    found = findings(tampering)
    assert {"node", "head", "checkpoint", "transfer", "balance"} <= {table for table, _, _ in found}


def test_a_log_that_was_forged_to_its_head_has_another_root_than_its_checkpoint(tampering: sa.Connection) -> None:
    """Whoever rewrites every table still cannot sign; and the checkpoint lies elsewhere too."""
    entry, index = revenue_leaf(tampering)
    forged = entry.replace(b'"note":""', b'"note":"forged"')
    assert forged != entry
    tampering.execute(sa.update(lt.leaf).where(lt.leaf.c.entry == entry).values(entry=forged, hash=leaf_hash(forged)))
    hashes = tampering.execute(
        sa.select(lt.leaf.c.hash).where(lt.leaf.c.pool_id == FOLK).order_by(lt.leaf.c.leaf_index)
    ).scalars()
    frontier, nodes = Frontier(), lt.node.c.pool_id == FOLK
    for digest in hashes.all():
        for place, node in frontier.append(digest).items():
            here = (lt.node.c.level == place.level) & (lt.node.c.node_index == place.index)
            tampering.execute(sa.update(lt.node).where(nodes & here).values(hash=node))
    tampering.execute(sa.update(lt.head).where(lt.head.c.pool_id == FOLK).values(frontier=frontier.to_bytes()))
    found = findings(tampering)
    assert {(table, figure) for table, _, figure in found if table == "checkpoint"} == {("checkpoint", "root")}
    # A round names the root of the log that it was cut from.
    assert {table for table, _, _ in found} <= {"checkpoint", "leaf"}
    assert index < frontier.size


def revenue_leaf(connection: sa.Connection) -> tuple[bytes, int]:
    """The entry and index of the last revenue."""
    on = (lt.leaf.c.pool_id == lt.report.c.pool_id) & (lt.leaf.c.leaf_index == lt.report.c.leaf_index)
    query = sa.select(lt.leaf.c.entry, lt.leaf.c.leaf_index).join_from(lt.leaf, lt.report, on)
    row = connection.execute(query.order_by(lt.leaf.c.leaf_index.desc()).limit(1)).one()
    return bytes(row.entry), row.leaf_index


@pytest.mark.parametrize("column", ["name", "display_name", "currency", "created_at"])
def test_what_a_pool_is_called_follows_from_its_first_leaf(tampering: sa.Connection, column: str) -> None:
    tampering.execute(sa.update(lt.pool).where(lt.pool.c.pool_id == FOLK).values({column: another(lt.pool.c[column])}))
    found = [(each.where.table, each.figure) for report in check(tampering) for each in report.findings]
    assert found == [("pool", column)]


def test_a_pool_that_was_deleted_leaves_rows_of_no_pool(tampering: sa.Connection) -> None:
    tampering.execute(sa.delete(lt.pool).where(lt.pool.c.pool_id == FOLK))
    found = [(each.where.table, each.where.key) for report in check(tampering) for each in report.findings]
    assert set(found) == {(table.name, f"pool_id={FOLK}") for table in TABLES}


@pytest.mark.parametrize("table", [lt.platform, lt.collective], ids=lambda table: table.name)
@pytest.mark.parametrize("change", [sa.update, sa.delete])
def test_a_name_that_a_log_uses_must_be_registered(tampering: sa.Connection, table: sa.Table, change: Any) -> None:
    name = "tunesmith" if table is lt.platform else "irish"
    statement = change(table).where(table.c.name == name)
    tampering.execute(statement.values(name="another") if change is sa.update else statement)
    assert findings(tampering) == [(table.name, f"name={name}", "row")]


def test_two_platforms_that_changed_places_are_found(tampering: sa.Connection) -> None:
    for name, other in (("tunesmith", "?"), ("songbird", "tunesmith"), ("?", "songbird")):
        tampering.execute(sa.update(lt.platform).where(lt.platform.c.name == name).values(name=other))
    assert {"batch", "event", "report", "retraction"} <= {table for table, _, _ in findings(tampering)}


def test_all_findings_are_counted_and_the_first_are_listed(tampering: sa.Connection) -> None:
    tampering.execute(
        sa.text("INSERT INTO event SELECT 1, 2, gen_random_uuid(), number % 7 FROM generate_series(1, 1000) AS number")
    )
    report, _ = check(tampering, POOL)
    assert (len(report.findings), report.finding_count) == (LISTED_MAX, 1000)
    assert {finding.where.table for finding in report.findings} == {"event"}


def test_a_leaf_with_many_findings_does_not_crowd_out_others(tampering: sa.Connection) -> None:
    for table in (lt.balance, lt.transfer):
        tampering.execute(sa.delete(table).where(table.c.pool_id == FOLK))
    rows = "SELECT 1, 2, gen_random_uuid(), number % 7 FROM generate_series(1, 1000) AS number"
    tampering.execute(sa.text(f"INSERT INTO event {rows}"))
    tampering.execute(sa.delete(lt.turn).where(lt.turn.c.pool_id == FOLK))
    report, _ = check(tampering, POOL)
    assert len(report.findings) <= LISTED_MAX + 5
    assert {finding.where.table for finding in report.findings} >= {"balance", "transfer", "event", "turn"}
    listed = sum(len(findings) + unlisted for findings, unlisted in report.by_kind())
    assert listed == report.finding_count


def test_all_findings_are_listed_where_all_are_asked_for(tampering: sa.Connection) -> None:
    tampering.execute(
        sa.text("INSERT INTO event SELECT 1, 2, gen_random_uuid(), number % 7 FROM generate_series(1, 1000) AS number")
    )
    report, _ = check(tampering, POOL, every=True)
    assert len(report.findings) == report.finding_count == 1000


def test_a_number_from_the_end_of_the_log_costs_no_memory_and_hides_nothing(
    tampering: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To reach the rows of that number, all rows before it are passed, and read again when their batches come."""
    monkeypatch.setattr(numbered, "WAITING_MAX", 0)
    assert findings(tampering) == []
    first = middle_row(tampering, lt.batch)
    tampering.execute(sa.update(lt.batch).where(first).values(batch_number=2**62))
    assert {table for table, _, _ in findings(tampering)} == {"batch"}


def test_a_batch_s_number_that_its_events_and_weights_contradict_is_what_is_wrong(tampering: sa.Connection) -> None:
    """Not each of the events, nor the retraction that names it rightly."""
    second = (lt.batch.c.pool_id == FOLK) & (lt.batch.c.batch_id == "second")
    tampering.execute(sa.update(lt.batch).where(second).values(batch_number=10**6))
    assert [(table, figure) for table, _, figure in findings(tampering)] == [("batch", "batch_number")]


def test_events_that_name_another_number_than_batch_and_weights_are_what_is_wrong(tampering: sa.Connection) -> None:
    number = sa.select(lt.batch.c.batch_number).where(lt.batch.c.pool_id == FOLK, lt.batch.c.batch_id == "second")
    here = (lt.event.c.pool_id == FOLK) & (lt.event.c.batch_number == number.scalar_subquery())
    changed = tampering.execute(sa.update(lt.event).where(here).values(batch_number=10**6)).rowcount
    assert changed > 0
    assert [(table, figure) for table, _, figure in findings(tampering)] == [("event", "batch_number")] * changed


def test_names_in_a_dictionary_that_no_event_has_are_no_findings(scene: Scene, tampering: sa.Connection) -> None:
    """One batch of 211 KB could hold 60,000 of them, and hide what is wrong with other rows."""
    names = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(["irish", "never-used"]))
    one = Event(event_id(10**6), None, 1_767_225_600_000_000, 1, 1, (("irish", 1),))
    batch = replaced(record_batch([one]), "collectives", pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), names))
    with Wire(scene.deployment.address, scene.deployment.key("platforms/tunesmith")) as wire:
        named = {"parent": f"pools/{POOL}", "method_id": METHOD}
        (answer,) = wire.call(APPEND, request_of(APPEND, batch_id="unused", arrow_stream=stream(batch), **named))
    assert answer.receipt.accepted_count == 1, answer.error
    assert findings(tampering) == []


def test_what_is_written_while_a_check_goes_on_does_not_disturb_it(scene: Scene, shared_database_url: str) -> None:
    """Last of all, because it adds to what the others share."""
    database = Database(shared_database_url, connections=1)
    with database.snapshot() as connection, SpillFolder() as spills:
        registry = read_registry(connection)
        steps = check_pool(connection, registry.pools[0], registry, Bodies(), Means(spills.new))
        size = next(steps).leaf_total
        scene.submit([event(number) for number in range(100, 103)], "meanwhile")
        scene.pay_in(100, "meanwhile")
        report = report_of(steps)
    assert (report.findings, report.leaves) == ([], size)
    with database.snapshot() as connection:
        after, _ = check(connection, POOL)
    assert (after.findings, after.leaves) == ([], size + 2)
    database.close()


def found_in(connection: sa.Connection, registry: Registry, pool: str) -> int:
    """How many findings a check has of a pool and of rows of none, by a registry that was read before."""
    (ref,) = [ref for ref in read_registry(connection).pools if ref.name == pool]
    strays = CheckReport()
    with SpillFolder() as spills:
        report = report_of(check_pool(connection, ref, registry, Bodies(), Means(spills.new)))
    list(check_strays(connection, registry, strays))
    return report.finding_count + strays.finding_count


def test_what_is_registered_while_the_check_runs_is_no_finding(database: Database, deployment: Deployment) -> None:
    """On a cluster the snapshot of a node begins later than the registry's; here the registry is read before."""
    scene = open_scene(deployment)

    def read_now() -> Registry:
        with database.snapshot() as connection:
            return read_registry(connection)

    early, looking = read_now(), read_now()
    looking.read_now = read_now
    scene.operator.create_platform("latecomer", Platform(display_name="Late"))
    scene.operator.create_collective("late", Collective(display_name="Late", members=1))
    scene.operator.create_pool(
        "late", Pool(display_name="Late", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    scene.operator.admit_platform(POOL, "latecomer")
    late = event(1, shares={"late": 10**9})
    scene.submit([late], "b", by=deployment.client("platforms/latecomer"))
    with database.snapshot() as connection:
        assert found_in(connection, early, POOL) > 2
        assert found_in(connection, looking, POOL) == 0


def test_what_nobody_registered_is_looked_up_again_once() -> None:
    asked = []

    def read_now() -> Registry:
        asked.append(1)
        return Registry([], {}, {})

    registry, report = Registry([], {}, {}, read_now), CheckReport()
    for leaf_index in range(3):
        assert registry.require_platform("nobody", leaf_index, report) is None
        registry.require_collectives(("no", "none"), np.arange(2), leaf_index, report)
    assert (len(asked), report.finding_count) == (2, 3)
