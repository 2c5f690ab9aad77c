"""What gRPC does with every call (`carried`): on which threads it runs, and beside which others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest

from services.access.keyring import ANYONE, KeyRing
from services.access.permissions import HEALTH_PREFIX, OPEN_PREFIXES
from services.api.audit.watches import WATCH_LEAVES
from services.api.calls.door import MESSAGE_SECONDS, Waiting
from services.api.calls.queues import FairThreads
from services.api.calls.streams import CallLimits, TooManyStreamsError
from services.api.calls.together import Arrivals, Together
from services.api.grpc.answers import Answers
from services.api.grpc.carried import GrpcCall, taken
from services.api.grpc.watchers import Watchers

HEALTH_SECONDS: Final = 1.0
"""How long a check of health may take to say what it asks about."""

HEALTH_BYTES_MAX: Final = 1024


class Gatekeeper(grpc.ServerInterceptor):
    """Authenticates, authorises, checks required fields, logs and translates errors, in this order, for every call."""

    def __init__(
        self,
        keyring: KeyRing,
        limits: CallLimits,
        waiting: Waiting,
        threads: FairThreads,
        other_threads: ThreadPoolExecutor,
        watchers: Watchers,
        arrivals: Arrivals,
        together: Mapping[str, Together],
    ) -> None:
        self._keyring = keyring
        self._limits = limits
        self._waiting = waiting
        self._threads = threads
        self._other_threads = other_threads
        self._watchers = watchers
        self._arrivals = arrivals
        self._together = together
        self._answers = Answers(waiting)
        self._health_waits = BoundedSemaphore(1)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler of a call as one that takes a stream of bytes (`door`)."""
        handler = continuation(details)
        if handler is None:
            return None
        if details.method.startswith(HEALTH_PREFIX):
            return self._health(handler)
        if details.method.startswith(OPEN_PREFIXES):
            return self._bounded(handler)
        call = GrpcCall(
            self._keyring, self._waiting, self._answers, self._limits.large, self._threads, details, handler
        )
        wrapped = self._wrapped(call, handler, details.method)
        if self._threads.has_room(call.holder):
            together = self._together.get(details.method) if call.is_known else None
            _run_on(wrapped, self._arrivals.executor(call, together) if together else self._threads.of(call.holder))
        else:
            wrapped = call.overloaded()
            _run_on(wrapped, self._other_threads)
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(wrapped)
        return grpc.stream_stream_rpc_method_handler(wrapped, None, handler.response_serializer)

    def _wrapped(self, call: GrpcCall, handler: Any, method: str) -> Callable[..., Any]:
        if handler.unary_unary is not None:
            return call.unary(handler.unary_unary, self._limits.calls)
        streams = self._limits.streams
        if method == WATCH_LEAVES:
            return call.watched(handler.unary_stream, self._watchers, self._limits.watches)
        if handler.unary_stream is not None:
            answer = handler.unary_stream
            return call.streamed(lambda sent, context: answer(call.one_of_stream(sent, context), context), streams)
        if handler.stream_stream is not None:
            answer = handler.stream_stream
            return call.streamed(lambda sent, context: answer(call.each(sent, context), context), streams)
        raise NotImplementedError(f"{method} is of a kind that the contract does not have")

    def _health(self, handler: Any) -> Any:
        """Returns the handler of health, which needs no key and has its own threads.

        It waits for one message at a time, and not for long: callers who send none occupy one thread at most, and
        those who come meanwhile are told of the server as a whole.
        """

        def check(messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
            found = handler.unary_unary(self._asked_about(messages, context), context)
            return self._answers.given(handler.response_serializer(found), context)

        def watch(_: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            yield from handler.unary_stream(HealthCheckRequest(), context)

        for behavior in (check, watch):
            _run_on(behavior, self._other_threads)
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(check)
        return grpc.stream_stream_rpc_method_handler(watch, None, handler.response_serializer)

    def _asked_about(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> HealthCheckRequest:
        if not self._health_waits.acquire(blocking=False):
            return HealthCheckRequest()
        try:
            raw = next(self._waiting.each(messages, HEALTH_SECONDS, context), b"")
            return HealthCheckRequest.FromString(raw if len(raw) <= HEALTH_BYTES_MAX else b"")
        except DecodeError:
            return HealthCheckRequest()
        finally:
            self._health_waits.release()

    def _bounded(self, handler: Any) -> Any:
        """The handler of reflection, which needs no key."""

        def wrapped(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                with self._limits.reflection.one(ANYONE) as stream:
                    asked = self._waiting.each(requests, MESSAGE_SECONDS, context)
                    yield from taken(handler.stream_stream(asked, context), stream, self._waiting, context)
            except TooManyStreamsError as error:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

        _run_on(wrapped, self._threads.of(ANYONE))
        return grpc.stream_stream_rpc_method_handler(wrapped, handler.request_deserializer, handler.response_serializer)


def _run_on(behavior: Callable[..., Any], threads: ThreadPoolExecutor) -> None:
    """Say where gRPC is to run one handler."""
    vars(behavior)["experimental_thread_pool"] = threads
