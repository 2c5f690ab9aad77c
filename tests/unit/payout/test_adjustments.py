"""Adjustments: what a posted round would have given over the corrected log, and how it is funded and recouped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pytest

from ledger.errors import LedgerCorruptError
from ledger.journal import FEES
from ledger.registry import Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY
from payout.adjustments import Adjusted, AdjustedLines, adjustment_transfers, parse_adjusted
from payout.entries import RoundContent
from payout.policy import CommonsRule, Policy, UnattributedRule
from tests.support.batches import Event, event_id
from tests.support.pool_log import PoolLog
from tests.vectors.make import settle

NANO: Final = 10**9
SALT: Final = "5a" * 32
PRO_RATA: Final = UnattributedRule.PRO_RATA


def figures(lines: list[Adjusted]) -> dict[str, tuple[int, int]]:
    return {line.account: (line.old_minor, line.new_minor) for line in lines}


def moved(lines: Mapping[str, int], source: str = "", balances: Mapping[str, int] = {}) -> list[tuple[str, str, int]]:
    changes = [Adjusted(account, 1_000, 1_000 + amount) for account, amount in lines.items()]
    found = adjustment_transfers(changes, source, lambda account: balances.get(account, 0))
    return [(each.from_account, each.to_account, each.amount_minor) for each in found]


def two_methods(policy: Policy) -> PoolLog:
    """A round of 1,000 in which Irish has 60 units by one method and Scottish 40 by another."""
    log = PoolLog(collectives=[Collective("irish", "Irish"), Collective("scottish", "Scottish")])
    log.open(policy)
    log.method(1_000_000)
    log.method(1_000_000, "embedding")
    usage(log, 1, "irish", 60)
    usage(log, 2, "scottish", 40, "embedding")
    log.report(1_000)
    settle(log)
    return log


def usage(log: PoolLog, number: int, collective: str, units: int, method: str = "ngram") -> None:
    log.usage([Event(event_id(number), "", 0, units, AI_ONLY, ((collective, NANO),))], "acme", method)


def checked(log: PoolLog) -> None:
    """Every round replays, whatever came after it."""
    for index, _ in log.placed(RoundContent):
        assert log.replay(index).finding is None


def test_a_confidence_that_was_wrong_is_corrected() -> None:
    log = two_methods(Policy(unattributed=PRO_RATA, recoup_ppm=500_000))
    better = log.method(500_000, "embedding")
    # 60 : 20 of 1,000 rather than 60 : 40.
    assert figures(log.adjusted_lines(1, [better])) == {
        "collective/irish": (600, 750), "collective/scottish": (400, 250),
    }  # fmt: skip
    log.adjust(1, [better])
    assert (log.balance("owing/scottish"), log.balance("awaiting/irish")) == (-150, 150)
    assert log.balance("collective/irish") == 600
    checked(log)


def test_what_is_asked_back_is_recouped_up_to_the_share_and_goes_on_to_whom_it_is_due() -> None:
    log = two_methods(Policy(unattributed=PRO_RATA, recoup_ppm=500_000))
    log.adjust(1, [log.method(500_000, "embedding")])
    for number in (3, 4):
        usage(log, number, "scottish", 10)
        log.report(200)
        settle(log)
    # Half of each 200 is paid back, until all 150 are.
    assert [log.balance(account) for account in ("owing/scottish", "awaiting/irish")] == [0, 0]
    assert (log.balance("collective/scottish"), log.balance("collective/irish")) == (400 + 400 - 150, 750)
    checked(log)


def test_members_that_were_wrong_are_corrected_by_the_registrys_leaf() -> None:
    collectives = [Collective("irish", "Irish", 100), Collective("scottish", "Scottish", 100)]
    log = PoolLog(collectives=collectives)
    log.open(Policy(commons_ppm=1_000_000, commons_rule=CommonsRule.PER_CAPITA))
    log.method(1_000_000)
    usage(log, 1, "irish", 1)
    log.report(1_000)
    settle(log)
    log.collectives[0] = replace(log.collectives[0], members=300)
    log.register()
    leaf = log.registry.size() - 1
    log.adjust(1, registry_leaves=[leaf])
    assert (log.balance("awaiting/irish"), log.balance("owing/scottish")) == (250, -250)
    checked(log)


def test_who_came_in_by_an_adjustment_gives_back_what_the_next_one_does_not_give_them() -> None:
    collectives = [Collective("irish", "Irish", 100), Collective("scottish", "Scottish", 100)]
    log = PoolLog(collectives=collectives)
    log.open(Policy(commons_ppm=1_000_000, commons_rule=CommonsRule.PER_CAPITA))
    log.method(1_000_000)
    usage(log, 1, "irish", 1)
    log.report(1_000)
    settle(log)

    def registered(collective: Collective) -> int:
        others = [each for each in log.collectives if each.name != collective.name]
        log.collectives[:] = sorted([*others, collective], key=lambda each: each.name)
        log.register()
        return log.registry.size() - 1

    def owed() -> list[int]:
        names = ("breton", "irish", "scottish")
        return [log.balance(f"awaiting/{name}") + log.balance(f"owing/{name}") for name in names]

    breton = Collective("breton", "Breton", 200)
    log.adjust(1, registry_leaves=[registered(breton)])
    assert owed() == [500, -250, -250]
    suspended = registered(replace(breton, status=CollectiveStatus.SUSPENDED))
    log.adjust(1, registry_leaves=[suspended])
    assert owed() == [500, -250, -250]
    log.adjust(1, registry_leaves=[registered(Collective("irish", "Irish", 300))])
    assert owed() == [0, 250, -250]
    checked(log)


def test_fees_pay_at_once_and_get_what_is_recouped() -> None:
    log = two_methods(Policy(fee_ppm=200_000, unattributed=PRO_RATA, recoup_ppm=1_000_000))
    log.adjust(1, [log.method(0, "embedding")], source=FEES)
    # 480 : 320 becomes 800 : 0; the fees of 200 cannot pay 320, so this one is refused by the books.
    assert log.balance("fees") < 0
    log = two_methods(Policy(fee_ppm=500_000, unattributed=PRO_RATA, recoup_ppm=1_000_000))
    log.adjust(1, [log.method(0, "embedding")], source=FEES)
    assert [log.balance(account) for account in ("fees", "collective/irish", "awaiting_fees")] == [300, 500, 200]
    usage(log, 3, "scottish", 1)
    log.report(1_000)
    settle(log)
    assert [log.balance(name) for name in ("fees", "owing/scottish", "awaiting_fees")] == [300 + 500 + 200, 0, 0]
    checked(log)


def test_a_second_adjustment_takes_back_the_first() -> None:
    log = two_methods(Policy(unattributed=PRO_RATA, recoup_ppm=500_000))
    wrong = log.method(500_000, "embedding")
    log.adjust(1, [wrong])
    log.adjust(1, [wrong, log.method(1_000_000, "embedding")])
    accounts = ("owing/irish", "owing/scottish", "awaiting/irish", "awaiting/scottish")
    assert [log.balance(account) for account in accounts] == [0, 0, 0, 0]
    assert log.adjusted_lines(1, []) == []
    checked(log)


def test_who_is_not_affected_is_not_adjusted_by_a_fraction() -> None:
    log = PoolLog(collectives=[Collective(name, name) for name in ("breton", "irish", "scottish")])
    log.open(Policy(commons_rule=CommonsRule.FUND))
    log.method(1_000_000)
    log.method(700_001, "embedding")
    for number, (name, method) in enumerate({"breton": "ngram", "irish": "ngram", "scottish": "embedding"}.items(), 1):
        usage(log, number, name, 7, method)
    log.report(1_001)
    settle(log)
    lines = figures(log.adjusted_lines(1, [log.method(333_333, "embedding")]))
    assert lines == {"collective/scottish": (233, 111), "commons": (100, 222)}


def test_money_that_fees_commons_or_revenue_give_back_is_paid_at_once_in_proportion() -> None:
    assert moved({"collective/a": 30, "collective/b": 10, "collective/c": -20, "fees": -20}) == [
        ("fees", "collective/a", 15), ("fees", "collective/b", 5),
        ("owing/c", "awaiting/a", 15), ("owing/c", "awaiting/b", 5),
    ]  # fmt: skip


def test_the_commons_can_pay_at_once_what_waits_and_wait_itself() -> None:
    assert moved({"held/a": 30, "collective/c": -30}, "commons") == [
        ("commons", "held/a", 30), ("owing/c", "awaiting_commons", 30),
    ]  # fmt: skip


def test_who_owes_and_waits_does_neither_any_more() -> None:
    before = {"owing/a": -50, "awaiting/c": 20}
    assert moved({"collective/a": 30, "collective/c": -30}, balances=before) == [
        ("owing/c", "awaiting/a", 30), ("awaiting/a", "owing/a", 30), ("awaiting/c", "owing/c", 20),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        [], [Adjusted("fees", 1, 1)], [Adjusted("fees", 1, 2)], [Adjusted("fees", 1, 2), Adjusted("commons", 2, 1)],
        [Adjusted("paid/irish", 1, 2), Adjusted("revenue", 2, 1)],
    ],
)  # fmt: skip
def test_lines_that_do_not_balance_or_are_out_of_order_are_none(lines: list[Adjusted]) -> None:
    with pytest.raises(LedgerCorruptError):
        parse_adjusted(AdjustedLines(SALT, lines).render())


@pytest.mark.parametrize(
    "forgery",
    [
        {"source": "revenue"},
        {"pool_leaves": []},
        {"registry_leaves": [999]},
        {"round": 9},
        {"amount_minor": 149},
        {"lines": 3},
        {"lines_root": "0" * 64},
    ],
)
def test_a_forged_adjustment_is_found(forgery: dict[str, object]) -> None:
    log = two_methods(Policy(unattributed=PRO_RATA, recoup_ppm=500_000))
    leaf = log.adjust(1, [log.method(500_000, "embedding")])
    content, transfers = log.content(leaf), log.journal[leaf]
    log.entries.pop()
    log.append(content.model_copy(update=forgery), transfers)
    finding = log.replay(log.placed(RoundContent)[0][0]).finding
    assert finding is not None
    assert finding.where.leaf_index == leaf
