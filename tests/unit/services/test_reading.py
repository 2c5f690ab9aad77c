"""What readers say is believed no further than it may be said."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest

from services.reading.frames import (
    FRAME_BYTES_MAX,
    SAID_CHARACTERS_MAX,
    Batch,
    BrokenOffError,
    End,
    Wrong,
    receive,
    send,
)

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    server, reader = socket.socketpair()
    with server, reader:
        yield server, reader


def test_what_is_said_arrives_as_it_was_said(ends: Ends) -> None:
    server, reader = ends
    for said in (Batch(3, b"stream"), Wrong("events[2].units", "must be a whole number")):
        send(reader, said)
        assert receive(server) == said
    send(reader, End())
    assert isinstance(receive(server), End)


def test_no_more_is_said_of_what_is_wrong_than_fits_an_answer(ends: Ends) -> None:
    server, reader = ends
    send(reader, Wrong("c" * 10**5, "is not a column"))
    assert receive(server) == Wrong("c" * SAID_CHARACTERS_MAX, "is not a column")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"B",
        struct.pack("<cIQ", b"B", 1, 4) + b"cut",
        struct.pack("<cIQ", b"B", 1, FRAME_BYTES_MAX + 1),
        struct.pack("<cIQ", b"?", 0, 0),
        struct.pack("<cIQ", b"W", 0, 2) + b"[]",
        struct.pack("<cIQ", b"W", 0, 6) + b"no utf",
    ],
)
def test_what_no_reader_says_breaks_off(said: bytes, ends: Ends) -> None:
    server, reader = ends
    with suppress(BrokenPipeError):
        reader.sendall(said)
    reader.close()
    with pytest.raises(BrokenOffError):
        receive(server)
