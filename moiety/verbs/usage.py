"""Verbs of the UsageService: what was used, and on whom it drew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final
from uuid import UUID

from moiety.connection import PAGE_SIZE
from moiety.errors import BatchRefusedError, InvalidArgumentError, InvalidUsageError, MoietyError, NoDomainsError
from moiety.ids import IdScheme
from moiety.patience import Patience, require_timeout
from moiety.sizes import EVENTS_PER_BATCH
from moiety.steps import Pages, Steps, Work
from moiety.submission import PreparedBatch, Submission
from moiety.v1 import usage_pb2 as pb
from moiety.v1.usage_pb2_grpc import UsageServiceStub
from moiety.verbs.base import listing, pool_name, verb
from moiety.verbs.registry import RegistryVerbs

if TYPE_CHECKING:
    import pyarrow as pa

    from moiety.events import UsageEvent
    from moiety.outbox import Delivery, Outbox, RefusedEvent
    from moiety.tables import ArrowTable
    from moiety.telemetry import DomainMap, ShareBasis, TelemetrySubmission

_BATCH_ID_DIGITS: Final = 32


class UsageVerbs(RegistryVerbs):
    """Usage events, each recorded exactly once. Only platforms write, each for itself."""

    @cached_property
    def _usage(self) -> UsageServiceStub:
        return UsageServiceStub(self._connection.channel)

    @verb
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
        timeout_seconds: float | None = None,
    ) -> Steps[list[pb.Receipt]]:
        """Record a table of usage events and give a receipt for each batch of it.

        Safe to repeat with the same table: what is recorded already is not recorded again, and the receipts
        are the first ones. Where the connection is lost, unanswered batches are sent again; an error on the
        way leaves the batches before it recorded, and `resume` goes on with the others.

        Args:
            pool: the pool's id.
            table: any Arrow-capable table with the columns that `moiety.batches` describes, of shares or of raw scores.
            method: the id of the method that computed them, declared in the pool.
            events_per_batch: how many events go into a batch, 1 to 65,536.
            batch_id: the beginning of the batch ids, which then go on with `-` and the batch's position. By default a
                batch is named after the SHA-256 of its bytes, so that the same table has the same batch ids.
            validate_only: the service checks every batch and records nothing; the receipts then have no leaf.
            progress: called with the number of events of each batch that is answered.
            timeout_seconds: the most that all of it may take. By default it may take as long as there is progress: each
                answer gives it the client's `timeout_seconds` anew.

        Raises:
            ValueError: `events_per_batch` or `timeout_seconds` is out of range.
            InvalidUsageError: the table cannot be made into batches.
            BatchRefusedError: the service refused some batches; it names the events, and the others are recorded.
            ServiceError: the service refused the submission as such, or was unavailable for too long. Each of these has
                `receipts` of what is recorded nevertheless.
        """
        from moiety.batches import record_batches

        patience = self._patience(timeout_seconds)
        scheme = yield from self._known_id_scheme(pool, patience)
        batches = yield Work(lambda: record_batches(table, events_per_batch=events_per_batch, id_scheme=scheme))
        alike = _alike(pool, method, scheme, validate_only=validate_only)
        return (yield from self._submit(_prepare(alike, batches, batch_id), progress, patience))

    @verb
    def submit_scores(
        self,
        pool: str,
        batches: Iterable[pa.RecordBatch],
        method: str,
        *,
        batch_id: str | None = None,
        progress: Callable[[int], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Steps[list[pb.Receipt]]:
        """Record a matrix of raw attribution scores and give a receipt for each batch of it.

        The service makes shares of the scores by the method's rule. Safe to repeat, as `submit_usage` is; that one is
        for scores in a table.

        Args:
            pool: the pool's id.
            batches: what `moiety.attribution.score_batches` makes of the matrix.
            method: the id of a method with a score kind.
            batch_id: as in `submit_usage`.
            progress: as in `submit_usage`.
            timeout_seconds: as in `submit_usage`.

        Raises:
            InvalidUsageError: what `score_batches` found wrong.
            BatchRefusedError: as `submit_usage`.
            ServiceError: as `submit_usage`.
        """
        patience = self._patience(timeout_seconds)
        scheme = yield from self._known_id_scheme(pool, patience)
        prepared = _prepare(_alike(pool, method, scheme), iter(batches), batch_id)
        return (yield from self._submit(prepared, progress, patience))

    @verb
    def deliver(self, outbox: Outbox, *, timeout_seconds: float | None = None) -> Steps[Delivery]:
        """Submit what waits in an outbox, and take out what is recorded. Safe to repeat, and to interrupt anywhere.

        Events that the service refuses are set aside in the outbox and given here; the others of their batch go on.

        Args:
            outbox: the outbox. Events may be put into it meanwhile; they wait for the next delivery.
            timeout_seconds: as in `submit_usage`.

        Raises:
            BatchRefusedError: the service refused a batch as a whole, and names no event; it stays in the outbox.
            ServiceError: as `submit_usage`. What has no receipt yet stays in the outbox.
            OutboxError: the outbox is closed or damaged.
        """
        from moiety.outbox import Delivery

        patience = self._patience(timeout_seconds)
        scheme = yield from self._known_id_scheme(outbox.pool, patience)
        alike = _alike(outbox.pool, outbox.method, scheme)
        receipts: list[pb.Receipt] = []
        refused: list[RefusedEvent] = []
        while paths := (yield Work(outbox.sealed)):
            taken = partial(_take_out, outbox, paths)
            submission = Submission(_stored(alike, paths), recorded=taken)
            try:
                receipts += yield from self._run(submission, patience)
                break
            except BatchRefusedError as error:
                receipts += error.receipts
                for refusal in error.refusals:
                    found = yield Work(partial(outbox.set_aside, paths[refusal.batch_index], refusal))
                    if not found:
                        raise
                    refused += found
        return Delivery(tuple(receipts), tuple(refused))

    @verb
    def resume(self, error: MoietyError, *, timeout_seconds: float | None = None) -> Steps[list[pb.Receipt]]:
        """Go on with the submission that an error ended, and return its receipts, those from before the error too.

        It takes up the batches that were not answered and reads on in the table from there, so also what cannot be read
        twice, such as a pipe, is submitted whole. Another client than the first may do it.

        Args:
            error: what `submit_usage` or another submission raised.
            timeout_seconds: as in `submit_usage`.

        Raises:
            ValueError: the error left nothing to go on with: the table was at fault, or no submission.
            BatchRefusedError: as `submit_usage`.
            ServiceError: as `submit_usage`.
        """
        if error.submission is None:
            raise ValueError(f"there is nothing left to go on with after {type(error).__name__}")
        return self._run(error.submission, self._patience(timeout_seconds))

    def _submit(
        self,
        batches: Iterator[PreparedBatch],
        progress: Callable[[int], None] | None,
        patience: Patience,
    ) -> Steps[list[pb.Receipt]]:
        return self._run(Submission(batches, progress=progress), patience)

    def _patience(self, timeout_seconds: float | None) -> Patience:
        """The patience of a submission: for all of it, or for as long as it gets answers."""
        if timeout_seconds is None:
            return Patience(self._connection.timeout_seconds, renewed=True)
        require_timeout(timeout_seconds)
        return Patience(timeout_seconds)

    def _run(self, submission: Submission, patience: Patience) -> Steps[list[pb.Receipt]]:
        return submission.run(self._usage.AppendUsage, self._connection.metadata, patience)

    @verb
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
        timeout_seconds: float | None = None,
    ) -> Steps[TelemetrySubmission]:
        """Record the completed turns of Content Telemetry (1.0), and return the receipts and what was refused.

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
            timeout_seconds: as in `submit_usage`.

        Raises:
            ValueError: `by` is not a share basis.
            NoDomainsError: the service's map is empty.
            UsageFileError: the file is not there or cannot be read.
            BatchRefusedError: as `submit_usage`; batches before the error are recorded.
            ServiceError: as `submit_usage`; batches before the error are recorded.
        """
        from moiety.batches import record_batches
        from moiety.telemetry import ShareBasis
        from moiety.telemetry.intake import TelemetryIntake

        basis = ShareBasis(by)
        if domains is None:
            domains = yield from self._declared_domains()
        patience = self._patience(timeout_seconds)
        scheme = yield from self._known_id_scheme(pool, patience)
        intake = TelemetryIntake(documents, basis, domains, scheme)
        table = intake.table(events_per_batch)
        batches = yield Work(lambda: record_batches(table, events_per_batch=events_per_batch, id_scheme=scheme))
        alike = _alike(pool, method, scheme, validate_only=validate_only)
        receipts = yield from self._submit(_prepare(alike, batches, batch_id), progress, patience)
        return intake.result(receipts)

    def _declared_domains(self) -> Steps[DomainMap]:
        domains = yield from self._domain_map()
        if not len(domains):
            raise NoDomainsError
        return domains

    @verb
    def submit_events(
        self, pool: str, events: Iterable[UsageEvent], method: str, *, batch_id: str, validate_only: bool = False
    ) -> Steps[pb.Receipt]:
        """Record up to 1,000 usage events as one batch of ordinary messages.

        The batch id is yours: repeating it with the same events gives the first receipt. With `validate_only`
        the events are checked and nothing is recorded.

        Raises:
            InvalidUsageError: a value of an event is not of its type, or a time has no zone.
        """
        from moiety.events import event_to_message

        scheme = yield from self._known_id_scheme(pool)
        request = pb.SubmitUsageRequest(
            parent=pool_name(pool),
            batch_id=batch_id,
            method_id=method,
            events=[event_to_message(event, place) for place, event in enumerate(events)],
            validate_only=validate_only,
            id_scheme=_scheme_to_proto(scheme),
        )
        return (yield from self._connection.unary(self._usage.SubmitUsage, request, repeat=True))

    @verb
    def retract_usage(
        self,
        pool: str,
        *,
        request_id: str,
        reason: str,
        batch_id: str = "",
        event_ids: Iterable[UUID | str] = (),
    ) -> Steps[list[pb.Retraction]]:
        """Take back a whole batch, or up to 1,000 events by their ids; give a retraction for each batch concerned.

        Events retracted before are left out. Repeating a request id with the same content returns the first answer.
        """
        request = pb.RetractUsageRequest(
            parent=pool_name(pool),
            request_id=request_id,
            reason=reason,
            batch_id=batch_id,
            event_ids=map(str, event_ids),
        )
        answer = yield from self._connection.unary(self._usage.RetractUsage, request, repeat=True)
        return list(answer.retractions)

    @verb
    def set_id_scheme(self, pool: str, scheme: IdScheme | str) -> Steps[pb.PlatformIdScheme]:
        """Fix how the ids of this platform's events in a pool are made, before its first batch and for ever.

        Without it they are the platform's own (`IdScheme.OWN`). The same again changes nothing.

        Raises:
            ValueError: there is no such scheme.
            FailedPreconditionError: the other one is fixed.
        """
        request = pb.SetIdSchemeRequest(parent=pool_name(pool), id_scheme=_scheme_to_proto(IdScheme(scheme)))
        return self._connection.unary(self._usage.SetIdScheme, request, repeat=True)

    @verb
    def get_id_scheme(self, pool: str, *, platform: str | None = None) -> Steps[pb.PlatformIdScheme]:
        """Give how the ids of a platform's events in a pool are made. A platform may leave itself unnamed."""
        return self._get_id_scheme(pool, platform)

    def _get_id_scheme(
        self, pool: str, platform: str | None, patience: Patience | None = None
    ) -> Steps[pb.PlatformIdScheme]:
        request = pb.GetIdSchemeRequest(parent=pool_name(pool), platform=f"platforms/{platform}" if platform else "")
        return self._connection.unary(self._usage.GetIdScheme, request, repeat=True, patience=patience)

    @verb
    def id_scheme(self, pool: str, *, platform: str | None = None) -> Steps[IdScheme]:
        """Return the same as a value, which is remembered once it is fixed: then it never changes."""
        return self._id_scheme(pool, platform)

    def _id_scheme(self, pool: str, platform: str | None, patience: Patience | None = None) -> Steps[IdScheme]:
        known = self._connection.id_schemes
        if (pool, platform) not in known:
            found = yield from self._get_id_scheme(pool, platform, patience)
            scheme = IdScheme(pb.IdScheme.Name(found.id_scheme).removeprefix("ID_SCHEME_"))
            if not found.is_fixed:
                return scheme
            known[pool, platform] = scheme
        return known[pool, platform]

    def _known_id_scheme(self, pool: str, patience: Patience | None = None) -> Steps[IdScheme]:
        try:
            return (yield from self._id_scheme(pool, None, patience))
        except InvalidArgumentError:  # this is no platform, or the pool has no such id: what is sent will be refused
            return IdScheme.OWN

    @verb
    def get_batch(self, pool: str, platform: str, batch_id: str) -> Steps[pb.Receipt]:
        """Give one batch's receipt."""
        request = pb.GetBatchRequest(name=f"pools/{pool}/batches/{platform}~{batch_id}")
        return self._connection.unary(self._usage.GetBatch, request, repeat=True)

    @verb
    def get_batch_proof(self, pool: str, platform: str, batch_id: str) -> Steps[pb.BatchProof]:
        """Return the proof, to be verified offline, that a batch is in the log that a signed checkpoint states.

        Its `tlog_proof` is a file in the form of C2SP tlog-proof. Not verified here (`moiety usage proof --key`).

        Raises:
            FailedPreconditionError: no checkpoint has the batch yet; the next is signed within seconds.
        """
        request = pb.GetBatchProofRequest(name=f"pools/{pool}/batches/{platform}~{batch_id}")
        return self._connection.unary(self._usage.GetBatchProof, request, repeat=True)

    @listing
    def list_batches(self, pool: str) -> Pages[pb.Receipt]:
        """Return a pool's receipts in the order of the log, without duplicate positions. A platform sees its
        own.
        """
        request = pb.ListBatchesRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._usage.ListBatches, request, lambda page: page.batches)

    @listing
    def list_refused_batches(self, pool: str, *, platform: str | None = None) -> Pages[pb.RefusedBatch]:
        """Return the batches that were refused in the last 30 days, and why, the latest first.

        A platform may leave itself unnamed.
        """
        request = pb.ListRefusedBatchesRequest(
            parent=pool_name(pool), platform=f"platforms/{platform}" if platform else "", page_size=PAGE_SIZE
        )
        return self._connection.pages(self._usage.ListRefusedBatches, request, lambda page: page.refused_batches)

    @verb
    def find_event(self, pool: str, event_id: str, *, platform: str | None = None) -> Steps[pb.FindEventResponse]:
        """Return the batch that recorded an event, and the event in it. A platform may leave itself unnamed."""
        request = pb.FindEventRequest(
            parent=pool_name(pool), event_id=event_id, platform=f"platforms/{platform}" if platform else ""
        )
        return self._connection.unary(self._usage.FindEvent, request, repeat=True)


def _scheme_to_proto(scheme: IdScheme) -> pb.IdScheme.ValueType:
    return pb.IdScheme.Value(f"ID_SCHEME_{scheme}")


def _alike(pool: str, method: str, scheme: IdScheme, *, validate_only: bool = False) -> pb.AppendUsageRequest:
    """What all requests of a submission have in common."""
    return pb.AppendUsageRequest(
        parent=pool_name(pool), method_id=method, id_scheme=_scheme_to_proto(scheme), validate_only=validate_only
    )


def _prepare(
    alike: pb.AppendUsageRequest, batches: Iterator[pa.RecordBatch], batch_id: str | None
) -> Iterator[PreparedBatch]:
    """The requests for batches, each with what is `alike` in all of them."""
    import pyarrow as pa

    from moiety.batches import encode

    position = 0
    for index, batch in enumerate(batches):
        if not isinstance(batch, pa.RecordBatch):
            reason = f"must be record batches, as moiety.attribution.score_batches gives; holds {type(batch).__name__}"
            raise InvalidUsageError("batches", None, reason)
        request = _request(alike, encode(batch), None if batch_id is None else f"{batch_id}-{index}")
        yield PreparedBatch(index, position, batch.num_rows, request)
        position += batch.num_rows


def _request(alike: pb.AppendUsageRequest, data: bytes, batch_id: str | None = None) -> pb.AppendUsageRequest:
    """The request for the bytes of a batch, which by default is named after them."""
    own_id = f"sha256-{sha256(data).hexdigest()[:_BATCH_ID_DIGITS]}"
    request = pb.AppendUsageRequest(batch_id=batch_id or own_id, arrow_stream=data)
    request.MergeFrom(alike)
    return request


def _stored(alike: pb.AppendUsageRequest, paths: Sequence[Path]) -> Iterator[PreparedBatch]:
    """The requests for batches in files, each with what is `alike` in all of them."""
    from moiety.batches import decode

    position = 0
    for index, path in enumerate(paths):
        data = path.read_bytes()
        events = decode(data).num_rows
        yield PreparedBatch(index, position, events, _request(alike, data))
        position += events


def _take_out(outbox: Outbox, paths: Sequence[Path], batch: PreparedBatch) -> None:
    """Remove the file of a batch that is recorded."""
    outbox.remove(paths[batch.index])
