"""The registry as of each of its sizes, from one fold of its log, for checks of many pools.

A pool's acts and rounds are judged by sizes of the registry's log that only ascend. For one pool a `RegistryFold` that
goes along is enough; for the next it would begin again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from audit.findings import Finding, FoundError
from audit.folds.payments import PaymentsFold
from audit.folds.registry import RegistryFold
from audit.reader import LogReader
from ledger.acts.entries import CollectiveContent, PoolOpenedContent
from ledger.acts.people import PEOPLE_KINDS, People
from ledger.log.leaves import Leaf
from ledger.log.merkle import HASH_BYTES, Frontier
from ledger.registry import Collective

_STEP: Final = 4_096
"""Leaves between two right edges that are kept: so many hashes are taken again at most."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class RegistryHistory:
    """What a registry's log says, with the sizes from which on it does. It is folded when it is first looked at."""

    log: LogReader
    found: Finding | None = None
    """Why the log cannot be followed to its end, if it cannot."""
    _fold: RegistryFold = field(init=False)
    _times: array[int] = field(default_factory=lambda: array("q"))
    """Of all leaves, in microseconds since 1970."""
    _people: list[tuple[int, People]] = field(default_factory=list)
    """(size, who may act from it on), by size."""
    _collectives: dict[str, tuple[list[int], list[Collective]]] = field(default_factory=dict)
    """By name: the leaves that say something of it, and what."""
    _opened: dict[int, PoolOpenedContent] = field(default_factory=dict)
    _edges: list[Frontier] = field(default_factory=lambda: [Frontier()])
    """The log's right edge at every `_STEP`th size."""

    def __post_init__(self) -> None:
        self._fold = RegistryFold(self.log, self._see)

    def require(self, size: int) -> None:
        """Check that the log can be followed to a size, or as far as it goes.

        Raises:
            FoundError: it cannot; the same each time.
        """
        if not self._times and self.found is None:
            try:
                self._fold.advance(self.log.size())
            except FoundError as found:
                self.found = found.finding
        if self.found is not None and size > len(self._times):
            raise FoundError(self.found)

    def size(self) -> int:
        """How many leaves could be followed."""
        return len(self._times)

    def _see(self, leaf: Leaf[Any]) -> None:
        if self._fold.size % _STEP == 0:
            self._edges.append(replace(self._fold.frontier))
        self._times.append((leaf.time - _EPOCH) // _MICROSECOND)
        match leaf.content:
            case CollectiveContent(collective=name):
                leaves, said = self._collectives.setdefault(name, ([], []))
                leaves.append(leaf.index)
                said.append(self._fold.collectives[name])
            case PoolOpenedContent():
                self._opened[leaf.index] = leaf.content
            case content if content.type in PEOPLE_KINDS:
                self._people.append((leaf.index + 1, deepcopy(self._fold.people)))

    def edge(self, size: int) -> Frontier:
        """The right edge of the log's first leaves."""
        edge = replace(self._edges[size // _STEP])
        for place in range(edge.size, size):
            edge.append(bytes(self._fold.hashes[HASH_BYTES * place : HASH_BYTES * (place + 1)]))
        return edge

    def time(self, leaf_index: int) -> datetime | None:
        """When a leaf was logged; None if there is none."""
        if not 0 <= leaf_index < len(self._times):
            return None
        return _EPOCH + self._times[leaf_index] * _MICROSECOND

    def people(self, size: int) -> People:
        """Who may act after so many leaves."""
        place = bisect_left(self._people, size + 1, key=lambda found: found[0])
        return replace(self._people[place - 1][1], size=size) if place else People()

    def collectives(self, size: int) -> list[Collective]:
        """The collectives after so many leaves, by the bytes of their names."""
        found = ((name, bisect_left(leaves, size), said) for name, (leaves, said) in self._collectives.items())
        return [said[count - 1] for _, count, said in sorted(found, key=lambda each: each[0]) if count]

    def has_platform(self, name: str, size: int) -> bool:
        """Whether a platform is registered after so many leaves."""
        return self._fold.platforms.get(name, size) < size

    @property
    def payments(self) -> PaymentsFold:
        """Pay runs and banks' files, by their leaves."""
        return self._fold.payments

    def collective_at(self, leaf_index: int) -> CollectiveContent | None:
        """What a leaf says of a collective; None if it says nothing of one."""
        return self._fold.collective_at(leaf_index)

    def opened(self, leaf_index: int) -> PoolOpenedContent | None:
        """What opened a pool at a leaf; None if nothing did."""
        return self._opened.get(leaf_index)


@dataclass(slots=True)
class RegistryView:
    """A registry's history as one pool's fold goes along it."""

    history: RegistryHistory
    size: int = 0
    people: People = field(default_factory=People)

    def people_at(self, size: int) -> People:
        """Who may act after so many leaves, or after all that there are where these are fewer."""
        self.history.require(size)
        wanted = max(self.size, min(size, self.history.size()))
        if wanted != self.people.size:
            self.size, self.people = wanted, self.history.people(wanted)
        return self.people

    def last_time(self) -> datetime | None:
        """When the last leaf below the size was logged."""
        return self.history.time(self.size - 1)

    def next_time(self) -> datetime | None:
        """When the leaf after it was logged; None if there is none."""
        return self.history.time(self.size)

    def opened_at(self, leaf_index: int) -> PoolOpenedContent | None:
        """What opened a pool at a leaf below the size; None if nothing did."""
        return self.history.opened(leaf_index) if leaf_index < self.size else None

    def has_platform(self, name: str) -> bool:
        """Whether a platform is registered."""
        return self.history.has_platform(name, self.size)

    @property
    def payments(self) -> PaymentsFold:
        """Pay runs and banks' files, by their leaves."""
        return self.history.payments

    def root(self) -> bytes:
        """The root of the leaves so far."""
        return self.history.edge(self.size).root()

    def collective_at(self, leaf_index: int) -> CollectiveContent | None:
        """What a leaf says of a collective; None if it says nothing of one."""
        return self.history.collective_at(leaf_index)

    def snapshot(self) -> list[Collective]:
        """The collectives, by the bytes of their names."""
        return self.history.collectives(self.size)
