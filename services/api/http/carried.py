"""Handlers run for HTTP: on threads of its own, behind the same rights, limits and queues as for gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

from moiety.v1.audit_pb2 import WatchLeavesResponse
from services.access.keyring import ANYONE, KeyRing
from services.api.audit.watches import WATCH_LEAVES, Watch, Watches
from services.api.calls.call import Call
from services.api.calls.queues import FairThreads, OverloadedError
from services.api.calls.streams import TooManyStreamsError
from services.api.contract import CALLS_PER_THREAD, Method, Services
from services.api.http.exchange import Exchange, GoneError
from services.metrics import under_way
from services.parts import Parts
from services.tracing.switch import HEADERS

T = TypeVar("T")

_END: Final = object()


class Entered:
    """A call that may be made: its handlers run in one context, in which `caller()` says who is calling."""

    def __init__(self, call: Call, context: Context, threads: FairThreads, one_thread: FairThreads) -> None:
        self.call = call
        self._context = context
        self._threads = threads
        self._one_thread = one_thread
        self._holder = call.holder

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Do it on a thread, when it is its principal's turn."""
        return await self._run(self._threads.submit(self._holder, lambda: self._context.run(work, *args)))

    async def run_alone(self, work: Callable[..., T], *args: Any) -> T:
        """Do what takes long while no other call does such, when it is its principal's turn."""
        return await self._run(self._one_thread.submit(self.call.principal, lambda: self._context.run(work, *args)))

    async def _run(self, promised: Future[T]) -> T:
        working = asyncio.wrap_future(promised)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait((working,))  # what is cleaned up next may be what the thread still uses
            raise

    async def each(self, answers: Iterator[T]) -> AsyncIterator[T]:
        """What a handler gives, each made once the one before was taken: a slow reader holds no thread."""
        try:
            while (found := await self.run(next, answers, _END)) is not _END:
                yield found
        finally:
            if close := getattr(answers, "close", None):
                await self.run(close)


async def watched(watches: Watches, entered: Entered, watch: Watch) -> AsyncIterator[WatchLeavesResponse]:
    """What a watch has to say, as it comes; no thread waits for it."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(woken.set)

    with watches.listening(watch, wake):
        while True:
            woken.clear()
            message = await entered.run(watch.next, entered.call.authenticated)
            if message is not None:
                yield message
            elif not watch.is_behind:
                await woken.wait()


class Carrier:
    """Lets calls in, and runs them."""

    def __init__(self, parts: Parts, services: Services) -> None:
        self.keyring: KeyRing = parts.keyring
        self.methods: dict[str, Method] = services.methods()
        self.watches: Final = services.watches
        self._limits = services.limits
        self._most = CALLS_PER_THREAD * parts.settings.threads
        self._open = 0
        self._threads = FairThreads(parts.settings.threads, "http")
        self._one_thread = FairThreads(1, "http-alone")

    def close(self) -> None:
        """Finish what the threads do."""
        self._one_thread.shutdown()
        self._threads.shutdown()

    def call(self, exchange: Exchange, method: str) -> Call:
        """The call that a request makes; nothing of it is looked at yet."""
        asked = exchange.header("x-request-id")
        keys = exchange.headers("authorization")
        trace = [(name, exchange.header(name)) for name in HEADERS]
        call = Call(self.keyring, method, "http", keys, asked, certificate=exchange.certificate, trace=trace)
        exchange.always["x-request-id"] = call.request_id
        return call

    @asynccontextmanager
    async def let_in(self, call: Call, *, stream: bool) -> AsyncIterator[Entered]:
        """Check the key, and count the call as its principal's, before a byte of the body is read.

        Raises:
            UnauthenticatedError: it has no key that holds.
            PermissionDeniedError: its key may not call the method.
            TooManyStreamsError: too many calls are under way, of this principal or in all.
            OverloadedError: too many calls of this principal wait for a thread.
        """
        if self._open >= self._most:
            raise TooManyStreamsError(ANYONE)
        if not self._threads.has_room(call.holder):
            raise OverloadedError(call.holder)
        self._open += 1
        try:
            with under_way("http"):
                entered = Entered(call, copy_context(), self._threads, self._one_thread)
                await entered.run(call.enter)
                limit = self._limits.streams if stream else self._limits.calls
                if call.method == WATCH_LEAVES:
                    limit = self._limits.watches
                with limit.one(call.principal) as call.stream:
                    yield entered
        finally:
            self._open -= 1


async def unless_gone(exchange: Exchange, work: AsyncIterator[T]) -> AsyncIterator[T]:
    """What comes of it, until the caller goes away, even if nothing comes.

    Raises:
        GoneError: the caller went away.
    """
    gone = asyncio.ensure_future(exchange.gone())
    following: asyncio.Future[T] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(work))
            await asyncio.wait((following, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise GoneError
            try:
                found = await following
            except StopAsyncIteration:
                return
            yield found
    finally:
        gone.cancel()
        if following is not None:
            following.cancel()
            await asyncio.wait((following,))
        await work.aclose()  # type: ignore[attr-defined]  # it is a generator of `Entered.each`
