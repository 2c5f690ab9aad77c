"""The contract's calls by the Connect protocol (connectrpc.com/docs/protocol) and by gRPC-Web.

By a few lines of our own: the library connectrpc reads a request before it asks whose it is, and has messages of
another protobuf runtime (docs/decisions/http.md).
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from ledger.errors import InvalidInputError
from services.api.call import Call, require_fields
from services.api.contract import Method
from services.api.door import MESSAGE_SECONDS, TAKES_BODIES, MessageTooLargeError, most_bytes, parsed
from services.api.errors import for_trailers
from services.api.http.carried import Carrier, Entered, unless_gone, watched
from services.api.http.exchange import Exchange, GoneError
from services.api.watches import Watch

HTTP_STATUS: Final = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
    code_pb2.UNAUTHENTICATED: 401,
}
"""Connect's table of statuses."""

BODY_SECONDS: Final = 60.0
"""How long the message of a method that takes bodies may take to come; it holds no thread meanwhile."""

JSON_FACTOR: Final = 4
"""A message in JSON may be so much larger than in binary: base64, names of fields, numbers as text."""

_ENVELOPE: Final = 5
_COMPRESSED: Final = 0x01
_END_OF_STREAM: Final = 0x02
_TRAILERS: Final = 0x80


@dataclass(frozen=True, slots=True)
class Codec:
    """How messages are written."""

    name: str
    write: Callable[[Message], bytes]


def _json(message: Message) -> bytes:
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()


PROTO: Final = Codec("proto", lambda message: message.SerializeToString())
JSON: Final = Codec("json", _json)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way of carrying calls, as its content type says.

    Attributes:
        content_type: of the answer, where it is of messages.
        codec: how messages are written.
        is_web: whether it is gRPC-Web; otherwise it is Connect.
        is_stream: whether messages have envelopes.
        is_text: whether all of it is in base64.
    """

    content_type: str
    codec: Codec
    is_web: bool = False
    is_stream: bool = False
    is_text: bool = False


DIALECTS: Final = {
    "application/json": Dialect("application/json", JSON),
    "application/proto": Dialect("application/proto", PROTO),
    "application/connect+json": Dialect("application/connect+json", JSON, is_stream=True),
    "application/connect+proto": Dialect("application/connect+proto", PROTO, is_stream=True),
    "application/grpc-web": Dialect("application/grpc-web+proto", PROTO, is_web=True, is_stream=True),
    "application/grpc-web+proto": Dialect("application/grpc-web+proto", PROTO, is_web=True, is_stream=True),
    "application/grpc-web-text": Dialect("application/grpc-web-text+proto", PROTO, True, True, True),
    "application/grpc-web-text+proto": Dialect("application/grpc-web-text+proto", PROTO, True, True, True),
}


class UnimplementedError(Exception):
    """A call that HTTP does not carry."""


def error_document(status: status_pb2.Status) -> dict[str, Any]:
    """An error in Connect's JSON."""
    details = [
        {
            "type": detail.TypeName(),
            "value": base64.b64encode(detail.value).decode().rstrip("="),
            "debug": _debug(detail),
        }
        for detail in status.details
    ]
    return {"code": code_pb2.Code.Name(status.code).lower(), "message": status.message, "details": details}


def _debug(detail: Any) -> dict[str, Any]:
    found = json_format.MessageToDict(detail)
    found.pop("@type", None)
    return found


async def answer_error(exchange: Exchange, status: status_pb2.Status, **more: Any) -> None:
    """Answer with an error, as a document of its own."""
    body = json.dumps({**error_document(status), **more}, ensure_ascii=False).encode()
    asks = {"www_authenticate": "Bearer"} if status.code == code_pb2.UNAUTHENTICATED else {}
    await exchange.answer(HTTP_STATUS[status.code], "application/json", body, **asks)


class ConnectCalls:
    """Answers the calls of the contract."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one call.

        Raises:
            GoneError: the caller went away.
        """
        method = self._carrier.methods.get(exchange.path)
        if method is None:
            await exchange.answer(404, "text/plain", b"no such method\n")
            return
        if exchange.method != "POST":
            await exchange.answer(405, "text/plain", b"calls are made by POST\n", allow="POST")
            return
        dialect = DIALECTS.get(exchange.header("content-type").partition(";")[0].strip().lower())
        is_fit = dialect and (dialect.is_web or dialect.is_stream == method.server_streaming)
        if dialect is None or not (is_fit or method.client_streaming):
            fit = (name for name, way in DIALECTS.items() if way.is_web or way.is_stream == method.server_streaming)
            known = ", ".join(fit)
            said = f"content-type must be one of {known}\n".encode()
            await exchange.answer(415, "text/plain", said, accept_post=known)
            return
        await self._answer(exchange, method, dialect)

    async def _answer(self, exchange: Exchange, method: Method, dialect: Dialect) -> None:
        call = self._carrier.call(exchange, method.path)
        try:
            async with self._carrier.let_in(call, stream=method.server_streaming) as entered:
                if method.client_streaming:
                    await _unimplemented(exchange, call, dialect)
                    return
                request = await _request(exchange, entered, method, dialect)
                if dialect.is_stream:
                    await self._stream(exchange, entered, method, dialect, request)
                else:
                    response = dialect.codec.write(await entered.run(method.answer, request, None))
                    await exchange.answer(200, dialect.content_type, response)
            call.done()
        except GoneError:
            call.cancelled()
            raise
        except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
            await _refuse(exchange, dialect, call.refused(error))

    async def _stream(
        self, exchange: Exchange, entered: Entered, method: Method, dialect: Dialect, request: Message
    ) -> None:
        """Answer with messages in envelopes, and behind them how it ended."""
        answers = await entered.run(method.answer, request, None)
        made: AsyncIterator[Message]
        if isinstance(answers, Watch):
            made = watched(self._carrier.watches, entered, answers)
        else:
            made = entered.each(answers if method.server_streaming else iter([answers]))
        async for message in unless_gone(exchange, made):
            if not exchange.started:  # not earlier: what is refused before its first message may say so as it likes
                await exchange.start(200, {"content-type": dialect.content_type})
            await exchange.give(_framed(0, dialect.codec.write(message), dialect))
        await _end(exchange, dialect, None)


async def _unimplemented(exchange: Exchange, call: Call, dialect: Dialect) -> None:
    what = "HTTP carries no stream of requests; send files to /v1/pools/{pool}/usage, or use gRPC"
    await _refuse(exchange, dialect, status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message=what))
    call.done()


async def _request(exchange: Exchange, entered: Entered, method: Method, dialect: Dialect) -> Message:
    """The request, read once the call is let in."""
    most = most_bytes(method.path) * (JSON_FACTOR if dialect.codec is JSON else 1)
    raw = await exchange.body(most * 4 // 3 + 1024 if dialect.is_text else most + 1024, _seconds(method))
    return await entered.run(_read, exchange, raw, method, dialect, most)


def _seconds(method: Method) -> float:
    return BODY_SECONDS if method.path in TAKES_BODIES else MESSAGE_SECONDS


def _read(exchange: Exchange, raw: bytes, method: Method, dialect: Dialect, most: int) -> Message:
    compression = exchange.header("content-encoding")
    if dialect.is_text:
        try:
            raw = base64.b64decode(raw, validate=True)
        except binascii.Error:
            raise InvalidInputError.of("request", "is not base64") from None
    if dialect.is_stream:
        named = "grpc-encoding" if dialect.is_web else "connect-content-encoding"
        raw, is_compressed = _opened(raw)
        compression = exchange.header(named) if is_compressed else ""
    raw = _unpacked(raw, compression, most)
    if dialect.codec is PROTO:
        request: Message = parsed(raw, method.path, method.request.FromString)
    else:
        request = _from_json(raw, method.request)
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


def _from_json(raw: bytes, kind: type[Message]) -> Message:
    try:
        return json_format.Parse(raw, kind(), max_recursion_depth=20)
    except json_format.ParseError as error:
        raise InvalidInputError.of("request", str(error).partition("\n")[0][:300]) from None
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise InvalidInputError.of("request", "is not JSON in UTF-8") from None


async def _refuse(exchange: Exchange, dialect: Dialect, status: status_pb2.Status) -> None:
    if dialect.is_stream:
        await _end(exchange, dialect, status)
    else:
        await answer_error(exchange, status)


async def _end(exchange: Exchange, dialect: Dialect, status: status_pb2.Status | None) -> None:
    """How a stream ended: OK where there is no status."""
    if not exchange.started:
        await exchange.start(200, {"content-type": dialect.content_type})
    if not dialect.is_web:
        ending = {"error": error_document(status)} if status else {}
        await exchange.give(_framed(_END_OF_STREAM, json.dumps(ending).encode(), dialect), more=False)
        return
    lines = [f"grpc-status: {status.code if status else 0}"]
    if status:
        status = for_trailers(status)
        packed = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
        lines += [f"grpc-message: {quote(status.message, safe=' !#$&()*+,/:;<=>?@[]^_`{|}~')}"]
        lines += [f"grpc-status-details-bin: {packed}"]
    trailers = "".join(f"{line}\r\n" for line in lines).encode()
    await exchange.give(_framed(_TRAILERS, trailers, dialect), more=False)


def _framed(flags: int, payload: bytes, dialect: Dialect) -> bytes:
    frame = bytes([flags]) + len(payload).to_bytes(4) + payload
    return base64.b64encode(frame) if dialect.is_text else frame
