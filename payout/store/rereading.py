"""A round's usage read again as a membership or a method would have it, for previews of proposals.

Batches of scores are read as they came, so the stored weights say nothing of another membership: the bodies do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import sqlalchemy as sa

from ledger.acts.act import ActContent
from ledger.errors import InvalidInputError, Sentence, StateError
from ledger.log.leaves import decode
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import PoolRef
from ledger.store.pools import methods
from ledger.store.pools.numbers import collective_numbers
from ledger.store.registry.collectives import collective_names
from ledger.store.usage.readings import Readings
from ledger.usage.batch import Batch, BoolArray
from ledger.usage.entries import MembershipContent, MethodContent, RetractionContent, UsageContent, decode_positions
from ledger.usage.format import months_of
from ledger.usage.membership import parse_membership
from ledger.usage.methods import method_of
from ledger.usage.reading import Reading
from ledger.usage.weights import weigh
from payout.periods import Taken
from payout.weights import UsageKey, UsageSum, WeightSum

MAX_BYTES: Final = 64 * 2**20
"""Of bodies that are read again for one preview, each twice: some seconds."""

MAX_BATCHES: Final = 2_000
"""Batches and retractions that are read again for one preview."""


MAX_METHODS: Final = 1_000_000
"""More than a pool has versions of methods: all are looked at."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """An act that a round is to be calculated under, and where the bodies lie that it may have to read again."""

    act: ActContent
    bodies: Bodies


@dataclass(frozen=True, slots=True)
class _Part:
    """Events of a batch that count, with their sign: those accepted, or those retracted."""

    leaf_index: int
    batch: UsageContent
    positions: list[int]
    are_left_out: bool
    """Whether the positions are the events that do not count, rather than those that do."""
    sign: int

    def counted(self, batch: Batch, taken: Taken, before: int | None) -> BoolArray:
        """Which of the batch's events the part has, of months before one if it is given, that no round took."""
        chosen = np.full(len(batch), self.are_left_out, dtype=np.bool_)
        chosen[self.positions] = not self.are_left_out
        months = months_of(batch.occurred_at)
        if before is not None:
            chosen &= months < before
        if self.leaf_index < taken.end:
            chosen &= months >= taken.month
        return chosen


class Rereading:
    """Reads batches again as an act would have had them read.

    Args:
        connection: a transaction's that sees one moment.
        pool: whose batches.
        proposed: a membership or a method; any other act changes no reading.
    """

    def __init__(self, connection: sa.Connection, pool: PoolRef, proposed: Proposed) -> None:
        self._connection, self._pool, self._bodies, self._act = connection, pool, proposed.bodies, proposed.act
        self._readings = Readings()
        self._of_act = self._reading_of_act()

    def change(self, taken: Taken, end: int, before: int | None = None) -> dict[UsageKey, UsageSum]:
        """Returns what is to be added to `rounds.usage_sums` of the same; no events, since none is more or fewer.

        Raises:
            StateError: it is too much to be read again, or a batch cannot be read so.
        """
        if self._of_act is None:
            return {}
        running, size = WeightSum(), 0
        for count, part in enumerate(self._parts(taken.since, end), 1):
            then = self._readings.then(self._connection, self._pool, part.batch)
            other = self._otherwise(then, part.batch)
            if other is None:
                continue
            size += part.batch.body_bytes
            if size > MAX_BYTES or count > MAX_BATCHES:
                detail = Sentence(
                    "has more usage to read again than %(batches)s batches or %(bytes)s bytes",
                    batches=MAX_BATCHES,
                    bytes=MAX_BYTES,
                )
                raise StateError(f"pools/{self._pool.name}", "TOO_MUCH_TO_READ_AGAIN", detail)
            body = self._bodies.checked(self._connection, self._pool, bytes.fromhex(part.batch.body_sha256))
            for reading, sign in ((then, -part.sign), (other, part.sign)):
                batch = self._read(reading, body, part.batch)
                self._add(running, part, batch, part.counted(batch, taken, before), sign)
        names = collective_names(self._connection)
        return {key: _without_zeros(found) for key, found in running.totals(names).items()}

    def _reading_of_act(self) -> Reading | None:
        """What the act says of bodies; None if it says nothing. A membership leaves the rule to the method."""
        match self._act:
            case MembershipContent(body_sha256=digest):
                body = log.checked_body(self._connection, self._pool, bytes.fromhex(digest))
                return Reading(None, parse_membership(body))
            case MethodContent():
                method = method_of(self._act, 0)
                return self._readings.now(self._connection, self._pool, method) if method.score_rule else None
            case _:
                return None

    def _otherwise(self, then: Reading, batch: UsageContent) -> Reading | None:
        """How a batch would have been read; None if as it was."""
        if then.rule is None or self._of_act is None:
            return None
        match self._act:
            case MembershipContent(membership=name) if batch.membership_version is not None:
                return replace(then, membership=self._of_act.membership) if batch.membership == name else None
            case MethodContent(method=name, membership=membership) if batch.method == name:
                is_same = (self._of_act.rule, membership) == (then.rule, batch.membership)
                return None if is_same else self._of_act
            case _:
                return None

    def _read(self, reading: Reading, body: bytes, batch: UsageContent) -> Batch:
        try:
            return reading.usage(body)
        except InvalidInputError as error:
            detail = Sentence(
                "has batch %(batch)s of %(platform)s, which cannot be read so: %(why)s",
                batch=batch.batch_id,
                platform=batch.platform,
                why=str(error),
            )
            raise StateError(f"pools/{self._pool.name}", "NOT_READABLE_SO", detail) from None

    def _add(self, running: WeightSum, part: _Part, batch: Batch, counted: BoolArray, sign: int) -> None:
        numbers = collective_numbers(self._connection, batch.names)
        for mode, weights in weigh(batch, counted).items():
            key = UsageKey(part.batch.method, part.batch.method_version, mode)
            running.add(key, replace(weights, events=0, index=numbers[weights.index]), sign=sign)

    def _parts(self, start: int, end: int) -> Iterator[_Part]:
        """Batches and retractions in [start, end) whose method the act may be about."""
        for entry in self._entries(t.batch, t.batch.c.batch_number, start, end):
            usage = decode(entry, {UsageContent.type: UsageContent})
            yield _Part(
                usage.index, usage.content, decode_positions(usage.content.duplicates), are_left_out=True, sign=1
            )
        for entry in self._entries(t.retraction, t.retraction.c.weights_number, start, end):
            back = decode(entry, {RetractionContent.type: RetractionContent})
            retraction = back.content
            leaf = log.read_leaf(self._connection, self._pool, retraction.batch_leaf)
            content = decode(leaf.entry, {UsageContent.type: UsageContent}).content
            yield _Part(back.index, content, decode_positions(retraction.positions), are_left_out=False, sign=-1)

    def _entries(self, table: sa.Table, number: sa.Column[int], start: int, end: int) -> list[bytes]:
        weights = t.batch_weights
        is_about = (
            sa.exists()
            .where(weights.c.pool_id == table.c.pool_id, weights.c.batch_number == number)
            .where(weights.c.method.in_(self._methods()))
        )
        query = (
            sa.select(t.leaf.c.entry)
            .join_from(
                table, t.leaf, (t.leaf.c.pool_id == table.c.pool_id) & (t.leaf.c.leaf_index == table.c.leaf_index)
            )
            .where(
                table.c.pool_id == self._pool.pool_id, table.c.leaf_index >= start, table.c.leaf_index < end, is_about
            )
            .order_by(table.c.leaf_index)
            .limit(MAX_BATCHES + 1)
        )
        return [bytes(entry) for entry in self._connection.execute(query).scalars()]

    def _methods(self) -> set[str]:
        if isinstance(self._act, MethodContent):
            return {self._act.method}
        known = methods.list_methods(self._connection, self._pool, limit=MAX_METHODS)
        return {
            each.name
            for each in known
            if isinstance(self._act, MembershipContent) and each.membership == self._act.membership
        }


def _without_zeros(found: UsageSum) -> UsageSum:
    """The sum without collectives of which nothing changes."""
    named = [name for name, weight in found.attributed.items() if weight or found.counts[name]]
    return replace(
        found,
        attributed={name: found.attributed[name] for name in named},
        counts={name: found.counts[name] for name in named},
    )
