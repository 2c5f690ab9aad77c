"""The rule from raw scores to shares: an oracle in exact fractions, and what must not change a share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.registry import NANO
from ledger.usage import scores as rules
from ledger.usage.membership import is_source_id, parse_membership, render_membership
from ledger.usage.methods import ScoreKind, ScoreOrder, ScoreRule
from ledger.usage.reading import Reading
from ledger.usage.scores import parse_score_batch, shares_of
from ledger.usage.shares import parse_batch
from tests.support.batches import body_of, events_in, stream
from tests.support.scores import (
    score_batch,
    score_body,
    score_record_batch,
    scored,
    shares,
    shares_by_hand,
    shares_in,
)

Event = Sequence[tuple[str, float]]

SOURCES: Final = tuple(f"s{number}" for number in range(12))
SIGNED: Final = ScoreKind.SIGNED_INFLUENCE

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
extremes = st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 2.0**-1022, 2.0**-960, 2.0**-959, 2.0**-958, -1e-300, 1e308, -1e308, 1.7e308]
)
ordinary = st.floats(-1e6, 1e6, allow_subnormal=False) | st.integers(-50, 50).map(float)
scores_of_any_kind = finite | extremes | ordinary
kinds = st.sampled_from(ScoreKind)
coverages = st.integers(1, NANO) | st.sampled_from([1, NANO - 1, NANO])
rules_of_any_kind = st.builds(ScoreRule, kinds, st.sampled_from(ScoreOrder), coverages)
signed_rules = st.builds(ScoreRule, st.just(SIGNED), st.sampled_from(ScoreOrder), coverages)
memberships = st.dictionaries(st.sampled_from(SOURCES), st.sampled_from(["a", "b", "a-b", "z9"]))


def events_of(scores: st.SearchStrategy[float], largest: int = len(SOURCES)) -> st.SearchStrategy[list[Event]]:
    event = st.lists(st.tuples(st.sampled_from(SOURCES), scores), max_size=largest, unique_by=lambda pair: pair[0])
    return st.lists(event, min_size=1, max_size=6)


def suited(events: list[Event], kind: ScoreKind) -> list[Event]:
    """The events with their scores made such as the kind allows."""
    if kind is SIGNED:
        return events
    positive: list[Event] = [[(source, abs(score)) for source, score in event] for event in events]
    if kind is not ScoreKind.SHARE:
        return positive
    return [[(source, score % 1.0 / len(event)) for source, score in event] for event in positive]


@given(events_of(scores_of_any_kind), rules_of_any_kind, memberships)
def test_the_rule_is_that_of_exact_fractions(events: list[Event], rule: ScoreRule, membership: dict[str, str]) -> None:
    """Rule: scale, round, sum per collective, clip, normalise to the coverage by floor."""
    events = suited(events, rule.kind)
    assert shares(events, rule, membership) == [shares_by_hand(event, rule, membership) for event in events]


@given(events_of(scores_of_any_kind), rules_of_any_kind, memberships, st.data())
def test_the_shares_of_some_events_are_those_that_they_have_in_the_whole_batch(
    events: list[Event], rule: ScoreRule, membership: dict[str, str], data: st.DataObject
) -> None:
    """Rule: an event's shares follow from that event alone."""
    events = suited(events, rule.kind)
    chosen = data.draw(st.sets(st.sampled_from(range(len(events))), min_size=1).map(sorted))
    body = score_body([scored(each, number) for number, each in enumerate(events)])
    reading = Reading(rule, membership)
    whole, columns = reading.usage(body), reading.columns(body)
    part = reading.usage_in(columns, np.isin(np.arange(len(events)), chosen))
    assert shares_in(part) == [shares_in(whole)[place] for place in chosen]
    assert part.event_ids.tolist() == whole.event_ids[chosen].tolist()
    assert part.work_ids.to_pylist() == whole.work_ids.take(chosen).to_pylist()
    assert part.units.tolist() == whole.units[chosen].tolist()


@given(events_of(scores_of_any_kind), rules_of_any_kind, memberships)
def test_the_result_is_a_usage_batch_like_any_other(
    events: list[Event], rule: ScoreRule, membership: dict[str, str]
) -> None:
    """Rule: shares of at least 1 that sum to at most the coverage, collectives sorted, none twice."""
    batch = shares_of(score_batch(suited(events, rule.kind)), rule, membership)
    assert (batch.share_sums() <= rule.coverage_nano).all()
    assert list(batch.names) == sorted(set(batch.names), key=str.encode)
    for start, end in pairwise(batch.offsets.tolist()):
        assert (np.diff(batch.name_index[start:end]) > 0).all()
    assert events_in(parse_batch(body_of(events_in(batch)))) == events_in(batch)


@given(st.data(), events_of(scores_of_any_kind), rules_of_any_kind, memberships)
def test_the_order_of_sources_and_of_the_dictionary_changes_nothing(
    data: st.DataObject, events: list[Event], rule: ScoreRule, membership: dict[str, str]
) -> None:
    """Rule: no path leads from raw scores to money through a floating-point sum."""
    events = suited(events, rule.kind)
    permuted = [scored(data.draw(st.permutations(event)), number) for number, event in enumerate(events)]
    dictionary = data.draw(st.permutations(SOURCES))
    body = stream(score_record_batch(permuted, dictionary=dictionary))
    renumbered = dict(data.draw(st.permutations(sorted(membership.items()))))
    found = shares_of(parse_score_batch(body), rule, renumbered)
    expected = shares_of(score_batch(events), rule, membership)
    assert found.names == expected.names
    for column in ("offsets", "name_index", "amounts"):
        assert getattr(found, column).tolist() == getattr(expected, column).tolist()


@given(st.data(), events_of(scores_of_any_kind), rules_of_any_kind, memberships)
def test_the_order_of_events_changes_nothing_but_their_order(
    data: st.DataObject, events: list[Event], rule: ScoreRule, membership: dict[str, str]
) -> None:
    """Rule: as above; an event's shares depend on its own scores alone."""
    events = suited(events, rule.kind)
    order = data.draw(st.permutations(range(len(events))))
    found = shares(events, rule, membership)
    assert shares([events[place] for place in order], rule, membership) == [found[place] for place in order]


@given(events_of(scores_of_any_kind), rules_of_any_kind, memberships)
def test_summing_in_a_table_and_summing_in_order_are_the_same(
    events: list[Event], rule: ScoreRule, membership: dict[str, str]
) -> None:
    events = suited(events, rule.kind)
    found = shares(events, rule, membership)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "_MAX_DENSE_CELLS", 0)
        assert shares(events, rule, membership) == found
        patch.setattr(rules, "_MAX_DENSE_CELLS", 2**23)
        patch.setattr(rules, "_DENSE_CELLS_PER_SCORE", 2**23)
        assert shares(events, rule, membership) == found


@given(events_of(ordinary), signed_rules, memberships, st.integers(-1000, 1000))
def test_scaling_an_event_by_a_power_of_two_changes_nothing(
    events: list[Event], rule: ScoreRule, membership: dict[str, str], power: int
) -> None:
    """Rule: scaled by the largest magnitude. The numbers chosen here stay exact down to the subnormals."""
    scaled = [[(source, score * 2.0**power) for source, score in event] for event in events]
    undone = [[(source, score / 2.0**power) for source, score in event] for event in scaled]
    assume(undone == [list(event) for event in events])
    assert shares(scaled, rule, membership) == shares(events, rule, membership)


@given(events_of(scores_of_any_kind, 8), rules_of_any_kind, memberships)
def test_scores_of_zero_change_nothing(events: list[Event], rule: ScoreRule, membership: dict[str, str]) -> None:
    """Rule: one scale for every event, whatever its length; so a sparse matrix pays as a dense one does."""
    events = suited(events, rule.kind)
    named = [{source for source, _ in event} for event in events]
    dense = [
        [*event, *((source, 0.0) for source in SOURCES if source not in names)]
        for event, names in zip(events, named, strict=True)
    ]
    assert shares(dense, rule, membership) == shares(events, rule, membership)


@given(events_of(scores_of_any_kind), rules_of_any_kind, memberships, st.sets(st.sampled_from(SOURCES)))
def test_splitting_a_collective_gains_nothing_where_no_sum_can_be_negative(
    events: list[Event], rule: ScoreRule, membership: dict[str, str], moved: set[str]
) -> None:
    """Rule: splitting one collective in two must gain nothing. A floor each may cost it a billionth.

    Not so for signed scores that are summed and then clipped: tests/unit/ledger/test_scores.py has the example.
    """
    assume(rule.kind is not SIGNED or rule.order is ScoreOrder.CLIP_THEN_SUM)
    events = suited(events, rule.kind)
    split = {s: "a-two" if s in moved and name == "a" else name for s, name in membership.items()}
    for one, two in zip(shares(events, rule, membership), shares(events, rule, split), strict=True):
        whole = one.pop("a", 0)
        assert whole - 1 <= two.pop("a", 0) + two.pop("a-two", 0) <= whole
        assert one == two


@given(events_of(scores_of_any_kind), coverages, memberships)
def test_kinds_that_are_never_negative_do_not_depend_on_the_order(
    events: list[Event], coverage_nano: int, membership: dict[str, str]
) -> None:
    for kind in (ScoreKind.SIMILARITY, ScoreKind.COUNT, ScoreKind.SHARE):
        first, second = (
            shares(suited(events, kind), ScoreRule(kind, o, coverage_nano), membership) for o in ScoreOrder
        )
        assert first == second


@given(
    st.lists(st.tuples(st.integers(1, 2**62), st.integers(1, 2**62)), min_size=1, max_size=20),
    st.integers(1, 62),
    coverages,
)
def test_long_division_is_exact(pairs: list[tuple[int, int]], bits: int, coverage_nano: int) -> None:
    """Rule: share_nano = coverage_nano * S_c // S, whose product passes 64 bits."""
    bounded = [sorted(1 + (number - 1) % 2**bits for number in pair) for pair in pairs]
    parts, totals = (np.array(column, dtype=np.int64) for column in zip(*bounded, strict=True))
    expected = [coverage_nano * part // total for part, total in bounded]
    assert rules._floor_parts(parts, totals, coverage_nano).tolist() == expected


@given(events_of(finite | extremes | st.sampled_from([float("nan"), float("inf"), -float("inf")])))
def test_every_event_with_a_score_that_is_not_finite_is_named(events: list[Event]) -> None:
    """Rule: NaN and infinities are refused, with positions."""
    wrong = [n for n, event in enumerate(events) if not all(abs(score) < float("inf") for _, score in event)]
    body = score_body([scored(event, number) for number, event in enumerate(events)])
    if not wrong:
        assert parse_score_batch(body).amounts.tolist() == [score for event in events for _, score in event]
        return
    with pytest.raises(InvalidInputError) as refused:
        parse_score_batch(body)
    assert [violation.field for violation in refused.value.violations] == [f"events[{n}].scores" for n in wrong]


SEED: Final = stream(
    score_record_batch([scored((("s1", 1.0), ("s2", -2.0)), number, work_id="urn:w") for number in range(3)])
)


@settings(max_examples=300)
@given(st.data())
def test_mutated_bytes_are_taken_or_refused_and_nothing_else(data: st.DataObject) -> None:
    """Rule: "Arrow from outside is hostile until validated"; what is taken must bear use."""
    body = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.sampled_from([1, 2, 4, 8]))
        at = data.draw(st.integers(0, len(body) // size - 1)) * size
        body[at : at + size] = data.draw(st.binary(min_size=size, max_size=size))
    try:
        batch = parse_score_batch(bytes(body))
    except InvalidInputError:
        return
    for order in ScoreOrder:
        try:
            shares = shares_of(batch, ScoreRule(SIGNED, order), {"s1": "a", "s2": "b"})
        except InvalidInputError:  # what a rule allows of repeats and signs is not the batch's to say
            continue
        assert all(sum(event.values()) <= NANO for event in shares_in(shares))


source_ids = st.text(min_size=1, max_size=8).filter(is_source_id)
collective_ids = st.from_regex(r"[a-z]([a-z0-9-]{0,3}[a-z0-9])?", fullmatch=True)
written_memberships = st.dictionaries(source_ids, collective_ids, max_size=8)


@given(written_memberships)
def test_a_membership_has_one_spelling_and_is_read_back(membership: dict[str, str]) -> None:
    """Rule: canonical CSV, sorted by the bytes of the sources."""
    body = render_membership(membership)
    assert parse_membership(body) == membership
    assert render_membership(dict(reversed(membership.items()))) == body
    lines = body.split(b"\n")[1:-1]
    assert lines == sorted(lines, key=lambda line: line.partition(b",")[0])


@given(written_memberships, st.data())
def test_what_is_read_as_a_membership_is_its_one_spelling(membership: dict[str, str], data: st.DataObject) -> None:
    """Rule: as above; any other bytes are refused."""
    body = bytearray(render_membership(membership))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + 1] = data.draw(st.binary(max_size=2) | st.sampled_from([b"\n", b",", b'"', b"\r\n"]))
    try:
        found = parse_membership(bytes(body))
    except LedgerCorruptError:
        return
    assert render_membership(found) == body
