"""What a proposal would change, field by field, against what holds now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ledger.acts.act import SaltedContent
from ledger.acts.entries import BankAccountContent, CollectiveContent, ControlsContent, PrincipalContent
from ledger.errors import NotFoundError
from ledger.usage.entries import MembershipContent, MethodContent
from moiety.v1 import audit_pb2, payments_pb2, revenue_pb2
from moiety.v1 import registry_pb2 as pb
from payout.adjustments import AdjustmentContent
from payout.entries import PolicyContent, ScheduleContent
from payout.store.policies import LoggedPolicy
from payout.tariffs import TariffContent
from services.api import convert
from services.console.formats import identity
from services.console.views.pools import everything, schedule_of
from services.console.views.rounds import changed_terms
from services.console.visit import Visit

Fields = Mapping[str, Any]


def changed_policy(visit: Visit, effect: str, content: Fields) -> list[tuple[str, Any, Any]]:
    """Returns the terms that a proposed policy would change: name, as they are, as proposed."""
    if effect != PolicyContent.type:
        return []
    act = PolicyContent.model_validate(content)
    proposed = convert.policy_to_proto(LoggedPolicy(0, act.version, act.policy))
    return changed_terms(proposed, visit.shown["pool"].policy)


def changed_fields(visit: Visit, effect: str, content: Fields) -> list[tuple[str, str, str]]:
    """Returns the fields that another act would change: name, as they are (empty where there are none), as proposed."""
    if effect in _SHOWN_OTHERWISE:
        return []
    before, after = _STANDING.get(effect, _alone)(visit, content)
    both = ((name, _text(before.get(name)), _text(value)) for name, value in after.items())
    return [each for each in both if each[1] != each[2]]


_SHOWN_OTHERWISE: Final = frozenset({PolicyContent.type, AdjustmentContent.type})
"""As terms, and by collective."""

_OF_NO_INTEREST: Final = frozenset({*SaltedContent.model_fields, "type", "request_id"})
"""Who proposed it is said anyhow; what holds a log together means nothing to whoever decides."""

_HASHES: Final = ("_sha256", "_hash", "_root")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return "; ".join(f"{name} {_text(each)}" for name, each in value.items())
    return "" if value is None else str(value)


def _alone(_visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    """What is done once, such as a payment, has nothing before it."""
    return {}, {name: value for name, value in _own(content).items() if value not in (None, "", [])}


def _own(content: Fields) -> Fields:
    """By name: the message that brings them has no order."""
    return {
        name: content[name] for name in sorted(content) if name not in _OF_NO_INTEREST and not name.endswith(_HASHES)
    }


def _last_version(visit: Visit, content: Fields, versions: Sequence[Any]) -> tuple[Fields, Fields]:
    """What the log has of the last of these versions, and what it would have of the next."""
    if not versions:
        return _alone(visit, content)
    log = visit.shown["pool"].name if "pool" in visit.shown else "registry"
    place = max(each.leaf_index for each in versions)
    request = audit_pb2.ListLeavesRequest(parent=log, start=place, page_size=1)
    (leaf,) = visit.call("AuditService/ListLeaves", request).leaves
    return json.loads(leaf.entry), _own(content)


def _method(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    pool = visit.shown["pool"].name
    found = everything(visit, "RegistryService/ListMethods", pb.ListMethodsRequest(parent=pool), "methods")
    return _last_version(visit, content, [each for each in found if identity(each.name) == content["method"]])


def _membership(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    request = pb.ListMembershipsRequest(parent=visit.shown["pool"].name)
    found = everything(visit, "RegistryService/ListMemberships", request, "memberships")
    return _last_version(visit, content, [each for each in found if identity(each.name) == content["membership"]])


def _tariff(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    request = revenue_pb2.ListTariffsRequest(parent=visit.shown["pool"].name)
    found = everything(visit, "RevenueService/ListTariffs", request, "tariffs")
    return _last_version(visit, content, [each for each in found if identity(each.platform) == content["platform"]])


def _bank_account(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    request = payments_pb2.ListBankAccountsRequest()
    found = everything(visit, "PaymentsService/ListBankAccounts", request, "bank_accounts")
    return _last_version(visit, content, [each for each in found if identity(each.name) == content["bank_account"]])


def _collective(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    after = {name: content[name] for name in ("display_name", "members", "equity_ppm", "status")}
    request = pb.GetCollectiveRequest(name=f"collectives/{content['collective']}")
    try:
        found = visit.call("RegistryService/GetCollective", request)
    except NotFoundError:
        return {}, after
    status = pb.CollectiveStatus.Name(found.status).removeprefix("COLLECTIVE_STATUS_")
    return {**{name: getattr(found, name) for name in after}, "status": status}, after


def _controls(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    found = visit.call("RegistryService/GetControls", pb.GetControlsRequest())
    after = content["controls"]
    return {name: getattr(found, name) for name in after}, after


def _principal(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    persons = everything(visit, "RegistryService/ListPrincipals", pb.ListPrincipalsRequest(), "principals", 200)
    status = {each.name: pb.PrincipalStatus.Name(each.status).rpartition("_")[2] for each in persons}
    name = content["principal"]
    return {name: status.get(name, "")}, {name: content["status"]}


def _schedule(visit: Visit, content: Fields) -> tuple[Fields, Fields]:
    after = {name: content[name] for name in ("cron", "time_zone", "paused")}
    found = schedule_of(visit, visit.shown["pool"].name)
    return ({name: getattr(found, name) for name in after} if found.cron else {}), after


_STANDING: Final[Mapping[str, Callable[[Visit, Fields], tuple[Fields, Fields]]]] = {
    CollectiveContent.type: _collective,
    ControlsContent.type: _controls,
    PrincipalContent.type: _principal,
    ScheduleContent.type: _schedule,
    MethodContent.type: _method,
    MembershipContent.type: _membership,
    TariffContent.type: _tariff,
    BankAccountContent.type: _bank_account,
}
"""By the type of the act: what holds now, and what would."""
