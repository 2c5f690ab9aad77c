"""Reads from Postgres everything that a round follows from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.errors import LostRaceError
from ledger.income import Period
from ledger.journal import REVENUE
from ledger.store.logs import log, proofs
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.money import journal
from ledger.store.pools import methods
from ledger.store.registry.collectives import collectives_changed_since, get_collective, paid_collectives
from payout.amounts import Carried
from payout.calculation import (
    Asked,
    Calculation,
    RegistrySnapshot,
    RoundInputs,
    as_proposed,
    calculate,
    pot_of,
)
from payout.entries import RoundContent
from payout.periods import PeriodUsage, Taken, Waiting, closing_round, next_period, period_end
from payout.policy import Policy, policy_in_force
from payout.rounds import Deficits
from payout.statement import (
    carried_of,
    deficits_of,
    parse_registry,
    parse_statement,
)
from payout.store import rounds
from payout.store.books import read_books
from payout.store.policies import get_policy, list_policies
from payout.store.rereading import Proposed, Rereading
from payout.weights import UsageKey, UsageSum, added_up


def next_round(
    connection: sa.Connection,
    pool: PoolRef,
    asked: Asked,
    now: datetime,
    *,
    policy: Policy | None = None,
    proposed: Proposed | None = None,
) -> tuple[Calculation, Waiting | None]:
    """Returns the next round and why it is not cut yet, if so: of everything logged since the last posted round, or of
    the next period that closes. It is under the policy in force or under another one, or as an act would have it.

    A period of which nothing would be distributed passes without a round once the next one is over.
    """
    latest = rounds.latest_round(connection, pool)
    posted = rounds.latest_posted(connection, pool) if latest and not latest.posted_at else latest
    start, previous = (posted.content.end, posted.content.number) if posted else (0, 0)
    head = log.read_head(connection, pool)
    logged = [
        (found.leaf_index, found.version, found.policy)
        for found in list_policies(connection, pool)
        if found.leaf_index < head.size
    ]
    policy_leaf, policy_version, in_force = policy_in_force(logged, start)
    before = posted.content if posted else None
    deficits, carried = _left_by(connection, pool, before)
    taken = Taken.by(before)
    inputs = RoundInputs(
        number=latest.content.number + 1 if latest else 1,
        previous=previous,
        start=start,
        end=head.size,
        root=head.root(),
        policy_leaf=policy_leaf,
        policy_version=policy_version,
        policy=policy or in_force,
        pot_minor=0,
        usage={},
        confidence_ppm=methods.confidences(connection, pool),
        registry=read_registry(connection),
        deficits=deficits,
        carried=carried,
        asked=asked,
        usage_from=taken.since if taken.since < start else None,
    )
    if proposed:
        inputs = as_proposed(inputs, proposed.act)
    last = Period.parse(before.period) if before and before.period else None
    period = next_period(inputs.policy, last)
    if period is None:
        pot = pot_of(journal.balances_of(connection, pool, [REVENUE], log_size=head.size))
        usage = _usage(connection, pool, taken, head.size, None, proposed)
        made = calculate(replace(inputs, pot_minor=pot, usage=usage))
        return made, Waiting(made.content.nothing) if made.content.nothing else None

    def usage_of(period: Period) -> PeriodUsage:
        counts = rounds.usage_counts(connection, pool, taken, head.size, period.first)
        return _usage(connection, pool, taken, head.size, period.end, proposed), counts

    return closing_round(inputs, period, read_books(connection, pool, head.size), now, usage_of)


def _usage(
    connection: sa.Connection, pool: PoolRef, taken: Taken, end: int, before: int | None, proposed: Proposed | None
) -> Mapping[UsageKey, UsageSum]:
    """Returns the usage that no round took, read as an act would have it."""
    usage = rounds.usage_sums(connection, pool, taken, end, before)
    change = Rereading(connection, pool, proposed).change(taken, end, before) if proposed else {}
    return added_up([usage, change]) if change else usage


def read_registry(connection: sa.Connection) -> RegistrySnapshot:
    """The registry as of the size that its log has now.

    Raises:
        LostRaceError: collectives change faster than they can be read.
    """
    for _ in range(_ATTEMPTS):
        head = log.read_head(connection, REGISTRY)
        collectives = paid_collectives(connection)
        # Each query sees what was committed when it began: what came between the two names a leaf beyond the head.
        if not collectives_changed_since(connection, head.size):
            return RegistrySnapshot(head.size, head.root(), collectives)
    raise LostRaceError("the registry")


def still_holds(connection: sa.Connection, content: RoundContent, registry_size: int) -> RoundContent:
    """The round as of a later size of the registry's log, at which its collectives are still the same.

    Raises:
        LostRaceError: one of them was registered or changed since.
    """
    if registry_size == content.registry_size:
        return content
    if collectives_changed_since(connection, content.registry_size):
        raise LostRaceError("the registry")
    root = proofs.consistency_proof(connection, REGISTRY, registry_size, registry_size).root
    return content.model_copy(update={"registry_size": registry_size, "registry_root": root.hex()})


_ATTEMPTS: Final = 5
"""To read the registry while it changes."""


def past_round(
    connection: sa.Connection,
    pool: PoolRef,
    number: int,
    *,
    policy: Policy | None = None,
    proposed: Proposed | None = None,
) -> Calculation:
    """Returns a round that was calculated before, from the same inputs, under its own policy or under another one, or
    as an act would have had it.
    """
    content = rounds.get_round(connection, pool, number).content
    logged = get_policy(connection, pool, content.policy_version)
    snapshot = log.checked_body(connection, pool, bytes.fromhex(content.registry_sha256))
    before = rounds.get_round(connection, pool, content.previous).content if content.previous else None
    deficits, carried = _left_by(connection, pool, before)
    inputs = RoundInputs.again(
        content,
        policy=policy or logged.policy,
        usage=_usage(connection, pool, Taken.by(before), content.end, period_end(content), proposed),
        confidence_ppm=methods.confidences(connection, pool),
        collectives=parse_registry(snapshot),
        deficits=deficits,
        carried=carried,
    )
    if proposed:
        inputs = replace(inputs, registry=_with_named(connection, inputs.registry, inputs.usage))
        inputs = as_proposed(inputs, proposed.act)
    return calculate(inputs)


def _with_named(
    connection: sa.Connection, snapshot: RegistrySnapshot, usage: Mapping[UsageKey, UsageSum]
) -> RegistrySnapshot:
    """The snapshot with the collectives that usage names and that were registered after it."""
    known = {each.name for each in snapshot.collectives}
    later = sorted({name for found in usage.values() for name in found.attributed} - known)
    collectives = [*snapshot.collectives, *(get_collective(connection, name) for name in later)]
    return replace(snapshot, collectives=sorted(collectives, key=lambda each: each.name.encode()))


def _left_by(connection: sa.Connection, pool: PoolRef, content: RoundContent | None) -> tuple[Deficits, Carried]:
    """What a posted round leaves for the next one; nothing where there is none."""
    if content is None:
        return Deficits(), Carried()
    statement = log.checked_body(connection, pool, bytes.fromhex(content.statement_sha256))
    lines = parse_statement(statement)
    return deficits_of(lines, content.deficit_unattributed), carried_of(lines, content.kept_after_nano)
