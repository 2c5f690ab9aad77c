"""Moiety's SDK: report usage and revenue, and follow what collectives earn.

    import moiety

    with moiety.Client("127.0.0.1:50051", api_key) as client:
        receipts = client.submit_usage("folk", table, "melody-ngram")

`Client` has every verb of the service, and `AsyncClient` the same for asyncio. `usage_batches` and `batch_of` make
batches, `read_usage` reads usage files, `moiety.attribution` takes matrices of raw scores, `moiety.telemetry` takes
Content Telemetry sessions, `moiety.errors` says what can go wrong, and `moiety.v1` holds the contract's
messages and stubs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from moiety.version import __version__

if TYPE_CHECKING:
    from moiety import attribution as attribution
    from moiety import errors as errors
    from moiety import telemetry as telemetry
    from moiety import v1 as v1
    from moiety.batches import USAGE_SCHEMA, record_batches, usage_batches
    from moiety.client import AsyncClient, Client
    from moiety.errors import (
        AbortedError,
        AlreadyExistsError,
        BatchRefusal,
        BatchRefusedError,
        CancelledError,
        DataLossError,
        DeadlineExceededError,
        EventViolation,
        FailedPreconditionError,
        InternalError,
        InvalidArgumentError,
        InvalidDomainError,
        InvalidUsageError,
        MoietyError,
        NoDomainsError,
        NotFoundError,
        OutOfRangeError,
        PermissionDeniedError,
        ResourceExhaustedError,
        ServiceError,
        UnauthenticatedError,
        UnavailableError,
        UnimplementedError,
        UsageFileError,
        Violation,
    )
    from moiety.events import Mode, UsageEvent, batch_of
    from moiety.files import count_events, read_usage
    from moiety.ids import IdScheme, event_id_of, ordered_event_id_of, uuid7
    from moiety.journals import OutboxError
    from moiety.keys import NewKey, make_key
    from moiety.memberships import read_membership
    from moiety.outbox import Delivery, Outbox, RefusedEvent
    from moiety.tables import ArrowTable
    from moiety.telemetry import (
        Attribution,
        DomainMap,
        Owner,
        RefusedDocument,
        ShareBasis,
        Telemetry,
        TelemetrySession,
        TelemetrySubmission,
        Turn,
        read_telemetry,
        turns_of,
        usage_events_of,
    )
    from moiety.v1.accounts_pb2 import Balance, Payment, Transfer
    from moiety.v1.acts_pb2 import Proposal
    from moiety.v1.audit_pb2 import (
        Checkpoint,
        ConsistencyProof,
        InclusionProof,
        Leaf,
        LogHead,
        ReplayProgress,
        ReplayVerdict,
    )
    from moiety.v1.payments_pb2 import (
        AccountDetails,
        BankAccount,
        BankFile,
        BankLine,
        BankLineDetail,
        BankLinePart,
        Payee,
        PayRun,
        Reconciliation,
        RunPayment,
    )
    from moiety.v1.registry_pb2 import (
        ApiKey,
        Collective,
        Controls,
        Membership,
        Method,
        Platform,
        Policy,
        Pool,
        Principal,
        Schedule,
    )
    from moiety.v1.revenue_pb2 import Due, MoneyReceipt, Report, Reversal, Tariff, Waiver
    from moiety.v1.rounds_pb2 import Allocation, Objection, Round
    from moiety.v1.usage_pb2 import BatchProof, Receipt
    from moiety.verbs.rounds import Preview

_NAMES: Final = {
    "moiety.batches": ("USAGE_SCHEMA", "record_batches", "usage_batches"),
    "moiety.client": ("AsyncClient", "Client"),
    "moiety.errors": (
        "AbortedError",
        "AlreadyExistsError",
        "BatchRefusal",
        "BatchRefusedError",
        "CancelledError",
        "DataLossError",
        "DeadlineExceededError",
        "EventViolation",
        "FailedPreconditionError",
        "InternalError",
        "InvalidArgumentError",
        "InvalidDomainError",
        "InvalidUsageError",
        "MoietyError",
        "NoDomainsError",
        "NotFoundError",
        "OutOfRangeError",
        "PermissionDeniedError",
        "ResourceExhaustedError",
        "ServiceError",
        "UnauthenticatedError",
        "UnavailableError",
        "UnimplementedError",
        "UsageFileError",
        "Violation",
    ),
    "moiety.events": ("Mode", "UsageEvent", "batch_of"),
    "moiety.files": ("count_events", "read_usage"),
    "moiety.ids": ("IdScheme", "event_id_of", "ordered_event_id_of", "uuid7"),
    "moiety.journals": ("OutboxError",),
    "moiety.keys": ("NewKey", "make_key"),
    "moiety.memberships": ("read_membership",),
    "moiety.outbox": ("Delivery", "Outbox", "RefusedEvent"),
    "moiety.tables": ("ArrowTable",),
    "moiety.telemetry": (
        "Attribution",
        "DomainMap",
        "Owner",
        "RefusedDocument",
        "ShareBasis",
        "Telemetry",
        "TelemetrySession",
        "TelemetrySubmission",
        "Turn",
        "read_telemetry",
        "turns_of",
        "usage_events_of",
    ),
    "moiety.v1.accounts_pb2": ("Balance", "Payment", "Transfer"),
    "moiety.v1.payments_pb2": (
        "AccountDetails",
        "BankAccount",
        "BankFile",
        "BankLine",
        "BankLineDetail",
        "BankLinePart",
        "PayRun",
        "Payee",
        "Reconciliation",
        "RunPayment",
    ),
    "moiety.v1.acts_pb2": ("Proposal",),
    "moiety.v1.audit_pb2": (
        "Checkpoint",
        "ConsistencyProof",
        "InclusionProof",
        "Leaf",
        "LogHead",
        "ReplayProgress",
        "ReplayVerdict",
    ),
    "moiety.v1.registry_pb2": (
        "ApiKey",
        "Collective",
        "Controls",
        "Membership",
        "Method",
        "Platform",
        "Policy",
        "Pool",
        "Principal",
        "Schedule",
    ),
    "moiety.v1.revenue_pb2": ("Due", "MoneyReceipt", "Report", "Reversal", "Tariff", "Waiver"),
    "moiety.v1.rounds_pb2": ("Allocation", "Objection", "Round"),
    "moiety.v1.usage_pb2": ("BatchProof", "Receipt"),
    "moiety.verbs.rounds": ("Preview",),
}
"""Where each public name is at home. A module is imported when it is asked for: `moiety verify` runs without gRPC."""

_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names}
_MODULES: Final = ("attribution", "errors", "telemetry", "v1")

__all__ = [
    "USAGE_SCHEMA",
    "AbortedError",
    "AccountDetails",
    "Allocation",
    "AlreadyExistsError",
    "ApiKey",
    "ArrowTable",
    "AsyncClient",
    "Attribution",
    "Balance",
    "BankAccount",
    "BankFile",
    "BankLine",
    "BankLineDetail",
    "BankLinePart",
    "BatchProof",
    "BatchRefusal",
    "BatchRefusedError",
    "CancelledError",
    "Checkpoint",
    "Client",
    "Collective",
    "ConsistencyProof",
    "Controls",
    "DataLossError",
    "DeadlineExceededError",
    "Delivery",
    "DomainMap",
    "Due",
    "EventViolation",
    "FailedPreconditionError",
    "IdScheme",
    "InclusionProof",
    "InternalError",
    "InvalidArgumentError",
    "InvalidDomainError",
    "InvalidUsageError",
    "Leaf",
    "LogHead",
    "Membership",
    "Method",
    "Mode",
    "MoietyError",
    "MoneyReceipt",
    "NewKey",
    "NoDomainsError",
    "NotFoundError",
    "Objection",
    "OutOfRangeError",
    "Outbox",
    "OutboxError",
    "Owner",
    "PayRun",
    "Payee",
    "Payment",
    "PermissionDeniedError",
    "Platform",
    "Policy",
    "Pool",
    "Preview",
    "Principal",
    "Proposal",
    "Receipt",
    "Reconciliation",
    "RefusedDocument",
    "RefusedEvent",
    "ReplayProgress",
    "ReplayVerdict",
    "Report",
    "ResourceExhaustedError",
    "Reversal",
    "Round",
    "RunPayment",
    "Schedule",
    "ServiceError",
    "ShareBasis",
    "Tariff",
    "Telemetry",
    "TelemetrySession",
    "TelemetrySubmission",
    "Transfer",
    "Turn",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UsageEvent",
    "UsageFileError",
    "Violation",
    "Waiver",
    "__version__",
    "batch_of",
    "count_events",
    "event_id_of",
    "make_key",
    "ordered_event_id_of",
    "read_membership",
    "read_telemetry",
    "read_usage",
    "record_batches",
    "turns_of",
    "usage_batches",
    "usage_events_of",
    "uuid7",
]


if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"moiety.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'moiety' has no attribute {name!r}")
        found = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
