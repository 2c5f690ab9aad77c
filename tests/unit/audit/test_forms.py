"""JSON and checkpoints have one form each, the same for all that verify: Python, `verify.mjs` and a stranger."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from audit.statements.file import canonical_json
from ledger.errors import FormatError
from ledger.log.checkpoint import read_checkpoint
from ledger.log.notes import MAX_NOTE_BYTES
from services.printing import printable
from tests.support.forms import inside_node
from tests.support.independent import verifier
from tests.support.statement_files import NO_NODE, NODE

FOLDER: Final = Path(__file__).parents[2] / "vectors"
CANONICAL: Final[list[dict[str, Any]]] = json.loads((FOLDER / "canonical.json").read_text())
CHECKPOINTS: Final[list[dict[str, Any]]] = json.loads((FOLDER / "checkpoints.json").read_text())

needs_node = pytest.mark.skipif(NODE is None, reason=NO_NODE)


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


def is_read(read: Callable[[], object]) -> bool:
    with suppress(AssertionError, ValueError, FormatError, RecursionError):
        read()
        return True
    return False


@pytest.mark.parametrize("case", named(CANONICAL))
def test_python_reads_json_that_is_canonical_and_no_other(case: dict[str, Any]) -> None:
    assert is_read(lambda: canonical_json(case["text"].encode(), "text")) == case["holds"]


@pytest.mark.parametrize("case", named(CANONICAL))
def test_a_stranger_reads_json_that_is_canonical_and_no_other(case: dict[str, Any]) -> None:
    assert is_read(lambda: verifier.canonical(case["text"].encode())) == case["holds"]


@needs_node
def test_the_module_reads_json_that_is_canonical_and_no_other() -> None:
    call = "inside.parsed(inside.utf8(value), 'it') instanceof Object"
    found = inside_node("parsed, utf8", call, [case["text"] for case in CANONICAL])
    assert {case["name"]: each is True for case, each in zip(CANONICAL, found, strict=True)} == {
        case["name"]: case["holds"] for case in CANONICAL
    }


@pytest.mark.parametrize("case", named(CHECKPOINTS))
def test_python_reads_checkpoints_in_their_one_form(case: dict[str, Any]) -> None:
    assert is_read(lambda: read_checkpoint(case["text"].encode())) == case["holds"]


@pytest.mark.parametrize("case", named(CHECKPOINTS))
def test_a_stranger_reads_checkpoints_in_their_one_form(case: dict[str, Any]) -> None:
    assert is_read(lambda: verifier.checkpoint_of(case["text"].encode())) == case["holds"]


_CHECKPOINT: Final = "`${inside.checkpointOf(inside.noteOf(value, 'it').text).size}`"


@needs_node
def test_the_module_reads_checkpoints_in_their_one_form() -> None:
    found = inside_node("checkpointOf, noteOf", _CHECKPOINT, [case["text"] for case in CHECKPOINTS])
    assert {case["name"]: isinstance(each, str) for case, each in zip(CHECKPOINTS, found, strict=True)} == {
        case["name"]: case["holds"] for case in CHECKPOINTS
    }


@needs_node
@pytest.mark.parametrize("more", [0, 1])
def test_a_checkpoint_has_so_many_bytes_at_most(more: int) -> None:
    first, _, rest = CHECKPOINTS[0]["text"].partition("\n\n")
    text = f"{first}\n{'é' * ((MAX_NOTE_BYTES - len(first) - len(rest.encode()) - 4) // 2)}"
    text += "x" * (MAX_NOTE_BYTES + more - len(f"{text}\n\n{rest}".encode()))
    text += f"\n\n{rest}"
    assert len(text.encode()) == MAX_NOTE_BYTES + more
    assert is_read(lambda: read_checkpoint(text.encode())) == (not more)
    assert is_read(lambda: verifier.checkpoint_of(text.encode())) == (not more)
    assert isinstance(inside_node("checkpointOf, noteOf", _CHECKPOINT, [text])[0], str) == (not more)


@needs_node
def test_numbers_in_text_have_a_length_and_amounts_a_range() -> None:
    decimals = {"9" * 4300: True, f"-{'9' * 4300}": True, "9" * 4301: False, f"-{'9' * 4301}": False, "-0": False}
    amounts = {str(2**63 - 1): True, str(1 - 2**63): True, str(2**63): False, str(-(2**63)): False}
    fractions = {f"{'1' * 4300}/1": True, f"{'1' * 4301}/1": False, f"1/{'1' * 4301}": False, f"1/{'1' * 4300}": True}
    for form, texts in (("decimal", decimals), ("amount", amounts)):
        assert [is_read(lambda text=text, form=form: verifier.has_form(text, form)) for text in texts] == [  # type: ignore[misc]
            *texts.values()
        ]
        assert inside_node("VALUES", f"inside.VALUES.{form}(value)", [*texts]) == [*texts.values()]
    for name, texts in (("decimal", decimals), ("amountIn", amounts), ("fraction", fractions)):
        found = inside_node(name, f"inside.{name}(value) !== null", [*texts])
        assert [each is True for each in found] == [*texts.values()]


@needs_node
def test_the_module_escapes_the_characters_that_python_escapes() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    found = inside_node("utf8", "inside.printable(value)", every)
    # Unicode grows: what one of them does not know yet, the other may show.
    differ = [each for each, said in zip(every, found, strict=True) if said != printable(each)]
    assert [each for each in differ if unicodedata.category(each) != "Cn"] == []
    assert found[ord("\n")] == "\\n"
    assert [found[code] for code in (0x1B, 0x61C, 0x200F, 0x2062, 0xFEFF, 0xE0041)] == [
        "\\x1b", "\\u061c", "\\u200f", "\\u2062", "\\ufeff", "\\U000e0041",
    ]  # fmt: skip
    assert [found[ord(each)] for each in " é日\u200c\u200d\\\"'"] == [*" é日\u200c\u200d\\\"'"]
