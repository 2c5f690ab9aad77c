"""Bodies of uploads as they arrive: how slowly they may, and how much of them lies on disk at a time."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from tempfile import gettempdir
from typing import Final

from ledger.errors import InvalidInputError
from services.api.calls.door import IDLE_SECONDS, MessageTooLargeError, NoRoomError
from services.api.calls.streams import OpenStream, StreamShedError
from services.api.http.exchange import Exchange, GoneError

PATIENCE_SECONDS: Final = 300.0
"""How long a body may be waited for in all, whatever comes of it."""

PACE_BYTES: Final = 4096
"""Bytes for which a body is waited for a second more: a thousandth of what a poor line carries."""

STORED_BYTES_MAX: Final = 8 * 2**30
"""The largest file that is put on disk, and the most that one principal's files take there at a time."""

ALL_STORED_BYTES_MAX: Final = 16 * 2**30
"""The most that all files take there at a time, so that no principal fills it for the others."""

FREE_BYTES_MIN: Final = 2**30
"""What is left of the disk: a database may be on it."""


HEARD_OUT_BYTES: Final = 64 * 2**20
HEARD_OUT_SECONDS: Final = 5.0
"""How much of a refused file is still read, for its sender to hear why; whoever sends more may not."""


class Shelf:
    """Counts the bytes on disk of files that are being read."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def room_for(self, holder: str) -> Iterator[Room]:
        """Room for a file, which is free again at the end."""
        room = Room(self, holder)
        try:
            yield room
        finally:
            self._taken[holder] -= room.size
            self._taken += Counter()  # forgets those who have nothing

    def take(self, holder: str, size: int) -> None:
        """Count bytes that are about to be written.

        Raises:
            NoRoomError: there is no room for them.
        """
        full = self._taken[holder] + size > STORED_BYTES_MAX or self._taken.total() + size > ALL_STORED_BYTES_MAX
        if full or shutil.disk_usage(gettempdir()).free < FREE_BYTES_MIN + size:
            raise NoRoomError
        self._taken[holder] += size


class Room:
    """The room that one file takes."""

    def __init__(self, shelf: Shelf, holder: str) -> None:
        self._shelf = shelf
        self._holder = holder
        self.size = 0

    def take(self, size: int) -> None:
        """Make room for the next bytes of the file.

        Raises:
            MessageTooLargeError: it has more than a file may have.
            NoRoomError: there is no room for them now.
        """
        if self.size + size > STORED_BYTES_MAX:
            raise MessageTooLargeError(self.size + size, STORED_BYTES_MAX)
        self._shelf.take(self._holder, size)
        self.size += size


async def arriving(exchange: Exchange, slot: OpenStream) -> AsyncGenerator[bytes]:
    """The body as it comes. While it does not come, it may be ended to make room for another.

    Raises:
        InvalidInputError: it came too slowly.
        StreamShedError: it was idle, and another needed its place.
        GoneError: the caller went away.
    """
    loop = asyncio.get_running_loop()
    shed: asyncio.Future[None] = loop.create_future()

    def end(error: StreamShedError) -> None:
        if not shed.done():
            shed.set_exception(error)

    slot.shed = end  # by who asks for a place, who is on this loop too
    pieces, size, waited = exchange.pieces(IDLE_SECONDS), 0, 0.0
    try:
        while True:
            began = loop.time()
            piece = await _next(pieces, shed)
            waited += loop.time() - began
            if piece is None:
                return
            size += len(piece)
            if waited > PATIENCE_SECONDS + size / PACE_BYTES:
                raise InvalidInputError.of("body", f"came more slowly than {PACE_BYTES:,} bytes in a second")
            slot.begin()
            yield piece
            slot.end()
    finally:
        slot.begin()  # what is read no longer is not idle
        slot.shed = None
        shed.cancel()


async def _next(pieces: AsyncIterator[bytes], shed: asyncio.Future[None]) -> bytes | None:
    following = asyncio.ensure_future(anext(pieces, None))
    try:
        await asyncio.wait((following, shed), return_when=asyncio.FIRST_COMPLETED)
        if shed.done():
            shed.result()
        return await following
    finally:
        following.cancel()


async def hear_out(exchange: Exchange) -> None:
    """Read on, and throw away: clients hear an answer only behind what they send."""
    size = 0
    with suppress(TimeoutError, InvalidInputError, GoneError):
        async with asyncio.timeout(HEARD_OUT_SECONDS):
            async for piece in exchange.pieces():
                size += len(piece)
                if size > HEARD_OUT_BYTES:
                    return
