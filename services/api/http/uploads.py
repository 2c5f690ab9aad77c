"""Usage files over HTTP: a file of any size comes in as it is sent, and goes on as batches by `AppendUsage`.

Each file is read by a process of its own (`services.reading`), which is fed the body as it comes, so no more of a file
is in memory than the batches under way. Parquet and Arrow files are read from their end, and so are put on disk first.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

from google.protobuf import json_format
from google.rpc import status_pb2

from ledger.errors import InvalidInputError
from moiety.v1 import usage_pb2 as pb
from services.api.calls.door import NoRoomError
from services.api.calls.streams import OpenStream, StreamLimit
from services.api.http.arriving import Shelf, arriving, hear_out
from services.api.http.carried import Carrier, Entered
from services.api.http.connect import HTTP_STATUS, answer_error, error_document
from services.api.http.exchange import Exchange, GoneError
from services.api.names import only_id
from services.reading.readers import Readers, Reading

APPEND_USAGE: Final = "/moiety.v1.UsageService/AppendUsage"
GET_ID_SCHEME: Final = "/moiety.v1.UsageService/GetIdScheme"

STREAMED: Final = frozenset(
    {
        "application/json",
        "application/jsonl",
        "application/ndjson",
        "application/x-ndjson",
        "application/vnd.apache.arrow.stream",
        "text/csv",
    }
)
"""Content types that are read as they come. What the file begins with says which of them it is, and whether it is
compressed with gzip, bzip2 or zstd."""

STORED: Final = {"application/vnd.apache.parquet": "parquet", "application/vnd.apache.arrow.file": "arrow"}
"""Content types that are put on disk first, and what their reader calls them."""

UPLOADS: Final = 8
"""A quarter of this many files of one principal are read at a time, and three quarters in all: with what their readers
may take of memory that is 2.25 GiB."""

BATCHES_MAX: Final = 100_000
"""The most batches of a file: a thousand million events. The answer has a receipt for each."""

REFUSALS_MAX: Final = 10
"""After so many refused batches the rest of a file is not read."""

_BATCH_ID_DIGITS: Final = 32


class _Batches:
    """The batches of a file as requests; which rows each has is remembered for what is said of it."""

    def __init__(self, alike: pb.AppendUsageRequest) -> None:
        self._alike = alike
        self.rows: list[tuple[int, int]] = []
        self.refused = 0

    def of(self, reading: Reading) -> Iterator[pb.AppendUsageRequest]:
        """Take what is read of the file, until it ends or too much of it was refused.

        Raises:
            InvalidInputError: it is no usage file, a row of it is no event, or it has too many batches.
        """
        first = 0
        for batch in reading:
            if self.refused >= REFUSALS_MAX:
                return
            if len(self.rows) >= BATCHES_MAX:
                raise InvalidInputError.of("body", f"has more than {BATCHES_MAX:,} batches; send it in parts")
            self.rows.append((first, batch.row_count))
            first += batch.row_count
            own_id = f"sha256-{sha256(batch.stream).hexdigest()[:_BATCH_ID_DIGITS]}"  # as the SDK names it
            request = pb.AppendUsageRequest(batch_id=own_id, arrow_stream=batch.stream)
            request.MergeFrom(self._alike)
            yield request


class Uploads:
    """Answers `POST /v1/pools/{pool}/usage?method=...`."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._limit = StreamLimit(UPLOADS)
        self._shelf = Shelf()
        self._readers = Readers()

    def close(self) -> None:
        """Start no more readers."""
        self._readers.close()

    async def __call__(self, exchange: Exchange, pool: str) -> None:
        """Take a file in, and answer with receipts.

        Raises:
            GoneError: the caller went away.
        """
        kind = exchange.header("content-type").partition(";")[0].strip().lower()
        if kind not in STREAMED and kind not in STORED:
            known = ", ".join(sorted([*STREAMED, *STORED]))
            said = f"content-type must be one of {known}\n".encode()
            await exchange.answer(415, "text/plain", said, accept_post=known)
            return
        call = self._carrier.call(exchange, APPEND_USAGE)
        outcome = _Outcome()
        try:
            async with self._carrier.let_in(call, stream=True) as entered:
                with self._limit.one(call.principal) as slot:
                    await self._take_in(exchange, entered, pool, _Upload(kind, slot), outcome)
        except GoneError:
            call.cancelled()
            raise
        except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
            await hear_out(exchange)
            await outcome.answer(exchange, call.refused(error))
            return
        await outcome.answer(exchange, None)
        call.done()

    async def _take_in(
        self, exchange: Exchange, entered: Entered, pool: str, upload: _Upload, outcome: _Outcome
    ) -> None:
        alike = await entered.run(self._alike, exchange, pool)
        outcome.batches = batches = _Batches(alike)
        async with AsyncExitStack() as stack:
            reading, feed = await self._opened(exchange, entered, upload, alike, stack)
            attending = asyncio.ensure_future(_attend(exchange, reading, feed))
            stack.push_async_callback(_ended, attending)
            answers = self._carrier.methods[APPEND_USAGE].answer(batches.of(reading), None)
            async for answer in entered.each(answers):
                outcome.take(answer)
            if reading.is_given_up:
                await attending  # says why

    async def _opened(
        self, exchange: Exchange, entered: Entered, upload: _Upload, alike: pb.AppendUsageRequest, stack: AsyncExitStack
    ) -> tuple[Reading, _Feed | None]:
        """Have the body read, by what feeds its reader, or once it is on disk."""
        scheme = pb.IdScheme.Name(alike.id_scheme).removeprefix("ID_SCHEME_")
        pieces = arriving(exchange, upload.slot)
        stack.push_async_callback(pieces.aclose)
        if upload.kind in STORED:
            # Without a name: it is gone with whoever has it open, however that ends.
            file = stack.enter_context(_unnamed_file())
            room = stack.enter_context(self._shelf.room_for(entered.call.principal))
            async for piece in pieces:
                room.take(len(piece))
                await entered.run(_write, file, piece)
            reading = await entered.run(self._readers.open, file.fileno(), STORED[upload.kind], scheme)
            stack.callback(reading.close)
            return reading, None
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        with theirs:
            reading = await entered.run(self._readers.open, theirs.fileno(), "stream", scheme)
        stack.callback(reading.close)
        return reading, _Feed(pieces, ours)

    def _alike(self, exchange: Exchange, pool: str) -> pb.AppendUsageRequest:
        """What all requests of the file have in common."""
        parent = f"pools/{pool}"
        only_id(parent, "pools", "pool")
        asked = exchange.parameters()
        for name in asked:
            if name not in ("method", "validate_only"):
                raise InvalidInputError.of(name[:80], "is no parameter; these are method and validate_only")
        method, dry = asked.get("method", ""), asked.get("validate_only", "false")
        if not method:
            raise InvalidInputError.of("method", "is required, as in ?method=melody-ngram")
        if dry not in ("true", "false"):
            raise InvalidInputError.of("validate_only", "must be true or false")
        found = self._carrier.methods[GET_ID_SCHEME].answer(pb.GetIdSchemeRequest(parent=parent), None)
        return pb.AppendUsageRequest(
            parent=parent, method_id=method, validate_only=dry == "true", id_scheme=found.id_scheme
        )


@contextmanager
def _unnamed_file() -> Iterator[BinaryIO]:
    """A temporary file without a buffer of its own, which could be full still when it is closed."""
    try:
        file = TemporaryFile(prefix="moiety-upload-", buffering=0)  # noqa: SIM115  # below
    except OSError as error:
        raise NoRoomError from error
    with file:
        yield file


def _write(file: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:  # the disk is full, of something else
        raise NoRoomError from error


@dataclass(frozen=True, slots=True)
class _Upload:
    """A file that comes: of which type, and in whose place."""

    kind: str
    slot: OpenStream


@dataclass(frozen=True, slots=True)
class _Feed:
    """The body as it comes, and where its reader has it from."""

    pieces: AsyncGenerator[bytes]
    to: socket.socket

    async def run(self) -> None:
        """Hand the body on, until it ends or its reader wants no more."""
        self.to.setblocking(False)
        loop = asyncio.get_running_loop()
        async for piece in self.pieces:
            try:
                await loop.sock_sendall(self.to, piece)
            except OSError:  # the reader has ended, and has said why
                return
        self.to.shutdown(socket.SHUT_WR)


async def _attend(exchange: Exchange, reading: Reading, feed: _Feed | None) -> None:
    """Feed a reader for as long as its file comes, and give it up when the caller goes away.

    Raises:
        InvalidInputError: the body came too slowly.
        GoneError: the caller went away.
    """
    try:
        if feed is not None:
            await feed.run()
        await exchange.gone()
        raise GoneError
    finally:
        reading.give_up()


async def _ended(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    with suppress(asyncio.CancelledError, Exception):  # it was told already, or does not matter any more
        task.result()


class _Outcome:
    """What has become of a file."""

    def __init__(self) -> None:
        self.batches: _Batches | None = None
        self._receipts: list[dict[str, Any]] = []
        self._refusals: list[dict[str, Any]] = []
        self._accepted = 0
        self._duplicates = 0
        self._code = 0

    def take(self, answer: pb.AppendUsageResponse) -> None:
        """Take the answer for the next batch."""
        assert self.batches is not None  # noqa: S101  # no batch is answered before one is made
        first, count = self.batches.rows[len(self._receipts) + len(self._refusals)]
        if answer.HasField("error"):
            self._code = self._code or answer.error.code
            self.batches.refused += 1
            refusal = {"first_position": first, "event_count": count, "error": error_document(answer.error)}
            self._refusals.append(refusal)
            return
        self._accepted += answer.receipt.accepted_count
        self._duplicates += answer.receipt.duplicate_count
        answer.receipt.ClearField("duplicate_positions")  # as many as events; GetBatch has them
        self._receipts.append(json_format.MessageToDict(answer.receipt, preserving_proto_field_name=True))

    async def answer(self, exchange: Exchange, status: status_pb2.Status | None) -> None:
        """Say what is recorded, and what was refused or went wrong."""
        found = {
            "accepted_count": self._accepted,
            "duplicate_count": self._duplicates,
            "receipts": self._receipts,
            "refusals": self._refusals,
        }
        if status is not None:
            await answer_error(exchange, status, **found)
            return
        code = HTTP_STATUS[self._code] if self._refusals else 200
        await exchange.answer(code, "application/json", json.dumps(found).encode() + b"\n")
