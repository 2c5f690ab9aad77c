"""Strategies for usage events: sound ones, and ones near the bounds."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from tests.support.batches import (
    Event,
)

LAST_MICROSECOND: Final = 253_402_300_799_999_999
NAMES: Final = ("alpha", "beta", "gamma", "délta")
event_ids = st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), bytes(15) + b"\x01", b"\x01" + bytes(15)])
compressions = st.sampled_from([None, "lz4", "zstd"])
sound_events = st.builds(
    Event,
    event_id=event_ids,
    work_id=st.none() | st.text(max_size=64),
    occurred_at=st.integers(0, LAST_MICROSECOND),
    units=st.integers(1, 10**9),
    mode=st.sampled_from([1, 2]),
    shares=st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(1, 10**9 // 4)), max_size=4, unique_by=lambda share: share[0]
    ).map(tuple),
)
near_the_bounds = st.builds(
    Event,
    event_id=event_ids,
    work_id=st.none() | st.sampled_from(["", "é" * 128, "x" * 256, "é" * 128 + "x", "x" * 257]),
    occurred_at=st.sampled_from([-(2**63), -1, 0, 1, LAST_MICROSECOND, LAST_MICROSECOND + 1, 2**63 - 1]),
    units=st.sampled_from([-(2**63), -1, 0, 1, 10**9, 10**9 + 1, 2**63 - 1]),
    mode=st.integers(0, 3) | st.just(255),
    shares=st.lists(
        st.tuples(st.sampled_from(NAMES[:2]), st.sampled_from([-(2**31), -1, 0, 1, 10**9 - 1, 10**9, 2**31 - 1])),
        max_size=4,
    ).map(tuple),
)
batches_of_sound_events = st.lists(sound_events, min_size=1, max_size=30)
