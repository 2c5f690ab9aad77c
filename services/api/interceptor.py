"""What happens around every call: who it is, whether they may, what is required, what is logged, how errors travel."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

import grpc
import structlog
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from grpc_status import rpc_status

from ledger.errors import InvalidInputError, Violation
from services.access.keyring import KeyRing
from services.access.keys import Caller, UnauthenticatedError
from services.access.permissions import OPEN_PREFIXES, admit
from services.api.errors import GRPC_CODES, for_trailers, is_expected, status_of
from services.api.streams import ANYONE, StreamLimit, TooManyStreamsError

logger: Final = structlog.get_logger("moiety.api")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_call: Final[ContextVar[_Call]] = ContextVar("call")


def request_id() -> str:
    """The id of this call, for logs and for what a caller quotes when something went wrong."""
    return _call.get().request_id


def authenticated_again() -> Caller:
    """Who is calling, if the key still holds: it may be revoked while a stream is open."""
    return _call.get().authenticated()


class Gatekeeper(grpc.ServerInterceptor):
    """Authenticates, authorises, checks required fields, logs and translates errors, in this order, for every call."""

    def __init__(self, keyring: KeyRing, streams: StreamLimit) -> None:
        self._keyring = keyring
        self._streams = streams

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler of a call."""
        handler = continuation(details)
        if handler is None or details.method.startswith(OPEN_PREFIXES):
            return self._bounded(handler) if handler and handler.stream_stream else handler
        call = _Call(self._keyring, self._streams, details)
        for kind, wrap, rewrapped in (
            ("unary_unary", call.unary, grpc.unary_unary_rpc_method_handler),
            ("unary_stream", call.streamed, grpc.unary_stream_rpc_method_handler),
            ("stream_stream", call.streamed, grpc.stream_stream_rpc_method_handler),
        ):
            behavior = getattr(handler, kind)
            if behavior is not None:
                return rewrapped(wrap(behavior), handler.request_deserializer, handler.response_serializer)
        raise NotImplementedError(f"{details.method} is of a kind that the contract does not have")

    def _bounded(self, handler: Any) -> Any:
        """The handler of reflection, which needs no key."""

        def wrapped(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                with self._streams.one(ANYONE):
                    yield from handler.stream_stream(requests, context)
            except TooManyStreamsError as error:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

        return grpc.stream_stream_rpc_method_handler(wrapped, handler.request_deserializer, handler.response_serializer)


class _Call:
    """One call under way."""

    def __init__(self, keyring: KeyRing, streams: StreamLimit, details: grpc.HandlerCallDetails) -> None:
        self._keyring = keyring
        self._streams = streams
        self._method = details.method
        self._metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        asked = self._metadata.get("x-request-id", "")
        self.request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        self._told = (("x-request-id", self.request_id),)
        self._began = time.monotonic()
        self._principal = "-"

    def unary(self, behavior: Callable[[Any, Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        """A behavior with one response."""

        def wrapped(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                self._enter(request, context)
                response = behavior(request, context)
            except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
                self._fail(error, context)
            self._log("OK")
            return response

        return wrapped

    def streamed(self, behavior: Callable[[Any, Any], Iterator[Any]]) -> Callable[[Any, grpc.ServicerContext], Any]:
        """A behavior with many responses."""

        def wrapped(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._enter(request, context)
                with self._streams.one(self._principal):
                    yield from behavior(request, context)
            except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
                self._fail(error, context)
            self._log("OK")

        return wrapped

    def _enter(self, request: Any, context: grpc.ServicerContext) -> None:
        _call.set(self)
        # Behind the answer: metadata before it would be a message of its own, and is a tenth of a small call.
        context.set_trailing_metadata(self._told)
        calling = self.authenticated()
        self._principal = calling.principal.name
        admit(calling, self._method)
        if isinstance(request, Message):
            require_fields(request)

    def authenticated(self) -> Caller:
        """Whom the call's key stands for, as of now."""
        scheme, _, key = self._metadata.get("authorization", "").partition(" ")
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

    Repeated messages are left to whoever reads them.

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
    """Each field that can be missing or hold one that is, whether it is REQUIRED, and whether it holds a message."""
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
