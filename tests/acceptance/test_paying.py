"""A month of many collectives: paid, returned, charged, imported twice, with a server that is killed in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from schwifty import IBAN

from demo.bank import Bank
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from ledger.store.vault import add_key
from moiety import (
    AccountDetails,
    BankAccount,
    Client,
    Collective,
    FailedPreconditionError,
    Method,
    PayRun,
    Policy,
    Pool,
    ServiceError,
)
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED
from payout.paying import Paying
from payout.store import bank_files, pay_runs
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.deployment import Deployment
from tests.support.exports import report_of
from tests.support.fsck_scene import LOG_KEY, sign
from tests.support.independent import verifier
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, event, open_scene

COLLECTIVES: Final = 500
POOLS: Final = (POOL, "jazz", "soul")
OURS: Final = "DE89370400440532013000"
POT: Final = 1_000_003
RETURNED: Final = COLLECTIVES * 3 // 100
CHARGED_BACK: Final = 40_000
"""What a platform paid and its bank took back, after it was distributed."""
MISTYPED: Final = 12_345
"""What a platform meant to report when it typed 10,000 times as much."""


class KilledError(Exception):
    """The server is killed here."""


def name_of(number: int) -> str:
    return f"collective-{number:03d}"


def details(number: int) -> AccountDetails:
    iban = str(IBAN.generate("DE", bank_code="37040044", account_code=f"{number:010d}"))
    return AccountDetails(holder=f"Collective {number}", town="Town", country="DE", currency="EUR", iban=iban)


def live(scene: Scene, bank: Bank) -> None:
    """Everyone is registered and has an account; what platforms report arrives at the bank, and is distributed."""
    operator = scene.operator
    for number in range(COLLECTIVES):
        operator.create_collective(name_of(number), Collective(display_name=name_of(number), members=number))
        operator.set_payee(name_of(number), details(number))
    for pool in POOLS[1:]:
        opened = Pool(
            display_name=pool, currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS,
            distribute=DISTRIBUTE_RECEIVED,
        )  # fmt: skip
        operator.create_pool(pool, opened)
        operator.create_method(pool, METHOD, Method(display_name="n-gram votes", confidence_ppm=1_000_000))
    account = AccountDetails(holder="Moiety", town="Berlin", country="DE", currency="EUR", iban=OURS)
    pools = [f"pools/{pool}" for pool in POOLS]
    operator.set_bank_account("main", BankAccount(display_name="Moiety", details=account, pools=pools))
    for at, pool in enumerate(POOLS):
        usage = [
            event(COLLECTIVES * at + number, shares={name_of(number): 10**9}, units=1 + number % 7)
            for number in range(COLLECTIVES)
        ]
        scene.platform.submit_events(pool, usage, METHOD, batch_id="b")
        report(scene, bank, pool, POT, "r")
    report(scene, bank, POOL, CHARGED_BACK, "bounces", by="songbird")
    mistyped(scene, bank)
    operator.import_bank_file("main", bank.statement("2026-01-01"))
    for pool in POOLS:
        operator.calculate_round(pool, request_id="q")
    scene.deployment.clock.advance(days=3)


def report(scene: Scene, bank: Bank, pool: str, amount: int, request_id: str, *, by: str = "tunesmith") -> None:
    """A platform reports, and pays with the reference of its report."""
    platform = scene.deployment.client(f"platforms/{by}")
    said = platform.report_revenue(pool, amount, "EUR", request_id=request_id)
    bank.receive(amount, "2026-01-01", reference=said.payment_reference)


def mistyped(scene: Scene, bank: Bank) -> None:
    """A report is 10,000 times too high; it is taken back, and paid as it should have been."""
    wrong = scene.platform.report_revenue("jazz", 10_000 * MISTYPED, "EUR", request_id="mistyped")
    name = wrong.name.rpartition("/")[2].partition("~")
    scene.operator.reverse_report(
        "jazz", name[0], name[2], 10_000 * MISTYPED, request_id="mistyped", reason="the amount is in cents"
    )
    report(scene, bank, "jazz", MISTYPED, "as-it-is")


def killed_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, call: int) -> None:
    """Have a function be killed in one of its calls, within its transaction."""
    whole, calls = getattr(module, name), []

    def part(*given: Any) -> Any:
        done = whole(*given)
        calls.append(done)
        if len(calls) == call:
            raise KilledError
        return done

    monkeypatch.setattr(module, name, part)


def owed(client: Client) -> dict[str, int]:
    found: dict[str, int] = {}
    for pool in POOLS:
        for balance in client.list_balances(pool):
            account = balance.name.partition("/accounts/")[2]
            found[account] = found.get(account, 0) + balance.amount_minor
    return found


def approved(person: Client, name: str) -> None:
    """Have a second person approve what waits; a server that is killed meanwhile is asked again."""
    for _ in range(2):
        with suppress(ServiceError):
            person.approve_proposal(name)
            return
    raise AssertionError(name)


def taken_in(olive: Client, otto: Client, file: bytes) -> None:
    """One person has a bank's file taken in, and another approves it."""
    approved(otto, olive.import_bank_file("main", file).proposal)
    olive.import_bank_file("main", file)


def paid(olive: Client, otto: Client, paying: Paying, monkeypatch: pytest.MonkeyPatch) -> PayRun:
    """A run over three pools: the server is killed while it is approved, and again after the first pool's part."""
    proposed = olive.create_pay_run("january", "main", "2026-01-05")
    killed_once(monkeypatch, pay_runs, "_require_payees", call=1)
    approved(otto, proposed.proposal)
    killed_once(monkeypatch, pay_runs, "answer", call=2)
    with suppress(KilledError):
        paying.run_once()
    paying.run_once()
    run = olive.get_pay_run("january")
    assert (len(run.payments), list(run.waiting)) == (COLLECTIVES, [])
    return run


def require_verified(scene: Scene, tmp_path: Path) -> None:
    """Two verifiers follow a pool, and every pool's round is replayed."""
    sign(scene.deployment)
    bundle = tmp_path / f"{POOL}.tar"
    write_bundle(PoolSource(scene.deployment.client("auditors/ada"), POOL), bundle)
    verifier.verify(bundle)
    assert report_of(bundle, LOG_KEY.verifier_key).finding is None
    for pool in POOLS:
        assert scene.operator.replay_round(pool, 1).outcome == REPLAY_OUTCOME_MATCH


def require_equal(olive: Client, bank: Bank, run: PayRun) -> None:
    """Books and bank agree at the end of each statement, and everybody has what is theirs."""
    positions = olive.get_reconciliation("main").positions
    assert [each.difference_minor for each in positions] == [0, 0, 0]
    assert positions[-1].closing_minor == bank.balance
    balances = Counter(owed(olive))
    back = sum(payment.amount_minor for payment in run.payments[:RETURNED])
    whole = len(POOLS) * POT + CHARGED_BACK + MISTYPED

    def sum_of(kind: str) -> int:
        return sum(amount for account, amount in balances.items() if account.startswith(kind))

    assert sum_of("collective/") == back
    assert sum_of("paid/") == run.amount_minor - back
    assert sum_of("collective/") + sum_of("paid/") + balances["rounding"] + balances["commons"] == whole
    assert not sum_of("paying/")
    assert (balances["revenue"], balances["due/songbird"], balances["costs"]) == (-CHARGED_BACK, CHARGED_BACK, -1250)
    assert bank.balance == whole - CHARGED_BACK - 1250 - sum_of("paid/")


def test_a_month_ends_with_books_equal_to_the_bank_s_statement(
    deploy: Callable[..., Deployment],
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_key(tmp_path / "payee-key")
    scene = open_scene(deploy(payee_key_file=tmp_path / "payee-key"), distribute=DISTRIBUTE_RECEIVED)
    bank = Bank(OURS, "EUR")
    live(scene, bank)
    paying = scene.deployment.running.parts.paying
    scene.deployment.act(ControlsContent(controls=Controls.of_two()))
    olive, otto = (scene.deployment.client(f"operators/{name}") for name in ("olive", "otto"))

    run = paid(olive, otto, paying, monkeypatch)

    # Somebody forges a rejection of a payment that the bank makes.
    bank.take(olive.create_pay_run_file("january").content)
    taken_in(olive, otto, bank.status("january", [run.payments[0].end_to_end_id], "2026-01-04"))
    first = bank.statement("2026-01-05")
    with pytest.raises(FailedPreconditionError):  # the forged rejection has nobody paid again
        olive.create_pay_run("again", "main", "2026-01-06")

    # The server is killed while the statement is approved, and again after the first pool has booked it.
    proposed_file = olive.import_bank_file("main", first)
    killed_once(monkeypatch, bank_files, "require_following", call=1)
    approved(otto, proposed_file.proposal)
    killed_once(monkeypatch, bank_files, "book", call=2)
    with suppress(KilledError):
        paying.run_once()
    paying.run_once()

    for payment in run.payments[:RETURNED]:
        bank.give_back(payment.end_to_end_id, "2026-01-06")
    bank.charge(1250, "2026-01-06")
    (bounced,) = (each for each in olive.list_bank_lines("main") if each.amount_minor == CHARGED_BACK)
    told = f"<RmtInf><Strd><CdtrRefInf><Ref>{bounced.payment_reference}</Ref></CdtrRefInf></Strd></RmtInf>"
    bank.enter(-CHARGED_BACK, "2026-01-06", f"{told}<RtrInf><Rsn><Cd>MD06</Cd></Rsn></RtrInf>")
    with pytest.raises(FailedPreconditionError, match="the last one closed with"):
        olive.import_bank_file("main", bank.statement("2026-01-06", opening=10**9))
    taken_in(olive, otto, bank.statement("2026-01-06"))
    assert olive.import_bank_file("main", first).message_id == "S3"
    paying.run_once()

    require_equal(olive, bank, run)
    require_verified(scene, tmp_path)
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck"])
    assert caught.value.code == 0
