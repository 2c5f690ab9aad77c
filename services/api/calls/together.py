"""Calls that are done together: their work is one statement or one transaction, and one thread does all of it.

A small call costs less than waking the threads that it passes through. So gRPC's own thread receives the message of a
call that may be done with others, and gives it to `FairThreads`, where those of one kind gather; one thread takes all
that are there and answers each. Nothing waits on purpose: a call that comes alone is done alone. Each is authenticated,
authorised, checked, counted, logged and answered by itself, as it would be on a thread of its own.

gRPC for Python has no public way to receive a message without a thread that waits for it. What is used here of its own
parts is looked at as this is imported; if a release has others, calls are given to threads as gRPC does it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Semaphore
from typing import Any, Final, Protocol, cast

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is compiled

from services.api.calls.door import MESSAGE_SECONDS, Waiting
from services.api.calls.queues import FairThreads
from services.lines import written_at_once

_PARTS: Final = [
    getattr(module, name, None)
    for module, name in (
        (cygrpc, "ReceiveMessageOperation"),
        (_server, "_receive_message"),
        (_server, "_RECEIVE_MESSAGE_TOKEN"),
        (_server, "_unary_response_in_pool"),
        (_server, "_Context"),
    )
]
_operation, _receiver, _token, _answer_in_pool, _context = cast("list[Any]", _PARTS)
_ARE_THERE: Final = all(_PARTS)


class Together(Protocol):
    """How calls of one method are done together."""

    groups_at_once: int
    """Of one kind: with two, the second is done while the first waits for Postgres, and both are smaller."""

    def kind(self, raw: bytes) -> Hashable | None:
        """Which calls a message is done with; None if it is done alone. Anyone may have sent it."""

    def begin(self, raw: bytes, read: Callable[[bytes], Any]) -> Any:
        """Check a message, and return what is to be done for it; `read` makes it a request whose required fields are
        there. Raises what the handler would raise.
        """

    def do(self, asked: Sequence[Any]) -> Sequence[Any]:
        """Do what calls of one kind ask for; returns of each what `end` needs, or the error that is its own."""

    def end(self, asked: Any, found: Any) -> Any:
        """Returns the response, or raises what was found. Raises what the handler would raise."""


class Halves(Protocol):
    """A call whose handler is run in two halves, with the work for all between."""

    holder: str

    def begin(self, raw: bytes, context: grpc.ServicerContext, together: Together) -> None:
        """Everything until the work; what is raised is kept for the end."""

    asked: Any
    """What is to be done for the call; None if it failed."""

    found: Any
    """What the work has found, or an error; it is set between the halves."""

    def end(self, together: Together) -> None:
        """Everything after the work; what is raised is kept for the answer."""


class Arrivals:
    """Receives messages without a thread for each.

    Args:
        threads: what calls run on.
        waiting: cancels a call whose message does not come.
        most: calls whose message is being received, or waits for a thread. The others are given a thread first:
            messages are held in memory meanwhile.
    """

    def __init__(self, threads: FairThreads, waiting: Waiting, most: int) -> None:
        self._threads = threads
        self._waiting = waiting
        self._room = Semaphore(most)

    def executor(self, call: Halves, together: Together) -> ThreadPoolExecutor:
        """Returns what gRPC is to take as the threads of a call."""
        return _Executor(self, call, together)

    def submit(self, call: Halves, together: Together, work: Callable[..., Any], args: Sequence[Any]) -> Future[Any]:
        """Receive the message of a call and have it done.

        Args:
            call: the call.
            together: how calls of its method are done together.
            work: runs a function in the call's context.
            args: what gRPC would run there: a function, and its arguments.
        """
        usual = self._threads.of(call.holder)
        if not _ARE_THERE or args[0] is not _answer_in_pool or not self._room.acquire(blocking=False):
            return usual.submit(work, *args)
        arrived = _Arrived(call, work, args, self._room)
        wait = self._waiting.begin(arrived.rpc, MESSAGE_SECONDS, silent_of=call.holder)

        def received(raw: bytes | None) -> None:
            self._waiting.end(wait)
            arrived.raw = raw
            try:
                kind = None if raw is None else together.kind(raw)
            except Exception:  # noqa: BLE001  # gRPC's own thread is everybody's; the handler says what is wrong
                kind = None
            if kind is None:
                usual.submit(arrived.run)
            else:
                self._threads.gather(
                    (together, kind), call.holder, arrived, partial(_do, together), together.groups_at_once
                )

        arrived.receive(received)
        return arrived.promised


class _Executor(ThreadPoolExecutor):
    """gRPC insists on this class, and calls `submit` alone."""

    def __init__(self, arrivals: Arrivals, call: Halves, together: Together) -> None:  # it has no threads of its own
        self._arrivals, self._call, self._together = arrivals, call, together

    def submit(self, work: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        return self._arrivals.submit(self._call, self._together, work, args)


class _Arrived:
    """A call with its message, as gRPC has it."""

    def __init__(self, call: Halves, work: Callable[..., Any], args: Sequence[Any], room: Semaphore) -> None:
        self.call = call
        self.promised: Future[Any] = Future()
        self.raw: bytes | None = None
        self._in_context = work
        self._answer, self._event, self._state, self._behavior, _, *self._rest = args
        self._room = room

    @property
    def rpc(self) -> Any:
        """What can be cancelled."""
        return self._event.call

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """Ask gRPC for the message, which gives it to `then` on its own thread; None where there is none."""
        taken = _receiver(self._state, self._event.call, None)

        def received(event: Any) -> Any:
            finished = taken(event)
            raw, self._state.request = self._state.request, None
            then(raw)
            return finished

        self._event.call.start_server_batch((_operation(0),), received)
        self._state.due.add(_token)

    def begin(self, together: Together) -> None:
        """The call's first half."""
        context = _context(self._event, self._state, None)
        self._in_context(self.call.begin, self.raw, context, together)

    def do(self, together: Together, asked: Sequence[Any]) -> Sequence[Any]:
        """The work of all, as a part of this call where it is the only one."""
        found: Sequence[Any] = self._in_context(together.do, asked)
        return found

    def end(self, together: Together) -> None:
        """The call's second half."""
        self._in_context(self.call.end, together)

    def run(self) -> None:
        """Answer the call; where it was not begun, after running its handler."""
        messages = iter(() if self.raw is None else (self.raw,))
        try:
            self._in_context(self._answer, self._event, self._state, self._behavior, lambda: messages, *self._rest)
        finally:
            self._room.release()
            self.promised.set_result(None)


def _do(together: Together, group: Sequence[_Arrived]) -> None:
    """Do calls together, and answer each, whatever happens."""
    for each in group:
        each.begin(together)
    ready = [each for each in group if each.call.asked is not None]
    if ready:
        try:
            found = ready[0].do(together, [each.call.asked for each in ready])
        except Exception as error:  # noqa: BLE001  # it is raised in each of the calls
            found = [error] * len(ready)
        with written_at_once():
            for each, one in zip(ready, found, strict=True):
                each.call.found = one
                each.end(together)
    for each in group:
        each.run()
