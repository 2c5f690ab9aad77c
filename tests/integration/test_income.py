"""Money in: reports, receipts and what is taken back, by the people who do it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import pytest

from moiety import Client, FailedPreconditionError, InvalidArgumentError, NotFoundError, Policy
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED, DISTRIBUTE_REPORTED
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

EUR: Final = "EUR"


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """A pool that distributes what it has received."""
    return open_scene(deployment, distribute=DISTRIBUTE_RECEIVED)


def receive(scene: Scene, amount_minor: int, request_id: str, platform: str = "tunesmith") -> None:
    scene.operator.record_receipt(POOL, amount_minor, request_id=request_id, platform=platform)


def test_what_is_reported_is_due_until_it_arrives(scene: Scene) -> None:
    report = scene.platform.report_revenue(POOL, 1_000, EUR, request_id="jan", period="2026-01")
    assert scene.balances() == {"platform/tunesmith": -1_000, "due/tunesmith": 1_000}
    receipt = scene.operator.record_receipt(POOL, 400, request_id="m1", payment_reference=report.payment_reference)
    assert receipt.platform == "platforms/tunesmith"
    assert scene.balances() == {"platform/tunesmith": -1_000, "due/tunesmith": 600, "revenue": 400}


def test_only_what_arrived_is_distributed(scene: Scene) -> None:
    scene.submit([event(1, shares={"irish": 10**9})], "b")
    scene.platform.report_revenue(POOL, 1_000, EUR, request_id="jan")
    with pytest.raises(FailedPreconditionError, match="no revenue"):
        scene.cut("too-soon")
    receive(scene, 400, "m1")
    assert scene.cut("now").pot_minor == 400


def test_what_arrives_beyond_the_reports_is_credit_that_the_next_report_uses(scene: Scene) -> None:
    receive(scene, 700, "m1")
    assert scene.balances() == {"outside": -700, "credit/tunesmith": 700}
    scene.platform.report_revenue(POOL, 500, EUR, request_id="jan")
    assert scene.balances() == {
        "platform/tunesmith": -500, "due/tunesmith": 0, "outside": -200, "credit/tunesmith": 200, "revenue": 500,
    }  # fmt: skip


def test_a_receipt_of_an_unknown_payer_waits_until_somebody_knows_whose_it_is(scene: Scene) -> None:
    scene.platform.report_revenue(POOL, 500, EUR, request_id="jan")
    scene.operator.record_receipt(POOL, 800, request_id="m1", payment_reference="from uncle")
    assert scene.balances()["unmatched"] == 800
    matched = scene.operator.match_receipt(POOL, "m1", "tunesmith", request_id="m2")
    assert matched.platform == "platforms/tunesmith"
    assert scene.balances() == {
        "platform/tunesmith": -500, "due/tunesmith": 0, "outside": -300, "unmatched": 0, "revenue": 500,
        "credit/tunesmith": 300,
    }  # fmt: skip
    with pytest.raises(FailedPreconditionError, match="unknown payer"):
        scene.operator.match_receipt(POOL, "m1", "songbird", request_id="m3")


def test_who_asks_again_whose_a_receipt_is_gets_it_whatever_was_taken_back_since(scene: Scene) -> None:
    receive(scene, 800, "m1", platform="")
    match = partial(scene.operator.match_receipt, POOL, "m1", "tunesmith", request_id="m2")
    matched = match()
    scene.operator.reverse_receipt(POOL, "m1", 300, request_id="back", reason="sent back")
    again = match()
    assert (again.platform, again.reversed_minor) == (matched.platform, 300)
    assert scene.balances()["credit/tunesmith"] == 500
    with pytest.raises(InvalidArgumentError, match="other content"):
        scene.operator.match_receipt(POOL, "m1", "songbird", request_id="m2")


def test_a_report_is_reversed_in_parts_and_never_beyond_what_is_left(scene: Scene) -> None:
    scene.platform.report_revenue(POOL, 1_000, EUR, request_id="jan")
    first = scene.operator.reverse_report(POOL, "tunesmith", "jan", 900, request_id="v1", reason="typing error")
    again = scene.operator.reverse_report(POOL, "tunesmith", "jan", 900, request_id="v1", reason="typing error")
    assert first == again
    with pytest.raises(InvalidArgumentError, match="at most 100"):
        scene.operator.reverse_report(POOL, "tunesmith", "jan", 101, request_id="v2", reason="more")
    assert scene.balances() == {"platform/tunesmith": -100, "due/tunesmith": 100}
    (report,) = scene.platform.list_reports(POOL)
    assert (report.amount_minor, report.reversed_minor) == (1_000, 900)
    (reversal,) = scene.platform.list_reversals(POOL)
    assert (reversal.reverses, reversal.reason) == (report.leaf_index, "typing error")


def test_money_that_arrived_for_a_report_that_is_reversed_becomes_credit(scene: Scene) -> None:
    scene.platform.report_revenue(POOL, 1_000, EUR, request_id="jan")
    receive(scene, 700, "m1")
    scene.operator.reverse_report(POOL, "tunesmith", "jan", 1_000, request_id="v1", reason="of another pool")
    assert scene.balances() == {
        "platform/tunesmith": 0, "due/tunesmith": 0, "outside": -700, "credit/tunesmith": 700, "revenue": 0,
    }  # fmt: skip


@pytest.fixture
def reviewed(deployment: Deployment) -> Scene:
    """A round of 1,000 that waits, in a pool that has received 1,200, of which 200 came later."""
    scene = open_scene(deployment, distribute=DISTRIBUTE_RECEIVED, policy=Policy(review_seconds=60))
    scene.submit([event(1, shares={"irish": 10**9})], "b")
    scene.platform.report_revenue(POOL, 5_000, EUR, request_id="jan")
    receive(scene, 1_000, "m1")
    scene.operator.calculate_round(POOL, request_id="r1")
    receive(scene, 200, "m2")
    return scene


def test_a_round_has_reserved_its_pot_against_reversals_by_hand(reviewed: Scene) -> None:
    reviewed.operator.reverse_receipt(POOL, "m1", 200, request_id="v1", reason="sent back")
    with pytest.raises(FailedPreconditionError, match="round 1 has reserved this money"):
        reviewed.operator.reverse_receipt(POOL, "m2", 1, request_id="v2", reason="sent back")
    assert reviewed.approve(1).pot_minor == 1_000
    reviewed.operator.reverse_receipt(POOL, "m2", 1, request_id="v2", reason="sent back")
    assert reviewed.balances()["revenue"] == -1


def test_a_chargeback_of_reserved_money_has_the_ledger_reject_the_round(reviewed: Scene) -> None:
    taken = reviewed.operator.reverse_receipt(POOL, "m1", 300, request_id="v1", reason="no cover", chargeback=True)
    rejected = reviewed.operator.get_round(POOL, 1)
    assert rejected.decided_by == "ledger"
    assert rejected.reason == f"leaf {taken.leaf_index} took back money of its pot"
    assert reviewed.operator.calculate_round(POOL, request_id="r2").pot_minor == 900


def test_a_chargeback_of_other_money_leaves_the_round_alone(reviewed: Scene) -> None:
    reviewed.operator.reverse_receipt(POOL, "m2", 200, request_id="v1", reason="no cover", chargeback=True)
    assert reviewed.approve(1).pot_minor == 1_000


def test_what_is_charged_back_after_it_was_distributed_is_made_up_for_by_later_receipts(reviewed: Scene) -> None:
    reviewed.approve(1)
    reviewed.operator.reverse_receipt(POOL, "m1", 1_000, request_id="v1", reason="no cover", chargeback=True)
    assert reviewed.balances()["revenue"] == -800
    reviewed.submit([event(2, shares={"scottish": 10**9})], "b2")
    with pytest.raises(FailedPreconditionError, match="no revenue"):
        reviewed.operator.calculate_round(POOL, request_id="r2")
    receive(reviewed, 1_000, "m3")
    assert reviewed.operator.calculate_round(POOL, request_id="r3").pot_minor == 200
    assert sum(reviewed.balances().values()) == 0


def test_a_pool_that_distributes_reports_takes_no_money(deployment: Deployment) -> None:
    scene = open_scene(deployment, distribute=DISTRIBUTE_REPORTED)
    scene.pay_in(1_000, "jan")
    with pytest.raises(FailedPreconditionError, match="distributes what is reported"):
        receive(scene, 5, "m1")
    scene.operator.reverse_report(POOL, "tunesmith", "jan", 999, request_id="v1", reason="typing error")
    assert scene.balances() == {"platform/tunesmith": -1, "revenue": 1}


@pytest.mark.parametrize("period", ["2026-13", "2026-Q5", "26", "2026-1", " 2026", "\uff12\uff10\uff12\uff16"])
def test_a_period_is_a_month_a_quarter_or_a_year(scene: Scene, period: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"report\.period"):
        scene.platform.report_revenue(POOL, 1, EUR, request_id="jan", period=period)


def test_what_is_not_there_cannot_be_reversed(scene: Scene) -> None:
    with pytest.raises(NotFoundError):
        scene.operator.reverse_receipt(POOL, "m1", 1, request_id="v", reason="x")
    with pytest.raises(NotFoundError):
        scene.operator.reverse_report(POOL, "tunesmith", "jan", 1, request_id="v", reason="x")
    with pytest.raises(NotFoundError):
        scene.operator.match_receipt(POOL, "m1", "tunesmith", request_id="v")


def test_a_platform_sees_only_its_own(scene: Scene, deployment: Deployment) -> None:
    other: Client = deployment.client("platforms/songbird")
    scene.platform.report_revenue(POOL, 10, EUR, request_id="jan")
    receive(scene, 10, "m1")
    scene.operator.record_receipt(POOL, 10, request_id="m2")
    assert [each.name for each in scene.platform.list_receipts(POOL)] == [f"pools/{POOL}/receipts/m1"]
    assert [*other.list_reports(POOL), *other.list_receipts(POOL), *other.list_reversals(POOL)] == []
    assert scene.platform.get_balance(POOL, "due/tunesmith").amount_minor == 0


MOST: Final = 10**15


def refusal_of(scene: Scene, amount_minor: int, request_id: str) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        scene.platform.report_revenue(POOL, amount_minor, EUR, request_id=request_id)
    (violation,) = caught.value.violations
    assert violation.field == "report.amount_minor"
    return violation.description


def test_what_a_platform_has_reported_and_not_paid_is_bounded_and_others_report_on(
    scene: Scene, deployment: Deployment
) -> None:
    scene.platform.report_revenue(POOL, MOST - 5, EUR, request_id="jan")
    assert refusal_of(scene, 6, "feb") == (
        "must be at most 5, got 6: 999,999,999,999,995 was reported before and is not paid, "
        "and 1,000,000,000,000,000 is the most in total"
    )
    before = scene.balances()
    first = scene.platform.report_revenue(POOL, 5, EUR, request_id="mar")
    assert scene.platform.report_revenue(POOL, 5, EUR, request_id="mar") == first  # again, and not once more
    refusal_of(scene, 1, "apr")
    assert scene.balances() == before | {"platform/tunesmith": -MOST, "due/tunesmith": MOST}
    deployment.client("platforms/songbird").report_revenue(POOL, MOST, EUR, request_id="jan")
    receive(scene, 7, "m1")
    refusal_of(scene, 8, "apr")
    scene.platform.report_revenue(POOL, 7, EUR, request_id="apr")
    scene.operator.reverse_report(POOL, "tunesmith", "jan", MOST - 5, request_id="v1", reason="typing error")
    scene.platform.report_revenue(POOL, MOST - 12, EUR, request_id="may")


def test_what_a_platform_paid_ahead_leaves_room_for_its_next_report(scene: Scene) -> None:
    receive(scene, 10, "m1")
    scene.platform.report_revenue(POOL, MOST, EUR, request_id="jan")
    assert scene.balances()["due/tunesmith"] == MOST - 10
    refusal_of(scene, 11, "feb")
    scene.platform.report_revenue(POOL, 10, EUR, request_id="feb")


def test_where_nobody_pays_a_round_makes_room_for_the_next_reports(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=60), distribute=DISTRIBUTE_REPORTED)
    scene.submit([event(1, shares={"irish": 10**9})], "b")
    for round_number in (1, 2):
        scene.platform.report_revenue(POOL, MOST, EUR, request_id=f"r-{round_number}")
        assert "is not distributed" in refusal_of(scene, 1, "more")
        scene.operator.calculate_round(POOL, request_id=f"q-{round_number}")
        refusal_of(scene, 1, "more")  # nothing is posted yet
        scene.approve(round_number)
        scene.submit([event(round_number + 1, shares={"irish": 10**9})], f"b-{round_number}")
    scene.platform.report_revenue(POOL, MOST, EUR, request_id="r-3")
    assert scene.balances()["platform/tunesmith"] == -3 * MOST


def test_reports_that_come_at_once_never_pass_the_bound(scene: Scene) -> None:
    def report(number: int) -> bool:
        try:
            scene.platform.report_revenue(POOL, MOST // 4, EUR, request_id=f"r-{number}")
        except InvalidArgumentError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(report, range(8))) == 4
    assert scene.balances()["due/tunesmith"] == MOST
