"""Every error as it reaches a raw gRPC client: its code, its details, and nothing that is nobody's business."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import grpc
import pytest
import sqlalchemy as sa
import structlog
from google.api import field_behavior_pb2
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from ledger import errors
from moiety import BankAccount, Policy, Pool, Schedule
from moiety.keys import make_key
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED, DISTRIBUTE_REPORTED
from services.api.contract import service_names
from services.process import logs
from tests.support import paying
from tests.support.books import execute
from tests.support.deployment import START, Deployment, SteppedClock, deployed
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, open_scene
from tests.support.wire import METHODS, Refusal, Wire, refused, request_of

pytestmark = pytest.mark.surface


@pytest.fixture(scope="module")
def scene(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    key = paying.payee_key(tmp_path_factory.mktemp("errors"))
    with deployed(shared_database_url, SteppedClock(START), payee_key_file=key) as deployment:
        scene = open_scene(deployment, policy=Policy(review_seconds=60))
        scene.fill()
        scene.operator.calculate_round(POOL, request_id="open")
        received = Pool(display_name="Paid", currency="EUR", policy=Policy(), distribute=DISTRIBUTE_RECEIVED)
        scene.operator.create_pool("paid", received)
        ours = BankAccount(display_name="Moiety", details=paying.account(paying.OURS), pools=["pools/paid"])
        scene.operator.set_bank_account("main", ours)
        yield scene


@pytest.fixture(scope="module")
def operator(scene: Scene) -> Iterator[Wire]:
    with Wire(scene.deployment.address, scene.deployment.key("operators/olive")) as wire:
        yield wire


@pytest.fixture(scope="module")
def platform(scene: Scene) -> Iterator[Wire]:
    with Wire(scene.deployment.address, scene.deployment.key("platforms/tunesmith")) as wire:
        yield wire


def failing(scene: Scene, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every calculation of a round fail so."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(type(scene.deployment.running.parts.settlement), "calculate", fail)


CLASSES: Final[list[tuple[Exception, grpc.StatusCode, str, set[str]]]] = [
    (errors.InvalidInputError.of("a.b", "is wrong"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", {"BadRequest"}),
    (errors.UnwritableError.of("FILE", "is full"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", {"BadRequest"}),
    (errors.IdentityReusedError.of("a", "again"), grpc.StatusCode.INVALID_ARGUMENT, "ID_REUSED", {"BadRequest"}),
    (errors.NotFoundError("pools/x"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND", {"ResourceInfo"}),
    (errors.AlreadyExistsError("pools/x"), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", {"ResourceInfo"}),
    (errors.StateError("pools/x", "ODD", "d"), grpc.StatusCode.FAILED_PRECONDITION, "ODD", {"PreconditionFailure"}),
    (errors.LostRaceError("the pool"), grpc.StatusCode.ABORTED, "LOST_RACE", {"RetryInfo"}),
    (errors.LedgerCorruptError("leaf 1", "torn"), grpc.StatusCode.DATA_LOSS, "LEDGER_CORRUPT", set()),
    (errors.UnreadableError(), grpc.StatusCode.DATA_LOSS, "LEDGER_CORRUPT", set()),
    (errors.ProofError("too short"), grpc.StatusCode.DATA_LOSS, "PROOF_REFUSED", set()),
    (errors.FormatError("note", "is cut"), grpc.StatusCode.DATA_LOSS, "FORMAT_REFUSED", set()),
    (errors.SignatureError(["log"], "did not sign"), grpc.StatusCode.DATA_LOSS, "SIGNATURE_REFUSED", set()),
    (
        errors.QuotaError("platforms/x", "events_per_day", 1, 1),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUOTA_USED_UP",
        {"RetryInfo", "QuotaFailure"},
    ),
    (errors.BusyError(), grpc.StatusCode.ABORTED, "BUSY", {"RetryInfo"}),
    (errors.StoreUnfitError("no table leaf"), grpc.StatusCode.UNAVAILABLE, "DATABASE_UNFIT", {"RetryInfo"}),
    (errors.StoreUnavailableError(), grpc.StatusCode.UNAVAILABLE, "DATABASE_AWAY", {"RetryInfo"}),
    (RuntimeError("password=hunter2"), grpc.StatusCode.INTERNAL, "INTERNAL", set()),
]


def test_every_error_of_ours_has_a_class_in_this_test() -> None:
    def leaves(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*map(leaves, kind.__subclasses__()))

    ours = {kind for kind in leaves(errors.LedgerError) if kind.__module__ == "ledger.errors"}
    assert {type(error) for error, *_ in CLASSES} >= ours - {errors.LedgerError}


@pytest.mark.parametrize(("error", "code", "reason", "details"), CLASSES)
def test_an_error_has_its_code_and_its_details(
    scene: Scene,
    operator: Wire,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: grpc.StatusCode,
    reason: str,
    details: set[str],
) -> None:
    failing(scene, error, monkeypatch)
    refusal = refused(lambda: operator.call("RoundsService/CalculateRound", parent=f"pools/{POOL}", request_id="q"))
    assert (refusal.code, refusal.reason) == (code, reason)
    assert refusal.details.keys() == {"ErrorInfo", "RequestInfo", *details}
    assert refusal.details["ErrorInfo"].domain == "moiety.dev"
    assert refusal.details["RequestInfo"].request_id
    if "RetryInfo" in details:
        assert refusal.details["RetryInfo"].retry_delay.seconds == 1


def test_what_nobody_expected_leaks_nothing(
    scene: Scene, operator: Wire, platform: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(scene, RuntimeError("password=hunter2"), monkeypatch)
    monkeypatch.setattr(
        type(scene.deployment.running.parts.usage), "accept", lambda *_: (_ for _ in ()).throw(KeyError("hunter2"))
    )
    unary = refused(lambda: operator.call("RoundsService/CalculateRound", parent=f"pools/{POOL}", request_id="q"))
    assert unary.message == "internal error"
    (answer,) = platform.call(
        "UsageService/AppendUsage", parent=f"pools/{POOL}", batch_id="b", method_id=METHOD, arrow_stream=b"x"
    )
    assert answer.error.message == "internal error"
    for shown in (str(unary), str(answer)):
        assert "hunter2" not in shown
        assert "Traceback" not in shown


def test_what_a_changed_row_fails_over_is_in_the_log_and_nowhere_else(
    scene: Scene, operator: Wire, shared_owner: sa.Engine
) -> None:
    scene.operator.update_schedule(POOL, Schedule(cron="0 0 * * *", time_zone="UTC"))
    execute(shared_owner, "UPDATE schedule SET skipped_because = 'hunter2'")
    with capture_logs() as logged:
        refusal = refused(lambda: operator.call("RegistryService/GetSchedule", name=f"pools/{POOL}/schedule"))
    execute(shared_owner, "UPDATE schedule SET skipped_because = NULL")
    assert refusal.code is grpc.StatusCode.DATA_LOSS
    assert "moiety db fsck" in refusal.message
    assert "hunter2" not in str(refusal)
    (failed,) = [each for each in logged if each["event"] == "call failed"]
    assert "hunter2" in str(failed["exc_info"].__cause__)


def test_what_was_sent_to_postgres_is_not_in_the_error_that_nobody_expected(scene: Scene) -> None:
    broken = sa.text("SELECT 1 / (length(:sent) - 7)")
    with (
        pytest.raises(sa.exc.DBAPIError, match="division by zero") as caught,
        scene.deployment.running.parts.database.transaction() as connection,
    ):
        connection.execute(broken, {"sent": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def configured_again() -> Iterator[None]:
    """Logs as they were, after a test that configures them otherwise."""
    root, before, configured = logging.getLogger(), logging.getLogger().handlers, structlog.get_config()
    yield
    root.handlers = before
    structlog.configure(**configured)


@pytest.mark.usefixtures("configured_again")
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_logs_keep_what_went_wrong_and_no_secrets(
    scene: Scene, log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(secret: str) -> None:
        raise RuntimeError("it broke", len(secret))

    hidden = "hunter" + str(7 - 5)
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    logs.configure_logs(scene.deployment.settings.model_copy(update={"log_format": log_format}))
    ours, theirs = structlog.get_logger("moiety.api"), logging.getLogger("some.library")
    try:
        fail(hidden)
    except RuntimeError as error:
        ours.error("call failed", request_id="r-1", exc_info=error)
        theirs.error("it could not", exc_info=error)
    ours.debug("less than is asked for")
    said = written.getvalue()
    assert all(told in said for told in ("moiety.api", "r-1", "call failed", "some.library", "it could not"))
    assert said.count("it broke") >= 2
    assert hidden not in said
    assert "less than" not in said


@pytest.mark.usefixtures("configured_again")
def test_nothing_fails_because_nobody_reads_the_logs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    unread = os.fdopen(write, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", unread)
    try:
        logs.configure_logs(scene.deployment.settings)
        for _ in range(1_000):
            structlog.get_logger("moiety.api").error("call failed")
    finally:
        with suppress(BrokenPipeError):
            unread.close()


def test_a_caller_s_request_id_comes_back_and_a_bad_one_is_replaced(scene: Scene, operator: Wire) -> None:
    for asked, kept in (("my-request.7", True), ("two words", False), ("x" * 65, False)):
        metadata = (*operator.metadata, ("x-request-id", asked))
        request = request_of("RegistryService/GetPool", name="pools/sea")
        with Wire(scene.deployment.address) as wire:
            wire.metadata = metadata
            call = wire.open("RegistryService/GetPool", request)
            refusal = refused(call.result)
            told = dict(call.trailing_metadata())["x-request-id"]
        assert refusal.details["RequestInfo"].request_id == told
        assert (told == asked) is kept


PLATFORMS_OWN: Final = ("SubmitUsage", "AppendUsage", "SetIdScheme", "RetractUsage", "ReportRevenue")


def required_fields(message: Message, path: str = "") -> Iterator[str]:
    """The fields of a request that the contract requires, where the request is empty."""
    field: Any
    for field in message.DESCRIPTOR.fields:
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]:
            yield path + field.name


# A collective's own call is tried where objections are.
@pytest.mark.parametrize(
    "method",
    [
        name
        for name in METHODS
        if list(required_fields(request_of(name))) and not name.endswith(("/ObjectToRound", "/LogSplit"))
    ],
)
def test_every_required_field_that_is_missing_is_named(operator: Wire, platform: Wire, method: str) -> None:
    wire = platform if method.endswith(PLATFORMS_OWN) else operator
    wanted = list(required_fields(request_of(method)))
    if method == "UsageService/AppendUsage":
        (answer,) = wire.call(method)
        assert "is required" in answer.error.message
        return
    refusal = refused(lambda: wire.call(method))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert refusal.fields == wanted


def test_required_fields_inside_messages_are_named_by_their_path(operator: Wire, platform: Wire) -> None:
    for wire, method, fields, wanted in (
        (operator, "CreatePool", {"pool_id": "sea", "pool": {"policy": {}}}, ["pool.display_name", "pool.currency"]),
        (
            operator,
            "CreateMethod",
            {"parent": "p", "method_id": "m", "method": {}},
            ["method.display_name", "method.confidence_ppm"],
        ),
        (operator, "UpdateSchedule", {"schedule": {"cron": "* * * * *"}}, ["schedule.time_zone"]),
    ):
        refusal = refused(partial(wire.call, f"RegistryService/{method}", **fields))
        assert refusal.fields == wanted
    refusal = refused(
        lambda: platform.call("RevenueService/ReportRevenue", parent=f"pools/{POOL}", report={}, request_id="r")
    )
    assert refusal.fields == ["report.amount_minor", "report.currency"]


def hundred_violations(platform: Wire, event_id: str, count: int) -> Refusal:
    usage = [{"event_id": event_id, "occurred_at": {"seconds": 1}, "units": 1, "mode": 1}] * count
    return refused(
        lambda: platform.call(
            "UsageService/SubmitUsage", parent=f"pools/{POOL}", batch_id="b", method_id=METHOD, events=usage
        )
    )


@pytest.mark.parametrize("event_id", ["x" * 200, "😀" * 200, "%" * 200, "\n" * 200, ""])
@pytest.mark.parametrize("count", [1, 5, 100, 1000])
def test_any_number_of_violations_fits_the_trailers(platform: Wire, event_id: str, count: int) -> None:
    # gRPC refuses trailers beyond its soft limit at random, so that once is not enough.
    for _ in range(5):
        refusal = hundred_violations(platform, event_id, count)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.fields[0] == "events[0].event_id"
    assert len(refusal.fields) >= min(count, 3)
    assert refusal.details["ErrorInfo"].metadata["total_violations"] == str(count)


def token(*place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


LISTS: Final[dict[str, dict[str, str]]] = {
    "RegistryService/ListPlatforms": {},
    "RegistryService/ListCollectives": {},
    "RegistryService/ListPools": {},
    "RegistryService/ListApiKeys": {},
    "RegistryService/ListPrincipals": {},
    "ActsService/ListProposals": {"parent": f"pools/{POOL}"},
    "RegistryService/ListPolicies": {"parent": f"pools/{POOL}"},
    "RegistryService/ListMethods": {"parent": f"pools/{POOL}"},
    "RegistryService/ListMemberships": {"parent": f"pools/{POOL}"},
    "UsageService/ListBatches": {"parent": f"pools/{POOL}"},
    "UsageService/ListRefusedBatches": {"parent": f"pools/{POOL}", "platform": "platforms/tunesmith"},
    "RevenueService/ListReports": {"parent": f"pools/{POOL}"},
    "RevenueService/ListTariffs": {"parent": f"pools/{POOL}"},
    "RevenueService/ListDues": {"parent": f"pools/{POOL}", "period": "2026-01"},
    "RevenueService/ListReceipts": {"parent": f"pools/{POOL}"},
    "RevenueService/ListReversals": {"parent": f"pools/{POOL}"},
    "AccountsService/ListBalances": {"parent": f"pools/{POOL}"},
    "AccountsService/ListTransfers": {"parent": f"pools/{POOL}"},
    "AccountsService/ListAdjustments": {"parent": f"pools/{POOL}"},
    "PaymentsService/ListPayees": {},
    "WebhooksService/ListWebhooks": {},
    "PaymentsService/ListBankAccounts": {},
    "PaymentsService/ListPayRuns": {},
    "PaymentsService/ListCollectivePayments": {"parent": "collectives/irish"},
    "PaymentsService/ListBankFiles": {"parent": "bankAccounts/main"},
    "PaymentsService/ListBankLines": {"parent": "bankAccounts/main"},
    "PaymentsService/ListUnpaid": {"parent": f"pools/{POOL}"},
    "RoundsService/ListRounds": {"parent": f"pools/{POOL}"},
    "RoundsService/ListAllocations": {"parent": f"pools/{POOL}/rounds/1"},
    "RoundsService/ListObjections": {"parent": f"pools/{POOL}/rounds/1"},
    "AuditService/ListLeaves": {"parent": f"pools/{POOL}"},
    "AuditService/ListCheckpoints": {"parent": f"pools/{POOL}"},
}


def test_every_list_has_pages() -> None:
    assert LISTS.keys() == {name for name in METHODS if name.partition("/")[2].startswith("List")}


@pytest.mark.parametrize("method", LISTS)
def test_a_page_token_of_one_s_own_making_does_no_harm(operator: Wire, method: str) -> None:
    """It gives a page or is refused; it is never a defect."""
    made = [
        "x",
        "=",
        "é",
        token(),
        token("a"),
        token("\0"),
        token("\ud800"),
        token("x" * 100_000),
        token(None),
        token(1.5),
    ]
    for number in (-1, -5, 0, 7, 2**31, 2**62, 2**63 - 1, 2**63, -(2**63), 10**30):
        made += [token(number), token(number, number), token("a", number)]
    for each in made:
        call = operator.open(method, request_of(method, **LISTS[method], page_token=each))
        assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), (each, call.details())


@pytest.mark.parametrize("method", LISTS)
def test_a_page_has_bounds(operator: Wire, method: str) -> None:
    for page_size in (-1, 1001, 2**31 - 1):
        refusal = refused(partial(operator.call, method, **LISTS[method], page_size=page_size))
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_size"])
    operator.call(method, **LISTS[method], page_size=1000)


ALSO_REQUIRED: Final[dict[str, dict[str, Any]]] = {
    "RoundsService/AnswerObjection": {"answer": 1, "reason": "seen"},
    "WebhooksService/SetWebhookState": {"state": 1},
}

HOSTILE_NAMES: Final = (
    "",
    "\0",
    "x" * 20_000,
    "é" * 20_000,
    "'; DROP TABLE leaf; --",
    "..",
    "a/b",
    "%",
    "A",
    "-a",
    "a-",
)


@pytest.mark.parametrize("hostile", HOSTILE_NAMES)
def test_a_hostile_name_is_refused_wherever_it_stands(operator: Wire, hostile: str) -> None:
    for method, field, name in (
        ("RegistryService/GetPool", "name", f"pools/{hostile}"),
        ("RegistryService/GetPlatform", "name", f"platforms/{hostile}"),
        ("RegistryService/GetCollective", "name", f"collectives/{hostile}"),
        ("RegistryService/GetSchedule", "name", f"pools/{hostile}/schedule"),
        ("RegistryService/RevokeApiKey", "name", f"keys/{hostile}"),
        ("ActsService/GetProposal", "name", f"pools/{hostile}/proposals/1"),
        ("ActsService/GetProposal", "name", f"registry/proposals/{hostile}"),
        ("ActsService/ListProposals", "parent", f"pools/{hostile}"),
        ("RegistryService/ListPolicies", "parent", f"pools/{hostile}"),
        ("RegistryService/GetMembership", "name", f"pools/{POOL}/memberships/{hostile}"),
        ("UsageService/GetBatch", "name", f"pools/{POOL}/batches/{hostile}"),
        ("UsageService/GetBatch", "name", f"pools/{POOL}/batches/tunesmith~{hostile}"),
        ("AccountsService/GetBalance", "name", f"pools/{hostile}/accounts/revenue"),
        ("AccountsService/GetBalance", "name", f"pools/{POOL}/accounts/{hostile}"),
        ("AccountsService/GetBalance", "name", f"pools/{POOL}/accounts/collective/{hostile}"),
        ("PaymentsService/GetPayee", "name", f"collectives/{hostile}/payee"),
        ("PaymentsService/GetPayRun", "name", f"payRuns/{hostile}"),
        ("PaymentsService/CreatePayRunFile", "name", f"payRuns/{hostile}"),
        ("PaymentsService/GetReconciliation", "name", f"bankAccounts/{hostile}/reconciliation"),
        ("WebhooksService/SetWebhookState", "name", f"webhooks/{hostile}"),
        ("WebhooksService/RotateWebhookSecret", "name", f"webhooks/{hostile}"),
        ("WebhooksService/TestWebhook", "name", f"webhooks/{hostile}"),
        ("WebhooksService/GetWebhook", "name", f"webhooks/{hostile}"),
        ("PaymentsService/ListBankFiles", "parent", f"bankAccounts/{hostile}"),
        ("PaymentsService/ListUnpaid", "parent", f"pools/{hostile}"),
        ("PaymentsService/ListBankLines", "parent", f"bankAccounts/{hostile}"),
        ("PaymentsService/MatchBankLine", "name", f"bankAccounts/main/lines/{hostile}"),
        ("PaymentsService/ListCollectivePayments", "parent", f"collectives/{hostile}"),
        ("RoundsService/GetRound", "name", f"pools/{hostile}/rounds/1"),
        ("RoundsService/AnswerObjection", "name", f"pools/{hostile}/rounds/1/objections/irish"),
        ("RoundsService/AnswerObjection", "name", f"pools/{POOL}/rounds/{hostile}/objections/irish"),
        ("RoundsService/AnswerObjection", "name", f"pools/{POOL}/rounds/1/objections/{hostile}"),
        ("RoundsService/ListObjections", "parent", f"pools/{hostile}/rounds/1"),
        ("RoundsService/GetRound", "name", f"pools/{POOL}/rounds/{hostile}"),
        ("AuditService/GetLogHead", "parent", f"pools/{hostile}"),
        ("AuditService/GetCheckpoint", "parent", f"pools/{hostile}"),
        ("UsageService/GetBatchProof", "name", f"pools/{POOL}/batches/{hostile}"),
    ):
        required = ALSO_REQUIRED.get(method, {})
        refusal = refused(partial(operator.call, method, request_of(method, **{field: name}, **required)))
        assert refusal.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), (method, refusal)
        if refusal.code is grpc.StatusCode.INVALID_ARGUMENT:
            assert refusal.fields == [field], method
    for account in (hostile, f"collective/{hostile}", f"platform/{hostile}"):
        if account:
            listing = request_of("AccountsService/ListTransfers", parent=f"pools/{POOL}", account=account)
            refusal = refused(partial(operator.call, "AccountsService/ListTransfers", listing))
            assert refusal.fields == ["account"]


@pytest.mark.parametrize("account", ["collective/nobody", "held/nobody", "paid/nobody", "platform/nobody"])
def test_the_balance_of_somebody_unknown_is_not_found_rather_than_nothing(operator: Wire, account: str) -> None:
    request = request_of("AccountsService/GetBalance", name=f"pools/{POOL}/accounts/{account}")
    refusal = refused(lambda: operator.call("AccountsService/GetBalance", request))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert refusal.details["ResourceInfo"].resource_name.endswith("s/nobody")


MADE: Final = make_key()
IN_FOLK: Final = {"parent": f"pools/{POOL}"}

OUT_OF_BOUNDS: Final[list[tuple[str, dict[str, Any], str, dict[str, Any], str]]] = [
    ("CreateCollective", {"collective_id": "C"}, "collective", {"display_name": "c"}, "collective_id"),
    ("CreatePlatform", {"platform_id": "p"}, "platform", {"display_name": "a\0b"}, "platform.display_name"),
    ("CreatePlatform", {"platform_id": "p"}, "platform", {"display_name": "x" * 201}, "platform.display_name"),
    *(
        (
            "CreateCollective",
            {"collective_id": "c"},
            "collective",
            {"display_name": "c", part: value},
            f"collective.{part}",
        )
        for part, value in (("status", 99), ("status", -1), ("members", -1), ("equity_ppm", -1), ("members", 2**62))
    ),
    *(
        ("CreatePolicy", IN_FOLK, "policy", {part: value}, f"policy.{part}")
        for part, value in (
            ("commons_rule", 77),
            ("unattributed", 77),
            ("tempering", -7),
            ("fee_ppm", 1_000_001),
            ("fee_cap_minor", -1),
            ("cap_minor", -1),
            ("ai_only_ppm", -1),
            ("human_ai_ppm", 2**31 - 1),
            ("review_seconds", 2**62),
        )
    ),
    *(
        ("CreatePool", {"pool_id": "q"}, "pool", {"display_name": "q", "currency": code, "policy": {}}, "pool.currency")
        for code in ("XAU", "XDR", "euro", "eur", "E\0R", "x" * 10_000)
    ),
    *(
        ("CreateMethod", {**IN_FOLK, "method_id": "m"}, "method", {"display_name": "m", **wrong}, f"method.{part}")
        for part, wrong in (
            ("confidence_ppm", {"confidence_ppm": -1}),
            ("confidence_ppm", {"confidence_ppm": 1_000_001}),
            ("evidence_uri", {"confidence_ppm": 1, "evidence_uri": "javascript:alert(1)"}),
        )
    ),
    *(
        ("UpdatePrincipal", {}, "principal", {"name": "operators/o", "status": value}, "principal.status")
        for value in (99, -1)
    ),
    *(
        ("CreateApiKey", {"hash": MADE.hash}, "api_key", {"principal": "operators/o", "kind": value}, "api_key.kind")
        for value in (99, -1)
    ),
]


@pytest.mark.parametrize(("method", "identity", "part", "content", "field"), OUT_OF_BOUNDS)
def test_a_value_out_of_bounds_is_refused_by_its_field(
    operator: Wire, method: str, identity: dict[str, Any], part: str, content: dict[str, Any], field: str
) -> None:
    name = f"RegistryService/{method}"
    refusal = refused(partial(operator.call, name, **identity, **{part: content}))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


def test_creating_what_exists_is_a_no_op_with_the_same_content_and_refused_with_other(
    scene: Scene, operator: Wire
) -> None:
    folk = {
        "display_name": "Folk tunes",
        "currency": "EUR",
        "policy": {"review_seconds": 60},
        "platforms": NAMED_PLATFORMS,
        "distribute": DISTRIBUTE_REPORTED,
    }
    cases: list[tuple[str, dict[str, Any], str, dict[str, Any], str]] = [
        ("CreatePlatform", {"platform_id": "songbird"}, "platform", {"display_name": "songbird"}, "platforms/songbird"),
        (
            "CreateCollective",
            {"collective_id": "irish"},
            "collective",
            {"display_name": "irish", "members": 10},
            "collectives/irish",
        ),
        ("CreatePool", {"pool_id": POOL}, "pool", folk, f"pools/{POOL}"),
    ]
    for method, identity, part, content, resource in cases:
        create = partial(operator.call, f"RegistryService/{method}", **identity)
        first = create(**{part: content})
        assert first.name == resource
        scene.deployment.clock.advance(days=1)
        assert create(**{part: content}) == first
        refusal = refused(partial(create, **{part: {**content, "display_name": "other"}}))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
        assert refusal.details["ResourceInfo"].resource_name == resource


def test_a_state_that_forbids_names_its_subject(operator: Wire) -> None:
    refusal = refused(lambda: operator.call("RoundsService/CalculateRound", parent=f"pools/{POOL}", request_id="q"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ROUND_OPEN")
    (violation,) = refusal.details["PreconditionFailure"].violations
    assert (violation.type, violation.subject) == ("ROUND_OPEN", f"pools/{POOL}/rounds/1")


def test_bytes_that_are_no_message_are_refused_without_a_trace(operator: Wire) -> None:
    unary: Callable[[str], Any] = operator.channel.unary_unary
    garbled = partial(unary("/moiety.v1.RegistryService/ListPools"), b"\xff\xff\xff", metadata=operator.metadata)
    refusal = refused(garbled)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in refusal.message
    unknown = refused(partial(unary("/moiety.v1.Nothing/AtAll"), b""))
    assert unknown.code is grpc.StatusCode.UNIMPLEMENTED


def test_health_answers_without_a_key(scene: Scene) -> None:
    with grpc.insecure_channel(scene.deployment.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", *service_names()):
            asked = health_pb2.HealthCheckRequest(service=name)
            assert health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING
        assert (
            refused(lambda: health.Check(health_pb2.HealthCheckRequest(service="x"))).code is grpc.StatusCode.NOT_FOUND
        )


def listing(until: threading.Event) -> Iterator[reflection_pb2.ServerReflectionRequest]:
    yield reflection_pb2.ServerReflectionRequest(list_services="")
    until.wait(240)


def test_reflection_answers_without_a_key(scene: Scene) -> None:
    done = threading.Event()
    done.set()
    with grpc.insecure_channel(scene.deployment.address) as channel:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = reflection.ServerReflectionInfo(listing(done))
    assert {found.name for found in answer.list_services_response.service} >= set(service_names())


def test_a_watcher_of_health_cannot_keep_the_service_from_stopping(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    with grpc.insecure_channel(deployment.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(3):
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert refused(partial(next, watch)).code is grpc.StatusCode.UNIMPLEMENTED
