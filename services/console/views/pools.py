"""Pools: which there are, what is in one, its terms and what moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message
from starlette.responses import Response

from ledger.errors import NotFoundError
from moiety.v1 import accounts_pb2, audit_pb2, registry_pb2, revenue_pb2, rounds_pb2, usage_pb2
from services.access.keys import Role
from services.console.formats import PPM
from services.console.forms import MOST_PPM, acted, amount_of, id_of, parts_of, text_of
from services.console.visit import Problem, Visit

PAGE: Final = 50
"""Rows of a page: few enough to be read, and to be sent over a slow line."""

MOST: Final = 1000

_HUNDRED: Final = 100

_CALCULATED: Final = rounds_pb2.ROUND_STATE_CALCULATED


def pool_of(visit: Visit) -> Any:
    """Returns the pool in the path, and has every template of the visit know it."""
    found = visit.call("RegistryService/GetPool", registry_pb2.GetPoolRequest(name=f"pools/{visit.ids['pool']}"))
    visit.shown["pool"] = found
    visit.shown["base"] = f"/{found.name}"
    return found


def everything(visit: Visit, method: str, request: Any, items: str, most: int = MOST) -> Sequence[Any]:
    """Returns a list's items, page by page, of which there are not many."""
    found: list[Message] = []
    request.page_size = min(most, MOST)
    while True:
        answer = visit.call(method, request)
        found += getattr(answer, items)
        if not answer.next_page_token or len(found) >= most:
            return found
        request.page_token = answer.next_page_token


def last_rounds(visit: Visit, pool: Any, most: int) -> Sequence[Any]:
    """Returns the last rounds of a pool, the newest first."""
    request = rounds_pb2.ListRoundsRequest(parent=pool.name, page_size=most, newest_first=True)
    found: Sequence[Any] = visit.call("RoundsService/ListRounds", request).rounds
    return found


def listed(visit: Visit) -> Response:
    """All pools."""
    request = registry_pb2.ListPoolsRequest(page_size=PAGE, page_token=visit.query.get("after", ""))
    answer = visit.call("RegistryService/ListPools", request)
    if visit.role is Role.COLLECTIVE:
        rows = [(pool, own_balances(visit, pool)) for pool in answer.pools]
        return visit.page("pools_own.html", rows=rows, more=answer.next_page_token)
    return visit.page("pools.html", pools=answer.pools, more=answer.next_page_token)


def own_balances(visit: Visit, pool: Any) -> dict[str, int]:
    """Returns the balances of whoever is signed in, a platform or a collective, in a pool, by the kind of account."""
    request = accounts_pb2.ListBalancesRequest(parent=pool.name)
    found = everything(visit, "AccountsService/ListBalances", request, "balances")
    return {each.name.split("/accounts/")[1].partition("/")[0]: each.amount_minor for each in found}


def overview(visit: Visit) -> Response:
    """One pool, as its reader needs it."""
    pool = pool_of(visit)
    rounds = last_rounds(visit, pool, 6)
    checkpoint = checkpoint_of(visit, pool.name)
    if visit.role is Role.COLLECTIVE:
        objections = {each.number: own_objection(visit, each) for each in rounds if each.state == _CALCULATED}
        return visit.page(
            "pool_collective.html",
            rounds=rounds,
            balances=own_balances(visit, pool),
            allocations={each.number: own_allocation(visit, each) for each in rounds},
            objections=objections,
            checkpoint=checkpoint,
            me=visit.caller.principal,
        )
    if visit.role is Role.PLATFORM:
        own = own_balances(visit, pool)
        return visit.page("pool_platform.html", rounds=rounds, balances=own, checkpoint=checkpoint)
    found = {
        name: visit.call(
            "AccountsService/GetBalance", accounts_pb2.GetBalanceRequest(name=f"{pool.name}/accounts/{name}")
        )
        for name in ("revenue", "commons", "fees", "rounding")
    }
    return visit.page(
        "pool.html", rounds=rounds, balances=found, checkpoint=checkpoint, schedule=schedule_of(visit, pool.name)
    )


def checkpoint_of(visit: Visit, log: str) -> Any:
    """Returns a log's last checkpoint; one of size 0 where none was signed."""
    request = audit_pb2.ListCheckpointsRequest(parent=log, page_size=1)
    if not visit.call("AuditService/ListCheckpoints", request).checkpoints:
        return audit_pb2.Checkpoint()
    return visit.call("AuditService/GetCheckpoint", audit_pb2.GetCheckpointRequest(parent=log))


def schedule_of(visit: Visit, pool: str) -> Any:
    """Returns a pool's schedule; an empty one where it has none."""
    try:
        return visit.call("RegistryService/GetSchedule", registry_pb2.GetScheduleRequest(name=f"{pool}/schedule"))
    except NotFoundError:
        return registry_pb2.Schedule()


def own_allocation(visit: Visit, found: Any) -> Any:
    """Returns a collective's own part of a round; an empty one where it has none."""
    request = rounds_pb2.ListAllocationsRequest(parent=found.name, page_size=1)
    listed_ = visit.call("RoundsService/ListAllocations", request).allocations
    return listed_[0] if listed_ else rounds_pb2.Allocation()


def own_objection(visit: Visit, found: Any) -> Any:
    """Returns a collective's own objection to a round; None where it did not object."""
    objections = visit.call("RoundsService/ListObjections", rounds_pb2.ListObjectionsRequest(parent=found.name))
    return next(iter(objections.objections), None)


def terms(visit: Visit, *, problem: Problem = "") -> Response:
    """What a pool's money is shared by: each policy with what it changed, methods, tariffs and the schedule."""
    pool = pool_of(visit)
    policies = everything(
        visit, "RegistryService/ListPolicies", registry_pb2.ListPoliciesRequest(parent=pool.name), "policies"
    )
    methods = everything(
        visit, "RegistryService/ListMethods", registry_pb2.ListMethodsRequest(parent=pool.name), "methods"
    )
    tariffs: Sequence[Any] = ()
    if visit.role is not Role.COLLECTIVE:
        tariffs = everything(
            visit, "RevenueService/ListTariffs", revenue_pb2.ListTariffsRequest(parent=pool.name), "tariffs"
        )
    return visit.page(
        "terms.html",
        409 if problem else 200,
        policies=list(reversed(policies)),
        methods=methods,
        tariffs=list(reversed(tariffs)),
        schedule=schedule_of(visit, pool.name),
        problem=problem,
    )


def set_tariff(visit: Visit) -> Response:
    """Set what is due of a platform, or of all that have no tariff of their own; or propose it."""
    pool = pool_of(visit)

    def tariff() -> tuple[str, Message]:
        whose = f"platforms/{id_of(visit, 'platform', of='platforms')}" if text_of(visit, "platform") else ""
        made = revenue_pb2.Tariff(
            platform=whose,
            period_from=text_of(visit, "period_from"),
            share_ppm=parts_of(text_of(visit, "share"), "share", PPM // _HUNDRED, visit.tongue.locale, most=MOST_PPM),
            rate_minor=amount_of(visit, "rate", pool.currency),
            rate_units=parts_of(text_of(visit, "rate_units"), "rate_units", 1),
            minimum_minor=amount_of(visit, "minimum", pool.currency),
        )
        return "RevenueService/SetTariff", revenue_pb2.SetTariffRequest(parent=pool.name, tariff=made)

    return acted(visit, {"tariff": tariff}, f"/{pool.name}/terms", lambda problem: terms(visit, problem=problem))


def transfers(visit: Visit) -> Response:
    """What moved, newest first; of one account where the address names it."""
    pool = pool_of(visit)
    account = visit.query.get("account", "")
    if visit.role is Role.COLLECTIVE and not account:
        account = f"collective/{visit.caller.principal.id}"
    if visit.role is Role.PLATFORM and not account:
        account = f"platform/{visit.caller.principal.id}"
    request = accounts_pb2.ListTransfersRequest(
        parent=pool.name,
        account=account,
        page_size=PAGE,
        page_token=visit.query.get("after", ""),
        newest_first=True,
    )
    answer = visit.call("AccountsService/ListTransfers", request)
    return visit.page("transfers.html", transfers=answer.transfers, more=answer.next_page_token, account=account)


def usage(visit: Visit) -> Response:
    """The batches that were recorded; a platform sees its own, and those of them that were refused lately."""
    pool = pool_of(visit)
    request = usage_pb2.ListBatchesRequest(parent=pool.name, page_size=PAGE, page_token=visit.query.get("after", ""))
    answer = visit.call("UsageService/ListBatches", request)
    refused = usage_pb2.ListRefusedBatchesResponse()
    if visit.role is Role.PLATFORM:
        asked = usage_pb2.ListRefusedBatchesRequest(
            parent=pool.name, page_size=PAGE, page_token=visit.query.get("refused_after", "")
        )
        refused = visit.call("UsageService/ListRefusedBatches", asked)
    return visit.page(
        "usage.html",
        batches=answer.batches,
        more=answer.next_page_token,
        refused=refused.refused_batches,
        more_refused=refused.next_page_token,
    )
