"""Verbs of the UsageService: what was used, and on whom it drew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import pyarrow as pa

from moiety.batches import EVENTS_PER_BATCH, ArrowTable, encode, record_batches
from moiety.connection import PAGE_SIZE
from moiety.errors import InvalidArgumentError, InvalidUsageError, NoDomainsError
from moiety.events import UsageEvent, event_to_message
from moiety.ids import IdScheme
from moiety.submission import PreparedBatch, Submission
from moiety.telemetry import DomainMap, ShareBasis, TelemetrySubmission
from moiety.telemetry.intake import TelemetryIntake
from moiety.v1 import usage_pb2 as pb
from moiety.v1.usage_pb2_grpc import UsageServiceStub
from moiety.verbs.base import Verbs, pool_name
from moiety.verbs.registry import RegistryVerbs

_BATCH_ID_DIGITS: Final = 32


class UsageVerbs(Verbs):
    """Usage events, each recorded exactly once. Only platforms write, each for itself."""

    @cached_property
    def _usage(self) -> UsageServiceStub:
        return UsageServiceStub(self._connection.channel)

    def submit_usage(
        self,
        pool: str,
        table: ArrowTable,
        method: str,
        *,
        events_per_batch: int = EVENTS_PER_BATCH,
        batch_id: str | None = None,
        validate_only: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> list[pb.Receipt]:
        """Record a table of usage events and give a receipt for each batch of it.

        Safe to repeat with the same table: what is recorded already is not recorded again, and the receipts
        are the first ones. Where the connection is lost, unanswered batches are sent again; an error on the
        way leaves the batches before it recorded.

        Args:
            pool: the pool's id.
            table: any Arrow-capable table with the columns that `moiety.batches` describes, of shares or of raw scores.
            method: the id of the method that computed them, declared in the pool.
            events_per_batch: how many events go into a batch, 1 to 65,536.
            batch_id: the beginning of the batch ids, which then go on with `-` and the batch's position. By default a
                batch is named after the SHA-256 of its bytes, so that the same table has the same batch ids.
            validate_only: the service checks every batch and records nothing; the receipts then have no leaf.
            progress: is told the number of events of each batch that is answered.

        Raises:
            InvalidUsageError: the table cannot be made into batches.
            BatchRefusedError: the service refused some batches; it names the events, and the others are recorded.
            ServiceError: the service refused the submission as such, or was away for too long. Each of these has
                `receipts` of what is recorded nevertheless.
        """
        scheme = self._id_scheme(pool)
        batches = record_batches(table, events_per_batch=events_per_batch, id_scheme=scheme)
        return self._submit(pool, batches, method, scheme, batch_id, progress, validate_only)

    def submit_scores(
        self,
        pool: str,
        batches: Iterable[pa.RecordBatch],
        method: str,
        *,
        batch_id: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[pb.Receipt]:
        """Record a matrix of raw attribution scores and give a receipt for each batch of it.

        The service makes shares of the scores by the method's rule. Safe to repeat, as `submit_usage` is; that one is
        for scores in a table.

        Args:
            pool: the pool's id.
            batches: what `moiety.attribution.score_batches` makes of the matrix.
            method: the id of a method with a score kind.
            batch_id: as in `submit_usage`.
            progress: as in `submit_usage`.

        Raises:
            InvalidUsageError: what `score_batches` found wrong.
            BatchRefusedError: as `submit_usage`.
            ServiceError: as `submit_usage`.
        """
        return self._submit(pool, iter(batches), method, self._id_scheme(pool), batch_id, progress)

    def _submit(
        self,
        pool: str,
        batches: Iterator[pa.RecordBatch],
        method: str,
        scheme: IdScheme,
        batch_id: str | None,
        progress: Callable[[int], None] | None,
        validate_only: bool = False,
    ) -> list[pb.Receipt]:
        id_scheme = pb.IdScheme.Value(f"ID_SCHEME_{scheme}")
        alike = pb.AppendUsageRequest(
            parent=pool_name(pool), method_id=method, id_scheme=id_scheme, validate_only=validate_only
        )
        prepared = _prepare(alike, batches, batch_id)
        open_stream = partial(self._connection.open_stream, self._usage.AppendUsage)
        patience = self._connection.patience()
        return Submission(open_stream, prepared, patience=patience, progress=progress).run()

    def submit_telemetry(  # noqa: PLR0913 - those of submit_usage, and whose content is whose
        self,
        pool: str,
        documents: Path | str | BinaryIO | Iterable[object],
        method: str,
        *,
        by: ShareBasis | str,
        domains: DomainMap | None = None,
        events_per_batch: int = EVENTS_PER_BATCH,
        batch_id: str | None = None,
        validate_only: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> TelemetrySubmission:
        """Record the completed turns of Content Telemetry (1.0), and give the receipts and what was refused.

        An invalid document is refused and the others go on. Safe to repeat, as `submit_usage` is; a session that has
        grown since gives its new turns, and the others are duplicates. `moiety.telemetry` says how a turn
        becomes a usage event.

        Args:
            pool: the pool's id.
            documents: sessions, standalone events and event batches: a path or binary stream of one JSON document, of
                an array or of NDJSON, or parsed documents (one, or any number).
            method: the id of the declared method that is `by`.
            by: what shares are computed from, `grounded-characters`, `citations` or `presentations`.
            domains: whose content is whose; by default the service's `domain_map`, as it is now.
            events_per_batch: as in `submit_usage`.
            batch_id: as in `submit_usage`.
            validate_only: as in `submit_usage`.
            progress: as in `submit_usage`.

        Raises:
            ValueError: `by` is not a share basis.
            NoDomainsError: the service's map is empty.
            UsageFileError: the file is not there or cannot be read.
            BatchRefusedError: as `submit_usage`; batches before the error are recorded.
            ServiceError: as `submit_usage`; batches before the error are recorded.
        """
        basis = ShareBasis(by)
        domains = self._declared_domains() if domains is None else domains
        intake = TelemetryIntake(documents, basis, domains, self._id_scheme(pool))
        receipts = self.submit_usage(
            pool,
            intake.table(events_per_batch),
            method,
            events_per_batch=events_per_batch,
            batch_id=batch_id,
            validate_only=validate_only,
            progress=progress,
        )
        return intake.result(receipts)

    def _declared_domains(self) -> DomainMap:
        domains = RegistryVerbs(self._connection).domain_map()
        if not len(domains):
            raise NoDomainsError
        return domains

    def submit_events(
        self, pool: str, events: Iterable[UsageEvent], method: str, *, batch_id: str, validate_only: bool = False
    ) -> pb.Receipt:
        """Record up to 1,000 usage events as one batch of ordinary messages.

        The batch id is yours: repeating it with the same events gives the first receipt. With `validate_only`
        the events are checked and nothing is recorded.
        """
        request = pb.SubmitUsageRequest(
            parent=pool_name(pool),
            batch_id=batch_id,
            method_id=method,
            events=map(event_to_message, events),
            validate_only=validate_only,
            id_scheme=pb.IdScheme.Value(f"ID_SCHEME_{self._id_scheme(pool)}"),
        )
        return self._connection.unary(self._usage.SubmitUsage, request, repeat=True)

    def retract_usage(
        self,
        pool: str,
        *,
        request_id: str,
        reason: str,
        batch_id: str = "",
        event_ids: Iterable[UUID | str] = (),
    ) -> list[pb.Retraction]:
        """Take back a whole batch, or up to 1,000 events by their ids; give a retraction for each batch concerned.

        What was taken back before is left out. Repeating a request id with the same content gives the first answer.
        """
        request = pb.RetractUsageRequest(
            parent=pool_name(pool),
            request_id=request_id,
            reason=reason,
            batch_id=batch_id,
            event_ids=map(str, event_ids),
        )
        return list(self._connection.unary(self._usage.RetractUsage, request, repeat=True).retractions)

    def set_id_scheme(self, pool: str, scheme: IdScheme | str) -> pb.PlatformIdScheme:
        """Fix how the ids of this platform's events in a pool are made, before its first batch and for ever.

        Without it they are the platform's own (`IdScheme.OWN`). The same again changes nothing.

        Raises:
            ValueError: there is no such scheme.
            FailedPreconditionError: the other one is fixed.
        """
        request = pb.SetIdSchemeRequest(
            parent=pool_name(pool), id_scheme=pb.IdScheme.Value(f"ID_SCHEME_{IdScheme(scheme)}")
        )
        return self._connection.unary(self._usage.SetIdScheme, request, repeat=True)

    def get_id_scheme(self, pool: str, *, platform: str | None = None) -> pb.PlatformIdScheme:
        """Give how the ids of a platform's events in a pool are made. A platform may leave itself unnamed."""
        request = pb.GetIdSchemeRequest(parent=pool_name(pool), platform=f"platforms/{platform}" if platform else "")
        return self._connection.unary(self._usage.GetIdScheme, request, repeat=True)

    def id_scheme(self, pool: str, *, platform: str | None = None) -> IdScheme:
        """Give the same as a value, which is remembered once it is fixed: then it never changes."""
        known = self._connection.id_schemes
        if (pool, platform) not in known:
            found = self.get_id_scheme(pool, platform=platform)
            scheme = IdScheme(pb.IdScheme.Name(found.id_scheme).removeprefix("ID_SCHEME_"))
            if not found.is_fixed:
                return scheme
            known[pool, platform] = scheme
        return known[pool, platform]

    def _id_scheme(self, pool: str) -> IdScheme:
        try:
            return self.id_scheme(pool)
        except InvalidArgumentError:  # this is no platform, or the pool has no such id: what is sent will be refused
            return IdScheme.OWN

    def get_batch(self, pool: str, platform: str, batch_id: str) -> pb.Receipt:
        """Give one batch's receipt."""
        request = pb.GetBatchRequest(name=f"pools/{pool}/batches/{platform}~{batch_id}")
        return self._connection.unary(self._usage.GetBatch, request, repeat=True)

    def get_batch_proof(self, pool: str, platform: str, batch_id: str) -> pb.BatchProof:
        """Give the proof, to be verified offline, that a batch is in the log that a signed checkpoint states.

        Its `tlog_proof` is a file in the form of C2SP tlog-proof. Not verified here (`moiety usage proof --key`).

        Raises:
            FailedPreconditionError: no checkpoint has the batch yet; the next is signed within seconds.
        """
        request = pb.GetBatchProofRequest(name=f"pools/{pool}/batches/{platform}~{batch_id}")
        return self._connection.unary(self._usage.GetBatchProof, request, repeat=True)

    def list_batches(self, pool: str) -> Iterator[pb.Receipt]:
        """Give a pool's receipts in the order of the log, without duplicate positions. A platform sees its
        own.
        """
        request = pb.ListBatchesRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._usage.ListBatches, request, lambda page: page.batches)

    def find_event(self, pool: str, event_id: str, *, platform: str | None = None) -> pb.FindEventResponse:
        """Give the batch that recorded an event, and the event in it. A platform may leave itself unnamed."""
        request = pb.FindEventRequest(
            parent=pool_name(pool), event_id=event_id, platform=f"platforms/{platform}" if platform else ""
        )
        return self._connection.unary(self._usage.FindEvent, request, repeat=True)


def _prepare(
    alike: pb.AppendUsageRequest, batches: Iterator[pa.RecordBatch], batch_id: str | None
) -> Iterator[PreparedBatch]:
    """The requests for batches, each with what is `alike` in all of them."""
    position = 0
    for index, batch in enumerate(batches):
        if not isinstance(batch, pa.RecordBatch):
            reason = f"must be record batches, as moiety.attribution.score_batches gives; holds {type(batch).__name__}"
            raise InvalidUsageError("batches", None, reason)
        data = encode(batch)
        own_id = f"sha256-{sha256(data).hexdigest()[:_BATCH_ID_DIGITS]}"
        request = pb.AppendUsageRequest(
            batch_id=own_id if batch_id is None else f"{batch_id}-{index}", arrow_stream=data
        )
        request.MergeFrom(alike)
        yield PreparedBatch(index, position, batch.num_rows, request)
        position += batch.num_rows
