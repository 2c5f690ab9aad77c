"""Batches checked and weighed, before anything of them is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256

import numpy as np
import sqlalchemy as sa

from ledger.errors import InvalidInputError, LedgerError, or_error, or_raise
from ledger.store.logs.log import PoolRef
from ledger.store.pools import admissions
from ledger.store.pools.numbers import CollectiveNumbers, Numbered
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from ledger.store.registry.platforms import platform_number
from ledger.store.usage import limits
from ledger.store.usage.batches import BatchIdentity
from ledger.store.usage.claims import EventClaim
from ledger.store.usage.id_schemes import known_scheme, require_scheme
from ledger.store.usage.readings import Readings
from ledger.store.usage.terms import Terms, terms_of
from ledger.usage.batch import Batch, BoolArray, Int64Array
from ledger.usage.counting import Counted, counted, counted_together
from ledger.usage.entries import UsageContent, encode_positions
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.ids import IdScheme
from ledger.usage.limits import DayOfUsage
from ledger.usage.methods import Method
from ledger.usage.pages import Cut, EventIds, cut
from ledger.usage.reading import Reading
from ledger.usage.shares import SHARES, require_known
from ledger.usage.sizes import require_sizes
from ledger.usage.weights import BatchWeights, weigh_by_month


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch as its platform sent it.

    Attributes:
        digest: the body's SHA-256.
        written: the columns that the body was written from, if it was written here.
    """

    identity: BatchIdentity
    method_id: str
    body: bytes
    digest: bytes
    written: Batch | None
    id_scheme: IdScheme

    @classmethod
    def of(
        cls,
        identity: BatchIdentity,
        method_id: str,
        body: bytes,
        written: Batch | None = None,
        id_scheme: IdScheme = IdScheme.OWN,
    ) -> Sent:
        """Returns it with its body's hash."""
        return cls(identity, method_id, body, sha256(body).digest(), written, id_scheme)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that is ready to be recorded, as it will be if none of its events is known.

    Attributes:
        accepted: (n,) the events that count.
        claimed: their positions, ascending by id.
        claimed_ids: their ids, in that order.
        cut: their ids as pages; None for a batch that was left with some of its events.
        read_again: returns the batch. It is let go of, for it takes most of the memory, and seldom needed again.
        is_counted: whether its platform has a quota that it counts towards.
        is_scheme_fixed: whether its platform's id scheme is fixed; if not, it is looked up again under the lock.
    """

    identity: BatchIdentity
    pool: PoolRef
    platform_id: int
    digest: bytes
    body: bytes
    method: Method
    membership_version: int | None
    read_again: Callable[[], Batch]
    collectives: Numbered
    accepted: BoolArray
    claimed: Int64Array
    claimed_ids: EventIds
    cut: Cut | None
    weights: BatchWeights
    is_counted: bool
    id_scheme: IdScheme
    is_scheme_fixed: bool
    nearly_known: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.accepted)

    def of_free(self, free: BoolArray) -> Prepared:
        """Returns it with only those claimed events that are free."""
        accepted = np.zeros(len(self), dtype=np.bool_)
        accepted[self.claimed[free]] = True
        return replace(
            self,
            accepted=accepted,
            claimed=self.claimed[free],
            claimed_ids=self.claimed_ids[free],
            cut=None,
            weights=weigh_by_month(self.read_again(), accepted),
        )

    def claim(self, batch_number: int) -> EventClaim:
        """Returns the claim on its events, for its number."""
        return EventClaim(self.platform_id, batch_number, self.claimed_ids, self.cut)

    def content(self) -> UsageContent:
        """Returns its content in the log."""
        return UsageContent(
            platform=self.identity.platform,
            batch_id=self.identity.batch_id,
            body_sha256=self.digest.hex(),
            body_bytes=len(self.body),
            method=self.method.name,
            method_version=self.method.version,
            membership=self.method.membership,
            membership_version=self.membership_version,
            id_scheme=self.id_scheme.value,
            accepted=int(np.count_nonzero(self.accepted)),
            duplicates=encode_positions(np.flatnonzero(~self.accepted)),
            ai_only=self.weights.totals(AI_ONLY),
            human_ai=self.weights.totals(HUMAN_AI),
        )


@dataclass(frozen=True, slots=True)
class _Standing:
    """What holds for a platform's batches under a method.

    Attributes:
        today: what the platform has sent, if its quota counts.
        fixed: its id scheme; None until one is fixed.
    """

    pool: PoolRef
    platform_id: int
    terms: Terms
    reading: Reading
    today: DayOfUsage
    now: datetime
    fixed: IdScheme | None


class Preparation:
    """Prepares batches.

    Attributes:
        collectives: the numbers of collectives that it has looked up.
        readings: how methods read the bodies of batches.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self.collectives = CollectiveNumbers(database)
        self.readings = Readings()

    def one(self, sent: Sent) -> Prepared:
        """Prepare a batch.

        Raises:
            InvalidInputError: an event is refused.
            NotFoundError: the pool, method or platform is unknown.
            QuotaError: the platform has no room left today.
            StateError: the pool is closed, or the platform is not admitted to it.
        """
        return or_raise(*self.each([sent]))

    def each(self, group: Sequence[Sent]) -> list[Prepared | LedgerError]:
        """Prepare batches of one pool; returns each, or the error that `one` would raise.

        What holds for several of them is looked up once.
        """
        standing: dict[tuple[str, str], _Standing | LedgerError] = {}
        with self._database.reading(shared=len(group) > 1) as connection:
            for sent in group:
                asked = sent.identity.platform, sent.method_id
                if asked not in standing:
                    standing[asked] = or_error(self._standing, connection, sent)
        unders = [standing[sent.identity.platform, sent.method_id] for sent in group]
        together = _counted_together(group, unders)
        return [
            under if isinstance(under, LedgerError) else or_error(self._prepared, sent, under, found)
            for sent, under, found in zip(group, unders, together, strict=True)
        ]

    def _standing(self, connection: sa.Connection, sent: Sent) -> _Standing:
        pool = pool_ref(connection, sent.identity.pool)
        platform_id = platform_number(connection, sent.identity.platform)
        terms = terms_of(connection, pool, platform_id, sent.method_id)
        reading = self.readings.now(connection, pool, terms.method)
        now = self._clock()
        is_counted = terms.quota.is_counted
        today = limits.day_of_usage(connection, platform_id, now.date()) if is_counted else DayOfUsage()
        return _Standing(pool, platform_id, terms, reading, today, now, known_scheme(connection, pool, platform_id))

    def _prepared(self, sent: Sent, under: _Standing, found: Counted | None) -> Prepared:
        pool, platform, terms = under.pool, sent.identity.platform, under.terms
        admissions.require_admission(pool, platform, admitted=terms.admitted)
        terms.in_time.require_open(pool.name)
        require_scheme(sent.id_scheme, under.fixed)
        nearly: list[tuple[str, str]] = []
        batch = found.batch if found else self._parsed(under.reading, sent, nearly)
        numbered = self.collectives.of(batch.names)
        require_known(batch, numbered.numbers > 0)
        terms.in_time.require_in_time(batch.occurred_at, under.now)
        terms.quota.require_room(platform, DayOfUsage(len(batch), len(sent.body)), under.today, under.now)
        found = found or counted(batch)
        claimed_ids = batch.event_ids[found.ascending]
        return Prepared(
            identity=sent.identity,
            pool=pool,
            platform_id=under.platform_id,
            digest=sent.digest,
            body=sent.body,
            method=terms.method,
            membership_version=under.reading.membership_version,
            read_again=partial(under.reading.usage, sent.body, written=sent.written),
            collectives=numbered,
            accepted=found.first,
            claimed=found.ascending,
            claimed_ids=claimed_ids,
            cut=cut(claimed_ids),
            weights=found.weights,
            is_counted=terms.quota.is_counted,
            id_scheme=sent.id_scheme,
            is_scheme_fixed=under.fixed is not None,
            nearly_known=tuple(nearly),
        )

    def _parsed(self, reading: Reading, sent: Sent, nearly: list[tuple[str, str]]) -> Batch:
        return reading.usage(sent.body, lambda names: self.collectives.of(names).numbers > 0, sent.written, nearly)


def _counted_together(group: Sequence[Sent], unders: Sequence[_Standing | LedgerError]) -> list[Counted | None]:
    """Returns what counts of each batch, as far as batches were written here and hold shares, where all of these are
    sound; None for the others.
    """
    found: list[Counted | None] = [None] * len(group)
    written = {}
    for place, (sent, under) in enumerate(zip(group, unders, strict=True)):
        if sent.written is not None and isinstance(under, _Standing) and under.reading.rule is None:
            written[place] = sent.written
            try:
                require_sizes(sent.body, sent.written, SHARES)
            except InvalidInputError:
                return found
    if len(written) > 1:
        for place, each in zip(written, counted_together([*written.values()]) or (), strict=False):
            found[place] = each
    return found
