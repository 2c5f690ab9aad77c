"""What the bank paid, and what came back: a file shows a collective's own lines of it and no others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import rfc8785

from audit.statements.check import Check, check_statement
from tests.support.exports import KEY
from tests.support.statement_files import NODE, booked_in, booked_log, checked_by_node, statement_file

LOG: Final = booked_log()
FILE: Final = statement_file(LOG, 1, "eire")


def test_what_the_bank_paid_and_sent_back_is_told_with_its_reason() -> None:
    facts = check_statement(FILE.to_bytes(), KEY.verifier_key).facts
    assert (facts["paid_minor"], facts["payments"]) == ("407", 2)
    assert facts["returned"] == [{"amount_minor": "400", "day": "2026-03-05", "reason": "AC04 closed"}]
    if NODE is not None:
        (said,) = checked_by_node([FILE.to_bytes()], str(KEY.verifier_key))
        assert said["facts"] == facts


def test_another_line_of_the_bank_s_is_refused() -> None:
    paid, returned = FILE.booked
    forged = json.loads(returned.document)
    others = {
        "with another reason": (paid, replace(returned, document=rfc8785.dumps(forged | {"reason": "x"}))),
        "of another collective": (*FILE.booked, *booked_in(LOG, "han")),
        "twice": (paid, paid),
        "at another place": (replace(paid, position=1), returned),
        "of no entry of the bank's": (replace(paid, leaf_index=0), returned),
    }
    files = [replace(FILE, booked=booked).to_bytes() for booked in others.values()]
    failed = [check_statement(file, KEY.verifier_key).failed for file in files]
    assert failed == [Check.PAYMENTS] * len(others)
    if NODE is not None:
        assert [said["failed"] for said in checked_by_node(files, str(KEY.verifier_key))] == failed


def test_a_neighbour_s_line_is_not_in_the_file() -> None:
    file = FILE.to_bytes()
    assert b"march-2" not in file
    assert check_statement(replace(FILE, booked=FILE.booked[:1]).to_bytes(), KEY.verifier_key).facts["returned"] == []
