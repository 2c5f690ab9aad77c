"""SubmitUsage calls that are done together: their events are read from the bytes, and recorded in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.errors import InvalidInputError, LedgerError, or_error
from ledger.registry import require_request_id, require_resource_id
from ledger.store.usage.batches import BatchIdentity, RecordedBatch
from ledger.store.usage.intake import UsageStore
from ledger.store.usage.prepared import Sent
from ledger.usage.batch import Batch
from ledger.usage.encoding import body_of
from moiety.v1 import usage_pb2 as pb
from services.access.keys import Principal, Role
from services.access.permissions import caller, require_pool
from services.api import convert
from services.api.calls.call import request_id
from services.api.calls.door import SMALL_MESSAGE_BYTES, parsed
from services.api.calls.errors import status_of
from services.api.calls.large import FREE_BYTES, LargeMessages
from services.api.names import only_id
from services.api.usage.events import MAX_ROW_EVENTS, columns_of
from services.api.usage.refusals import Refusals
from services.api.usage.wire import Scanned, columns_in, is_usual, scan
from services.metrics import count_batch

SUBMIT_USAGE: Final = "/moiety.v1.UsageService/SubmitUsage"


@dataclass(slots=True)
class Submission:
    """A batch that was sent as messages.

    Attributes:
        request: the message, without its events where these are still in `scanned`.
        body: what the events make as an Arrow stream; empty until they are read.
    """

    identity: BatchIdentity
    request: pb.SubmitUsageRequest
    scanned: Scanned | None = None
    body: bytes = b""

    def sent(self, columns: Batch) -> Sent:
        """Returns it as it is recorded.

        Raises:
            InvalidInputError: it names no id scheme.
        """
        self.body = body_of(columns)
        scheme = convert.id_scheme_from_proto(self.request.id_scheme)
        return Sent.of(self.identity, self.request.method_id, self.body, columns, scheme)


class Submissions:
    """SubmitUsage, of which batches of one pool that come at the same time are recorded together."""

    # With two, each transaction has fewer batches: a call then takes a quarter more of the processor's time.
    groups_at_once: int = 1

    def __init__(self, usage: UsageStore, refusals: Refusals, large: LargeMessages) -> None:
        self._usage = usage
        self._refusals = refusals
        self._large = large

    def kind(self, raw: bytes) -> bytes | None:
        """The pool, which is the first field of a message in the usual form; none of a large one in another form."""
        if len(raw) > FREE_BYTES and not is_usual(raw):
            return None
        return raw[2 : 2 + raw[1]] if raw[:1] == b"\n" and len(raw) > 1 else None

    def begin(self, raw: bytes, read: Callable[[bytes], pb.SubmitUsageRequest]) -> Submission:
        """Check what does not need the events.

        Raises:
            LedgerError: the message is refused.
        """
        scanned = scan(raw) if len(raw) <= SMALL_MESSAGE_BYTES else None
        request = scanned.request if scanned else read(raw)
        try:
            return self.checked(request, scanned)
        except LedgerError:
            if scanned:
                with self._large.one(raw, SUBMIT_USAGE, caller().name):
                    read(raw)  # of what is no message, that is said first
            raise

    def checked(self, request: pb.SubmitUsageRequest, scanned: Scanned | None = None) -> Submission:
        """Check a request but for its events.

        Raises:
            InvalidInputError: a field is refused.
            PermissionDeniedError: the caller's key does not give access to the pool.
        """
        asked = Submission(identity_of(caller(), request.parent, request.batch_id), request, scanned)
        try:
            require_resource_id(request.method_id, "method_id")
            count = len(scanned.ends) - 1 if scanned else len(request.events)
            if count > MAX_ROW_EVENTS:
                raise InvalidInputError.of("events", f"must be 1 to {MAX_ROW_EVENTS}, got {count}")
        except LedgerError as error:
            self._keep(asked, error)
            raise
        return asked

    def do(self, asked: Sequence[Submission]) -> list[RecordedBatch | Sent | LedgerError]:
        """Record them; returns those that are only to be checked, and the error of each that is refused."""
        found: list[RecordedBatch | Sent | LedgerError] = []
        for each, columns in zip(asked, self._columns(asked), strict=True):
            found.append(columns if isinstance(columns, LedgerError) else or_error(each.sent, columns))
        to_record = {
            place: sent
            for place, sent in enumerate(found)
            if isinstance(sent, Sent) and not asked[place].request.validate_only
        }
        for place, recorded in zip(to_record, self._usage.accept_each([*to_record.values()]), strict=True):
            found[place] = recorded
        return found

    def end(self, asked: Submission, found: RecordedBatch | Sent | Exception) -> pb.Receipt:
        """Returns the receipt."""
        if isinstance(found, Exception):
            if isinstance(found, LedgerError):
                self._keep(asked, found)
            raise found
        if isinstance(found, Sent):
            return convert.validated_to_proto(asked.identity.pool, self._usage.validate(found))
        count_batch(found.content.accepted, found.duplicate_count, len(asked.body))
        return convert.receipt_to_proto(asked.identity.pool, found)

    def _columns(self, asked: Sequence[Submission]) -> list[Batch | LedgerError]:
        scanned = [each.scanned for each in asked if each.scanned]
        is_read = len(scanned) == len(asked) and sum(len(each.raw) for each in scanned) <= SMALL_MESSAGE_BYTES
        if is_read and (columns := columns_in(scanned)) is not None:
            return [*columns]
        if len(asked) > 1:  # they are too large, or one of them has another form
            return [found for each in asked for found in self._columns([each])]
        return [or_error(self._columns_of_message, each) for each in asked]

    def _columns_of_message(self, asked: Submission) -> Batch:
        if not asked.scanned:
            return columns_of(asked.request.events)
        raw = asked.scanned.raw
        with self._large.one(raw, SUBMIT_USAGE, Principal(Role.PLATFORM, asked.identity.platform).name):
            return columns_of(parsed(raw, SUBMIT_USAGE, pb.SubmitUsageRequest.FromString).events)

    def _keep(self, asked: Submission, error: LedgerError) -> None:
        if not asked.request.validate_only:
            self._refusals.keep(asked.identity, asked.body, error, status_of(error, request_id()))


def identity_of(principal: Principal, parent: str, batch_id: str) -> BatchIdentity:
    """Returns what identifies a batch of a principal.

    Raises:
        InvalidInputError: there can be no such pool or batch.
        PermissionDeniedError: the caller's key does not give access to the pool.
    """
    pool = only_id(parent, "pools", "parent")
    require_pool(pool)
    return BatchIdentity(pool, principal.id, require_request_id(batch_id, "batch_id"))
