"""SubmitUsage messages as columns, read from their bytes.

Reading 800 shares from message objects takes most of a small call's time, for each is a Python object. Writers of
protobuf put the fields of a message in the order of their numbers and leave defaults out, so almost every message has
one form; here that form is read with numpy, all events of all messages at a time. Nothing else is read: whatever is not
in that form, or would be refused by `columns_of`, is left to protobuf, to `columns_of` and to their errors.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError

from ledger.errors import InvalidInputError
from ledger.usage.batch import Batch, Int64Array, only_named
from ledger.usage.format import MAX_OCCURRED_AT
from ledger.usage.repeats import MIX
from moiety.v1 import usage_pb2 as pb
from services.api.usage.events import MAX_ROW_EVENTS

_TEXTS_BEFORE: Final = frozenset((0x0A, 0x12, 0x1A))
"""The tags of `parent`, `batch_id` and `method_id`, which come before the events."""

_REST_BYTES_MAX: Final = 1_024
"""More than the fields before and behind the events have; it is for protobuf whether it is all in one field."""

_WALKED_EVENTS_MAX: Final = 10 * MAX_ROW_EVENTS
"""Too many events are counted up to here. 4 MiB may have two million, and walking them takes a third of a second."""

_EVENT: Final = 0x22
_EVENT_ID, _WORK_ID, _OCCURRED_AT, _UNITS, _MODE, _SHARE = 0x0A, 0x12, 0x1A, 0x20, 0x28, 0x32
_SECONDS, _NANOS = 0x08, 0x10
_COLLECTIVE_ID, _SHARE_NANO = 0x0A, 0x10

_ONE_BYTE: Final = 128
"""A varint below it has one byte."""

_UUID_LENGTH: Final = 36
_DASHES: Final = [8, 13, 18, 23]
_DIGITS: Final = [place for place in range(_UUID_LENGTH) if place not in _DASHES]
_NANOS_END: Final = 10**9
_INT32_MAX: Final = 2**31 - 1

_PADDING: Final = 256
"""Zeros behind the messages: more than is read beyond a place before it is known what belongs there."""

_LAST_BITS: Final = np.uint64(0x8080808080808080)
_SEVEN_BITS: Final = np.uint64(0x7F)
_FIRST_BYTES: Final = np.array(
    [(1 << 8 * min(count, 8)) - 1 for count in range(_ONE_BYTE)] + [0] * _ONE_BYTE, np.uint64
)
"""Masks for as many first bytes of a word; for none at negative places."""

_Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Scanned:
    """A message in the usual form, as far as its own fields go.

    Attributes:
        request: the message without its events. It has every required field.
        ends: where the first of its events begins in `raw`, with its tag and length, and where each ends.
    """

    request: pb.SubmitUsageRequest
    raw: bytes
    ends: list[int]


class _OtherFormError(Exception):
    """The bytes are not in the one form that is read here."""


_OTHER_FORM: Final = (_OtherFormError, UnicodeDecodeError, DecodeError, IndexError)


def scan(raw: bytes) -> Scanned | None:
    """Returns the message in these bytes; None if it is not in the usual form, or is none.

    Raises:
        InvalidInputError: it has so many events that nobody counts them.
    """
    try:
        return _scan(raw)
    except _OTHER_FORM:
        return None


def is_usual(raw: bytes) -> bool:
    """Returns whether `scan` reads these bytes, or refuses them."""
    try:
        return scan(raw) is not None
    except InvalidInputError:
        return True


def columns_in(scanned: Sequence[Scanned]) -> list[Batch] | None:
    """Returns of each message what `columns_of` would return for its events.

    None if an event is not in the usual form, or has a value that `columns_of` would refuse.
    """
    try:
        return _columns_in(scanned)
    except _OTHER_FORM:
        return None


def _scan(raw: bytes) -> Scanned:
    first = _head_end(raw)
    ends = _event_ends(raw, first)
    _require(len(ends) > 1 and first + len(raw) - ends[-1] <= _REST_BYTES_MAX)
    request = pb.SubmitUsageRequest.FromString(raw[:first] + raw[ends[-1] :])
    _require(request.parent and request.batch_id and request.method_id and not request.events)
    return Scanned(request, raw, ends)


def _columns_in(scanned: Sequence[Scanned]) -> list[Batch]:
    data = b"".join((*(each.raw for each in scanned), bytes(_PADDING)))
    offsets = accumulate((len(each.raw) for each in scanned), initial=0)
    bounds = [np.array(each.ends) + offset for each, offset in zip(scanned, offsets, strict=False)]
    tags = np.concatenate([each[:-1] for each in bounds])
    starts = tags + 2 + (np.frombuffer(data, dtype=np.uint8)[tags + 1] >= _ONE_BYTE)
    columns = _Columns(data, starts, np.concatenate([each[1:] for each in bounds]))
    until = accumulate((len(each.ends) - 1 for each in scanned), initial=0)
    return [columns.of(first, end) for first, end in pairwise(until)]


def _require(fits: Any) -> None:
    if not fits:
        raise _OtherFormError


def _head_end(raw: bytes) -> int:
    at = 0
    while raw[at] in _TEXTS_BEFORE and at <= _REST_BYTES_MAX:
        _require(raw[at + 1] < _ONE_BYTE)  # longer ones are refused
        at += 2 + raw[at + 1]
    return at


def _event_ends(raw: bytes, at: int) -> list[int]:
    """Returns where each of the events from a place on ends; the first number is the place.

    Raises:
        InvalidInputError: there are so many that nobody counts them.
    """
    size = len(raw)
    ends = [at]
    while at < size and raw[at] == _EVENT:
        length = raw[at + 1]
        if length < _ONE_BYTE:
            at += 2 + length
        elif raw[at + 2] < _ONE_BYTE:
            at += 3 + (length & 127 | raw[at + 2] << 7)
        else:
            raise _OtherFormError
        ends.append(at)
        if len(ends) > _WALKED_EVENTS_MAX:
            raise InvalidInputError.of("events", f"must be 1 to {MAX_ROW_EVENTS}, got more than {_WALKED_EVENTS_MAX}")
    _require(at <= size)
    return ends


class _Columns:
    """The columns of all events: each begins and ends, (n,), in the same bytes."""

    def __init__(self, data: bytes, starts: Int64Array, ends: Int64Array) -> None:
        self._data = data
        self._bytes = np.frombuffer(data, dtype=np.uint8)
        self._words: _Words = np.ndarray(len(data) - 8, np.dtype("<u8"), data, strides=(1,))
        """The eight bytes from each place on."""
        ids_end = starts + 2 + _UUID_LENGTH
        self._expect(starts, _EVENT_ID, _UUID_LENGTH)
        self._event_ids = self._read_ids(starts + 2)
        times = self._read_work_ids(ids_end)
        units = self._read_times(times)
        self._expect(units, _UNITS)
        self._units, modes = self._varints(units + 1)
        self._expect(modes, _MODE)
        self._modes = self._bytes[modes + 1]
        _require((self._modes < _ONE_BYTE).all())
        self._read_shares(modes + 2, ends)

    def of(self, first: int, end: int) -> Batch:
        """Returns the events from the first up to the end, as one batch."""
        shares = slice(int(self._offsets[first]), int(self._offsets[end]))
        names, name_index = only_named(self._names, self._name_index[shares])
        return Batch(
            event_ids=self._event_ids[first:end],
            work_ids=self._work_ids_between(first, end),
            occurred_at=self._occurred_at[first:end],
            units=self._units[first:end],
            modes=self._modes[first:end],
            offsets=self._offsets[first : end + 1] - shares.start,
            name_index=name_index,
            amounts=self._amounts[shares],
            names=names,
        )

    def _expect(self, at: Int64Array, *wanted: int) -> None:
        for place, byte in enumerate(wanted):
            _require((self._bytes[at + place] == byte).all())

    def _varints(self, at: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Returns numbers of at most eight bytes, so below 2^56, and where each ends."""
        words = self._words[at]
        last = ~words & _LAST_BITS
        _require(last.all())
        last &= -last
        length = (np.bitwise_count(last - np.uint64(1)).astype(np.int64) + 1) >> 3
        words &= last | (last - np.uint64(1))
        numbers = words & _SEVEN_BITS
        for place in range(1, int(length.max(initial=0))):
            numbers |= (words >> np.uint64(8 * place) & _SEVEN_BITS) << np.uint64(7 * place)
        return numbers.view(np.int64), at + length

    def _read_ids(self, at: Int64Array) -> npt.NDArray[np.void]:
        text = np.ndarray((len(self._data) - _UUID_LENGTH, _UUID_LENGTH), np.uint8, self._data, strides=(1, 1))[at]
        _require((text[:, _DASHES] == ord("-")).all())
        try:
            found = bytes.fromhex(text[:, _DIGITS].tobytes().decode("ascii"))
        except ValueError:
            raise _OtherFormError from None
        _require(len(found) == 16 * len(at))  # it passes over spaces
        return np.frombuffer(found, dtype="V16")

    def _read_work_ids(self, at: Int64Array) -> Int64Array:
        """Read work ids where there are any; returns where they end."""
        self._work_ids: list[str | None] = []
        there = np.flatnonzero(self._bytes[at] == _WORK_ID)
        if not len(there):
            return at
        self._work_ids = [None] * len(at)
        lengths, begin = self._varints(at[there] + 1)
        end = begin + lengths
        _require((end < len(self._data) - _PADDING).all())
        for place, first, last in zip(there.tolist(), begin.tolist(), end.tolist(), strict=True):
            self._work_ids[place] = self._data[first:last].decode()
        after = at.copy()
        after[there] = end
        return after

    def _work_ids_between(self, first: int, end: int) -> pa.Array:
        return pa.array(self._work_ids[first:end], pa.utf8()) if self._work_ids else _no_work_ids(end - first)

    def _read_times(self, at: Int64Array) -> Int64Array:
        """Read the times; returns where they end."""
        self._expect(at, _OCCURRED_AT)
        self._expect(at + 2, _SECONDS)
        seconds, end = self._varints(at + 3)
        _require((seconds <= MAX_OCCURRED_AT // 1_000_000).all())
        after = at + 2 + self._bytes[at + 1]
        self._occurred_at = seconds * 1_000_000
        if (end != after).any():
            fine = np.flatnonzero(end != after)
            self._expect(end[fine], _NANOS)
            nanos, end[fine] = self._varints(end[fine] + 1)
            _require((nanos < _NANOS_END).all() and (end == after).all())
            self._occurred_at[fine] += nanos // 1_000
        return after

    def _read_shares(self, starts: Int64Array, ends: Int64Array) -> None:
        """Read the shares, which fill each event from `starts` up to `ends`.

        What looks like a share is one if those of an event follow each other without a gap from its start to its end.
        """
        at = np.flatnonzero(self._bytes[:-_PADDING] == _SHARE)
        at = at[self._bytes[at + 2] == _COLLECTIVE_ID]
        sizes, lengths = self._bytes[at + 1].astype(np.int64), self._bytes[at + 3].astype(np.int64)
        nano = at + 4 + lengths
        fits = (sizes < _ONE_BYTE) & (lengths < _ONE_BYTE) & (self._bytes[nano] == _SHARE_NANO)
        at, sizes, lengths, nano = at[fits], sizes[fits], lengths[fits], nano[fits]
        amounts, share_ends = self._varints(nano + 1)
        first, last = np.searchsorted(at, starts), np.searchsorted(at, ends)
        follows = np.append(at[1:], -1)
        has = last > first
        follows[last[has] - 1] = ends[has]
        _require(
            int((last - first).sum()) == len(at)
            and (share_ends == at + 2 + sizes).all()
            and (share_ends == follows).all()
            and (at[first[has]] == starts[has]).all()
            and (starts == ends)[~has].all()
            and (amounts <= _INT32_MAX).all()
        )
        self._offsets = np.append(first, len(at)).astype(np.int64)
        self._amounts = amounts.astype(np.int32)
        self._read_names(at + 4, lengths)

    def _read_names(self, at: Int64Array, lengths: Int64Array) -> None:
        """Read the collectives of the shares, and number them in the order of their names."""
        words = [
            self._words[at + place] & _FIRST_BYTES[lengths - place] for place in range(0, lengths.max(initial=0), 8)
        ]
        mixed = lengths.astype(np.uint64)
        for word in words:
            mixed = (mixed ^ word) * MIX
            mixed ^= mixed >> np.uint64(32)
        example, found = _distinct(mixed)
        same = example[found]
        _require((lengths == lengths[same]).all() and all((word == word[same]).all() for word in words))
        spelled = np.array([word[example] for word in words], dtype="<u8").T
        named = _remembered if len(example) <= _REMEMBERED_NAMES else _named
        self._names, rank = named(spelled.tobytes(), lengths[example].tobytes())
        self._name_index = rank[found]


@lru_cache(maxsize=256)
def _no_work_ids(count: int) -> pa.Array:
    """Returns the column of so many events without work ids, as most are."""
    return pa.array([None] * count, pa.utf8())


def _distinct(values: _Words) -> tuple[Int64Array, Int64Array]:
    """Returns where an example of each distinct value is, and (n,) which of them each value is."""
    order = np.argsort(values)
    ascending = values[order]
    is_new = np.ones(len(values), dtype=np.bool_)
    is_new[1:] = ascending[1:] != ascending[:-1]
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.cumsum(is_new) - 1
    return order[is_new], found


def _named(spelled: bytes, lengths: bytes) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Returns ids in ascending order, and (c,) the place in it of each.

    Args:
        spelled: the ids, each filled up with zeros to the same number of bytes.
        lengths: (c,) 64-bit numbers: how many bytes each has.
    """
    ends = np.frombuffer(lengths, dtype=np.int64).tolist()
    size = len(spelled) // max(1, len(ends))
    names = [spelled[size * place : size * place + end].decode() for place, end in enumerate(ends)]
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int32)
    rank[order] = np.arange(len(names))
    return tuple([names[place] for place in order]), rank


_REMEMBERED_NAMES: Final = 4_096


@lru_cache(maxsize=8)
def _remembered(spelled: bytes, lengths: bytes) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Returns the same. The batches of a platform mostly have the same ids."""
    return _named(spelled, lengths)
