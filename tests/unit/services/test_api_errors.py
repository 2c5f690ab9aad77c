"""The table from errors to statuses: every error of ours is in it, what travels fits, and nothing internal leaks."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Final, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

import audit
import ledger
import payout
import services.access
import services.api
from ledger.errors import (
    AlreadyExistsError,
    BusyError,
    FormatError,
    IdentityReusedError,
    InvalidInputError,
    LedgerCorruptError,
    LedgerError,
    LostRaceError,
    NotFoundError,
    ProofError,
    QuotaError,
    SignatureError,
    StateError,
    StoreUnavailableError,
    StoreUnfitError,
    UnreadableError,
    UnwritableError,
    Violation,
)
from services.access.keys import Principal, Role, UnauthenticatedError
from services.access.permissions import PermissionDeniedError
from services.api.calls.door import MessageTooLargeError, NoRoomError
from services.api.calls.errors import for_trailers, is_expected, status_of
from services.api.calls.queues import OverloadedError
from services.api.calls.streams import StreamShedError, TooManyStreamsError, WatchesClosedError

TWO: Final = InvalidInputError(
    [Violation("events[3].units", "must be 1 to 10"), Violation("parent", "is required")], total=7
)

# (error, code, reason, types of the details between ErrorInfo and RequestInfo)
EXAMPLES: Final[list[tuple[LedgerError, int, str, list[type[Message]]]]] = [
    (TWO, code_pb2.INVALID_ARGUMENT, "INVALID_INPUT", [error_details_pb2.BadRequest]),
    (IdentityReusedError.of("batch_id", "x"), code_pb2.INVALID_ARGUMENT, "ID_REUSED", [error_details_pb2.BadRequest]),
    (NotFoundError("pools/folk"), code_pb2.NOT_FOUND, "NOT_FOUND", [error_details_pb2.ResourceInfo]),
    (AlreadyExistsError("pools/folk"), code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS", [error_details_pb2.ResourceInfo]),
    (
        StateError("pools/folk/rounds/1", "ROUND_OPEN", "must be approved first"),
        code_pb2.FAILED_PRECONDITION,
        "ROUND_OPEN",
        [error_details_pb2.PreconditionFailure],
    ),
    (
        UnwritableError.of("FILE", "is full"),
        code_pb2.INVALID_ARGUMENT,
        "INVALID_INPUT",
        [error_details_pb2.BadRequest],
    ),
    (LostRaceError("round 3"), code_pb2.ABORTED, "LOST_RACE", [error_details_pb2.RetryInfo]),
    (BusyError(), code_pb2.ABORTED, "BUSY", [error_details_pb2.RetryInfo]),
    (LedgerCorruptError("leaf 3", "a hash does not hold"), code_pb2.DATA_LOSS, "LEDGER_CORRUPT", []),
    (ProofError("the path is too long"), code_pb2.DATA_LOSS, "PROOF_REFUSED", []),
    (FormatError("note", "is not UTF-8"), code_pb2.DATA_LOSS, "FORMAT_REFUSED", []),
    (SignatureError(["log.example"], "did not sign"), code_pb2.DATA_LOSS, "SIGNATURE_REFUSED", []),
    (
        QuotaError("platforms/acme", "events_per_day", 10, 3600),
        code_pb2.RESOURCE_EXHAUSTED,
        "QUOTA_USED_UP",
        [error_details_pb2.QuotaFailure, error_details_pb2.RetryInfo],
    ),
    (StoreUnfitError("no table leaf"), code_pb2.UNAVAILABLE, "DATABASE_UNFIT", [error_details_pb2.RetryInfo]),
    (StoreUnavailableError(), code_pb2.UNAVAILABLE, "DATABASE_AWAY", [error_details_pb2.RetryInfo]),
    (WatchesClosedError(), code_pb2.UNAVAILABLE, "STOPPING", [error_details_pb2.RetryInfo]),
    (StreamShedError(7.0), code_pb2.UNAVAILABLE, "STREAM_SHED", [error_details_pb2.RetryInfo]),
    (NoRoomError(), code_pb2.RESOURCE_EXHAUSTED, "NO_ROOM", [error_details_pb2.RetryInfo]),
    (
        TooManyStreamsError("platforms/acme"),
        code_pb2.RESOURCE_EXHAUSTED,
        "TOO_MANY_STREAMS",
        [error_details_pb2.RetryInfo],
    ),
    (
        OverloadedError("platforms/acme"),
        code_pb2.RESOURCE_EXHAUSTED,
        "OVERLOADED",
        [error_details_pb2.RetryInfo],
    ),
    (MessageTooLargeError(9, 8), code_pb2.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", []),
    (UnauthenticatedError(), code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", []),
    (
        PermissionDeniedError(Principal(Role.PLATFORM, "acme"), "/moiety.v1.RoundsService/ApproveRound"),
        code_pb2.PERMISSION_DENIED,
        "PERMISSION_DENIED",
        [],
    ),
]
each = pytest.mark.parametrize(
    ("error", "code", "reason", "details"), EXAMPLES, ids=[type(example[0]).__name__ for example in EXAMPLES]
)


def every_module(package: ModuleType) -> Iterator[str]:
    yield package.__name__
    yield from (module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


def kinds_of(root: type[LedgerError]) -> Iterator[type[LedgerError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from kinds_of(kind)


def unpacked(status: status_pb2.Status, kind: type[Message]) -> Any:
    """The one detail of a type."""
    found = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    assert len(found) == 1
    message = kind()
    assert found[0].Unpack(message)
    return message


def test_every_error_of_ours_is_in_the_table() -> None:
    for package in (ledger, payout, audit, services.access, services.api):
        for name in every_module(package):
            importlib.import_module(name)
    rooms = ("ledger.", "payout.", "audit.", "services.access.", "services.api.")
    ours = {kind for kind in kinds_of(LedgerError) if kind.__module__.startswith(rooms)}
    assert ours == {UnreadableError, *(type(error) for error, *_ in EXAMPLES)}


def test_what_cannot_be_read_is_data_loss_for_its_caller_and_looked_into_by_us() -> None:
    status = status_of(UnreadableError(), "r-1")
    assert (status.code, unpacked(status, error_details_pb2.ErrorInfo).reason) == (code_pb2.DATA_LOSS, "LEDGER_CORRUPT")
    assert not is_expected(UnreadableError())


@each
def test_an_error_has_its_code_reason_and_details(
    error: LedgerError, code: int, reason: str, details: list[type[Message]]
) -> None:
    assert is_expected(error)
    status = status_of(error, "request-1")
    assert status.code == code
    assert status.message == str(error)
    info = unpacked(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "moiety.dev")
    assert unpacked(status, error_details_pb2.RequestInfo).request_id == "request-1"
    assert len(status.details) == 2 + len(details)
    for kind in details:
        unpacked(status, kind)


def test_a_bad_request_names_its_fields_and_counts_what_it_does_not_name() -> None:
    status = status_of(TWO, "request-1")
    found = unpacked(status, error_details_pb2.BadRequest).field_violations
    assert [(violation.field, violation.description) for violation in found] == [
        ("events[3].units", "must be 1 to 10"),
        ("parent", "is required"),
    ]
    assert unpacked(status, error_details_pb2.ErrorInfo).metadata == {"total_violations": "7"}
    assert status.message == "events[3].units: must be 1 to 10; parent: is required; and 5 more"


def test_what_a_refusal_names_is_in_its_metadata() -> None:
    began = datetime(2026, 3, 1, 12, tzinfo=UTC)
    status = status_of(
        StateError("pools/folk", "OPEN", "has %(left_minor)s since %(time)s", left_minor=1, time=began), ""
    )
    assert status.message == "pools/folk: has 1 minor unit since 2026-03-01 12:00:00 UTC"
    metadata = unpacked(status, error_details_pb2.ErrorInfo).metadata
    assert metadata == {"left_minor": "1", "time": "2026-03-01T12:00:00+00:00"}
    status = status_of(InvalidInputError.of("members", "must be at most %(most)s", most=10**15), "")
    metadata = unpacked(status, error_details_pb2.ErrorInfo).metadata
    assert metadata == {"total_violations": "1", "most": "1000000000000000"}


def test_other_details_carry_the_facts_of_their_error() -> None:
    for error, *_ in EXAMPLES:
        status = status_of(error, "request-1")
        if isinstance(error, NotFoundError | AlreadyExistsError):
            resource = unpacked(status, error_details_pb2.ResourceInfo)
            assert (resource.resource_name, resource.description) == ("pools/folk", str(error))
        if isinstance(error, StateError):
            (violation,) = unpacked(status, error_details_pb2.PreconditionFailure).violations
            assert (violation.type, violation.subject) == ("ROUND_OPEN", "pools/folk/rounds/1")
            assert violation.description == "must be approved first"
        if isinstance(error, LostRaceError | StoreUnavailableError):
            assert unpacked(status, error_details_pb2.RetryInfo).retry_delay.seconds >= 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("/srv/moiety/ledger.py line 3"),
        KeyError("hunter2"),
        RuntimeError("postgresql://app:hunter2@db/moiety"),
        LedgerError("hunter2"),
        MemoryError(),
        OSError(2, "No such file", "/etc/moiety/key.pem"),
    ],
)
def test_anything_else_is_internal_and_says_nothing(error: Exception) -> None:
    assert not is_expected(error)
    status = status_of(error, "request-1")
    assert (status.code, status.message) == (code_pb2.INTERNAL, "internal error")
    assert unpacked(status, error_details_pb2.ErrorInfo) == error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain="moiety.dev"
    )
    assert unpacked(status, error_details_pb2.RequestInfo).request_id == "request-1"
    assert len(status.details) == 2


def test_what_caused_an_error_does_not_travel_with_it() -> None:
    for error, *_ in EXAMPLES:
        error.__cause__ = RuntimeError("postgresql://app:hunter2@db/moiety")
        error.add_note("hunter2")
        assert b"hunter2" not in status_of(error, "request-1").SerializeToString()


# What travels in trailers, over a real connection. Above 8 KiB of them a client of gRPC's defaults refuses some at
# random, and above 16 KiB all; here it is all above 8 KiB, so that nothing is left to chance.


def test_what_has_nothing_left_to_drop_is_left_as_it_is() -> None:
    status = status_of(NotFoundError("n" * 10_000), "request-1")
    assert for_trailers(status) == status_of(NotFoundError("n" * 10_000), "request-1")
    status = status_of(violations(2, "x", "y"), "r" * 10_000)
    assert not unpacked(for_trailers(status), error_details_pb2.BadRequest).field_violations


@pytest.fixture(scope="module")
def raised() -> Iterator[Callable[[Exception], status_pb2.Status]]:
    """Raises an error in a server as the service would, and gives what a client gets for it."""
    pending: list[Exception] = []

    def fail(_: bytes, context: grpc.ServicerContext) -> bytes:
        status = for_trailers(status_of(pending.pop(), "f" * 64))
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError

    handler = grpc.method_handlers_generic_handler("test", {"Fail": grpc.unary_unary_rpc_method_handler(fail)})
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        strict = [("grpc.max_metadata_size", 8192), ("grpc.absolute_max_metadata_size", 8192)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=strict) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test/Fail")

            def raised(error: Exception) -> status_pb2.Status:
                pending.append(error)
                with pytest.raises(grpc.RpcError) as failed:
                    call(b"", timeout=120)
                status = rpc_status.from_call(cast(grpc.Call, failed.value))
                assert status is not None
                return status

            yield raised
        server.stop(None).wait()


def violations(count: int, field: str, reason: str) -> InvalidInputError:
    return InvalidInputError([Violation(field, reason)] * count, total=100_000)


LONG: Final = [
    violations(100, "events[65535].collectives", "'" + "x" * 80 + "' is not registered"),
    violations(100, "events[65535].collectives", "'" + "é" * 80 + "' is not registered"),
    violations(100, "events[65535].event_id", "must be a UUID, got '" + "🎵" * 80 + "'"),
    violations(100, "events[65535].event_id", "%" * 80),
    violations(100, "x", ""),
    violations(1, "x", "r" * 100_000),
    violations(100, "f" * 3000, "r" * 3000),
    violations(5, "x", "🎵" * 5000),
    NotFoundError(f"pools/{'p' * 63}/batches/{'a' * 63}~{'b' * 128}"),
    StateError(f"pools/{'p' * 63}/accounts/collective/{'c' * 63}", "BALANCE_TOO_LOW", "has 1, fewer than 2"),
    LedgerCorruptError("leaf 3 of 'folk'", "not a posting.v1 entry: " + "é" * 60_000),
    ProofError("🎵" * 60_000),
]


@pytest.mark.parametrize("error", LONG, ids=range(len(LONG)))
def test_the_longest_errors_reach_a_client_of_default_limits(
    error: LedgerError, raised: Callable[[Exception], status_pb2.Status]
) -> None:
    expected = status_of(error, "f" * 64)
    status = raised(error)
    assert (status.code, status.message) == (expected.code, expected.message)
    info = unpacked(status, error_details_pb2.ErrorInfo)
    assert info == unpacked(expected, error_details_pb2.ErrorInfo)
    assert unpacked(status, error_details_pb2.RequestInfo).request_id == "f" * 64
    if isinstance(error, InvalidInputError):
        assert info.metadata["total_violations"] == "100000"


def test_as_many_violations_travel_as_fit(raised: Callable[[Exception], status_pb2.Status]) -> None:
    for error, least in ((LONG[0], 20), (LONG[4], 100), (violations(3, "x", "y"), 3)):
        found = unpacked(raised(error), error_details_pb2.BadRequest).field_violations
        assert least <= len(found) <= 100
        assert {violation.field for violation in found} <= {"events[65535].collectives", "x"}


def test_a_short_error_travels_whole() -> None:
    for error, *_ in EXAMPLES:
        assert for_trailers(status_of(error, "request-1")) == status_of(error, "request-1")
