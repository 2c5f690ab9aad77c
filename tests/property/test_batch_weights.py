"""A batch's weights against the same sums in plain Python integers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ledger.registry import NANO
from ledger.usage.format import AI_ONLY, HUMAN_AI, MAX_MONTHS, MODES
from ledger.usage.shares import parse_batch
from ledger.usage.weights import LIMB_BITS, pack, unpack, weigh, weigh_by_month
from tests.support.batches import Event, body_of, event_id

NAMES: Final = [f"c{number}" for number in range(6)]

# Often at the limits: ten events of 10^9 units are past what one limb holds.
many_units = st.sampled_from([1, 10**9 - 1, 10**9]) | st.integers(1, 10**9)


@st.composite
def shares(draw: st.DrawFn) -> tuple[tuple[str, int], ...]:
    """Shares of up to six collectives, often the whole of an event."""
    left, parts = NANO, []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        if left:
            parts.append((name, draw(st.just(left) | st.just(1) | st.integers(1, left))))
            left -= parts[-1][1]
    return tuple(parts)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Event], list[bool]]:
    """Up to 40 events, and which are accepted."""
    rows = draw(
        st.lists(st.tuples(many_units, st.sampled_from(MODES), shares(), st.booleans()), min_size=1, max_size=40)
    )
    events = [
        Event(event_id(number), units=units, mode=mode, shares=parts)
        for number, (units, mode, parts, _) in enumerate(rows)
    ]
    return events, draw(st.just([True] * len(rows)) | st.just([accepted for *_, accepted in rows]))


def naive(events: list[Event], accepted: list[bool], mode: int) -> tuple[int, Counter[str], Counter[str], int]:
    """How many events, how many name each collective and its weight, and the unattributed weight."""
    counted, named, weights, unattributed = 0, Counter[str](), Counter[str](), 0
    for event, counts in zip(events, accepted, strict=True):
        if counts and event.mode == mode:
            counted += 1
            unattributed += (event.units or 0) * NANO
            for name, share in event.shares or ():
                named[name or ""] += 1
                weights[name or ""] += (event.units or 0) * (share or 0)
                unattributed -= (event.units or 0) * (share or 0)
    return counted, named, weights, unattributed


@given(batches())
def test_weights_are_those_of_plain_integers(case: tuple[list[Event], list[bool]]) -> None:
    """Rule: `weight(e, c) = u * s`, and `u * (10^9 - sum of shares)` is unattributed; "never in float64"."""
    events, accepted = case
    batch = parse_batch(body_of(events))
    weights = weigh(batch, np.array(accepted))
    assert set(weights) == {AI_ONLY, HUMAN_AI}
    for mode in MODES:
        counted, named, expected, unattributed = naive(events, accepted, mode)
        found = weights[mode]
        limbs = zip(found.index.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
        assert {batch.names[index]: low + (high << LIMB_BITS) for index, low, high in limbs} == dict(expected)
        assert found.index.tolist() == sorted(found.index.tolist())
        counts = zip(found.index.tolist(), found.count.tolist(), strict=True)
        assert {batch.names[index]: count for index, count in counts} == dict(named)
        assert all(0 <= low < 2**LIMB_BITS for low in found.low.tolist())
        totals = found.totals()
        assert (totals.events, totals.attributed, totals.unattributed) == (
            counted,
            sum(expected.values()),
            unattributed,
        )
        assert {type(totals.events), type(totals.attributed), type(totals.unattributed)} == {int}


@given(batches())
def test_attributed_and_unattributed_make_up_all_units(case: tuple[list[Event], list[bool]]) -> None:
    """Rule: conservation; a unit is a thousand million nano-units, claimed or not."""
    events, accepted = case
    weights = weigh(parse_batch(body_of(events)), np.array(accepted))
    for mode in MODES:
        units = sum(
            event.units or 0 for event, counts in zip(events, accepted, strict=True) if counts and event.mode == mode
        )
        assert weights[mode].attributed() + weights[mode].unattributed == units * NANO


@given(batches(), st.data())
def test_the_order_of_events_does_not_matter(case: tuple[list[Event], list[bool]], data: st.DataObject) -> None:
    """Rule: order independence; a sum has no order."""
    events, accepted = case
    order = data.draw(st.permutations(range(len(events))))
    mine = weigh(parse_batch(body_of(events)), np.array(accepted))
    shuffled = parse_batch(body_of([events[place] for place in order]))
    theirs = weigh(shuffled, np.array([accepted[place] for place in order]))
    for mode in MODES:
        assert mine[mode].totals() == theirs[mode].totals()


@given(batches(), st.permutations([1, 2, 300, 70_000, 2**31, 2**32 - 1]))
def test_what_is_packed_is_unpacked(case: tuple[list[Event], list[bool]], numbers: list[int]) -> None:
    """Rule: storage is by batch; 20 bytes hold a collective's count and weight exactly."""
    events, accepted = case
    for found in weigh(parse_batch(body_of(events)), np.array(accepted)).values():
        registry_numbers = np.array(numbers)
        stored = pack(found, registry_numbers)
        assert len(stored) == 20 * len(found.index)
        by_number = {
            numbers[index]: limbs
            for index, *limbs in zip(
                found.index.tolist(), found.count.tolist(), found.low.tolist(), found.high.tolist(), strict=True
            )
        }
        unpacked = zip(*(part.tolist() for part in unpack(stored)), strict=True)
        assert [(number, limbs) for number, *limbs in unpacked] == sorted(by_number.items())


new_year = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
moments = st.integers(0, 3 * 365 * 86_400 * 10**6) | st.integers(new_year - 2, new_year + 2)


@given(batches(), st.data())
def test_weights_of_the_months_are_those_of_the_events_in_each(
    case: tuple[list[Event], list[bool]], data: st.DataObject
) -> None:
    """Rule: "weights are kept per batch, mode and UTC month"; together they are the batch's."""
    events, accepted = case
    same = data.draw(moments)
    times = [data.draw(st.just(same) | moments) for _ in events]
    dated = [replace(event, occurred_at=time) for event, time in zip(events, times, strict=True)]
    dates = [datetime.fromtimestamp(time // 1_000_000, UTC) for time in times]
    months = [12 * date.year + date.month - 1 for date in dates]
    if len(set(months)) > MAX_MONTHS:
        return
    batch = parse_batch(body_of(dated))
    found = weigh_by_month(batch, np.array(accepted))
    whole = weigh(batch, np.array(accepted))
    for mode in MODES:
        assert found.totals(mode) == whole[mode].totals()
    there = {(month, event.mode) for month, event, counts in zip(months, events, accepted, strict=True) if counts}
    assert {(month, mode) for month, mode, _ in found.parts()} == there
    for month, mode, of_mode in found.parts():
        chosen = [counts and at == month for counts, at in zip(accepted, months, strict=True)]
        counted, named, expected, unattributed = naive(dated, chosen, mode)
        limbs = zip(of_mode.index.tolist(), of_mode.low.tolist(), of_mode.high.tolist(), strict=True)
        assert {batch.names[index]: low + (high << LIMB_BITS) for index, low, high in limbs} == dict(expected)
        assert dict(zip((batch.names[at] for at in of_mode.index), of_mode.count.tolist(), strict=True)) == dict(named)
        assert (of_mode.events, of_mode.unattributed) == (counted, unattributed)
