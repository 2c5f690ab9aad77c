"""The message of a call, read from its body once the call is let in.

What a body takes to read is bounded before it is read: how many bytes it unpacks to, and of JSON what `json_messages`
bounds. Large messages are read one at a time, by a thread of their own, for each principal in turn; small ones never
wait for them.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Final

import pyarrow as pa
from google.protobuf.message import Message

from ledger.errors import InvalidInputError
from services.api.calls.call import require_fields
from services.api.calls.door import (
    MESSAGE_SECONDS,
    SMALL_MESSAGE_BYTES,
    TAKES_BODIES,
    MessageTooLargeError,
    most_bytes,
    parsed,
)
from services.api.calls.large import let_go
from services.api.contract import Method
from services.api.http.carried import Entered
from services.api.http.dialects import JSON, Dialect
from services.api.http.exchange import Exchange
from services.api.http.json_messages import from_json

BODY_SECONDS: Final = 60.0
"""How long the message of a method that takes bodies may take to come; it holds no thread meanwhile."""

READ_AT_ONCE_BYTES: Final = 64 * 1024
"""A message that unpacks to more is large: fifty events with sixteen shares, which take some milliseconds to read."""

_ENVELOPE: Final = 5
_COMPRESSED: Final = 0x01
_BASE64: Final = 4 / 3


async def read_message(exchange: Exchange, entered: Entered, method: Method, dialect: Dialect) -> Message:
    """Returns the request.

    Raises:
        MessageTooLargeError: it has more bytes than the method takes, packed or not.
        InvalidInputError: it is no message of the method, did not come in time, or has too many elements.
        OverloadedError: too many large messages of the principal wait to be read.
        GoneError: the caller went away.
    """
    most = _unpacked_max(method, dialect)
    on_the_wire = int(most * _BASE64) if dialect.is_text else most
    raw = await exchange.body(on_the_wire + 1024, BODY_SECONDS if method.path in TAKES_BODIES else MESSAGE_SECONDS)
    body = _Body(exchange, dialect, raw)
    if len(raw) <= READ_AT_ONCE_BYTES:
        message = await entered.run(_read_if_small, body, method, most)
        if message is not None:
            return message
    return await entered.run_alone(_read_large, body, method, most)


def _unpacked_max(method: Method, dialect: Dialect) -> int:
    """The most bytes that a message unpacks to: in JSON all of it in base64, with as much around it as is small."""
    most = most_bytes(method.path)
    return int(most * _BASE64) + SMALL_MESSAGE_BYTES if dialect.codec is JSON else most


class _Body:
    """A body as it came, with what says how it is packed."""

    def __init__(self, exchange: Exchange, dialect: Dialect, raw: bytes) -> None:
        self._exchange = exchange
        self._dialect = dialect
        self._raw = raw

    @property
    def is_json(self) -> bool:
        """Whether it is JSON."""
        return self._dialect.codec is JSON

    def unpacked(self, most: int) -> bytes:
        """Returns the bytes of the message.

        Raises:
            MessageTooLargeError: there are more than `most`.
            InvalidInputError: it is not packed as it says.
        """
        dialect, raw = self._dialect, self._raw
        compression = self._exchange.header("content-encoding")
        if dialect.is_text:
            try:
                raw = base64.b64decode(raw, validate=True)
            except binascii.Error:
                raise InvalidInputError.of("request", "is not base64") from None
        if dialect.is_stream:
            named = "grpc-encoding" if dialect.is_web else "connect-content-encoding"
            raw, is_compressed = _opened(raw)
            compression = self._exchange.header(named) if is_compressed else ""
        return _unpacked(raw, compression, most)


def _read_if_small(body: _Body, method: Method, most: int) -> Message | None:
    """The message; None where it turns out to be large."""
    try:
        return _read(body, method, min(most, READ_AT_ONCE_BYTES))
    except MessageTooLargeError:
        return None


def _read_large(body: _Body, method: Method, most: int) -> Message:
    """The message; before the next one is read, nothing is left of one that is refused."""
    try:
        return _read(body, method, most)
    except Exception as error:
        let_go(error)
        raise


def _read(body: _Body, method: Method, most: int) -> Message:
    raw = body.unpacked(most)
    if not body.is_json:
        request: Message = parsed(raw, method.path, method.request.FromString)
    else:
        request = from_json(raw, method.request)
        if request.ByteSize() > most_bytes(method.path):
            raise MessageTooLargeError(request.ByteSize(), most_bytes(method.path))
    require_fields(request)
    return request


def _opened(raw: bytes) -> tuple[bytes, bool]:
    """The one message in an envelope, and whether it is compressed."""
    if len(raw) < _ENVELOPE or len(raw) - _ENVELOPE != int.from_bytes(raw[1:_ENVELOPE]) or raw[0] > _COMPRESSED:
        raise InvalidInputError.of("request", "must be one message in an envelope: flags, length, bytes")
    return raw[_ENVELOPE:], bool(raw[0])


def _unpacked(raw: bytes, compression: str, most: int) -> bytes:
    if compression in ("", "identity"):
        if len(raw) > most:
            raise MessageTooLargeError(len(raw), most)
        return raw
    if compression == "zstd":
        return _unpacked_zstd(raw, most)
    if compression != "gzip":
        raise InvalidInputError.of("content-encoding", f"must be gzip, zstd or identity, is {compression[:40]!r}")
    decoder = zlib.decompressobj(wbits=31)
    try:
        found = decoder.decompress(raw, most + 1)
    except zlib.error:
        raise InvalidInputError.of("request", "is not in the form of gzip") from None
    if len(found) > most:
        raise MessageTooLargeError(len(found), most)
    if not decoder.eof:
        raise InvalidInputError.of("request", "is cut off")
    return found


def _unpacked_zstd(raw: bytes, most: int) -> bytes:
    try:
        with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream:
            found: bytes = stream.read(most + 1)
    except OSError:
        raise InvalidInputError.of("request", "is not in the form of zstd, or cut off") from None
    if len(found) > most:
        raise MessageTooLargeError(len(found), most)
    return found
