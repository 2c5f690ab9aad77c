"""Every call of the contract that reads, with requests by which they read all that a scene has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

from google.protobuf import json_format
from google.protobuf.message import Message
from grpc import RpcError, StatusCode

from tests.support.deployment import Deployment
from tests.support.fsck_everything import PAID
from tests.support.reading import Proposed, Question
from tests.support.scene import POOL
from tests.support.wire import Wire, request_of

FOLK: Final = f"pools/{POOL}"
SOUL: Final = f"pools/{PAID}"
LOGS: Final = (FOLK, "registry")
ROUNDS: Final = tuple(f"{FOLK}/rounds/{number}" for number in (2, 3))
BATCH: Final = f"{FOLK}/batches/tunesmith~first"
TUNESMITH: Final = "platforms/tunesmith"
ACCOUNT: Final = "bankAccounts/main"

READING: Final[dict[str, list[dict[str, Any]]]] = {
    "RegistryService/GetPlatform": [{"name": TUNESMITH}],
    "RegistryService/ListPlatforms": [{}],
    "RegistryService/GetCollective": [{"name": "collectives/irish"}],
    "RegistryService/ListCollectives": [{}],
    "RegistryService/GetPool": [{"name": FOLK}],
    "RegistryService/ListPools": [{}],
    "RegistryService/ListPolicies": [{"parent": FOLK}],
    "RegistryService/ListMethods": [{"parent": FOLK}],
    "RegistryService/ListMemberships": [{"parent": FOLK}],
    "RegistryService/GetMembership": [{"name": f"{FOLK}/memberships/items"}],
    "RegistryService/GetSchedule": [{"name": f"{FOLK}/schedule"}, {"name": f"{SOUL}/schedule"}],
    "RegistryService/ListApiKeys": [{}],
    "RegistryService/ListPrincipals": [{}],
    "RegistryService/GetControls": [{}],
    "RegistryService/GetTimingWitnesses": [{}],
    "RegistryService/GetContact": [{"name": "collectives/irish/contact"}],
    "ActsService/ListProposals": [{"parent": log} for log in LOGS],
    "UsageService/GetBatch": [{"name": BATCH}],
    "UsageService/GetBatchProof": [{"name": BATCH}],
    "UsageService/ListBatches": [{"parent": FOLK}, {"parent": SOUL}],
    "UsageService/ListRefusedBatches": [{"parent": FOLK, "platform": TUNESMITH}],
    "UsageService/FindEvent": [
        {"parent": FOLK, "platform": TUNESMITH, "event_id": str(UUID(int=number))} for number in (2, 2**90 + 3, 1001)
    ],
    "UsageService/GetIdScheme": [{"parent": FOLK, "platform": "platforms/songbird"}],
    "LimitsService/GetPoolLimits": [{"name": f"{FOLK}/limits"}],
    "LimitsService/GetPlatformLimits": [{"name": f"{TUNESMITH}/limits"}],
    "RevenueService/ListReports": [{"parent": FOLK}],
    "RevenueService/ListReceipts": [{"parent": FOLK}],
    "RevenueService/ListReversals": [{"parent": FOLK}],
    "RevenueService/ListTariffs": [{"parent": FOLK}],
    "RevenueService/ListDues": [{"parent": FOLK, "period": "2026-01"}],
    "AccountsService/GetBalance": [{"name": f"{FOLK}/accounts/collective/irish"}],
    "AccountsService/ListBalances": [{"parent": FOLK}],
    "AccountsService/ListTransfers": [{"parent": FOLK}],
    "AccountsService/ListAdjustments": [{"parent": FOLK}],
    "PaymentsService/GetPayee": [{"name": "collectives/irish/payee"}],
    "PaymentsService/ListPayees": [{}],
    "PaymentsService/ListBankAccounts": [{}],
    "PaymentsService/GetPayRun": [{"name": "payRuns/jan"}],
    "PaymentsService/ListPayRuns": [{}],
    "PaymentsService/ListCollectivePayments": [{"parent": "collectives/irish"}],
    "PaymentsService/ListBankFiles": [{"parent": ACCOUNT}],
    "PaymentsService/ListBankLines": [{"parent": ACCOUNT}],
    "PaymentsService/ListUnpaid": [{"parent": SOUL}],
    "PaymentsService/GetReconciliation": [{"name": f"{ACCOUNT}/reconciliation"}],
    "RoundsService/PreviewRound": [{"parent": FOLK}],
    "RoundsService/ListObjections": [{"parent": each} for each in ROUNDS],
    "RoundsService/GetRound": [{"name": each} for each in ROUNDS],
    "RoundsService/ListRounds": [{"parent": FOLK}],
    "RoundsService/ListAllocations": [{"parent": each} for each in ROUNDS],
    "RoundsService/GetStatement": [{"name": each, "part": part} for each in ROUNDS for part in (1, 2, 3)],
    "RoundsService/GetStatementFile": [{"name": each, "collective": "collectives/irish"} for each in ROUNDS],
    "RoundsService/GetFairness": [{"name": each} for each in ROUNDS],
    "AuditService/GetLogHead": [{"parent": log} for log in LOGS],
    "AuditService/ListLeaves": [{"parent": log} for log in LOGS],
    "AuditService/GetCheckpoint": [{"parent": log} for log in LOGS],
    "AuditService/ListCheckpoints": [{"parent": log} for log in LOGS],
    "AuditService/GetInclusionProof": [{"parent": log, "leaf_index": 3} for log in LOGS],
    "AuditService/GetConsistencyProof": [{"parent": log, "old_size": 3, "new_size": 7} for log in LOGS],
    "AuditService/ReplayRound": [{"name": ROUNDS[0]}],
    "WebhooksService/GetWebhook": [{"name": "webhooks/hook"}],
    "WebhooksService/ListWebhooks": [{}],
}
"""The requests by which each call reads what a scene has of everything."""

OF_THE_SCENE: Final = {
    "ActsService/GetProposal", "PaymentsService/GetProposedAccount", "RegistryService/GetProposedContact",
    "AuditService/GetBody", "AccountsService/PreviewAdjustment",
}  # fmt: skip
"""Whose requests name what only the scene knows."""

NOT_HERE: Final = {"AuditService/WatchLeaves"}
"""It has no end, and reads as ListLeaves does."""


def calls(deployment: Deployment, proposed: Proposed, wire: Wire) -> Iterator[Question]:
    """Each call, made by an operator."""
    operator = deployment.client("operators/olive")
    digest = operator.get_round(POOL, 2).statement_sha256
    wanted = {
        **READING,
        "ActsService/GetProposal": [{"name": each} for each in (proposed.account, proposed.contact)],
        "PaymentsService/GetProposedAccount": [{"name": proposed.account}],
        "RegistryService/GetProposedContact": [{"name": proposed.contact}],
        "AuditService/GetBody": [{"parent": FOLK, "sha256": digest}],
        "AccountsService/PreviewAdjustment": [{"name": f"{SOUL}/rounds/1", "pool_leaves": [proposed.corrects]}],
    }
    for method, found in wanted.items():
        for each in found:
            yield Question(method, _asking(wire, method, request_of(method, **each)))


def _asking(wire: Wire, method: str, request: Message) -> Callable[[], bytes | StatusCode]:
    def ask() -> bytes | StatusCode:
        try:
            answer = wire.call(method, request)
        except RpcError as error:
            code: StatusCode = error.code()
            return code
        parts = answer if isinstance(answer, list) else [answer]
        for part in parts:
            json_format.MessageToDict(part)  # what gRPC answers, HTTP can answer in JSON
        return b"".join(part.SerializeToString(deterministic=True) for part in parts)

    return ask
