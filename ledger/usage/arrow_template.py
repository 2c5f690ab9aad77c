"""Arrow IPC streams written from a template: a stream that Arrow wrote, with other lengths and other buffers.

Two streams of one schema differ in numbers at fixed places of their metadata, and in their buffers. Filling them into a
copy takes a small batch a few steps where Arrow's writer takes dozens of calls. Each of those releases the
interpreter's lock, and with many threads may have to wait to get it back (docs/decisions/small-bodies.md).
Source: Arrow columnar format, "IPC Streaming Format", `Message.fbs` and `Schema.fbs`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.usage.arrow_stream import CONTINUATION, Framed, Table, framed

_ALIGNMENT: Final = 8
_PADDING: Final = bytes(_ALIGNMENT)


class Column(NamedTuple):
    """A column as the format lays it out, each level before the one below.

    Attributes:
        nodes: the length and the number of nulls of each level.
        buffers: those of each level, none of them left out.
    """

    nodes: tuple[int, ...]
    buffers: tuple[bytes, ...]


def fixed(values: npt.NDArray[Any]) -> Column:
    """Values of one size, without nulls."""
    return Column((len(values), 0), (b"", values.tobytes()))


def texts(values: Sequence[str]) -> Column:
    """Texts without nulls."""
    encoded = [value.encode() for value in values]
    bounds = np.array([0, *accumulate(map(len, encoded))], dtype=np.int32)
    return Column((len(encoded), 0), (b"", bounds.tobytes(), b"".join(encoded)))


def built(array: pa.Array) -> Column:
    """An array that Arrow built, which is no slice and has no levels below."""
    return Column((len(array), array.null_count), tuple(each.to_pybytes() if each else b"" for each in array.buffers()))


def lists(bounds: npt.NDArray[np.int32], values: Column) -> Column:
    """Lists without nulls: (n + 1,) where each begins and ends in the values."""
    return Column((len(bounds) - 1, 0, *values.nodes), (b"", bounds.tobytes(), *values.buffers))


class StreamTemplate:
    """Streams of the template's schema: one dictionary and one record batch, not compressed.

    Arrow leaves a zero out of the metadata, so an empty dictionary or batch needs a template in which it is empty.
    """

    def __init__(self, example: bytes) -> None:
        schema, dictionary, record_batch = framed(example)
        self._schema = schema.metadata.data
        self._dictionary = _BatchTemplate(dictionary)
        self._record_batch = _BatchTemplate(record_batch)

    def head(self, dictionary: Column) -> bytes:
        """What all streams with a dictionary begin with."""
        return b"".join((*_framed(self._schema), *self._dictionary.message([dictionary])))

    def stream(self, head: bytes, columns: Sequence[Column]) -> bytes:
        """The bytes that Arrow would write, behind those that `head` has of the dictionary."""
        return b"".join((head, *self._record_batch.message(columns), *_framed(b"")))


class _BatchTemplate:
    """A message with buffers, and the places of the numbers in its metadata that describe them."""

    def __init__(self, example: Framed) -> None:
        batch = example.batch()
        if batch is None:
            raise ValueError("a message of the example has no batch")
        self._metadata = example.metadata.data
        self._rows = batch.field(0)
        self._nodes = _items(batch, 1)
        self._buffers = _items(batch, 2)
        self._body_bytes = example.metadata.field(3)

    def message(self, columns: Sequence[Column]) -> list[bytes]:
        """The parts of the message with these columns."""
        body: list[bytes] = []
        places: list[int] = []
        end = 0
        for buffer in chain.from_iterable(column.buffers for column in columns):
            padding = -len(buffer) % _ALIGNMENT
            places += end, len(buffer)
            body += buffer, _PADDING[:padding]
            end += len(buffer) + padding
        metadata = bytearray(self._metadata)
        nodes = list(chain.from_iterable(column.nodes for column in columns))
        _put(metadata, self._rows, nodes[:1])
        _put(metadata, self._nodes, nodes)
        _put(metadata, self._buffers, places)
        _put(metadata, self._body_bytes, [end])
        return [*_framed(bytes(metadata)), *body]


def _items(table: Table, number: int) -> int | None:
    vector = table.vector(number)
    return None if vector is None else vector + 4


def _framed(metadata: bytes) -> tuple[bytes, bytes]:
    return struct.pack("<Ii", CONTINUATION, len(metadata)), metadata


def _put(metadata: bytearray, place: int | None, numbers: Sequence[int]) -> None:
    if place is not None:
        struct.pack_into(f"<{len(numbers)}q", metadata, place, *numbers)
