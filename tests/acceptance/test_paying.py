"""A month of many collectives: paid, returned, charged, imported twice, with a server that is killed in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from schwifty import IBAN

from demo.bank import Bank
from ledger.acts.collectives import collective_content, render_domains
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent, PayeeContent
from ledger.registry import Collective
from ledger.store.desk.vault import add_key
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.transactions import read_time
from moiety import (
    AccountDetails,
    BankAccount,
    BankFile,
    Client,
    FailedPreconditionError,
    Method,
    PayRun,
    Policy,
    Pool,
    ServiceError,
)
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED
from payout.payments.details import AccountDetails as Details
from payout.payments.details import SaltedDetails
from payout.store.payees import put_details
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.books import wait_until, waiting_backends
from tests.support.deployment import FOUNDERS, Deployment, SteppedClock
from tests.support.exports import report_of
from tests.support.fsck_scene import LOG_KEY, sign
from tests.support.independent import verifier
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, event, open_scene
from tests.support.server_process import ServerProcess, serve_at

COLLECTIVES: Final = 500
POOLS: Final = (POOL, "jazz", "soul")
OURS: Final = "DE89370400440532013000"
POT: Final = 1_000_003
RETURNED: Final = COLLECTIVES * 3 // 100
CHARGED_BACK: Final = 40_000
"""What a platform paid and its bank took back, after it was distributed."""
MISTYPED: Final = 12_345
"""What a platform meant to report when it typed 10,000 times as much."""


def name_of(number: int) -> str:
    return f"collective-{number:03d}"


def details(number: int) -> Details:
    iban = str(IBAN.generate("DE", bank_code="37040044", account_code=f"{number:010d}"))
    return Details(holder=f"Collective {number}", town="Town", country="DE", currency="EUR", iban=iban)


def register(deployment: Deployment) -> None:
    """Everyone is a collective with an account; in one transaction, which is what makes this month short."""
    parts = deployment.running.parts
    with parts.database.transaction() as connection:
        now = read_time(connection)
        log.put_body(connection, REGISTRY, render_domains(()))
        for number in range(COLLECTIVES):
            name = name_of(number)
            collective = collective_content(Collective(name, name, members=number))
            parts.acts.perform(connection, REGISTRY, collective, FOUNDERS[0].actor)
            salted = SaltedDetails(sha256(name.encode()).digest(), details(number))
            details_hash = put_details(connection, parts.vault, f"collectives/{name}", salted, now)
            payee = PayeeContent(collective=name, details_hash=details_hash)
            parts.acts.perform(connection, REGISTRY, payee, FOUNDERS[0].actor)


def live(scene: Scene, bank: Bank) -> None:
    """Everyone is registered and has an account; what platforms report arrives at the bank, and is distributed."""
    operator = scene.operator
    register(scene.deployment)
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


def owed(client: Client) -> dict[str, int]:
    found: dict[str, int] = {}
    for pool in POOLS:
        for balance in client.list_balances(pool):
            account = balance.name.partition("/accounts/")[2]
            found[account] = found.get(account, 0) + balance.amount_minor
    return found


def killed(owner: sa.Engine, process: ServerProcess, held: str, call: Callable[[Client], object], who: str) -> None:
    """Kill the server where a call waits in its transaction for what is held; then start it again."""
    with Client(process.address, who, timeout_seconds=10) as person, ThreadPoolExecutor(1) as threads:
        with owner.connect() as connection:
            connection.execute(sa.text(held))
            asked = threads.submit(call, person)
            wait_until(lambda: waiting_backends(owner))
            process.kill()
            connection.rollback()
        with pytest.raises(ServiceError):
            asked.result()
    process.start()


INSERTS_INTO: Final = "LOCK TABLE {} IN SHARE MODE"
"""The decision has its leaf, and waits with the row that goes with it."""
HEAD_OF_JAZZ: Final = "SELECT 1 FROM head JOIN pool USING (pool_id) WHERE pool.name = 'jazz' FOR UPDATE OF head"
"""The first of the pools has done its part, and the second begins."""


def done_despite_kills(
    owner: sa.Engine, process: ServerProcess, people: tuple[str, str], table: str, ask: Callable[[Client], Any]
) -> Any:
    """Something that one person asks for and another approves, with a server that is killed at both; then all is asked
    again. Gives what the last answer says.
    """
    olive, otto = people
    with Client(process.address, olive) as person:
        proposal = ask(person).proposal

    def approve(person: Client) -> object:
        return person.approve_proposal(proposal)

    killed(owner, process, INSERTS_INTO.format(table), approve, otto)
    with Client(process.address, olive) as person:
        assert ask(person).proposal == proposal
    with Client(process.address, otto) as person:
        approve(person)
    killed(owner, process, HEAD_OF_JAZZ, ask, olive)
    with Client(process.address, olive) as person:
        return ask(person)


def taken_in(olive: Client, otto: Client, file: bytes) -> None:
    """One person has a bank's file taken in, and another approves it."""
    otto.approve_proposal(olive.import_bank_file("main", file).proposal)
    olive.import_bank_file("main", file)


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
    owner: sa.Engine,
    clock: SteppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key_file = tmp_path / "payee-key"
    add_key(key_file)
    scene = open_scene(deploy(payee_key_file=key_file), distribute=DISTRIBUTE_RECEIVED)
    bank = Bank(OURS, "EUR")
    live(scene, bank)
    scene.deployment.act(ControlsContent(controls=Controls.of_two()))
    keys = scene.deployment.key("operators/olive"), scene.deployment.key("operators/otto")
    more = {"MOIETY_PAYEE_KEY_FILE": str(key_file)}
    with (
        ServerProcess(database_url, command=serve_at(clock), more=more) as process,
        Client(scene.deployment.address, keys[0]) as olive,
        Client(scene.deployment.address, keys[1]) as otto,
    ):

        def pay(person: Client) -> PayRun:
            return person.create_pay_run("january", "main", "2026-01-05")

        run = done_despite_kills(owner, process, keys, "pay_run", pay)
        assert (len(run.payments), list(run.waiting)) == (COLLECTIVES, [])

        # Somebody forges a rejection of a payment that the bank makes.
        bank.take(olive.create_pay_run_file("january").content)
        taken_in(olive, otto, bank.status("january", [run.payments[0].end_to_end_id], "2026-01-04"))
        first = bank.statement("2026-01-05")
        with pytest.raises(FailedPreconditionError):  # the forged rejection has nobody paid again
            olive.create_pay_run("again", "main", "2026-01-06")

        def take_in(person: Client) -> BankFile:
            return person.import_bank_file("main", first)

        taken = done_despite_kills(owner, process, keys, "bank_message", take_in)
        assert Counter(each.kind for each in taken.bookings) == {"PAID": COLLECTIVES}

        for payment in run.payments[:RETURNED]:
            bank.give_back(payment.end_to_end_id, "2026-01-06")
        bank.charge(1250, "2026-01-06")
        (bounced,) = (each for each in olive.list_bank_lines("main") if each.amount_minor == CHARGED_BACK)
        told = f"<RmtInf><Strd><CdtrRefInf><Ref>{bounced.payment_reference}</Ref></CdtrRefInf></Strd></RmtInf>"
        bank.enter(-CHARGED_BACK, "2026-01-06", f"{told}<RtrInf><Rsn><Cd>MD06</Cd></Rsn></RtrInf>")
        with pytest.raises(FailedPreconditionError, match="the last one closed with"):
            olive.import_bank_file("main", bank.statement("2026-01-06", opening=10**9))
        taken_in(olive, otto, bank.statement("2026-01-06"))
        assert olive.import_bank_file("main", first).message_id == taken.message_id

        require_equal(olive, bank, run)
    require_verified(scene, tmp_path)
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck"])
    assert caught.value.code == 0
