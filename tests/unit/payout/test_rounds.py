"""Rounds by example: who gets what, worked out by hand beside each figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from ledger.journal import Purpose, Transfer
from ledger.registry import Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI
from payout.entries import posting_transfers
from payout.policy import (
    CommonsRule,
    Policy,
    Rounding,
    Tempering,
    UnattributedRule,
)
from payout.rounds import Deficits, Distribution, distribute
from payout.statement import deficits_of
from payout.weights import UsageKey, UsageSum
from tests.support.rounds import round_content_of

EIRE: Final = Collective("eire", "Éire", members=300)
HAN: Final = Collective("han", "汉", members=100, equity_ppm=3_000_000)
QUEBEC: Final = Collective("quebec", "Québec", members=0)
ALL: Final = [EIRE, HAN, QUEBEC]

SURE: Final = {("ngram", 1): 1_000_000}
AI: Final = UsageKey("ngram", 1, AI_ONLY)
HUMAN: Final = UsageKey("ngram", 1, HUMAN_AI)


def placed(**terms: Any) -> Policy:
    """Terms under which every unit is placed in every round, so that a figure follows from what stands beside it."""
    return Policy(rounding=Rounding.PLACED, **terms)


def usage_of(events: int, unattributed: int, attributed: dict[str, int]) -> UsageSum:
    """Usage of which nothing was taken back, and in which every event names everyone."""
    return UsageSum(events, 0, unattributed, attributed, dict.fromkeys(attributed, events))


# One unit of usage, in nano-units: Éire 0.3, Han 0.5, and 0.2 that nobody claims.
ONE_UNIT: Final = {AI: usage_of(1, 200_000_000, {"eire": 300_000_000, "han": 500_000_000})}


def attributed(distribution: Distribution) -> list[int]:
    return [line.attributed_minor for line in distribution.lines]


def commons(distribution: Distribution) -> list[int]:
    return [line.commons_minor for line in distribution.lines]


def test_a_pot_is_shared_by_weight_and_what_nobody_claims_goes_to_all() -> None:
    # Attributed 0.8 of 1000 = 800, over weights 3 : 5 = 300 and 500. The rest, 200, equally: 67, 67, 66.
    found = distribute(placed(), 1000, ONE_UNIT, SURE, ALL)
    assert attributed(found) == [300, 500, 0]
    assert commons(found) == [67, 67, 66]
    assert (found.pot_minor, found.fee_minor, found.attributed_minor, found.commons_minor) == (1000, 0, 800, 200)
    assert (found.commons_kept_minor, found.carried_minor, found.events) == (0, 0, 1)


def test_the_fee_comes_first_then_the_commons_share_then_the_rest() -> None:
    # Fee 5% of 1003 = 50.15 -> 50, leaves 953. Commons 10% of 953 = 95.3 -> 95, leaves 858.
    # 858 over 0.8 : 0.2 = 686.4 and 171.6 -> 686 and 172. Attributed 686 over 3 : 5 = 257.25 and 428.75 -> 257 and 429.
    # Commons 95 + 172 = 267 = 3 * 89.
    found = distribute(placed(fee_ppm=50_000, commons_ppm=100_000), 1003, ONE_UNIT, SURE, ALL)
    assert found.fee_minor == 50
    assert attributed(found) == [257, 429, 0]
    assert commons(found) == [89, 89, 89]
    assert found.carried_minor == 0


def test_the_fee_is_no_more_than_its_cap() -> None:
    # 5% of 1000 would be 50; with a cap of 20 there are 980: 784 and 196, and 784 over 3 : 5 = 294 and 490.
    found = distribute(placed(fee_ppm=50_000, fee_cap_minor=20), 1000, ONE_UNIT, SURE, ALL)
    assert found.fee_minor == 20
    assert attributed(found) == [294, 490, 0]
    assert found.commons_minor == 196


def test_under_pro_rata_the_attributed_weights_share_the_whole() -> None:
    # 1000 over 3 : 5 = 375 and 625; only the standing share of 10% is commons: 900 = 337.5 and 562.5 -> the tie
    # for the last unit goes to the lower position.
    found = distribute(placed(unattributed=UnattributedRule.PRO_RATA), 1000, ONE_UNIT, SURE, ALL)
    assert attributed(found) == [375, 625, 0]
    assert commons(found) == [0, 0, 0]
    pro_rata = placed(unattributed=UnattributedRule.PRO_RATA, commons_ppm=100_000)
    found = distribute(pro_rata, 1000, ONE_UNIT, SURE, ALL)
    assert attributed(found) == [338, 562, 0]
    assert commons(found) == [34, 33, 33]


def test_doubt_moves_weight_to_the_commons() -> None:
    # At 75% confidence Éire weighs 0.225, Han 0.375, and 0.2 + 0.25 * 0.8 = 0.4 is unattributed.
    # 1000 over 0.6 : 0.4 = 600 and 400; 600 over 0.225 : 0.375 = 225 and 375; 400 = 134 + 133 + 133.
    found = distribute(placed(), 1000, ONE_UNIT, {("ngram", 1): 750_000}, ALL)
    assert attributed(found) == [225, 375, 0]
    assert commons(found) == [134, 133, 133]
    # In nano-units times ppm of confidence times ppm of mode: 0.6 and 0.4 of 10^21.
    assert (found.weight, found.weight_unattributed) == (6 * 10**20, 4 * 10**20)


def test_each_version_of_a_method_counts_with_its_own_confidence() -> None:
    # Version 1 at 50%: Éire 0.5, unattributed 0.5. Version 2 at 100%: Han 1. Together 0.5 : 1 : 0.5 of 400.
    usage = {
        UsageKey("ngram", 1, AI_ONLY): usage_of(1, 0, {"eire": 10**9}),
        UsageKey("ngram", 2, AI_ONLY): usage_of(1, 0, {"han": 10**9}),
    }
    found = distribute(placed(), 400, usage, {("ngram", 1): 500_000, ("ngram", 2): 1_000_000}, ALL)
    assert attributed(found) == [100, 200, 0]
    assert commons(found) == [34, 33, 33]


def test_each_mode_counts_with_its_own_factor() -> None:
    # AI_ONLY at 0.5, HUMAN_AI at 1.5: Éire 0.5 * 1, Han 1.5 * 1; nothing is unattributed. 1000 over 1 : 3.
    usage = {AI: usage_of(1, 0, {"eire": 10**9}), HUMAN: usage_of(1, 0, {"han": 10**9})}
    found = distribute(placed(ai_only_ppm=500_000, human_ai_ppm=1_500_000), 1000, usage, SURE, ALL)
    assert attributed(found) == [250, 750, 0]
    assert [(line.weight_ai_only, line.weight_human_ai) for line in found.lines] == [(10**9, 0), (0, 10**9), (0, 0)]
    assert [line.weight for line in found.lines] == [5 * 10**20, 15 * 10**20, 0]
    # The factor holds for what is unattributed too: 0.5 * 1 against 1.5 * 1.
    usage = {AI: usage_of(1, 10**9, {}), HUMAN: usage_of(1, 0, {"han": 10**9})}
    found = distribute(placed(ai_only_ppm=500_000, human_ai_ppm=1_500_000), 1000, usage, SURE, ALL)
    assert (attributed(found), found.commons_minor) == ([0, 750, 0], 250)


def test_a_mode_that_the_policy_does_not_count_moves_nothing() -> None:
    usage = {AI: usage_of(3, 10**9, {"eire": 10**9}), HUMAN: usage_of(1, 0, {"han": 1})}
    found = distribute(placed(ai_only_ppm=0), 1000, usage, SURE, ALL)
    assert attributed(found) == [0, 1000, 0]
    assert found.events == 4


def test_raw_weights_sum_over_the_versions_of_all_methods() -> None:
    usage = {
        UsageKey("ngram", 1, AI_ONLY): usage_of(1, 0, {"eire": 5}),
        UsageKey("ngram", 2, AI_ONLY): usage_of(1, 0, {"eire": 6}),
        UsageKey("other", 1, AI_ONLY): usage_of(1, 0, {"eire": 7, "han": 1}),
        UsageKey("other", 1, HUMAN_AI): usage_of(1, 0, {"eire": 100}),
    }
    confidence = {("ngram", 1): 1, ("ngram", 2): 2, ("other", 1): 3}
    found = distribute(placed(), 0, usage, confidence, ALL)
    assert [(line.weight_ai_only, line.weight_human_ai) for line in found.lines] == [(18, 100), (1, 0), (0, 0)]
    # 10^6 * (1 * 5 + 2 * 6 + 3 * 107) for Éire, 10^6 * 3 for Han.
    assert [line.weight for line in found.lines] == [338_000_000, 3_000_000, 0]


@pytest.mark.parametrize(
    ("rule", "shares", "kept", "carried"),
    [
        # The commons pot is the 200 of 1000 that nobody claims.
        (CommonsRule.EQUAL, [67, 67, 66], 0, 0),
        (CommonsRule.PER_CAPITA, [150, 50, 0], 0, 0),  # 300 : 100 : 0
        (CommonsRule.EQUITY, [100, 100, 0], 0, 0),  # 300 * 1 : 100 * 3 : 0
        (CommonsRule.FUND, [0, 0, 0], 200, 0),
    ],
)
def test_the_commons_is_shared_by_its_rule(rule: CommonsRule, shares: list[int], kept: int, carried: int) -> None:
    found = distribute(placed(commons_rule=rule), 1000, ONE_UNIT, SURE, ALL)
    assert commons(found) == shares
    assert (found.commons_minor, found.commons_kept_minor, found.carried_minor) == (sum(shares), kept, carried)
    assert attributed(found) == [300, 500, 0]


def test_a_commons_by_members_without_any_carries_over() -> None:
    nobody = [Collective("eire", "Éire"), Collective("han", "汉")]
    found = distribute(placed(commons_rule=CommonsRule.PER_CAPITA), 1000, ONE_UNIT, SURE, nobody)
    assert (found.attributed_minor, found.commons_minor, found.carried_minor) == (800, 0, 200)


@pytest.mark.parametrize(
    ("tempering", "amounts"),
    [
        # Weights 1 : 9 : 0 of 1000.
        (Tempering.PROPORTIONAL, [100, 900, 0]),
        (Tempering.SQRT, [250, 750, 0]),  # roots 1 : 3, of weights that are squares: 10^20 and 9 * 10^20
        (Tempering.EQUAL, [500, 500, 0]),
    ],
)
def test_tempering_decides_how_weights_become_claims(tempering: Tempering, amounts: list[int]) -> None:
    usage = {AI: usage_of(1, 0, {"eire": 10**8, "han": 9 * 10**8})}
    assert attributed(distribute(placed(tempering=tempering), 1000, usage, SURE, ALL)) == amounts


def test_a_floor_lifts_and_a_cap_cuts_the_attributed_part() -> None:
    # 800 over 3 : 5 is 300 and 500.
    assert attributed(distribute(placed(floor_minor=350), 1000, ONE_UNIT, SURE, ALL)) == [350, 450, 0]
    assert attributed(distribute(placed(cap_minor=450), 1000, ONE_UNIT, SURE, ALL)) == [350, 450, 0]
    # Both at the cap: 800 - 2 * 250 stays in the pool, and the commons is as it was.
    capped = distribute(placed(cap_minor=250), 1000, ONE_UNIT, SURE, ALL)
    assert (attributed(capped), commons(capped), capped.carried_minor) == ([250, 250, 0], [67, 67, 66], 300)


def test_floors_that_the_pot_cannot_cover_leave_it_for_the_next_round() -> None:
    # The attributed pot is 800: two floors of 400 just fit, of 401 do not. The commons is paid all the same.
    assert attributed(distribute(placed(floor_minor=400), 1000, ONE_UNIT, SURE, ALL)) == [400, 400, 0]
    short = distribute(placed(floor_minor=401, fee_ppm=0), 1000, ONE_UNIT, SURE, ALL)
    assert (attributed(short), commons(short), short.carried_minor) == ([0, 0, 0], [67, 67, 66], 800)


def test_without_usage_nothing_is_distributed_and_nobody_takes_a_fee() -> None:
    for usage in ({}, {AI: usage_of(0, 0, {})}):
        found = distribute(placed(fee_ppm=500_000, commons_ppm=500_000), 1000, usage, SURE, ALL)
        assert (attributed(found), commons(found)) == ([0, 0, 0], [0, 0, 0])
        assert (found.fee_minor, found.commons_kept_minor, found.carried_minor) == (0, 0, 1000)
    uncounted = distribute(placed(ai_only_ppm=0, fee_ppm=500_000), 1000, ONE_UNIT, SURE, ALL)
    assert (uncounted.fee_minor, uncounted.carried_minor, uncounted.events) == (0, 1000, 1)
    fund = placed(commons_rule=CommonsRule.FUND, commons_ppm=1_000_000)
    assert distribute(fund, 1000, {}, SURE, ALL).commons_kept_minor == 0


def test_usage_that_nobody_claims_at_all_is_all_commons() -> None:
    found = distribute(placed(), 100, {AI: usage_of(1, 10**9, {})}, SURE, ALL)
    assert (attributed(found), commons(found)) == ([0, 0, 0], [34, 33, 33])
    pro_rata = placed(unattributed=UnattributedRule.PRO_RATA)
    found = distribute(pro_rata, 100, {AI: usage_of(1, 10**9, {})}, SURE, ALL)
    assert (attributed(found), commons(found), found.carried_minor) == ([0, 0, 0], [0, 0, 0], 100)


def test_an_empty_pot_and_a_pool_without_collectives_distribute_nothing() -> None:
    empty = distribute(placed(fee_ppm=50_000), 0, ONE_UNIT, SURE, ALL)
    assert (attributed(empty), commons(empty), empty.fee_minor, empty.carried_minor) == ([0] * 3, [0] * 3, 0, 0)
    nobody = distribute(placed(fee_ppm=50_000), 1000, {AI: usage_of(1, 10**9, {})}, SURE, [])
    assert (nobody.lines, nobody.fee_minor, nobody.carried_minor) == ((), 50, 950)


def test_the_largest_pool_is_exact() -> None:
    """Weights of a thousand batches at every limit, under the largest factors, and all the revenue a balance holds."""
    heavy = 1000 * 65_536 * 10**18
    usage = {HUMAN: usage_of(1000 * 65_536, heavy, {"eire": heavy, "han": heavy + 1})}
    found = distribute(placed(human_ai_ppm=10_000_000), 2**63 - 1, usage, SURE, ALL)
    assert found.weight == 10**7 * 10**6 * (2 * heavy + 1)
    # 2^63 - 1 = 9223372036854775807 over 2 : 1 (and a hair more) is ...204 and 2/3, and 3074457345618258602 and 1/3.
    assert found.attributed_minor == 6148914691236517205
    assert attributed(found) == [3074457345618258602, 3074457345618258603, 0]
    assert found.commons_minor == 3074457345618258602
    assert found.carried_minor == 0


def test_what_was_taken_back_beyond_what_there_is_is_carried_and_shown() -> None:
    # One unit is used, and two that were paid before are taken back: Éire 0.3 - 0.6, Han 0.5 + 0.5, nobody 0.2 - 0.6.
    taken = {
        AI: UsageSum(1, 2, -400_000_000, {"eire": -300_000_000, "han": 500_000_000}, {"eire": -1, "han": 1}),
        HUMAN: UsageSum(1, 0, 0, {"han": 500_000_000}, {"han": 1}),
    }
    found = distribute(placed(), 1000, taken, SURE, ALL)
    assert (attributed(found), commons(found)) == ([0, 1000, 0], [0, 0, 0])
    assert (found.events, found.retracted) == (2, 2)
    assert [(line.events, line.weight_ai_only) for line in found.lines] == [(-1, -3 * 10**8), (2, 5 * 10**8), (0, 0)]
    assert [(line.deficit_before, line.weight, line.deficit_after) for line in found.lines] == [
        (0, 0, 3 * 10**20),
        (0, 10**21, 0),
        (0, 0, 0),
    ]
    assert (found.weight_unattributed, found.deficit_unattributed) == (0, 4 * 10**20)
    # The next round's unit pays for it first: Éire 0.3 - 0.3, Han 0.5, nobody 0.2 - 0.4.
    deficits = deficits_of(found.lines, found.deficit_unattributed)
    assert deficits == Deficits(4 * 10**20, {"eire": 3 * 10**20})
    after = distribute(placed(), 1000, ONE_UNIT, SURE, ALL, deficits)
    assert attributed(after) == [0, 1000, 0]
    assert [(line.deficit_before, line.weight, line.deficit_after) for line in after.lines] == [
        (3 * 10**20, 0, 0),
        (0, 5 * 10**20, 0),
        (0, 0, 0),
    ]
    assert (after.weight_unattributed, after.deficit_unattributed) == (0, 2 * 10**20)
    # And the one after that has nothing of it left but what nobody claims: 0.2 - 0.2.
    last = distribute(placed(), 1000, ONE_UNIT, SURE, ALL, deficits_of(after.lines, after.deficit_unattributed))
    assert (attributed(last), last.commons_minor) == ([375, 625, 0], 0)
    assert deficits_of(last.lines, last.deficit_unattributed) == Deficits()


def test_without_usage_deficits_are_carried_as_they_are() -> None:
    deficits = Deficits(7, {"eire": 5})
    found = distribute(placed(fee_ppm=500_000), 1000, {}, SURE, ALL, deficits)
    assert (found.fee_minor, found.carried_minor) == (0, 1000)
    assert deficits_of(found.lines, found.deficit_unattributed) == deficits


def posted(policy: Policy, collectives: Sequence[Collective]) -> list[Transfer]:
    found = distribute(policy, 1000, ONE_UNIT, SURE, collectives)
    return posting_transfers(round_content_of(found), found.lines)


def test_posting_moves_the_fee_then_both_parts_of_each_line_then_the_fund() -> None:
    assert posted(placed(fee_ppm=100_000), ALL) == [
        Transfer("revenue", "fees", 100, Purpose.FEE),
        Transfer("revenue", "collective/eire", 270, Purpose.ATTRIBUTED),
        Transfer("revenue", "collective/eire", 60, Purpose.COMMONS),
        Transfer("revenue", "collective/han", 450, Purpose.ATTRIBUTED),
        Transfer("revenue", "collective/han", 60, Purpose.COMMONS),
        Transfer("revenue", "collective/quebec", 60, Purpose.COMMONS),
    ]
    assert posted(placed(commons_rule=CommonsRule.FUND), ALL) == [
        Transfer("revenue", "collective/eire", 300, Purpose.ATTRIBUTED),
        Transfer("revenue", "collective/han", 500, Purpose.ATTRIBUTED),
        Transfer("revenue", "commons", 200, Purpose.COMMONS_FUND),
    ]


def test_what_a_suspended_collective_earns_is_held() -> None:
    suspended = Collective("han", "汉", status=CollectiveStatus.SUSPENDED)
    moved = posted(placed(), [EIRE, suspended])
    assert [transfer.to_account for transfer in moved] == ["collective/eire"] * 2 + ["held/han"] * 2
    assert [transfer.amount_minor for transfer in moved] == [300, 100, 500, 100]


def test_lines_carry_name_status_and_the_sum_of_both_parts() -> None:
    suspended = Collective("han", "汉", status=CollectiveStatus.SUSPENDED)
    lines = distribute(placed(), 1000, ONE_UNIT, SURE, [EIRE, suspended]).lines
    assert [(line.collective, line.status.value, line.amount_minor) for line in lines] == [
        ("eire", "ACTIVE", 400),
        ("han", "SUSPENDED", 600),
    ]
