"""Adjustments over many rounds: nothing is lost, nobody is off by a unit, and what is asked back comes to an end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.journal import COMMONS, FEES, REVENUE, Purpose, owner_of
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY
from payout.adjustments import parse_adjusted
from payout.entries import PostingContent, RoundContent
from payout.policy import CommonsRule, Policy, Rounding, UnattributedRule
from payout.statement import parse_statement
from tests.support.batches import Event, event_id
from tests.support.pool_log import PoolLog
from tests.vectors.make import settle

NAMES: Final = ("breton", "irish", "scottish")
LATE: Final = "welsh"
"""A collective that nobody registered before the first adjustment that names it."""
PPM: Final = 10**6

ppm = st.sampled_from([0, PPM // 3, PPM // 2, PPM])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    floor = draw(st.sampled_from([0, 0, 7]))
    return Policy(
        fee_ppm=draw(st.sampled_from([0, 50_000, 300_000])),
        commons_ppm=draw(st.sampled_from([0, 100_000, 500_000])),
        commons_rule=draw(st.sampled_from(CommonsRule)),
        unattributed=draw(st.sampled_from(UnattributedRule)),
        floor_minor=floor,
        cap_minor=draw(st.sampled_from([None, 40, 500])),
        rounding=draw(st.sampled_from(Rounding)),
        recoup_ppm=draw(ppm),
    ).require_sound()


@dataclass(frozen=True)
class Cut:
    """A round: units of each collective, and its money."""

    units: tuple[int, ...]
    amount_minor: int


@dataclass(frozen=True)
class Change:
    """An adjustment of a round, by its place among those posted: a policy, or what the registry has of a collective, by
    its place: LATE comes after NAMES.
    """

    place: int
    policy: Policy | None
    collective: int
    members: int
    source: str


cuts = st.builds(Cut, st.tuples(*[st.integers(0, 9)] * len(NAMES)), st.integers(0, 50) | st.integers(0, 5_000))
changes = st.builds(
    Change, st.integers(0, 9), st.none() | policies(), st.integers(0, len(NAMES)), st.integers(0, 900),
    st.sampled_from(["", FEES, COMMONS]),
)  # fmt: skip


@dataclass
class Told:
    """A log, and what every account is due by it so far: rounds, and what adjustments made of them."""

    log: PoolLog
    due: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def cut(self, cut: Cut) -> None:
        first, self.number = self.number + 1, self.number + len(NAMES)
        self.log.usage(
            [
                Event(event_id(first + at), "", 0, units or 1, AI_ONLY, ((name, NANO // 2 if units else 1),))
                for at, (name, units) in enumerate(zip(NAMES, cut.units, strict=True))
            ]
        )
        if cut.amount_minor:
            self.log.report(cut.amount_minor)
            self.due[REVENUE] += cut.amount_minor
        settle(self.log)
        _, said = self.log.placed(RoundContent)[-1]
        lines = parse_statement(self.log.bodies[bytes.fromhex(said.statement_sha256)])
        given_out = said.fee_minor + sum(line.amount_minor for line in lines) + said.commons_kept_minor
        assert said.pot_minor == given_out + said.carried_minor + said.rounding_minor
        for line in lines:
            self.due[line.collective] += line.amount_minor
        self.due[FEES] += said.fee_minor
        self.due[COMMONS] += said.commons_kept_minor
        self.due[REVENUE] += said.carried_minor - said.pot_minor
        posting, content = self.log.placed(PostingContent)[-1]
        amounts = {line.collective: line.amount_minor for line in lines}
        for moved in self.log.journal.get(posting, ()):
            if moved.purpose is Purpose.RECOUPED and moved.to_account.startswith("owing/"):
                assert moved.amount_minor <= amounts[moved.to_account[6:]] * content.recoup_ppm // PPM

    def adjust(self, change: Change) -> None:
        posted = [said.number for _, said in self.log.placed(RoundContent)]
        number = posted[change.place % len(posted)]
        leaves: tuple[list[int], list[int]]
        if change.policy:
            leaves = ([self.log.policy(change.policy)], [])
        else:
            status = CollectiveStatus.SUSPENDED if change.members % 3 == 0 else CollectiveStatus.ACTIVE
            at = self.log.collectives
            if change.collective == len(at):
                at.append(Collective(LATE, LATE))
            at[change.collective] = replace(at[change.collective], members=change.members, status=status)
            self.log.register()
            leaves = ([], [self.log.registry.size() - 1])
        lines = self.log.adjusted_lines(number, *leaves)
        if not lines:
            return
        leaf = self.log.adjust(number, *leaves, source=change.source)
        assert parse_adjusted(self.log.bodies[bytes.fromhex(self.log.content(leaf).lines_sha256)]).lines == lines
        for line in lines:
            self.due[owner_of(line.account) or line.account] += line.difference_minor
        assert not self.log.adjusted_lines(number, *leaves)

    def require_even(self) -> None:
        """What is asked back is what waits, and each has, owes and waits for just what it is due."""
        balance = self.log.balance
        pool = {account: balance(account) + balance(f"awaiting_{account}") for account in (FEES, COMMONS, REVENUE)}
        kinds = ("collective", "held", "owing", "awaiting")
        own = {name: sum(balance(f"{kind}/{name}") for kind in kinds) for name in (*NAMES, LATE)}
        assert pool | own == {account: self.due[account] for account in (*pool, *own)}
        owing = [balance(f"owing/{name}") for name in (*NAMES, LATE)]
        waiting = [balance(f"awaiting/{name}") for name in (*NAMES, LATE)]
        waiting += [balance(f"awaiting_{account}") for account in pool]
        assert max(owing) <= 0 <= min(waiting)
        assert sum(owing) + sum(waiting) == 0
        assert all(not (owes and waits) for owes, waits in zip(owing, waiting, strict=False))


@given(policies(), st.lists(cuts, min_size=1, max_size=2), st.lists(cuts | changes, max_size=5))
@settings(max_examples=25, deadline=None)
def test_whatever_is_adjusted_everyone_ends_with_what_they_are_due(
    policy: Policy, first: list[Cut], then: list[Cut | Change]
) -> None:
    """The balances of each come to its rounds' amounts as adjusted, after any step; in the end nobody owes or waits."""
    told = Told(PoolLog(collectives=[Collective(name, name, 100) for name in NAMES]))
    told.log.open(policy)
    told.log.method(900_000)
    for step in (*first, *then):
        told.cut(step) if isinstance(step, Cut) else told.adjust(step)
        told.require_even()
    told.log.policy(Policy(commons_ppm=PPM, commons_rule=CommonsRule.EQUAL, recoup_ppm=PPM))
    for _ in range(2):
        told.cut(Cut((1,) * len(NAMES), 10**6))
    told.require_even()
    assert not any(told.log.balance(f"owing/{name}") for name in (*NAMES, LATE))
