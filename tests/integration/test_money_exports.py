"""Money that comes in, goes back and is matched, as tables for analysts and as books for accountants."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from demo.bank import Bank
from moiety import BankLinePart
from tests.support.deployment import Deployment
from tests.support.parquet_folder import read_table, run_export
from tests.support.paying import OURS, pay_scene
from tests.support.scene import POOL

DAY: Final = "2026-01-05"


def test_every_entry_about_money_that_comes_in_is_exported(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    scene = pay_scene(deploy, tmp_path)
    operator, bank = scene.operator, Bank(OURS, "EUR", balance=1000)
    report = scene.platform.report_revenue(POOL, 300, "EUR", request_id="jan", period="2026-01", income_minor=9_000)
    operator.reverse_report(POOL, "tunesmith", "jan", 100, request_id="v1", reason="typing error")
    operator.record_receipt(POOL, 50, request_id="m1", payment_reference="from uncle")
    operator.match_receipt(POOL, "m1", "tunesmith", request_id="m2")
    operator.reverse_receipt(POOL, "m1", 20, request_id="v2", reason="no cover", chargeback=True)
    bank.receive(60, DAY, reference=report.payment_reference)
    bank.receive(5, DAY)
    bank.charge(7, DAY)
    operator.import_bank_file("main", bank.statement(DAY))
    (unknown,) = operator.list_bank_lines("main", only_open=True)
    whose = BankLinePart(pool=f"pools/{POOL}", platform="platforms/songbird", amount_minor=5)
    operator.match_bank_line("main", unknown.name.rpartition("/")[2], [whose])

    operator.waive_report(POOL, "songbird", "2026-02", reason="bankrupt")
    operator.set_tariff(POOL, "2026-Q1", platform="songbird", share_ppm=20_000, minimum_minor=100)
    operator.set_tariff(POOL, "2026-01", rate_minor=3, rate_units=1_000)

    folder = tmp_path / "exported"
    assert run_export(scene.deployment, folder, "--parquet", "--beancount", "--hledger") == 0

    def rows(table: str, *columns: str) -> list[tuple[object, ...]]:
        return [tuple(row[name] for name in columns) for row in read_table(folder, table, POOL)]

    assert rows("reports", "request_id", "period", "amount_minor", "income_minor", "payment_reference")[1:] == [
        ("jan", "2026-01", 300, 9_000, report.payment_reference)
    ]
    assert rows("receipts", "request_id", "platform", "amount_minor", "payment_reference")[1:] == [
        ("m1", "", 50, "from uncle")
    ]
    assert rows("matches", "request_id", "platform", "amount_minor") == [("m2", "tunesmith", 50)]
    assert rows("reversals", "request_id", "of", "amount_minor", "chargeback", "reason") == [
        ("v1", "report.v1", 100, False, "typing error"), ("v2", "receipt.v1", 20, True, "no cover"),
    ]  # fmt: skip
    assert rows("bookings", "ordinal", "kind", "subject", "amount_minor", "cost_minor") == [
        (0, "RECEIVED", "tunesmith", 60, 0), (1, "UNMATCHED", "", 5, 0), (2, "CHARGE", "", 7, 0),
        (0, "FREED", "", 5, 0), (1, "RECEIVED", "songbird", 5, 0),
    ]  # fmt: skip
    assert rows("waivers", "platform", "period", "reason", "by") == [
        ("songbird", "2026-02", "bankrupt", "operators/olive")
    ]
    columns = ("platform", "version", "period_from", "share_ppm", "rate_minor", "rate_units", "minimum_minor", "by")
    assert rows("tariffs", *columns) == [
        ("songbird", 1, "2026-Q1", 20_000, 0, 0, 100, "operators/olive"),
        ("", 1, "2026-01", 0, 3, 1_000, 0, "operators/olive"),
    ]
    checks = [[str(Path(sys.executable).with_name("bean-check")), "--no-cache", str(folder / f"{POOL}.beancount")]]
    if shutil.which("hledger"):
        checks.append(["hledger", "-f", str(folder / f"{POOL}.journal"), "check", "--strict"])
    for command in checks:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
