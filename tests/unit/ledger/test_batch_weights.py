"""A batch's weights by example: sums past 2^63, and the stored form down to its bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from ledger.errors import LedgerCorruptError
from ledger.registry import NANO
from ledger.usage.entries import ModeTotals
from ledger.usage.format import AI_ONLY, HUMAN_AI, MAX_EVENTS, MAX_UNITS
from ledger.usage.shares import parse_batch
from ledger.usage.weights import LIMB_BITS, ModeWeights, pack, unpack, weigh
from tests.support.batches import Event, body_of, event_id, some_events


def row(collective: int, weight: int, *, count: int = 1) -> bytes:
    """20 bytes: the number, the count and the high limb in 32 bits each, the low limb in 64, all little-endian."""
    return struct.pack("<IIIQ", collective, count, weight >> 44, weight & (2**44 - 1))


def weights_of(of_mode: ModeWeights) -> dict[int, int]:
    limbs = zip(of_mode.index.tolist(), of_mode.low.tolist(), of_mode.high.tolist(), strict=True)
    return {index: low + (high << LIMB_BITS) for index, low, high in limbs}


def counts_of(of_mode: ModeWeights) -> dict[int, int]:
    return dict(zip(of_mode.index.tolist(), of_mode.count.tolist(), strict=True))


def test_a_weight_is_units_times_share_summed_per_mode_and_collective() -> None:
    events = [
        Event(event_id(1), units=3, mode=AI_ONLY, shares=(("alpha", 200_000_000), ("beta", 300_000_000))),
        Event(event_id(2), units=5, mode=HUMAN_AI, shares=(("beta", NANO),)),
        Event(event_id(3), units=7, mode=AI_ONLY, shares=(("beta", 1),)),
        Event(event_id(4), units=11, mode=HUMAN_AI, shares=()),
    ]
    weights = weigh(parse_batch(body_of(events)), np.array([True] * 4))
    # AI_ONLY: alpha 3 * 0.2, beta 3 * 0.3 + 7 nano; unclaimed 3 * 0.5 and 7 less 7 nano. In nano-units:
    assert weights_of(weights[AI_ONLY]) == {0: 600_000_000, 1: 900_000_007}
    assert weights[AI_ONLY].totals() == ModeTotals(events=2, attributed=1_500_000_007, unattributed=8_499_999_993)
    assert counts_of(weights[AI_ONLY]) == {0: 1, 1: 2}
    # HUMAN_AI: beta 5; unclaimed 11.
    assert weights_of(weights[HUMAN_AI]) == {1: 5_000_000_000}
    assert counts_of(weights[HUMAN_AI]) == {1: 1}
    assert weights[HUMAN_AI].totals() == ModeTotals(events=2, attributed=5_000_000_000, unattributed=11_000_000_000)


def test_events_left_out_weigh_nothing() -> None:
    events = some_events(3, units=2, shares=(("alpha", 1),))
    weights = weigh(parse_batch(body_of(events)), np.array([False, True, False]))
    assert weights_of(weights[AI_ONLY]) == {0: 2}
    assert counts_of(weights[AI_ONLY]) == {0: 1}
    assert weights[AI_ONLY].totals() == ModeTotals(events=1, attributed=2, unattributed=2 * NANO - 2)
    nothing = weigh(parse_batch(body_of(events)), np.array([False] * 3))
    assert weights_of(nothing[AI_ONLY]) == {}
    for mode in (AI_ONLY, HUMAN_AI):
        assert nothing[mode].totals() == ModeTotals(events=0, attributed=0, unattributed=0)


def test_a_collective_that_no_event_names_is_absent() -> None:
    events = [Event(event_id(1), shares=(("alpha", 1),)), Event(event_id(2), mode=HUMAN_AI, shares=(("beta", 1),))]
    weights = weigh(parse_batch(body_of(events)), np.array([True, False]))
    assert weights[AI_ONLY].index.tolist() == [0]
    assert weights[HUMAN_AI].index.tolist() == []


@pytest.mark.parametrize("count", [7, 8, 1_000])
@pytest.mark.parametrize("more", [0, 1])
def test_counts_and_weights_are_exact_up_to_where_64_bits_hold_both_and_beyond(count: int, more: int) -> None:
    """A count of so many events leaves 63 bits less its own for the sum: the largest units that fit, and one more."""
    units = (2 ** (63 - count.bit_length()) - 1) // (count * NANO) + more
    events = some_events(count, units=units, shares=(("alpha", NANO),))
    accepted = np.arange(count) > 0
    weights = weigh(parse_batch(body_of(events)), accepted)
    counted = count - 1
    assert weights_of(weights[AI_ONLY]) == {0: counted * units * NANO}
    assert counts_of(weights[AI_ONLY]) == {0: counted}
    assert weights[AI_ONLY].totals() == ModeTotals(events=counted, attributed=counted * units * NANO, unattributed=0)
    assert weights[HUMAN_AI].totals() == ModeTotals(events=0, attributed=0, unattributed=0)


@pytest.mark.parametrize("count", [1, 9, 10, MAX_EVENTS])
def test_a_whole_batch_at_the_limits_is_exact(count: int) -> None:
    """9 * 10^18 is below 2^63 and 10 * 10^18 above it: the last sum of one limb, and the first of two."""
    batch = parse_batch(body_of(some_events(count, units=MAX_UNITS, shares=(("alpha", NANO),))))
    weights = weigh(batch, np.ones(count, dtype=np.bool_))[AI_ONLY]
    assert weights_of(weights) == {0: count * 10**18}
    assert weights.attributed() == count * 10**18
    assert weights.unattributed == 0
    unclaimed = weigh(parse_batch(body_of(some_events(count, units=MAX_UNITS))), np.ones(count, dtype=np.bool_))
    assert unclaimed[AI_ONLY].attributed() == 0
    assert unclaimed[AI_ONLY].unattributed == count * 10**18


def test_limbs_are_normalised_whichever_way_they_were_summed() -> None:
    for count in (9, 10):
        shares = (("alpha", NANO - 1), ("beta", 1))
        batch = parse_batch(body_of(some_events(count, units=MAX_UNITS, shares=shares)))
        weights = weigh(batch, np.ones(count, dtype=np.bool_))[AI_ONLY]
        assert ((weights.low >= 0) & (weights.low < 2**44)).all()
        assert weights_of(weights) == {0: count * 10**9 * (10**9 - 1), 1: count * 10**9}


def test_the_stored_form_is_20_bytes_a_collective_by_registry_number() -> None:
    weights = ModeWeights(
        events=1,
        index=np.array([0, 1, 3]),
        count=np.array([1, 65_536, 2]),
        low=np.array([5, 2**44 - 1, 0]),
        high=np.array([0, 2**32 - 1, 1]),
        unattributed=0,
    )
    registry_numbers = np.array([7, 2**31, 99, 4])
    stored = pack(weights, registry_numbers)
    assert stored == row(4, 2**44, count=2) + row(7, 5) + row(2**31, 2**76 - 1, count=65_536)
    numbers, count, low, high = unpack(stored)
    assert numbers.tolist() == [4, 7, 2**31]
    assert count.tolist() == [2, 1, 65_536]
    assert low.tolist() == [0, 5, 2**44 - 1]
    assert high.tolist() == [1, 0, 2**32 - 1]


def test_nothing_is_stored_as_nothing() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert pack(ModeWeights(0, empty, empty, empty, empty, 0), np.array([1, 2])) == b""
    assert [part.tolist() for part in unpack(b"")] == [[], [], [], []]


@pytest.mark.parametrize(
    "stored",
    [
        row(1, 5)[:-1],
        row(1, 5) + b"\x00",
        row(2, 5) + row(1, 5),
        row(1, 5) + row(1, 5),
        row(1, 5) + row(3, 5) + row(2, 5),
        struct.pack("<IIIQ", 1, 1, 0, 2**44),
        struct.pack("<IIIQ", 1, 1, 0, 2**63 - 1),
        struct.pack("<IIIQ", 1, 1, 0, 2**63),
        struct.pack("<IIIQ", 1, 1, 0, 2**64 - 1),
    ],
)
def test_what_pack_cannot_have_made_is_refused(stored: bytes) -> None:
    with pytest.raises(LedgerCorruptError) as refused:
        unpack(stored)
    assert refused.value.subject == "stored weights"
