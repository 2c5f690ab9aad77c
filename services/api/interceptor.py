"""What happens around every call: authentication, authorisation, required fields, logging and errors."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

import grpc
import structlog
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_status import rpc_status

from ledger.errors import InvalidInputError, Violation
from services.access.keyring import KeyRing
from services.access.keys import Caller, UnauthenticatedError
from services.access.permissions import HEALTH_PREFIX, OPEN_PREFIXES, admit
from services.api.door import IDLE_SECONDS, MESSAGE_SECONDS, Waiting, parsed
from services.api.errors import GRPC_CODES, for_trailers, is_expected, status_of
from services.api.streams import ANYONE, OpenStream, StreamLimit, TooManyStreamsError

logger: Final = structlog.get_logger("moiety.api")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_call: Final[ContextVar[_Call]] = ContextVar("call")


def request_id() -> str:
    """The id of this call, for logs and for callers to quote when something went wrong."""
    return _call.get().request_id


def open_stream() -> OpenStream:
    """The stream that this call is."""
    stream = _call.get().stream
    assert stream is not None  # noqa: S101  # what asks is a behavior with many responses
    return stream


def authenticated_again() -> Caller:
    """Check that the caller's key is still valid: it may be revoked while a stream is open."""
    return _call.get().authenticated()


class Gatekeeper(grpc.ServerInterceptor):
    """Authenticates, authorises, checks required fields, logs and translates errors, in this order, for every call."""

    def __init__(self, keyring: KeyRing, threads: int, waiting: Waiting, health_threads: ThreadPoolExecutor) -> None:
        self._keyring = keyring
        self._streams = StreamLimit(threads)
        # At most three quarters of the threads for the calls of one principal, so that some are left for the others.
        self._calls = StreamLimit(3 * threads)
        self._waiting = waiting
        self._health_threads = health_threads

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler of a call as one that takes a stream of bytes (`door`)."""
        handler = continuation(details)
        if handler is None:
            return None
        if details.method.startswith(HEALTH_PREFIX):
            return self._unread(handler)
        if details.method.startswith(OPEN_PREFIXES):
            return self._bounded(handler)
        call = _Call(self._keyring, self._waiting, details, handler.request_deserializer)
        if handler.unary_unary is not None:
            wrapped = call.unary(handler.unary_unary, self._calls)
            return grpc.stream_unary_rpc_method_handler(wrapped, None, handler.response_serializer)
        if handler.unary_stream is not None:
            answer = handler.unary_stream
            wrapped = call.streamed(lambda sent, context: answer(call.one(sent, context), context), self._streams)
        elif handler.stream_stream is not None:
            answer = handler.stream_stream
            wrapped = call.streamed(lambda sent, context: answer(call.each(sent, context), context), self._streams)
        else:
            raise NotImplementedError(f"{details.method} is of a kind that the contract does not have")
        return grpc.stream_stream_rpc_method_handler(wrapped, None, handler.response_serializer)

    def _unread(self, handler: Any) -> Any:
        """Returns the handler of health, which needs no key: it does not wait for the message, and has its own threads.

        The answer is the same for all services, so it hardly matters which one is asked about; and callers who send no
        message occupy no thread.
        """

        def check(_: Iterator[Any], context: grpc.ServicerContext) -> Any:
            return handler.unary_unary(HealthCheckRequest(), context)

        def watch(_: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            yield from handler.unary_stream(HealthCheckRequest(), context)

        for behavior in (check, watch):  # where gRPC looks for the threads of one handler
            vars(behavior)["experimental_thread_pool"] = self._health_threads
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(check, None, handler.response_serializer)
        return grpc.stream_stream_rpc_method_handler(watch, None, handler.response_serializer)

    def _bounded(self, handler: Any) -> Any:
        """The handler of reflection, which needs no key."""

        def wrapped(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                with self._streams.one(ANYONE):
                    yield from handler.stream_stream(self._waiting.each(requests, MESSAGE_SECONDS, context), context)
            except TooManyStreamsError as error:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

        return grpc.stream_stream_rpc_method_handler(wrapped, handler.request_deserializer, handler.response_serializer)


class _Call:
    """One call in progress."""

    def __init__(self, keyring: KeyRing, waiting: Waiting, details: grpc.HandlerCallDetails, deserialize: Any) -> None:
        self._keyring = keyring
        self._waiting = waiting
        self._deserialize = deserialize
        self._method = details.method
        metadata = [(key, value) for key, value in details.invocation_metadata if isinstance(value, str)]
        self._metadata = dict(metadata)
        self._keys = [value for key, value in metadata if key == "authorization"]
        asked = self._metadata.get("x-request-id", "")
        self.request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        self._told = (("x-request-id", self.request_id),)
        self._began = time.monotonic()
        self._principal = "-"
        self.stream: OpenStream | None = None

    def unary(
        self, behavior: Callable[[Any, Any], Any], limit: StreamLimit
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Any]:
        """A handler with one response."""

        def wrapped(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            try:
                self._enter(context)
                with limit.one(self._principal):
                    response = behavior(self.one(messages, context), context)
            except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
                self._fail(error, context)
            self._log("OK")
            return response

        return wrapped

    def streamed(
        self, behavior: Callable[[Any, Any], Iterator[Any]], limit: StreamLimit
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Any]:
        """A handler with many responses."""

        def wrapped(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._enter(context)
                with limit.one(self._principal) as self.stream:
                    yield from behavior(messages, context)
            except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
                self._fail(error, context)
            self._log("OK")

        return wrapped

    def one(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Message:
        """Returns the call's one request.

        Raises:
            InvalidInputError: there is no request, or it is not a message of its type, or lacks a required field.
            MessageTooLargeError: it is larger than the method accepts.
        """
        raw = next(self._waiting.each(messages, MESSAGE_SECONDS, context), None)
        if raw is None:
            raise InvalidInputError.of("request", "is required")
        request: Message = parsed(raw, self._method, self._deserialize)
        require_fields(request)
        return request

    def each(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Message]:
        """A stream's requests."""
        for raw in self._waiting.each(messages, IDLE_SECONDS, context):
            yield parsed(raw, self._method, self._deserialize)

    def _enter(self, context: grpc.ServicerContext) -> None:
        _call.set(self)
        # After the answer: metadata before it would be a message of its own, which is a tenth of a small call.
        context.set_trailing_metadata(self._told)
        calling = self.authenticated()
        self._principal = calling.principal.name
        admit(calling, self._method)

    def authenticated(self) -> Caller:
        """Returns the principal of the call's key, as of now."""
        # Of two keys, it is unclear which one was meant.
        scheme, _, key = (self._keys[0] if len(self._keys) == 1 else "").partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError
        return self._keyring.caller(key)

    def _fail(self, error: Exception, context: grpc.ServicerContext) -> None:
        if not context.is_active() and not is_expected(error):
            self._log("CANCELLED")
            raise error
        status = status_of(error, self.request_id)
        if is_expected(error):
            self._log(GRPC_CODES[status.code].name, reason=str(error)[:500])
        else:
            logger.error("call failed", method=self._method, request_id=self.request_id, exc_info=error)
        told: Any = rpc_status.to_status(for_trailers(status))  # a named tuple, which its type does not say
        context.abort_with_status(told._replace(trailing_metadata=(*told.trailing_metadata, *self._told)))

    def _log(self, code: str, **more: str) -> None:
        logger.info(
            "call",
            method=self._method,
            principal=self._principal,
            code=code,
            request_id=self.request_id,
            milliseconds=round(1000 * (time.monotonic() - self._began), 1),
            **more,
        )


def require_fields(request: Message) -> None:
    """Check that every field that the contract marks REQUIRED is set.

    Repeated messages are checked by the code that reads them.

    Raises:
        InvalidInputError: some are not; the error names each.
    """
    if missing := list(_missing(request, "")):
        raise InvalidInputError([Violation(field, "is required") for field in missing])


def _missing(message: Message, path: str) -> Iterator[str]:
    for field, is_required, is_nested in _fields(message.DESCRIPTOR):
        is_set = _is_set(message, field)
        if is_required and not is_set:
            yield path + field.name
        elif is_nested and is_set:
            yield from _missing(getattr(message, field.name), f"{path}{field.name}.")


@cache
def _fields(descriptor: Descriptor) -> tuple[tuple[Any, bool, bool], ...]:
    """Yields each field that can be or contain a missing one, whether it is REQUIRED, and whether it is a message."""
    looked_at = []
    field: Any  # the stubs know two kinds of descriptors, of which there is one at a time
    for field in descriptor.fields:
        is_required = field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        is_nested = bool(field.message_type) and not field.is_repeated and field.file.package == "moiety.v1"
        if is_required or is_nested:
            looked_at.append((field, is_required, is_nested))
    return tuple(looked_at)


def _is_set(message: Message, field: Any) -> bool:
    if field.is_repeated:
        return len(getattr(message, field.name)) > 0
    if field.has_presence:
        return message.HasField(field.name)
    return bool(getattr(message, field.name) != field.default_value)
