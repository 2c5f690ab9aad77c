"""Calls that read all that a scene has, and which tables each of them reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from google.protobuf.message import Message
from grpc import RpcError, StatusCode
from structlog.testing import capture_logs

from ledger.store.vault import add_key
from tests.support.deployment import START, SteppedClock, deployed
from tests.support.fsck_everything import PAID, build_everything
from tests.support.paying import IBANS, account
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

OF_THE_SCENE: Final = {"ActsService/GetProposal", "PaymentsService/GetProposedAccount", "AuditService/GetBody"}
"""Whose requests name what only the scene knows."""

NOT_HERE: Final = {
    "AccountsService/PreviewAdjustment",  # reads as AdjustRound, of a round that was adjusted
    "RegistryService/GetProposedContact",  # there is none where one person may set it
    "AuditService/WatchLeaves",  # has no end, and reads as ListLeaves does
}


@dataclass
class Reader:
    """Who makes all reading calls, and knows which tables each reads."""

    wire: Wire
    requests: list[tuple[str, Message]]
    sent: list[str]
    """Statements so far."""
    reads: dict[int, set[str]] = field(default_factory=dict)
    answers: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place in range(len(self.requests)):
            self.sent.clear()
            answer = self.answer(place)
            assert isinstance(answer, bytes), (self.requests[place], answer)
            self.answers[place] = answer
            self.reads[place] = set(re.findall(r"\w+", " ".join(self.sent)))

    def answer(self, place: int) -> bytes | StatusCode:
        """What a call answers, or with which status it fails."""
        method, request = self.requests[place]
        try:
            answer = self.wire.call(method, request)
        except RpcError as error:
            code: StatusCode = error.code()
            return code
        parts = answer if isinstance(answer, list) else [answer]
        return b"".join(part.SerializeToString(deterministic=True) for part in parts)

    def asked(self, table: str) -> Iterator[tuple[str, bytes | StatusCode, bytes]]:
        """(method, answer, sound answer) of each call that reads a table."""
        for place, (method, _) in enumerate(self.requests):
            if table in self.reads[place]:
                yield method, self.answer(place), self.answers[place]


@contextmanager
def reading(database_url: str, payee_key: Path) -> Iterator[Reader]:
    """A service on a database with rows in every table, and who reads them."""
    add_key(payee_key)
    settings: dict[str, Any] = {"payee_key_file": payee_key, "webhook_networks": "127.0.0.0/8", "webhook_http": True}
    with deployed(database_url, SteppedClock(START), **settings) as deployment, noted() as sent, capture_logs():
        build_everything(deployment)
        operator = deployment.client("operators/olive")
        operator.set_contact("collectives/irish", "office@irish.example")
        proposed = deployment.client("collectives/breton").set_payee("breton", account(IBANS["scottish"])).proposal
        digest = operator.get_round(POOL, 2).statement_sha256
        wanted = {
            **READING,
            "ActsService/GetProposal": [{"name": proposed}],
            "PaymentsService/GetProposedAccount": [{"name": proposed}],
            "AuditService/GetBody": [{"parent": FOLK, "sha256": digest}],
        }
        requests = [(method, request_of(method, **each)) for method, found in wanted.items() for each in found]
        with Wire(deployment.address, deployment.key("operators/olive")) as wire:
            yield Reader(wire, requests, sent)


@contextmanager
def noted() -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def noting(cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(str(query))
        return execute(cursor, query, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", noting)
        yield sent
