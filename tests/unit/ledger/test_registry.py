"""Who takes part, by example: the form of ids, and the bounds of everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.registry import (
    MAX_EQUITY_PPM,
    MAX_MEMBERS,
    PPM,
    Collective,
    CollectiveStatus,
    Platform,
    require_range,
    require_request_id,
    require_resource_id,
    require_text,
)
from ledger.usage.methods import Method, ScoreKind, ScoreOrder, ScoreRule, content_of, method_of


def field_refused(kind: Callable[..., object], *values: Any, **more: Any) -> str:
    with pytest.raises(InvalidInputError) as refused:
        kind(*values, **more)
    (violation,) = refused.value.violations
    return violation.field


@pytest.mark.parametrize("identity", ["a", "z9", "a-b", "a--b", "folk-1970", "a" * 63])
def test_a_resource_id_is_taken(identity: str) -> None:
    assert require_resource_id(identity, "pool_id") == identity


@pytest.mark.parametrize(
    "identity",
    ["", "1a", "-a", "a-", "A", "aB", "a_b", "a.b", "a b", "a/b", "a~b", "a" * 64, "a\n", "é", "a\u0301", "\uff41",
     "a\0", "*"],
)  # fmt: skip
def test_what_is_no_resource_id_is_refused_by_its_field(identity: str) -> None:
    assert field_refused(require_resource_id, identity, "pool_id") == "pool_id"


def test_a_refused_id_is_quoted_in_part() -> None:
    with pytest.raises(InvalidInputError) as refused:
        require_resource_id("X" * 100_000, "pool_id")
    assert "'" + "X" * 80 + "'" in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("identity", ["a", "A-1", "0", ".", "_", "2026-01.batch_7", "x" * 128])
def test_a_request_id_is_taken(identity: str) -> None:
    assert require_request_id(identity, "batch_id") == identity


@pytest.mark.parametrize(
    "identity", ["", "x" * 129, "a b", "a~b", "a/b", "a:b", "fire:2026", "é", "a\n", "\uff10", "a\0"]
)
def test_what_is_no_request_id_is_refused_by_its_field(identity: str) -> None:
    assert field_refused(require_request_id, identity, "batch_id") == "batch_id"


@pytest.mark.parametrize("text", ["", "é" * 5, "a b", "\u3042", "🎵"])
def test_a_text_is_taken(text: str) -> None:
    assert require_text(text, "note", most=5) == text


@pytest.mark.parametrize("text", ["x" * 6, "a\nb", "a\tb", "\0", "\x1f", "\x7f", "\x85", "\r"])
def test_a_text_that_is_too_long_or_holds_control_characters_is_refused(text: str) -> None:
    assert field_refused(require_text, text, "note", most=5) == "note"


@pytest.mark.parametrize(
    "text", ["acme\u202e", "\u2067a", "a\u2066b", "a\u200bb", "a\u2060b", "\ufeffa", "a\u2064", "a\u2028b", "\u2029"]
)
def test_a_text_that_would_not_show_as_what_it_is_is_refused(text: str) -> None:
    assert field_refused(require_text, text, "note", most=5) == "note"


@pytest.mark.parametrize(
    "text", ["\u0645\u06cc\u200c\u062e", "\u05d0\u200e1", "\u0915\u094d\u200d", "\U0001f469\u200d\U0001f4bb"]
)
def test_marks_and_joiners_that_scripts_need_are_taken(text: str) -> None:
    assert require_text(text, "note", most=5) == text


def test_a_text_may_have_to_be_there() -> None:
    assert field_refused(require_text, "", "reason", most=5, least=1) == "reason"
    assert require_text("x", "reason", most=5, least=1) == "x"


def test_a_range_includes_its_bounds() -> None:
    assert [require_range(value, "x", -1, 2) for value in (-1, 0, 1, 2)] == [-1, 0, 1, 2]
    for value in (-2, 3):
        assert field_refused(require_range, value, "x", -1, 2) == "x"


def test_a_platform_has_a_sound_id_and_a_name_for_people() -> None:
    assert Platform("acme", "n" * 200).created_at is None
    assert field_refused(Platform, "Acme", "Acme") == "platform_id"
    assert field_refused(Platform, "acme", "") == "platform.display_name"
    assert field_refused(Platform, "acme", "n" * 201) == "platform.display_name"


def test_a_collective_has_members_and_equity_within_bounds() -> None:
    plain = Collective("eire", "Éire")
    assert (plain.members, plain.equity_ppm, plain.status) == (0, 1_000_000, CollectiveStatus.ACTIVE)
    largest = Collective("eire", "Éire", MAX_MEMBERS, MAX_EQUITY_PPM)
    assert (largest.members, largest.equity_ppm) == (10**10, 10**8)
    assert field_refused(Collective, "eire-", "Éire") == "collective_id"
    assert field_refused(Collective, "eire", "") == "collective.display_name"
    for members in (-1, 10**10 + 1):
        assert field_refused(Collective, "eire", "Éire", members) == "collective.members"
    for equity in (-1, 10**8 + 1):
        assert field_refused(Collective, "eire", "Éire", 0, equity) == "collective.equity_ppm"


def test_a_method_has_confidence_and_evidence_within_bounds() -> None:
    assert Method("ngram", "N", 0).evidence_uri == ""
    assert Method("ngram", "N", PPM, "https://x.org/" + "e" * 1986).confidence_ppm == 1_000_000
    assert Method("ngram", "N", 1, "http://x.org").version == 0
    assert field_refused(Method, "n gram", "N", 0) == "method_id"
    assert field_refused(Method, "ngram", "", 0) == "method.display_name"
    for confidence in (-1, PPM + 1):
        assert field_refused(Method, "ngram", "N", confidence) == "method.confidence_ppm"
    for uri in (
        "ftp://x.org",
        "x.org",
        "javascript:alert(1)",
        "HTTPS://x.org",
        "https://x.org/" + "e" * 1987,
        "https://\n",
    ):
        assert field_refused(Method, "ngram", "N", 1, uri) == "method.evidence_uri"


def test_a_method_of_scores_may_name_a_membership_and_one_of_shares_may_not() -> None:
    rule = ScoreRule(ScoreKind.COUNT)
    assert Method("m", "M", 1, score_rule=rule, membership="items").membership == "items"
    assert field_refused(Method, "m", "M", 1, membership="items") == "method.membership"
    assert field_refused(Method, "m", "M", 1, score_rule=rule, membership="Items") == "method.membership"
    assert field_refused(Method, "m", "M", 1, covers="c" * 1_001) == "method.covers"
    for coverage_nano in (0, 10**9 + 1):
        assert field_refused(ScoreRule, ScoreKind.COUNT, coverage_nano=coverage_nano) == "method.coverage_nano"


@pytest.mark.parametrize("rule", [None, ScoreRule(ScoreKind.SHARE, ScoreOrder.CLIP_THEN_SUM, 5)])
def test_a_method_is_what_the_log_says_of_it(rule: ScoreRule | None) -> None:
    method = Method("m", "M", 1, "https://x.org", "all", rule, "items" if rule else "", version=3, leaf_index=7)
    assert method_of(content_of(method), 7) == method


@pytest.mark.parametrize(
    "fields", [{"score_kind": None}, {"score_order": None}, {"coverage_nano": None}, {"score_kind": "LUCK"}]
)
def test_a_rule_in_the_log_is_whole_or_not_there(fields: dict[str, Any]) -> None:
    content = content_of(Method("m", "M", 1, score_rule=ScoreRule(ScoreKind.COUNT)))
    with pytest.raises(LedgerCorruptError):
        method_of(content.model_copy(update=fields), 7)
