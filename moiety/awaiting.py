"""Steps carried out in an event loop, over gRPC's asyncio channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import grpc
from grpc import aio

from moiety.channels import Target
from moiety.errors import DeadlineExceededError
from moiety.status import from_rpc
from moiety.steps import Ask, End, Open, Pages, Pause, Receive, Step, Steps, Work
from moiety.tracing import with_trace

Result = TypeVar("Result")
Item = TypeVar("Item")

REFUSAL_SECONDS: Final = 0.5
"""How long a stream that is opened again says nothing. gRPC's asyncio loses the reason of a refusal that comes while it
writes ("Internal error from Core"); while it does not, the reason arrives.
"""


def channel_to(target: Target) -> aio.Channel:
    """Open a channel, in a running event loop."""
    if target.credentials is None:
        return aio.insecure_channel(target.address, options=target.options)
    return aio.secure_channel(target.address, target.credentials, options=target.options)


async def run(steps: Steps[Result]) -> Result:
    """Carry steps out and return their result; raises what they raise."""
    try:
        step = next(steps)
        while True:
            try:
                done = await _carry_out(step)
            except Exception as error:  # noqa: BLE001  # the steps decide what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(done)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()


async def each(pages: Pages[Item]) -> AsyncIterator[Item]:
    """Return the items of all pages, each page asked for when it is needed."""
    try:
        while not pages.is_over:
            for item in await run(pages.next_page()):
                yield item
    finally:
        pages.close()


async def _carry_out(step: Step) -> Any:
    match step:
        case Ask():
            try:
                return await step.method(step.request, timeout=step.timeout_seconds, metadata=with_trace(step.metadata))
            except grpc.RpcError as error:
                raise from_rpc(error) from error
        case Open():
            return _Stream(step)
        case Receive(_Stream() as stream, timeout_seconds):
            return await stream.receive(timeout_seconds)
        case Pause():
            return await asyncio.sleep(step.seconds)
        case Work():
            return await asyncio.to_thread(step.do)  # reading and encoding a batch would hold the loop up
    raise NotImplementedError(step)


class _Stream:
    """An open stream, written to and read from by one task.

    Requests go by a queue, so that they are written while answers are waited for: were each write awaited, a service
    that does not read before its answer is taken would wait for us as we wait for it.
    """

    def __init__(self, step: Open) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._is_again = step.is_again
        requests = self._each_request() if step.request is None else step.request
        self._call = step.method(requests, metadata=with_trace(step.metadata))

    def send(self, request: Any) -> None:
        self._requests.put_nowait(request)

    def close(self) -> None:
        self._requests.put_nowait(None)
        self._call.cancel()

    async def receive(self, timeout_seconds: float | None) -> Any:
        try:
            answer = await asyncio.wait_for(self._call.read(), timeout_seconds)
        except TimeoutError:
            raise DeadlineExceededError("no answer came in time") from None
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        return End.OF_STREAM if answer is aio.EOF else answer

    async def _each_request(self) -> AsyncIterator[Any]:
        if self._is_again:
            await asyncio.sleep(REFUSAL_SECONDS)
        while (request := await self._requests.get()) is not None:
            yield request
