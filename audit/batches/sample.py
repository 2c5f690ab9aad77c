"""Events drawn from a log by a stated seed, so that whoever has the log and the seed draws the same ones.

An event's place in the draw is the SHA-256 of the seed, a line feed, the platform's id, a line feed and the event's 16
bytes; the first in the order of these are drawn. So whoever chooses the seed after the log was signed gives no one a
way to choose what is drawn, and a larger sample holds every smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heappush, heappushpop
from typing import Any, Final
from uuid import UUID

from audit.batches.check import WeighedBatch
from ledger.log.leaves import Leaf
from ledger.usage.batch import Batch
from ledger.usage.ids import IdScheme

SAMPLE_MAX: Final = 10_000
"""Events in a sample, all of which are held in memory."""


@dataclass(frozen=True, slots=True)
class SampledEvent:
    """An event as its batch has it, with the shares that it was weighed by, in billionths.

    Attributes:
        id_scheme: what the platform's event ids are made of: `OWN`, its own record's id, or `ORDERED`, with the time.
        event_id: its id, which is the record's own where that is a UUID or ULID, or is derived from it.
        work_id: the work's; None where the batch has none.
        occurred_at: microseconds since 1970.
    """

    platform: str
    batch_id: str
    leaf_index: int
    position: int
    id_scheme: str
    event_id: UUID
    work_id: str | None
    occurred_at: int
    units: int
    mode: int
    shares: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Sample:
    """At most `size` of the events that count, drawn by a seed."""

    size: int
    seed: str
    _drawn: list[tuple[int, int, int, SampledEvent]] = field(default_factory=list)
    """A heap, the one to be replaced first: places in the draw with their sign turned."""

    def see(self, leaf: Leaf[Any], weighed: WeighedBatch) -> None:
        """Draw from the accepted events of a batch."""
        content = leaf.content
        begun = sha256(f"{self.seed}\n{content.platform}\n".encode())
        for position in weighed.accepted.nonzero()[0].tolist():
            hashed = begun.copy()
            hashed.update(weighed.event_ids[position].tobytes())
            place = -int.from_bytes(hashed.digest(), "big")
            if len(self._drawn) == self.size and place <= self._drawn[0][0]:
                continue
            found = (place, -leaf.index, -position, _event_at(leaf, weighed.whole(), position))
            (heappushpop if len(self._drawn) == self.size else heappush)(self._drawn, found)

    def drawn(self) -> list[SampledEvent]:
        """Returns the events in the order of the draw."""
        return [event for *_, event in sorted(self._drawn, key=lambda each: each[:3], reverse=True)]


def _event_at(leaf: Leaf[Any], batch: Batch, position: int) -> SampledEvent:
    amounts = range(batch.offsets[position], batch.offsets[position + 1])
    return SampledEvent(
        platform=leaf.content.platform,
        batch_id=leaf.content.batch_id,
        leaf_index=leaf.index,
        position=position,
        id_scheme=leaf.content.id_scheme or IdScheme.OWN,
        event_id=UUID(bytes=batch.event_ids[position].tobytes()),
        work_id=batch.work_ids[position].as_py(),
        occurred_at=int(batch.occurred_at[position]),
        units=int(batch.units[position]),
        mode=int(batch.modes[position]),
        shares=tuple((batch.names[batch.name_index[at]], int(batch.amounts[at])) for at in amounts),
    )
