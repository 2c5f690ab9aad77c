"""Claim pages in Postgres: writing them, and finding ids and overlaps in them and among rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.rows import byteas, int2s, int4s, int8s, put_rows, uuids
from ledger.store.postgres.statements import Answer
from ledger.store.postgres.transactions import ask
from ledger.store.postgres.values import Value
from ledger.store.usage.claims import EventClaim
from ledger.usage.pages import EventIds, Page, earliest_lows, known_among, unpacked

OVERLAPS_MAX: Final = 64
"""A page that would overlap more others is not written, and its ids go in as rows. So at most one page more than this
has a given id in its range, whatever ids a platform makes."""

_RANGE_ROWS_MAX: Final = 600
"""Rows of a page's range that are read. Where there are more, of any platform, each of the page's ids is looked up."""

_LOOKED_UP_AT_ONCE: Final = 256

_NEAR_MAX: Final = 128
"""Pages that are read to look which of them overlap which page. Where there are more, each page is looked up."""


def put_pages(connection: sa.Connection, pool: PoolRef, pages: Sequence[tuple[EventClaim, Page]]) -> None:
    """Write pages of claims."""
    put_rows(
        connection,
        t.claim_page,
        pool.pool_id,
        {
            "platform_id": int4s([claim.platform_id for claim, _ in pages]),
            "level": int2s([page.level for _, page in pages]),
            "low": uuids(array_of(page.low for _, page in pages)),
            "high": uuids(array_of(page.high for _, page in pages)),
            "batch_number": int8s([claim.batch_number for claim, _ in pages]),
            "width": int2s([page.width for _, page in pages]),
            "ids": byteas([page.packed() for _, page in pages]),
        },
    )


def find_numbers(
    connection: sa.Connection, pool: PoolRef, platform_id: int, event_ids: Sequence[UUID]
) -> dict[UUID, int]:
    """Returns the number of the batch that recorded each event, of those that were."""
    rows = sa.select(t.event.c.event_id, t.event.c.batch_number).where(
        t.event.c.pool_id == pool.pool_id,
        t.event.c.platform_id == platform_id,
        t.event.c.event_id == sa.any_(sa.literal(list(event_ids), sa.ARRAY(sa.Uuid))),
    )
    found = {row.event_id: row.batch_number for row in connection.execute(rows)}
    ((_, _, levels, _),) = ask_standing(connection, pool, [EventClaim(platform_id, 0, array_of([]))]).fetchall()
    ids = array_of(event_id.bytes for event_id in event_ids if event_id not in found)
    for place, number in find_in_pages(connection, pool, platform_id, ids, levels):
        found[UUID(bytes=ids[place].tobytes())] = number
    return found


Span = tuple[bytes, bytes]
"""The first and the last id of some pages."""


def span_of(pages: Iterable[Page]) -> Span | None:
    """Returns what the pages of some claims span together; None if there are none."""
    ends = [(page.low, page.high) for page in pages]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


# By VALUES: Postgres plans a statement with an array anew each time, which takes longer than to run it.
_STANDING: Final = """
SELECT size, platform_id, ARRAY(
    WITH RECURSIVE used (level) AS (
        (SELECT level FROM claim_page AS page
         WHERE pool_id = %(pool)s AND page.platform_id = asked.platform_id ORDER BY level LIMIT 1)
        UNION ALL
        SELECT (SELECT level FROM claim_page AS page
                WHERE pool_id = %(pool)s AND page.platform_id = asked.platform_id AND page.level > used.level
                ORDER BY level LIMIT 1)
        FROM used WHERE level IS NOT NULL
    )
    SELECT level FROM used WHERE level IS NOT NULL
), EXISTS (SELECT FROM event WHERE pool_id = %(pool)s AND event_id BETWEEN asked.low AND asked.high)
FROM head CROSS JOIN (VALUES {}) AS asked (platform_id, low, high)
WHERE pool_id = %(pool)s
"""


def ask_standing(connection: sa.Connection, pool: PoolRef, claims: Sequence[EventClaim]) -> Answer:
    """Asks for the log's size, and of each platform for the levels of its pages, and whether any platform has a row
    among the ids of its claims.
    """
    ends: dict[int, Span] = {}
    for claim in claims:
        # Nothing lies in a span that ends before it begins.
        low, high = ends.get(claim.platform_id, (_LAST_ID, _FIRST_ID))
        if len(claim.event_ids):
            low, high = min(low, claim.event_ids[0].tobytes()), max(high, claim.event_ids[-1].tobytes())
        ends[claim.platform_id] = low, high
    asked: dict[str, object] = {"pool": pool.pool_id}
    for place, (platform_id, (low, high)) in enumerate(sorted(ends.items())):
        asked |= {f"platform_{place}": platform_id, f"low_{place}": Value(low), f"high_{place}": Value(high)}
    return ask(connection, _standing_of(len(ends)), asked)


@lru_cache
def _standing_of(platforms: int) -> str:
    rows = (
        f"(%(platform_{place})s::integer, %(low_{place})b::uuid, %(high_{place})b::uuid)" for place in range(platforms)
    )
    return _STANDING.format(", ".join(rows))


_FIRST_ID: Final = bytes(16)
_LAST_ID: Final = b"\xff" * 16


_NEAR: Final = """
SELECT page.low, page.high, page.width, page.ids
FROM (VALUES {}) AS asked (level, earliest)
CROSS JOIN LATERAL (
    SELECT page.low, page.high, page.width, page.ids FROM claim_page AS page
    WHERE pool_id = %s AND platform_id = %s AND page.level = asked.level
        AND page.low BETWEEN asked.earliest AND %b AND page.high >= %b
    ORDER BY page.low LIMIT %s
) AS page
"""

_OVERLAPPING: Final = """
SELECT place, page.low, page.width, page.ids
FROM unnest(%b::integer[], %b::smallint[], %b::uuid[], %b::uuid[], %b::uuid[])
    AS asked (place, level, earliest, low, high)
CROSS JOIN LATERAL (
    SELECT page.low, page.width, page.ids FROM claim_page AS page
    WHERE pool_id = %s AND platform_id = %s AND page.level = asked.level
        AND page.low BETWEEN asked.earliest AND asked.high AND page.high >= asked.low
    ORDER BY page.low LIMIT %s
) AS page
"""


def find_overlapping(
    connection: sa.Connection, pool: PoolRef, platform_id: int, pages: Sequence[Page], levels: Sequence[int]
) -> list[list[EventIds]]:
    """Returns for each page the ids of those that overlap it, as far as they are not too many."""
    span = span_of(pages)
    if span is None or not levels:
        return [[] for _ in pages]
    near = _near(connection, pool, platform_id, span, levels)
    if near is None:
        return _overlapping_each(connection, pool, platform_id, pages, levels)
    return [[ids for low, high, ids in near if low <= page.high and high >= page.low] if near else [] for page in pages]


def _near(
    connection: sa.Connection, pool: PoolRef, platform_id: int, span: Span, levels: Sequence[int]
) -> list[tuple[bytes, bytes, EventIds]] | None:
    """Returns the first and the last id and all ids of the pages that overlap a span; None if they are too many.

    Where ids ascend there are next to none: this asks once for each level, and not for each page too.
    """
    low, high = span
    begins = array_of([low])
    earliest = [(level, Value(earliest_lows(begins, level).tobytes())) for level in levels]
    asked = [*chain.from_iterable(earliest), pool.pool_id, platform_id, Value(high), Value(low), _NEAR_MAX]
    rows = ask(connection, _near_at(len(levels)), asked).fetchall()
    if len(rows) >= _NEAR_MAX:
        return None
    return [(first.bytes, last.bytes, unpacked(first.bytes, width, ids)) for first, last, width, ids in rows]


@lru_cache
def _near_at(levels: int) -> str:
    return _NEAR.format(", ".join(["(%s::smallint, %b::uuid)"] * levels))


def _overlapping_each(
    connection: sa.Connection, pool: PoolRef, platform_id: int, pages: Sequence[Page], levels: Sequence[int]
) -> list[list[EventIds]]:
    """Returns the same, found for each page by itself."""
    found: list[list[EventIds]] = [[] for _ in pages]
    lows, highs = array_of(page.low for page in pages), array_of(page.high for page in pages)
    asked = [
        *_at_each_level(lows, levels),
        uuids(np.tile(lows, len(levels))).as_array(),
        uuids(np.tile(highs, len(levels))).as_array(),
        pool.pool_id,
        platform_id,
        OVERLAPS_MAX + 1,
    ]
    for place, low, width, ids in ask(connection, _OVERLAPPING, asked).fetchall():
        found[place].append(unpacked(low.bytes, width, ids))
    return found


_IN_PAGES: Final = """
SELECT place, page.batch_number, page.low, page.width, page.ids
FROM unnest(%b::integer[], %b::smallint[], %b::uuid[], %b::uuid[]) AS asked (place, level, earliest, event_id)
CROSS JOIN LATERAL (
    SELECT page.batch_number, page.low, page.width, page.ids FROM claim_page AS page
    WHERE pool_id = %s AND platform_id = %s AND page.level = asked.level
        AND page.low BETWEEN asked.earliest AND asked.event_id AND page.high >= asked.event_id
        AND position(substring(uuid_send(asked.event_id) FROM 17 - page.width) IN page.ids) > 0
    ORDER BY page.low
) AS page
"""


def find_in_pages(
    connection: sa.Connection, pool: PoolRef, platform_id: int, ids: EventIds, levels: Sequence[int]
) -> list[tuple[int, int]]:
    """Returns the place of each id that a page has, with the page's batch number."""
    found: list[tuple[int, int]] = []
    for start in range(0, len(ids) if levels else 0, _LOOKED_UP_AT_ONCE):
        part = ids[start : start + _LOOKED_UP_AT_ONCE]
        asked = [
            *_at_each_level(part, levels),
            uuids(np.tile(part, len(levels))).as_array(),
            pool.pool_id,
            platform_id,
        ]
        for place, number, low, width, packed in ask(connection, _IN_PAGES, asked).fetchall():
            # Postgres also finds an id's last bytes across two others.
            if known_among(part[place : place + 1], unpacked(low.bytes, width, packed)).all():
                found.append((start + place, number))
    return found


def _at_each_level(ids: EventIds, levels: Sequence[int]) -> list[Any]:
    """Returns arrays for a search at each level: places of the ids, levels, and where pages that have them begin."""
    return [
        int4s(np.tile(np.arange(len(ids)), len(levels))).as_array(),
        int2s(np.repeat(np.array(levels), len(ids)).tolist()).as_array(),
        uuids(np.concatenate([earliest_lows(ids, level) for level in levels])).as_array(),
    ]


_IN_RANGES: Final = """
SELECT place, count(*), string_agg(uuid_send(event_id), ''::bytea) FILTER (WHERE platform_id = %s)
FROM unnest(%b::integer[], %b::uuid[], %b::uuid[]) AS asked (place, low, high)
CROSS JOIN LATERAL (
    SELECT event_id, platform_id FROM event
    WHERE pool_id = %s AND event_id BETWEEN asked.low AND asked.high ORDER BY event_id LIMIT %s
) AS found
GROUP BY place
"""


def rows_among(connection: sa.Connection, pool: PoolRef, platform_id: int, pages: Sequence[Page]) -> Iterator[EventIds]:
    """Yields those ids of the pages that have a row."""
    if not pages:
        return
    asked = [
        platform_id,
        int4s(np.arange(len(pages))).as_array(),
        uuids(array_of(page.low for page in pages)).as_array(),
        uuids(array_of(page.high for page in pages)).as_array(),
        pool.pool_id,
        _RANGE_ROWS_MAX,
    ]
    for place, count, found in ask(connection, _IN_RANGES, asked).fetchall():
        ids = pages[place].ids
        if count == _RANGE_ROWS_MAX:
            free = EventClaim(platform_id, 0, ids).find_free(connection, pool)
            yield ids[~free]
        elif found:
            yield ids[known_among(ids, np.frombuffer(found, dtype="V16"))]


def array_of(ids: Iterable[bytes]) -> EventIds:
    """Returns (n,) ids of 16 bytes each."""
    return np.frombuffer(b"".join(ids), dtype="V16")
