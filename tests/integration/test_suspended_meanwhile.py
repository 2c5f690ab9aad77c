"""Collectives that are suspended while a round is in review, an objection is open or a payment is on its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from audit.statements.check import check_statement
from demo.bank import Bank
from moiety import BankAccount, Collective, Policy
from moiety.v1.registry_pb2 import COLLECTIVE_STATUS_ACTIVE, COLLECTIVE_STATUS_SUSPENDED, DISTRIBUTE_RECEIVED
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_DISMISSED, OBJECTION_ANSWER_SET_ASIDE, ObjectionAnswer
from tests.support.deployment import Deployment
from tests.support.fsck_scene import LOG_KEY
from tests.support.paying import IBANS, OURS, account, payee_key, require_sound
from tests.support.scene import NANO, POOL, Scene, event, open_scene

DAY: Final = "2026-01-05"


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    """A round of 1,000 under review: 600 for irish, 400 for breton, whose accounts can be paid."""
    deployment, policy = deploy(payee_key_file=payee_key(tmp_path)), Policy(review_seconds=3600)
    found = open_scene(deployment, policy=policy, distribute=DISTRIBUTE_RECEIVED)
    for name in ("irish", "breton"):
        found.operator.set_payee(name, account(IBANS[name]))
    ours = BankAccount(display_name="Moiety", details=account(OURS), pools=[f"pools/{POOL}"], opening_minor=1000)
    found.operator.set_bank_account("main", ours)
    deployment.clock.advance(days=3)
    found.pay_in(1000, "r")
    found.operator.record_receipt(POOL, 1000, platform="tunesmith", request_id="r")
    found.submit([event(1, shares={"irish": 600_000_000, "breton": NANO - 600_000_000})], "b")
    found.operator.calculate_round(POOL, request_id="q")
    return found


def suspend(scene: Scene, *, end: bool = False) -> None:
    status = COLLECTIVE_STATUS_ACTIVE if end else COLLECTIVE_STATUS_SUSPENDED
    scene.operator.update_collective("irish", Collective(display_name="Irish", members=10, status=status))


def unpaid(scene: Scene) -> list[tuple[str, int, str]]:
    return [(each.collective, each.amount_minor, each.reason) for each in scene.operator.list_unpaid(POOL)]


@pytest.mark.parametrize("answer", [OBJECTION_ANSWER_DISMISSED, OBJECTION_ANSWER_SET_ASIDE])
@pytest.mark.parametrize("when", ["in review", "objection open", "answered", "posted"])
def test_who_is_suspended_meanwhile_may_object_and_is_paid_whole_and_once_afterwards(
    scene: Scene,
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    answer: ObjectionAnswer.ValueType,
) -> None:
    operator, irish = scene.operator, scene.deployment.client("collectives/irish")
    bank = Bank(OURS, "EUR", balance=1000)
    steps: dict[str, Callable[[], object]] = {
        "in review": lambda: irish.object_to_round(POOL, 1, "ours since 1969"),
        "objection open": lambda: scene.reviewer.answer_objection(POOL, 1, "irish", answer, "so it is"),
        "answered": lambda: scene.approve(1),
        "posted": lambda: None,
    }
    for name, step in steps.items():
        if name == when:
            suspend(scene)
        step()
    if answer == OBJECTION_ANSWER_SET_ASIDE:
        assert unpaid(scene) == [("collectives/breton", 400, "PAYABLE"), ("collectives/irish", 600, "HELD")]
        operator.release_held(POOL, "irish", 600, request_id="h", reason="theirs")
    assert unpaid(scene) == [("collectives/breton", 400, "PAYABLE"), ("collectives/irish", 600, "SUSPENDED")]
    run = operator.create_pay_run("jan", "main", DAY)
    assert [(each.collective, each.reason) for each in run.left_out] == [("collectives/irish", "SUSPENDED")]
    suspend(scene, end=True)
    operator.create_pay_run("feb", "main", DAY)
    for name in ("jan", "feb"):
        bank.take(operator.create_pay_run_file(name).content)
    operator.import_bank_file("main", bank.statement(DAY))
    assert unpaid(scene) == []
    assert (scene.balances()["paid/irish"], scene.balances()["paid/breton"]) == (600, 400)
    require_sound(scene, tmp_path, database_url, monkeypatch)
    assert check_statement(irish.get_statement_file(POOL, 1), LOG_KEY.verifier_key).holds


def test_what_comes_back_to_who_was_suspended_meanwhile_waits_and_is_paid_once(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=1000)
    scene.approve(1)
    run = operator.create_pay_run("jan", "main", DAY)
    (theirs,) = (each.end_to_end_id for each in run.payments if each.collective == "collectives/irish")
    suspend(scene)
    bank.take(operator.create_pay_run_file("jan").content)
    operator.import_bank_file("main", bank.statement(DAY))
    bank.give_back(theirs, DAY)
    operator.import_bank_file("main", bank.statement(DAY))
    assert unpaid(scene) == [("collectives/irish", 600, "SUSPENDED")]
    suspend(scene, end=True)
    operator.create_pay_run("feb", "main", DAY)
    bank.take(operator.create_pay_run_file("feb").content)
    operator.import_bank_file("main", bank.statement(DAY))
    assert (scene.balances()["paid/irish"], scene.balances()["paid/breton"], unpaid(scene)) == (600, 400, [])
    require_sound(scene, tmp_path, database_url, monkeypatch)
