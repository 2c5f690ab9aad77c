"""The first look at a platform's ids, before the head of the log is locked: which are recorded, and what becomes pages.

No unique index keeps two pages from having the same id, so every writer looks twice. It notes the log's size, looks at
pages and rows, and writes its own. What it does under the lock is in `second_look`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import sqlalchemy as sa

from ledger.store.logs.log import PoolRef
from ledger.store.usage.claims import EventClaim, EventsKnownError
from ledger.store.usage.pages import OVERLAPS_MAX, ask_standing, find_in_pages, find_overlapping, rows_among
from ledger.usage.batch import BoolArray
from ledger.usage.pages import EventIds, Page, are_distinct, ascending, cut, known_among


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
        return replace(self.claim, event_ids=self.loose, cut=None)


def look(connection: sa.Connection, pool: PoolRef, claims: Sequence[EventClaim]) -> list[Looked]:
    """Look at what is recorded. What is not stays so only if `second_look` says so, under the lock."""
    return ask(connection, pool, claims)()


def ask(connection: sa.Connection, pool: PoolRef, claims: Sequence[EventClaim]) -> Callable[[], list[Looked]]:
    """Begin to look; returns what waits for the answer and looks on. In a pipeline this itself waits for nothing."""
    standing = ask_standing(connection, pool, claims)
    cuts = [claim.cut or cut(claim.event_ids) for claim in claims]

    def looked() -> list[Looked]:
        found: dict[int, Looked] = {}
        for size, platform_id, levels, any_rows in standing.fetchall():
            places = [place for place, claim in enumerate(claims) if claim.platform_id == platform_id]
            mine = [(claims[place], *cuts[place]) for place in places]
            of_platform = _look(connection, pool, mine, size, levels, any_rows=any_rows)
            found.update(zip(places, of_platform, strict=True))
        return [found[place] for place in range(len(claims))]

    return looked


def require_distinct(claims: Sequence[EventClaim]) -> None:
    """Check that no two of these claims of one transaction have an id of the same platform in common.

    Raises:
        EventsKnownError: two have.
    """
    for platform_id in {claim.platform_id for claim in claims}:
        ids = [claim.event_ids for claim in claims if claim.platform_id == platform_id and len(claim.event_ids)]
        # Where ids ascend with time, each claim's mostly follow another's as a whole.
        spans = sorted((each[0].tobytes(), each[-1].tobytes()) for each in ids)
        lie_apart = all(last < first for (_, last), (first, _) in pairwise(spans))
        if not lie_apart and not are_distinct(np.concatenate(ids)):
            raise EventsKnownError


def _look(
    connection: sa.Connection,
    pool: PoolRef,
    claims: Sequence[tuple[EventClaim, Sequence[Page], EventIds]],
    size: int,
    levels: Sequence[int],
    *,
    any_rows: bool,
) -> list[Looked]:
    """Look at claims of one platform together, each with its pages and its other ids.

    Args:
        connection: the one that will write.
        pool: the pool.
        claims: in any order.
        size: the log's size before the look.
        levels: those that the platform's pages have.
        any_rows: whether there may be a row of any platform among the ids of the pages.
    """
    platform_id = claims[0][0].platform_id
    pages = [page for _, kept, _ in claims for page in kept]
    in_rows = [*rows_among(connection, pool, platform_id, pages)] if any_rows else []
    overlapping = iter(find_overlapping(connection, pool, platform_id, pages, levels))
    apart = [_apart(kept, loose, [next(overlapping) for _ in kept]) for _, kept, loose in claims]
    all_loose = np.concatenate([one.loose for one in apart])
    in_pages = [place for place, _ in find_in_pages(connection, pool, platform_id, all_loose, levels)]
    shared = [*in_rows, all_loose[in_pages]]
    found = []
    for (claim, _, _), one in zip(claims, apart, strict=True):
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
    return _Apart(kept, overlaps, others, ascending(loose))


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
    return replace(looked, pages=tuple(pages), overlaps=tuple(overlaps), loose=ascending(ids))
