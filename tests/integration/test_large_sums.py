"""Sums that no entry, account or statement can have: each is refused by its name, before anything is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

import ledger.money
from demo.bank import Bank
from ledger.money import MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR
from ledger.store.money import income
from moiety import FailedPreconditionError, InvalidArgumentError, Policy
from moiety.v1.rounds_pb2 import ROUND_STATE_CALCULATED, ROUND_STATE_REJECTED
from payout.payments.bank_messages import MAX_MOVED_MINOR
from tests.support.books import row_counts
from tests.support.deployment import Deployment
from tests.support.paying import OURS, account, pay_scene
from tests.support.scene import METHOD, NANO, POOL, Scene, event, open_scene

DAY: Final = "2026-01-08"


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """One report brings what thousands of the largest would."""
    monkeypatch.setattr(ledger.money, "MAX_AMOUNT_MINOR", MAX_BALANCE_MINOR)
    monkeypatch.setattr(income, "MAX_OPEN_MINOR", MAX_BALANCE_MINOR)


def refused(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(FailedPreconditionError) as caught:
        call()
    return caught.value.reason, str(caught.value)


def round_of(scene: Scene, number: int, amount_minor: int, shares: Mapping[str, int]) -> None:
    """A round that waits for its approval, whose review is over."""
    scene.submit([event(number, shares=shares)], f"b-{number}")
    scene.pay_in(amount_minor, f"r-{number}")
    scene.operator.calculate_round(POOL, request_id=f"round-{number}")
    scene.after_review(number)


@pytest.mark.usefixtures("_large")
def test_the_largest_pot_is_posted_and_its_accounts_take_no_unit_more(deployment: Deployment, owner: sa.Engine) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=1))
    round_of(scene, 1, MAX_BALANCE_MINOR, {"irish": NANO})
    scene.operator.approve_round(POOL, 1)
    assert scene.balances()["collective/irish"] == MAX_BALANCE_MINOR
    before = row_counts(owner)
    reason, said = refused(partial(scene.pay_in, 1, "r-2"))
    assert (reason, "pools/folk/accounts/platform/tunesmith" in said) == ("BALANCE_TOO_LARGE", True)
    assert row_counts(owner) == before
    songbird = scene.deployment.client("platforms/songbird")
    songbird.report_revenue(POOL, 1, "EUR", request_id="r-2")
    scene.submit([event(2, shares={"irish": NANO})], "b-2")
    scene.operator.calculate_round(POOL, request_id="round-2")
    scene.after_review(2)
    before = row_counts(owner)
    reason, said = refused(partial(scene.operator.approve_round, POOL, 2))
    assert (reason, "pools/folk/accounts/collective/irish" in said) == ("BALANCE_TOO_LARGE", True)
    assert row_counts(owner) == before


@pytest.mark.usefixtures("_large")
def test_no_posting_recoups_past_what_its_entry_can_say(deployment: Deployment, owner: sa.Engine) -> None:
    """What is recouped moves three times: to the collective, back, and on to who waits for it."""
    scene = open_scene(deployment, policy=Policy(recoup_ppm=1_000_000, review_seconds=1))
    operator, shares = scene.operator, {"irish": NANO // 2, "breton": NANO // 2}
    round_of(scene, 1, 2**61, shares)
    operator.approve_round(POOL, 1)
    fee = operator.create_policy(POOL, Policy(recoup_ppm=1_000_000, review_seconds=1, fee_ppm=750_000))
    made = operator.adjust_round(POOL, 1, request_id="a", pool_leaves=[fee.leaf_index], reason="no fee was taken")
    assert made.amount_minor == 2**61 * 3 // 4
    operator.create_policy(POOL, Policy(recoup_ppm=1_000_000, review_seconds=1))
    round_of(scene, 2, 3 * 2**61 - 1, shares)
    before = row_counts(owner)
    reason, said = refused(partial(operator.approve_round, POOL, 2))
    assert (reason, "pools/folk/rounds/2: comes to" in said) == ("SUM_TOO_LARGE", True)
    assert row_counts(owner) == before
    assert operator.get_round(POOL, 2).state == ROUND_STATE_CALCULATED
    assert operator.reject_round(POOL, 2, "what it recoups is too much").state == ROUND_STATE_REJECTED


def test_a_pay_run_pays_no_more_than_a_statement_may_say(
    deploy: Callable[..., Deployment], tmp_path: Path, owner: sa.Engine
) -> None:
    """Each pool owes less than the most, and together they owe more."""
    pools = (POOL, "jazz")
    scene = pay_scene(deploy, tmp_path, pools=pools)
    for name in ("irish", "breton"):  # by SEPA nobody would be paid as much
        scene.operator.set_payee(name, account("", account=f"1234-{name}", bic="AIBKIE2D"))
    scene.deployment.clock.advance(days=3)
    for pool in pools:
        part = MAX_AMOUNT_MINOR // 2
        scene.platform.report_revenue(pool, part, "EUR", request_id="large")
        scene.operator.record_receipt(pool, part, platform="tunesmith", request_id="large")
        used = event(2, shares={"irish": NANO // 2, "breton": NANO // 2})
        scene.platform.submit_events(pool, [used], METHOD, batch_id="large")
        scene.operator.calculate_round(pool, request_id="large")
    before = row_counts(owner)
    reason, said = refused(partial(scene.operator.create_pay_run, "jan", "main", DAY))
    assert (reason, "bankAccounts/main: comes to 1,000,000,000,002,000" in said) == ("SUM_TOO_LARGE", True)
    assert row_counts(owner) == before
    scene.operator.record_payment(POOL, "irish", MAX_AMOUNT_MINOR // 4, request_id="by-hand")
    run = scene.operator.create_pay_run("jan", "main", DAY)
    assert sum(each.amount_minor for each in run.payments) == MAX_AMOUNT_MINOR * 3 // 4 + 2_000


@pytest.mark.usefixtures("_large")
def test_what_a_collective_is_owed_past_the_most_is_named_where_it_is_summed(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    pools = (POOL, "jazz", "soul")
    scene = pay_scene(deploy, tmp_path, pools=pools)
    for pool in pools:
        scene.platform.report_revenue(pool, 2**62, "EUR", request_id="large")
        scene.operator.record_receipt(pool, 2**62, platform="tunesmith", request_id="large")
        scene.platform.submit_events(pool, [event(2, shares={"scottish": NANO})], METHOD, batch_id="large")
        scene.operator.calculate_round(pool, request_id="large")
    reason, said = refused(partial(scene.operator.create_pay_run, "jan", "main", DAY))
    assert (reason, "collectives/scottish: comes to" in said) == ("SUM_TOO_LARGE", True)


def test_a_statement_moves_no_more_than_the_pool_s_accounts_can_take(
    deploy: Callable[..., Deployment], tmp_path: Path, owner: sa.Engine
) -> None:
    """A pool that could not book one would book no later one either."""
    scene, bank = pay_scene(deploy, tmp_path), Bank(OURS, "EUR", balance=1000)
    for amount in (MAX_AMOUNT_MINOR, -MAX_AMOUNT_MINOR):
        for _ in range(MAX_MOVED_MINOR // MAX_AMOUNT_MINOR + 1):
            bank.enter(amount, DAY, "")
    before = row_counts(owner)
    with pytest.raises(InvalidArgumentError, match="content: has credits of 101,000,000,000,000,000 minor units"):
        scene.operator.import_bank_file("main", bank.statement(DAY))
    assert row_counts(owner) == before
    for amount in (MAX_AMOUNT_MINOR, -MAX_AMOUNT_MINOR):
        bank.enter(amount, DAY, "")
    scene.operator.import_bank_file("main", bank.statement(DAY))
    (position,) = scene.operator.get_reconciliation("main").positions
    assert position.difference_minor == -MAX_AMOUNT_MINOR
    assert scene.operator.get_balance(POOL, "unmatched").amount_minor == MAX_AMOUNT_MINOR


@pytest.mark.usefixtures("_large")
def test_books_past_the_most_are_named_beside_the_bank(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    scene, bank = pay_scene(deploy, tmp_path), Bank(OURS, "EUR", balance=1000)
    for number, (payer, payee) in enumerate((("songbird", "irish"), ("tunesmith", "breton")), 2):
        platform = scene.deployment.client(f"platforms/{payer}")
        platform.report_revenue(POOL, 2**62, "EUR", request_id="large")
        scene.operator.record_receipt(POOL, 2**62, platform=payer, request_id=f"large-{number}")
        scene.submit([event(number, shares={payee: NANO})], f"b-{number}", by=platform)
        scene.operator.calculate_round(POOL, request_id=f"large-{number}")
    scene.operator.import_bank_file("main", bank.statement(DAY))
    reason, said = refused(partial(scene.operator.get_reconciliation, "main"))
    assert (reason, "bankAccounts/main: comes to 9,223,372,036,854,776,808" in said) == ("SUM_TOO_LARGE", True)
