"""Usage files over HTTP: a file of any size comes in as it is sent, and goes on as batches by `AppendUsage`.

The thread that makes batches asks the server's loop for each piece of the body, so no more of a file is in memory than
the batches under way. Parquet and Arrow files are read from their end, and so are put on disk first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import RawIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, cast
from urllib.parse import parse_qs

from google.protobuf import json_format
from google.rpc import status_pb2

from ledger.errors import InvalidInputError
from moiety.batches import encode, record_batches
from moiety.errors import InvalidUsageError, UsageFileError
from moiety.files import read_usage
from moiety.ids import IdScheme
from moiety.v1 import usage_pb2 as pb
from services.api.door import IDLE_SECONDS, MessageTooLargeError
from services.api.http.carried import Carrier, Entered
from services.api.http.connect import HTTP_STATUS, answer_error, error_document
from services.api.http.exchange import Exchange, GoneError
from services.api.names import only_id

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

STORED: Final = {"application/vnd.apache.parquet": ".parquet", "application/vnd.apache.arrow.file": ".arrow"}
"""Content types that are put on disk first, and how the file is named there."""

STORED_BYTES_MAX: Final = 8 * 2**30
"""The largest file that is put on disk."""

REFUSALS_MAX: Final = 10
"""After so many refused batches the rest of a file is not read."""

_BATCH_ID_DIGITS: Final = 32


class _Body(RawIOBase):
    """The body as a file: whoever reads it, on a thread, waits for the server's loop to have the next piece."""

    def __init__(self, pieces: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._pieces = pieces
        self._loop = loop
        self._left = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most so many; none at the end."""
        while not self._left:
            piece = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if piece is None:
                return b""
            self._left = piece
        size = len(self._left) if size < 0 else size
        found, self._left = self._left[:size], self._left[size:]
        return found

    async def _next(self) -> bytes | None:
        return await anext(self._pieces, None)


class _Batches:
    """The batches of a file as requests; which rows each has is remembered for what is said of it."""

    def __init__(self, alike: pb.AppendUsageRequest, scheme: IdScheme) -> None:
        self._alike = alike
        self._scheme = scheme
        self.rows: list[tuple[int, int]] = []
        self.refused = 0

    def of(self, file: Path | BinaryIO) -> Iterator[pb.AppendUsageRequest]:
        """Read the file, until it ends or too much of it was refused.

        Raises:
            InvalidInputError: it is no usage file, or a row of it is no event.
        """
        first = 0
        with _file_errors():
            for batch in record_batches(read_usage(file), id_scheme=self._scheme):
                if self.refused >= REFUSALS_MAX:
                    return
                stream = encode(batch)
                self.rows.append((first, batch.num_rows))
                first += batch.num_rows
                own_id = f"sha256-{sha256(stream).hexdigest()[:_BATCH_ID_DIGITS]}"  # as the SDK names it
                request = pb.AppendUsageRequest(batch_id=own_id, arrow_stream=stream)
                request.MergeFrom(self._alike)
                yield request


@contextmanager
def _file_errors() -> Iterator[None]:
    """What is wrong with a file, in the words of a refused request."""
    try:
        yield
    except InvalidUsageError as error:
        raise InvalidInputError.of(error.path, error.reason) from None
    except UsageFileError as error:
        raise InvalidInputError.of("body", error.reason) from None
    except GoneError:
        raise InvalidInputError.of("body", "broke off") from None


class Uploads:
    """Answers `POST /v1/pools/{pool}/usage?method=...`."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

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
                await self._take_in(exchange, entered, pool, kind, outcome)
        except GoneError:
            call.cancelled()
            raise
        except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
            await outcome.answer(exchange, call.refused(error))
            return
        await outcome.answer(exchange, None)
        call.done()

    async def _take_in(self, exchange: Exchange, entered: Entered, pool: str, kind: str, outcome: _Outcome) -> None:
        alike = await entered.run(self._alike, exchange, pool)
        name = pb.IdScheme.Name(alike.id_scheme).removeprefix("ID_SCHEME_")
        outcome.batches = batches = _Batches(alike, IdScheme(name))
        with TemporaryDirectory(prefix="moiety-upload-") as folder:
            if kind in STORED:
                path = Path(folder) / f"usage{STORED[kind]}"
                await _store(exchange, entered, path)
                requests = batches.of(path)
            else:
                body = _Body(exchange.pieces(IDLE_SECONDS), asyncio.get_running_loop())
                requests = batches.of(cast("BinaryIO", body))
            answers = self._carrier.methods[APPEND_USAGE].answer(requests, None)
            async for answer in entered.each(answers):
                outcome.take(answer)

    def _alike(self, exchange: Exchange, pool: str) -> pb.AppendUsageRequest:
        """What all requests of the file have in common."""
        parent = f"pools/{pool}"
        only_id(parent, "pools", "pool")
        asked = parse_qs(exchange.query.decode("latin-1"), keep_blank_values=True)
        for name in asked:
            if name not in ("method", "validate_only"):
                raise InvalidInputError.of(name[:80], "is no parameter; these are method and validate_only")
        (method,) = asked.get("method", [""])[:1]
        (dry,) = asked.get("validate_only", ["false"])[:1]
        if not method:
            raise InvalidInputError.of("method", "is required, as in ?method=melody-ngram")
        if dry not in ("true", "false"):
            raise InvalidInputError.of("validate_only", "must be true or false")
        found = self._carrier.methods[GET_ID_SCHEME].answer(pb.GetIdSchemeRequest(parent=parent), None)
        return pb.AppendUsageRequest(
            parent=parent, method_id=method, validate_only=dry == "true", id_scheme=found.id_scheme
        )


async def _store(exchange: Exchange, entered: Entered, path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        async for piece in exchange.pieces(IDLE_SECONDS):
            size += len(piece)
            if size > STORED_BYTES_MAX:
                raise MessageTooLargeError(size, STORED_BYTES_MAX)
            await entered.run(file.write, piece)


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
