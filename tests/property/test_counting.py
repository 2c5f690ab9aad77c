"""What counts of several batches at once is what counts of each alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.registry import NANO
from ledger.usage.counting import Counted, counted, counted_together
from ledger.usage.decoding import read_columns
from ledger.usage.format import MODES
from ledger.usage.shares import SHARES, parse_batch
from tests.support.batches import Event, body_of, event_id

NAMES: Final = [f"c{number}" for number in range(6)]
MONTH_US: Final = 31 * 86_400_000_000

shares = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from([1, NANO // 6]) | st.integers(1, NANO // 6), max_size=6
)
events = st.builds(
    lambda units, mode, parts, work_id: Event(event_id(0), work_id, 0, units, mode, tuple(parts.items())),
    st.sampled_from([1, 10**9]) | st.integers(1, 10**9),
    st.sampled_from(MODES),
    shares,
    st.none() | st.text(max_size=5),
)


@st.composite
def batches(draw: st.DrawFn) -> list[list[Event]]:
    """Up to six batches of one month each, whose ids ascend; those of different batches may be the same."""
    found = []
    for rows in draw(st.lists(st.lists(events, min_size=1, max_size=8), min_size=1, max_size=6)):
        first, occurred_at = draw(st.integers(0, 20)), draw(st.integers(0, 20)) * MONTH_US
        found.append(
            [replace(row, event_id=event_id(first + at), occurred_at=occurred_at) for at, row in enumerate(rows)]
        )
    return found


def plain(found: Counted) -> dict[str, Any]:
    return {
        "first": found.first.tolist(),
        "ascending": found.ascending.tolist(),
        "weights": [
            (
                month, mode, part.events, part.unattributed, part.attributed(),
                *(each.tolist() for each in (part.index, part.count, part.low, part.high)),
            )
            for month, by_mode in found.weights.by_month.items()
            for mode, part in by_mode.items()
        ],
    }  # fmt: skip


@given(batches())
def test_together_is_as_alone(sent: list[list[Event]]) -> None:
    read = [parse_batch(body_of(each)) for each in sent]
    together = counted_together(read)
    assert together is not None
    assert [each.batch for each in together] == read
    assert [plain(each) for each in together] == [plain(counted(each)) for each in read]


GOOD: Final = [Event(event_id(3), shares=(("c1", 5),)), Event(event_id(4), shares=(("c2", 5),))]


@pytest.mark.parametrize(
    "other",
    [
        [GOOD[1], GOOD[0]],
        [GOOD[0], GOOD[0]],
        [GOOD[0], replace(GOOD[1], occurred_at=MONTH_US)],
        [replace(GOOD[0], units=0)],
        [replace(GOOD[0], units=10**9 + 1)],
        [replace(GOOD[0], mode=3)],
        [replace(GOOD[0], occurred_at=-1)],
        [replace(GOOD[0], work_id="x" * 1_000)],
        [replace(GOOD[0], shares=(("c1", 0),))],
        [replace(GOOD[0], shares=(("c1", NANO), ("c2", 1)))],
        [replace(GOOD[0], shares=(("c1", 1), ("c1", 1)))],
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_what_must_be_looked_at_alone_is_told(other: list[Event], place: int) -> None:
    good = read_columns(body_of(GOOD), SHARES)
    assert counted_together([good, good]) is not None
    assert counted_together([*[good] * place, read_columns(body_of(other), SHARES), good]) is None


def test_batches_without_events_are_looked_at_alone() -> None:
    assert counted_together([]) is None
