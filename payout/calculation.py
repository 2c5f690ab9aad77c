"""Calculating a round: from all of its inputs to the entry that records it, with its bodies.

The same function makes a round and checks one: with the inputs, every field of the entry can be recomputed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from ledger.acts.act import ActContent
from ledger.acts.entries import CollectiveContent
from ledger.income import Period
from ledger.journal import REVENUE
from ledger.log.merkle import root
from ledger.registry import Collective, CollectiveStatus
from ledger.usage.entries import MethodContent
from payout.amounts import Carried
from payout.dossiers import SALT_BYTES, Figures, render_dossiers, statement_leaves
from payout.entries import FireTimes, PolicyContent, RoundContent
from payout.policy import Policy
from payout.rounds import Deficits, Distribution, distribute
from payout.statement import render_registry, render_statement, render_weights
from payout.weights import UsageKey, UsageSum


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a round answers, its fire times, and its salt: random bytes. Empty for a preview."""

    request_id: str = ""
    fire_times: FireTimes | None = None
    salt: bytes = bytes(SALT_BYTES)


@dataclass(frozen=True, slots=True)
class Calculation:
    """A round as it would be logged, with the bodies that it commits to."""

    content: RoundContent
    policy: Policy
    distribution: Distribution
    statement: bytes
    weights: bytes
    registry: bytes
    salt: bytes

    def bodies(self) -> tuple[bytes, ...]:
        """What the entry names by hash."""
        return self.statement, self.weights, self.registry, self.salt


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """The collectives, by the bytes of their names, as of a size of the registry's log, and its root at that size."""

    size: int
    root: bytes
    collectives: Sequence[Collective]


@dataclass(frozen=True, slots=True)
class Closing:
    """The period that a round closes, and what of the round is late or was not waited for.

    Attributes:
        late_events: usage of months before the period.
        late_retracted: what was taken back of such months.
        late_minor: of the pot, what is of earlier periods.
        waived: the platforms whose reports are missing or not received, and were waived.
    """

    period: Period
    late_events: int = 0
    late_retracted: int = 0
    late_minor: int = 0
    waived: tuple[str, ...] = ()


def closing_of(content: RoundContent) -> Closing | None:
    """Returns what a round's entry says of its period, if it has one."""
    if not content.period:
        return None
    return Closing(
        Period.parse(content.period),
        content.late_events,
        content.late_retracted,
        content.late_minor,
        tuple(content.waived),
    )


def counts_of(usage: Iterable[UsageSum]) -> tuple[int, int]:
    """Returns how many events there are in all, and how many were retracted."""
    found = list(usage)
    return sum(each.events for each in found), sum(each.retracted for each in found)


@dataclass(frozen=True, slots=True)
class RoundInputs:
    """Everything that a round follows from."""

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
    registry: RegistrySnapshot
    deficits: Deficits
    carried: Carried = field(default_factory=Carried)
    asked: Asked = field(default_factory=Asked)
    usage_from: int | None = None
    """The first leaf whose usage may be in it, where that is before `start`."""
    closing: Closing | None = None

    @classmethod
    def again(
        cls,
        content: RoundContent,
        policy: Policy,
        usage: Mapping[UsageKey, UsageSum],
        confidence_ppm: Mapping[tuple[str, int], int],
        collectives: Sequence[Collective],
        deficits: Deficits,
        carried: Carried,
    ) -> RoundInputs:
        """Returns the inputs of a round that was calculated, with what its entry only has the hashes of."""
        return cls(
            number=content.number,
            previous=content.previous,
            start=content.start,
            end=content.end,
            root=bytes.fromhex(content.root),
            policy_leaf=content.policy_leaf,
            policy_version=content.policy_version,
            policy=policy,
            pot_minor=content.pot_minor,
            usage=usage,
            confidence_ppm=confidence_ppm,
            registry=RegistrySnapshot(content.registry_size, bytes.fromhex(content.registry_root), collectives),
            deficits=deficits,
            carried=carried,
            usage_from=content.usage_from,
            closing=closing_of(content),
        )


def as_proposed(inputs: RoundInputs, act: ActContent) -> RoundInputs:
    """Returns the inputs as an act would have had them; the same ones if it has no effect on a distribution.

    A method's confidence is taken for all of its versions. A collective that was not there yet is added. How scores are
    read is no input: `payout.store.rereading` changes the usage.
    """
    match act:
        case PolicyContent(policy=policy):
            return replace(inputs, policy=policy)
        case MethodContent(method=method, confidence_ppm=confidence):
            versions = {key: confidence for key in inputs.confidence_ppm if key[0] == method}
            return replace(inputs, confidence_ppm={**inputs.confidence_ppm, **versions})
        case CollectiveContent():
            status = CollectiveStatus(act.status)
            changed = Collective(act.collective, act.display_name, act.members, act.equity_ppm, status)
            others = [each for each in inputs.registry.collectives if each.name != changed.name]
            collectives = sorted([*others, changed], key=lambda each: each.name.encode())
            return replace(inputs, registry=replace(inputs.registry, collectives=collectives))
        case _:
            return inputs


def pot_of(balances: Mapping[str, int]) -> int:
    """Returns what there is to distribute: the revenue, nothing while it is below zero."""
    return max(0, balances.get(REVENUE, 0))


def distributed(inputs: RoundInputs) -> Distribution:
    """Returns who gets how much of a round's pot."""
    return distribute(
        inputs.policy,
        inputs.pot_minor,
        inputs.usage,
        inputs.confidence_ppm,
        inputs.registry.collectives,
        inputs.deficits,
        inputs.carried,
    )


def calculate(inputs: RoundInputs) -> Calculation:
    """Returns the round that follows from its inputs."""
    distribution = distributed(inputs)
    statement, weights = render_statement(distribution.lines), render_weights(inputs.usage)
    snapshot = render_registry(inputs.registry.collectives)
    content = round_content(inputs, distribution, statement=statement, weights=weights, registry=snapshot)
    return Calculation(content, inputs.policy, distribution, statement, weights, snapshot, inputs.asked.salt)


def statement_root(inputs: RoundInputs, distribution: Distribution, weights: bytes) -> bytes:
    """Returns the root of the tree of a round's dossiers."""
    figures = Figures(
        inputs.number,
        inputs.policy,
        inputs.policy_version,
        inputs.confidence_ppm,
        distribution.pot_minor,
        distribution.fee_minor,
        distribution.weight,
        distribution.weight_unattributed,
    )
    dossiers = render_dossiers(figures, distribution.lines, inputs.registry.collectives, weights)
    return root(statement_leaves(inputs.asked.salt, distribution.lines, dossiers))


def round_content(
    inputs: RoundInputs, distribution: Distribution, *, statement: bytes, weights: bytes, registry: bytes
) -> RoundContent:
    """Returns the entry of a round: its inputs by hash or place in the log, and the figures of its distribution."""
    figures = {
        name: getattr(distribution, name) for name in RoundContent.model_fields if name in Distribution.__slots__
    }
    closing = inputs.closing
    return RoundContent(
        period=str(closing.period) if closing else "",
        usage_from=inputs.usage_from,
        late_events=closing.late_events if closing else 0,
        late_retracted=closing.late_retracted if closing else 0,
        late_minor=closing.late_minor if closing else 0,
        waived=list(closing.waived) if closing else [],
        number=inputs.number,
        previous=inputs.previous,
        start=inputs.start,
        end=inputs.end,
        root=inputs.root.hex(),
        policy_leaf=inputs.policy_leaf,
        policy_version=inputs.policy_version,
        registry_size=inputs.registry.size,
        registry_root=inputs.registry.root.hex(),
        registry_sha256=sha256(registry).hexdigest(),
        statement_sha256=sha256(statement).hexdigest(),
        weights_sha256=sha256(weights).hexdigest(),
        salt_sha256=sha256(inputs.asked.salt).hexdigest(),
        statement_root=statement_root(inputs, distribution, weights).hex(),
        statement_lines=len(distribution.lines),
        request_id=inputs.asked.request_id,
        fire_times=inputs.asked.fire_times,
        **figures,
    )
