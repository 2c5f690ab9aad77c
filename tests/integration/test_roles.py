"""Who may do what: every role against every method of the contract, and everyone kept to their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import grpc
import pytest
import sqlalchemy as sa

from moiety import (
    Client,
    Collective,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Policy,
    Pool,
    ServiceError,
    UnauthenticatedError,
    make_key,
)
from moiety.v1.rounds_pb2 import STATEMENT_PART_LINES, STATEMENT_PART_REGISTRY, STATEMENT_PART_WEIGHTS
from services.access.keys import Role
from services.access.permissions import PERMITTED
from tests.support.books import row_counts
from tests.support.deployment import Deployment, issue_key
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene
from tests.support.wire import METHODS, Wire, refusal_of, request_of

pytestmark = pytest.mark.surface

KEEPERS_OUT: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

OPERATOR, PLATFORM, COLLECTIVE, AUDITOR = "operators/olive", "platforms/tunesmith", "collectives/irish", "auditors/ada"
ROLES: Final = (OPERATOR, PLATFORM, COLLECTIVE, AUDITOR)

# Written out once more, from the contract's words and the design, and not read from the code that is tested.
OPERATORS_ONLY: Final = frozenset({OPERATOR})
PLATFORMS_ONLY: Final = frozenset({PLATFORM})
READERS: Final = frozenset({OPERATOR, AUDITOR})
EVERYONE: Final = frozenset(ROLES)
MAY_CALL: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(
        (
            "RegistryService/CreatePlatform", "RegistryService/CreateCollective", "RegistryService/UpdateCollective",
            "RegistryService/CreatePool", "RegistryService/ClosePool", "RegistryService/CreatePolicy",
            "RegistryService/AdmitPlatform", "RegistryService/ExpelPlatform", "RegistryService/CreateMethod",
            "RegistryService/UpdateSchedule",
            "RegistryService/CreateApiKey", "RegistryService/UpdatePrincipal", "RegistryService/UpdateControls",
            "RegistryService/UpdateTimingWitnesses",
            "ActsService/ApproveProposal", "ActsService/RejectProposal", "ActsService/WithdrawProposal",
            "RegistryService/RevokeApiKey", "AccountsService/RecordPayment", "AccountsService/ReleaseHeld",
            "AccountsService/GrantFromCommons", "AccountsService/AdjustRound", "RevenueService/ReverseReport",
            "RevenueService/RecordReceipt", "RevenueService/MatchReceipt", "RevenueService/ReverseReceipt",
            "RevenueService/WaiveReport", "RevenueService/SetTariff",
            "RoundsService/CalculateRound", "RoundsService/ApproveRound",
            "RoundsService/RejectRound", "RoundsService/AnswerObjection",
            "RegistryService/CreateMembership", "LimitsService/UpdatePoolLimits",
            "LimitsService/UpdatePlatformLimits",
        ),
        OPERATORS_ONLY,
    ),
    **dict.fromkeys(
        (
            "UsageService/SubmitUsage", "UsageService/AppendUsage", "UsageService/RetractUsage",
            "UsageService/SetIdScheme", "RevenueService/ReportRevenue",
        ),
        PLATFORMS_ONLY,
    ),
    **dict.fromkeys(("RoundsService/ObjectToRound", "RoundsService/LogSplit"), frozenset({COLLECTIVE})),
    "PaymentsService/SetPayee": OPERATORS_ONLY | {COLLECTIVE},
    **dict.fromkeys(
        tuple(f"WebhooksService/{each}" for each in (
            "CreateWebhook", "SetWebhookState", "RotateWebhookSecret", "TestWebhook",
        )),
        OPERATORS_ONLY | {PLATFORM, COLLECTIVE},
    ),
    **dict.fromkeys(("RegistryService/SetContact", "RegistryService/GetContact"), OPERATORS_ONLY | {COLLECTIVE}),
    "PaymentsService/GetPayee": READERS | {COLLECTIVE},
    "PaymentsService/ListCollectivePayments": READERS | {COLLECTIVE},
    **dict.fromkeys(
        (
            "PaymentsService/SetBankAccount", "PaymentsService/CreatePayRun", "PaymentsService/CreatePayRunFile",
            "PaymentsService/ImportBankFile", "PaymentsService/GetProposedAccount",
            "RegistryService/GetProposedContact",
            "PaymentsService/MatchBankLine",
        ),
        OPERATORS_ONLY,
    ),
    **dict.fromkeys(
        (
            "PaymentsService/ListPayees", "PaymentsService/ListBankAccounts", "PaymentsService/GetPayRun",
            "PaymentsService/ListPayRuns", "PaymentsService/ListBankFiles", "PaymentsService/ListBankLines",
            "PaymentsService/GetReconciliation", "PaymentsService/ListUnpaid",
        ),
        READERS,
    ),
    "RoundsService/ObjectToRound": frozenset({COLLECTIVE}),
    **dict.fromkeys(
        (
            "RegistryService/GetCollective", "RegistryService/ListCollectives", "RegistryService/GetPool",
            "RegistryService/ListPools", "RegistryService/ListPolicies", "RegistryService/ListMethods",
            "RegistryService/GetSchedule", "RegistryService/ListMemberships", "RegistryService/GetMembership",
            "RegistryService/GetControls", "RegistryService/GetTimingWitnesses",
            "AuditService/GetCheckpoint", "AuditService/ListCheckpoints", "AuditService/GetInclusionProof",
            "AuditService/GetConsistencyProof", "LimitsService/GetPoolLimits",
            "AccountsService/GetBalance", "AccountsService/ListBalances", "AccountsService/ListTransfers",
            "RoundsService/GetRound", "RoundsService/ListRounds", "AuditService/WatchLeaves",
            "WebhooksService/GetWebhook", "WebhooksService/ListWebhooks",
        ),
        EVERYONE,
    ),
    **dict.fromkeys(
        (
            "RegistryService/GetPlatform", "RegistryService/ListPlatforms", "UsageService/GetBatch",
            "UsageService/GetBatchProof", "UsageService/ListBatches", "UsageService/FindEvent",
            "UsageService/ListRefusedBatches",
            "UsageService/GetIdScheme", "RevenueService/ListReports", "LimitsService/GetPlatformLimits",
            "RevenueService/ListReceipts", "RevenueService/ListReversals", "RevenueService/ListTariffs",
            "RevenueService/ListDues",
        ),
        READERS | {PLATFORM},
    ),
    **dict.fromkeys(
        (
            "RoundsService/ListAllocations", "RoundsService/ListObjections", "RoundsService/GetFairness",
            "RoundsService/GetStatement", "RoundsService/GetStatementFile", "AccountsService/ListAdjustments",
        ),
        READERS | {COLLECTIVE},
    ),
    **dict.fromkeys(
        (
            "RoundsService/PreviewRound", "AccountsService/PreviewAdjustment", "AuditService/GetLogHead",
            "AuditService/ListLeaves",
            "AuditService/GetBody", "AuditService/ReplayRound", "RegistryService/ListApiKeys",
            "RegistryService/ListPrincipals", "ActsService/GetProposal", "ActsService/ListProposals",
        ),
        READERS,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    found = open_scene(shared_deployment)
    found.operator.create_pool("sea", Pool(display_name="Sea", currency="EUR", policy=Policy()))
    return found


@pytest.fixture(scope="module")
def keys(scene: Scene) -> dict[str, str]:
    return {principal: scene.deployment.key(principal) for principal in ROLES}


@pytest.fixture(scope="module")
def wire(scene: Scene) -> Iterator[Wire]:
    with Wire(scene.deployment.address) as wire:
        yield wire


def answer(wire: Wire, method: str, authorization: str | None, request: Any = None) -> grpc.StatusCode:
    """The status of a call; that of the batch where a stream answers each batch with its own."""
    wire.metadata = () if authorization is None else (("authorization", authorization),)
    asked = request_of(method) if request is None else request
    try:
        if method == "AuditService/WatchLeaves":  # it goes on until its deadline
            found = list(wire.open(method, asked, timeout=1))
        else:
            found = wire.call(method, asked)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    if method == "UsageService/AppendUsage" and found[0].HasField("error"):
        return refusal_of(found[0].error).code
    return grpc.StatusCode.OK


def sound_request(method: str, principal: str = COLLECTIVE) -> Any:
    """A request that says something of every field it needs, about what there is."""
    pool = f"pools/{POOL}"
    account = "platform/tunesmith" if principal == PLATFORM else "collective/irish"
    names = {"parent": pool, "request_id": "r", "batch_id": "b", "method_id": METHOD, "platform_id": "p"}
    names |= {"collective_id": "c", "pool_id": "q", "reason": "because", "membership_id": "items"}
    named = {
        "GetPlatform": PLATFORM, "GetCollective": COLLECTIVE, "GetPool": pool, "GetSchedule": f"{pool}/schedule",
        "RevokeApiKey": "keys/0123456789abcdef", "GetBatch": f"{pool}/batches/tunesmith~b",
        "GetBatchProof": f"{pool}/batches/tunesmith~b",
        "GetBalance": f"{pool}/accounts/{account}", "GetMembership": f"{pool}/memberships/items",
    }  # fmt: skip
    request = request_of(method)
    for field in request.DESCRIPTOR.fields:
        if field.name == "name":
            request.name = named.get(method.partition("/")[2], f"{pool}/rounds/1")
        elif field.name in names:
            setattr(request, field.name, names[field.name])
    if method in ("RoundsService/ListAllocations", "RoundsService/ListObjections"):
        request.parent = f"{pool}/rounds/1"
    if method == "AccountsService/ListTransfers":
        request.account = account
    if method.endswith("AnswerObjection"):
        request.name, request.answer = f"{pool}/rounds/1/objections/irish", 1
    if method.endswith("Proposal"):
        request.name = f"{pool}/proposals/1"
    return request


def test_the_table_of_rights_names_every_method_and_no_other() -> None:
    assert MAY_CALL.keys() == METHODS.keys()
    assert {method.removeprefix("/moiety.v1.") for method in PERMITTED} == METHODS.keys()
    assert {f"{role.value}" for role in Role} == {principal.partition("/")[0] for principal in ROLES}


@pytest.mark.parametrize("principal", ROLES)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_open_to_those_it_is_meant_for_and_to_nobody_else(
    wire: Wire, keys: dict[str, str], method: str, principal: str
) -> None:
    authorization = f"Bearer {keys[principal]}"
    for request in (None, sound_request(method, principal)):
        code = answer(wire, method, authorization, request)
        if principal in MAY_CALL[method]:
            assert code not in (*KEEPERS_OUT, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
        else:
            assert code is grpc.StatusCode.PERMISSION_DENIED


OPEN_TO_NARROWED: Final = frozenset(
    {
        # What is registered can be read; what is done about it is refused by the registry's log, as tested elsewhere.
        "RegistryService/GetPlatform", "RegistryService/ListPlatforms", "RegistryService/GetCollective",
        "RegistryService/ListCollectives", "RegistryService/ListPools", "RegistryService/ListApiKeys",
        "RegistryService/ListPrincipals", "RegistryService/GetControls", "RegistryService/GetTimingWitnesses",
        "LimitsService/GetPlatformLimits",
        "RegistryService/CreatePlatform", "RegistryService/CreateCollective", "RegistryService/UpdateCollective",
        "RegistryService/CreatePool", "RegistryService/CreateApiKey", "RegistryService/RevokeApiKey",
        "RegistryService/UpdatePrincipal", "RegistryService/UpdateControls", "RegistryService/UpdateTimingWitnesses",
    }
)  # fmt: skip
"""The methods that are about no pool. A new one belongs here, or in what is closed to keys of some pools."""


@pytest.mark.parametrize("principal", ROLES)
def test_a_key_of_another_pool_opens_nothing_of_this_one(wire: Wire, scene: Scene, principal: str) -> None:
    made = make_key()
    if principal == AUDITOR:
        scene.operator.update_principal(AUDITOR)
    scene.operator.create_api_key(principal, made.hash, pools=["sea"])
    methods = [method for method, roles in MAY_CALL.items() if principal in roles and method not in OPEN_TO_NARROWED]
    found = {method: answer(wire, method, f"Bearer {made.text}", about(method, principal)) for method in methods}
    assert [f"{method} {code.name}" for method, code in found.items() if code is not KEEPERS_OUT[1]] == []


SAID: Final[dict[str, Any]] = {
    "collective": COLLECTIVE, "platform": PLATFORM, "amount_minor": 1, "currency": "EUR", "reason": "because",
    "display_name": "Irish", "sha256": bytes(32), "event_id": "00000000-0000-0000-0000-000000000001",
    "period": "2026-01", "id_scheme": 1, "confidence_ppm": 1, "cron": "0 0 1 * *", "time_zone": "UTC", "batch_id": "b",
    "arrow_stream": b"a", "method_id": METHOD, "body_sha256": bytes(32),
    "request_id": "r", "payer": "Tunesmith", "receipt_id": "r", "answer": 1, "split_root": bytes(32),
    "round": f"pools/{POOL}/rounds/1",
    "line_count": 1, "rule": "by hand", "review_seconds": 1, "body": b"source,collective\n",
}  # fmt: skip


def fill(message: Any) -> None:
    """Say something sound of every field, and of those inside."""
    for field in message.DESCRIPTOR.fields:
        if field.name in SAID and not (field.enum_type and isinstance(SAID[field.name], str)):
            setattr(message, field.name, SAID[field.name])
        elif field.message_type is not None and field.message_type.full_name.startswith("moiety."):
            if field.is_repeated:
                fill(getattr(message, field.name).add())
            else:
                fill(getattr(message, field.name))


def about(method: str, principal: str) -> Any:
    """A request about this pool that is sound as far as it goes."""
    request = sound_request(method, principal)
    fill(request)
    pool = f"pools/{POOL}"
    named = {
        "AdmitPlatform": ("pool", pool), "ExpelPlatform": ("pool", pool), "ClosePool": ("name", pool),
        "GetPoolLimits": ("name", f"{pool}/limits"), "ReverseReport": ("name", f"{pool}/reports/tunesmith~r"),
        "PreviewAdjustment": ("name", f"{pool}/rounds/1"),
        "MatchReceipt": ("name", f"{pool}/receipts/r"), "ReverseReceipt": ("name", f"{pool}/receipts/r"),
    }  # fmt: skip
    field, name = named.get(method.partition("/")[2], ("", ""))
    if field:
        setattr(request, field, name)
    for setting in ("schedule", "limits"):
        if setting in request.DESCRIPTOR.fields_by_name:
            getattr(request, setting).name = f"{pool}/{setting}"
    if "tariff" in request.DESCRIPTOR.fields_by_name:
        request.tariff.period_from = "2026-01"
    return request


@pytest.mark.parametrize("method", METHODS)
def test_no_method_answers_without_a_key_that_holds(
    wire: Wire, scene: Scene, keys: dict[str, str], method: str
) -> None:
    key_id, revoked = issue_key(scene.operator, OPERATOR)
    scene.operator.revoke_api_key(key_id)
    key = keys[OPERATOR]
    bad = [
        None, "", "Bearer", "Bearer ", f"Basic {key}", key, f"Bearer {key[:-1]}", f"Bearer {key} ", f"Bearer  {key}",
        f"Bearer {key[:-1]}{'A' if key[-1] != 'A' else 'B'}",
        "Bearer moiety_0123456789abcdef_" + 43 * "a",
        f"Bearer {revoked}", "Bearer " + 4000 * "x", "Bearer moiety_' OR 1=1 --_" + 43 * "a",
    ]  # fmt: skip
    found = {authorization: answer(wire, method, authorization) for authorization in bad}
    assert set(found.values()) == {grpc.StatusCode.UNAUTHENTICATED}, found
    assert answer(wire, method, f"bearer {key}") is not grpc.StatusCode.UNAUTHENTICATED


def test_a_key_s_secret_never_reaches_the_service_and_is_stored_hashed(scene: Scene, shared_owner: sa.Engine) -> None:
    _, key = issue_key(scene.operator, AUDITOR)
    secret = key.split("_", 2)[2]
    assert secret not in "".join(map(str, scene.operator.list_api_keys()))
    with shared_owner.connect() as connection:
        stored = connection.execute(sa.text("SELECT api_key::text FROM api_key")).scalars().all()
    assert stored
    assert not any(secret in row or secret.encode().hex() in row for row in stored)


def test_a_key_is_only_made_for_someone_who_exists(scene: Scene) -> None:
    for principal, error in (
        ("platforms/nobody", NotFoundError),
        ("collectives/nobody", NotFoundError),
        ("popes/francis", ServiceError),
        ("operators/", ServiceError),
        ("operators/../platforms", ServiceError),
    ):
        with pytest.raises(error):
            issue_key(scene.operator, principal)


@pytest.fixture
def theirs(deployment: Deployment) -> Scene:
    """A pool in which both platforms and all collectives have something of their own."""
    scene = open_scene(deployment)
    songbird = deployment.client("platforms/songbird")
    for number, client in enumerate((scene.platform, songbird)):
        client.report_revenue(POOL, 1000 + number, "EUR", request_id=f"r-{number}")
        scene.submit(events([1, 2, 10 + number]), f"b-{number}", by=client)
    scene.cut("q")
    scene.operator.record_payment(POOL, "irish", 5, request_id="p-irish")
    scene.operator.record_payment(POOL, "breton", 7, request_id="p-breton")
    return scene


def denied(call: Callable[[], object]) -> None:
    with pytest.raises(PermissionDeniedError):
        call()


def test_a_platform_sees_its_own_batches_revenue_and_events_only(theirs: Scene) -> None:
    songbird = theirs.deployment.client("platforms/songbird")
    assert [found.name for found in songbird.list_platforms()] == ["platforms/songbird"]
    assert [found.name for found in songbird.list_batches(POOL)] == [f"pools/{POOL}/batches/songbird~b-1"]
    assert [found.platform for found in songbird.list_reports(POOL)] == ["platforms/songbird"]
    assert songbird.find_event(POOL, str(event(1).event_id)).batch == f"pools/{POOL}/batches/songbird~b-1"
    with pytest.raises(NotFoundError):
        songbird.find_event(POOL, str(event(10).event_id))
    denied(lambda: songbird.find_event(POOL, str(event(1).event_id), platform="tunesmith"))
    denied(lambda: songbird.get_batch(POOL, "tunesmith", "b-0"))
    denied(lambda: songbird.get_batch(POOL, "tunesmith", "not-there"))
    denied(lambda: songbird.get_batch_proof(POOL, "tunesmith", "b-0"))
    denied(lambda: songbird.get_platform("tunesmith"))
    assert [found.name for found in songbird.list_balances(POOL)] == ["pools/folk/accounts/platform/songbird"]
    assert songbird.get_balance(POOL, "platform/songbird").amount_minor < 0
    for account in ("platform/tunesmith", "collective/irish", "revenue"):
        denied(partial(songbird.get_balance, POOL, account))


def test_a_collective_sees_its_own_balances_transfers_and_allocations_and_every_round_s_totals(theirs: Scene) -> None:
    irish = theirs.deployment.client("collectives/irish")
    shown = {balance.name.partition("/accounts/")[2] for balance in irish.list_balances(POOL)}
    assert shown == {"collective/irish", "paid/irish"}
    assert irish.get_balance(POOL, "collective/irish") == theirs.operator.get_balance(POOL, "collective/irish")
    assert irish.get_balance(POOL, "held/irish").amount_minor == 0
    assert [found.collective for found in irish.list_allocations(POOL, 1)] == ["collectives/irish"]
    accounts = "collective/irish, held/irish, owing/irish, awaiting/irish, paying/irish, paid/irish"
    with pytest.raises(InvalidArgumentError, match=f"yours are {accounts}"):
        list(irish.list_transfers(POOL))
    transfers = list(irish.list_transfers(POOL, account="collective/irish"))
    assert transfers
    assert all("collective/irish" in (found.from_account, found.to_account) for found in transfers)
    assert irish.get_round(POOL, 1) == theirs.operator.get_round(POOL, 1)
    others = ("collective/breton", "held/breton", "paid/breton", "revenue", "fees", "commons", "platform/tunesmith")
    for account in (*others, "platform/irish"):
        denied(lambda account=account: irish.get_balance(POOL, account))  # type: ignore[misc]
        denied(lambda account=account: list(irish.list_transfers(POOL, account=account)))  # type: ignore[misc]
    with pytest.raises(ServiceError):
        list(irish.list_transfers(POOL))
    for part in (STATEMENT_PART_LINES, STATEMENT_PART_WEIGHTS, STATEMENT_PART_REGISTRY):
        header, *lines = theirs.operator.get_statement(POOL, 1, part=part).splitlines()
        own = [header, *(line for line in lines if line.startswith(b"irish,"))]
        assert irish.get_statement(POOL, 1, part=part).splitlines() == own
        assert irish.get_statement(POOL, 1, part=part, collective="irish").splitlines() == own
        assert len(own) > 1
    denied(lambda: irish.get_statement(POOL, 1, collective="breton"))


def test_an_auditor_reads_everything_and_changes_nothing(theirs: Scene, owner: sa.Engine) -> None:
    auditor: Client = theirs.deployment.client(AUDITOR)
    before = row_counts(owner)
    assert list(auditor.list_batches(POOL)) == list(theirs.operator.list_batches(POOL))
    assert list(auditor.list_reports(POOL)) == list(theirs.operator.list_reports(POOL))
    assert list(auditor.list_balances(POOL)) == list(theirs.operator.list_balances(POOL))
    assert list(auditor.list_transfers(POOL)) == list(theirs.operator.list_transfers(POOL))
    assert auditor.get_statement(POOL, 1) == theirs.operator.get_statement(POOL, 1)
    assert auditor.replay_round(POOL, 1).outcome == 1
    assert auditor.preview_round(POOL).round.number == 2
    denied(lambda: auditor.create_policy(POOL, Policy(fee_ppm=1)))
    denied(lambda: auditor.update_collective("irish", Collective(display_name="Irish")))
    denied(lambda: auditor.calculate_round(POOL, request_id="mine"))
    denied(lambda: auditor.update_principal("operators/mine"))
    assert list(auditor.list_api_keys()) == list(theirs.operator.list_api_keys())
    assert list(auditor.list_principals()) == list(theirs.operator.list_principals())
    assert row_counts(owner) == before


def test_nobody_writes_for_another(theirs: Scene, owner: sa.Engine) -> None:
    songbird = theirs.deployment.client("platforms/songbird")
    before = row_counts(owner)
    for client in (theirs.operator, theirs.deployment.client("collectives/irish"), theirs.deployment.client(AUDITOR)):
        denied(lambda client=client: client.report_revenue(POOL, 1, "EUR", request_id="r-0"))  # type: ignore[misc]
        denied(lambda client=client: theirs.submit([event(1)], "b-0", by=client))  # type: ignore[misc]
    denied(lambda: songbird.record_payment(POOL, "irish", 1, request_id="p"))
    assert row_counts(owner) == before
    # What a platform sends is its own, whatever another has sent under the same ids.
    assert songbird.report_revenue(POOL, 1, "EUR", request_id="r-0").platform == "platforms/songbird"
    assert theirs.submit([event(1)], "b-0", by=songbird).name == f"pools/{POOL}/batches/songbird~b-0"


def test_a_revoked_key_is_refused_from_the_next_call_on(scene: Scene) -> None:
    key_id, key = issue_key(scene.operator, AUDITOR)
    with Client(scene.deployment.address, key) as client:
        assert list(client.list_pools())
        revoked = scene.operator.revoke_api_key(key_id)
        assert revoked.HasField("revoke_time")
        with pytest.raises(UnauthenticatedError):
            list(client.list_pools())
    assert scene.operator.revoke_api_key(key_id) == revoked


def test_a_refusal_for_want_of_rights_says_who_and_what(scene: Scene) -> None:
    with Wire(scene.deployment.address, scene.deployment.key(AUDITOR)) as wire, pytest.raises(grpc.RpcError) as caught:
        wire.call("RegistryService/CreatePool")
    assert caught.value.details() == f"{AUDITOR} may not use /moiety.v1.RegistryService/CreatePool"


def test_whether_something_exists_is_not_told_to_those_who_may_not_ask(scene: Scene) -> None:
    denials: set[str] = set()
    with Wire(scene.deployment.address, scene.deployment.key(PLATFORM)) as wire:
        for batch in ("songbird~there", "songbird~not-there", "nobody~x"):
            with pytest.raises(grpc.RpcError) as caught:
                wire.call("UsageService/GetBatch", name=f"pools/{POOL}/batches/{batch}")
            denials.add(str(caught.value.code()))
    assert denials == {str(grpc.StatusCode.PERMISSION_DENIED)}
