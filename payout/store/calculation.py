"""Calculating a round: everything that it follows from, read from Postgres, and distributed by the pure function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import sqlalchemy as sa

from ledger.journal import REVENUE
from ledger.registry import Collective
from ledger.store import journal, log, registry
from ledger.store.log import PoolRef
from payout.entries import FireTimes, RoundContent
from payout.policy import Policy, policy_in_force
from payout.rounds import Deficits, Distribution, distribute
from payout.statement import (
    deficits_of,
    parse_registry,
    parse_statement,
    render_registry,
    render_statement,
    render_weights,
)
from payout.store import pools, rounds
from payout.weights import UsageKey, UsageSum


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for a round, and why now; empty for a preview."""

    calculated_by: str = ""
    request_id: str = ""
    fire_times: FireTimes | None = None


@dataclass(frozen=True, slots=True)
class Calculation:
    """A round as it would be logged, with the bodies that it commits to."""

    content: RoundContent
    policy: Policy
    distribution: Distribution
    statement: bytes
    weights: bytes
    registry: bytes

    def bodies(self) -> tuple[bytes, ...]:
        """What the entry names by hash."""
        return self.statement, self.weights, self.registry


@dataclass(frozen=True, slots=True)
class _Inputs:
    number: int
    previous: int
    start: int
    end: int
    root: bytes
    policy_leaf: int
    policy_version: int
    policy: Policy
    pot_minor: int
    usage: Mapping[UsageKey, UsageSum]
    confidence_ppm: Mapping[tuple[str, int], int]
    collectives: Sequence[Collective]
    deficits: Deficits
    asked: Asked = field(default_factory=Asked)


def next_round(connection: sa.Connection, pool: PoolRef, asked: Asked, *, policy: Policy | None = None) -> Calculation:
    """Everything logged since the last posted round, under the policy in force, or under another one."""
    latest, posted = rounds.latest_round(connection, pool), rounds.latest_posted(connection, pool)
    start, previous = (posted.content.end, posted.content.number) if posted else (0, 0)
    head = log.read_head(connection, pool)
    logged = [
        (found.leaf_index, found.version, found.policy)
        for found in pools.list_policies(connection, pool)
        if found.leaf_index < head.size
    ]
    policy_leaf, policy_version, in_force = policy_in_force(logged, start)
    return _calculated(
        _Inputs(
            number=latest.content.number + 1 if latest else 1,
            previous=previous,
            start=start,
            end=head.size,
            root=head.root(),
            policy_leaf=policy_leaf,
            policy_version=policy_version,
            policy=policy or in_force,
            pot_minor=journal.balances_of(connection, pool, [REVENUE], log_size=head.size).get(REVENUE, 0),
            usage=rounds.usage_sums(connection, pool, start, head.size),
            confidence_ppm=registry.confidences(connection, pool),
            collectives=registry.list_collectives(connection),
            deficits=_deficits(connection, pool, previous),
            asked=asked,
        )
    )


def past_round(connection: sa.Connection, pool: PoolRef, number: int, *, policy: Policy | None = None) -> Calculation:
    """A round that was calculated before, from the same inputs, under its own policy or under another one."""
    content = rounds.get_round(connection, pool, number).content
    (logged,) = pools.list_policies(connection, pool, after=content.policy_version - 1, limit=1)
    snapshot = log.checked_body(connection, pool, bytes.fromhex(content.registry_sha256))
    return _calculated(
        _Inputs(
            number=content.number,
            previous=content.previous,
            start=content.start,
            end=content.end,
            root=bytes.fromhex(content.root),
            policy_leaf=content.policy_leaf,
            policy_version=content.policy_version,
            policy=policy or logged.policy,
            pot_minor=content.pot_minor,
            usage=rounds.usage_sums(connection, pool, content.start, content.end),
            confidence_ppm=registry.confidences(connection, pool),
            collectives=parse_registry(snapshot),
            deficits=_deficits(connection, pool, content.previous),
        )
    )


def _deficits(connection: sa.Connection, pool: PoolRef, posted_number: int) -> Deficits:
    if not posted_number:
        return Deficits()
    content = rounds.get_round(connection, pool, posted_number).content
    statement = log.checked_body(connection, pool, bytes.fromhex(content.statement_sha256))
    return deficits_of(parse_statement(statement), content.deficit_unattributed)


def _calculated(inputs: _Inputs) -> Calculation:
    distribution = distribute(
        inputs.policy,
        inputs.pot_minor,
        inputs.usage,
        inputs.confidence_ppm,
        inputs.collectives,
        inputs.deficits,
    )
    statement, weights = render_statement(distribution.lines), render_weights(inputs.usage)
    snapshot = render_registry(inputs.collectives)
    content = RoundContent(
        number=inputs.number,
        previous=inputs.previous,
        start=inputs.start,
        end=inputs.end,
        root=inputs.root.hex(),
        policy_leaf=inputs.policy_leaf,
        policy_version=inputs.policy_version,
        registry_sha256=sha256(snapshot).hexdigest(),
        statement_sha256=sha256(statement).hexdigest(),
        weights_sha256=sha256(weights).hexdigest(),
        events=distribution.events,
        retracted=distribution.retracted,
        weight=distribution.weight,
        weight_unattributed=distribution.weight_unattributed,
        deficit_unattributed=distribution.deficit_unattributed,
        pot_minor=distribution.pot_minor,
        fee_minor=distribution.fee_minor,
        attributed_minor=distribution.attributed_minor,
        commons_minor=distribution.commons_minor,
        commons_kept_minor=distribution.commons_kept_minor,
        carried_minor=distribution.carried_minor,
        calculated_by=inputs.asked.calculated_by,
        request_id=inputs.asked.request_id,
        fire_times=inputs.asked.fire_times,
    )
    return Calculation(content, inputs.policy, distribution, statement, weights, snapshot)
