"""Recording usage in the ledger: each batch and each event exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Final

import numpy as np
import sqlalchemy as sa

from ledger.errors import IdentityReusedError, InvalidInputError, LostRaceError, NotFoundError, QuotaError, StateError
from ledger.store import admissions, log, methods, registry
from ledger.store import tables as t
from ledger.store.bodies import Bodies, BodySweptError
from ledger.store.conflicts import taken_keys
from ledger.store.database import Database, pipelined_to_commit
from ledger.store.log import PoolRef
from ledger.store.usage import batches, limits, pages
from ledger.store.usage.batches import BatchIdentity, NewBatch, NewWeights, RecordedBatch, find_batch
from ledger.store.usage.claims import BatchNumbers, EventClaim, EventsKnownError, copy_claims
from ledger.store.usage.groups import Groups
from ledger.store.usage.id_schemes import hold_unfixed, known_scheme, require_scheme
from ledger.store.usage.pages import Looked
from ledger.store.usage.readings import Readings
from ledger.store.usage.terms import terms_of
from ledger.usage.batch import Batch, BoolArray, Int64Array
from ledger.usage.entries import UsageContent, encode_positions
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.ids import IdScheme
from ledger.usage.limits import DayOfUsage
from ledger.usage.methods import Method
from ledger.usage.pages import known_among
from ledger.usage.reading import Reading
from ledger.usage.shares import first_occurrences, require_known
from ledger.usage.weights import BatchWeights, weigh_by_month

GROUPED_EVENTS: Final = 1_000
"""Batches of up to this many events share a transaction: for these, syncing to disk is most of the cost."""

INSERTED_CLAIMS: Final = 2_000
"""Up to this many ids are inserted with the statements around them, which saves more than COPY does."""

_ATTEMPTS: Final = 8
"""How often a batch with events that are known, or were recorded meanwhile, is looked at again."""

_CONFLICTS: Final = (
    BodySweptError, EventsKnownError, LostRaceError, methods.SupersededError, registry.NumbersChangedError,
)  # fmt: skip
"""What one batch may raise without the others of its group being at fault."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A batch that is ready to be recorded, as it will be if none of its events is known.

    Attributes:
        accepted: (n,) the events that count.
        claimed: their positions, ascending by id.
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
    batch: Batch
    collectives: registry.Numbered
    accepted: BoolArray
    claimed: Int64Array
    weights: BatchWeights
    is_counted: bool
    id_scheme: IdScheme
    is_scheme_fixed: bool
    nearly_known: tuple[tuple[str, str], ...]

    def of_free(self, free: BoolArray) -> _Prepared:
        """Returns it with only those claimed events that are free."""
        accepted = np.zeros(len(self.batch), dtype=np.bool_)
        accepted[self.claimed[free]] = True
        return replace(
            self, accepted=accepted, claimed=self.claimed[free], weights=weigh_by_month(self.batch, accepted)
        )

    def claim(self, batch_number: int) -> EventClaim:
        """Returns the claim on its events, for its number."""
        return EventClaim(self.platform_id, batch_number, self.batch.event_ids[self.claimed])

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
            duplicates=encode_positions(np.flatnonzero(~self.accepted).tolist()),
            ai_only=self.weights.totals(AI_ONLY),
            human_ai=self.weights.totals(HUMAN_AI),
        )


class UsageStore:
    """Records batches."""

    def __init__(self, database: Database, clock: Callable[[], datetime], bodies: Bodies | None = None) -> None:
        self._database = database
        self._clock = clock
        self.bodies = bodies or Bodies()
        self.collectives = registry.CollectiveNumbers(database)
        self.readings = Readings()
        self._batch_numbers = BatchNumbers()
        self._groups = Groups(self._record_new, _CONFLICTS)

    def accept(
        self,
        identity: BatchIdentity,
        method_id: str,
        body: bytes,
        written: Batch | None = None,
        *,
        id_scheme: IdScheme = IdScheme.OWN,
    ) -> RecordedBatch:
        """Record a batch; when this returns it is durable. Repeating it returns its first record.

        Nothing is recorded if this raises. `written` are the columns that the body was written from, if the caller
        wrote it.

        Raises:
            IdentityReusedError: the id was used with other bytes or with another method.
            InvalidInputError: an event is refused.
            NotFoundError: the pool, method or platform is unknown.
            StateError: the pool is closed, or the platform is not admitted to it.
            LostRaceError: other batches with the same events won every race; the same call may succeed later.
        """
        digest = sha256(body).digest()
        try:
            prepared = self._prepared(identity, method_id, digest, body, written, id_scheme)
        except (InvalidInputError, NotFoundError, QuotaError, StateError):
            if recorded := self._recorded_before(identity, method_id, digest):
                return recorded
            raise
        for record in (self._record_with_others, *[self._record_what_is_new] * _ATTEMPTS):
            try:
                self._write_elsewhere(prepared)
                return record(prepared)
            except BodySweptError:
                continue
            except registry.NumbersChangedError:
                self.collectives.forget()
                prepared = self._prepared(identity, method_id, digest, body, written, id_scheme)
            except methods.SupersededError:
                prepared = self._prepared(identity, method_id, digest, body, written, id_scheme)
            except (EventsKnownError, LostRaceError):
                if recorded := self._recorded_before(identity, method_id, digest):
                    return recorded
        raise LostRaceError(f"batch {identity.batch_id}")

    def _prepared(
        self,
        identity: BatchIdentity,
        method_id: str,
        digest: bytes,
        body: bytes,
        written: Batch | None,
        id_scheme: IdScheme,
    ) -> _Prepared:
        with self._database.reading() as connection:
            pool = registry.pool_ref(connection, identity.pool)
            platform_id = registry.platform_number(connection, identity.platform)
            terms = terms_of(connection, pool, platform_id, method_id)
            reading = self.readings.now(connection, pool, terms.method)
            quota, now = terms.quota, self._clock()
            today = limits.day_of_usage(connection, platform_id, now.date()) if quota.is_counted else DayOfUsage()
            fixed = known_scheme(connection, pool, platform_id)
        admissions.require_admission(pool, identity.platform, admitted=terms.admitted)
        terms.in_time.require_open(pool.name)
        require_scheme(id_scheme, fixed)
        nearly: list[tuple[str, str]] = []
        batch, numbered = self._parsed(reading, body, written, nearly)
        terms.in_time.require_in_time(batch.occurred_at, now)
        quota.require_room(identity.platform, DayOfUsage(len(batch), len(body)), today, now)
        first, ascending = first_occurrences(batch)
        return _Prepared(
            identity=identity,
            pool=pool,
            platform_id=platform_id,
            digest=digest,
            body=body,
            method=terms.method,
            membership_version=reading.membership_version,
            batch=batch,
            collectives=numbered,
            accepted=first,
            claimed=ascending,
            weights=weigh_by_month(batch, first),
            is_counted=quota.is_counted,
            id_scheme=id_scheme,
            is_scheme_fixed=fixed is not None,
            nearly_known=tuple(nearly),
        )

    def _recorded_before(self, identity: BatchIdentity, method_id: str, digest: bytes) -> RecordedBatch | None:
        """Returns the first record of the batch, if any. Called only after a conflict, which is rare.

        Raises:
            IdentityReusedError: it was recorded with other bytes, or with another method.
        """
        try:
            with self._database.reading() as connection:
                pool = registry.pool_ref(connection, identity.pool)
                recorded = find_batch(connection, pool, identity.platform, identity.batch_id)
        except NotFoundError:
            return None
        if recorded.content.body_sha256 != digest.hex():
            raise IdentityReusedError.of("batch_id", f"{identity.batch_id} was recorded with other events")
        if recorded.content.method != method_id:
            reason = f"{identity.batch_id} was recorded under the method {recorded.content.method}"
            raise IdentityReusedError.of("batch_id", reason)
        return recorded

    def validate(
        self,
        identity: BatchIdentity,
        method_id: str,
        body: bytes,
        written: Batch | None = None,
        *,
        id_scheme: IdScheme = IdScheme.OWN,
    ) -> RecordedBatch:
        """Run the checks of `accept` alone, and return what would be recorded now, at no place in the log. Nothing is
        recorded.

        Raises as `accept` does.
        """
        digest = sha256(body).digest()
        self._recorded_before(identity, method_id, digest)
        prepared = self._prepared(identity, method_id, digest, body, written, id_scheme)
        with self._database.reading() as connection:
            (looked,) = pages.look(connection, prepared.pool, [prepared.claim(batch_number=0)])
            taken = ~looked.rows().find_free(connection, prepared.pool)
        known = looked.known | known_among(looked.claim.event_ids, looked.loose[taken])
        content = prepared.of_free(~known).content()
        return RecordedBatch(0, b"", self._clock(), content, prepared.nearly_known)

    def _parsed(
        self, reading: Reading, body: bytes, written: Batch | None, nearly: list[tuple[str, str]]
    ) -> tuple[Batch, registry.Numbered]:
        batch = reading.usage(body, lambda names: self.collectives.of(names).numbers > 0, written, nearly)
        numbered = self.collectives.of(batch.names)
        require_known(batch, numbered.numbers > 0)
        return batch, numbered

    def _write_elsewhere(self, prepared: _Prepared) -> None:
        if self.bodies.are_elsewhere(prepared.body):
            self.bodies.write(self._database, prepared.pool, prepared.body, prepared.digest, self._clock())

    def _record_with_others(self, prepared: _Prepared) -> RecordedBatch:
        if len(prepared.batch) <= GROUPED_EVENTS:
            return self._groups.do(prepared.pool.pool_id, prepared)
        (recorded,) = self._record_new([prepared])
        return recorded

    def _record_new(self, group: Sequence[_Prepared]) -> list[RecordedBatch]:
        """Record batches of one pool in one transaction, or none of them.

        Raises:
            EventsKnownError: one of their events is known.
            LostRaceError: one of them, or one of their events, was recorded meanwhile.
        """
        pool = group[0].pool
        with self._database.transaction(shared=True) as connection:
            self._require_still(connection, group)
            numbers = [self._batch_numbers.take(connection) for _ in group]
            claims = [each.claim(number) for each, number in zip(group, numbers, strict=True)]
            pages.require_distinct(claims)
            looked = pages.look(connection, pool, claims)
            if any(one.known.any() for one in looked):
                raise EventsKnownError
            rows = [one.rows() for one in looked]
            if sum(len(claim.event_ids) for claim in rows) > INSERTED_CLAIMS:
                copy_claims(connection, pool, rows)
                rows = []
            return self._put(connection, group, looked, rows)

    def _record_what_is_new(self, prepared: _Prepared) -> RecordedBatch:
        """Record a batch without those of its events that are known."""
        with self._database.transaction(shared=True) as connection:
            self._require_still(connection, [prepared])
            number = self._batch_numbers.take(connection)
            (looked,) = pages.look(connection, prepared.pool, [prepared.claim(number)])
            taken = ~looked.rows().insert_free(connection, prepared.pool)
            known = looked.known | known_among(looked.claim.event_ids, looked.loose[taken])
            free = replace(looked, loose=looked.loose[~taken])
            (recorded,) = self._put(connection, [prepared.of_free(~known)], [free])
            return recorded

    def _require_still(self, connection: sa.Connection, group: Sequence[_Prepared]) -> None:
        """Check what was prepared against this database, and hold what must stay so until the commit."""
        _require_numbers(connection, group)
        _hold_unfixed(connection, group)
        elsewhere = [each.digest for each in group if self.bodies.are_elsewhere(each.body)]
        self.bodies.name(connection, group[0].pool, elsewhere)

    def _put(
        self,
        connection: sa.Connection,
        group: Sequence[_Prepared],
        looked: Sequence[Looked],
        rows: Sequence[EventClaim] = (),
    ) -> list[RecordedBatch]:
        """Record prepared batches of one pool with their claims, of which only these rows are still to be made; and
        commit.

        Raises:
            EventsKnownError: one of their events was recorded meanwhile.
            LostRaceError: one of the batches was recorded meanwhile.
            SupersededError: one of their methods or memberships got a new version meanwhile, the pool was closed, or a
                platform's admission to it ended.
        """
        pool = group[0].pool
        contents = [each.content() for each in group]
        bodies = {each.digest: each.body for each in group if not self.bodies.are_elsewhere(each.body)}
        numbered = [(each, one.claim.batch_number) for each, one in zip(group, looked, strict=True)]
        weights = [NewWeights(number, each.method, each.weights, each.collectives.numbers) for each, number in numbered]
        new = [NewBatch(each.platform_id, each.identity.batch_id, number, each.digest) for each, number in numbered]
        used = {(each.method, each.membership_version) for each in group}
        with taken_keys(_told), methods.superseded(), pipelined_to_commit(connection):
            batches.put_contents(connection, pool, weights, bodies, rows)
            pages.put_pages(connection, pool, looked)
            leaves, now = log.append_now(
                connection, pool, contents, held=partial(pages.require_still_free, connection, pool, looked)
            )
            admissions.require_still_admitted(connection, pool, sorted({each.platform_id for each in group}))
            for method, membership_version in used:
                methods.require_latest(connection, pool, method, membership_version)
            limits.count_usage(connection, pool, now.date(), _sent(group))
            batches.put_batches(connection, pool, new, [leaf.index for leaf in leaves])
        return [
            RecordedBatch(leaf.index, leaf.hash, now, content, each.nearly_known)
            for leaf, content, each in zip(leaves, contents, group, strict=True)
        ]


def _told(table: str) -> Exception:
    """Returns the error for a taken key: an event was recorded before, or the same batch was sent twice at once."""
    return EventsKnownError() if table == t.event.name else LostRaceError("a batch")


def _sent(group: Sequence[_Prepared]) -> list[tuple[int, DayOfUsage]]:
    """Returns what the platforms that have a quota send with these batches, by their numbers."""
    sent: dict[int, DayOfUsage] = {}
    for each in group:
        if each.is_counted:
            before = sent.get(each.platform_id, DayOfUsage())
            sent[each.platform_id] = DayOfUsage(before.events + len(each.batch), before.batch_bytes + len(each.body))
    return list(sent.items())


def _require_numbers(connection: sa.Connection, group: Sequence[_Prepared]) -> None:
    """Check that this database has the pool, platforms and collectives under the numbers that the rows use."""
    platforms = {each.identity.platform: each.platform_id for each in group}
    marks = {each.collectives.mark for each in group if each.collectives.mark}
    registry.require_numbers(connection, group[0].pool, platforms, marks)


def _hold_unfixed(connection: sa.Connection, group: Sequence[_Prepared]) -> None:
    """Check the id scheme again, under the lock, if a platform's first batch is about to fix it."""
    unfixed = {each.platform_id for each in group if not each.is_scheme_fixed}
    if unfixed:
        hold_unfixed(connection, group[0].pool, unfixed)
