"""One call as gRPC carries it (`calls.call`): its bytes, its threads and its trailers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from threading import Thread
from typing import Any, Never

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from ledger.errors import InvalidInputError
from ledger.store.postgres.calls import Work, work_of_call
from services.access.certificates import certificate_hash
from services.access.keyring import ANYONE, KeyRing
from services.api.audit.watches import Watch
from services.api.calls.call import Call, require_fields
from services.api.calls.door import (
    IDLE_SECONDS,
    MESSAGE_SECONDS,
    TAKE_SECONDS,
    MessageTooLargeError,
    Waiting,
    parsed,
)
from services.api.calls.errors import for_trailers, is_expected
from services.api.calls.large import FREE_BYTES, LargeMessages
from services.api.calls.queues import FairThreads, OverloadedError
from services.api.calls.streams import OpenStream, StreamLimit
from services.api.calls.together import Together
from services.api.grpc.answers import Answers
from services.api.grpc.watchers import Watcher, Watchers
from services.metrics import under_way


class GivenUpError(Exception):
    """The call was given up before it began: nothing needs to be done for it."""


class GrpcCall:
    """One call in progress."""

    def __init__(
        self,
        keyring: KeyRing,
        waiting: Waiting,
        answers: Answers,
        large: LargeMessages,
        threads: FairThreads,
        details: grpc.HandlerCallDetails,
        handler: Any,
    ) -> None:
        self._waiting = waiting
        self._answers = answers
        self._large = large
        self._threads = threads
        self._deserialize = handler.request_deserializer
        self._serialize = handler.response_serializer
        metadata = [(key, value) for key, value in details.invocation_metadata if isinstance(value, str)]
        keys = [value for key, value in metadata if key == "authorization"]
        asked_id = dict(metadata).get("x-request-id", "")
        self._call = Call(keyring, details.method, "grpc", keys, asked_id, trace=metadata)
        self._told = (("x-request-id", self._call.request_id),)
        self.holder = self._call.holder
        """In whose queue it waits."""
        self.asked: Any = None
        self.found: Any = None
        self._response: bytes | None = None
        self._begun: ExitStack | None = None

    def unary(
        self, behavior: Callable[[Any, Any], Any], limit: StreamLimit
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Any]:
        """A handler with one response."""

        def wrapped(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            if self._begun is not None:
                return self._answer(self._begun, context)
            with under_way("grpc"):
                try:
                    self._enter(context)
                    self._threads.run_for(self._call.principal)
                    with limit.one(self._call.principal):
                        raw = self._raw(messages, context)
                        with self._large.one(raw, self._call.method, self._call.principal):
                            response = self._serialize(behavior(self._read(raw), context))
                except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
                    self._fail(error, context)
                self._call.done()
                return self._answers.given(response, context)

        return wrapped

    def streamed(
        self, behavior: Callable[[Any, Any], Iterator[Any]], limit: StreamLimit
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Any]:
        """A handler with many responses."""

        def wrapped(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            with under_way("grpc"):
                try:
                    self._enter(context)
                    self._threads.run_for(self._call.principal)
                    with limit.one(self._call.principal) as self._call.stream:
                        yield from taken(behavior(messages, context), self._call.stream, self._waiting, context)
                except GeneratorExit:  # gRPC asks for no more, since the call is over
                    self._call.cancelled()
                    raise
                except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
                    self._fail(error, context)
                self._call.done()

        return wrapped

    def watched(
        self, behavior: Callable[[Any, Any], Any], watchers: Watchers, limit: StreamLimit
    ) -> Callable[..., None]:
        """A handler that opens a watch and returns."""

        def wrapped(
            messages: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[Message | None], None]
        ) -> None:
            with ExitStack() as opened:
                opened.enter_context(under_way("grpc"))
                try:
                    self._enter(context)
                    self._threads.run_for(self._call.principal)
                    opened.enter_context(limit.one(self._call.principal))
                    watch: Watch = behavior(self.one_of_stream(messages, context), context)
                except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
                    self._fail(error, context)
                watcher = Watcher(watch, self._call, context, send, left := ExitStack(), self._told)
                left.push(opened.pop_all())
            left.enter_context(watchers.watches.listening(watch, partial(watchers.wake, watcher)))
            if not context.add_callback(watcher.gone):
                watcher.gone()

        vars(wrapped)["experimental_non_blocking"] = True
        return wrapped

    def begin(self, raw: bytes, context: grpc.ServicerContext, together: Together) -> None:
        """The first half of a call that is done with others: it holds no thread, so no limit of threads concerns it."""
        self._begun = begun = ExitStack()
        begun.enter_context(under_way("grpc"))
        try:
            self._enter(context)
            self.asked = together.begin(raw, self._read)
        except Exception as error:  # noqa: BLE001  # it is translated as the call is answered
            self.found = error

    def end(self, together: Together) -> None:
        """Make the response, and say that the call was answered, which is next."""
        try:
            self._response = self._serialize(together.end(self.asked, self.found))
        except Exception as error:  # noqa: BLE001  # it is translated as the call is answered
            self.found = error
            return
        self._call.done()

    def _answer(self, begun: ExitStack, context: grpc.ServicerContext) -> Any:
        """The answer of a call that was done with others."""
        with begun:
            if self._response is None:
                self._fail(self.found, context)
            return self._answers.given(self._response, context)

    @property
    def is_known(self) -> bool:
        """Whether its key was looked up before."""
        return self.holder != ANYONE

    def overloaded(self) -> Callable[..., Any]:
        """A handler that refuses the call, whose principal has as many waiting as may."""

        def wrapped(_: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            context.set_trailing_metadata(self._told)
            self._fail(OverloadedError(self.holder), context)

        return wrapped

    def one_of_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Message:
        """Returns the one request of a call with many responses, which names what it asks for and has little else.

        Raises:
            InvalidInputError: there is no request, or it is not a message of its type, or lacks a required field.
            MessageTooLargeError: it is large: it would be kept for as long as the stream is open.
        """
        raw = self._raw(messages, context)
        if len(raw) > FREE_BYTES:
            raise MessageTooLargeError(len(raw), FREE_BYTES)
        return self._read(raw)

    def _raw(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Returns the bytes of the call's one request.

        Raises:
            InvalidInputError: there is none.
        """
        raw = self._waiting.one(messages, MESSAGE_SECONDS, context, self._call.principal)
        if raw is None:
            raise InvalidInputError.of("request", "is required")
        return raw

    def _read(self, raw: bytes) -> Message:
        request: Message = parsed(raw, self._call.method, self._deserialize)
        require_fields(request)
        return request

    def each(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Message]:
        """A stream's requests."""
        read = partial(parsed, method=self._call.method, deserialize=self._deserialize)
        return map(read, self._waiting.each(messages, IDLE_SECONDS, context))

    def _enter(self, context: grpc.ServicerContext) -> None:
        # Behind the answer: metadata before it would be a message of its own, and is a tenth of a small call.
        context.set_trailing_metadata(self._told)
        if not context.is_active():  # its caller stopped waiting while it did
            raise GivenUpError
        work = Work()
        work_of_call.set(work)
        context.add_callback(partial(_end, work))
        for certificate in context.auth_context().get("x509_pem_cert", ()):  # there is one at most, behind TLS
            self._call.certificate = certificate_hash(certificate)
        self._call.enter()

    def _fail(self, error: Exception, context: grpc.ServicerContext) -> Never:
        if isinstance(error, GivenUpError):
            self._call.cancelled()
            context.abort(grpc.StatusCode.CANCELLED, "its caller stopped waiting")
        if not context.is_active() and not is_expected(error):
            self._call.cancelled()
            raise error
        self._answers.given(b"", context)
        told: Any = rpc_status.to_status(for_trailers(self._call.refused(error)))  # a named tuple, as its type is not
        context.abort_with_status(told._replace(trailing_metadata=(*told.trailing_metadata, *self._told)))


def taken(answers: Iterable[Any], stream: OpenStream, waiting: Waiting, context: grpc.ServicerContext) -> Iterator[Any]:
    """A stream's answers. While one is not taken the stream is idle; it is cancelled where that takes too long."""
    for answer in answers:
        with stream.giving(context.cancel), waiting.at_most(TAKE_SECONDS, context):
            yield answer


def _end(work: Work) -> None:
    """The call is over for gRPC: end what is still done for it."""
    if work.is_under_way:
        # gRPC's own thread calls this, which everybody waits for.
        Thread(target=work.give_up, name="give up", daemon=True).start()
