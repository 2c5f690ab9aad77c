"""Usage batches by their rules: an oracle that checks event by event, and bytes that nobody meant."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import InvalidInputError
from ledger.usage.batch import Batch
from ledger.usage.shares import first_occurrences, parse_batch, require_known
from tests.support.batches import (
    Event,
    body_of,
    event_id,
    events_in,
    framed,
    joined,
    record_batch,
    some_events,
    stream,
)
from tests.support.usage_strategies import (
    LAST_MICROSECOND,
    NAMES,
    batches_of_sound_events,
    compressions,
    event_ids,
    near_the_bounds,
    sound_events,
)


def breaches(event: Event) -> Iterator[str]:
    """The columns in which an event breaks a rule of design section 6, in the order of the rules."""
    names = [name for name, _ in event.shares or ()]
    shares = [share or 0 for _, share in event.shares or ()]
    if not 1 <= (event.units or 0) <= 10**9:
        yield "units"
    if event.mode not in (1, 2):
        yield "mode"
    if not 0 <= (event.occurred_at or 0) <= LAST_MICROSECOND:
        yield "occurred_at"
    if len((event.work_id or "").encode()) > 256:
        yield "work_id"
    if any(share < 1 for share in shares):
        yield "shares"
    if sum(shares) > 10**9:
        yield "shares"
    if len(set(names)) < len(names):
        yield "collectives"


@given(batches_of_sound_events, compressions, st.data())
def test_sound_events_are_read_as_they_were_sent(
    events: list[Event], compression: str | None, data: st.DataObject
) -> None:
    """Rule: the columns of section 6, whatever the compression, the dictionary's order and the slice."""
    dictionary = data.draw(st.permutations(NAMES))
    first = data.draw(st.integers(0, len(events) - 1))
    batch = record_batch(events, dictionary=dictionary).slice(first)
    assert events_in(parse_batch(stream(batch, compression=compression))) == events[first:]


@given(st.lists(sound_events | near_the_bounds, min_size=1, max_size=30))
def test_a_batch_is_taken_or_refused_whole_by_the_rules_on_each_event(events: list[Event]) -> None:
    """Rule: "a batch with an invalid event is refused whole, with the positions and reasons (the first 100)"."""
    expected = [f"events[{position}].{column}" for position, event in enumerate(events) for column in breaches(event)]
    if not expected:
        assert events_in(parse_batch(body_of(events))) == events
        return
    with pytest.raises(InvalidInputError) as refused:
        parse_batch(body_of(events))
    assert [violation.field for violation in refused.value.violations] == expected[:100]
    assert refused.value.total == len(expected)


@given(batches_of_sound_events)
def test_sums_and_owners_of_shares_are_those_of_the_events(events: list[Event]) -> None:
    """Rule: "an event's shares sum to at most 1,000,000,000; the rest is unattributed"."""
    batch = parse_batch(body_of(events))
    assert batch.share_sums().tolist() == [sum(share or 0 for _, share in event.shares or ()) for event in events]
    owners = [position for position, event in enumerate(events) for _ in event.shares or ()]
    assert batch.event_of_amount().tolist() == owners


@given(st.lists(st.lists(st.integers(0, 2), min_size=16, max_size=16).map(bytes) | event_ids, min_size=1, max_size=60))
def test_an_event_is_first_where_its_id_has_not_come_before(ids: list[bytes]) -> None:
    """Rule: "an event by (pool, platform, event_id) - a duplicate is counted, reported by position"."""
    first, ascending = first_occurrences(parse_batch(body_of([Event(identity) for identity in ids])))
    assert first.tolist() == [identity not in ids[:position] for position, identity in enumerate(ids)]
    assert [ids[position] for position in ascending] == sorted(set(ids))
    assert first[ascending].all()


@given(st.lists(sound_events, min_size=1, max_size=60), st.sets(st.sampled_from(NAMES)))
def test_every_share_of_an_unregistered_collective_is_named(events: list[Event], registered: set[str]) -> None:
    """Rule: collectives are ids of registered ones; what only the dictionary holds may be anything."""
    batch = parse_batch(stream(record_batch(events, dictionary=NAMES)))
    known = np.array([name in registered for name in batch.names])
    expected = [
        (f"events[{position}].collectives", f"{name!r} is not registered")
        for position, event in enumerate(events)
        for name, _ in event.shares or ()
        if name not in registered
    ]
    try:
        require_known(batch, known)
        found, total = [], 0
    except InvalidInputError as error:
        found, total = [(violation.field, violation.reason) for violation in error.violations], error.total
    assert found == expected[:100]
    assert total == len(expected)


def outcome(body: bytes) -> Batch | InvalidInputError:
    """The batch, or why it is refused. Any other exception fails the test that asks."""
    try:
        return parse_batch(body)
    except InvalidInputError as error:
        return error


def taken(body: bytes) -> Batch | None:
    """The batch, or None where it is refused as it should be."""
    batch = outcome(body)
    if isinstance(batch, InvalidInputError):
        assert 1 <= len(batch.violations) <= 100
        assert batch.total >= len(batch.violations)
        assert all(len(violation.reason) < 1000 for violation in batch.violations)
        return None
    # What is taken must bear use.
    assert len(batch.event_ids) == len(batch) == len(batch.modes) == len(batch.occurred_at) == len(batch.work_ids)
    assert batch.offsets[-1] == len(batch.amounts) == len(batch.name_index)
    assert not [column for event in events_in(batch) for column in breaches(event)]
    return batch


SEEDS: Final = [
    stream(batch, compression=compression)
    for compression in (None, "lz4", "zstd")
    for batch in (
        record_batch(some_events(3, work_id="urn:work", shares=(("alpha", 1), ("beta", 2)))),
        record_batch([Event(event_id(1), None, shares=()), Event(event_id(2), "w", shares=(("alpha", 10**9),))]),
        record_batch(some_events(40, shares=(("alpha", 5),))),
    )
]
NUMBERS: Final = [0, 1, 2, 3, 4, 7, 8, 2**7, 2**8 - 1, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1]
NUMBERS_OF_8_BYTES: Final = [*NUMBERS, 2**63, 2**64 - 1]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound stream in which a few places of its metadata, bodies or frames were written over."""
    body = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.sampled_from([1, 2, 4, 8]))
        at = draw(st.integers(0, len(body) // size - 1)) * size
        numbers = st.sampled_from([number for number in NUMBERS_OF_8_BYTES if number < 256**size])
        written = draw(numbers | st.integers(0, 256**size - 1))
        body[at : at + size] = written.to_bytes(size, "little")
    return bytes(body)


@settings(max_examples=500)
@given(mutated())
def test_mutated_bytes_are_taken_or_refused_and_nothing_else(body: bytes) -> None:
    """Rule: "Arrow from outside is hostile until validated"."""
    taken(body)


@settings(max_examples=300)
@given(st.data())
def test_messages_of_different_streams_put_together_are_taken_or_refused(data: st.DataObject) -> None:
    """Rule: as above; each message is sound here, and what they say of each other may not be."""
    messages = [message for seed in SEEDS for message in framed(seed)]
    chosen = data.draw(st.lists(st.sampled_from(messages), max_size=4))
    if data.draw(st.booleans()):
        chosen = [framed(data.draw(st.sampled_from(SEEDS)))[place] for place in range(3)]
    taken(joined(chosen))


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_arbitrary_bytes_are_refused(content: bytes, metadata_bytes: int) -> None:
    """Rule: as above. A message's frame may be in order and what it frames may not."""
    assert taken(content) is None
    assert taken(struct.pack("<II", 0xFFFFFFFF, metadata_bytes) + content) is None
    assert taken(struct.pack("<II", 0xFFFFFFFF, len(content)) + content) is None


@given(st.sampled_from(SEEDS), st.data())
def test_a_cut_stream_is_never_a_smaller_batch(body: bytes, data: st.DataObject) -> None:
    """Rule: a batch is taken whole or not at all."""
    batch = taken(body[: data.draw(st.integers(0, len(body) - 1))])
    assert batch is None or events_in(batch) == events_in(parse_batch(body))
