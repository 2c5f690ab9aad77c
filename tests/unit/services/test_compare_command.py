"""`moiety audit compare`: where two bundles part, and what one has that the other lacks."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ledger.files.layout import BALANCES
from services.cli.app import main
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import export_folder
from tests.support.exports import PoolSource, bundle_of
from tests.support.pool_log import PoolLog
from tests.support.replay_history import HISTORY, PAYMENT, REVENUE


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["audit", "compare", *map(str, arguments)])
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code, out, _ = run(capsys, *arguments, "--json")
    return code, json.loads(out)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return bundle_of(HISTORY, tmp_path / "whole.tar")


def tampered(path: Path) -> Path:
    log: PoolLog = deepcopy(HISTORY)
    log.change(PAYMENT, amount_minor=90)
    (paid,) = log.journal[PAYMENT]
    log.journal[PAYMENT] = [paid.__class__(paid.from_account, paid.to_account, 90, paid.purpose)]
    return bundle_of(log, path)


def test_a_bundle_and_an_export_of_the_same_log_differ_in_nothing(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_folder(PoolSource(HISTORY), tmp_path / "folder")
    code, told = as_json(capsys, whole, tmp_path / "folder")
    assert (code, told["same"], told["parts"], told["difference_count"]) == (0, True, False, 0)
    assert [log["common_leaves"] for log in told["logs"]] == [HISTORY.size(), HISTORY.registry.size()]
    assert run(capsys, whole, tmp_path / "folder")[1].endswith("Nothing differs.\n")


def test_an_older_bundle_lacks_what_came_since_by_kind_round_and_money(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(PoolSource(HISTORY, size=PAYMENT), tmp_path / "old.tar")
    code, told = as_json(capsys, tmp_path / "old.tar", whole)
    assert (code, told["same"], told["parts"]) == (0, False, False)
    pool = told["logs"][0]
    assert (pool["common_leaves"], pool["a"]["leaves"]) == (PAYMENT, {})
    kinds = Counter(HISTORY.content(index).type for index in range(PAYMENT, HISTORY.size()))
    moved: Counter[str] = Counter()
    for index in range(PAYMENT, HISTORY.size()):
        for transfer in HISTORY.journal.get(index, []):
            moved[HISTORY.content(index).type] += transfer.amount_minor
    assert (pool["b"]["leaves"], pool["b"]["moved_minor"]) == (kinds, moved)
    payment = HISTORY.content(PAYMENT)
    paid = {"subject": "paid/eire", "figure": "balance", "a": "", "b": str(payment.amount_minor)}
    assert paid in told["balances"]
    assert told["rounds"] == []


def test_a_round_that_only_one_has_is_told_with_its_figures(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(PoolSource(HISTORY, size=9), tmp_path / "old.tar")
    _, told = as_json(capsys, tmp_path / "old.tar", whole)
    states = {each["subject"]: (each["a"], each["b"]) for each in told["rounds"] if each["figure"] == "state"}
    assert states == {"round 1": ("APPROVED", "POSTED"), "round 2": ("", "REJECTED"), "round 3": ("", "POSTED")}


def test_two_histories_part_at_a_leaf(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tampered(tmp_path / "other.tar")
    code, told = as_json(capsys, whole, other)
    assert (code, told["parts"]) == (1, True)
    assert [log["parts"] for log in told["logs"]] == [True, False]
    assert told["logs"][0]["common_leaves"] == PAYMENT
    assert {"subject": "paid/eire", "figure": "balance", "a": "100", "b": "90"} in told["balances"]
    code, out, _ = run(capsys, whole, other)
    assert code == 1
    assert f"THEY PART at leaf {PAYMENT}." in out
    assert "0.90 EUR" in out


def test_a_bundle_of_few_rounds_lacks_bodies(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = bundle_of(HISTORY, tmp_path / "few.tar", rounds=frozenset({3}))
    code, told = as_json(capsys, whole, few)
    assert (code, told["same"], told["parts"]) == (0, False, False)
    assert told["logs"][0]["a"]["bodies_missing_count"] == 0
    assert told["logs"][0]["b"]["bodies_missing_count"] > 0
    assert "B lacks" in run(capsys, whole, few)[1]


def test_entries_that_nobody_can_read_are_a_kind(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = HISTORY.entries[REVENUE].entry
    broken = tmp_path / "broken.tar"
    broken.write_bytes(whole.read_bytes().replace(entry, b"\x1b[2J".ljust(len(entry), b"["), 1))
    code, told = as_json(capsys, whole, broken)
    assert (code, told["logs"][0]["common_leaves"]) == (1, REVENUE)
    assert told["logs"][0]["b"]["leaves"]["unreadable"] == 1


def test_balances_are_compared_in_their_order_and_refused_in_another(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, edit in (
        ("more", lambda lines: [*lines, "zz/late,5"]),
        ("fewer", lambda lines: lines[:1] + lines[2:]),
        ("turned", lambda lines: [lines[0], lines[2], lines[1], *lines[3:]]),
        ("twice", lambda lines: [*lines[:2], *lines[1:]]),
    ):
        export_folder(PoolSource(HISTORY), tmp_path / name)
        file = tmp_path / name / BALANCES
        lines = file.read_text().splitlines()
        file.write_text("".join(f"{line}\n" for line in edit(lines)))
    assert as_json(capsys, whole, tmp_path / "more")[1]["balances"] == [
        {"subject": "zz/late", "figure": "balance", "a": "", "b": "5"}
    ]
    account, _, amount = lines[1].partition(",")
    assert as_json(capsys, whole, tmp_path / "fewer")[1]["balances"] == [
        {"subject": account, "figure": "balance", "a": amount, "b": ""}
    ]
    for name in ("turned", "twice"):
        code, _, error = run(capsys, whole, tmp_path / name)
        assert (code, "in the order of accounts" in error) == (2, True), error


def test_what_is_no_bundle_is_bad_input(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("no bundle")
    (tmp_path / "empty").mkdir()
    for other in ("text", "empty", "missing"):
        code, _, error = run(capsys, whole, tmp_path / other)
        assert (code, error.startswith("bundle: ")) == (2, True), other
