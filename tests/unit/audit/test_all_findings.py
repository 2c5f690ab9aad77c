"""A verification that goes on after its first finding, and the verdicts that a hostile bundle does not get."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from audit.findings import Finding, Where
from audit.steps import Step
from audit.verification.report import LISTED_MAX, Outcome, Report
from ledger.files.layout import JOURNAL
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.witness_policy import all_of
from payout.statement import parse_statement, render_statement
from tests.support.exports import KEY, bundle_of, report_of
from tests.support.pool_log import PoolLog
from tests.support.replay_history import BATCH, HISTORY, REPEATS, REVENUE, ROUND_2, ROUND_3


def every(log: PoolLog, path: Path, **asked: Any) -> Report:
    return report_of(bundle_of(log, path / "folk.tar"), keep_going=True, **asked)


def places(report: Report) -> list[tuple[int, str]]:
    return [(finding.where.leaf_index, finding.figure) for finding in report.findings]


def test_all_that_does_not_hold_is_listed_and_not_only_the_first(tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    log.change(REPEATS, accepted=8)
    log.change(ROUND_2, pot_minor=log.content(ROUND_2).pot_minor + 100)
    report = every(log, tmp_path)
    assert places(report) == [
        (REPEATS, "accepted"), (ROUND_2, "pot_minor"), (ROUND_2, "pot_minor"), (ROUND_2, "balance of revenue"),
    ]  # fmt: skip
    steps = [Step.BATCHES, Step.ROUNDS, Step.CONSERVATION, Step.BALANCES]
    assert [finding.step for finding in report.findings] == steps
    assert report.finding_count == len(report.findings)
    assert report_of(tmp_path / "folk.tar").findings == report.findings[:1]


def test_each_line_of_a_statement_that_is_wrong_is_listed_with_whose_money_it_is(tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    lines = parse_statement(log.body(bytes.fromhex(log.content(ROUND_3).statement_sha256)))
    wrong = [line._replace(attributed_minor=line.attributed_minor + 1) for line in lines[:2]]
    log.change(ROUND_3, statement_sha256=log.put(render_statement([*wrong, *lines[2:]])))
    report = every(log, tmp_path)
    told = [
        (report.consequences[finding].collective, report.consequences[finding].claimed)
        for finding in report.findings
        if finding.figure == "attributed_minor" and finding.where.line
    ]
    assert told == [(line.collective, f"{line.attributed_minor / 100:.2f} EUR") for line in wrong]
    assert all(
        report.consequences[finding].round == 3 for finding in report.findings if finding.where.leaf_index == ROUND_3
    )


def test_a_step_is_held_only_where_no_finding_of_another_kept_some_of_it_from_being_checked(tmp_path: Path) -> None:
    bundle = bundle_of(HISTORY, tmp_path / "folk.tar")
    body = HISTORY.bodies[bytes.fromhex(HISTORY.content(BATCH).body_sha256)]
    bundle.write_bytes(bundle.read_bytes().replace(body, bytes(len(body))))
    report = report_of(bundle, keep_going=True)
    assert report.outcome(Step.BODIES) is Outcome.FAILED
    assert report.outcome(Step.SIGNATURES) is Outcome.HELD
    assert report.outcome(Step.WEIGHTS) is Outcome.IN_PART
    assert report_of(bundle).outcome(Step.WEIGHTS) is Outcome.NOT_REACHED


def test_what_was_not_signed_as_it_must_be_is_checked_all_the_same(tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    log.change(ROUND_2, pot_minor=7)
    witness = SigningKey("w1.example", bytes([1] * 32), SignatureType.COSIGNATURE).verifier_key
    report = every(log, tmp_path, witnesses=(all_of([witness]),))
    assert places(report)[:2] == [(-1, "cosignatures"), (-1, "cosignatures")]
    assert (ROUND_2, "pot_minor") in places(report)
    assert report.outcome(Step.SIGNATURES) is Outcome.FAILED
    other = report_of(tmp_path / "folk.tar", SigningKey(KEY.name, bytes(32)).verifier_key, keep_going=True)
    assert places(other)[:2] == [(-1, "signature"), (-1, "signature")]
    assert other.signers == []
    assert (ROUND_2, "pot_minor") in places(other)


def test_after_a_broken_line_of_the_journal_the_next_ones_count_again(tmp_path: Path) -> None:
    bundle = bundle_of(HISTORY, tmp_path / "folk.tar")
    whole = bundle.read_bytes()
    line = f"{REVENUE},0,platform/acme,revenue,10000,REPORT\n".encode()
    assert whole.count(line) == 1
    bundle.write_bytes(whole.replace(line, line.replace(b"10000", b"90000")))
    report = report_of(bundle, keep_going=True)
    assert [(found.where.file, found.where.leaf_index) for found in report.findings] == [(JOURNAL, REVENUE)]


def test_the_same_request_twice_is_found_each_time(tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    first = log.content(REVENUE)
    again = [log.append(first) for _ in range(3)]
    for index in again:
        log.journal[index] = log.journal[REVENUE]
    report = every(log, tmp_path)
    assert [place for place in places(report) if place[1] == "request_id"] == [(index, "request_id") for index in again]


def test_findings_beyond_a_thousand_are_counted_and_the_first_of_each_kind_is_listed() -> None:
    report = Report(keep_going=True)
    found = Finding(Where(0), "pot_minor", "1", "2", Step.ROUNDS)
    for leaf in range(LISTED_MAX + 500):
        report.note(replace(found, where=replace(found.where, leaf_index=leaf)))
    report.note(replace(found, figure="other"))
    assert (report.finding_count, len(report.findings)) == (LISTED_MAX + 501, LISTED_MAX + 1)
    report.note(replace(found, figure="other"))
    assert report.finding_count == LISTED_MAX + 501


def test_the_registry_names_the_deployment_whose_key_signs(tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    founded = log.registry.content(0)
    log.registry.rewrite(0, founded.model_copy(update={"origin": "elsewhere.example"}))
    finding = report_of(bundle_of(log, tmp_path / "folk.tar")).finding
    assert finding is not None
    assert (finding.where.log, finding.where.leaf_index, finding.figure) == ("registry", 0, "origin")
    assert (finding.claimed, finding.expected) == ("elsewhere.example", "moiety.example")
