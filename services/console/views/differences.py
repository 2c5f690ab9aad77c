"""What a proposal would change, field by field, against what holds now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.acts.entries import CollectiveContent, ControlsContent, PrincipalContent
from ledger.errors import NotFoundError
from moiety.v1 import registry_pb2 as pb
from payout.entries import PolicyContent, ScheduleContent
from payout.store.pools import LoggedPolicy
from services.api import convert
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
    if effect not in _STANDING:
        return []
    before, after = _STANDING[effect](visit, content)
    both = ((name, str(before.get(name, "")), str(value)) for name, value in after.items())
    return [each for each in both if each[1] != each[2]]


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
}
"""By the type of the act: what holds now, and what would."""
