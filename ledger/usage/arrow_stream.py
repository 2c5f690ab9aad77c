"""Arrow IPC streams from outside: how large a stream really is, before anything is allocated.

Every compressed buffer in Arrow states its own decompressed size, and a reader allocates that much. So the framing is
walked first, with bounded reads of the flatbuffer metadata and without decoding anything.
Source: Arrow columnar format, "IPC Streaming Format" and `Message.fbs`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

CONTINUATION: Final = 0xFFFFFFFF

VERSION_5: Final = 4
"""The metadata version since Arrow 1.0. In older messages, readers accept compression that is not detected here."""

SCHEMA: Final = 1
DICTIONARY_BATCH: Final = 2
RECORD_BATCH: Final = 3


class FramingError(ValueError):
    """The bytes are not one well-framed Arrow stream; the message says where it breaks."""


class Framed(NamedTuple):
    """One message of a stream: its metadata, a flatbuffer, and its body."""

    kind: int
    metadata: Table
    body: memoryview
    start: int
    """Where its metadata begins in the stream."""
    end: int
    """Where the next message begins."""

    def batch(self) -> Table | None:
        """The table that describes the buffers in the body: that of a dictionary batch is its record batch's."""
        header = self.metadata.table(2)
        if header is None:
            raise FramingError("a message has no header")
        return header.table(1) if self.kind == DICTIONARY_BATCH else header

    def decoded_bytes(self) -> int:
        """The size of its body once decompressed.

        Raises:
            FramingError: its buffers are not in its body.
        """
        body, batch = self.body, self.batch()
        if batch is None or batch.table(3) is None:
            return len(body)
        total = 0
        for offset, length in batch.structs(2, "<qq"):
            if length:
                if not 0 <= offset <= offset + length <= len(body):
                    raise FramingError("a buffer passes the end of its body")
                (stated,) = _unpack("<q", body, offset)
                total += length if stated == -1 else stated
                if stated < -1:
                    raise FramingError("a compressed buffer states a negative size")
        return total


def framed(stream: bytes) -> Iterator[Framed]:
    """Yields the messages of a stream, up to its end mark or its end.

    Raises:
        FramingError: a message is not well framed.
    """
    place = 0
    while place < len(stream):
        mark, metadata_bytes = _unpack("<Ii", stream, place)
        if mark != CONTINUATION:
            raise FramingError("a message does not start with the continuation mark")
        place += 8
        if metadata_bytes == 0:
            break
        if metadata_bytes < 0 or place + metadata_bytes > len(stream):
            raise FramingError("a message's metadata passes the end")
        metadata = Table.root(stream[place : place + metadata_bytes])
        if metadata.scalar(0, "<h", 0) != VERSION_5:
            raise FramingError("a message is not of metadata version 5")
        body_bytes = metadata.scalar(3, "<q", 0)
        body_start = place + metadata_bytes
        if body_bytes < 0 or body_start + body_bytes > len(stream):
            raise FramingError("a message's body passes the end")
        end = body_start + body_bytes
        yield Framed(metadata.scalar(1, "<B", 0), metadata, memoryview(stream)[body_start:end], place, end)
        place = end
    if place != len(stream):
        raise FramingError("bytes follow the end of the stream")


_FIELDS_MAX: Final = 8
"""No table that is read has so many; whoever wrote the stream may say that it has thousands."""


class Table(NamedTuple):
    """A flatbuffer table at a position of its buffer; fields are addressed by their number in the schema."""

    data: bytes
    position: int
    offsets: tuple[int, ...]
    """Where its first fields are from there; 0 for one that is not."""

    @classmethod
    def at(cls, data: bytes, position: int) -> Table:
        """Returns the table at a position."""
        (back,) = _unpack("<i", data, position)
        (vtable_bytes,) = _unpack("<H", data, position - back)
        fields = min(max(0, vtable_bytes - 3) // 2, _FIELDS_MAX)
        return cls(data, position, _unpack(f"<{fields}H", data, position - back + 4))

    @classmethod
    def root(cls, data: bytes) -> Table:
        """Returns the table that a buffer is of."""
        (position,) = _unpack("<I", data, 0)
        return cls.at(data, position)

    def field(self, number: int) -> int | None:
        """Where a field is; None if the table has none."""
        offset = self.offsets[number] if number < len(self.offsets) else 0
        return self.position + offset if offset else None

    def scalar(self, number: int, layout: str, default: int) -> int:
        position = self.field(number)
        return default if position is None else int(_unpack(layout, self.data, position)[0])

    def table(self, number: int) -> Table | None:
        position = self.field(number)
        return None if position is None else Table.at(self.data, self._indirect(position))

    def vector(self, number: int) -> int | None:
        """Where the count of a vector is; its items follow."""
        position = self.field(number)
        return None if position is None else self._indirect(position)

    def structs(self, number: int, layout: str) -> Iterator[tuple[int, ...]]:
        vector = self.vector(number)
        if vector is None:
            return
        (count,) = _unpack("<I", self.data, vector)
        size = struct.calcsize(layout)
        if vector + 4 + count * size > len(self.data):
            raise FramingError("a vector passes the end of its metadata")
        yield from struct.iter_unpack(layout, self.data[vector + 4 : vector + 4 + count * size])

    def _indirect(self, position: int) -> int:
        (offset,) = _unpack("<I", self.data, position)
        return position + int(offset)


def _unpack(layout: str, data: bytes | memoryview, position: int) -> tuple[int, ...]:
    try:
        if position >= 0:
            return struct.unpack_from(layout, data, position)
    except struct.error:
        pass
    raise FramingError("a length points past the end")
