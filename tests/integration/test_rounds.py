"""The life of a round, and what is paid of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Final

import grpc
import pytest
import sqlalchemy as sa

from ledger.acts.controls import Controls
from moiety import (
    Allocation,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    Method,
    NotFoundError,
    Policy,
    Pool,
    Round,
    ServiceError,
)
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import (
    COLLECTIVE_STATUS_ACTIVE,
    COLLECTIVE_STATUS_SUSPENDED,
    COMMONS_RULE_FUND,
    COMMONS_RULE_PER_CAPITA,
    DISTRIBUTE_REPORTED,
    ROUNDING_PLACED,
)
from moiety.v1.rounds_pb2 import ROUND_STATE_CALCULATED, ROUND_STATE_POSTED, ROUND_STATE_REJECTED
from payout.statement import parse_statement
from tests.support.books import execute, require_sound_log, row_counts
from tests.support.deployment import Deployment, SteppedClock
from tests.support.scene import METHOD, NAMED_PLATFORMS, NANO, POOL, Scene, event, events, open_scene
from tests.support.wire import Wire, refused

REVIEWED: Final = Policy(review_seconds=3600)


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """A pool whose rounds approve by themselves."""
    return open_scene(deployment)


@pytest.fixture
def reviewed(deployment: Deployment) -> Scene:
    """A pool whose rounds wait for another operator."""
    return open_scene(deployment, policy=REVIEWED)


def refused_state(call: Callable[[], object]) -> str:
    with pytest.raises(FailedPreconditionError) as caught:
        call()
    return caught.value.reason


def require_whole(found: Round) -> None:
    kept_minor = found.commons_kept_minor + found.carried_minor + found.rounding_minor
    assert found.pot_minor == found.fee_minor + found.allocated_minor + kept_minor
    assert found.allocated_minor == found.attributed_minor + found.commons_minor


def test_a_round_waits_for_another_operator_and_then_pays(reviewed: Scene, owner: sa.Engine) -> None:
    reviewed.pay_in(1000, "r")
    reviewed.submit([event(1, shares={"irish": NANO})], "b")
    calculated = reviewed.operator.calculate_round(POOL, request_id="q")
    assert (calculated.state, calculated.number) == (ROUND_STATE_CALCULATED, 1)
    assert (calculated.calculated_by, calculated.decided_by) == ("operators/olive", "")
    assert reviewed.balances() == {"platform/tunesmith": -1000, "revenue": 1000}
    posted = reviewed.approve(1)
    assert (posted.state, posted.decided_by) == (ROUND_STATE_POSTED, "operators/otto")
    assert reviewed.balances() == {"collective/irish": 1000, "platform/tunesmith": -1000, "revenue": 0}
    assert reviewed.operator.get_round(POOL, 1) == posted
    require_whole(posted)
    require_sound_log(owner, POOL)


def test_whoever_asked_for_a_calculation_cannot_approve_it_where_two_are_needed(
    deploy: Callable[..., Deployment], owner: sa.Engine
) -> None:
    of_two = Controls.of_one().model_copy(update={"people": 2, "rounds": 2})
    reviewed = open_scene(deploy(controls=of_two), policy=Policy(review_seconds=3600))
    reviewed.fill()
    reviewed.operator.calculate_round(POOL, request_id="q")
    reviewed.after_review(1)
    before = row_counts(owner)
    assert refused_state(lambda: reviewed.operator.approve_round(POOL, 1)) == "PROPOSED_IT"
    assert row_counts(owner) == before
    assert reviewed.operator.get_round(POOL, 1).state == ROUND_STATE_CALCULATED


def test_where_one_suffices_whoever_calculated_may_approve_after_the_review(reviewed: Scene) -> None:
    reviewed.fill()
    reviewed.operator.calculate_round(POOL, request_id="q")
    assert reviewed.approve(1, by=reviewed.operator).decided_by == "operators/olive"


def test_nobody_approves_before_the_review_is_over(reviewed: Scene, clock: SteppedClock) -> None:
    reviewed.pay_in(1000, "r")
    reviewed.submit([event(1)], "b")
    reviewed.operator.calculate_round(POOL, request_id="q")
    clock.advance(seconds=3599)
    for operator in (reviewed.operator, reviewed.reviewer):
        assert refused_state(partial(operator.approve_round, POOL, 1)) == "REVIEW_RUNS"
    assert reviewed.balances()["revenue"] == 1000
    clock.advance(seconds=1)
    assert reviewed.reviewer.approve_round(POOL, 1).state == ROUND_STATE_POSTED


def test_a_rejected_round_pays_nothing_and_the_next_starts_again_from_the_last_posted_end(reviewed: Scene) -> None:
    reviewed.pay_in(1000, "r-1")
    reviewed.submit([event(1)], "b-1")
    posted = reviewed.cut("q-1")
    reviewed.pay_in(500, "r-2")
    reviewed.submit([event(2)], "b-2")
    reviewed.operator.calculate_round(POOL, request_id="q-2")
    rejected = reviewed.reviewer.reject_round(POOL, 2, "the second batch is in doubt")
    assert (rejected.state, rejected.reason) == (ROUND_STATE_REJECTED, "the second batch is in doubt")
    assert reviewed.balances()["revenue"] == 500
    reviewed.submit([event(3)], "b-3")
    third = reviewed.cut("q-3")
    assert (third.number, third.start, third.previous_number) == (3, posted.end, 1)
    assert (third.event_count, third.pot_minor) == (2, 500)
    assert [found.state for found in reviewed.operator.list_rounds(POOL)] == [
        ROUND_STATE_POSTED, ROUND_STATE_REJECTED, ROUND_STATE_POSTED,
    ]  # fmt: skip
    for number in (1, 2, 3):
        assert reviewed.operator.replay_round(POOL, number).outcome == REPLAY_OUTCOME_MATCH


def test_the_one_who_calculated_may_reject(reviewed: Scene) -> None:
    reviewed.fill()
    reviewed.operator.calculate_round(POOL, request_id="q")
    assert reviewed.operator.reject_round(POOL, 1, "a slip of mine").state == ROUND_STATE_REJECTED


@pytest.mark.parametrize("reason", ["", "x" * 1001, "two\nlines"])
def test_a_rejection_needs_a_reason(reviewed: Scene, reason: str) -> None:
    reviewed.fill()
    reviewed.operator.calculate_round(POOL, request_id="q")
    with pytest.raises(InvalidArgumentError) as caught:
        reviewed.reviewer.reject_round(POOL, 1, reason)
    assert [violation.field for violation in caught.value.violations] == ["reason"]
    assert reviewed.operator.get_round(POOL, 1).state == ROUND_STATE_CALCULATED


def test_no_round_is_calculated_while_one_is_open(reviewed: Scene) -> None:
    reviewed.fill()
    reviewed.operator.calculate_round(POOL, request_id="q-1")
    assert refused_state(lambda: reviewed.operator.calculate_round(POOL, request_id="q-2")) == "ROUND_OPEN"
    reviewed.approve(1)
    reviewed.fill()
    assert reviewed.operator.calculate_round(POOL, request_id="q-2").number == 2


def test_a_request_to_calculate_that_comes_again_gets_the_same_round(reviewed: Scene, owner: sa.Engine) -> None:
    reviewed.fill()
    first = reviewed.operator.calculate_round(POOL, request_id="q")
    reviewed.pay_in(1000, "r")
    counted = row_counts(owner)
    assert reviewed.operator.calculate_round(POOL, request_id="q") == first
    posted = reviewed.approve(1)
    assert reviewed.operator.calculate_round(POOL, request_id="q") == posted
    assert row_counts(owner)["round"] == counted["round"]
    with pytest.raises(InvalidArgumentError) as caught:
        reviewed.reviewer.calculate_round(POOL, request_id="q")
    assert caught.value.reason == "ID_REUSED"


def test_a_decision_that_comes_again_is_a_no_op_and_another_one_is_refused(reviewed: Scene, owner: sa.Engine) -> None:
    reviewed.pay_in(1000, "r")
    reviewed.submit([event(1)], "b")
    reviewed.operator.calculate_round(POOL, request_id="q-1")
    posted = reviewed.approve(1)
    before = row_counts(owner)
    assert reviewed.approve(1) == posted
    third = reviewed.deployment.client("operators/third")
    assert refused_state(lambda: reviewed.approve(1, by=third)) == "ROUND_DECIDED"
    assert refused_state(lambda: reviewed.reviewer.reject_round(POOL, 1, "too late")) == "ROUND_DECIDED"
    assert row_counts(owner) == before
    reviewed.fill()
    reviewed.fill()
    reviewed.operator.calculate_round(POOL, request_id="q-2")
    rejected = reviewed.reviewer.reject_round(POOL, 2, "no")
    before = row_counts(owner)
    assert reviewed.reviewer.reject_round(POOL, 2, "no") == rejected
    assert refused_state(lambda: reviewed.approve(2)) == "ROUND_DECIDED"
    assert row_counts(owner) == before


def test_without_review_time_a_round_approves_by_itself(scene: Scene) -> None:
    scene.pay_in(1000, "r")
    scene.submit([event(1)], "b")
    posted = scene.operator.calculate_round(POOL, request_id="q")
    assert (posted.state, posted.decided_by) == (ROUND_STATE_POSTED, "policy")
    assert scene.balances()["revenue"] == 0
    assert refused_state(lambda: scene.approve(1)) == "ROUND_DECIDED"


def test_a_policy_is_in_force_from_the_next_round_that_starts_after_it(scene: Scene) -> None:
    scene.submit([event(1)], "b-1")
    scene.pay_in(1000, "r-1")
    scene.operator.create_policy(POOL, Policy(fee_ppm=100_000))
    scene.submit([event(2)], "b-2")
    first = scene.cut("q-1")
    assert (first.policy.version, first.fee_minor) == (1, 0)
    scene.pay_in(1000, "r-2")
    scene.submit([event(3)], "b-3")
    scene.operator.create_policy(POOL, Policy(fee_ppm=900_000))
    second = scene.cut("q-2")
    assert (second.policy.version, second.fee_minor) == (2, 100)
    scene.pay_in(1000, "r-3")
    scene.submit([event(4)], "b-4")
    third = scene.cut("q-3")
    assert (third.policy.version, third.fee_minor) == (3, 900)
    assert [found.version for found in scene.operator.list_policies(POOL)] == [1, 2, 3]
    assert scene.operator.get_pool(POOL).policy.version == 3
    assert {scene.operator.replay_round(POOL, number).outcome for number in (1, 2, 3)} == {REPLAY_OUTCOME_MATCH}


def test_a_policy_logged_while_a_round_waits_touches_neither_it_nor_its_calculation_after_rejection(
    reviewed: Scene,
) -> None:
    reviewed.pay_in(1000, "r")
    reviewed.submit([event(1)], "b")
    waiting = reviewed.operator.calculate_round(POOL, request_id="q-1")
    reviewed.operator.create_policy(POOL, Policy(fee_ppm=1_000_000))
    reviewed.reviewer.reject_round(POOL, 1, "once more")
    again = reviewed.cut("q-2")
    assert (again.policy.version, again.fee_minor, again.allocated_minor) == (1, 0, waiting.allocated_minor)


def test_the_same_policy_or_method_again_is_a_no_op(scene: Scene, owner: sa.Engine) -> None:
    policy = scene.operator.create_policy(POOL, Policy(fee_ppm=5))
    method = scene.operator.create_method(POOL, METHOD, Method(display_name="n", confidence_ppm=7))
    before = row_counts(owner)
    assert scene.operator.create_policy(POOL, Policy(fee_ppm=5)) == policy
    assert scene.operator.create_method(POOL, METHOD, Method(display_name="n", confidence_ppm=7)) == method
    assert row_counts(owner) == before


def test_an_event_that_comes_late_falls_in_the_next_round(reviewed: Scene) -> None:
    reviewed.pay_in(1000, "r-1")
    reviewed.submit(events([1, 2]), "b-1")
    first = reviewed.operator.calculate_round(POOL, request_id="q-1")
    reviewed.submit(events([3]), "b-2")
    reviewed.pay_in(77, "r-2")
    reviewed.approve(1)
    second = reviewed.cut("q-2")
    assert (first.event_count, second.event_count) == (2, 1)
    assert (first.pot_minor, second.pot_minor) == (1000, 77)
    assert second.start == first.end


def test_a_preview_is_the_round_that_a_calculation_makes_and_keeps_nothing(scene: Scene, owner: sa.Engine) -> None:
    scene.pay_in(1001, "r")
    scene.submit([event(number, shares={"irish": 7 * number, "breton": 5}) for number in range(1, 20)], "b")
    before = row_counts(owner)
    preview = scene.operator.preview_round(POOL)
    assert row_counts(owner) == before
    assert (preview.round.name, preview.round.state) == ("", 0)
    cut = scene.cut("q")
    same = (
        "number", "start", "end", "root", "policy", "event_count", "pot_minor", "fee_minor", "allocated_minor",
        "attributed_minor", "commons_minor", "commons_kept_minor", "carried_minor", "statement_sha256",
        "registry_sha256",
    )  # fmt: skip
    assert [getattr(preview.round, name) for name in same] == [getattr(cut, name) for name in same]
    assert scene.operator.get_statement(POOL, 1) == preview.statement


def test_a_statement_s_bytes_have_the_hash_that_the_round_commits_to(scene: Scene) -> None:
    scene.pay_in(1000, "r")
    scene.submit(events(range(10)), "b")
    cut = scene.cut("q")
    statement = scene.operator.get_statement(POOL, 1)
    assert sha256(statement).digest() == cut.statement_sha256
    assert scene.operator.get_body(POOL, cut.statement_sha256) == statement
    assert sha256(scene.operator.get_body(POOL, cut.registry_sha256)).digest() == cut.registry_sha256
    assert {line.collective: line.amount_minor for line in parse_statement(statement)} == scene.allocations(1)
    assert sum(scene.allocations(1).values()) == cut.allocated_minor


def test_allocations_come_page_by_page_by_collective_id(scene: Scene) -> None:
    for number in range(10):
        scene.operator.create_collective(f"c{number}", Collective(display_name="c"))
    scene.pay_in(1000, "r")
    scene.submit([event(1, shares={f"c{number}": 1 + number for number in range(10)})], "b")
    scene.cut("q")
    token = ""
    found: list[Allocation] = []
    with Wire(scene.deployment.address, scene.deployment.key("auditors/ada")) as wire:
        while not found or token:
            page = wire.call(
                "RoundsService/ListAllocations", parent=f"pools/{POOL}/rounds/1", page_size=4, page_token=token
            )
            assert len(page.allocations) <= 4
            found += page.allocations
            token = page.next_page_token
    names = [allocation.collective for allocation in found]
    assert names == sorted(names)
    assert len(names) == 13
    assert found == list(scene.operator.list_allocations(POOL, 1))


def test_without_usage_the_pot_waits_for_it(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(fee_ppm=500_000, rounding=ROUNDING_PLACED))
    scene.pay_in(1000, "r")
    assert refused_state(lambda: scene.cut("q-1")) == "NOTHING_TO_DISTRIBUTE"
    assert scene.balances()["revenue"] == 1000
    scene.submit([event(1)], "b")
    busy = scene.cut("q-1")
    assert (busy.number, busy.pot_minor, busy.fee_minor, busy.allocated_minor) == (1, 1000, 500, 500)
    require_whole(busy)
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


def test_usage_waits_for_its_money_however_often_a_round_is_asked_for(scene: Scene, owner: sa.Engine) -> None:
    """1,000 units that came before their money get their part once it comes, beside the one unit that came with it."""
    scene.submit([event(1, units=1000, shares={"irish": NANO})], "b-1")
    before = row_counts(owner)
    for number in range(3):
        assert refused_state(partial(scene.cut, f"early-{number}")) == "NOTHING_TO_DISTRIBUTE"
    assert row_counts(owner) == before
    scene.pay_in(1001_00, "r")
    scene.submit([event(2, units=1, shares={"scottish": NANO})], "b-2")
    assert scene.cut("q").event_count == 2
    assert scene.allocations(1) == {"breton": 0, "irish": 1000_00, "scottish": 1_00}
    assert refused_state(lambda: scene.cut("q-2")) == "NOTHING_TO_DISTRIBUTE"


def test_a_pot_that_cannot_cover_every_floor_waits_and_so_does_the_usage(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(floor_minor=400))
    scene.pay_in(1000, "r-1")
    scene.submit([event(1, shares={"irish": 4 * 10**8, "breton": 3 * 10**8, "scottish": 3 * 10**8})], "b")
    assert refused_state(lambda: scene.cut("q-1")) == "NOTHING_TO_DISTRIBUTE"
    scene.pay_in(500, "r-2")
    scene.submit([event(2, shares={"irish": NANO - 2, "breton": 1, "scottish": 1})], "b-2")
    found = scene.cut("q-1")
    assert scene.allocations(1) == {"breton": 400, "irish": 700, "scottish": 400}
    assert found.event_count == 2
    require_whole(found)


def test_fee_commons_and_fund_go_to_their_accounts_and_the_books_balance(deployment: Deployment) -> None:
    policy = Policy(fee_ppm=100_000, commons_ppm=200_000, commons_rule=COMMONS_RULE_FUND)
    scene = open_scene(deployment, policy=policy)
    scene.pay_in(1000, "r")
    scene.submit([event(1, shares={"irish": NANO // 2})], "b")
    cut = scene.cut("q")
    assert scene.balances() == {
        "collective/irish": 360, "commons": 180 + 360, "fees": 100, "platform/tunesmith": -1000, "revenue": 0,
    }  # fmt: skip
    assert (cut.fee_minor, cut.attributed_minor, cut.commons_kept_minor) == (100, 360, 540)
    require_whole(cut)


def test_the_registry_of_a_round_is_that_of_its_calculation(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=60, commons_rule=COMMONS_RULE_PER_CAPITA))
    scene.pay_in(900, "r")
    scene.submit([event(1, shares={})], "b")
    calculated = scene.operator.calculate_round(POOL, request_id="q")
    scene.operator.update_collective("irish", Collective(display_name="Irish", members=10**9))
    scene.operator.create_collective("welsh", Collective(display_name="Welsh", members=10**9))
    scene.approve(calculated.number)
    assert scene.allocations(1) == {"breton": 300, "irish": 300, "scottish": 300}
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


def test_what_a_suspended_collective_earns_is_held(scene: Scene) -> None:
    suspended = Collective(display_name="irish", members=10, status=COLLECTIVE_STATUS_SUSPENDED)
    scene.pay_in(1000, "r-1")
    scene.submit([event(1, shares={"irish": 6 * 10**8, "breton": 4 * 10**8})], "b-1")
    scene.operator.update_collective("irish", suspended)
    scene.cut("q-1")
    assert scene.balances() == {"collective/breton": 400, "held/irish": 600, "platform/tunesmith": -1000, "revenue": 0}
    assert refused_state(lambda: scene.operator.record_payment(POOL, "irish", 1, request_id="p")) == "BALANCE_TOO_LOW"
    suspended.status = COLLECTIVE_STATUS_ACTIVE
    scene.operator.update_collective("irish", suspended)
    scene.pay_in(100, "r-2")
    scene.submit([event(2, shares={"irish": NANO})], "b-2")
    scene.cut("q-2")
    assert (scene.balances()["collective/irish"], scene.balances()["held/irish"]) == (100, 600)
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


@pytest.fixture
def paid_up(scene: Scene) -> Scene:
    """Irish has 600, the commons gave everyone a third of 400."""
    scene.pay_in(1000, "r")
    scene.submit([event(1)], "b")
    scene.cut("q")
    assert scene.balances()["collective/irish"] == 733
    return scene


def test_a_payment_is_recorded_exactly_once(paid_up: Scene, owner: sa.Engine) -> None:
    first = paid_up.operator.record_payment(POOL, "irish", 700, request_id="p", reference="SEPA 7")
    before = row_counts(owner)
    assert paid_up.operator.record_payment(POOL, "irish", 700, request_id="p", reference="SEPA 7") == first
    assert row_counts(owner) == before
    for collective, amount, reference in (
        ("irish", 701, "SEPA 7"),
        ("breton", 700, "SEPA 7"),
        ("irish", 700, "SEPA 8"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            paid_up.operator.record_payment(POOL, collective, amount, request_id="p", reference=reference)
        assert [violation.field for violation in caught.value.violations] == ["request_id"]
    assert row_counts(owner) == before
    assert (paid_up.balances()["collective/irish"], paid_up.balances()["paid/irish"]) == (33, 700)
    require_sound_log(owner, POOL)


def test_a_payment_beyond_the_balance_is_refused_and_nothing_is_kept(paid_up: Scene, owner: sa.Engine) -> None:
    before = row_counts(owner)
    pay = paid_up.operator.record_payment
    assert refused_state(lambda: pay(POOL, "irish", 734, request_id="p")) == "BALANCE_TOO_LOW"
    with pytest.raises(NotFoundError):
        pay(POOL, "nobody", 1, request_id="p")
    for amount in (0, -1, 10**15 + 1):
        with pytest.raises(InvalidArgumentError) as caught:
            pay(POOL, "irish", amount, request_id="p")
        assert [violation.field for violation in caught.value.violations] == ["payment.amount_minor"]
    assert row_counts(owner) == before
    assert pay(POOL, "irish", 733, request_id="p").amount_minor == 733
    assert refused_state(lambda: pay(POOL, "irish", 1, request_id="p-2")) == "BALANCE_TOO_LOW"


def test_balances_as_of_any_log_size_are_what_they_were_then_and_sum_to_zero(paid_up: Scene) -> None:
    seen = {paid_up.operator.get_log_head(POOL).size: paid_up.balances()}
    paid_up.operator.record_payment(POOL, "irish", 33, request_id="p")
    seen[paid_up.operator.get_log_head(POOL).size] = paid_up.balances()
    paid_up.pay_in(55, "r-2")
    seen[paid_up.operator.get_log_head(POOL).size] = paid_up.balances()
    paid_up.submit([event(2)], "b-2")
    paid_up.cut("q-2")
    size = paid_up.operator.get_log_head(POOL).size
    for log_size, balances in seen.items():
        assert paid_up.balances(log_size=log_size) == balances
        for account, amount in balances.items():
            assert paid_up.operator.get_balance(POOL, account, log_size=log_size).amount_minor == amount
    for log_size in range(size + 1):
        assert sum(paid_up.balances(log_size=log_size).values()) == 0
    assert paid_up.balances(log_size=0) == {}
    for beyond in (size + 1, -1):
        with pytest.raises(InvalidArgumentError) as caught:
            paid_up.balances(log_size=beyond)
        assert [violation.field for violation in caught.value.violations] == ["log_size"]


def test_balances_are_the_sums_of_transfers(paid_up: Scene) -> None:
    paid_up.operator.record_payment(POOL, "breton", 5, request_id="p")
    sums: dict[str, int] = {}
    for transfer in paid_up.operator.list_transfers(POOL):
        sums[transfer.from_account] = sums.get(transfer.from_account, 0) - transfer.amount_minor
        sums[transfer.to_account] = sums.get(transfer.to_account, 0) + transfer.amount_minor
    assert sums == paid_up.balances()
    of_irish = list(paid_up.operator.list_transfers(POOL, account="collective/irish"))
    assert of_irish == [
        transfer
        for transfer in paid_up.operator.list_transfers(POOL)
        if "collective/irish" in (transfer.from_account, transfer.to_account)
    ]


def test_transfers_are_listed_from_a_leaf_on(paid_up: Scene) -> None:
    listed = list(paid_up.operator.list_transfers(POOL))
    for start in (0, listed[0].leaf_index, listed[-1].leaf_index, listed[-1].leaf_index + 1):
        from_there = [transfer for transfer in listed if transfer.leaf_index >= start]
        assert list(paid_up.operator.list_transfers(POOL, start=start)) == from_there
    with pytest.raises(InvalidArgumentError) as caught:
        list(paid_up.operator.list_transfers(POOL, start=-1))
    assert [violation.field for violation in caught.value.violations] == ["start"]


def test_revenue_of_another_currency_or_beyond_the_bounds_is_refused(scene: Scene, owner: sa.Engine) -> None:
    before = row_counts(owner)
    record = scene.platform.report_revenue
    for amount, currency, field in (
        (1, "USD", "report.currency"),
        (1, "eur", "report.currency"),
        (1, "", "report.currency"),
        (0, "EUR", "report.amount_minor"),
        (-5, "EUR", "report.amount_minor"),
        (10**15 + 1, "EUR", "report.amount_minor"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            record(POOL, amount, currency, request_id="r")
        assert [violation.field for violation in caught.value.violations] == [field]
    record(POOL, 5, "EUR", request_id="r", validate_only=True)
    assert row_counts(owner) == before


def test_a_balance_never_passes_what_64_bits_hold(scene: Scene, owner: sa.Engine) -> None:
    scene.pay_in(1, "r-1")
    execute(owner, "UPDATE balance SET amount_minor = 9223372036854775806 WHERE account = 'revenue'")
    scene.pay_in(1, "r-2")
    before = row_counts(owner)
    with pytest.raises(FailedPreconditionError, match="accounts/revenue: would have or lack more than") as caught:
        scene.pay_in(1, "r-3")
    assert caught.value.reason == "BALANCE_TOO_LARGE"
    assert row_counts(owner) == before
    require_sound_log(owner, POOL)


def test_what_is_no_round_number_is_refused(scene: Scene) -> None:
    with Wire(scene.deployment.address, scene.deployment.key("operators/olive")) as wire:
        for number in ("0", "01", "-1", "1.0", "", "x", "9999999999", "1/2", "٣", " 1", "1\n"):
            refusal = refused(partial(wire.call, "RoundsService/GetRound", name=f"pools/{POOL}/rounds/{number}"))
            assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["name"])


def test_a_round_that_is_not_there_is_not_found(scene: Scene) -> None:
    calls: list[Callable[[], object]] = [
        lambda: scene.operator.get_round(POOL, 1),
        lambda: scene.operator.approve_round(POOL, 1),
        lambda: scene.operator.reject_round(POOL, 1, "no"),
        lambda: scene.operator.get_statement(POOL, 1),
        lambda: scene.operator.replay_round(POOL, 1),
        lambda: list(scene.operator.list_allocations(POOL, 1)),
        lambda: scene.operator.calculate_round("sea", request_id="q"),
    ]
    for call in calls:
        with pytest.raises(ServiceError) as caught:
            call()
        assert isinstance(caught.value, NotFoundError)


def test_rounds_come_page_by_page_oldest_first(scene: Scene) -> None:
    for number in range(1, 6):
        scene.fill()
        scene.cut(f"q-{number}")
    with Wire(scene.deployment.address, scene.deployment.key("auditors/ada")) as wire:
        first = wire.call("RoundsService/ListRounds", parent=f"pools/{POOL}", page_size=3)
        rest = wire.call(
            "RoundsService/ListRounds", parent=f"pools/{POOL}", page_size=3, page_token=first.next_page_token
        )
    assert [found.number for found in [*first.rounds, *rest.rounds]] == [1, 2, 3, 4, 5]
    assert rest.next_page_token == ""


@pytest.mark.surface
@pytest.mark.parametrize("currency", ["EUR", "JPY", "KWD", "CLF"])
def test_a_hundred_rounds_of_five_units_pay_everyone_its_part_to_a_unit(deployment: Deployment, currency: str) -> None:
    """Largest remainder pays 500 and nothing, where 454.5 and 45.5 is right."""
    scene = open_scene(deployment)
    scene.operator.create_pool(
        "small",
        Pool(
            display_name="Small",
            currency=currency,
            policy=Policy(),
            distribute=DISTRIBUTE_REPORTED,
            platforms=NAMED_PLATFORMS,
        ),
    )
    scene.operator.create_method("small", METHOD, Method(display_name="n-gram", confidence_ppm=10**6))
    for number in range(100):
        usage = [
            event(2 * number, units=10, shares={"irish": NANO}),
            event(2 * number + 1, units=1, shares={"scottish": NANO}),
        ]
        scene.platform.submit_events("small", usage, METHOD, batch_id=f"b-{number}")
        scene.platform.report_revenue("small", 5, currency, request_id=f"r-{number}")
        require_whole(scene.operator.calculate_round("small", request_id=f"q-{number}"))
    accounts = ("collective/irish", "collective/scottish", "revenue", "rounding")
    balances = [scene.operator.get_balance("small", account).amount_minor for account in accounts]
    assert balances == [454, 45, 0, 1]
    assert scene.operator.replay_round("small", 100).outcome == REPLAY_OUTCOME_MATCH
