"""Pay runs from their proposal to the bank's statement, on real books."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from audit.statements.check import check_statement
from demo.bank import Bank
from ledger.store.logs import signing
from ledger.store.logs.log import REGISTRY
from ledger.store.pools.pools import pool_ref
from moiety import (
    AbortedError,
    BankAccount,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Policy,
    Pool,
    ServiceError,
)
from moiety.v1.payments_pb2 import PAYMENT_STATE_RETURNED, BankLinePart
from moiety.v1.registry_pb2 import COLLECTIVE_STATUS_ACTIVE, COLLECTIVE_STATUS_SUSPENDED, DISTRIBUTE_RECEIVED
from payout.payments.credit_transfer import MAX_SEPA_MINOR
from payout.store import bank_files, pay_runs
from payout.store.unpaid import list_owed
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.deployment import Deployment
from tests.support.fsck_scene import LOG_KEY, sign
from tests.support.paying import IBANS, OURS, account, of_two, pay_scene, require_sound
from tests.support.scene import NAMED_PLATFORMS, NANO, POOL, Scene, event

POOLS: Final = ("folk", "jazz", "soul")
DAY: Final = "2026-01-05"


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    """One person may do everything."""
    return pay_scene(deploy, tmp_path)


def test_a_run_is_paid_and_the_books_equal_the_bank(scene: Scene) -> None:
    operator = scene.operator
    run = operator.create_pay_run("jan", "main", "2026-01-05")
    assert [(each.collective, each.amount_minor) for each in run.payments] == [
        ("collectives/breton", 400), ("collectives/irish", 600),
    ]  # fmt: skip
    assert operator.create_pay_run("jan", "main", "2026-01-05") == run
    file = operator.create_pay_run_file("jan")
    assert file == operator.create_pay_run_file("jan")
    bank = Bank(OURS, "EUR", balance=1000)
    bank.take(file.content)
    statement = bank.statement("2026-01-05")
    taken = operator.import_bank_file("main", statement)
    assert [each.kind for each in taken.bookings] == ["PAID", "PAID"]
    assert operator.import_bank_file("main", statement) == taken
    balances = scene.balances()
    assert (balances["paid/irish"], balances["paid/breton"], balances["paying/irish"]) == (600, 400, 0)


def test_a_file_stays_as_it_was_when_the_account_is_renamed_or_replaced(scene: Scene) -> None:
    """A bank would take another file with the same ids for the same payments, from another account."""
    operator = scene.operator
    operator.create_pay_run("jan", "main", DAY)
    before = operator.create_pay_run_file("jan")
    for name, iban in (("Renamed", OURS), ("Renamed", "BE68539007547034")):
        asked = BankAccount(display_name=name, details=account(iban), pools=[f"pools/{POOL}"], opening_minor=1000)
        operator.set_bank_account("main", asked)
        assert operator.create_pay_run_file("jan") == before


def test_what_is_decided_while_pools_look_what_to_do_is_done_in_its_order(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that had booked the later of two acts would never have answered the earlier."""
    bank = Bank(OURS, "EUR", balance=1000)
    bank.receive(70, DAY)
    scene.operator.import_bank_file("main", bank.statement(DAY))
    (line,) = scene.operator.list_bank_lines("main")
    scene = of_two(scene)
    part = BankLinePart(pool=f"pools/{POOL}", platform="platforms/songbird", amount_minor=70)
    match = scene.operator.match_bank_line("main", line.name.rpartition("/")[2], [part]).proposal
    run = scene.operator.create_pay_run("jan", "main", DAY).proposal
    waiting, listed = [match, run], bank_files.list_files

    def meanwhile(*asked: Any, **about: Any) -> Any:
        while waiting:
            scene.reviewer.approve_proposal(waiting.pop())
        return listed(*asked, **about)

    monkeypatch.setattr(bank_files, "list_files", meanwhile)
    paying = scene.deployment.running.parts.paying
    assert [paying.run_once(), paying.run_once(), paying.run_once()] == [0, 2, 0]
    assert not scene.operator.get_pay_run("jan").waiting
    assert scene.balances()["credit/songbird"] == 70


def test_a_run_that_is_decided_while_a_collective_looks_at_its_payments_breaks_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    irish = scene.deployment.client("collectives/irish")
    looks = {name: getattr(pay_runs, name) for name in ("payments_of", "list_leaves")}
    names = iter(["jan"])

    def first(name: str) -> Any:
        def looked(*asked: Any, **about: Any) -> Any:
            found = looks[name](*asked, **about)
            for run in names:
                scene.operator.create_pay_run(run, "main", DAY)
            return found

        return looked

    for name in looks:
        monkeypatch.setattr(pay_runs, name, first(name))
    assert len(list(irish.list_payments("irish"))) <= 1
    assert len(list(irish.list_payments("irish"))) == 1


def paid_run(scene: Scene) -> Bank:
    """A bank after a run that it paid, and a statement of it."""
    bank = Bank(OURS, "EUR", balance=1000)
    scene.operator.create_pay_run("jan", "main", "2026-01-05")
    bank.take(scene.operator.create_pay_run_file("jan").content)
    scene.operator.import_bank_file("main", bank.statement("2026-01-05"))
    return bank


@pytest.mark.parametrize("contradicted", [POOL, "registry"])
def test_nobody_is_paid_by_a_log_that_contradicts_what_was_signed(scene: Scene, contradicted: str) -> None:
    """It may lack what was paid already; and a run that was proposed before is not approved either."""
    both, database = of_two(scene), scene.deployment.running.parts.database
    proposed = both.operator.create_pay_run("jan", "main", "2026-01-05").proposal
    with database.transaction() as connection:
        pool = REGISTRY if contradicted == "registry" else pool_ref(connection, contradicted)
        signing.note(connection, pool, signing.which_database(connection), "it is shorter")
    for pay in (
        lambda: both.reviewer.approve_proposal(proposed),
        lambda: both.operator.create_pay_run("feb", "main", "2026-01-05"),
        lambda: both.operator.record_payment(POOL, "irish", 1, request_id="p"),
    ):
        with pytest.raises(FailedPreconditionError) as caught:
            pay()
        assert caught.value.reason == "SIGNING_REFUSED"


def test_everything_is_verified_and_replayed_by_two_verifiers_and_by_fsck(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = paid_run(scene)
    bank.give_back("jan-0000001", "2026-01-06", kept=5)
    bank.charge(7, "2026-01-06")
    bank.receive(50, "2026-01-06")
    scene.operator.import_bank_file("main", bank.statement("2026-01-06"))
    balances = scene.balances()
    assert (balances["collective/breton"], balances["paid/breton"], balances["costs"]) == (400, 0, -12)
    positions = scene.operator.get_reconciliation("main").positions
    assert [each.difference_minor for each in positions] == [0, 0]
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_a_collective_sees_its_payment_and_why_it_came_back(scene: Scene) -> None:
    bank = paid_run(scene)
    bank.give_back("jan-0000001", "2026-01-06")
    scene.operator.import_bank_file("main", bank.statement("2026-01-06"))
    (payment,) = scene.deployment.client("collectives/breton").list_payments("breton")
    assert (payment.state, payment.day) == (PAYMENT_STATE_RETURNED, "2026-01-06")
    assert payment.reason == "the account is closed (AC04)"
    sign(scene.deployment)
    for name, returned in (("breton", [payment]), ("irish", [])):
        file = scene.deployment.client(f"collectives/{name}").get_statement_file(POOL, 1)
        report = check_statement(file, LOG_KEY.verifier_key)
        assert (report.failed, report.reason, report.facts["payments"]) == (None, "", 1)
        said = [(each["day"], each["reason"]) for each in report.facts["returned"]]
        assert said == [(each.day, each.reason) for each in returned]
    with pytest.raises(PermissionDeniedError):
        list(scene.deployment.client("collectives/irish").list_payments("breton"))


def test_a_forged_rejection_has_nobody_paid_twice(scene: Scene) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=1000)
    operator.create_pay_run("jan", "main", "2026-01-05")
    bank.take(operator.create_pay_run_file("jan").content)
    operator.import_bank_file("main", bank.status("jan", ["jan-0000001"], "2026-01-04"))
    assert scene.balances()["paying/breton"] == 400
    with pytest.raises(FailedPreconditionError, match="nobody"):
        operator.create_pay_run("again", "main", "2026-01-06")
    operator.import_bank_file("main", bank.statement("2026-01-05"))
    balances = scene.balances()
    assert (balances["paid/breton"], balances["collective/breton"], balances["paying/breton"]) == (400, 0, 0)


def test_a_rejection_is_owed_again_once_a_statement_of_the_day_lacks_it(scene: Scene) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=1000)
    operator.create_pay_run("jan", "main", "2026-01-05")
    bank.take(operator.create_pay_run_file("jan").content, rejected=["jan-0000001"])
    operator.import_bank_file("main", bank.status("jan", ["jan-0000001"], "2026-01-05"))
    operator.import_bank_file("main", bank.statement("2026-01-04"))  # before the day, with the other debit
    assert scene.balances()["collective/breton"] == 0
    operator.import_bank_file("main", bank.statement("2026-01-05"))
    assert scene.balances()["collective/breton"] == 400
    again = operator.create_pay_run("again", "main", "2026-01-06")
    assert [(each.collective, each.amount_minor) for each in again.payments] == [("collectives/breton", 400)]


def test_a_statement_that_does_not_follow_is_refused(scene: Scene) -> None:
    bank = paid_run(scene)
    bank.receive(1, "2026-01-06")
    for forged in (1000, -1, 1):
        with pytest.raises(FailedPreconditionError, match="the last one closed with 0"):
            scene.operator.import_bank_file("main", bank.statement("2026-01-06", opening=forged))
    with pytest.raises(FailedPreconditionError, match="before 2026-01-05"):
        scene.operator.import_bank_file("main", bank.statement("2026-01-02"))


def test_a_message_comes_twice_and_changes_nothing_and_another_under_its_id_is_refused(scene: Scene) -> None:
    bank = paid_run(scene)
    bank.receive(3, "2026-01-06")
    statement = bank.statement("2026-01-06", message_id="S")
    first = scene.operator.import_bank_file("main", statement)
    before = scene.balances()
    assert scene.operator.import_bank_file("main", statement) == first
    assert scene.balances() == before
    bank.receive(4, "2026-01-07")
    with pytest.raises(InvalidArgumentError, match="another message"):
        scene.operator.import_bank_file("main", bank.statement("2026-01-07", message_id="S"))


def test_what_nobody_knows_is_kept_and_listed_once_of_its_account(scene: Scene) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR")
    stranger, other = (bank.status(run, [f"{run}-0000001"], DAY).replace(b">P2<", b">P1<") for run in ("jan", "never"))
    for _ in range(2):
        assert "never sent" in operator.import_bank_file("main", stranger).problem
    with pytest.raises(InvalidArgumentError, match="the id of another message: P1"):
        operator.import_bank_file("main", other)

    # Another bank may number its messages alike, and has an account of its own.
    pool = Pool(
        display_name="Soul", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS, distribute=DISTRIBUTE_RECEIVED
    )
    operator.create_pool("soul", pool)
    details = account(IBANS["scottish"])
    operator.set_bank_account("second", BankAccount(display_name="M", details=details, pools=["pools/soul"]))
    for listed_of in (operator.list_bank_files, operator.list_bank_lines):
        with pytest.raises(NotFoundError, match="bankAccounts/third"):
            list(listed_of("third"))
    assert list(operator.list_bank_files("second")) == []
    assert "'never'" in operator.import_bank_file("second", other).problem
    listed = [[each.problem for each in operator.list_bank_files(name)] for name in ("main", "second")]
    assert [len(each) for each in listed] == [1, 1]
    assert listed[0] != listed[1]

    # What was of no run then may be of one now: it is taken in, and no longer listed as of nobody.
    operator.create_pay_run("jan", "main", DAY)
    assert [each.kind for each in operator.import_bank_file("main", stranger).bookings] == ["REJECTED"]
    assert [(each.message_id, each.problem) for each in operator.list_bank_files("main")] == [("P1", "")]


def test_a_debit_of_nobody_s_shows_as_a_difference(scene: Scene) -> None:
    bank = paid_run(scene)
    bank.enter(-9, "2026-01-06", "<Refs><EndToEndId>jan-0000001</EndToEndId></Refs>")  # it was paid before
    scene.operator.import_bank_file("main", bank.statement("2026-01-06"))
    last = scene.operator.get_reconciliation("main").positions[-1]
    assert last.difference_minor == -9
    assert [(each.kind, each.amount_minor) for each in last.without_partner] == [("UNKNOWN", -9)]


HOSTILE: Final = {
    b"": "is not XML",
    b"<a>": "is not XML",
    b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>': "a DTD or an entity",
    b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>': "a DTD or an entity",
    b"<a>" * 50 + b"</a>" * 50: "levels deep",
    b"<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.052.001.08'/>": "camt.052.001.08",
    b"<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.053.001.08'/>": "must have one BkToCstmrStmt",
}


def test_a_hostile_file_is_refused(scene: Scene) -> None:
    for content, told in HOSTILE.items():
        with pytest.raises(InvalidArgumentError, match=told):
            scene.operator.import_bank_file("main", content or b" ")


def test_a_statement_of_another_account_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidArgumentError, match="another account"):
        scene.operator.import_bank_file("main", Bank(IBANS["irish"], "EUR").statement("2026-01-05"))


def test_an_account_that_changed_after_the_proposal_makes_it_stale(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    """Whoever can have an account changed cannot have an older proposal pay to it."""
    scene = of_two(pay_scene(deploy, tmp_path))
    run = scene.operator.create_pay_run("jan", "main", "2026-01-05")
    assert run.proposal
    assert scene.operator.create_pay_run("jan", "main", "2026-01-05").proposal == run.proposal
    irish = scene.deployment.client("collectives/irish")
    waiting = irish.set_payee("irish", account(IBANS["scottish"]))
    scene.reviewer.approve_proposal(waiting.proposal)
    with pytest.raises(AbortedError):
        scene.reviewer.approve_proposal(run.proposal)
    later = scene.operator.create_pay_run("feb", "main", "2026-01-05")
    with pytest.raises(FailedPreconditionError):
        scene.operator.approve_proposal(later.proposal)
    scene.reviewer.approve_proposal(later.proposal)
    decided = scene.operator.get_pay_run("feb")
    assert [(each.collective, each.reason) for each in decided.left_out] == [("collectives/irish", "COOLING")]
    assert [each.collective for each in decided.payments] == ["collectives/breton"]


def test_one_person_alone_cannot_have_a_bank_s_file_taken_in(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    scene = pay_scene(deploy, tmp_path)
    bank = paid_run(scene)
    scene = of_two(scene)
    bank.give_back("jan-0000001", "2026-01-06")
    forged = bank.statement("2026-01-06")
    waiting = scene.operator.import_bank_file("main", forged)
    assert waiting.proposal
    assert scene.operator.import_bank_file("main", forged).proposal == waiting.proposal
    with pytest.raises(FailedPreconditionError):
        scene.operator.approve_proposal(waiting.proposal)
    assert scene.balances()["paid/breton"] == 400


def test_who_is_not_paid_is_listed_with_the_reason(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    scene = pay_scene(deploy, tmp_path)
    scene.operator.set_payee("irish", account(IBANS["irish"], smallest_minor=601))
    scene.deployment.clock.advance(days=3)
    run = scene.operator.create_pay_run("jan", "main", "2026-01-09")
    assert [(each.collective, each.reason, each.amount_minor) for each in run.left_out] == [
        ("collectives/irish", "BELOW_SMALLEST", 600)
    ]
    assert scene.balances()["collective/irish"] == 600


def erase(owner: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as ended:
        main(["db", "erase", owner])
    return int(ended.value.code or 0)


def test_nothing_is_erased_while_a_payment_is_on_its_way(
    scene: Scene, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=1000)
    operator.create_pay_run("jan", "main", DAY)
    for owner in ("collectives/irish", "bankAccounts/main"):
        assert erase(owner, database_url, monkeypatch) == Exit.REFUSED_BY_STATE
        assert f"{owner}: has a payment on its way in payRuns/jan" in capsys.readouterr().err
    bank.take(operator.create_pay_run_file("jan").content)
    operator.import_bank_file("main", bank.statement(DAY))
    for owner in ("collectives/irish", "bankAccounts/main"):
        assert erase(owner, database_url, monkeypatch) == 0
    with pytest.raises(FailedPreconditionError, match="bankAccounts/main: has no account any more"):
        operator.create_pay_run("feb", "main", DAY)


@pytest.mark.parametrize("owner", ["collectives/irish", "bankAccounts/main"])
def test_a_run_is_stale_once_an_account_in_it_was_erased(
    scene: Scene, database_url: str, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    both = of_two(scene)
    waiting = both.operator.create_pay_run("jan", "main", DAY)
    assert erase(owner, database_url, monkeypatch) == 0
    with pytest.raises(AbortedError, match="what registry/proposals"):
        both.reviewer.approve_proposal(waiting.proposal)
    assert both.balances()["collective/breton"] == 400


def test_more_than_a_bank_takes_as_one_payment_is_left_out_until_a_part_is_paid_otherwise(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    scene = pay_scene(deploy, tmp_path)
    operator = scene.operator
    scene.platform.report_revenue(POOL, MAX_SEPA_MINOR, "EUR", request_id="large")
    operator.record_receipt(POOL, MAX_SEPA_MINOR, platform="tunesmith", request_id="large")
    scene.submit([event(7, shares={"irish": NANO})], "large")
    operator.calculate_round(POOL, request_id="large")
    assert {(each.collective, each.amount_minor, each.reason) for each in operator.list_unpaid(POOL)} == {
        ("collectives/breton", 400, "PAYABLE"),
        ("collectives/irish", 600, "ABOVE_LARGEST"),
        ("collectives/irish", MAX_SEPA_MINOR, "ABOVE_LARGEST"),
    }
    run = operator.create_pay_run("jan", "main", "2026-01-09")
    assert [(each.collective, each.reason, each.amount_minor) for each in run.left_out] == [
        ("collectives/irish", "ABOVE_LARGEST", MAX_SEPA_MINOR + 600)
    ]
    assert [each.collective for each in run.payments] == ["collectives/breton"]
    with pytest.raises(FailedPreconditionError, match=r"can be paid now \(ABOVE_LARGEST\)"):
        operator.create_pay_run("feb", "main", "2026-01-09")
    operator.record_payment(POOL, "irish", 600, request_id="by-hand")
    assert operator.create_pay_run("feb", "main", "2026-01-09").amount_minor == MAX_SEPA_MINOR
    assert b">999999999.99<" in operator.create_pay_run_file("feb").content


def test_what_is_unpaid_is_listed_with_its_reason_and_its_age(scene: Scene) -> None:
    operator, bank = scene.operator, paid_run(scene)
    bank.give_back("jan-0000001", "2026-01-06")
    operator.import_bank_file("main", bank.statement("2026-01-06"))
    scene.deployment.clock.advance(days=2)
    (back,) = operator.list_unpaid(POOL)
    assert (back.collective, back.amount_minor, back.reason) == ("collectives/breton", 400, "RETURNED")
    assert (back.round, back.days, back.bank_reason) == (1, 5, "the account is closed (AC04)")

    operator.set_payee("breton", account(IBANS["breton"], smallest_minor=500))
    operator.update_collective(
        "irish", Collective(display_name="Irish", members=10, status=COLLECTIVE_STATUS_SUSPENDED)
    )
    scene.platform.report_revenue(POOL, 10, "EUR", request_id="more")
    operator.record_receipt(POOL, 10, platform="tunesmith", request_id="more")
    scene.submit([event(7, shares={"breton": 500_000_000, "irish": 500_000_000})], "more")
    operator.calculate_round(POOL, request_id="more")
    assert unpaid(scene) == [
        ("breton", 400, "COOLING", 1, 5), ("breton", 5, "COOLING", 2, 0), ("irish", 5, "HELD", 2, 0),
    ]  # fmt: skip
    scene.deployment.clock.advance(days=3)
    operator.release_held(POOL, "irish", 2, request_id="some", reason="heard")
    operator.release_held(POOL, "irish", 1, request_id="back", reason="not theirs", to_commons=True)
    # What was released is as old as when it was held.
    assert unpaid(scene) == [
        ("breton", 400, "BELOW_SMALLEST", 1, 8), ("breton", 5, "BELOW_SMALLEST", 2, 3), ("irish", 2, "SUSPENDED", 2, 3),
        ("irish", 2, "HELD", 2, 3),
    ]  # fmt: skip
    operator.record_payment(POOL, "breton", 399, request_id="by-hand")
    operator.record_payment(POOL, "irish", 1, request_id="by-hand-too")
    operator.update_collective("irish", Collective(display_name="Irish", members=10, status=COLLECTIVE_STATUS_ACTIVE))
    found = unpaid(scene)
    assert [(who, amount, round_) for who, amount, _, round_, _ in found] == [
        ("breton", 1, 1), ("breton", 5, 2), ("irish", 1, 2), ("irish", 2, 2),
    ]  # fmt: skip
    with scene.deployment.running.parts.database.transaction() as connection:
        pool, after, paged = pool_ref(connection, POOL), ("", -1), []
        while page := list_owed(connection, pool, after=after, limit=1):
            after = page[0].account, page[0].leaf_index
            paged.append((page[0].collective, page[0].amount_minor))
    assert paged == [(who, amount) for who, amount, *_ in found]


def unpaid(scene: Scene) -> list[tuple[str, int, str, int, int]]:
    return [
        (each.collective.removeprefix("collectives/"), each.amount_minor, each.reason, each.round, each.days)
        for each in scene.operator.list_unpaid(POOL)
    ]


class KilledError(Exception):
    """The server is killed here."""


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, survives: int) -> Iterator[None]:
    """A part of this many pools is committed, and the server is killed within the transaction of the next."""
    whole, done = getattr(module, name), count()

    def part(*given: Any) -> bool:
        did = bool(whole(*given))
        if next(done) >= survives:
            raise KilledError
        return did

    monkeypatch.setattr(module, name, part)
    yield
    monkeypatch.setattr(module, name, whole)


@pytest.mark.parametrize("survives", range(3))
def test_a_crash_at_any_step_of_a_run_over_three_pools_leaves_it_there_or_one_step_on(
    deploy: Callable[..., Deployment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    scene = pay_scene(deploy, tmp_path, pools=POOLS)
    operator, paying = scene.operator, scene.deployment.running.parts.paying
    with killed_after(monkeypatch, pay_runs, "answer", survives), pytest.raises(ServiceError):
        operator.create_pay_run("jan", "main", "2026-01-05")
    assert list(operator.get_pay_run("jan").waiting) == [f"pools/{name}" for name in POOLS[survives:]]
    with pytest.raises(FailedPreconditionError, match="waits for"):
        operator.create_pay_run_file("jan")
    assert paying.run_once() == 3 - survives
    assert paying.run_once() == 0
    run = operator.create_pay_run("jan", "main", "2026-01-05")
    assert [(each.amount_minor, len(each.pools), each.short_minor) for each in run.payments] == [
        (1200, 3, 0), (1800, 3, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("survives", range(3))
def test_a_crash_at_any_step_of_an_import_over_three_pools_is_made_up_for(
    deploy: Callable[..., Deployment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    scene = pay_scene(deploy, tmp_path, pools=POOLS)
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=3000)
    operator.create_pay_run("jan", "main", "2026-01-05")
    bank.take(operator.create_pay_run_file("jan").content)
    bank.give_back("jan-0000002", "2026-01-05", kept=4)
    statement = bank.statement("2026-01-05")
    with killed_after(monkeypatch, bank_files, "book", survives), pytest.raises(ServiceError):
        operator.import_bank_file("main", statement)
    operator.import_bank_file("main", statement)
    (position,) = operator.get_reconciliation("main").positions
    assert (position.closing_minor, position.difference_minor) == (1796, 0)
    assert [operator.get_balance(pool, "collective/irish").amount_minor for pool in POOLS] == [600, 600, 600]
    assert [operator.get_balance(pool, "paid/breton").amount_minor for pool in POOLS] == [400, 400, 400]
