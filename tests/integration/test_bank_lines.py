"""Money that arrives at the bank: whose it is, and what becomes of it when it goes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

import pytest
from babel.dates import format_date

from demo.bank import Bank
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from moiety import (
    AbortedError,
    BankLinePart,
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    Platform,
    Policy,
)
from moiety.v1.acts_pb2 import PROPOSAL_STATE_APPROVED
from moiety.v1.payments_pb2 import PAYMENT_STATE_PAID, BankLine
from moiety.v1.rounds_pb2 import ROUND_STATE_REJECTED
from services.cli.app import main
from tests.support.browsing import signed_in
from tests.support.deployment import Deployment
from tests.support.paying import OURS, of_two, pay_scene, require_sound
from tests.support.scene import POOL, Scene, event

pytestmark = pytest.mark.surface

DAY: Final = "2026-01-05"


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    """Two pools of an account, whose collectives are owed what arrived."""
    return pay_scene(deploy, tmp_path, pools=(POOL, "jazz"))


def reference(scene: Scene, amount_minor: int, *, pool: str = POOL, by: str = "tunesmith", request_id: str) -> str:
    """A report; gives the reference that its payment is to carry."""
    platform = scene.deployment.client(f"platforms/{by}")
    return platform.report_revenue(pool, amount_minor, "EUR", request_id=request_id).payment_reference


def part(pool: str, platform: str, amount_minor: int) -> BankLinePart:
    return BankLinePart(
        pool=f"pools/{pool}", platform=f"platforms/{platform}" if platform else "", amount_minor=amount_minor
    )


def nonzero(scene: Scene, pool: str = POOL) -> dict[str, int]:
    """What a pool has for payers: due, credits and what is unmatched, and its revenue."""
    found = {each.name.partition("/accounts/")[2]: each.amount_minor for each in scene.operator.list_balances(pool)}
    kinds = ("due/", "credit/", "unmatched", "revenue")
    return {name: amount for name, amount in found.items() if amount and name.startswith(kinds)}


def differences(scene: Scene) -> list[int]:
    return [each.difference_minor for each in scene.operator.get_reconciliation("main").positions]


@pytest.mark.parametrize("day", ["9999-12-31", "2026-02-01", "0001-01-01", "1969-12-31"])
def test_a_file_of_days_that_are_still_to_come_is_refused(scene: Scene, day: str) -> None:
    """After a statement of such a day none could follow for as long, and what is beside the first day is no day."""
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    bank.receive(5, day)
    for content in (bank.notification(day, ("N", 5, [])), bank.statement(day)):
        with pytest.raises(InvalidArgumentError, match=f"is of {day}"):
            operator.import_bank_file("main", content)
    bank.balance = 2000
    bank.receive(5, day)
    with pytest.raises(InvalidArgumentError, match=f"is of {day}"):
        operator.import_bank_file("main", bank.statement(DAY))
    bank.balance = 2000
    bank.receive(5, DAY)
    assert operator.import_bank_file("main", bank.statement(DAY)).closing_minor == 2005
    assert [line.amount_minor for line in operator.list_bank_lines("main")] == [5]


def test_money_finds_its_platform_and_its_pool_by_its_reference(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    first, other = reference(scene, 300, request_id="a"), reference(scene, 70, request_id="b", pool="jazz")
    third, fourth = reference(scene, 40, request_id="c"), reference(scene, 60, request_id="d", pool="jazz")
    bank.receive(350, DAY, reference=first)  # 50 more than is due
    bank.enter(70, DAY, f"<RmtInf><Ustrd>our invoice {other[:4]} {other[4:].lower()}</Ustrd></RmtInf>")
    both = f"<RmtInf><Ustrd>{third} {fourth}</Ustrd></RmtInf>"
    bank.enter(100, DAY, both)
    bank.enter(99, DAY, both)  # neither of the two, nor their sum
    bank.receive(5, DAY, reference="RF18539007547034")
    taken = operator.import_bank_file("main", bank.statement(DAY))
    assert [(each.kind, each.subject, each.amount_minor) for each in taken.bookings] == [
        ("RECEIVED", "platforms/tunesmith", 350), ("RECEIVED", "platforms/tunesmith", 70),
        ("RECEIVED", "platforms/tunesmith", 40), ("RECEIVED", "platforms/tunesmith", 60),
        ("UNMATCHED", "", 99), ("UNMATCHED", "", 5),
    ]  # fmt: skip
    assert nonzero(scene) == {"credit/tunesmith": 50, "revenue": 340, "unmatched": 104}
    assert nonzero(scene, "jazz") == {"revenue": 130}
    assert differences(scene) == [0]
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_an_operator_says_whose_money_is_and_may_say_otherwise_later(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    reference(scene, 30, request_id="a")
    bank.receive(100, DAY)
    bank.enter(-7, DAY, "")
    operator.import_bank_file("main", bank.statement(DAY))
    line, debit = (each.name.rpartition("/")[2] for each in operator.list_bank_lines("main", only_open=True))
    split = [part(POOL, "tunesmith", 40), part("jazz", "songbird", 60)]
    for _ in range(2):
        found = operator.match_bank_line("main", line, split)
        assert list(found.parts) == split
    assert nonzero(scene) == {"credit/tunesmith": 10, "revenue": 30}
    assert nonzero(scene, "jazz") == {"credit/songbird": 60}

    operator.match_bank_line("main", line, [part("jazz", "songbird", 99), part(POOL, "", 1)])
    assert nonzero(scene) == {"due/tunesmith": 30, "unmatched": 1}
    assert nonzero(scene, "jazz") == {"credit/songbird": 99}

    for _ in range(2):
        assert operator.match_bank_line("main", debit, charge_of="jazz").amount_minor == 0
    assert operator.get_balance("jazz", "costs").amount_minor == -7
    assert [each.open_minor for each in operator.list_bank_lines("main", only_open=True)] == [1]
    operator.import_bank_file("main", bank.statement("2026-01-06"))
    assert differences(scene) == [-7, 0]

    for wrong, error in (
        ([part(POOL, "tunesmith", 99)], InvalidArgumentError),
        ([part("soul", "tunesmith", 100)], InvalidArgumentError),
        ([part(POOL, "nobody", 100)], NotFoundError),
        ([part(POOL, "tunesmith", 50), part(POOL, "tunesmith", 50)], InvalidArgumentError),
        ([], InvalidArgumentError),
    ):
        with pytest.raises(error):
            operator.match_bank_line("main", line, wrong)
    with pytest.raises(FailedPreconditionError):
        operator.match_bank_line("main", line, takes_back=line)
    with pytest.raises(NotFoundError):
        operator.match_bank_line("main", "1-1", [part(POOL, "tunesmith", 100)])
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_money_that_the_bank_takes_back_is_a_chargeback_and_ends_a_round_that_counts_on_it(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    operator.create_policy(POOL, Policy(review_seconds=3600))
    bank.receive(1, DAY, reference=reference(scene, 1, request_id="old"))
    operator.import_bank_file("main", bank.statement(DAY))
    scene.submit([event(8)], "old")
    assert operator.calculate_round(POOL, request_id="old").pot_minor == 1
    first = reference(scene, 300, request_id="a")
    bank.receive(300, DAY, reference=first)
    operator.import_bank_file("main", bank.statement(DAY))
    scene.submit([event(9)], "more")
    calculated = operator.calculate_round(POOL, request_id="paid-out")
    assert calculated.pot_minor == 300
    told = f"<RmtInf><Strd><CdtrRefInf><Ref>{first}</Ref></CdtrRefInf></Strd></RmtInf>"
    back = "<RtrInf><Rsn><Cd>MD06</Cd></Rsn></RtrInf>"
    bank.receive(20, "2026-01-06", reference=first)
    bank.enter(-20, "2026-01-06", told + back)
    bank.enter(-300, "2026-01-06", told + back)
    bank.enter(-1, "2026-01-06", told + back)  # there is nothing left that it could be of
    taken = operator.import_bank_file("main", bank.statement("2026-01-06"))
    assert [each.kind for each in taken.bookings] == ["RECEIVED", "TAKEN_BACK", "TAKEN_BACK", "UNKNOWN"]
    assert nonzero(scene) == {"due/tunesmith": 300}
    assert differences(scene) == [0, 0, -1]
    ended = operator.get_round(POOL, calculated.number)
    assert (ended.state, ended.decided_by) == (ROUND_STATE_REJECTED, "ledger")
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_a_match_waits_for_a_second_person(scene: Scene) -> None:
    bank = Bank(OURS, "EUR", balance=2000)
    bank.receive(100, DAY)
    scene.operator.import_bank_file("main", bank.statement(DAY))
    (line,) = scene.operator.list_bank_lines("main", only_open=True)
    name = line.name.rpartition("/")[2]
    scene.deployment.act(ControlsContent(controls=Controls.of_two()))
    olive, otto = (scene.deployment.client(f"operators/{who}") for who in ("olive", "otto"))
    waiting = olive.match_bank_line("main", name, [part(POOL, "tunesmith", 100)])
    assert waiting.proposal
    assert nonzero(scene) == {"unmatched": 100}
    assert olive.match_bank_line("main", name, [part(POOL, "tunesmith", 100)]).proposal == waiting.proposal
    otto.approve_proposal(waiting.proposal)
    scene.deployment.running.parts.paying.run_once()
    assert nonzero(scene) == {"credit/tunesmith": 100}


def test_who_says_otherwise_of_a_line_is_not_told_that_it_waits(scene: Scene) -> None:
    """Both wait, and once one of them is approved the other is stale."""
    bank = Bank(OURS, "EUR", balance=2000)
    bank.receive(100, DAY)
    bank.enter(-40, DAY, "")
    scene.operator.import_bank_file("main", bank.statement(DAY))
    credit, debit = (line.name.rpartition("/")[2] for line in scene.operator.list_bank_lines("main"))
    scene = of_two(scene)
    olive, otto = scene.operator, scene.reviewer
    words: list[Callable[[Client], BankLine]] = [
        lambda by: by.match_bank_line("main", debit, charge_of=POOL),
        lambda by: by.match_bank_line("main", debit, takes_back=credit),
        lambda by: by.match_bank_line("main", credit, [part("jazz", "songbird", 100)]),
        lambda by: by.match_bank_line("main", credit, [part(POOL, "songbird", 60), part(POOL, "", 40)]),
    ]
    for ask in words:
        assert ask(olive).proposal == ask(otto).proposal
    waiting = [each.name for each in olive.list_proposals(only_open=True)]
    assert len(waiting) == len({*waiting}) == 4
    otto.approve_proposal(waiting[1])
    for each in (waiting[0], waiting[2], waiting[3]):
        with pytest.raises(AbortedError):
            otto.approve_proposal(each)
    scene.deployment.running.parts.paying.run_once()
    assert nonzero(scene) == {"unmatched": 60}


def test_a_statement_that_could_not_be_approved_any_more_is_proposed_anew(scene: Scene) -> None:
    bank = Bank(OURS, "EUR", balance=2000)
    bank.receive(100, DAY)
    statement = bank.statement(DAY)
    scene = of_two(scene)
    olive, otto = scene.operator, scene.reviewer
    stale = olive.import_bank_file("main", statement).proposal
    otto.approve_proposal(olive.create_pay_run("jan", "main", DAY).proposal)
    with pytest.raises(AbortedError):
        otto.approve_proposal(stale)
    anew = olive.import_bank_file("main", statement).proposal
    assert anew not in ("", stale)
    assert olive.import_bank_file("main", statement).proposal == anew
    otto.approve_proposal(anew)
    assert olive.import_bank_file("main", statement).proposal == ""
    assert nonzero(scene) == {"unmatched": 100}


def test_a_file_whose_proposal_has_lapsed_is_proposed_anew_where_the_clock_is_set_back(scene: Scene) -> None:
    bank = Bank(OURS, "EUR", balance=2000)
    statement = bank.statement(DAY)
    scene = of_two(scene)
    olive, otto, clock = scene.operator, scene.reviewer, scene.deployment.clock
    lapsed = olive.import_bank_file("main", statement).proposal
    clock.advance(days=30, seconds=10)
    olive.create_platform("lyre", Platform(display_name="Lyre"))
    clock.advance(minutes=-1)
    anew = olive.import_bank_file("main", statement).proposal
    assert anew not in ("", lapsed)
    assert otto.approve_proposal(anew).state == PROPOSAL_STATE_APPROVED


def paid(amount: str, payment_reference: str) -> str:
    """A transaction of an entry, as a notification has it."""
    told = f"<RmtInf><Strd><CdtrRefInf><Ref>{payment_reference}</Ref></CdtrRefInf></Strd></RmtInf>"
    return f'<Amt Ccy="EUR">{amount}</Amt>{told}'


def test_a_notification_moves_nothing_and_tells_what_a_statement_only_sums_up(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    first, other = reference(scene, 300, request_id="a"), reference(scene, 70, request_id="b", pool="jazz")
    details = [paid("3.00", first), paid("0.70", other)]
    before = nonzero(scene)
    for message_id, each in (("N1", details), ("N1", details), ("N2", [paid("2.99", first), paid("0.71", other)])):
        told = operator.import_bank_file("main", bank.notification(DAY, ("B0", 370, each), message_id=message_id))
        assert [(line.kind, line.reference) for line in told.bookings] == [("NOTIFIED", "B0")] * 2
    assert nonzero(scene) == before
    assert list(operator.list_bank_lines("main")) == []
    assert [(each.message_id, each.problem) for each in operator.list_bank_files("main")] == [("N1", ""), ("N2", "")]
    with pytest.raises(InvalidArgumentError, match="another message: N1"):
        operator.import_bank_file("main", bank.notification(DAY, ("B9", 370, details), message_id="N1"))
    strange = Bank("FR1420041010050500013M02606", "EUR").notification(DAY, ("B0", 370, details), message_id="N9")
    with pytest.raises(InvalidArgumentError, match="another account"):
        operator.import_bank_file("main", strange)

    bank.enter(370, DAY, "")  # both together, and only their sum
    bank.enter(5, DAY, "")
    statement = bank.statement(DAY)
    for _ in range(2):
        taken = operator.import_bank_file("main", statement)
        assert [(each.kind, each.amount_minor) for each in taken.bookings] == [
            ("UNMATCHED", 370), ("UNMATCHED", 5),
        ]  # fmt: skip # since the two notifications differ
    assert differences(scene) == [0]

    # One notification, and the statement's entry is booked line by line, once.
    assert operator.import_bank_file("main", bank.notification("2026-01-06", ("B0", 370, details))).leaf_index
    bank.enter(370, "2026-01-06", "")
    taken = operator.import_bank_file("main", bank.statement("2026-01-06"))
    assert [(each.kind, each.subject, each.amount_minor) for each in taken.bookings] == [
        ("RECEIVED", "platforms/tunesmith", 300), ("RECEIVED", "platforms/tunesmith", 70),
    ]  # fmt: skip
    assert (nonzero(scene)["revenue"], nonzero(scene, "jazz")["revenue"], differences(scene)) == (300, 70, [0, 0])
    assert not operator.import_bank_file("main", bank.notification("2026-01-06", ("B0", 370, details))).proposal
    assert differences(scene) == [0, 0]
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_a_notification_after_its_statement_tells_what_a_line_is_of_and_books_nothing(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    first, other = reference(scene, 300, request_id="a"), reference(scene, 70, request_id="b", pool="jazz")
    bank.enter(390, DAY, "")
    operator.import_bank_file("main", bank.statement(DAY))
    before = nonzero(scene)
    entries = ("B0", 390, [paid("3.00", first), paid("0.70", other), paid("0.20", "a gift")])
    operator.import_bank_file("main", bank.notification(DAY, entries, ("B7", 44, [paid("0.44", first)])))
    assert nonzero(scene) == before
    found = operator.get_reconciliation("main")
    assert [(each.reference, each.amount_minor, each.day) for each in found.announced] == [("B7", 44, DAY)]
    (line,) = operator.list_bank_lines("main", only_open=True)
    assert [(each.pool, each.platform, each.amount_minor) for each in line.details] == [
        ("pools/folk", "platforms/tunesmith", 300), ("pools/jazz", "platforms/tunesmith", 70), ("", "", 20),
    ]  # fmt: skip

    def run(*arguments: str) -> str:
        key = scene.deployment.key("operators/olive")
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--address", scene.deployment.address, "--api-key", key])
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return " ".join(out.split())

    assert "0.44 EUR B7 never stated" in run("bank", "reconcile", "main")
    assert "3.00 EUR tunesmith in folk" in run("bank", "lines", "main", "--open")
    page = signed_in(scene.deployment, "operators/olive").open("/bank/main")
    shown_day = format_date(date.fromisoformat(DAY), "medium", locale="en_GB")
    assert f"{shown_day} B7 never stated 0.44" in page.text
    run("bank", "match", "main", line.name.rpartition("/")[2], "--as-told")
    assert (nonzero(scene)["revenue"], nonzero(scene)["unmatched"], nonzero(scene, "jazz")["revenue"]) == (300, 20, 70)
    assert [list(each.details) for each in operator.list_bank_lines("main")] == [[]]
    assert differences(scene) == [0]
    require_sound(scene, tmp_path, database_url, monkeypatch)


def summed_up(scene: Scene, bank: Bank, run: str) -> int:
    """Have a bank pay a run as one entry that names nothing; gives its amount, below zero."""
    bank.take(scene.operator.create_pay_run_file(run).content)
    amount, bank.moved = bank.moved, 0
    bank.entries.clear()
    bank.enter(amount, DAY, "")
    return amount


def test_a_debit_that_names_nothing_paid_what_a_later_notification_tells(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    operator.create_pay_run("jan", "main", DAY)
    amount = summed_up(scene, bank, "jan")
    operator.import_bank_file("main", bank.statement(DAY))
    assert differences(scene) == [amount]
    told = [
        f"<Refs><EndToEndId>{each.end_to_end_id}</EndToEndId></Refs>"
        f'<Amt Ccy="EUR">{each.amount_minor / 100:.2f}</Amt><CdtDbtInd>DBIT</CdtDbtInd>'
        for each in bank.ordered.values()
    ]
    operator.import_bank_file("main", bank.notification(DAY, ("B0", amount, told)))
    (line,) = operator.list_bank_lines("main", only_open=True)
    name, identities = line.name.rpartition("/")[2], sorted(bank.ordered)
    assert sorted(each.end_to_end_id for each in line.details) == identities
    for wrong, error in (([], "is required"), (identities[:1], "must sum to"), (["x-0000001"], "no payment")):
        with pytest.raises(InvalidArgumentError, match=error):
            operator.match_bank_line("main", name, pays=wrong)
    key = scene.deployment.key("operators/olive")
    with pytest.raises(SystemExit) as ended:
        main(["bank", "match", "main", name, "--as-told", "--address", scene.deployment.address, "--api-key", key])
    assert not ended.value.code, capsys.readouterr().err
    balances = scene.balances()
    assert (balances["paid/irish"], balances["paying/irish"]) == (600, 0)
    assert operator.match_bank_line("main", name, pays=identities).amount_minor == 0
    assert {each.state for each in operator.get_pay_run("jan").payments} == {PAYMENT_STATE_PAID}
    operator.import_bank_file("main", bank.statement("2026-01-06"))
    assert differences(scene) == [amount, 0]
    bank.enter(amount, "2026-01-07", "")  # a second debit paid nothing more
    operator.import_bank_file("main", bank.statement("2026-01-07"))
    (other,) = operator.list_bank_lines("main", only_open=True)
    with pytest.raises(FailedPreconditionError, match="is PAID already"):
        operator.match_bank_line("main", other.name.rpartition("/")[2], pays=identities)
    operator.match_bank_line("main", other.name.rpartition("/")[2], charge_of=POOL)
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_what_a_statement_paid_meanwhile_is_not_paid_by_another_debit(scene: Scene) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=2000)
    operator.create_pay_run("jan", "main", DAY)
    summed_up(scene, bank, "jan")
    operator.import_bank_file("main", bank.statement(DAY))
    (line,) = operator.list_bank_lines("main", only_open=True)
    name, identities = line.name.rpartition("/")[2], sorted(bank.ordered)
    scene = of_two(scene)
    operator = scene.operator
    waits = operator.match_bank_line("main", name, pays=identities).proposal
    bank.pay(identities[0], "2026-01-06")
    taken = operator.import_bank_file("main", bank.statement("2026-01-06")).proposal
    scene.reviewer.approve_proposal(taken)
    with pytest.raises(AbortedError):
        scene.reviewer.approve_proposal(waits)
