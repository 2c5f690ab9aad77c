"""One call, whatever carries it: who it is, whether they may, what is logged and counted, how an error reads."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

import structlog
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

from ledger.errors import InvalidInputError, Violation
from services.access.keyring import KeyRing
from services.access.keys import Caller, UnauthenticatedError
from services.access.permissions import admit
from services.api.calls.errors import GRPC_CODES, is_expected, status_of
from services.api.calls.streams import OpenStream
from services.metrics import count_call
from services.tracing.switch import begin_call

logger: Final = structlog.get_logger("moiety.api")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_call: Final[ContextVar[Call]] = ContextVar("call")


def request_id() -> str:
    """The id of this call, for logs and for what a caller quotes when something went wrong."""
    return _call.get().request_id


def open_stream() -> OpenStream:
    """The stream that this call is."""
    stream = _call.get().stream
    assert stream is not None  # noqa: S101  # what asks is a handler with many responses
    return stream


def authenticated_again() -> Caller:
    """Who is calling, if the key still holds: it may be revoked while a stream is open."""
    return _call.get().authenticated()


class Call:
    """One call under way.

    Args:
        keyring: says whom a key stands for.
        method: its path in the contract, `/moiety.v1.RoundsService/GetRound`.
        via: what carries it, `grpc`, `http` or `console`.
        keys: every value of its `authorization` header.
        asked_id: the request id that its caller would like, in any form.
        signed_in: says who is calling where that is not said by a key.
        certificate: the hash of the client certificate that TLS checked; empty where there is none.
        trace: the headers by which its caller names a trace, and perhaps others.
    """

    def __init__(
        self,
        keyring: KeyRing,
        method: str,
        via: str,
        keys: Sequence[str],
        asked_id: str,
        *,
        signed_in: Callable[[], Caller] | None = None,
        certificate: str = "",
        trace: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._keyring = keyring
        self._signed_in = signed_in
        self._via = via
        self._keys = keys
        self.certificate = certificate
        self._began = time.monotonic()
        self.method = method
        self.request_id = asked_id if _REQUEST_ID.fullmatch(asked_id) else secrets.token_hex(8)
        self.principal = "-"
        self._span = begin_call(method, via, trace)
        self.stream: OpenStream | None = None
        """The stream that the call is, where it is one."""

    @property
    def holder(self) -> str:
        """In whose queue the call waits: its principal's, as far as that is known without asking the database."""
        return self._keyring.holder(self._key, self.certificate)

    @property
    def _key(self) -> str:
        """The call's key; empty where it has none, or several, of which nobody can say which one was meant."""
        scheme, _, key = (self._keys[0] if len(self._keys) == 1 else "").partition(" ")
        return key if scheme.lower() == "bearer" else ""

    def enter(self) -> None:
        """Make this the call that is under way in the present context, if its key may make it.

        Raises:
            UnauthenticatedError: it has no key, or none that holds.
            PermissionDeniedError: its key may not call the method.
        """
        _call.set(self)
        if self._span:
            self._span.enter()
        calling = self.authenticated()
        self.principal = calling.principal.name
        admit(calling, self.method)

    def authenticated(self) -> Caller:
        """Whom the call's key stands for, or its client certificate, as of now.

        Where it has both they must be of one principal, and the rights are those of the key.

        Raises:
            UnauthenticatedError: it has neither, or one that does not hold, or they are of two principals.
        """
        if self._signed_in is not None:
            return self._signed_in()
        if not self.certificate:
            return self._of_key()
        certified = self._keyring.certified(self.certificate)
        if not self._keys:
            return certified
        calling = self._of_key()
        if calling.principal != certified.principal:
            raise UnauthenticatedError
        return calling

    def _of_key(self) -> Caller:
        if not self._key:
            raise UnauthenticatedError
        return self._keyring.caller(self._key)

    def done(self) -> None:
        """Say that the call was answered."""
        self._log("OK")

    def cancelled(self) -> None:
        """Say that the caller went away."""
        self._log("CANCELLED")

    def refused(self, error: Exception) -> status_pb2.Status:
        """The status that the caller gets for an error, which is logged."""
        status = status_of(error, self.request_id)
        if is_expected(error):
            self._log(GRPC_CODES[status.code].name, reason=str(error)[:500])
            error.with_traceback(None)  # whose frames may be in a cycle with it, and hold the message
        else:
            self._count(GRPC_CODES[status.code].name)
            logger.error(
                "call failed", method=self.method, request_id=self.request_id, exc_info=error, **self._traced()
            )
        return status

    def _log(self, code: str, **more: str) -> None:
        seconds = self._count(code)
        logger.info(
            "call",
            method=self.method,
            principal=self.principal,
            code=code,
            request_id=self.request_id,
            milliseconds=round(1000 * seconds, 1),
            **self._traced(),
            **more,
        )

    def _count(self, code: str) -> float:
        seconds = time.monotonic() - self._began
        count_call(self.method, self._via, code, seconds)
        if self._span:
            self._span.end(code, self.principal, self.request_id)
        return seconds

    def _traced(self) -> dict[str, str]:
        return {"trace_id": self._span.trace_id} if self._span else {}


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
