"""Rounds of periods by their rules: over any history of late usage and late money, everything is paid for once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.acts.entries import Decision
from ledger.income import Period, ReceiptContent, ReportContent, ReversalContent
from ledger.registry import Collective, CollectiveStatus
from ledger.usage.entries import RetractionContent, UsageContent
from payout.entries import PostingContent, RoundContent
from payout.policy import CommonsRule, Periods, Policy, Rounding
from payout.rounds import Nothing
from tests.support.batches import Event
from tests.support.histories import NAMES, events
from tests.support.pool_log import PoolLog, month_at

PLATFORMS: Final = ("acme", "zen")
MONTHS: Final = (1, 2, 3, 4)
POLICY: Final = Policy(period=Periods.MONTH, period_from="2026-01", fee_ppm=10_000, commons_ppm=50_000)
POLICIES: Final = (
    POLICY,
    POLICY.model_copy(update={"rounding": Rounding.PLACED, "floor_minor": 5, "cap_minor": 900}),
    POLICY.model_copy(update={"floor_minor": 3, "cap_minor": 2_000, "commons_rule": CommonsRule.FUND}),
    POLICY.model_copy(update={"period": Periods.QUARTER, "period_from": "2026-Q1"}),
    Policy(commons_rule=CommonsRule.FUND),
    Policy(rounding=Rounding.PLACED, cap_minor=700),
)

months = st.sampled_from(MONTHS)
amounts = st.integers(1, 10_000)
platforms = st.sampled_from(PLATFORMS)


def dated(event: Event, month: int) -> Event:
    return replace(event, occurred_at=round(datetime(2026, month, 28, tzinfo=UTC).timestamp()) * 1_000_000)


batches = st.lists(st.builds(dated, events, months), min_size=1, max_size=3)


def opened(policy: Policy = POLICY) -> PoolLog:
    """A pool in June, whose platforms report for the months before."""
    log = PoolLog(collectives=[Collective(name, name, 1) for name in NAMES])
    log.now = datetime(2026, 6, 1, tzinfo=UTC)
    log.open(policy, "RECEIVED")
    log.method(700_000)
    return log


def close(log: PoolLog) -> int | None:
    """The next round, posted; None where none is cut."""
    index = log.calculate()
    if index < 0:
        return None
    if log.content(index).nothing:
        del log.entries[index:]
        return None
    log.decide(Decision.APPROVED, "policy")
    log.post()
    return index


def received_for(log: PoolLog, before: int | None) -> int:
    """What was paid for periods that end at a month or before: a platform's money is for its oldest reports first."""
    reversed_minor: dict[int, int] = {}
    for _, content in log.placed(ReversalContent):
        reversed_minor[content.reverses] = reversed_minor.get(content.reverses, 0) + content.amount_minor
    total = 0
    for platform in PLATFORMS:
        paid = sum(
            content.amount_minor - reversed_minor.get(index, 0)
            for index, content in log.placed(ReceiptContent)
            if content.platform == platform
        )
        owed = sum(
            content.amount_minor - reversed_minor.get(index, 0)
            for index, content in log.placed(ReportContent)
            if content.platform == platform and (before is None or Period.parse(content.period).end <= before)
        )
        total += min(paid, owed)
    return total


def taken_by_rounds(log: PoolLog) -> int:
    posted = {content.round for _, content in log.placed(PostingContent)}
    return sum(
        content.pot_minor - content.carried_minor for _, content in log.placed(RoundContent) if content.number in posted
    )


def round_and_check(log: PoolLog) -> int | None:
    taken = taken_by_rounds(log)
    index = close(log)
    if index is not None:
        content: RoundContent = log.content(index)
        end = Period.parse(content.period).end if content.period else None
        assert content.pot_minor == max(0, received_for(log, end) - taken)
    return index


def reverse(log: PoolLog, draw: st.DrawFn) -> None:
    """Something of a report or a receipt is taken back, what a round has paid out too."""
    found: list[tuple[int, ReportContent | ReceiptContent]] = [*log.placed(ReportContent), *log.placed(ReceiptContent)]
    if found:
        index, content = draw(st.sampled_from(found))
        back = sum(each.amount_minor for _, each in log.placed(ReversalContent) if each.reverses == index)
        if left := content.amount_minor - back:
            chargeback = isinstance(content, ReceiptContent) and draw(st.booleans())
            amount = draw(st.integers(1, left) | st.just(left))
            log.reversal(index, amount, platform=content.platform, chargeback=chargeback)


def retract(log: PoolLog, draw: st.DrawFn) -> None:
    batch = [index for index, _ in log.placed(UsageContent) if log.retractable(index)]
    if batch:
        index = draw(st.sampled_from(batch))
        log.retract(index, draw(st.lists(st.sampled_from(log.retractable(index)), min_size=1, unique=True)))


def waive(log: PoolLog, name: str, platform: str) -> None:
    if (name, platform) not in log.books().waived:
        log.waive(name, platform)


def suspend(log: PoolLog, draw: st.DrawFn) -> None:
    """Some collectives are suspended from here on, and others no longer are: what they earn is held."""
    log.collectives[:] = [Collective(name, name, 1, status=draw(st.sampled_from(CollectiveStatus))) for name in NAMES]


def settle_all(log: PoolLog) -> None:
    """Close every period that may be, with everything that is missing waived."""
    for _ in range(12):
        if round_and_check(log) is None:
            if log.waiting is None or log.waiting.because is not Nothing.REPORTS_MISSING:
                return
            for platform in log.waiting.platforms:
                waive(log, log.waiting.period, platform)


@st.composite
def histories(draw: st.DrawFn) -> PoolLog:
    log = opened(draw(st.sampled_from(POLICIES)))
    happenings: list[Callable[[], object]] = [
        lambda: log.usage(draw(batches), draw(platforms)),
        lambda: log.usage(draw(batches), draw(platforms)),
        lambda: log.report(draw(amounts), draw(platforms), f"2026-{draw(months):02d}"),
        lambda: log.report(draw(amounts), draw(platforms), draw(st.sampled_from(["2026-Q1", "2026"]))),
        lambda: log.receipt(draw(amounts), draw(platforms)),
        lambda: log.receipt(draw(amounts), draw(platforms)),
        lambda: reverse(log, draw),
        lambda: retract(log, draw),
        lambda: waive(log, f"2026-{draw(months):02d}", draw(platforms)),
        lambda: round_and_check(log),
        lambda: settle_all(log),
        lambda: log.policy(draw(st.sampled_from(POLICIES))),
        lambda: suspend(log, draw),
    ]
    for _ in range(draw(st.integers(1, 3))):
        log.usage(draw(batches), draw(platforms))
        log.report(draw(amounts), "acme", f"2026-{draw(months):02d}")
        log.receipt(draw(amounts), "acme")
        for happening in draw(st.lists(st.sampled_from(happenings), max_size=6)):
            happening()
        settle_all(log)
    return log


@settings(max_examples=40)
@given(histories())
def test_every_event_is_in_one_round_at_most_and_every_round_replays(log: PoolLog) -> None:
    """Rule: "its weights are all usage before `end` of periods up to it that no earlier round took"."""
    batches_at = {index for index, _ in log.placed(UsageContent)}
    back_at = {index for index, _ in log.placed(RetractionContent)}
    for index, content in log.placed(RoundContent):
        verdict = log.replay(index)
        assert verdict.finding is None
        mine = [leaf for (leaf, _), number in log.paid_by.items() if number == content.number]
        assert content.events == sum(leaf in batches_at for leaf in mine)
        assert content.retracted == sum(leaf in back_at for leaf in mine)
        assert all(leaf < content.end for leaf in mine)


@settings(max_examples=30)
@given(histories())
def test_no_money_is_distributed_twice_or_lost(log: PoolLog) -> None:
    """Rule: "its pot is all received for periods up to it, less reversals and what earlier rounds took"; under either
    rounding, with floors, caps and suspended collectives, what rounds took is all there."""
    assert log.balance("revenue") == received_for(log, None) - taken_by_rounds(log)
    kept = [log.balance(name) for name in ("fees", "commons", "rounding")]
    owed = [log.balance(f"{kind}/{name}") for kind in ("collective", "held") for name in NAMES]
    assert sum(kept) + sum(owed) == taken_by_rounds(log)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(batches, platforms), min_size=1, max_size=4),
    st.lists(st.tuples(amounts, platforms, months), min_size=1, max_size=5),
    st.lists(st.tuples(amounts, platforms), max_size=4),
    st.data(),
)
def test_the_order_in_which_things_arrive_before_a_round_does_not_matter(
    usage: list[tuple[list[Event], str]],
    reports: list[tuple[int, str, int]],
    receipts: list[tuple[int, str]],
    data: st.DataObject,
) -> None:
    """Rule: order independence; what a round is made of has no order, only what came before it and what did not."""
    apart = [
        ([replace(event, event_id=bytes([place]) + (event.event_id or b"")[1:]) for event in batch], who)
        for place, (batch, who) in enumerate(usage)
    ]
    steps: list[Callable[[PoolLog], object]] = [
        *((lambda log, batch=batch, who=who: log.usage(batch, who)) for batch, who in apart),
        *((lambda log, a=a, who=who, m=m: log.report(a, who, f"2026-{m:02d}")) for a, who, m in reports),
        *((lambda log, a=a, who=who: log.receipt(a, who)) for a, who in receipts),
    ]
    found = []
    for order in (steps, data.draw(st.permutations(steps))):
        log = opened()
        for step in order:
            step(log)
        settle_all(log)
        found.append(
            [
                (content.period, content.pot_minor, content.late_minor, content.late_events, content.statement_sha256)
                for _, content in log.placed(RoundContent)
            ]
        )
    assert found[0] == found[1]


@settings(max_examples=30)
@given(histories())
def test_a_month_that_a_round_took_is_late_afterwards(log: PoolLog) -> None:
    """Rule: "late money and late usage fall in the next round, and are stated as late"."""
    for _, content in log.placed(RoundContent):
        if not content.period:
            assert (content.late_events, content.late_minor, content.waived) == (0, 0, [])
            continue
        period = Period.parse(content.period)
        mine = [key for key, number in log.paid_by.items() if number == content.number]
        months_of = {
            (index, event.event_id): month_at(event)
            for index, _ in log.placed(UsageContent)
            for event in log._accepted[index]
        }
        late = [key for key in mine if key in months_of and months_of[key] < period.first]
        assert content.late_events == len(late)
        assert all(months_of[key] < period.end for key in mine if key in months_of)
        assert 0 <= content.late_minor <= content.pot_minor
