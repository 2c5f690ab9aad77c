"""What adjustments made of a line: a file shows a collective's own lines of them and no others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import rfc8785

from audit.statements.check import Check, check_statement
from audit.statements.file import EntryLine, StatementFile, is_statement_file
from tests.support.exports import KEY
from tests.support.statement_files import NODE, adjusted_in, adjusted_log, booked_log, checked_by_node, statement_file

LOG: Final = adjusted_log()
FILE: Final = statement_file(LOG, 1, "eire")


def test_what_adjustments_made_of_the_amount_is_told_with_old_new_and_reason() -> None:
    report = check_statement(FILE.to_bytes(), KEY.verifier_key)
    assert report.holds, report
    first, second = report.facts["adjusted"]
    assert first == {"old_minor": report.facts["amount_minor"], "new_minor": "520", "reason": "it was wrong"}
    assert (second["old_minor"], second["new_minor"]) == ("520", report.facts["adjusted_minor"])
    assert is_statement_file(FILE.to_bytes()[:40])
    if NODE is not None:
        (said,) = checked_by_node([FILE.to_bytes()], str(KEY.verifier_key))
        assert said["facts"] == report.facts


def forged(line: EntryLine, **said: str) -> EntryLine:
    return replace(line, document=rfc8785.dumps(json.loads(line.document) | said))


def test_a_line_that_is_another_s_or_does_not_go_on_is_refused() -> None:
    first, second = FILE.adjusted
    neighbours = adjusted_in(LOG, 1, "han")
    others = {
        "with another amount": (first, forged(second, new_minor="9999")),
        "of another account": (first, forged(second, account="held/eire")),
        "of another collective": (first, neighbours[1]),
        "twice": (first, first),
        "out of order": (second, first),
        "left out": (second,),
        "at another place": (replace(first, position=1 - first.position), second),
        "of no adjustment": (first, replace(second, leaf_index=0)),
        "with another salt": (first, replace(second, salt=first.salt[::-1])),
    }
    files = [replace(FILE, adjusted=adjusted).to_bytes() for adjusted in others.values()]
    failed = [check_statement(file, KEY.verifier_key).failed for file in files]
    assert failed == [Check.ADJUSTMENTS] * len(others)
    if NODE is not None:
        assert [said["failed"] for said in checked_by_node(files, str(KEY.verifier_key))] == failed


def test_an_adjustment_that_is_left_out_before_another_is_missed() -> None:
    """The second one says what the first made of the amount."""
    first, second = FILE.adjusted
    left = [each for each in FILE.pool.entries if json.loads(each.entry)["index"] != first.leaf_index]
    file = replace(FILE, adjusted=(second,), pool=replace(FILE.pool, entries=tuple(left))).to_bytes()
    report = check_statement(file, KEY.verifier_key)
    assert report.failed is not None


def test_a_neighbour_s_line_is_not_in_the_file_and_cannot_be_guessed() -> None:
    """Its amounts are hidden by a salt that the entry does not have."""
    (line, _), (own, _) = adjusted_in(LOG, 1, "han"), FILE.adjusted
    file = FILE.to_bytes()
    assert line.document not in file
    assert line.salt.hex().encode() not in file
    assert own.salt != line.salt


def test_a_file_of_a_round_without_adjustments_says_so() -> None:
    file: StatementFile = statement_file(booked_log(), 1, "eire")
    facts = check_statement(file.to_bytes(), KEY.verifier_key).facts
    assert (facts["adjusted"], facts["adjusted_minor"]) == ([], facts["amount_minor"])
