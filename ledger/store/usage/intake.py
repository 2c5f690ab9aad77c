"""Recording usage in the ledger: each batch and each event exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import sqlalchemy as sa

from ledger.errors import (
    IdentityReusedError,
    InvalidInputError,
    LedgerError,
    LostRaceError,
    NotFoundError,
    QuotaError,
    StateError,
    or_error,
)
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.bodies import Bodies, BodySweptError
from ledger.store.pools import admissions, methods
from ledger.store.pools.numbers import NumbersChangedError, ask_numbers
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.postgres.database import Database
from ledger.store.postgres.gates import Gate
from ledger.store.postgres.groups import Groups
from ledger.store.postgres.transactions import pipelined, pipelined_to_commit
from ledger.store.usage import batches, first_look, limits
from ledger.store.usage.batches import NewBatch, NewWeights, RecordedBatch, find_batch
from ledger.store.usage.claims import BatchNumbers, EventClaim, EventsKnownError, copy_claims
from ledger.store.usage.first_look import Looked
from ledger.store.usage.id_schemes import hold_unfixed
from ledger.store.usage.pages import put_pages
from ledger.store.usage.prepared import Preparation, Prepared, Sent
from ledger.store.usage.second_look import look_again
from ledger.usage.limits import DayOfUsage
from ledger.usage.pages import known_among

GROUPED_EVENTS: Final = 1_000
"""Batches of up to this many events share a transaction: for these, syncing to disk is most of the cost."""

LARGE_TOGETHER: Final = 2
"""So many larger ones share one too, in groups for which small ones do not wait. With more, Postgres waits for them."""

LARGE_AT_ONCE: Final = 2
"""So many groups of larger ones are recorded at a time: one is copied in while the other is synced to disk."""

PREPARED_AT_ONCE: Final = 2
"""More would take the interpreter from each other and from those who record; each has megabytes of arrays."""

RETRACTIONS_AT_ONCE: Final = 4
"""Retractions under way at a time, one of each platform, and as many that may wait. They alone keep a connection while
they wait to read a batch, and there must be others for those who read meanwhile."""

INSERTED_CLAIMS: Final = 2_000
"""Up to this many ids are inserted with the statements around them, which saves more than COPY does."""

_ATTEMPTS: Final = 8
"""How often a batch with events that are known, or were recorded meanwhile, is looked at again."""

_CONFLICTS: Final = (
    BodySweptError, EventsKnownError, LostRaceError, methods.SupersededError, NumbersChangedError,
)  # fmt: skip
"""What one batch may raise without the others of its group being at fault."""


class UsageStore:
    """Records batches.

    Attributes:
        heavy: what is passed before a whole batch is read that was recorded before.
        retracting: what a retraction passes.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        bodies: Bodies | None = None,
        heavy: Gate | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self.bodies = bodies or Bodies()
        self.heavy = heavy or Gate.for_heavy_calls()
        self.retracting = Gate(RETRACTIONS_AT_ONCE, of_one=1, waiting=RETRACTIONS_AT_ONCE)
        self._preparation = Preparation(database, clock)
        self.readings = self._preparation.readings
        self._batch_numbers = BatchNumbers()
        self._preparing = Gate(PREPARED_AT_ONCE, of_one=PREPARED_AT_ONCE)
        self._groups: Groups[Sent | Prepared, RecordedBatch] = Groups(self._record_group, _CONFLICTS)
        self._large: Groups[Sent | Prepared, RecordedBatch] = Groups(
            self._record_group, _CONFLICTS, most=LARGE_TOGETHER, at_once=LARGE_AT_ONCE
        )

    def accept(self, sent: Sent) -> RecordedBatch:
        """Record a batch; when this returns it is durable. Repeating it returns its first record.

        Nothing is recorded if this raises.

        Raises:
            IdentityReusedError: the id was used with other bytes or with another method.
            InvalidInputError: an event is refused.
            NotFoundError: the pool, method or platform is unknown.
            StateError: the pool is closed, or the platform is not admitted to it.
            LostRaceError: other batches with the same events won every race; the same call may succeed later.
        """
        return self._accept(sent, self._first_try([sent]).get(0))

    def accept_each(self, group: Sequence[Sent]) -> list[RecordedBatch | LedgerError]:
        """Record batches of one pool, together as far as they are small; returns of each what `accept` returns, or the
        error that it raises.
        """
        tried = self._first_try(group)
        return [or_error(self._accept, sent, tried.get(place)) for place, sent in enumerate(group)]

    def _first_try(self, group: Sequence[Sent]) -> dict[int, RecordedBatch | Exception]:
        """Record those that are small, and what else comes at the same time; by their places."""
        small = [place for place, sent in enumerate(group) if self._is_small(sent)]
        if not small:
            return {}
        found = self._groups.do_all(group[0].identity.pool, [group[place] for place in small])
        return dict(zip(small, found, strict=True))

    def _accept(self, sent: Sent, tried: RecordedBatch | Exception | None) -> RecordedBatch:
        prepared = None
        for is_first in (True, *[False] * _ATTEMPTS):
            try:
                if is_first and tried is not None:
                    if isinstance(tried, Exception):
                        raise tried
                    return tried
                if prepared is None:
                    prepared = self._prepared(sent)
                self._write_elsewhere(prepared)
                return self._record_with_others(prepared) if is_first else self._record_what_is_new(prepared)
            except BodySweptError:
                continue
            except NumbersChangedError:
                self._preparation.collectives.forget()
                prepared = None
            except methods.SupersededError:
                prepared = None
            except (EventsKnownError, LostRaceError):
                if recorded := self._recorded_before(sent):
                    return recorded
            except (InvalidInputError, NotFoundError, QuotaError, StateError):
                if recorded := self._recorded_before(sent):
                    return recorded
                raise
        raise LostRaceError(f"batch {sent.identity.batch_id}")

    def _recorded_before(self, sent: Sent) -> RecordedBatch | None:
        """Returns the first record of the batch, if any. Called only after a conflict, which is rare.

        Raises:
            IdentityReusedError: it was recorded with other bytes, or with another method.
        """
        identity = sent.identity
        try:
            with self._database.reading() as connection:
                pool = pool_ref(connection, identity.pool)
                recorded = find_batch(connection, pool, identity.platform, identity.batch_id)
        except NotFoundError:
            return None
        if recorded.content.body_sha256 != sent.digest.hex():
            raise IdentityReusedError.of("batch_id", f"{identity.batch_id} was recorded with other events")
        if recorded.content.method != sent.method_id:
            reason = f"{identity.batch_id} was recorded under the method {recorded.content.method}"
            raise IdentityReusedError.of("batch_id", reason)
        return recorded

    def validate(self, sent: Sent) -> RecordedBatch:
        """Run the checks of `accept` alone, and return what would be recorded now, at no place in the log. Nothing is
        recorded.

        Raises as `accept` does.
        """
        self._recorded_before(sent)
        prepared = self._prepared(sent)
        with self._database.reading() as connection:
            (looked,) = first_look.look(connection, prepared.pool, [prepared.claim(batch_number=0)])
            taken = ~looked.rows().find_free(connection, prepared.pool)
        known = looked.known | known_among(looked.claim.event_ids, looked.loose[taken])
        content = prepared.of_free(~known).content()
        return RecordedBatch(0, b"", self._clock(), content, prepared.nearly_known)

    def _prepared(self, sent: Sent) -> Prepared:
        if self._is_small(sent):
            return self._preparation.one(sent)
        with self._preparing.passed(f"platforms/{sent.identity.platform}"):
            return self._preparation.one(sent)

    def _write_elsewhere(self, prepared: Prepared) -> None:
        if self.bodies.are_elsewhere(prepared.body):
            self.bodies.write(prepared.pool, prepared.body, prepared.digest)

    def _is_small(self, sent: Sent) -> bool:
        """Whether it is prepared with those that come at the same time: nothing of it takes long."""
        is_elsewhere = self.bodies.are_elsewhere(sent.body)
        return sent.written is not None and len(sent.written) <= GROUPED_EVENTS and not is_elsewhere

    def _record_with_others(self, prepared: Prepared) -> RecordedBatch:
        groups = self._groups if len(prepared) <= GROUPED_EVENTS else self._large
        return groups.do(prepared.identity.pool, prepared)

    def _record_group(self, group: Sequence[Sent | Prepared]) -> list[RecordedBatch | Exception]:
        """Record batches of one pool in one transaction, but for those that are refused as they are prepared."""
        sent = [each for each in group if isinstance(each, Sent)]
        checked = iter(self._preparation.each(sent) if sent else [])
        ready = [next(checked) if isinstance(each, Sent) else each for each in group]
        accepted = [each for each in ready if isinstance(each, Prepared)]
        recorded = iter(self._record_new(accepted) if accepted else [])
        return [next(recorded) if isinstance(each, Prepared) else each for each in ready]

    def _record_new(self, group: Sequence[Prepared]) -> list[RecordedBatch]:
        """Record batches of one pool in one transaction, or none of them.

        Raises:
            EventsKnownError: one of their events is known.
            LostRaceError: one of them, or one of their events, was recorded meanwhile.
        """
        pool = group[0].pool
        with self._database.transaction(shared=True) as connection:
            looked = self._look(connection, group)
            if any(one.known.any() for one in looked):
                raise EventsKnownError
            rows = [one.rows() for one in looked]
            if sum(len(claim.event_ids) for claim in rows) > INSERTED_CLAIMS:
                copy_claims(connection, pool, rows)
                rows = []
            return self._put(connection, group, looked, rows)

    def _record_what_is_new(self, prepared: Prepared) -> RecordedBatch:
        """Record a batch without those of its events that are known."""
        with self._database.transaction(shared=True) as connection:
            (looked,) = self._look(connection, [prepared])
            taken = ~looked.rows().insert_free(connection, prepared.pool)
            known = looked.known | known_among(looked.claim.event_ids, looked.loose[taken])
            free = replace(looked, loose=looked.loose[~taken])
            (recorded,) = self._put(connection, [prepared.of_free(~known)], [free])
            return recorded

    def _look(self, connection: sa.Connection, group: Sequence[Prepared]) -> list[Looked]:
        """Look at the events of batches of one pool. What was prepared is checked against this database, and what must
        stay so until the commit is held.
        """
        pool = group[0].pool
        numbers = [self._batch_numbers.take(connection) for _ in group]
        claims = [each.claim(number) for each, number in zip(group, numbers, strict=True)]
        first_look.require_distinct(claims)
        with pipelined(connection):
            require_numbers = _ask_numbers(connection, group)
            elsewhere = [each.digest for each in group if self.bodies.are_elsewhere(each.body)]
            require_bodies = self.bodies.name(connection, pool, elsewhere, self._clock())
            looked = first_look.ask(connection, pool, claims)
            require_numbers()
            found = looked()
        require_bodies()
        _hold_unfixed(connection, group)
        return found

    def _put(
        self,
        connection: sa.Connection,
        group: Sequence[Prepared],
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
            put_pages(connection, pool, [(one.claim, page) for one in looked for page in one.pages])
            batches.put_contents(connection, pool, weights, bodies, rows)
            leaves, now = log.append_now(connection, pool, contents, also=partial(look_again, connection, pool, looked))
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


def _sent(group: Sequence[Prepared]) -> list[tuple[int, DayOfUsage]]:
    """Returns what the platforms that have a quota send with these batches, by their numbers."""
    sent: dict[int, DayOfUsage] = {}
    for each in group:
        if each.is_counted:
            before = sent.get(each.platform_id, DayOfUsage())
            sent[each.platform_id] = DayOfUsage(before.events + len(each), before.batch_bytes + len(each.body))
    return list(sent.items())


def _ask_numbers(connection: sa.Connection, group: Sequence[Prepared]) -> Callable[[], None]:
    """Ask whether this database has the pool, platforms and collectives under the numbers that the rows use."""
    platforms = {each.identity.platform: each.platform_id for each in group}
    marks = {each.collectives.mark for each in group if each.collectives.mark}
    return ask_numbers(connection, group[0].pool, platforms, marks)


def _hold_unfixed(connection: sa.Connection, group: Sequence[Prepared]) -> None:
    """Check the id scheme again, under the lock, if a platform's first batch is about to fix it."""
    unfixed = {each.platform_id for each in group if not each.is_scheme_fixed}
    if unfixed:
        hold_unfixed(connection, group[0].pool, unfixed)
