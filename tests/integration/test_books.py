"""The books are accepted by Beancount and hledger, with the service's balances, and not with any others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from beancount import loader
from beancount.core.data import Open
from beancount.core.data import Transaction as BeancountTransaction
from beancount.core.realization import realize

from ledger.money import minor_unit_exponent
from moiety import Policy, Pool
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED
from services.exports.books.beancount import Beancount
from services.exports.books.books import export_books, place_of
from services.exports.books.hledger import Hledger
from services.exports.source import PoolSource
from tests.support.deployment import Deployment
from tests.support.history import live, open_history
from tests.support.parquet_folder import run_export
from tests.support.scene import NAMED_PLATFORMS, POOL, Scene

pytestmark = pytest.mark.surface

HLEDGER: Final = shutil.which("hledger")
REQUIRED: Final = os.environ.get("MOIETY_REQUIRE_PEERS") == "1"

needs_hledger = pytest.mark.skipif(
    HLEDGER is None and not REQUIRED, reason="hledger is not installed (Debian and Homebrew call it hledger)"
)


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    scene = open_history(shared_deployment)
    live(scene, events=20)
    return scene


@pytest.fixture(scope="module")
def folder(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("books")
    assert run_export(scene.deployment, folder, "--beancount", "--hledger") == 0
    return folder


def debits(scene: Scene, pool: str = POOL, currency: str = "EUR") -> dict[str, Decimal]:
    """The service's balances as the tools count them, under their names in lower case."""
    exponent = minor_unit_exponent(currency)
    return {
        ":".join(place_of(balance.name.partition("/accounts/")[2])): Decimal(-balance.amount_minor).scaleb(-exponent)
        for balance in scene.operator.list_balances(pool)
    }


def in_beancount(path: Path) -> tuple[list[Any], list[Any]]:
    entries, errors, _ = loader.load_file(str(path))
    return entries, errors


def bean_check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("bean-check")), "--no-cache", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def hledger(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert HLEDGER, "MOIETY_REQUIRE_PEERS is set, and hledger is not installed"
    return subprocess.run([HLEDGER, "-f", str(path), *arguments], capture_output=True, text=True, check=False)


def hledger_balances(path: Path) -> dict[str, Decimal]:
    done = hledger(path, "balance", "--output-format=json", "--empty", "--flat")
    assert done.returncode == 0, done.stderr
    rows, _ = json.loads(done.stdout)
    found = {}
    for row in rows:
        quantities = [amount["aquantity"] for amount in row[3]]
        found[row[0]] = sum(
            (Decimal(each["decimalMantissa"]).scaleb(-each["decimalPlaces"]) for each in quantities), Decimal(0)
        )
    return found


def test_bean_check_accepts_the_books(folder: Path) -> None:
    done = bean_check(folder / f"{POOL}.beancount")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_beancounts_balances_are_the_services(scene: Scene, folder: Path) -> None:
    entries, errors = in_beancount(folder / f"{POOL}.beancount")
    assert errors == []
    root = realize(entries)  # type: ignore[no-untyped-call]
    found = {}
    for opened in (entry for entry in entries if isinstance(entry, Open)):
        account = root
        for part in opened.account.split(":"):
            account = account[part]
        amount = account.balance.get_currency_units("EUR")
        found[opened.account.lower()] = amount.number
    assert found == debits(scene)


def test_every_leaf_that_moved_money_is_a_transaction_that_names_it(scene: Scene, folder: Path) -> None:
    entries, _ = in_beancount(folder / f"{POOL}.beancount")
    found = [entry for entry in entries if isinstance(entry, BeancountTransaction)]
    moved = sorted({transfer.leaf_index for transfer in scene.operator.list_transfers(POOL)})
    assert sorted(int(entry.meta["leaf"]) for entry in found) == moved
    leaves = {leaf.index: leaf for leaf in scene.operator.list_leaves(POOL)}
    for entry in found:
        leaf = leaves[int(entry.meta["leaf"])]
        content = json.loads(leaf.entry)
        assert (entry.meta["hash"], entry.payee) == (leaf.hash.hex(), content["type"])
        assert entry.date == date.fromisoformat(content["time"][:10])


@needs_hledger
def test_hledger_check_accepts_the_books_in_its_strict_mode(folder: Path) -> None:
    done = hledger(folder / f"{POOL}.journal", "check", "--strict")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_hledger
def test_hledgers_balances_are_the_services(scene: Scene, folder: Path) -> None:
    assert hledger_balances(folder / f"{POOL}.journal") == debits(scene)


@needs_hledger
def test_hledger_finds_the_transactions_of_a_leaf(scene: Scene, folder: Path) -> None:
    (transfer, *_) = scene.operator.list_transfers(POOL)
    done = hledger(folder / f"{POOL}.journal", "print", f"tag:leaf=^{transfer.leaf_index}$", "--output-format=json")
    (found,) = json.loads(done.stdout)
    assert found["tcode"] == str(transfer.leaf_index)


def off_by_one_minor_unit(text: str, pattern: str) -> str:
    """The text with the last digit of the first amount after the pattern changed."""
    match = re.search(rf"{pattern}.*?(\d) ?(?:~ 0 )?EUR\n", text, re.DOTALL)
    assert match
    digit = str((int(match[1]) + 1) % 10)
    return text[: match.start(1)] + digit + text[match.end(1) :]


@pytest.mark.parametrize("pattern", [" open .*? balance ", r"\* \"report\.v1\""])
def test_beancount_refuses_books_that_are_a_cent_off(folder: Path, tmp_path: Path, pattern: str) -> None:
    changed = tmp_path / "changed.beancount"
    changed.write_text(off_by_one_minor_unit((folder / f"{POOL}.beancount").read_text(), pattern))
    assert bean_check(changed).returncode != 0


@needs_hledger
@pytest.mark.parametrize("pattern", [r"\* balances at .*? =", r"\* \(\d+\) report\.v1"])
def test_hledger_refuses_books_that_are_a_cent_off(folder: Path, tmp_path: Path, pattern: str) -> None:
    changed = tmp_path / "changed.journal"
    changed.write_text(off_by_one_minor_unit((folder / f"{POOL}.journal").read_text(), pattern))
    assert hledger(changed, "check", "--strict").returncode != 0


@pytest.mark.parametrize("currency", ["JPY", "KWD", "CLF"])
def test_books_have_the_currencys_decimals(scene: Scene, tmp_path: Path, currency: str) -> None:
    pool = f"of-{currency.lower()}"
    scene.operator.create_pool(
        pool,
        Pool(
            display_name=pool,
            currency=currency,
            policy=Policy(),
            distribute=DISTRIBUTE_REPORTED,
            platforms=NAMED_PLATFORMS,
        ),
    )
    scene.platform.report_revenue(pool, 1_234_567, currency, request_id="r")
    assert run_export(scene.deployment, tmp_path, "--beancount", "--hledger", pool=pool) == 0
    done = bean_check(tmp_path / f"{pool}.beancount")
    assert (done.returncode, done.stderr) == (0, "")
    if HLEDGER or REQUIRED:
        assert hledger(tmp_path / f"{pool}.journal", "check", "--strict").returncode == 0
        assert hledger_balances(tmp_path / f"{pool}.journal") == debits(scene, pool, currency)


def test_books_of_a_pool_without_money_are_accepted(scene: Scene, tmp_path: Path) -> None:
    scene.operator.create_pool(
        "empty", Pool(display_name="Empty", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    assert run_export(scene.deployment, tmp_path, "--beancount", "--hledger", pool="empty") == 0
    assert bean_check(tmp_path / "empty.beancount").returncode == 0
    if HLEDGER or REQUIRED:
        assert hledger(tmp_path / "empty.journal", "check", "--strict").returncode == 0


def test_a_clock_that_went_back_does_not_upset_the_books(
    deploy: Callable[..., Deployment], clock: Any, tmp_path: Path
) -> None:
    scene = open_history(deploy())
    for number, days in enumerate((0, 5, -9)):
        clock.advance(days=days)
        scene.pay_in(100, f"r-{number}")
    assert run_export(scene.deployment, tmp_path, "--beancount", "--hledger") == 0
    assert bean_check(tmp_path / f"{POOL}.beancount").returncode == 0
    if HLEDGER or REQUIRED:
        assert hledger(tmp_path / f"{POOL}.journal", "check", "--strict").returncode == 0


def test_balances_that_do_not_follow_from_the_log_are_refused(scene: Scene, tmp_path: Path) -> None:
    source = PoolSource(scene.operator, POOL)
    balances = scene.balances() | {"collective/irish": 1}
    written = export_books(source, balances, tmp_path, (Beancount(), Hledger()))
    assert bean_check(written[0].path).returncode != 0
    if HLEDGER or REQUIRED:
        assert hledger(written[1].path, "check").returncode != 0
