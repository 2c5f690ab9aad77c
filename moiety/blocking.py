"""Steps carried out in the caller's thread, over gRPC's blocking channel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Timer
from typing import Any, TypeVar

import grpc

from moiety.channels import Target
from moiety.errors import DeadlineExceededError
from moiety.status import from_rpc
from moiety.steps import Ask, End, Open, Pages, Pause, Receive, Step, Steps, Work
from moiety.tracing import with_trace

Result = TypeVar("Result")
Item = TypeVar("Item")


def channel_to(target: Target) -> grpc.Channel:
    """Open a channel."""
    if target.credentials is None:
        return grpc.insecure_channel(target.address, options=target.options)
    return grpc.secure_channel(target.address, target.credentials, options=target.options)


def run(steps: Steps[Result]) -> Result:
    """Carry steps out and return their result; raises what they raise."""
    try:
        step = next(steps)
        while True:
            try:
                done = _carry_out(step)
            except Exception as error:  # noqa: BLE001  # the steps decide what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(done)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()


def each(pages: Pages[Item]) -> Iterator[Item]:
    """Return the items of all pages, each page asked for when it is needed."""
    try:
        while not pages.is_over:
            yield from run(pages.next_page())
    finally:
        pages.close()


def _carry_out(step: Step) -> Any:
    match step:
        case Ask():
            try:
                return step.method(step.request, timeout=step.timeout_seconds, metadata=with_trace(step.metadata))
            except grpc.RpcError as error:
                raise from_rpc(error) from error
        case Open():
            return _Stream(step)
        case Receive(_Stream() as stream, timeout_seconds):
            return stream.receive(timeout_seconds)
        case Pause():
            return time.sleep(step.seconds)
        case Work():
            return step.do()
    raise NotImplementedError(step)


class _Stream:
    """An open stream, written to and read from by one thread."""

    def __init__(self, step: Open) -> None:
        self._requests: SimpleQueue[Any] = SimpleQueue()
        requests = iter(self._requests.get, None) if step.request is None else step.request
        self._call = step.method(requests, metadata=with_trace(step.metadata))
        self._timed_out = False

    def send(self, request: Any) -> None:
        self._requests.put(request)

    def close(self) -> None:
        self._requests.put(None)  # lets gRPC's thread, which waits for the next request, end
        self._call.cancel()

    def receive(self, timeout_seconds: float | None) -> Any:
        if timeout_seconds is None:
            return self._next()
        timer = Timer(timeout_seconds, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            return self._next()
        finally:
            timer.cancel()

    def _next(self) -> Any:
        try:
            return next(self._call, End.OF_STREAM)
        except grpc.RpcError as error:
            raise (DeadlineExceededError("no answer came in time") if self._timed_out else from_rpc(error)) from error

    def _time_out(self) -> None:
        self._timed_out = True
        self._call.cancel()
