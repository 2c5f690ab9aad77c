"""A posted round over the corrected log: the pure function behind adjustments, for the maker and the checker.

A round commits to all that it follows from: weights, registry, deficits and carried fractions are in its own bodies.
So it is calculated again from these, with the corrections in place of what they correct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ledger.acts.act import ActContent
from ledger.journal import COMMONS, FEES, REVENUE
from ledger.registry import NANO, Collective
from payout.adjustments import Adjusted, account_of
from payout.amounts import Carried
from payout.calculation import RoundInputs, as_proposed, distributed
from payout.entries import RoundContent
from payout.policy import Policy
from payout.rounds import Deficits, Distribution, Line
from payout.statement import parse_weights


@dataclass(frozen=True, slots=True)
class PostedRound:
    """A posted round as the log has it: its entry, its bodies, and the posted round before it."""

    content: RoundContent
    before: RoundContent | None
    policy: Policy
    lines: Sequence[Line]
    weights: bytes
    collectives: Sequence[Collective]
    confidence_ppm: Mapping[tuple[str, int], int]
    set_aside: AbstractSet[str] = frozenset()


def corrected(posted: PostedRound, corrections: Sequence[ActContent], earlier: Mapping[str, int]) -> list[Adjusted]:
    """Returns the accounts, by name, that get another amount over the corrected log.

    Differences are exact to the nano-minor unit, and their whole units are placed by largest remainder: who is not
    affected gets no unit, and each other is off by less than one. What then does not go to anyone carries over.

    Args:
        posted: the round.
        corrections: the contents of all leaves that correct the log: policies, methods and collectives.
        earlier: by account, what earlier adjustments of the round have made of it.
    """
    inputs = _inputs(posted)
    for act in corrections:
        inputs = as_proposed(inputs, act)
    new = distributed(inputs)
    old_lines = {line.collective: line for line in posted.lines}
    accounts = {line.collective: account_of(line, posted.set_aside) for line in [*new.lines, *posted.lines]}
    exact = {COMMONS: _kept_nano(new) - _kept_nano(posted.content)}
    first = {COMMONS: posted.content.commons_kept_minor}
    for line in new.lines:
        before = old_lines.get(line.collective)
        account = accounts[line.collective]
        first[account] = before.amount_minor if before else 0
        exact[account] = _nano(line) - (_nano(before) if before else 0)
    whole = _in_whole_units(exact)
    whole[FEES], first[FEES] = new.fee_minor - posted.content.fee_minor, posted.content.fee_minor
    whole[REVENUE], first[REVENUE] = -sum(whole.values()), posted.content.carried_minor
    for account in earlier.keys() - whole.keys():  # of a collective that an earlier adjustment brought into the round
        whole[account] = first[account] = 0
    changed = [
        Adjusted(account, earlier.get(account, first[account]), first[account] + whole[account])
        for account in sorted(whole, key=str.encode)
    ]
    return [line for line in changed if line.difference_minor]


def _in_whole_units(exact_nano: Mapping[str, int]) -> dict[str, int]:
    """Returns the differences in minor units: rounded down, and the units that are left to the largest fractions."""
    whole = {account: amount // NANO for account, amount in exact_nano.items()}
    fractions = {account: amount % NANO for account, amount in exact_nano.items()}
    left = (sum(fractions.values()) + NANO // 2) // NANO
    order = sorted(fractions, key=lambda account: (-fractions[account], account.encode()))
    for account in order[:left]:
        whole[account] += 1
    return whole


def _nano(line: Line) -> int:
    """What a line gives and carries on, without what was carried to it, which is the same in both."""
    return line.amount_minor * NANO + line.attributed_after_nano + line.commons_after_nano


def _kept_nano(found: Distribution | RoundContent) -> int:
    return found.commons_kept_minor * NANO + found.kept_after_nano


def _inputs(posted: PostedRound) -> RoundInputs:
    content, before = posted.content, posted.before
    return RoundInputs.again(
        content,
        policy=posted.policy,
        usage=parse_weights(posted.weights),
        confidence_ppm=posted.confidence_ppm,
        collectives=posted.collectives,
        deficits=Deficits(
            before.deficit_unattributed if before else 0,
            {line.collective: line.deficit_before for line in posted.lines if line.deficit_before},
        ),
        carried=Carried(
            before.kept_after_nano if before else 0,
            {line.collective: line.attributed_before_nano for line in posted.lines},
            {line.collective: line.commons_before_nano for line in posted.lines},
        ),
    )
