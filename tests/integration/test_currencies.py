"""Money of currencies with no, three and four decimals: typed, shown, paid, taken in, exported and verified."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sepaxml.validation import try_valid_xml

from demo.bank import Bank
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from ledger.store.desk.vault import add_key
from moiety import Method, Policy, Pool
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.browsing import signed_in
from tests.support.deployment import Deployment
from tests.support.exports import report_of
from tests.support.fsck_scene import key_of, sign
from tests.support.independent import verifier
from tests.support.parquet_folder import read_table, run_export
from tests.support.scene import METHOD, NAMED_PLATFORMS, Scene, event, open_scene

pytestmark = pytest.mark.surface

DAY: Final = "2026-01-05"
_LOGGED: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")
"""How the server's own lines begin, which is in this process."""


@dataclass(frozen=True)
class Case:
    """A pool of a currency, in which a collective is paid, and 1,234,567 minor units as people write them."""

    currency: str
    collective: str
    written: str
    grouped: str
    one: str
    too_fine: str
    number: tuple[str, ...]
    ours: str

    @property
    def pool(self) -> str:
        return f"of-{self.currency.lower()}"

    @property
    def account(self) -> str:
        return f"in-{self.currency.lower()}"


CASES: Final = (
    Case("JPY", "irish", "1234567", "1,234,567", "1", "1.5", ("--account", "0012345", "--bic", "BOTKJPJT"), "9876543"),
    Case("KWD", "breton", "1234.567", "1,234.567", "0.001", "0.0001",
         ("--iban", "KW81CBKU0000000000001234560101"), "7654321"),
    Case("CLF", "scottish", "123.4567", "123.4567", "0.0001", "0.00001",
         ("--account", "99", "--bic", "BCHICLRM"), "1357911"),
)  # fmt: skip
WHOLE: Final = 1_234_567


@dataclass
class Desk:
    """An operator, a platform and a collective at a terminal and in a browser."""

    scene: Scene
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str, by: str = "operators/olive", text: bool = False, code: int = 0) -> Any:
        """What a command says."""
        deployment = self.scene.deployment
        reached = ["--address", deployment.address, "--api-key", deployment.key(by)] if by else []
        more = [*reached, *([] if text else ["--json"])]
        with pytest.raises(SystemExit) as caught:
            main([*arguments, *more])
        out, err = self.capsys.readouterr()
        assert caught.value.code == code, err
        said = "\n".join(line for line in out.splitlines() if not _LOGGED.match(line))
        return err if code else " ".join(said.split()) if text else json.loads(said)


@pytest.fixture
def desk(deploy: Callable[..., Deployment], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    key = tmp_path / "payee-key"
    add_key(key)
    scene = open_scene(deploy(payee_key_file=key))
    for case in CASES:
        pool = Pool(display_name=case.pool, currency=case.currency, policy=Policy(), platforms=NAMED_PLATFORMS)
        scene.operator.create_pool(case.pool, pool)
        scene.operator.create_method(case.pool, METHOD, Method(display_name="n-gram", confidence_ppm=1_000_000))
    return Desk(scene, capsys)


@contextmanager
def of(case: Case) -> Iterator[None]:
    """Say of which currency a fault is."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{case.currency}: {error}") from error


def test_money_of_any_currency_goes_all_the_way_round(
    desk: Desk, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    banks = {}
    for case in CASES:
        with of(case):
            banks[case] = paid_in(desk, case)
    for case in CASES:
        with of(case):
            accounts_named(desk, case)
    desk.scene.deployment.clock.advance(days=3)
    for case, bank in banks.items():
        with of(case):
            paid_out(desk, case, bank, tmp_path)
            typed_in_the_console(desk, case)
            proposed(desk, case)
    sign(desk.scene.deployment, [case.pool for case in CASES])
    for case in CASES:
        with of(case):
            stated(desk, case, tmp_path)
            exported(desk, case, tmp_path)
            assert report_of(bundle_of(desk, case, tmp_path), key_of(case.pool).verifier_key).finding is None
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck"])
    assert caught.value.code == 0


def paid_in(desk: Desk, case: Case) -> Bank:
    """A platform reports in major units and pays; the bank's statement has it, and a round gives all to one."""
    bank = Bank(case.ours, case.currency)
    named = ("--name", "Moiety", "--holder", "Moiety", "--town", "Town", "--country", "CH")
    kept = ("--currency", case.currency, "--pool", case.pool, "--number", case.ours, "--bic", "COBADEFFXXX")
    desk.run("bank", "account", case.account, *named, *kept)
    reported = ("revenue", "report", case.pool, "--request-id", "jan", "--currency", case.currency, "--amount")
    refused = desk.run(*reported, case.too_fine, by="platforms/tunesmith", code=2)
    assert f"decimals in {case.currency}" in refused
    said = desk.run(*reported, case.written, by="platforms/tunesmith", text=True)
    assert f"{case.written} {case.currency} reported" in said
    (report,) = desk.run("revenue", "list", case.pool)
    assert report["amount_minor"] == WHOLE
    bank.receive(WHOLE, DAY, reference=report["payment_reference"])
    taken(desk, case, bank.statement(DAY))
    used = event(1, shares={case.collective: 1_000_000_000})
    desk.scene.platform.submit_events(case.pool, [used], METHOD, batch_id="b")
    desk.scene.operator.calculate_round(case.pool, request_id="q")
    assert f"{case.written} {case.currency}" in desk.run("balance", case.pool, text=True)
    return bank


def taken(desk: Desk, case: Case, content: bytes) -> Any:
    return desk.scene.operator.import_bank_file(case.account, content)


def accounts_named(desk: Desk, case: Case) -> None:
    """A collective's account, with a smallest payment in major units."""
    asked = ("payee", "propose", case.collective, "--holder", "Trad", "--town", "Town", "--country", "KW")
    of_currency = ("--currency", case.currency, *case.number, "--smallest")
    assert f"decimals in {case.currency}" in desk.run(*asked, *of_currency, case.too_fine, code=2)
    desk.run(*asked, *of_currency, case.one)
    assert f"{case.one} {case.currency}" in desk.run("payee", "show", case.collective, text=True)
    assert desk.scene.operator.get_payee(case.collective).details.smallest_minor == 1


def paid_out(desk: Desk, case: Case, bank: Bank, tmp_path: Path) -> None:
    """A pay run that the bank rejects, a second one that it pays, and one unit of it that comes back."""
    shown = f"{case.written} {case.currency}"
    rejected = f"{case.currency.lower()}-no"
    assert shown in desk.run("payrun", "propose", case.account, rejected, "--day", DAY, text=True)
    file = desk.scene.operator.create_pay_run_file(rejected).content
    (order,) = desk.scene.operator.get_pay_run(rejected).payments
    bank.take(file, rejected=[order.end_to_end_id])
    taken(desk, case, bank.status(rejected, [order.end_to_end_id], DAY))
    taken(desk, case, bank.statement(DAY))
    assert shown in desk.run("held", "list", case.pool, text=True)
    run = case.currency.lower()
    desk.run("payrun", "propose", case.account, run, "--day", DAY)
    target = tmp_path / f"{run}.xml"
    desk.run("payrun", "file", run, "--out", str(target))
    written = target.read_bytes()
    try_valid_xml(written, "pain.001.001.09")
    assert f'<InstdAmt Ccy="{case.currency}">{case.written}<'.encode() in written
    assert f"<CtrlSum>{case.written}<".encode() in written
    table = desk.scene.operator.create_pay_run_file(run, csv=True).content.decode()
    (line,) = csv.DictReader(io.StringIO(table))
    assert (line["amount"], line["currency"]) == (case.written, case.currency)
    bank.take(written)
    assert bank.ordered[f"{run}-0000001"].amount_minor == WHOLE
    bank.give_back(f"{run}-0000001", DAY, kept=1)
    bank.receive(5, DAY)
    bank.enter(1, DAY, "")
    known = bank.entries[-1].partition("<AcctSvcrRef>")[2].partition("<")[0]
    payer = "<RmtInf><Strd><CdtrRefInf><Ref>X</Ref></CdtrRefInf></Strd></RmtInf>"
    told = f'<Amt Ccy="{case.currency}">{case.one}</Amt>{payer}'
    taken(desk, case, bank.notification(DAY, (known, 1, [told])))
    found = taken(desk, case, bank.statement(DAY))
    moved = [(each.kind, each.amount_minor) for each in found.bookings]
    assert moved == [("PAID", WHOLE), ("RETURNED", WHOLE - 1), ("UNMATCHED", 5), ("UNMATCHED", 1)], moved
    compared = desk.run("bank", "reconcile", case.account)
    assert [each["difference_minor"] for each in compared["positions"]] == [0, 0, 0]
    shown = desk.run("bank", "reconcile", case.account, text=True)
    assert f"UNMATCHED {case.one} {case.currency}" in shown
    assert f"{case.one} {case.currency}" in desk.run("bank", "lines", case.account, text=True)
    payments = desk.run("payment", "list", case.collective, by=f"collectives/{case.collective}", text=True)
    assert f"{case.written} {case.currency} RETURNED" in payments


def typed_in_the_console(desk: Desk, case: Case) -> None:
    """What an operator types in a form, and what pages show."""
    path = f"/pools/{case.pool}/money"
    browser = signed_in(desk.scene.deployment, "operators/olive")
    assert case.grouped in browser.open(path).text
    fields = {"act": "receive", "platform": "", "reference": "", "day": DAY, "note": "cash", "request_id": "form"}
    assert browser.send(path, headers=None, amount=case.too_fine, **fields).status == 409
    if case.currency == "KWD":
        assert "between thousands" in browser.send(path, headers=None, amount="1,234", **fields).alert
    shown = browser.send(path, headers=None, amount=case.written, **fields)
    assert f"{case.grouped}" in shown.text
    assert [each.amount_minor for each in desk.scene.operator.list_receipts(case.pool)] == [WHOLE]
    assert case.grouped in browser.open(f"/bank/{case.account}").text
    assert case.grouped in browser.open(f"/bank/runs/{case.currency.lower()}").text
    assert case.grouped in browser.open(f"/pools/{case.pool}/rounds/1").text
    own = signed_in(desk.scene.deployment, f"collectives/{case.collective}")
    assert case.grouped in own.open("/payments").text
    assert case.grouped in own.open(f"/pools/{case.pool}/rounds/1/statement").text
    paper = own.http.get(f"http://{own.address}/pools/{case.pool}/rounds/1/statement.pdf", timeout=60)
    assert paper.content.startswith(b"%PDF")


def proposed(desk: Desk, case: Case) -> None:
    """An operator sees what another one proposes, in major units."""
    operator, reviewer = desk.scene.operator, desk.scene.reviewer
    desk.scene.deployment.act(ControlsContent(controls=Controls.of_two()))
    run = operator.create_pay_run(f"{case.currency.lower()}-more", case.account, DAY).proposal
    shown = desk.run("proposal", "show", run, text=True, by="operators/otto")
    assert f"amount_minor {case.written} {case.currency}" in shown
    assert f"paid to {case.collective} {case.written} {case.currency}" in shown
    operator.withdraw_proposal(run, "seen")
    grown = operator.record_receipt(case.pool, WHOLE, request_id="more", note="cash").proposal
    shown = desk.run("proposal", "show", grown, text=True, by="operators/otto")
    assert re.search(rf"balance of unmatched \S+ {case.currency} \S+ {case.currency}", shown), shown
    reviewer.reject_proposal(grown, "seen")
    desk.scene.deployment.act(ControlsContent(controls=Controls.of_one()))


def stated(desk: Desk, case: Case, tmp_path: Path) -> None:
    """The collective's statement file, checked from the outside."""
    path = tmp_path / f"{case.currency}.json"
    path.write_bytes(desk.scene.deployment.client(f"collectives/{case.collective}").get_statement_file(case.pool, 1))
    said = desk.run("verify", str(path), "--key", str(key_of(case.pool).verifier_key), by="", text=True)
    assert f"{case.written} {case.currency}" in said


def bundle_of(desk: Desk, case: Case, tmp_path: Path) -> Path:
    bundle = tmp_path / f"{case.pool}.tar"
    write_bundle(PoolSource(desk.scene.deployment.client("auditors/ada"), case.pool), bundle)
    verifier.verify(bundle)
    return bundle


def exported(desk: Desk, case: Case, tmp_path: Path) -> None:
    """Tables in minor units, and books in major ones; `test_books` has tools read those."""
    folder = tmp_path / "exported"
    assert run_export(desk.scene.deployment, folder, "--parquet", "--beancount", pool=case.pool) == 0
    assert [row["amount_minor"] for row in read_table(folder, "reports", case.pool)] == [WHOLE]
    assert [row["amount_minor"] for row in read_table(folder, "allocations", case.pool) if row["amount_minor"]] == [
        WHOLE
    ]
    assert f"-{case.written} {case.currency}" in (folder / f"{case.pool}.beancount").read_text()
