"""Witnesses, quorums and changes of the key: the vectors in signers.json, on which both verifiers agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.support.signing_cases import Case, signing_cases
from tests.support.statement_files import NO_NODE, NODE, node_says

FOLDER: Final = Path(__file__).parents[2] / "vectors"


def read_vectors() -> list[Case]:
    """The cases of signers.json."""
    said = json.loads((FOLDER / "signers.json").read_text())
    cases = []
    for each in said["cases"]:
        lists = {name: tuple(each[name]) for name in ("witnesses", "policies", "changes")}
        cases.append(Case(**{**each, **lists, "file": said["files"][each["file"]]}))
    return cases


VECTORS: Final = read_vectors()


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case.name)
def test_each_case_is_held_or_refused(case: Case) -> None:
    report = case.check()
    assert report.failed == case.failed, report.reason


def test_the_committed_cases_are_those_that_are_made() -> None:
    assert signing_cases() == VECTORS


@pytest.mark.skipif(NODE is None, reason=NO_NODE)
def test_the_module_says_the_same_of_each_case() -> None:
    found = node_says([case.document() for case in VECTORS])
    assert {case.name: said["failed"] for case, said in zip(VECTORS, found, strict=True)} == {
        case.name: case.failed for case in VECTORS
    }


@pytest.mark.skipif(NODE is None, reason=NO_NODE)
def test_both_refuse_a_change_with_any_byte_changed() -> None:
    (change,) = (case for case in VECTORS if case.name == "a change to the key that signs")
    changed = []
    for at, character in enumerate(change.changes[0]):
        text = change.changes[0]
        other = chr(ord(character) ^ 1)
        changed.append(replace(change, changes=(text[:at] + other + text[at + 1 :],)))
    assert [at for at, case in enumerate(changed) if case.check().holds] == []
    assert [at for at, said in enumerate(node_says([case.document() for case in changed])) if said["holds"]] == []
