"""The rules on names and amounts within events, against the same rules in plain Python."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage.batch import Batch, events_at
from ledger.usage.format import repeated_names

LARGEST: Final = 2**31 - 1

events = st.lists(
    st.lists(
        st.tuples(st.integers(0, 4) | st.sampled_from([0, 65_535]), st.sampled_from([1, LARGEST, -LARGEST - 1])),
        max_size=6,
    ),
    min_size=1,
    max_size=12,
)
"""For each event the number of each name, in any order, and its amount."""


def columns_of(rows: list[list[tuple[int, int]]]) -> Batch:
    parts = [part for row in rows for part in row]
    return Batch(
        event_ids=np.zeros(len(rows), dtype="V16"),
        work_ids=pa.nulls(len(rows), pa.utf8()),
        occurred_at=np.zeros(len(rows), dtype=np.int64),
        units=np.ones(len(rows), dtype=np.int64),
        modes=np.ones(len(rows), dtype=np.uint8),
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        name_index=np.array([name for name, _ in parts], dtype=np.int32),
        amounts=np.array([amount for _, amount in parts], dtype=np.int32),
        names=("any",) * 65_536,
    )


@given(events)
def test_a_name_repeats_only_within_its_event(rows: list[list[tuple[int, int]]]) -> None:
    """Rule: collective ids, none twice in one event; in ascending order or in any other."""
    expected = []
    for row in rows:
        names = [name for name, _ in row]
        expected += [name in names[:place] for place, name in enumerate(names)]
    assert repeated_names(columns_of(rows)).tolist() == expected
    ascending = [sorted(dict(row).items()) for row in rows]
    assert not repeated_names(columns_of(ascending)).any()


@given(events, st.data())
def test_amounts_are_found_in_their_events(rows: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    """Rule: a batch is refused with the positions of its invalid events; those without amounts have none to find."""
    columns = columns_of(rows)
    event_of = [position for position, row in enumerate(rows) for _ in row]
    places = data.draw(st.lists(st.sampled_from(range(len(event_of))), unique=True)) if event_of else []
    found = events_at(np.array(sorted(places), dtype=np.int64), columns.offsets)
    assert found.tolist() == sorted({event_of[place] for place in places})


@given(events)
def test_shares_are_summed_by_event_whatever_their_size(rows: list[list[tuple[int, int]]]) -> None:
    """Rule: an event's shares sum to at most 10^9, which is judged on sums that are exact beyond 2^31."""
    columns = columns_of(rows)
    batch = Batch(
        columns.event_ids, columns.work_ids, columns.occurred_at, columns.units, columns.modes, columns.offsets,
        columns.name_index, columns.amounts, columns.names,
    )  # fmt: skip
    assert batch.share_sums().tolist() == [sum(amount for _, amount in row) for row in rows]
