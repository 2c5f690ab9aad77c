"""Who may call what. Handlers then restrict callers to their own: nobody writes for somebody else."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from ledger.acts.people import Actor
from ledger.errors import LedgerError
from services.access.keys import Caller, Principal, Role

_OPERATOR: Final = frozenset({Role.OPERATOR})
_PLATFORM: Final = frozenset({Role.PLATFORM})
_COLLECTIVE: Final = frozenset({Role.COLLECTIVE})
_READERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
_PLATFORM_READERS: Final = _READERS | {Role.PLATFORM}
_COLLECTIVE_READERS: Final = _READERS | {Role.COLLECTIVE}
_COLLECTIVE_AND_OPERATOR: Final = _OPERATOR | _COLLECTIVE
_ALL_WHO_ACT: Final = _OPERATOR | _PLATFORM | _COLLECTIVE
_EVERYONE: Final = frozenset(Role)

PERMITTED: Final[dict[str, frozenset[Role]]] = {
    "/moiety.v1.RegistryService/CreatePlatform": _OPERATOR,
    "/moiety.v1.RegistryService/GetPlatform": _PLATFORM_READERS,
    "/moiety.v1.RegistryService/ListPlatforms": _PLATFORM_READERS,
    "/moiety.v1.RegistryService/CreateCollective": _OPERATOR,
    "/moiety.v1.RegistryService/UpdateCollective": _OPERATOR,
    "/moiety.v1.RegistryService/GetCollective": _EVERYONE,
    "/moiety.v1.RegistryService/ListCollectives": _EVERYONE,
    "/moiety.v1.RegistryService/CreatePool": _OPERATOR,
    "/moiety.v1.RegistryService/GetPool": _EVERYONE,
    "/moiety.v1.RegistryService/ListPools": _EVERYONE,
    "/moiety.v1.RegistryService/ClosePool": _OPERATOR,
    "/moiety.v1.RegistryService/AdmitPlatform": _OPERATOR,
    "/moiety.v1.RegistryService/ExpelPlatform": _OPERATOR,
    "/moiety.v1.RegistryService/CreatePolicy": _OPERATOR,
    "/moiety.v1.RegistryService/ListPolicies": _EVERYONE,
    "/moiety.v1.RegistryService/CreateMethod": _OPERATOR,
    "/moiety.v1.RegistryService/ListMethods": _EVERYONE,
    "/moiety.v1.RegistryService/CreateMembership": _OPERATOR,
    "/moiety.v1.RegistryService/ListMemberships": _EVERYONE,
    "/moiety.v1.RegistryService/GetMembership": _EVERYONE,
    "/moiety.v1.RegistryService/UpdateSchedule": _OPERATOR,
    "/moiety.v1.RegistryService/GetSchedule": _EVERYONE,
    "/moiety.v1.RegistryService/CreateApiKey": _OPERATOR,
    "/moiety.v1.RegistryService/ListApiKeys": _READERS,
    "/moiety.v1.RegistryService/RevokeApiKey": _OPERATOR,
    "/moiety.v1.RegistryService/UpdatePrincipal": _OPERATOR,
    "/moiety.v1.RegistryService/ListPrincipals": _READERS,
    "/moiety.v1.RegistryService/GetControls": _EVERYONE,
    "/moiety.v1.RegistryService/UpdateControls": _OPERATOR,
    "/moiety.v1.RegistryService/GetTimingWitnesses": _EVERYONE,
    "/moiety.v1.RegistryService/UpdateTimingWitnesses": _OPERATOR,
    "/moiety.v1.RegistryService/SetContact": _COLLECTIVE_AND_OPERATOR,
    "/moiety.v1.RegistryService/GetContact": _COLLECTIVE_AND_OPERATOR,
    "/moiety.v1.RegistryService/GetProposedContact": _OPERATOR,
    "/moiety.v1.ActsService/GetProposal": _READERS,
    "/moiety.v1.ActsService/ListProposals": _READERS,
    "/moiety.v1.ActsService/ApproveProposal": _OPERATOR,
    "/moiety.v1.ActsService/RejectProposal": _OPERATOR,
    "/moiety.v1.ActsService/WithdrawProposal": _OPERATOR,
    "/moiety.v1.UsageService/SubmitUsage": _PLATFORM,
    "/moiety.v1.UsageService/AppendUsage": _PLATFORM,
    "/moiety.v1.UsageService/RetractUsage": _PLATFORM,
    "/moiety.v1.UsageService/GetBatch": _PLATFORM_READERS,
    "/moiety.v1.UsageService/GetBatchProof": _PLATFORM_READERS,
    "/moiety.v1.UsageService/ListBatches": _PLATFORM_READERS,
    "/moiety.v1.UsageService/ListRefusedBatches": _PLATFORM_READERS,
    "/moiety.v1.UsageService/FindEvent": _PLATFORM_READERS,
    "/moiety.v1.UsageService/SetIdScheme": _PLATFORM,
    "/moiety.v1.UsageService/GetIdScheme": _PLATFORM_READERS,
    "/moiety.v1.LimitsService/UpdatePoolLimits": _OPERATOR,
    "/moiety.v1.LimitsService/GetPoolLimits": _EVERYONE,
    "/moiety.v1.LimitsService/UpdatePlatformLimits": _OPERATOR,
    "/moiety.v1.LimitsService/GetPlatformLimits": _PLATFORM_READERS,
    "/moiety.v1.RevenueService/ReportRevenue": _PLATFORM,
    "/moiety.v1.RevenueService/ListReports": _PLATFORM_READERS,
    "/moiety.v1.RevenueService/ReverseReport": _OPERATOR,
    "/moiety.v1.RevenueService/RecordReceipt": _OPERATOR,
    "/moiety.v1.RevenueService/ListReceipts": _PLATFORM_READERS,
    "/moiety.v1.RevenueService/MatchReceipt": _OPERATOR,
    "/moiety.v1.RevenueService/ReverseReceipt": _OPERATOR,
    "/moiety.v1.RevenueService/ListReversals": _PLATFORM_READERS,
    "/moiety.v1.RevenueService/WaiveReport": _OPERATOR,
    "/moiety.v1.RevenueService/SetTariff": _OPERATOR,
    "/moiety.v1.RevenueService/ListTariffs": _PLATFORM_READERS,
    "/moiety.v1.RevenueService/ListDues": _PLATFORM_READERS,
    "/moiety.v1.AccountsService/GetBalance": _EVERYONE,
    "/moiety.v1.AccountsService/ListBalances": _EVERYONE,
    "/moiety.v1.AccountsService/ListTransfers": _EVERYONE,
    "/moiety.v1.AccountsService/RecordPayment": _OPERATOR,
    "/moiety.v1.AccountsService/ReleaseHeld": _OPERATOR,
    "/moiety.v1.AccountsService/GrantFromCommons": _OPERATOR,
    "/moiety.v1.AccountsService/PreviewAdjustment": _READERS,
    "/moiety.v1.AccountsService/AdjustRound": _OPERATOR,
    "/moiety.v1.AccountsService/ListAdjustments": _COLLECTIVE_READERS,
    "/moiety.v1.PaymentsService/SetPayee": _COLLECTIVE_AND_OPERATOR,
    "/moiety.v1.PaymentsService/GetPayee": _COLLECTIVE_READERS,
    "/moiety.v1.PaymentsService/GetProposedAccount": _OPERATOR,
    "/moiety.v1.PaymentsService/ListPayees": _READERS,
    "/moiety.v1.PaymentsService/SetBankAccount": _OPERATOR,
    "/moiety.v1.PaymentsService/ListBankAccounts": _READERS,
    "/moiety.v1.PaymentsService/CreatePayRun": _OPERATOR,
    "/moiety.v1.PaymentsService/GetPayRun": _READERS,
    "/moiety.v1.PaymentsService/ListPayRuns": _READERS,
    "/moiety.v1.PaymentsService/CreatePayRunFile": _OPERATOR,
    "/moiety.v1.PaymentsService/ListCollectivePayments": _COLLECTIVE_READERS,
    "/moiety.v1.PaymentsService/ImportBankFile": _OPERATOR,
    "/moiety.v1.PaymentsService/ListBankFiles": _READERS,
    "/moiety.v1.PaymentsService/ListBankLines": _READERS,
    "/moiety.v1.PaymentsService/MatchBankLine": _OPERATOR,
    "/moiety.v1.PaymentsService/ListUnpaid": _READERS,
    "/moiety.v1.PaymentsService/GetReconciliation": _READERS,
    "/moiety.v1.RoundsService/PreviewRound": _READERS,
    "/moiety.v1.RoundsService/CalculateRound": _OPERATOR,
    "/moiety.v1.RoundsService/ApproveRound": _OPERATOR,
    "/moiety.v1.RoundsService/RejectRound": _OPERATOR,
    "/moiety.v1.RoundsService/ObjectToRound": _COLLECTIVE,
    "/moiety.v1.RoundsService/ListObjections": _COLLECTIVE_READERS,
    "/moiety.v1.RoundsService/AnswerObjection": _OPERATOR,
    "/moiety.v1.RoundsService/GetRound": _EVERYONE,
    "/moiety.v1.RoundsService/ListRounds": _EVERYONE,
    "/moiety.v1.RoundsService/ListAllocations": _COLLECTIVE_READERS,
    "/moiety.v1.RoundsService/GetStatement": _COLLECTIVE_READERS,
    "/moiety.v1.RoundsService/GetStatementFile": _COLLECTIVE_READERS,
    "/moiety.v1.RoundsService/LogSplit": _COLLECTIVE,
    "/moiety.v1.RoundsService/GetFairness": _COLLECTIVE_READERS,
    "/moiety.v1.AuditService/GetLogHead": _READERS,
    "/moiety.v1.AuditService/ListLeaves": _READERS,
    "/moiety.v1.AuditService/WatchLeaves": _EVERYONE,
    "/moiety.v1.AuditService/GetBody": _READERS,
    "/moiety.v1.AuditService/GetCheckpoint": _EVERYONE,
    "/moiety.v1.AuditService/ListCheckpoints": _EVERYONE,
    "/moiety.v1.AuditService/GetInclusionProof": _EVERYONE,
    "/moiety.v1.AuditService/GetConsistencyProof": _EVERYONE,
    "/moiety.v1.AuditService/ReplayRound": _READERS,
    "/moiety.v1.WebhooksService/CreateWebhook": _ALL_WHO_ACT,
    "/moiety.v1.WebhooksService/SetWebhookState": _ALL_WHO_ACT,
    "/moiety.v1.WebhooksService/RotateWebhookSecret": _ALL_WHO_ACT,
    "/moiety.v1.WebhooksService/TestWebhook": _ALL_WHO_ACT,
    "/moiety.v1.WebhooksService/GetWebhook": _EVERYONE,
    "/moiety.v1.WebhooksService/ListWebhooks": _EVERYONE,
}
"""The roles that may call each method of the contract; nobody may call a method that is not listed."""

HEALTH_PREFIX: Final = "/grpc.health.v1."
OPEN_PREFIXES: Final = (HEALTH_PREFIX, "/grpc.reflection.")
"""Services that need no key: they reveal only what the contract does."""

_OVER_ALL_POOLS: Final = (
    "/moiety.v1.PaymentsService/",
    "/moiety.v1.LimitsService/UpdatePlatformLimits",
    "/moiety.v1.WebhooksService/",
    "/moiety.v1.RegistryService/SetContact",
    "/moiety.v1.RegistryService/GetContact",
    "/moiety.v1.RegistryService/GetProposedContact",
)
"""What is about all pools at once, and so closed to keys that are narrowed to some: money leaves by accounts that pools
share, a platform's limits count what it sends to all of them, webhooks are registered in the registry's log, and people
are written to about all pools."""

_caller: Final[ContextVar[Caller]] = ContextVar("caller")


class PermissionDeniedError(LedgerError):
    """The caller is known, but may not do this. `action` is the method or the resource."""

    def __init__(self, principal: Principal, action: str) -> None:
        super().__init__(principal, action)
        self.principal = principal
        self.action = action

    def __str__(self) -> str:
        return f"{self.principal.name} may not use {self.action}"


def admit(calling: Caller, method: str) -> None:
    """Let the caller call the method for the rest of this call.

    Raises:
        PermissionDeniedError: the caller's role may not call the method, or it is about all pools and the key is not.
    """
    is_too_wide = bool(calling.pools) and method.startswith(_OVER_ALL_POOLS)
    if is_too_wide or calling.principal.role not in PERMITTED.get(method, frozenset()):
        raise PermissionDeniedError(calling.principal, method)
    _caller.set(calling)


def admit_also(method: str) -> None:
    """Check that whoever makes this call may call another method too, of which it is made up.

    Raises:
        PermissionDeniedError: they may not.
    """
    admit(_caller.get(), method)


def caller() -> Principal:
    """Returns the caller."""
    return _caller.get().principal


def actor() -> Actor:
    """Returns the caller with its key, as logs name it."""
    return _caller.get().actor


def require_pool(pool: str) -> None:
    """Check that the caller's key gives access to a pool.

    Raises:
        PermissionDeniedError: the key is restricted to others.
    """
    pools = _caller.get().pools
    if pools and pool not in pools:
        raise PermissionDeniedError(caller(), f"pools/{pool}")


def open_pools() -> frozenset[str] | None:
    """Returns the only pools that the caller's key gives access to; None if it gives access to all."""
    return _caller.get().pools or None


def own_id(role: Role) -> str | None:
    """The caller's own id where it has this role, which narrows what it sees; None if it sees all."""
    principal = caller()
    return principal.id if principal.role is role else None


def require_own(role: Role, identity: str | None, resource: str) -> None:
    """Check that a resource does not belong to somebody else.

    Raises:
        PermissionDeniedError: the caller has this role and the resource belongs to another.
    """
    if own_id(role) not in (None, identity):
        raise PermissionDeniedError(caller(), resource)
