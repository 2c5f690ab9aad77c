"""Claim pages in Postgres: what a platform's ids were found to be before the head of the log is locked, and again under
the lock.

No unique index keeps two pages from having the same id, so every writer looks twice. It notes the log's size, looks at
pages and rows, and writes its own. Once it has locked the head of the log, everything that was recorded from that size
on is committed and visible, and nothing more comes: if its platform recorded an id of its own there, it rolls back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast
from uuid import UUID

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from ledger.store import tables as t
from ledger.store.database import driver_connection
from ledger.store.log import PoolRef
from ledger.store.rows import byteas, int2s, int4s, int8s, put_rows, uuids
from ledger.store.usage.claims import EventClaim, EventsKnownError
from ledger.usage.batch import BoolArray, Int64Array
from ledger.usage.pages import EventIds, Page, cut, earliest_lows, known_among, unpacked

OVERLAPS_MAX: Final = 64
"""A page that would overlap more others is not written, and its ids go in as rows. So at most one page more than this
has a given id in its range, whatever ids a platform makes."""

_RANGE_ROWS_MAX: Final = 600
"""Rows of a page's range that are read. Where there are more, of any platform, each of the page's ids is looked up."""

_LOOKED_UP_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found of a claim.

    Attributes:
        size: the log's size before the look.
        pages: what may be written as pages; none has a known id.
        loose: the other ids, ascending; of known ones among them, only those that pages have are left out.
        known: (n,) which of the claim's ids were recorded before; of loose ids, which pages have.
        overlaps: how many pages each of `pages` overlaps.
    """

    claim: EventClaim
    size: int
    pages: tuple[Page, ...]
    loose: EventIds
    known: BoolArray
    overlaps: tuple[int, ...]

    def rows(self) -> EventClaim:
        """Returns the claim on the ids that are to be rows."""
        return replace(self.claim, event_ids=self.loose)


def look(connection: sa.Connection, pool: PoolRef, claims: Sequence[EventClaim]) -> list[Looked]:
    """Look at what is recorded. What is not stays so only if `require_still_free` says so, under the lock."""
    standing = _standing(connection, pool, {claim.platform_id for claim in claims})
    found: dict[int, Looked] = {}
    for platform_id, levels in standing.levels.items():
        places = [place for place, claim in enumerate(claims) if claim.platform_id == platform_id]
        looked = _look(connection, pool, [claims[place] for place in places], standing.size, levels)
        found.update(zip(places, looked, strict=True))
    return [found[place] for place in range(len(claims))]


def require_distinct(claims: Sequence[EventClaim]) -> None:
    """Check that no two of these claims of one transaction have an id of the same platform in common.

    Raises:
        EventsKnownError: two have.
    """
    for platform_id in {claim.platform_id for claim in claims}:
        ids = [claim.event_ids for claim in claims if claim.platform_id == platform_id]
        if len(ids) > 1 and len(np.unique(np.concatenate(ids))) < sum(map(len, ids)):
            raise EventsKnownError


def put_pages(connection: sa.Connection, pool: PoolRef, looked: Sequence[Looked]) -> None:
    """Write the pages of claims."""
    pages = [(one.claim, page) for one in looked for page in one.pages]
    put_rows(
        connection,
        t.claim_page,
        pool.pool_id,
        {
            "platform_id": int4s([claim.platform_id for claim, _ in pages]),
            "level": int2s([page.level for _, page in pages]),
            "low": uuids(_array(page.low for _, page in pages)),
            "high": uuids(_array(page.high for _, page in pages)),
            "batch_number": int8s([claim.batch_number for claim, _ in pages]),
            "width": int2s([page.width for _, page in pages]),
            "ids": byteas([page.packed() for _, page in pages]),
        },
    )


def require_still_free(connection: sa.Connection, pool: PoolRef, looked: Sequence[Looked], size: int) -> None:
    """Check that nothing that was recorded since the look has one of the ids that the claims add.

    Args:
        connection: one that holds the lock on the log's head.
        pool: the pool.
        looked: the claims that this transaction writes.
        size: the log's size under the lock.

    Raises:
        EventsKnownError: something has, or overlaps too many of the pages.
    """
    for platform_id in {one.claim.platform_id for one in looked}:
        mine = [one for one in looked if one.claim.platform_id == platform_id]
        since = min(one.size for one in mine)
        recorded = _recorded_since(connection, pool, platform_id, since) if since < size else None
        if recorded is not None:
            _require_apart(connection, pool, mine, recorded)


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
    levels = _standing(connection, pool, [platform_id]).levels[platform_id]
    ids = _array(event_id.bytes for event_id in event_ids if event_id not in found)
    for place, number in _in_pages(connection, pool, platform_id, ids, levels):
        found[UUID(bytes=ids[place].tobytes())] = number
    return found


@dataclass(frozen=True, slots=True)
class _Standing:
    """The log's size, and of each platform the levels that its pages have."""

    size: int
    levels: dict[int, list[int]]


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
)
FROM head CROSS JOIN unnest(%(platforms)s::integer[]) AS asked (platform_id) WHERE pool_id = %(pool)s
"""


def _standing(connection: sa.Connection, pool: PoolRef, platform_ids: Iterable[int]) -> _Standing:
    asked = {"pool": pool.pool_id, "platforms": sorted(platform_ids)}
    rows = cast(
        "list[tuple[int, int, list[int]]]",
        driver_connection(connection).execute(_STANDING, asked, prepare=True).fetchall(),
    )
    return _Standing(rows[0][0], {platform_id: levels for _, platform_id, levels in rows})


def _look(
    connection: sa.Connection, pool: PoolRef, claims: Sequence[EventClaim], size: int, levels: Sequence[int]
) -> list[Looked]:
    """Look at claims of one platform together, whose pages have these levels."""
    cuts = [cut(claim.event_ids) for claim in claims]
    pages = [page for kept, _ in cuts for page in kept]
    in_rows = [*_rows_among(connection, pool, claims[0].platform_id, pages)]
    overlapping = iter(_overlapping(connection, pool, claims[0].platform_id, pages, levels))
    apart = [_apart(kept, loose, [next(overlapping) for _ in kept]) for kept, loose in cuts]
    all_loose = np.concatenate([one.loose for one in apart])
    in_pages = [place for place, _ in _in_pages(connection, pool, claims[0].platform_id, all_loose, levels)]
    shared = [*in_rows, all_loose[in_pages]]
    found = []
    for claim, one in zip(claims, apart, strict=True):
        # Of these the platform has others too, near to the claim's.
        known = known_among(claim.event_ids, np.concatenate([*shared, *one.others]))
        looked = Looked(claim, size, tuple(one.pages), one.loose, known, tuple(one.overlaps))
        found.append(_without_known(looked) if known.any() else looked)
    return found


@dataclass(frozen=True, slots=True)
class _Apart:
    """A claim's pages that may be written, how many each overlaps, the ids of those, and the claim's other ids."""

    pages: list[Page]
    overlaps: list[int]
    others: list[EventIds]
    loose: EventIds


def _apart(pages: Sequence[Page], loose: EventIds, overlapping: Sequence[Sequence[EventIds]]) -> _Apart:
    kept: list[Page] = []
    overlaps: list[int] = []
    others: list[EventIds] = []
    for page, near in zip(pages, overlapping, strict=True):
        if len(near) > OVERLAPS_MAX:
            loose = np.concatenate([loose, page.ids])
            continue
        kept.append(page)
        overlaps.append(len(near))
        others += near
    return _Apart(kept, overlaps, others, loose[_ascending(loose)])


def _without_known(looked: Looked) -> Looked:
    """Returns it without the ids that are known, and with the pages that are then too small as loose ids."""
    known_ids = looked.claim.event_ids[looked.known]
    pages, overlaps, loose = [], [], [looked.loose[~known_among(looked.loose, known_ids)]]
    for page, count in zip(looked.pages, looked.overlaps, strict=True):
        left, rest = cut(page.ids[~known_among(page.ids, known_ids)])
        loose.append(rest)
        pages += left
        overlaps += [count] * len(left)
    ids = np.concatenate(loose)
    return replace(looked, pages=tuple(pages), overlaps=tuple(overlaps), loose=ids[_ascending(ids)])


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


def _overlapping(
    connection: sa.Connection, pool: PoolRef, platform_id: int, pages: Sequence[Page], levels: Sequence[int]
) -> list[list[EventIds]]:
    """Returns for each page the ids of those that overlap it, as far as they are not too many."""
    found: list[list[EventIds]] = [[] for _ in pages]
    if not pages or not levels:
        return found
    lows, highs = _array(page.low for page in pages), _array(page.high for page in pages)
    asked = [
        *_at_each_level(lows, levels),
        uuids(np.tile(lows, len(levels))).as_array(),
        uuids(np.tile(highs, len(levels))).as_array(),
        pool.pool_id,
        platform_id,
        OVERLAPS_MAX + 1,
    ]
    cursor = driver_connection(connection).cursor(binary=True)
    for place, low, width, ids in cast("Any", cursor.execute(_OVERLAPPING, asked, prepare=True)):
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


def _in_pages(
    connection: sa.Connection, pool: PoolRef, platform_id: int, ids: EventIds, levels: Sequence[int]
) -> list[tuple[int, int]]:
    """Returns the place of each id that a page has, with the page's batch number."""
    found: list[tuple[int, int]] = []
    cursor = driver_connection(connection).cursor(binary=True)
    for start in range(0, len(ids) if levels else 0, _LOOKED_UP_AT_ONCE):
        part = ids[start : start + _LOOKED_UP_AT_ONCE]
        asked = [
            *_at_each_level(part, levels),
            uuids(np.tile(part, len(levels))).as_array(),
            pool.pool_id,
            platform_id,
        ]
        for place, number, low, width, packed in cast("Any", cursor.execute(_IN_PAGES, asked, prepare=True)):
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


def _rows_among(
    connection: sa.Connection, pool: PoolRef, platform_id: int, pages: Sequence[Page]
) -> Iterator[EventIds]:
    """Yields those ids of the pages that have a row."""
    if not pages:
        return
    asked = [
        platform_id,
        int4s(np.arange(len(pages))).as_array(),
        uuids(_array(page.low for page in pages)).as_array(),
        uuids(_array(page.high for page in pages)).as_array(),
        pool.pool_id,
        _RANGE_ROWS_MAX,
    ]
    cursor = driver_connection(connection).cursor(binary=True)
    for place, count, found in cast("Any", cursor.execute(_IN_RANGES, asked, prepare=True).fetchall()):
        ids = pages[place].ids
        if count == _RANGE_ROWS_MAX:
            free = EventClaim(platform_id, 0, ids).find_free(connection, pool)
            yield ids[~free]
        elif found:
            yield ids[known_among(ids, np.frombuffer(found, dtype="V16"))]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Pages that were recorded since a look: (n,) of each."""

    lows: EventIds
    highs: EventIds
    widths: list[int]
    packed: list[bytes]

    def ids_near(self, ids: EventIds) -> EventIds:
        """Returns the ids of those pages that have one of `ids`, ascending, in their range, or may have."""
        mine = _high_halves(ids)
        starts, ends = (
            np.searchsorted(mine, _high_halves(self.lows)),
            np.searchsorted(mine, _high_halves(self.highs), side="right"),
        )
        near = [
            unpacked(self.lows[place].tobytes(), self.widths[place], self.packed[place])
            for place in np.flatnonzero(starts < ends).tolist()
        ]
        return np.concatenate([ids[:0], *near])

    def overlap_counts(self, pages: Sequence[Page]) -> list[int]:
        """Returns how many of these pages overlap each of `pages`."""
        lows, highs = (sorted(one.tobytes() for one in ends) for ends in (self.lows, self.highs))
        return [bisect_right(lows, page.high) - bisect_left(highs, page.low) for page in pages]


_RECORDED_SINCE: Final = """
SELECT page.low, page.high, page.width, page.ids
FROM batch LEFT JOIN claim_page AS page
    ON page.pool_id = batch.pool_id AND page.batch_number = batch.batch_number AND page.platform_id = batch.platform_id
WHERE batch.pool_id = %s AND batch.platform_id = %s AND batch.leaf_index >= %s
"""


def _recorded_since(connection: sa.Connection, pool: PoolRef, platform_id: int, size: int) -> _Recorded | None:
    """Returns the pages of a platform's batches from a log's size on; None if it has no such batch."""
    cursor = driver_connection(connection).cursor(binary=True)
    rows = cast("Any", cursor.execute(_RECORDED_SINCE, (pool.pool_id, platform_id, size), prepare=True).fetchall())
    if not rows:
        return None
    found = [row for row in rows if row[0] is not None]
    return _Recorded(
        _array(low.bytes for low, _, _, _ in found),
        _array(high.bytes for _, high, _, _ in found),
        [width for _, _, width, _ in found],
        [packed for _, _, _, packed in found],
    )


def _require_apart(connection: sa.Connection, pool: PoolRef, looked: Sequence[Looked], recorded: _Recorded) -> None:
    pages = [page for one in looked for page in one.pages]
    if any(len(found) for found in _rows_among(connection, pool, looked[0].claim.platform_id, pages)):
        raise EventsKnownError
    for one in looked:
        ids = one.claim.event_ids[~one.known]
        if known_among(ids, recorded.ids_near(ids)).any():
            raise EventsKnownError
        for before, more in zip(one.overlaps, recorded.overlap_counts(one.pages), strict=True):
            if before + more > OVERLAPS_MAX:
                raise EventsKnownError


def _array(ids: Iterable[bytes]) -> EventIds:
    return np.frombuffer(b"".join(ids), dtype="V16")


def _ascending(ids: EventIds) -> Int64Array:
    halves = ids.view(">u8").reshape(-1, 2)
    return np.lexsort((halves[:, 1], halves[:, 0]))


def _high_halves(ids: EventIds) -> npt.NDArray[np.uint64]:
    return ids.view(">u8").reshape(-1, 2)[:, 0].astype(np.uint64)
