"""Validity bitmaps that an Arrow stream has beside a null count of 0.

Arrow does not read such a bitmap, while other readers may believe it and see nulls: the same bytes would be two
batches. So Arrow is made to count. Source: Arrow columnar format, "RecordBatch message" and `Message.fbs`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from ledger.usage.arrow_stream import DICTIONARY_BATCH, RECORD_BATCH, Framed, FramingError

_NODE: Final = "<qq"
"""Of a level of a column: its length, and its null count."""


class Level(NamedTuple):
    """A level of a column, as a message has it: how many buffers, and whether more follow for its views."""

    buffers: int
    has_views: bool


class Levels(NamedTuple):
    """The levels of a schema's columns, and those of its dictionaries. Nulls have no buffers."""

    columns: tuple[Level, ...]
    dictionaries: tuple[Level, ...]


def levels_of(schema: pa.Schema) -> Levels:
    """Returns the levels of what follows a schema."""
    return Levels(
        tuple(_level(kind) for field in schema for kind in _levels(field.type)),
        tuple(_level(kind) for field in schema for kind in _dictionary_levels(field.type)),
    )


def _level(kind: pa.DataType) -> Level:
    return Level(0 if pa.types.is_null(kind) else kind.num_buffers, kind.has_variadic_buffers)


def with_nulls_uncounted(stream: bytes, found: Sequence[Framed], levels: Levels) -> bytes | bytearray:
    """The stream, of whose messages these are all, with -1 for each null count of 0 that has a bitmap beside it.

    That is "unknown".

    Raises:
        FramingError: a message has fewer levels or buffers than its schema.
    """
    batches = [message for message in found if message.kind in (DICTIONARY_BATCH, RECORD_BATCH)]
    doubtful = [message.start + place for message in batches for place in _doubtful(message, levels)]
    if not doubtful:
        return stream  # as most writers have it, without a copy
    uncounted = bytearray(stream)
    for place in doubtful:
        struct.pack_into("<q", uncounted, place, -1)
    return uncounted


def null_counts(message: Framed) -> list[int]:
    """The null counts of a record batch, of each level of its columns.

    Raises:
        FramingError: the message is not well framed.
    """
    batch = message.batch()
    return [] if batch is None else [count for _, count in batch.structs(1, _NODE)]


def _doubtful(message: Framed, levels: Levels) -> Iterator[int]:
    """Where in a message's metadata the null counts of 0 are that have a bitmap beside them."""
    batch = message.batch()
    vector = None if batch is None else batch.vector(1)
    if batch is None or vector is None:
        return
    nodes, buffers = list(batch.structs(1, _NODE)), list(batch.structs(2, "<qq"))
    variadic = [count for (count,) in batch.structs(4, "<q")]
    buffer = 0
    for place, level in enumerate(levels.dictionaries if message.kind == DICTIONARY_BATCH else levels.columns):
        if not level.buffers:
            continue
        if place >= len(nodes) or buffer >= len(buffers):
            raise FramingError("a message has fewer buffers than its schema")
        if nodes[place][1] == 0 and buffers[buffer][1]:
            yield vector + 4 + struct.calcsize(_NODE) * place + 8
        buffer += level.buffers
        if level.has_views:
            if not variadic or not 0 <= variadic[0] <= len(buffers):
                raise FramingError("a message does not say how many buffers its views have")
            buffer += variadic.pop(0)


def _levels(kind: pa.DataType) -> Iterator[pa.DataType]:
    """A type and those of its children, as their levels follow each other in a message; of a dictionary its indices."""
    if isinstance(kind, pa.BaseExtensionType):
        yield from _levels(kind.storage_type)
    elif pa.types.is_dictionary(kind):
        yield kind.index_type
    else:
        yield kind
        for place in range(kind.num_fields):
            yield from _levels(kind.field(place).type)


def _dictionary_levels(kind: pa.DataType) -> Iterator[pa.DataType]:
    if pa.types.is_dictionary(kind):
        yield from _levels(kind.value_type)
    for place in range(kind.num_fields):
        yield from _dictionary_levels(kind.field(place).type)
