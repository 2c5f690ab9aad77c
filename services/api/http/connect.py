"""The contract's calls by the Connect protocol (connectrpc.com/docs/protocol) and by gRPC-Web.

By a few lines of our own: the library connectrpc reads a request before it asks whose it is, and has messages of
another protobuf runtime (docs/decisions/http.md).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from services.api.audit.watches import Watch
from services.api.calls.call import Call
from services.api.calls.errors import for_trailers
from services.api.calls.large import let_go
from services.api.contract import Method
from services.api.http.carried import Carrier, Entered, unless_gone, watched
from services.api.http.dialects import DIALECTS, Dialect
from services.api.http.exchange import Exchange, GoneError
from services.api.http.messages import read_message

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

_END_OF_STREAM: Final = 0x02
_TRAILERS: Final = 0x80


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
                request = await read_message(exchange, entered, method, dialect)
                if dialect.is_stream:
                    await self._stream(exchange, entered, method, dialect, request)
                else:
                    answered = await entered.run(lambda: dialect.codec.write(method.answer(request, None)))
                    await exchange.answer(200, dialect.content_type, answered)
            call.done()
        except GoneError:
            call.cancelled()
            raise
        except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
            status = call.refused(error)
            let_go(error)
            await _refuse(exchange, dialect, status)

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
            written = await entered.run(dialect.codec.write, message)
            await exchange.give(_framed(0, written, dialect))
        await _end(exchange, dialect, None)


async def _unimplemented(exchange: Exchange, call: Call, dialect: Dialect) -> None:
    what = "HTTP carries no stream of requests; send files to /v1/pools/{pool}/usage, or use gRPC"
    await _refuse(exchange, dialect, status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message=what))
    call.done()


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
