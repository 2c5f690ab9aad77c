"""What one operator can do alone about where money goes: nothing that pays it elsewhere.

Every attack comes from a client process with one operator's key, as in test_attacks.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from demo.bank import Bank
from moiety import (
    AbortedError,
    BankAccount,
    Client,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    PermissionDeniedError,
)
from moiety.v1.acts_pb2 import PROPOSAL_STATE_OPEN
from moiety.v1.registry_pb2 import COLLECTIVE_STATUS_SUSPENDED
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.browsing import signed_in
from tests.support.deployment import Deployment
from tests.support.paying import IBANS, OURS, account, of_two, pay_scene
from tests.support.scene import POOL, Scene

pytestmark = pytest.mark.surface

MINE: Final = "AT611904300234573201"
DAY: Final = "2026-01-09"


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    """600 is owed to irish and 400 to breton, who both can be paid; whatever matters takes two people."""
    return of_two(pay_scene(deploy, tmp_path))


@pytest.fixture
def olive(scene: Scene) -> Client:
    """The one who attacks."""
    return scene.operator


@pytest.fixture
def otto(scene: Scene) -> Client:
    """The other one."""
    return scene.reviewer


def paid_to(olive: Client, run: str) -> str:
    """The file for the bank, once the pool has answered."""
    olive.create_pay_run(run, "main", DAY)
    return olive.create_pay_run_file(run).content.decode()


Attack = Callable[[Client], Any]
WAITS: Final[dict[str, Attack]] = {
    "a payee": lambda by: by.set_payee("irish", account(MINE)),
    "the account of the operator": lambda by: by.set_bank_account(
        "main", BankAccount(display_name="Moiety", details=account(MINE), pools=[f"pools/{POOL}"], opening_minor=1000)
    ),
    "a pay run": lambda by: by.create_pay_run("mine", "main", DAY),
    "a bank's statement": lambda by: by.import_bank_file("main", forged()),
}


def forged(*, message_id: str = "") -> bytes:
    """A statement by which a platform paid what it never paid."""
    bank = Bank(OURS, "EUR", balance=1000)
    bank.receive(90_000, DAY)
    return bank.statement(DAY, message_id=message_id)


@pytest.mark.parametrize("attack", WAITS)
def test_one_operator_alone_changes_nothing_and_repeating_it_proposes_nothing_more(
    scene: Scene, olive: Client, otto: Client, attack: str
) -> None:
    before = scene.balances(), olive.get_payee("irish"), list(olive.list_bank_accounts()), list(olive.list_pay_runs())
    waiting = WAITS[attack](olive).proposal
    assert {WAITS[attack](by).proposal for by in (olive, otto, olive)} == {waiting}
    assert olive.get_proposal(waiting).state == PROPOSAL_STATE_OPEN
    with pytest.raises(FailedPreconditionError) as caught:
        olive.approve_proposal(waiting)
    assert caught.value.reason == "PROPOSED_IT"
    after = scene.balances(), olive.get_payee("irish"), list(olive.list_bank_accounts()), list(olive.list_pay_runs())
    assert after == before


def test_a_payee_changed_before_a_pay_run_is_not_the_one_who_is_paid(olive: Client, otto: Client) -> None:
    """Neither while the change waits, nor by a run that was proposed before it, nor within three days of it."""
    changed = olive.set_payee("irish", account(MINE)).proposal
    run = olive.create_pay_run("jan", "main", DAY)
    otto.approve_proposal(run.proposal)
    assert MINE not in paid_to(olive, "jan")
    assert IBANS["irish"] in paid_to(olive, "jan")
    with pytest.raises(FailedPreconditionError):  # nothing is owed any more: the run has it
        olive.record_payment(POOL, "irish", 1, request_id="x")
    # Had the other approved it after all, its owner still has three days to notice.
    otto.approve_proposal(changed)
    assert olive.get_payee("irish").payable_time.ToDatetime() - olive.get_payee("irish").create_time.ToDatetime() == (
        timedelta(days=3)
    )
    assert MINE not in paid_to(olive, "jan")


def test_a_run_that_was_proposed_before_a_payee_changed_is_stale(olive: Client, otto: Client) -> None:
    run = olive.create_pay_run("jan", "main", DAY).proposal
    otto.approve_proposal(olive.set_payee("irish", account(MINE)).proposal)
    with pytest.raises(AbortedError):
        otto.approve_proposal(run)
    later = olive.create_pay_run("jan", "main", DAY).proposal
    assert later not in ("", run)
    assert olive.create_pay_run("jan", "main", DAY).proposal == later
    otto.approve_proposal(later)
    assert [each.collective for each in olive.get_pay_run("jan").payments] == ["collectives/breton"]


def test_a_run_that_was_proposed_before_a_collective_was_suspended_is_stale(olive: Client, otto: Client) -> None:
    run = olive.create_pay_run("jan", "main", DAY).proposal
    suspended = Collective(display_name="irish", members=10, status=COLLECTIVE_STATUS_SUSPENDED)
    otto.approve_proposal(olive.update_collective("irish", suspended).proposal)
    with pytest.raises(AbortedError):
        otto.approve_proposal(run)
    otto.approve_proposal(olive.create_pay_run("jan", "main", DAY).proposal)
    assert [each.collective for each in olive.get_pay_run("jan").payments] == ["collectives/breton"]


def test_whoever_approves_an_account_sees_which_one(
    scene: Scene, olive: Client, otto: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has its hash alone, and nobody should agree to a hash."""
    waiting = olive.set_payee("irish", account(MINE, holder="Olive"), reason="they wrote a letter").proposal
    found = otto.get_proposed_account(waiting)
    assert (found.standing.iban, found.proposed.iban, found.proposed.holder) == (IBANS["irish"], MINE, "Olive")
    key = scene.deployment.key("operators/otto")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["proposal", "show", waiting, "--json", "--address", scene.deployment.address, "--api-key", key])
    assert ended.value.code == Exit.OK
    changes = json.loads(capsys.readouterr().out.split("\n{", 1)[-1].join(("{", "")))["changes"]
    assert {"field": "iban", "before": IBANS["irish"], "after": MINE} in changes
    page = signed_in(scene.deployment, "operators/otto").open(f"/{waiting}")
    assert MINE in page.text
    assert IBANS["irish"] in page.text
    for other in ("auditors/ada", "collectives/breton", "platforms/tunesmith"):
        with pytest.raises(PermissionDeniedError):
            scene.deployment.client(other).get_proposed_account(waiting)
    with pytest.raises(InvalidArgumentError, match="payee or a bank account"):
        otto.get_proposed_account(olive.record_payment(POOL, "irish", 1, request_id="x").proposal)


def test_a_forged_statement_does_not_take_the_place_of_the_bank_s(scene: Scene, olive: Client, otto: Client) -> None:
    """Under the id that the bank's next message will have, it would be what the other finds waiting."""
    waiting = olive.import_bank_file("main", forged(message_id="S-1")).proposal
    genuine = Bank(OURS, "EUR", balance=1000).statement(DAY, message_id="S-1")
    with pytest.raises(InvalidArgumentError, match=f"waits as {waiting}"):
        otto.import_bank_file("main", genuine)
    otto.reject_proposal(waiting, "the bank sent another one")
    taken = otto.import_bank_file("main", genuine)
    olive.approve_proposal(taken.proposal)
    assert scene.balances()["revenue"] == 0
    with pytest.raises(InvalidArgumentError, match="another message"):
        olive.import_bank_file("main", forged(message_id="S-1"))


def test_a_pay_run_and_a_bank_s_file_say_whom_and_how_much_before_they_are_approved(
    scene: Scene, olive: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    key = scene.deployment.key("operators/otto")
    for proposal, told in (
        (olive.create_pay_run("jan", "main", DAY).proposal, ("paid to irish", "6.00 EUR")),
        (olive.import_bank_file("main", forged()).proposal, ("UNMATCHED", "900.00 EUR")),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["proposal", "show", proposal, "--address", scene.deployment.address, "--api-key", key])
        assert ended.value.code == Exit.OK
        printed = capsys.readouterr().out
        assert all(each in printed for each in told)
