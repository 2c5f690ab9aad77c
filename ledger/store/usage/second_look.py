"""The second look at claim pages: under the lock on the log's head, at what was recorded since the first.

Once a writer has locked the head, everything that was recorded from the size on that its first look noted is committed
and visible, and nothing more comes: if its platform recorded an id of its own there, it rolls back.

Everybody else who appends to the log waits meanwhile. So it is asked in the round trip that locks the head, and what
lies apart from the writer's ids is neither read nor sent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from ledger.store.logs.log import PoolRef
from ledger.store.postgres.statements import Answer
from ledger.store.postgres.transactions import ask
from ledger.store.postgres.values import Value
from ledger.store.usage.claims import EventsKnownError
from ledger.store.usage.first_look import Looked
from ledger.store.usage.pages import OVERLAPS_MAX, array_of, rows_among, span_of
from ledger.usage.pages import EventIds, Page, known_among, unpacked


def look_again(connection: sa.Connection, pool: PoolRef, looked: Sequence[Looked]) -> Callable[[], None]:
    """Ask what was recorded since a look; returns what waits for the answer and checks it.

    Args:
        connection: one that holds the lock on the log's head, or in a pipeline has asked for it.
        pool: the pool.
        looked: the claims that this transaction writes.

    Raises:
        EventsKnownError: in the check, if what was recorded has one of the ids that the claims add, or overlaps too
            many of the pages.
    """
    asked = []
    for platform_id in {one.claim.platform_id for one in looked}:
        mine = [one for one in looked if one.claim.platform_id == platform_id]
        asked.append((mine, _ask(connection, pool, platform_id, mine)))

    def require_still_free() -> None:
        for mine, answer in asked:
            recorded = _recorded(answer)
            if recorded is not None:
                _require_apart(connection, pool, mine, recorded)

    return require_still_free


# The numbers are few, and Postgres thinks so: of `leaf_index >= ...` it would expect a third of all batches. LATERAL
# and OFFSET keep it from reading all pages of the platform to join them.
_RECORDED_SINCE: Final = """
SELECT page.low, page.high, page.width, page.ids,
    EXISTS (SELECT FROM event WHERE event.pool_id = %(pool)s AND event_id BETWEEN %(page_low)b AND %(page_high)b)
FROM batch LEFT JOIN LATERAL (
    SELECT low, high, width, ids FROM claim_page
    WHERE claim_page.pool_id = %(pool)s AND claim_page.batch_number = batch.batch_number
        AND high >= %(low)b AND low <= %(high)b
    OFFSET 0
) AS page ON true
WHERE batch.pool_id = %(pool)s AND batch.platform_id = %(platform)s AND batch.leaf_index = ANY (ARRAY(
    SELECT generate_series(%(since)s::bigint, size - 1) FROM head WHERE head.pool_id = %(pool)s
))
"""


def _ask(connection: sa.Connection, pool: PoolRef, platform_id: int, mine: Sequence[Looked]) -> Answer:
    span = span_of(page for one in mine for page in one.pages)
    ids = [one.claim.event_ids for one in mine if len(one.claim.event_ids)]
    page_low, page_high = map(Value, span) if span else (None, None)
    asked = {
        "pool": pool.pool_id,
        "platform": platform_id,
        "since": min(one.size for one in mine),
        "page_low": page_low,
        "page_high": page_high,
        "low": Value(min(each[0].tobytes() for each in ids)) if ids else None,
        "high": Value(max(each[-1].tobytes() for each in ids)) if ids else None,
    }
    return ask(connection, _RECORDED_SINCE, asked)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What was recorded since a look: (n,) of each of the pages near the claims' ids.

    Attributes:
        near_rows: whether there is a row of any platform, new or old, among the pages that were looked at.
    """

    lows: EventIds
    highs: EventIds
    widths: list[int]
    packed: list[bytes]
    near_rows: bool

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


def _recorded(answer: Answer) -> _Recorded | None:
    """Returns what a platform's batches recorded; None if it has no new batch."""
    rows = answer.fetchall()
    if not rows:
        return None
    found = [row for row in rows if row[0] is not None]
    return _Recorded(
        array_of(low.bytes for low, *_ in found),
        array_of(high.bytes for _, high, *_ in found),
        [width for _, _, width, _, _ in found],
        [packed for _, _, _, packed, _ in found],
        rows[0][4],
    )


def _require_apart(connection: sa.Connection, pool: PoolRef, looked: Sequence[Looked], recorded: _Recorded) -> None:
    pages = [page for one in looked for page in one.pages]
    if recorded.near_rows and any(
        len(found) for found in rows_among(connection, pool, looked[0].claim.platform_id, pages)
    ):
        raise EventsKnownError
    if not len(recorded.lows):
        return
    for one in looked:
        ids = one.claim.event_ids[~one.known]
        if known_among(ids, recorded.ids_near(ids)).any():
            raise EventsKnownError
        for before, more in zip(one.overlaps, recorded.overlap_counts(one.pages), strict=True):
            if before + more > OVERLAPS_MAX:
                raise EventsKnownError


def _high_halves(ids: EventIds) -> npt.NDArray[np.uint64]:
    return ids.view(">u8").reshape(-1, 2)[:, 0].astype(np.uint64)
