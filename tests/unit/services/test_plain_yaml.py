from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.cli.base import plain_yaml
from services.cli.base.exits import InputError
from services.cli.base.plain_yaml import MAX_DEPTH, MAX_REPEATED, parse_yaml, read_yaml


def refused(text: str) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        parse_yaml(text)
    (violation,) = caught.value.violations
    return violation.field, violation.description


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing", {}),
        ("a:", {"a": None}),
        ("a: ~\nb: null", {"a": None, "b": None}),
        ("a: true\nb: FALSE", {"a": True, "b": False}),
        ("a: [0, -7, 50000, 1234567890123456789]", {"a": [0, -7, 50000, 1234567890123456789]}),
        ("a: [no, yes, on, off, y, NO]", {"a": ["no", "yes", "on", "off", "y", "NO"]}),
        (
            "a: [2026-01-01, 10:30, 1.2.3, 0.x.example]",
            {"a": ["2026-01-01", "10:30", "1.2.3", "0.x.example"]},
        ),
        ("a: ['050000', \"0x10\", '1e3', 'true', '']", {"a": ["050000", "0x10", "1e3", "true", ""]}),
        ("no: 1\n12: 2\n050: 3\nnull: 4", {"no": 1, "12": 2, "050": 3, "null": 4}),
        ("a: |\n  050\n  x\n", {"a": "050\nx\n"}),
        ("{a: {}, b: []}", {"a": {}, "b": []}),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_it_is_read_by_the_rules_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    "number",
    ["050000", "0777777", "0o17", "0x64", "0b11", "+5", "1_000", "1e2", "1.0", "5.", ".5", "-010", "00", ".inf",
     "-.inf", ".nan", "1" * 41],
)  # fmt: skip
def test_a_number_that_is_no_plain_decimal_is_refused(number: str) -> None:
    assert refused(f"b: 1\na: {number}") == (
        "line 2",
        f"{number} is not an integer in plain decimal; put it in quotes if it is text",
    )


def test_a_number_of_more_than_64_bits_is_refused_by_its_line() -> None:
    assert parse_yaml(f"a: {2**63 - 1}\nb: {-(2**63)}") == {"a": 2**63 - 1, "b": -(2**63)}
    assert refused(f"b: 1\na: {2**63}") == ("line 2", f"{2**63} is too large")


@given(st.text("0123456789_+-.eExXoObBaAfFinIN:", min_size=1, max_size=8).filter(lambda text: "&" not in text))
def test_no_text_is_read_as_another_number_than_the_one_it_spells(text: str) -> None:
    """Rule: whatever either version of YAML takes for a number is that plain decimal number, or is refused."""
    try:
        found = parse_yaml(f"a: {text}\n")["a"]
    except InputError:
        return
    if isinstance(found, int):
        assert text.strip() == str(found) or (text == "-0" and found == 0)
    else:
        assert not isinstance(found, float)


def test_aliases_and_merges_are_what_they_stand_for() -> None:
    text = """
base: &base {a: 1, b: [x]}
same: *base
more: {<<: *base, b: 2}
both: {c: 3, <<: [{a: 7, d: 4}, *base]}
"""
    assert parse_yaml(text) == {
        "base": {"a": 1, "b": ["x"]},
        "same": {"a": 1, "b": ["x"]},
        "more": {"a": 1, "b": 2},
        "both": {"a": 7, "b": ["x"], "c": 3, "d": 4},
    }


def test_what_aliases_repeat_is_bounded() -> None:
    billion_laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        billion_laughs += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    assert refused(billion_laughs) == ("line 5", "aliases repeat more than 10,000 values")
    merged = "a: &a {a: x, b: x}\n" + "".join(f"k{place}: {{<<: *a}}\n" for place in range(MAX_REPEATED // 5))
    assert len(parse_yaml(merged)) == MAX_REPEATED // 5 + 1
    assert refused(merged + "z: *a\n")[1] == "aliases repeat more than 10,000 values"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\na: 2", "line 2", "'a' is repeated"),
        ("a: 1\n---\nb: 2", "line 2", "a second document starts; there may be only one"),
        ("a: !!int '7'", "line 1", "the tag tag:yaml.org,2002:int is not supported"),
        (
            "a: !!python/object/apply:os.system ['true']",
            "line 1",
            "the tag tag:yaml.org,2002:python/object/apply:os.sys",
        ),
        ("a: *b", "line 1", "the alias b does not refer to anything before it"),
        ("&a [*a]", "line 1", "the alias a does not refer to anything before it"),
        ("? [a]\n: 1", "line 1", "a key must be text"),
        ("&a [1]: 1\n", "line 1", "a key must be text"),
        ("- &a 7\n- *a : 1", "line 2", "a key must be text"),
        ("<<: [1]", "line 1", "what << merges must be mappings"),
        ('a: "\\ud800"', "line 1", "contains half of a surrogate pair, which is not a character"),
        ('a: "\\UFFFFFFFF"', "file", "is not YAML: Python int too large to convert to C int"),
        ("a: \x07", "file", "is not YAML: unacceptable character"),
        ("a: b: c", "line 1", "mapping values are not allowed here"),
        ("\ta: 1", "line 1", "found character '\\t' that cannot start any token"),
    ],
)
def test_what_is_odd_is_refused_by_its_line(text: str, line: str, reason: str) -> None:
    found = refused(text)
    assert found[0] == line
    assert found[1].startswith(reason)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_no_depth_ends_the_process(opening: str) -> None:
    assert parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert refused(opening * 100_000) == ("line 1", f"has more than {MAX_DEPTH} levels")


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path) == {"a": 1}
    monkeypatch.setattr(plain_yaml, "MAX_FILE_BYTES", 2**20)
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(InputError, match="is larger than 1 MiB"):
        read_yaml(path)
    with pytest.raises(InputError, match="Is a directory"):
        read_yaml(tmp_path)


def test_what_both_versions_read_alike_is_read_as_the_library_reads_it() -> None:
    text = (Path(__file__).parents[3] / "docs" / "examples" / "pool.yaml").read_text("utf-8")
    assert parse_yaml(text) == yaml.safe_load(text)
