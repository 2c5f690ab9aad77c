"""Sending many batches through one stream: a few under way at a time, none lost and none recorded twice.

What makes resending safe is the batch id: the service gives the first receipt for a batch that it has
already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from moiety.errors import (
    BatchRefusal,
    BatchRefusedError,
    InvalidArgumentError,
    MoietyError,
    ServiceError,
    UnavailableError,
)
from moiety.patience import Patience, may_pass
from moiety.status import from_status
from moiety.steps import End, Metadata, Open, Pause, Receive, Steps, Stream, Work
from moiety.v1 import usage_pb2

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
        batches: what to send, made as it is needed.
        progress: called with the number of events of each batch that is answered.
        recorded: called with each batch that has its receipt.
    """

    def __init__(
        self,
        batches: Iterator[PreparedBatch],
        *,
        progress: Callable[[int], None] | None = None,
        recorded: Callable[[PreparedBatch], None] | None = None,
    ) -> None:
        self._batches = batches
        self._progress = progress
        self._recorded = recorded
        self._unanswered: deque[PreparedBatch] = deque()
        self._receipts: dict[int, usage_pb2.Receipt] = {}
        self._refusals: dict[int, BatchRefusal] = {}
        self._broken: MoietyError | None = None

    def run(self, method: Any, metadata: Metadata, patience: Patience) -> Steps[list[usage_pb2.Receipt]]:
        """Send what is left by the service's `AppendUsage`, and give all receipts in the order of the batches.

        May be run again after a `ServiceError`, by another client too.

        Raises:
            BatchRefusedError: some batches were refused; the others are recorded.
            ServiceError: the service refused the submission as such, or was unavailable for too long.
            MoietyError: what `batches` raises, once the batches before are answered. Each of these has the `receipts`
                of what is recorded, and the `refusals`.
        """
        is_again = False
        try:
            while True:
                try:
                    yield from self._send_what_is_left(Open(method, None, metadata, is_again), patience)
                    break
                except ServiceError as error:
                    seconds = patience.pause_after(error)
                yield Pause(seconds)
                is_again = True
            self._raise_what_broke()
        except MoietyError as error:
            error.receipts = self._receipts_in_order()
            error.refusals = self._refusals_in_order()
            error.submission = self if isinstance(error, ServiceError) else None
            raise
        return list(self._receipts_in_order())

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
        """The next batch; None if there is none, or where what comes next cannot be made into one."""
        if self._broken:
            return None
        try:
            return next(self._batches, None)
        except MoietyError as error:
            self._broken = error
            return None

    def _send_what_is_left(self, opening: Open, patience: Patience) -> Steps[None]:
        if not self._unanswered:
            # Made before a stream is opened: what cannot be made into a batch troubles nobody else.
            first = yield Work(self._next_batch)
            if first is None:
                return
            self._unanswered.append(first)
        patience.renew()
        stream: Stream = yield opening
        try:
            for batch in self._unanswered:
                stream.send(batch.request)
            while (yield from self._fill(stream, patience)):
                answer = yield Receive(stream, patience.seconds_left())
                if answer is End.OF_STREAM:
                    raise UnavailableError("the stream ended before every batch was answered")
                yield from self._settle(answer, stream, patience)
        finally:
            stream.close()

    def _fill(self, stream: Stream, patience: Patience) -> Steps[bool]:
        """Send until as many as allowed are in flight; tell whether there is an answer to wait for."""
        while len(self._unanswered) < BATCHES_IN_FLIGHT:
            batch = yield Work(self._next_batch)
            patience.renew()  # making a batch takes as long as its source does; the service is not to blame
            if batch is None:
                break
            self._unanswered.append(batch)
            stream.send(batch.request)
        return bool(self._unanswered)

    def _settle(self, answer: usage_pb2.AppendUsageResponse, stream: Stream, patience: Patience) -> Steps[None]:
        batch = self._unanswered[0]
        if answer.batch_id != batch.request.batch_id:
            raise ServiceError(f"batch {answer.batch_id!r} was answered before {batch.request.batch_id!r}")
        error = from_status(answer.error) if answer.HasField("error") else None
        if error and may_pass(error):
            yield Pause(patience.pause_after(error))
            self._unanswered.rotate(-1)
            stream.send(batch.request)
            return
        if error and not _is_about_the_batch(error):
            raise error
        self._unanswered.popleft()
        patience.succeed()
        if error:
            batch_id = batch.request.batch_id
            self._refusals[batch.index] = BatchRefusal(batch_id, batch.index, batch.first_position, batch.events, error)
        else:
            self._receipts[batch.index] = answer.receipt
            if self._recorded:
                yield Work(partial(self._recorded, batch))
        if self._progress:
            self._progress(batch.events)


def _is_about_the_batch(error: ServiceError) -> bool:
    """Whether other batches may fare better. A wrong pool or method is the same for all of them."""
    fields = {violation.field for violation in error.violations}
    return isinstance(error, InvalidArgumentError) and bool(fields) and not fields & _ABOUT_ALL
