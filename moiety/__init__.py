"""Moiety's SDK: report usage, record revenue, and follow what collectives earn.

    import moiety

    with moiety.Client("127.0.0.1:50051", api_key) as client:
        receipts = client.submit_usage("folk", table, "melody-ngram")

`Client` has every verb of the service. `usage_batches` and `batch_of` make batches, `read_usage` reads usage
files, `moiety.attribution` takes matrices of raw scores, `moiety.telemetry` takes Content Telemetry sessions,
`moiety.errors` says what can go wrong, and `moiety.v1` holds the contract's messages and stubs.
"""

from moiety.batches import USAGE_SCHEMA, ArrowTable, record_batches, usage_batches
from moiety.client import Client
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
from moiety.ids import event_id_of, uuid7
from moiety.memberships import read_membership
from moiety.telemetry import (
    DomainMap,
    RefusedSession,
    ShareBasis,
    TelemetrySession,
    TelemetrySubmission,
    read_telemetry,
    usage_events_of,
)
from moiety.v1.accounts_pb2 import Balance, Payment, Transfer
from moiety.v1.audit_pb2 import (
    Checkpoint,
    ConsistencyProof,
    InclusionProof,
    Leaf,
    LogHead,
    ReplayProgress,
    ReplayVerdict,
)
from moiety.v1.registry_pb2 import ApiKey, Collective, Membership, Method, Platform, Policy, Pool, Schedule
from moiety.v1.revenue_pb2 import Revenue
from moiety.v1.rounds_pb2 import Allocation, Round
from moiety.v1.usage_pb2 import BatchProof, Receipt
from moiety.verbs.rounds import Preview

__all__ = [
    "USAGE_SCHEMA",
    "AbortedError",
    "Allocation",
    "AlreadyExistsError",
    "ApiKey",
    "ArrowTable",
    "Balance",
    "BatchProof",
    "BatchRefusal",
    "BatchRefusedError",
    "CancelledError",
    "Checkpoint",
    "Client",
    "Collective",
    "ConsistencyProof",
    "DataLossError",
    "DeadlineExceededError",
    "DomainMap",
    "EventViolation",
    "FailedPreconditionError",
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
    "NoDomainsError",
    "NotFoundError",
    "OutOfRangeError",
    "Payment",
    "PermissionDeniedError",
    "Platform",
    "Policy",
    "Pool",
    "Preview",
    "Receipt",
    "RefusedSession",
    "ReplayProgress",
    "ReplayVerdict",
    "ResourceExhaustedError",
    "Revenue",
    "Round",
    "Schedule",
    "ServiceError",
    "ShareBasis",
    "TelemetrySession",
    "TelemetrySubmission",
    "Transfer",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UsageEvent",
    "UsageFileError",
    "Violation",
    "batch_of",
    "count_events",
    "event_id_of",
    "read_membership",
    "read_telemetry",
    "read_usage",
    "record_batches",
    "usage_batches",
    "usage_events_of",
    "uuid7",
]
