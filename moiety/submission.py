"""Sending many batches through one stream: a few under way at a time, none lost and none recorded twice.

What makes resending safe is the batch id: the service gives the first receipt for a batch that it has
already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, Self

import grpc

from moiety.connection import Answers
from moiety.errors import (
    BatchRefusal,
    BatchRefusedError,
    InvalidArgumentError,
    MoietyError,
    ServiceError,
    UnavailableError,
)
from moiety.patience import Patience, may_pass
from moiety.status import from_rpc, from_status
from moiety.v1 import usage_pb2

OpenStream = Callable[[Iterator[usage_pb2.AppendUsageRequest]], Answers[usage_pb2.AppendUsageResponse]]

BATCHES_IN_FLIGHT: Final = 4
"""Batches sent and not yet answered: the service has work while the next ones are made, and memory stays
bounded.
"""

_ABOUT_ALL: Final = frozenset({"parent", "method_id", "id_scheme"})


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch to send. `index` counts batches and `first_position` events from 0; `events` is how many it
    has.
    """

    index: int
    first_position: int
    events: int
    request: usage_pb2.AppendUsageRequest


class Submission:
    """One submission of any number of batches.

    Args:
        open_stream: opens the service's `AppendUsage`.
        batches: what to send, made as it is needed.
        patience: waits between attempts; it has no time limit, and is reset by every answer.
        progress: is told the number of events of each batch that is answered.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        batches: Iterator[PreparedBatch],
        *,
        patience: Patience,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._open_stream = open_stream
        self._batches = batches
        self._patience = patience
        self._progress = progress
        self._unanswered: deque[PreparedBatch] = deque()
        self._receipts: dict[int, usage_pb2.Receipt] = {}
        self._refusals: dict[int, BatchRefusal] = {}
        self._broken: MoietyError | None = None

    def run(self) -> list[usage_pb2.Receipt]:
        """Send everything and give the receipts, in the order of the batches.

        Raises:
            BatchRefusedError: some batches were refused; the others are recorded.
            ServiceError: the service refused the submission as such, or was away for too long.
            MoietyError: what `batches` raises, once the batches before are answered. Each of these has the `receipts`
                of what is recorded, and the `refusals`.
        """
        try:
            self._run()
            self._raise_what_broke()
        except MoietyError as error:
            error.receipts = self._receipts_in_order()
            error.refusals = self._refusals_in_order()
            raise
        return list(self._receipts_in_order())

    def _run(self) -> None:
        while True:
            try:
                self._send_what_is_left()
                break
            except grpc.RpcError as error:
                failure = from_rpc(error)
            except _StreamEndedError:
                failure = UnavailableError("the stream ended before every batch was answered")
            self._patience.wait(failure)

    def _raise_what_broke(self) -> None:
        if self._broken:
            raise self._broken
        if self._refusals:
            raise BatchRefusedError(self._refusals_in_order(), self._receipts_in_order())

    def _receipts_in_order(self) -> tuple[usage_pb2.Receipt, ...]:
        return tuple(self._receipts[index] for index in sorted(self._receipts))

    def _refusals_in_order(self) -> tuple[BatchRefusal, ...]:
        return tuple(self._refusals[index] for index in sorted(self._refusals))

    def _next_batch(self) -> PreparedBatch | None:
        """The next batch; None where there is none, or where what comes next cannot be made into one."""
        if self._broken:
            return None
        try:
            return next(self._batches, None)
        except MoietyError as error:
            self._broken = error
            return None

    def _send_what_is_left(self) -> None:
        if not self._unanswered:
            # Made before a stream is opened: what cannot be made into a batch troubles nobody else.
            first = self._next_batch()
            if first is None:
                return
            self._unanswered.append(first)
        with _Stream(self._open_stream) as stream:
            for batch in self._unanswered:
                stream.send(batch.request)
            while self._fill(stream):
                self._settle(stream.receive(), stream)

    def _fill(self, stream: _Stream) -> bool:
        """Send until as many as allowed are in flight; tell whether there is an answer to wait for."""
        while len(self._unanswered) < BATCHES_IN_FLIGHT:
            batch = self._next_batch()
            if batch is None:
                break
            self._unanswered.append(batch)
            stream.send(batch.request)
        return bool(self._unanswered)

    def _settle(self, answer: usage_pb2.AppendUsageResponse, stream: _Stream) -> None:
        batch = self._unanswered[0]
        if answer.batch_id != batch.request.batch_id:
            raise ServiceError(f"batch {answer.batch_id!r} was answered before {batch.request.batch_id!r}")
        error = from_status(answer.error) if answer.HasField("error") else None
        if error and may_pass(error):
            self._patience.wait(error)
            self._unanswered.rotate(-1)
            stream.send(batch.request)
            return
        if error and not _is_about_the_batch(error):
            raise error
        self._unanswered.popleft()
        self._patience.reset()
        if error:
            batch_id = batch.request.batch_id
            self._refusals[batch.index] = BatchRefusal(batch_id, batch.index, batch.first_position, batch.events, error)
        else:
            self._receipts[batch.index] = answer.receipt
        if self._progress:
            self._progress(batch.events)


def _is_about_the_batch(error: ServiceError) -> bool:
    """Whether other batches may fare better. A wrong pool or method is the same for all of them."""
    fields = {violation.field for violation in error.violations}
    return isinstance(error, InvalidArgumentError) and bool(fields) and not fields & _ABOUT_ALL


class _StreamEndedError(Exception):
    """The service closed the stream without an error."""


class _Stream:
    """An open AppendUsage stream, written to and read from by one thread."""

    def __init__(self, open_stream: OpenStream) -> None:
        self._requests: SimpleQueue[usage_pb2.AppendUsageRequest | None] = SimpleQueue()
        self._call = open_stream(iter(self._requests.get, None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)  # lets gRPC's thread, which waits for the next request, end
        self._call.cancel()

    def send(self, request: usage_pb2.AppendUsageRequest) -> None:
        self._requests.put(request)

    def receive(self) -> usage_pb2.AppendUsageResponse:
        try:
            return next(self._call)
        except StopIteration:
            raise _StreamEndedError from None
