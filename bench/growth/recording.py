"""Intake as events pile up, and what keeping their ids costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import psycopg
import pyarrow as pa

import moiety
from bench.figures import Points, Series, timed
from bench.intake import require_sums, warm_up
from bench.stage import METHOD, Stage, staged
from bench.workload import Ids, Workload, claimed, random_ids, uuid7_ids
from moiety import Client

KEPT_BATCHES: Final = 20
"""Of which all usage is made, over and over with new ids: making shares would take longer than recording them."""

SECONDS_AT_MOST: Final = 1_200
"""Where it gets so slow that the last mark would take longer, the series ends where it is."""

KINDS: Final[dict[str, Ids]] = {"random ids": random_ids, "UUIDv7": uuid7_ids}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was so when so many events were recorded.

    index_reads: blocks of the indexes that Postgres had to fetch into its shared buffers, as its statistics have it.
    """

    events: int
    seconds: float
    heap_bytes: int
    index_bytes: int
    wal_bytes: int
    index_reads: int


def measure(marks: Sequence[int]) -> list[Series]:
    """To so many events in one pool, by one stream; each kind of id in a database of its own."""
    found = {}
    for kind, ids in KINDS.items():
        with staged() as stage:
            found[kind] = record(stage, ids, marks)
    events = "recorded events"

    def between(value: Callable[[Reading, Reading], float]) -> dict[str, Points]:
        """At each mark, what was so since the one before it."""
        return {
            kind: [(after.events, [value(before, after)]) for before, after in pairwise(readings)]
            for kind, readings in found.items()
        }

    sizes = {}
    for kind, (first, *others) in found.items():
        sizes[f"{kind}, rows"] = [(at.events, [(at.heap_bytes - first.heap_bytes) / at.events]) for at in others]
        sizes[f"{kind}, index"] = [(at.events, [(at.index_bytes - first.index_bytes) / at.events]) for at in others]
    return [
        Series("growth-intake", "AppendUsage, one stream to one pool", events, "events/s", between(_rate)),
        Series(
            "growth-wal", "What Postgres writes to its log", events, "bytes/event",
            between(lambda a, b: (b.wal_bytes - a.wal_bytes) / (b.events - a.events)),
        ),
        Series(
            "growth-index-reads", "Blocks of the indexes of events fetched into shared buffers", events, "pages/event",
            between(lambda a, b: (b.index_reads - a.index_reads) / (b.events - a.events)),
        ),
        Series("growth-event-bytes", "The tables of events and of their pages", events, "bytes/event", sizes),
    ]  # fmt: skip


def measure_claims(stage: Stage, runs: int, *, marks: Sequence[int]) -> list[Series]:
    """What the most would be that could be gained by keeping no ids: UUIDv7, with them and without."""
    kept: list[list[float]] = [[] for _ in marks]
    without: list[list[float]] = [[] for _ in marks]
    with staged(claims=False) as unclaimed:
        for _ in range(runs):
            for on, rates, claims in ((stage, kept, True), (unclaimed, without, False)):
                readings = record(on, uuid7_ids, marks, claims=claims)
                for place, (before, after) in enumerate(pairwise(readings)):
                    rates[place].append(_rate(before, after))
    lines = {"each id kept": kept, "no row, and no exactly-once": without}
    points = {name: list(zip(marks, rates, strict=True)) for name, rates in lines.items()}
    return [Series("growth-claims", "AppendUsage of UUIDv7, one stream", "recorded events", "events/s", points)]


def _rate(before: Reading, after: Reading) -> float:
    """Events per second between the two."""
    return (after.events - before.events) / (after.seconds - before.seconds)


def record(stage: Stage, ids: Ids, marks: Sequence[int], *, claims: bool = True) -> list[Reading]:
    """Record events in a new pool up to the last mark, reading at the beginning and at each mark, and check the sums.

    claims: whether the stage keeps ids.
    """
    workload = Workload(batches=KEPT_BATCHES)
    pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
    warm_up(stage, key, workload)
    batches = workload.repeated(marks[-1] // workload.events_per_batch, ids)
    readings: list[Reading] = []
    recorded = sent = units = shares = 0

    def usage() -> Iterator[pa.RecordBatch]:
        nonlocal sent, units, shares
        for batch in batches:
            if seconds() > SECONDS_AT_MOST:
                return
            sent += len(batch)
            units += int(batch.column("units").to_numpy().sum())
            shares += claimed(batch)
            yield batch

    with (
        psycopg.connect(stage.database_url, autocommit=True) as connection,
        Client(stage.address, key) as client,
        timed() as seconds,
    ):

        def read() -> None:
            readings.append(_read(connection, recorded, seconds()))
            print(f"{recorded:,} events after {seconds():.0f} s", file=sys.stderr)

        def progress(events: int) -> None:
            nonlocal recorded
            recorded += events
            if recorded in marks:
                read()

        read()
        table = pa.RecordBatchReader.from_batches(moiety.USAGE_SCHEMA, usage())
        client.submit_usage(pool, table, METHOD, events_per_batch=workload.events_per_batch, progress=progress)
        if recorded not in marks:
            read()
    require_sums(stage, pool, events=sent, units=units, claimed=shares, claims=claims)
    return readings


def _read(connection: psycopg.Connection[tuple[int, int, int, int]], events: int, seconds: float) -> Reading:
    row = connection.execute(
        "SELECT sum(pg_relation_size(relid))::bigint, sum(pg_indexes_size(relid))::bigint,"
        " (pg_current_wal_insert_lsn() - '0/0')::bigint, sum(idx_blks_read)::bigint"
        " FROM pg_statio_user_tables WHERE relname IN ('event', 'claim_page')"
    ).fetchone()
    assert row
    return Reading(events, seconds, *row)
