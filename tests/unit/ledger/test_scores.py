"""Score batches and their rule by example: figures that can be worked by hand, and hostile bytes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.registry import NANO
from ledger.usage import scores as rules
from ledger.usage.batch import Batch
from ledger.usage.format import HUMAN_AI, MAX_BODY_BYTES, MAX_EVENTS, MAX_SHARES
from ledger.usage.membership import ParsedMemberships, is_source_id, parse_membership, render_membership
from ledger.usage.methods import TOLERANCE_NANO, ScoreKind, ScoreOrder, ScoreRule
from ledger.usage.scores import MAX_SOURCES, SCORE_TYPES, parse_score_batch, shares_of
from ledger.usage.shares import parse_batch
from tests.support.batches import (
    Event,
    body_of,
    event_id,
    events_in,
    record_batch,
    replaced,
    some_events,
    stream,
)
from tests.support.scores import (
    plain_batch,
    score_batch,
    score_body,
    score_record_batch,
    scored,
    shares,
    shares_by_hand,
    shares_in,
)

ROOT: Final = Path(__file__).parents[3]
SIGNED: Final = ScoreRule(ScoreKind.SIGNED_INFLUENCE)
CLIPPED_FIRST: Final = ScoreRule(ScoreKind.SIGNED_INFLUENCE, ScoreOrder.CLIP_THEN_SUM)
SIMILARITY: Final = ScoreRule(ScoreKind.SIMILARITY)
COUNT: Final = ScoreRule(ScoreKind.COUNT)
SHARE: Final = ScoreRule(ScoreKind.SHARE)
RULES: Final = [ScoreRule(kind, order) for kind in ScoreKind for order in ScoreOrder]

MEMBERSHIP: Final = {"reel-1": "irish", "reel-2": "irish", "strathspey": "scottish"}
FOUR: Final = [scored((("reel-1", 4.0), ("strathspey", 1.0)), number) for number in range(4)]


def violations(body: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as refused:
        parse_score_batch(body)
    assert refused.value.total == len(refused.value.violations)
    return [(violation.field, violation.reason) for violation in refused.value.violations]


# The rule, in figures.


def test_summing_then_clipping_and_clipping_then_summing_pay_differently() -> None:
    """Irish has 4 - 2 = 2 of 2 + 1 + 1, or 4 of 4 + 1 + 1; the source of nobody stays in the total."""
    event = [("reel-1", 4.0), ("reel-2", -2.0), ("strathspey", 1.0), ("unclaimed", 1.0)]
    assert shares([event], SIGNED, MEMBERSHIP) == [{"irish": 500_000_000, "scottish": 250_000_000}]
    assert shares([event], CLIPPED_FIRST, MEMBERSHIP) == [{"irish": 666_666_666, "scottish": 166_666_666}]


def test_a_collective_whose_scores_sum_below_zero_gets_nothing_and_takes_nothing() -> None:
    event = [("reel-1", 1.0), ("reel-2", -3.0), ("strathspey", 0.5), ("unclaimed", -9.0)]
    assert shares([event], SIGNED, MEMBERSHIP) == [{"scottish": NANO}]
    assert shares([event], CLIPPED_FIRST, MEMBERSHIP) == [{"irish": 666_666_666, "scottish": 333_333_333}]


def test_counts_are_shared_in_proportion_up_to_the_declared_coverage() -> None:
    """3, 1 and 2 of 6 citations, of a method that explains nine tenths of a work; the last are nobody's."""
    event = [("reel-1", 2.0), ("reel-2", 1.0), ("strathspey", 1.0), ("unclaimed", 2.0)]
    rule = replace(COUNT, coverage_nano=900_000_000)
    assert shares([event], rule, MEMBERSHIP) == [{"irish": 450_000_000, "scottish": 150_000_000}]


def test_counts_keep_their_exact_proportions() -> None:
    """Divided by the largest, 1 of 3 and 1 would be a little less than a third of it, and lose a billionth."""
    for largest in (3, 7, 9, 99, 24_999):
        membership = {"most": "x", "one": "y"}
        expected = {"x": NANO * largest // (largest + 1), "y": NANO // (largest + 1)}
        assert shares([[("most", largest), ("one", 1)]], COUNT, membership) == [expected]


def test_similarities_are_rounded_down_and_what_is_left_stays_unattributed() -> None:
    membership = {"a": "x", "b": "y", "c": "z"}
    thirds = {"x": 333_333_333, "y": 333_333_333, "z": 333_333_333}
    assert shares([[("a", 0.7), ("b", 0.7), ("c", 0.7)]], SIMILARITY, membership) == [thirds]


def test_fractions_are_taken_as_they_are_and_not_made_to_sum_to_one() -> None:
    fractions = [("reel-1", 0.1), ("reel-2", 0.2), ("strathspey", 0.3), ("unclaimed", 0.05)]
    assert shares([fractions], SHARE, MEMBERSHIP) == [{"irish": 300_000_000, "scottish": 300_000_000}]
    half = replace(SHARE, coverage_nano=NANO // 2)
    assert shares([fractions], half, MEMBERSHIP) == [{"irish": 150_000_000, "scottish": 150_000_000}]


def test_a_fraction_of_up_to_nine_decimals_is_just_that_many_billionths() -> None:
    """0.3 is a little less than three tenths as a float64, and its owner would lose a billionth."""
    numbers = [*range(1, 1000), *(number * 1_000_003 % NANO for number in range(1, 1000)), 1, NANO - 1, NANO]
    found = shares([[("reel-1", number / NANO)] for number in numbers], SHARE, MEMBERSHIP)
    assert found == [{"irish": number} for number in numbers]


@pytest.mark.parametrize("parts", [1, 2, 3, 6, 7, 10, 49, 1000])
def test_equal_fractions_of_a_whole_are_taken_whatever_their_rounding(parts: int) -> None:
    membership = {f"s{number}": f"c{number:04}" for number in range(parts)}
    (found,) = shares([[(source, 1 / parts) for source in membership]], SHARE, membership)
    assert list(found.values()) == [NANO // parts] * parts


def test_shares_below_a_billionth_are_left_out() -> None:
    event = [("reel-1", 1.0), ("strathspey", 0.9e-9)]
    assert shares([event], SIMILARITY, MEMBERSHIP) == [{"irish": 999_999_999}]


@pytest.mark.parametrize("rule", RULES)
def test_an_event_with_nothing_to_share_is_wholly_unattributed(rule: ScoreRule) -> None:
    nothing = [[], [("reel-1", 0.0)], [("reel-1", 0.0), ("strathspey", -0.0)], [("unclaimed", 0.5)]]
    assert shares(nothing, rule, MEMBERSHIP) == [{}, {}, {}, {}]


@pytest.mark.parametrize("order", ScoreOrder)
def test_an_event_with_negative_scores_alone_is_wholly_unattributed(order: ScoreOrder) -> None:
    event = [("reel-1", -1.0), ("strathspey", -2.0)]
    assert shares([event], replace(SIGNED, order=order), MEMBERSHIP) == [{}]


@pytest.mark.parametrize(
    "factor", [1.0, 2.0**-1074, 2.0**-1030, 2.0**-1000, 2.0**-961, 2.0**-960, 2.0**-959, 2.0**-958, 2.0**1022]
)
def test_scores_of_any_magnitude_are_shared_alike(factor: float) -> None:
    """1, -1 and 2 are exact even as the smallest numbers that a float64 holds."""
    event = [("reel-1", 2 * factor), ("reel-2", -factor), ("strathspey", factor)]
    assert shares([event], SIGNED, MEMBERSHIP) == [{"irish": 500_000_000, "scottish": 500_000_000}]


def test_the_largest_and_the_smallest_numbers_may_meet_in_one_event() -> None:
    event = [("reel-1", 1.7e308), ("reel-2", -5e-324), ("strathspey", 1.7e308), ("unclaimed", 2.3e-308)]
    assert shares([event], SIGNED, MEMBERSHIP) == [{"irish": 500_000_000, "scottish": 500_000_000}]


def test_events_do_not_touch_each_other() -> None:
    events = [[("reel-1", 2.0**-1000), ("strathspey", 3 * 2.0**-1000)], [], [("reel-1", 1e300)], [("strathspey", -1.0)]]
    expected = [{"irish": 250_000_000, "scottish": 750_000_000}, {}, {"irish": NANO}, {}]
    assert shares(events, SIGNED, MEMBERSHIP) == expected


def test_collectives_may_be_the_sources_themselves() -> None:
    event = [("scottish", 1.0), ("irish", 3.0)]
    identity = {name: name for name in ("irish", "scottish")}
    assert shares([event], COUNT, identity) == [{"irish": 750_000_000, "scottish": 250_000_000}]


def test_splitting_off_what_counts_against_a_collective_gains_under_sum_then_clip() -> None:
    """The known way to game SUM_THEN_CLIP: docs/distribution.md tells operators to log memberships for it."""
    event = [("reel-1", 4.0), ("reel-2", -2.0), ("strathspey", 2.0)]
    split = {**MEMBERSHIP, "reel-2": "irish-two"}
    assert shares([event], SIGNED, MEMBERSHIP) == [{"irish": 500_000_000, "scottish": 500_000_000}]
    assert shares([event], SIGNED, split) == [{"irish": 666_666_666, "scottish": 333_333_333}]
    assert shares([event], CLIPPED_FIRST, split) == shares([event], CLIPPED_FIRST, MEMBERSHIP)


# What the result is.


def test_events_pass_into_the_usage_batch_as_they_are() -> None:
    events = [
        Event(bytes(range(16)), "urn:iscc:1", 1_767_225_600_000_000, 7, HUMAN_AI, (("strathspey", 1), ("reel-2", 1))),
        Event(bytes(16), None, 0, 1, HUMAN_AI, ()),
        Event(b"\xff" * 16, "", 5, 10**9, 1, (("reel-1", 1),)),
    ]
    batch = shares_of(parse_score_batch(score_body(events)), COUNT, {**MEMBERSHIP, "elsewhere": "breton"})
    halves = (("irish", 500_000_000), ("scottish", 500_000_000))
    assert events_in(batch) == [
        replace(events[0], shares=halves),
        events[1],
        replace(events[2], shares=(("irish", NANO),)),
    ]
    assert batch.names == ("irish", "scottish")
    assert events_in(parse_batch(body_of(events_in(batch)))) == events_in(batch)


def test_collectives_are_sorted_by_the_bytes_of_their_ids() -> None:
    names = ["b", "a-b", "a", "a0", "z", "ab"]
    batch = shares_of(score_batch([[(name, 1.0) for name in names]]), COUNT, {name: name for name in names})
    assert batch.names == ("a", "a-b", "a0", "ab", "b", "z")
    assert batch.name_index.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_collective_that_gets_nothing_is_not_named() -> None:
    batch = shares_of(score_batch([[("reel-1", -1.0), ("strathspey", 1.0)]]), SIGNED, MEMBERSHIP)
    assert batch.names == ("scottish",)


def test_the_largest_batch_sums_without_overflow() -> None:
    """2^22 scores of one event, all the largest: 2^62 in all, a third of it the first collective's."""
    source_index = np.arange(MAX_SHARES) % 3
    offsets = [0, MAX_SHARES]
    signed, clipped_first, share = (replace(rule, sum_repeats=True) for rule in (SIGNED, CLIPPED_FIRST, SHARE))
    alike = plain_batch(np.full(MAX_SHARES, 1e308), source_index, offsets, ("a", "b", "c"))
    expected = [NANO * count // MAX_SHARES for count in (1_398_102, 1_398_101, 1_398_101)]
    for rule in (signed, clipped_first, COUNT):
        assert shares_of(alike, rule, {"a": "x", "b": "y", "c": "z"}).amounts.tolist() == expected
        assert shares_of(alike, rule, dict.fromkeys("abc", "x")).amounts.tolist() == [NANO]
    negative = plain_batch(np.full(MAX_SHARES, -1e308), source_index, offsets, ("a", "b", "c"))
    assert not len(shares_of(negative, signed, dict.fromkeys("abc", "x")).amounts)
    fractions = plain_batch(np.full(MAX_SHARES, 1e308), source_index, offsets, ("a", "b", "c"))
    with pytest.raises(InvalidInputError, match="must sum to at most 1"):
        shares_of(fractions, share, {})


def many_scores(seed: int, events: int, per_event: int) -> Batch:
    """Scores of every magnitude, from integers that are the same on every machine."""
    state, numbers = seed, []
    for number in range(events * per_event):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        smallest = 0 if number // per_event % 5 == 0 else 1000  # every fifth event holds subnormals and not much more
        numbers.append((state >> 63) << 63 | (smallest + (state >> 56) % 40) << 52 | (state >> 4) % 2**52)
    scores = np.array(numbers, dtype=np.uint64).view(np.float64)
    source_index = np.tile(np.arange(per_event), events)
    offsets = np.arange(events + 1) * per_event
    return plain_batch(scores, source_index, offsets, tuple(f"s{number}" for number in range(per_event)))


def digest(batch: Any) -> str:
    content = [batch.offsets.astype("<i8"), batch.name_index.astype("<i4"), batch.amounts.astype("<i4")]
    return sha256(b"".join(part.tobytes() for part in content)).hexdigest()[:16]


THIRDS: Final = {f"s{number}": f"c{number % 5}" for number in range(40) if number % 3}


def test_the_result_is_this_one_on_every_machine_and_with_every_numpy() -> None:
    batch = many_scores(7, 500, 40)
    assert digest(shares_of(batch, SIGNED, THIRDS)) == "ec9750201869a7a5"
    assert digest(shares_of(batch, CLIPPED_FIRST, THIRDS)) == "5340deac0ce45eb5"


def test_the_result_is_the_same_on_any_number_of_threads() -> None:
    batches = [many_scores(seed, 200, 40) for seed in range(4)] * 4
    alone = [digest(shares_of(batch, SIGNED, THIRDS)) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda batch: digest(shares_of(batch, SIGNED, THIRDS)), batches))
    assert together == alone


@pytest.mark.parametrize("dense_cells", [0, 2**23])
def test_the_result_is_the_same_however_integers_are_summed(dense_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_MAX_DENSE_CELLS", dense_cells)
    batch = many_scores(7, 500, 40)
    assert digest(shares_of(batch, SIGNED, THIRDS)) == "ec9750201869a7a5"
    test_summing_then_clipping_and_clipping_then_summing_pay_differently()
    test_an_event_with_nothing_to_share_is_wholly_unattributed(SIGNED)


def test_a_caller_that_makes_floating_point_errors_fatal_does_not_see_any() -> None:
    with np.errstate(all="raise"):
        test_the_largest_and_the_smallest_numbers_may_meet_in_one_event()
        test_scores_of_any_magnitude_are_shared_alike(2.0**-1074)
        assert shares([[("reel-1", 5e-324), ("strathspey", 1.0)]], SHARE, MEMBERSHIP) == [{"scottish": NANO}]


# What a rule refuses.


def test_a_negative_score_is_named_with_its_position_where_there_can_be_none() -> None:
    events = [[("reel-1", 1.0)], [("reel-1", 0.5), ("strathspey", -0.5)], [("reel-1", -0.0)], [("reel-1", -5e-324)]]
    for rule in (SIMILARITY, COUNT, SHARE):
        with pytest.raises(InvalidInputError) as refused:
            shares(events, rule, MEMBERSHIP)
        reason = f"must not be negative if the scores are {rule.kind}"
        found = [(violation.field, violation.reason) for violation in refused.value.violations]
        assert found == [("events[1].scores", reason), ("events[3].scores", reason)]


@pytest.mark.parametrize(
    "too_much", [[("reel-1", 1.000001)], [("reel-1", 0.5), ("other", 0.500000000001)], [("reel-1", 1.7e308)]]
)
def test_fractions_of_more_than_a_whole_are_refused(too_much: list[tuple[str, float]]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        shares([[("reel-1", 1.0)], too_much], SHARE, MEMBERSHIP)
    (violation,) = refused.value.violations
    assert violation.field == "events[1].scores"
    assert violation.reason == "must sum to at most 1 if the scores are SHARE"


@pytest.mark.parametrize("coverage_nano", [-1, 0, NANO + 1])
def test_a_coverage_out_of_range_is_refused(coverage_nano: int) -> None:
    with pytest.raises(InvalidInputError, match="coverage_nano"):
        ScoreRule(ScoreKind.COUNT, coverage_nano=coverage_nano)


# The format.


def test_a_score_batch_is_read_as_it_was_sent() -> None:
    events = [
        Event(bytes(range(16)), "urn:iscc:1", 1_767_225_600_000_000, 7, HUMAN_AI, (("b", 1), ("a", 2))),
        Event(bytes(16), None, 0, 10**9, 1, ()),
        scored((("a", -0.0), ("c", -1.7e308), ("b", 5e-324)), 3),
    ]
    for compression in (None, "lz4", "zstd"):
        batch = parse_score_batch(score_body(events, compression=compression))
        assert batch.event_ids.tobytes() == bytes(range(16)) + bytes(16) + bytes(15) + b"\x03"
        assert batch.work_ids.to_pylist() == ["urn:iscc:1", None, None]
        assert batch.occurred_at.tolist() == [1_767_225_600_000_000, 0, 0]
        assert batch.units.tolist() == [7, 10**9, 1]
        assert batch.modes.tolist() == [2, 1, 1]
        assert batch.offsets.tolist() == [0, 2, 2, 5]
        assert batch.event_of_amount().tolist() == [0, 0, 2, 2, 2]
        assert [batch.names[place] for place in batch.name_index] == ["b", "a", "a", "c", "b"]
        assert batch.amounts.tobytes() == struct.pack("<5d", 1, 2, -0.0, -1.7e308, 5e-324)
        assert len(batch) == 3


def test_a_slice_of_a_larger_batch_is_read_as_what_it_holds() -> None:
    events = [scored((("a", number), ("b", 1.0)), number) for number in range(9)]
    batch = parse_score_batch(stream(score_record_batch(events).slice(4, 3)))
    assert batch.amounts.tolist() == [4, 1, 5, 1, 6, 1]


def test_a_usage_batch_is_no_score_batch_and_the_other_way_round() -> None:
    assert violations(body_of(some_events(1))) == [("method_id", "takes scores, and the batch contains shares")]
    with pytest.raises(InvalidInputError) as refused:
        parse_batch(score_body(FOUR))
    assert str(refused.value) == "method_id: takes shares, and the batch contains scores"


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("scores", pa.array([["1", "1"]] * 4)),
        ("scores", pa.array([[True, True]] * 4)),
        ("scores", pa.array([1.0] * 4)),
        ("sources", pa.array([[b"a", b"b"]] * 4)),
        ("units", pa.array([1.0] * 4)),
    ],
)
def test_another_type_is_refused(column: str, values: pa.Array) -> None:
    body = stream(replaced(score_record_batch(FOUR), column, values))
    wanted = {"scores": "lists of numbers", "sources": "lists of text, or of structs of id and score"}
    assert violations(body) == [(column, f"must be {wanted.get(column, 'integers')}, got {values.type}")]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int8(), pa.uint64()])
def test_scores_may_be_numbers_of_any_width(kind: pa.DataType) -> None:
    plain = score_record_batch(FOUR)
    values = pa.array([[4, 1], [5], [], [1, 6]], pa.list_(kind))
    sources = pa.array([["a", "b"], ["a"], [], ["c", "b"]])
    batch = parse_score_batch(stream(replaced(replaced(plain, "scores", values), "sources", sources)))
    assert batch.amounts.tolist() == [4, 1, 5, 1, 6]
    assert batch.amounts.dtype == np.float64
    assert [batch.names[place] for place in batch.name_index] == ["a", "b", "a", "c", "b"]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_named_with_its_position(score: float) -> None:
    events = [FOUR[0], scored((("a", 1.0), ("b", score)), 1), scored((), 2), scored((("c", score), ("d", score)), 3)]
    expected = [("events[1].scores", "must be finite"), ("events[3].scores", "must be finite")]
    assert violations(score_body(events)) == expected


def test_nulls_are_named_with_their_positions() -> None:
    assert violations(score_body([FOUR[0], scored((("a", None),), 1)])) == [
        ("events[1].scores", "must not contain nulls")
    ]
    assert violations(score_body([FOUR[0], scored(((None, 1),), 1)])) == [
        ("events[1].sources", "must not contain nulls")
    ]
    assert violations(score_body([FOUR[0], scored(None, 1)])) == [("events[1].sources", "must not be null")]
    dictionary = score_record_batch([scored((), 0)], dictionary=["a", None])
    assert violations(stream(dictionary)) == [("sources", "the dictionary must not contain nulls")]


def test_lists_of_unequal_lengths_are_named_with_their_positions() -> None:
    longer = score_record_batch([FOUR[0], scored((("a", 1.0),), 1), *FOUR[2:]]).column("scores")
    body = stream(replaced(score_record_batch(FOUR), "scores", longer))
    assert violations(body) == [("events[1].scores", "must be as many as sources")]


TWICE: Final = [[("reel-1", 0.25)], [("reel-1", 0.25), ("strathspey", 0.25), ("reel-1", 0.25)]]


@pytest.mark.parametrize("rule", [SIGNED, SIMILARITY, SHARE], ids=lambda rule: rule.kind)
def test_a_source_that_stands_twice_in_an_event_is_refused_unless_the_method_says_otherwise(rule: ScoreRule) -> None:
    """A search over chunks gives several of one document; elsewhere it may be a mistake in an export."""
    with pytest.raises(InvalidInputError) as refused:
        shares(TWICE, rule, MEMBERSHIP)
    reason = f"must not repeat in one event if the scores are {rule.kind}, unless the method says sum_repeats"
    assert [(each.field, each.reason) for each in refused.value.violations] == [("events[1].sources", reason)]
    both = shares(TWICE, replace(rule, sum_repeats=True), MEMBERSHIP)[1]
    whole = 750_000_000 if rule.kind is ScoreKind.SHARE else NANO
    assert both == {"irish": whole * 2 // 3, "scottish": whole // 3}


def test_counts_of_a_source_that_stands_twice_are_summed() -> None:
    twice = [[("reel-1", 2.0), ("strathspey", 3.0), ("reel-1", 1.0)], [("reel-1", 1.0), ("reel-1", 1.0)]]
    assert shares(twice, COUNT, MEMBERSHIP) == [{"irish": NANO // 2, "scottish": NANO // 2}, {"irish": NANO}]


def softmax(generator: np.random.Generator, count: int) -> list[tuple[str, float]]:
    """As a model in single precision gives it."""
    logits = generator.normal(0, 3, count).astype(np.float32)
    powers = np.exp(logits - logits.max())
    return [(f"s{number}", float(part)) for number, part in enumerate(powers / powers.sum(dtype=np.float32))]


def test_fractions_in_single_precision_are_taken_up_to_the_tolerance_of_the_method() -> None:
    """Half of what models give sums to more than 1 by their rounding, and was refused."""
    generator = np.random.default_rng(5)
    drawn = [softmax(generator, count) for count in (2, 10, 100, 1_000, 5_000) for _ in range(40)]
    membership = {f"s{number}": f"c{number % 3}" for number in range(5_000)}
    with pytest.raises(InvalidInputError, match="must sum to at most 1 if the scores are SHARE") as refused:
        shares(drawn, SHARE, membership)
    assert 50 < refused.value.total < 150
    rule = replace(SHARE, tolerance_nano=TOLERANCE_NANO)
    for parts, found in zip(drawn, shares(drawn, rule, membership), strict=True):
        assert sum(found.values()) <= NANO
        assert found == shares_by_hand(parts, rule, membership)


def test_fractions_beyond_a_whole_count_as_parts_of_what_they_sum_to() -> None:
    """Percentages of a vendor that rounds to whole ones: 34, 34 and 33 of 101."""
    rule = replace(SHARE, tolerance_nano=10**7)
    thirds = [("reel-1", 0.34), ("strathspey", 0.34), ("unclaimed", 0.33)]
    part = NANO * 34 // 101
    assert shares([thirds], rule, MEMBERSHIP) == [{"irish": part, "scottish": part}]
    with pytest.raises(InvalidInputError, match="must sum to at most 1 and a tolerance of 10000000 billionths"):
        shares([[*thirds, ("reel-2", 0.000001)]], rule, MEMBERSHIP)
    less = [("reel-1", 0.33), ("strathspey", 0.33)]
    assert shares([less], rule, MEMBERSHIP) == [{"irish": 330_000_000, "scottish": 330_000_000}]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"kind": ScoreKind.COUNT, "sum_repeats": True}, "method.sum_repeats"),
        ({"kind": ScoreKind.COUNT, "tolerance_nano": 1}, "method.tolerance_nano"),
        ({"kind": ScoreKind.SHARE, "tolerance_nano": -1}, "method.tolerance_nano"),
        ({"kind": ScoreKind.SHARE, "tolerance_nano": 10**7 + 1}, "method.tolerance_nano"),
    ],
)
def test_a_rule_says_nothing_that_its_kind_does_not_have(rule: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ScoreRule(**rule)
    assert refused.value.violations[0].field == field


@pytest.mark.parametrize("source", ["", "a,b", 'a"b', "a\nb", "\x00", "a\x7f", "\x85", "\u2028", "é" * 128 + "x"])
def test_an_id_that_no_membership_could_hold_is_named_with_its_position(source: str) -> None:
    events = [FOUR[0], scored((("a", 1.0), (source, 1.0)), 1)]
    ((field, reason),) = violations(score_body(events))
    assert field == "events[1].sources"
    assert reason.startswith("must be 1 to 256 bytes, without commas")
    unused = score_record_batch(FOUR, dictionary=[source, "reel-1", "strathspey"])
    assert len(parse_score_batch(stream(unused))) == 4


@pytest.mark.parametrize("source", ["a", "é" * 128, "https://example.org/a?b=c#d", "l'accordéon 🪗", " ", "\u00a0"])
def test_an_id_that_a_membership_can_hold_is_taken(source: str) -> None:
    assert is_source_id(source)
    assert shares([[(source, 1.0)]], COUNT, {source: "irish"}) == [{"irish": NANO}]


def test_every_breach_is_named_in_the_order_of_the_events() -> None:
    events = [
        scored((("a", 1.0),), 0, units=0),
        scored((("a,b", float("nan")), ("c", 1.0)), 1, mode=9),
        scored((), 2, occurred_at=-1, work_id="x" * 257),
    ]
    assert [field for field, _ in violations(score_body(events))] == [
        "events[0].units",
        "events[1].mode",
        "events[1].sources",
        "events[1].scores",
        "events[2].occurred_at",
        "events[2].work_id",
    ]


def test_the_first_hundred_breaches_are_listed_and_all_are_counted() -> None:
    events = [scored((("a", float("nan")),), number) for number in range(150)]
    with pytest.raises(InvalidInputError) as refused:
        parse_score_batch(score_body(events))
    assert [v.field for v in refused.value.violations] == [f"events[{number}].scores" for number in range(100)]
    assert refused.value.total == 150


def test_the_limits_of_a_batch() -> None:
    events = record_batch(some_events(MAX_EVENTS)).columns[:5]
    names = pa.array([f"s{number}" for number in range(MAX_SOURCES)])

    def with_scores(count: int, sources: pa.Array) -> bytes:
        lengths = np.full(MAX_EVENTS, count // MAX_EVENTS)
        lengths[-1] += count % MAX_EVENTS
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
        indices = pa.array(np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]))
        encoded = pa.DictionaryArray.from_arrays(indices, sources)
        scores = pa.array(np.ones(count))
        lists = [pa.ListArray.from_arrays(offsets, values) for values in (encoded, scores)]
        return stream(pa.record_batch([*events, *lists], names=list(SCORE_TYPES)), compression="zstd")

    assert len(parse_score_batch(with_scores(MAX_SHARES, names)).amounts) == 4_194_304
    ((field, reason),) = violations(with_scores(MAX_SHARES + 1, names))
    assert (field, reason) == ("scores", "must be at most 4,194,304 in a batch, got 4,194,305")
    ((field, reason),) = violations(with_scores(1, pa.concat_arrays([names, pa.array(["one more"])])))
    assert (field, reason) == ("sources", "must have at most 262,144 different ids in a batch, got 262,145")
    assert violations(bytes(MAX_BODY_BYTES + 1))[0][0] == "arrow_stream"
    reason = "got 0 schemas, 0 dictionaries and 0 record batches"
    assert violations(b"")[0][1].endswith(reason.replace(" and", ","))
    assert violations(score_body([])) == [("events", "must contain 1 to 65,536 events, got 0")]


def test_columns_of_the_event_are_judged_as_in_a_usage_batch() -> None:
    changes: list[dict[str, Any]] = [{"units": 0}, {"mode": 3}, {"occurred_at": -1}, {"work_id": "x" * 257}]
    for change in changes:
        events = [Event(event_id(1)), Event(event_id(2), **change)]
        with pytest.raises(InvalidInputError) as refused:
            parse_batch(body_of(events))
        expected = [(violation.field, violation.reason) for violation in refused.value.violations]
        assert violations(score_body(events)) == expected


# Memberships.


def test_a_membership_is_canonical_csv_by_the_bytes_of_the_sources() -> None:
    membership = {"ü": "irish", "z": "scottish", "Z": "irish", "🪗": "breton", "\uff5e": "breton", "a b": "irish"}
    body = render_membership(membership)
    assert body.decode() == ("source,collective\nZ,irish\na b,irish\nz,scottish\nü,irish\n\uff5e,breton\n🪗,breton\n")
    assert parse_membership(body) == membership
    assert list(parse_membership(body)) == sorted(membership, key=str.encode)


def test_a_membership_may_be_empty() -> None:
    assert render_membership({}) == b"source,collective\n"
    assert parse_membership(b"source,collective\n") == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"source,collective",
        b"source,collective\r\na,irish\r\n",
        b"\xef\xbb\xbfsource,collective\na,irish\n",
        b"source,collective\na,irish",
        b"source,collective\n\na,irish\n",
        b"source,collective\na,irish\n\n",
        b"source,collective\nb,irish\na,irish\n",
        b"source,collective\na,irish\na,irish\n",
        b"source,collective\na,irish\na,scottish\n",
        b'source,collective\n"a",irish\n',
        b"source,collective\na,b,irish\n",
        b"source,collective\na\n",
        b"source,collective\n,irish\n",
        b"source,collective\na,\n",
        b"source,collective\na,Irish\n",
        b"source,collective\na, irish\n",
        b"source,collective\na\x00,irish\n",
        b"source,collective\n\xff,irish\n",
        b"source,collective\n\xed\xa0\x80,irish\n",
        b"collective,source\na,irish\n",
        b"source,collective\n" + b"x" * 257 + b",irish\n",
    ],
)
def test_anything_but_the_one_spelling_is_refused(body: bytes) -> None:
    with pytest.raises(LedgerCorruptError, match="membership"):
        parse_membership(body)


def test_ids_that_cannot_stand_in_a_membership_are_named_before_it_is_written() -> None:
    with pytest.raises(InvalidInputError) as refused:
        render_membership({"a,b": "irish", "ok": "Irish", "\ud800": "irish", "x": "Irish"})
    fields = [violation.field for violation in refused.value.violations]
    assert fields == ["membership.source", "membership.source", "membership.collective"]
    with pytest.raises(InvalidInputError) as refused:
        render_membership({f"{number},": "irish" for number in range(150)})
    assert len(refused.value.violations) == 100
    assert refused.value.total == 150


def test_shares_are_taken_apart_in_order() -> None:
    """The helper that the other tests lean on."""
    batch = shares_of(score_batch([[("reel-1", 1.0)], [], [("strathspey", 1.0), ("reel-1", 3.0)]]), COUNT, MEMBERSHIP)
    assert shares_in(batch) == [{"irish": NANO}, {}, {"irish": 750_000_000, "scottish": 250_000_000}]


def test_memberships_are_parsed_once_while_their_bodies_fit_and_the_least_asked_for_goes_first() -> None:
    bodies = {name: render_membership({name * 100: "irish"}) for name in "abc"}
    remembered = ParsedMemberships(bytes_max=2 * len(bodies["a"]))
    first = {name: remembered.parse(name, bodies[name]) for name in "ab"}
    assert remembered.get("a") is first["a"]
    remembered.parse("c", bodies["c"])
    assert remembered.get("b") is None
    assert remembered.get("a") is first["a"]
    large = render_membership({str(number): "irish" for number in range(1_000)})
    assert remembered.parse("large", large) is remembered.get("large")
    assert remembered.get("a") is remembered.get("c") is None


def test_sources_without_a_membership_are_collectives() -> None:
    batch = score_batch([[("irish", 3.0), ("breton", 1.0)]])
    assert shares_in(shares_of(batch, COUNT, None)) == [{"breton": 250_000_000, "irish": 750_000_000}]


# What must not reach a share.

_DIGEST_OF_SHARES: Final = """
import hashlib
import numpy as np
from ledger.usage.methods import ScoreKind, ScoreOrder, ScoreRule
from ledger.usage.scores import shares_of
from tests.support.scores import plain_batch

random = np.random.Generator(np.random.PCG64(1))
lengths = random.integers(0, 400, 500)
offsets = np.concatenate(([0], np.cumsum(lengths)))
scores = random.standard_normal(offsets[-1]) * 10.0 ** random.integers(-300, 300, offsets[-1])
sources = tuple(f"s{number}" for number in range(400))
index = np.concatenate([random.permutation(400)[:length] for length in lengths])
batch = plain_batch(scores, index, offsets, sources)
digest = hashlib.sha256()
for order in ScoreOrder:
    found = shares_of(batch, ScoreRule(ScoreKind.SIGNED_INFLUENCE, order), {name: f"c{name[1]}" for name in sources})
    digest.update(found.offsets.tobytes() + found.name_index.tobytes() + found.amounts.tobytes())
print(digest.hexdigest(), len(found.amounts))
"""


def test_neither_threads_nor_a_processor_s_features_reach_a_share() -> None:
    """Another numpy, or another machine, sums and multiplies with other instructions."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # type: ignore[import-not-found] # noqa: PLC0415

    without = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
    variants: list[dict[str, str]] = [
        {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"},
        {"NPY_DISABLE_CPU_FEATURES": without},
    ]
    found = set()
    for variant in variants:
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST_OF_SHARES], env={**os.environ, **variant}, cwd=ROOT, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        found.add(done.stdout)
    (same,) = found
    assert int(same.split()[1]) > 500
