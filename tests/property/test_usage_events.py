"""A batch sent as messages is the batch that the same events make as an Arrow stream."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidInputError, Violation
from ledger.usage.batch import Batch
from ledger.usage.encoding import body_of
from ledger.usage.format import MAX_OCCURRED_AT
from ledger.usage.shares import parse_batch
from moiety.v1 import usage_pb2 as pb
from services.api.usage.events import columns_of
from services.api.usage.wire import columns_in, scan
from tests.support.batches import Event, events_in, record_batch, stream
from tests.support.usage_strategies import near_the_bounds, sound_events


def fits_a_column(event: Event) -> bool:
    return 0 <= (event.occurred_at or 0) <= MAX_OCCURRED_AT


some_events = sound_events | near_the_bounds
batches_of_events = st.lists(some_events, min_size=1, max_size=12)
batches_that_fit = st.lists(some_events.filter(fits_a_column), min_size=1, max_size=12)


def message_of(event: Event) -> pb.UsageEvent:
    message = pb.UsageEvent(event_id=str(UUID(bytes=event.event_id)), work_id=event.work_id, units=event.units or 0)
    message.mode = event.mode  # type: ignore[assignment]  # numbers that the contract does not name travel too
    seconds, microseconds = divmod(event.occurred_at or 0, 1_000_000)
    message.occurred_at.seconds, message.occurred_at.nanos = seconds, microseconds * 1_000
    for collective, share in event.shares or ():
        message.shares.add(collective_id=collective, share_nano=share)
    return message


def outcome(body: bytes, *written: Any) -> Batch | tuple[tuple[Violation, ...], int]:
    try:
        return parse_batch(body, *written)
    except InvalidInputError as error:
        return tuple(error.violations), error.total


@given(batches_of_events)
def test_what_is_written_is_judged_as_what_is_read(events: list[Event]) -> None:
    messages = [message_of(event) for event in events]
    if not all(map(fits_a_column, events)):
        with pytest.raises(InvalidInputError):
            columns_of(messages)
        return
    columns = columns_of(messages)
    body = body_of(columns)
    written, read = outcome(body, columns), outcome(body)
    if isinstance(read, tuple):
        assert written == read
        return
    assert isinstance(written, Batch)
    assert events_in(written) == events_in(read) == events
    assert written.names == read.names == tuple(sorted(written.names))
    for column in ("event_ids", "occurred_at", "units", "modes", "offsets", "name_index", "amounts"):
        ours, theirs = getattr(written, column), getattr(read, column)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@given(batches_that_fit)
def test_the_bytes_are_those_that_arrow_writes(events: list[Event]) -> None:
    """So a batch that comes again is the same batch, whichever version of the service wrote it first."""
    named = {collective for event in events for collective, _ in event.shares or () if collective is not None}
    written = stream(record_batch(events, dictionary=sorted(named)))
    assert body_of(columns_of([message_of(event) for event in events])) == written


def test_the_bytes_stay_the_same_for_ever() -> None:
    """Rule: a batch that comes again is known by its bytes, and may come again after an upgrade."""
    events = [
        Event(bytes(range(16)), "urn:iscc:1", 1_768_473_000_000_001, 3, 2, (("sea", 600_000_000), ("oud", 1))),
        Event(bytes(range(1, 17)), None, 0, 1, 1, ()),
    ]
    bodies = [body_of(columns_of([message_of(event) for event in some])) for some in (events, events[1:])]
    assert [sha256(body).hexdigest() for body in bodies] == [
        "65857126625f1cdea97928db47908519d3932d46007b940cdcedce2ee3f2e22d",
        "495a8f0af8926325445003225388fc344ef34c7d0ed5593d7a66e68888e5e6de",
    ]


def request_of(events: list[Event]) -> pb.SubmitUsageRequest:
    return pb.SubmitUsageRequest(
        parent="pools/folk", batch_id="b", method_id="m", events=map(message_of, events), validate_only=len(events) > 6
    )


def require_read_alike(raws: list[bytes], read: list[Batch]) -> None:
    for raw, columns in zip(raws, read, strict=True):
        expected = columns_of(pb.SubmitUsageRequest.FromString(raw).events)
        assert columns.names == expected.names
        assert body_of(columns) == body_of(expected)
        for column in ("event_ids", "occurred_at", "units", "modes", "offsets", "name_index", "amounts"):
            ours, theirs = getattr(columns, column), getattr(expected, column)
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


def usual(event: Event) -> Event:
    """The event with no field that has its default, which would be left out."""
    return replace(event, occurred_at=max(event.occurred_at or 0, 1_000_000))


@given(st.lists(st.lists(sound_events.map(usual), min_size=1, max_size=12), min_size=1, max_size=3))
def test_events_read_from_bytes_are_those_read_from_messages(batches: list[list[Event]]) -> None:
    requests = [request_of(events) for events in batches]
    raws = [request.SerializeToString() for request in requests]
    scanned = [each for raw in raws if (each := scan(raw))]
    read = columns_in(scanned)
    assert read is not None
    require_read_alike(raws, read)
    for each, request in zip(scanned, requests, strict=True):
        del request.events[:]
        assert each.request == request


@given(batches_of_events, st.data())
def test_whatever_is_read_from_bytes_is_what_protobuf_reads(events: list[Event], data: st.DataObject) -> None:
    """Rule: bytes that are not in the usual form are left to protobuf, and to what refuses them."""
    raw = bytearray(request_of(events).SerializeToString())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=3)):
        raw[place] = data.draw(st.sampled_from([0, 1, 6, 10, 12, 16, 18, 26, 32, 34, 40, 50, 127, 128, 255]))
    scanned = scan(bytes(raw))
    read = columns_in([scanned]) if scanned else None
    if scanned and read is not None:
        kept = pb.SubmitUsageRequest.FromString(bytes(raw))
        require_read_alike([bytes(raw)], read)
        del kept.events[:]
        assert scanned.request == kept
