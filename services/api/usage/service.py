"""The usage service: batches in, receipts out."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from threading import Thread
from traceback import clear_frames
from typing import Final
from uuid import UUID

import grpc
import numpy as np

from ledger.errors import InvalidInputError, NotFoundError
from ledger.registry import MAX_NOTE, require_request_id, require_resource_id, require_text
from ledger.store.desk.refusals import list_refusals
from ledger.store.logs.log import PoolRef
from ledger.store.registry.platforms import platform_number
from ledger.store.usage import batches, limits
from ledger.store.usage.batches import BatchIdentity, RecordedBatch
from ledger.store.usage.id_schemes import find_scheme, fix_scheme
from ledger.store.usage.prepared import Sent
from ledger.store.usage.retractions import RetractionRequest, retract
from moiety.v1 import usage_pb2 as pb
from moiety.v1 import usage_pb2_grpc
from services.access.keys import Role
from services.access.permissions import caller, own_id, require_own
from services.api import convert
from services.api.audit.checkpoints import entry_proof
from services.api.calls.call import authenticated_again, logger, open_stream, request_id, require_fields
from services.api.calls.errors import is_expected, status_of
from services.api.calls.large import LargeMessages
from services.api.calls.queues import FairThreads
from services.api.calls.streams import OpenStream, StreamShedError
from services.api.names import batch_name, only_id, page_limit, parse_batch_name, place_in
from services.api.pages import page_of
from services.api.resources import pool_of
from services.api.usage.events import MAX_ROW_EVENTS, event_at, parse_event_id
from services.api.usage.refusals import Refusals, refusal_to_proto
from services.api.usage.submissions import Submissions, identity_of
from services.metrics import count_batch
from services.parts import Parts
from services.processors import run_anywhere

LISTED_FREELY: Final = 1_000
"""Duplicates that a receipt lists without its call passing the gate: listing 65,536 takes milliseconds, and 180 kB."""

WAITING: Final = 1
"""Batches of one stream that wait between the one whose receipt is next and the one that was read last: so one is
prepared while another is copied in and the one before it is synced to disk.
"""

WAITING_ALONE: Final = 2
"""The same of a stream that was opened while no other was open, which then keeps the processors busy by itself."""


class UsageService(usage_pb2_grpc.UsageServiceServicer):
    """Submitting usage batches, in either of two ways."""

    def __init__(self, parts: Parts, large: LargeMessages) -> None:
        self._database, self._readers = parts.database, parts.readers
        self._clock = parts.clock
        self._refusals = Refusals(parts.database, parts.clock)
        self._usage = parts.usage
        self.submissions: Final = Submissions(parts.usage, self._refusals, large)
        threads = parts.settings.intake_threads
        # None waits for more than the batch before. Most of a large batch is computed without the interpreter.
        self._intake = FairThreads(threads, "intake", of_one=threads, begin=run_anywhere)

    def close(self) -> None:
        """Finish the batches in progress."""
        self._intake.shutdown()

    def SubmitUsage(self, request: pb.SubmitUsageRequest, context: grpc.ServicerContext) -> pb.Receipt:
        asked = self.submissions.checked(request)
        (found,) = self.submissions.do([asked])
        return self.submissions.end(asked, found)

    def AppendUsage(
        self, request_iterator: Iterator[pb.AppendUsageRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.AppendUsageResponse]:
        platform = caller()
        with self._database.reading() as connection:
            own = limits.platform_limits(connection, platform_number(connection, platform.id))
        stream = open_stream()
        if own.open_streams is not None:
            stream.require_at_most(own.open_streams)
        yield from self._answers(request_iterator, stream, platform.name)

    def _answers(
        self, request_iterator: Iterator[pb.AppendUsageRequest], stream: OpenStream, platform: str
    ) -> Iterator[pb.AppendUsageResponse]:
        waiting = WAITING_ALONE if stream.is_alone() else WAITING
        under_way: queue.Queue[Future[pb.AppendUsageResponse] | None] = queue.Queue(maxsize=waiting)
        here = copy_context()

        def begun(request: pb.AppendUsageRequest) -> Future[pb.AppendUsageResponse]:
            return self._intake.submit(platform, partial(here.copy().run, self._append, _Sent.of(request)))

        def read() -> None:
            answered = takewhile(lambda _: stream.begin(), request_iterator)
            # Mapped, so that no batch is kept here while the next one is waited for.
            for task in map(begun, answered):
                under_way.put(task)

        def take_in() -> None:
            try:
                read()
            except grpc.RpcError as gone:
                # The caller is gone; batches in progress complete, and their receipts can be asked for again. gRPC
                # keeps the error with the call, in a cycle that would keep the last message too.
                clear_frames(gone.__traceback__)
            except Exception as error:  # noqa: BLE001  # what cannot be read ends the stream, behind earlier receipts
                under_way.put(_failed(error))
            finally:
                under_way.put(None)

        # A separate reader lets receipts go out while the next batches come in, whichever is faster.
        Thread(target=take_in, name="reader", daemon=True).start()
        stream.shed = lambda error: under_way.put_nowait(_failed(error))
        task = None
        try:
            while (task := under_way.get()) is not None:
                yield task.result()
                stream.end()
        except StreamShedError:
            task = None  # the reader waits for a message, and has nothing to wait for in the queue
            raise
        finally:
            while task is not None:  # the caller is gone, and the reader may be waiting for space in the queue
                task = under_way.get()

    def _append(self, sent: _Sent) -> pb.AppendUsageResponse:
        request, identity = sent.request, None
        try:
            principal = authenticated_again().principal
            if sent.error is not None:
                raise sent.error
            identity = identity_of(principal, request.parent, request.batch_id)
            method_id = require_resource_id(request.method_id, "method_id")
            receipt = self._receipt(identity, method_id, sent)
        except Exception as error:  # noqa: BLE001  # one batch's failure is its own answer, and the stream goes on
            if not is_expected(error):
                logger.error("batch failed", batch_id=request.batch_id, request_id=request_id(), exc_info=error)
            status = status_of(error, request_id())
            if identity is not None and not request.validate_only:
                self._refusals.keep(identity, sent.body, error, status)
            return pb.AppendUsageResponse(batch_id=request.batch_id, error=status)
        return pb.AppendUsageResponse(batch_id=request.batch_id, receipt=receipt)

    def _receipt(self, identity: BatchIdentity, method_id: str, sent: _Sent) -> pb.Receipt:
        """Record a batch, or only check it."""
        scheme = convert.id_scheme_from_proto(sent.request.id_scheme)
        batch = Sent.of(identity, method_id, sent.body, id_scheme=scheme)
        if sent.request.validate_only:
            return convert.validated_to_proto(identity.pool, self._usage.validate(batch))
        recorded = self._usage.accept(batch)
        count_batch(recorded.content.accepted, recorded.duplicate_count, len(sent.body))
        return convert.receipt_to_proto(identity.pool, recorded)

    def SetIdScheme(self, request: pb.SetIdSchemeRequest, context: grpc.ServicerContext) -> pb.PlatformIdScheme:
        scheme, platform = convert.id_scheme_from_proto(request.id_scheme), caller().id
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            fixed = fix_scheme(connection, pool, platform, scheme)
        return convert.id_scheme_to_proto(platform, fixed)

    def GetIdScheme(self, request: pb.GetIdSchemeRequest, context: grpc.ServicerContext) -> pb.PlatformIdScheme:
        platform = self._platform_asked_for(request.platform)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = find_scheme(connection, pool, platform_number(connection, platform))
        return convert.id_scheme_to_proto(platform, found)

    def RetractUsage(self, request: pb.RetractUsageRequest, context: grpc.ServicerContext) -> pb.RetractUsageResponse:
        if bool(request.batch_id) == bool(request.event_ids):
            raise InvalidInputError.of("event_ids", "must not be combined with batch_id; one of them is required")
        if len(request.event_ids) > MAX_ROW_EVENTS:
            raise InvalidInputError.of("event_ids", f"must be at most {MAX_ROW_EVENTS}, got {len(request.event_ids)}")
        event_ids = [parse_event_id(text, f"event_ids[{place}]") for place, text in enumerate(request.event_ids)]
        asked = RetractionRequest(
            platform=caller().id,
            request_id=require_request_id(request.request_id, "request_id"),
            batch_id=require_request_id(request.batch_id, "batch_id") if request.batch_id else None,
            event_ids=tuple(event_ids),
            reason=require_text(request.reason, "reason", least=1, most=MAX_NOTE),
        )
        with self._usage.retracting.passed(caller().name), self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = retract(connection, pool, asked, self._usage)
        return pb.RetractUsageResponse(
            retractions=[convert.retraction_to_proto(pool.name, retraction) for retraction in found]
        )

    def GetBatch(self, request: pb.GetBatchRequest, context: grpc.ServicerContext) -> pb.Receipt:
        pool_id, platform, batch_id = parse_batch_name(request.name, "name")
        require_own(Role.PLATFORM, platform, request.name)
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            batch = batches.find_batch(connection, pool, platform, batch_id)
        is_long = batch.duplicate_count > LISTED_FREELY
        with self._usage.heavy.passed(caller().name) if is_long else nullcontext():
            return convert.receipt_to_proto(pool.name, batch)

    def GetBatchProof(self, request: pb.GetBatchProofRequest, context: grpc.ServicerContext) -> pb.BatchProof:
        pool_id, platform, batch_id = parse_batch_name(request.name, "name")
        require_own(Role.PLATFORM, platform, request.name)
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            batch = batches.find_batch(connection, pool, platform, batch_id)
            proof, entry, checkpoint = entry_proof(connection, pool, batch.leaf_index)
        return pb.BatchProof(
            tlog_proof=proof.to_bytes(), entry=entry, leaf_index=batch.leaf_index, checkpoint_size=checkpoint.size
        )

    def ListBatches(self, request: pb.ListBatchesRequest, context: grpc.ServicerContext) -> pb.ListBatchesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._readers.database_for(request.parent).transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = batches.list_batches(connection, pool, platform=own_id(Role.PLATFORM), after=after, limit=limit)
        listed, token = page_of(
            found,
            limit,
            lambda batch: convert.receipt_to_proto(pool.name, batch, with_positions=False),
            lambda batch: (batch.leaf_index,),
        )
        return pb.ListBatchesResponse(batches=listed, next_page_token=token)

    def ListRefusedBatches(
        self, request: pb.ListRefusedBatchesRequest, context: grpc.ServicerContext
    ) -> pb.ListRefusedBatchesResponse:
        limit, (before,) = page_limit(request.page_size), place_in(request.page_token, 2**62)
        platform = self._platform_asked_for(request.platform)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            platform_number(connection, platform)
            found = list_refusals(connection, pool, platform, self._clock(), before=before, limit=limit)
        listed, token = page_of(found, limit, refusal_to_proto, lambda kept: (kept.sequence,))
        return pb.ListRefusedBatchesResponse(refused_batches=listed, next_page_token=token)

    def FindEvent(self, request: pb.FindEventRequest, context: grpc.ServicerContext) -> pb.FindEventResponse:
        platform = self._platform_asked_for(request.platform)
        event_id = parse_event_id(request.event_id, "event_id")
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            platform_number(connection, platform)
            found = batches.find_event(connection, pool, platform, event_id)
        with self._usage.heavy.passed(caller().name):
            position, event = self._event_of(pool, found, event_id)
        return pb.FindEventResponse(
            batch=batch_name(pool.name, platform, found.content.batch_id),
            leaf_index=found.leaf_index,
            position=position,
            event=event,
        )

    def _event_of(self, pool: PoolRef, found: RecordedBatch, event_id: UUID) -> tuple[int, pb.UsageEvent]:
        """Returns an event of a batch, and its position. Only its own shares are computed."""
        with self._database.reading() as connection:
            reading = self._usage.readings.then(connection, pool, found.content)
            body = self._usage.bodies.checked(connection, pool, bytes.fromhex(found.content.body_sha256))
        columns = reading.columns(body)
        position = columns.position_of(event_id.bytes, found.duplicate_positions())
        if position is None:
            raise NotFoundError(f"pools/{pool.name}/events/{found.content.platform}~{event_id}")
        return position, event_at(reading.usage_in(columns, np.arange(len(columns)) == position), 0)

    def _platform_asked_for(self, name: str) -> str:
        own = own_id(Role.PLATFORM)
        if own is not None and not name:
            return own
        platform = only_id(name, "platforms", "platform")
        require_own(Role.PLATFORM, platform, name)
        return platform


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch of a stream. The message that brought it would hold the body a second time, and is let go of.

    Attributes:
        request: the message, with the first byte of its body.
        error: what the message lacks.
    """

    request: pb.AppendUsageRequest
    body: bytes
    error: InvalidInputError | None

    @classmethod
    def of(cls, request: pb.AppendUsageRequest) -> _Sent:
        """Returns it from its message."""
        body = request.arrow_stream
        kept = pb.AppendUsageRequest(
            parent=request.parent,
            batch_id=request.batch_id,
            method_id=request.method_id,
            arrow_stream=body[:1],  # says that there is one: each look at all of it is a copy
            validate_only=request.validate_only,
            id_scheme=request.id_scheme,
        )
        error = None
        try:
            require_fields(kept)
        except InvalidInputError as found:
            error = found.with_traceback(None)  # whose frames would keep the message
        return cls(kept, body, error)


def _failed(error: Exception) -> Future[pb.AppendUsageResponse]:
    """An answer that ends the stream."""
    failed: Future[pb.AppendUsageResponse] = Future()
    failed.set_exception(error)
    return failed
