"""What readers say is believed no further than it may be said."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import yaml

from services.api.http.uploads import UPLOADS
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
from services.reading.reader import READER_BYTES

ROOT: Final = Path(__file__).parents[3]
OWN_BYTES: Final = 600 * 2**20
"""What a server takes itself at its most: docs/performance.md, and what batches under way are decoded to."""

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


def test_containers_have_memory_for_all_readers_and_a_disk_for_uploads() -> None:
    """A temporary folder in memory would count against the same limit."""
    server = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["server"]
    chart = yaml.safe_load((ROOT / "deploy" / "chart" / "values.yaml").read_text())["server"]
    for given in (server["mem_limit"].removesuffix("g"), chart["resources"]["limits"]["memory"].removesuffix("Gi")):
        assert int(given) * 2**30 > UPLOADS * 3 // 4 * READER_BYTES + OWN_BYTES
    assert server["environment"]["TMPDIR"] in [volume.partition(":")[2] for volume in server["volumes"]]
