"""A month of many collectives: paid, returned, charged, imported twice, with a server that is killed in between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from schwifty import IBAN

from ledger.store.vault import add_key
from moiety import AccountDetails, BankAccount, Client, Collective, Method, Policy, Pool, ServiceError
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED
from payout.store import bank_files, pay_runs
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.bank import Bank
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


class KilledError(Exception):
    """The server is killed here."""


def name_of(number: int) -> str:
    return f"collective-{number:03d}"


def details(number: int) -> AccountDetails:
    iban = str(IBAN.generate("DE", bank_code="37040044", account_code=f"{number:010d}"))
    return AccountDetails(holder=f"Collective {number}", town="Town", country="DE", currency="EUR", iban=iban)


def live(scene: Scene) -> None:
    """Everyone is registered, has an account, and is owed something by every pool."""
    operator = scene.operator
    for number in range(COLLECTIVES):
        operator.create_collective(name_of(number), Collective(display_name=name_of(number), members=number))
        operator.set_payee(name_of(number), details(number))
    for at, pool in enumerate(POOLS):
        if pool != POOL:
            opened = Pool(
                display_name=pool,
                currency="EUR",
                policy=Policy(),
                platforms=NAMED_PLATFORMS,
                distribute=DISTRIBUTE_REPORTED,
            )
            operator.create_pool(pool, opened)
            operator.create_method(pool, METHOD, Method(display_name="n-gram votes", confidence_ppm=1_000_000))
        usage = [
            event(COLLECTIVES * at + number, shares={name_of(number): 10**9}, units=1 + number % 7)
            for number in range(COLLECTIVES)
        ]
        scene.platform.submit_events(pool, usage, METHOD, batch_id="b")
        scene.platform.report_revenue(pool, POT, "EUR", request_id="r")
        operator.calculate_round(pool, request_id="q")
    account = AccountDetails(holder="Moiety", town="Berlin", country="DE", currency="EUR", iban=OURS)
    pools = [f"pools/{pool}" for pool in POOLS]
    opening = POT * len(POOLS)
    operator.set_bank_account(
        "main", BankAccount(display_name="Moiety", details=account, pools=pools, opening_minor=opening)
    )
    scene.deployment.clock.advance(days=3)


def killed_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have a function be killed in its second call, within its transaction."""
    whole, calls = getattr(module, name), []

    def part(*given: Any) -> Any:
        done = whole(*given)
        calls.append(done)
        if len(calls) == 2:
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


def test_a_month_ends_with_books_equal_to_the_bank_s_statement(
    deploy: Callable[..., Deployment],
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_key(tmp_path / "payee-key")
    scene = open_scene(deploy(payee_key_file=tmp_path / "payee-key"))
    live(scene)
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=POT * len(POOLS))

    killed_once(monkeypatch, pay_runs, "answer")
    with suppress(ServiceError):
        operator.create_pay_run("january", "main", "2026-01-05")
    scene.deployment.running.parts.paying.run_once()
    run = operator.get_pay_run("january")
    assert (len(run.payments), list(run.waiting)) == (COLLECTIVES, [])
    bank.take(operator.create_pay_run_file("january").content)
    first = bank.statement("2026-01-05")

    killed_once(monkeypatch, bank_files, "book")
    with suppress(ServiceError):
        operator.import_bank_file("main", first)
    operator.import_bank_file("main", first)
    for payment in run.payments[:RETURNED]:
        bank.give_back(payment.end_to_end_id, "2026-01-06")
    bank.charge(1250, "2026-01-06")
    operator.import_bank_file("main", bank.statement("2026-01-06"))
    assert operator.import_bank_file("main", first).message_id == "S1"

    positions = operator.get_reconciliation("main").positions
    assert [(each.closing_minor, each.difference_minor) for each in positions] == [
        (each.closing_minor, 0) for each in positions
    ]
    assert positions[-1].closing_minor == bank.balance
    balances = owed(operator)
    back = sum(payment.amount_minor for payment in run.payments[:RETURNED])
    assert sum(amount for account, amount in balances.items() if account.startswith("collective/")) == back
    assert not any(amount for account, amount in balances.items() if account.startswith("paying/"))
    assert balances["costs"] == -1250

    sign(scene.deployment)
    bundle = tmp_path / "folk.tar"
    write_bundle(PoolSource(scene.deployment.client("auditors/ada"), POOL), bundle)
    verifier.verify(bundle)
    assert report_of(bundle, LOG_KEY.verifier_key).finding is None
    assert operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck"])
    assert caught.value.code == 0
