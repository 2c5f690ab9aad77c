"""Proposals: what they would do, and the second person's word on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format
from starlette.responses import Response

from ledger.acts.entries import BankAccountContent, ContactContent, PayeeContent
from moiety.v1 import accounts_pb2, acts_pb2, payments_pb2, registry_pb2, rounds_pb2
from payout.adjustments import AdjustmentContent
from payout.entries import DISTRIBUTES
from services.access.keys import Role
from services.console.formats import money_text
from services.console.forms import REFUSED, choice_of, text_of
from services.console.tables import Move, amounts_of, lines_of, movers
from services.console.views.differences import changed_fields, changed_policy
from services.console.views.pools import PAGE, everything, pool_of
from services.console.views.pools import last_rounds as last_rounds_of
from services.console.views.rounds import FIGURES, AdjustedRow, adjusted_rows
from services.console.visit import PageMissingError, Problem, Visit, go

POOLS_MOST: Final = 3
"""Pools whose last rounds are computed again for one page, where a proposal is of the registry."""

_LOOKED_AT: Final = 10
"""Rounds of which the last posted one is taken: some may be rejected, and one may be open."""

_ACCOUNT: Final = (
    "PaymentsService/GetProposedAccount",
    payments_pb2.GetProposedAccountRequest,
    tuple(payments_pb2.AccountDetails.DESCRIPTOR.fields_by_name),
)
_AT_THE_DESK: Final = {
    PayeeContent.type: _ACCOUNT,
    BankAccountContent.type: _ACCOUNT,
    ContactContent.type: (
        "RegistryService/GetProposedContact",
        registry_pb2.GetProposedContactRequest,
        ("email", "language"),
    ),
}
"""What logs have only a hash of, and which fields whoever decides about it is shown."""


def log_of(visit: Visit) -> str:
    """Returns the log in the path: a pool's, or the registry's."""
    if "pool" in visit.ids:
        found: str = pool_of(visit).name
        return found
    visit.shown["base"] = "/registry"
    return "registry"


def listed(visit: Visit) -> Response:
    """All proposals of a log."""
    log = log_of(visit)
    only_open = "all" not in visit.query
    request = acts_pb2.ListProposalsRequest(
        parent=log, only_open=only_open, page_size=PAGE, page_token=visit.query.get("after", "")
    )
    answer = visit.call("ActsService/ListProposals", request)
    return visit.page(
        "proposals.html", log=log, proposals=answer.proposals, more=answer.next_page_token, only_open=only_open
    )


def show(visit: Visit, *, problem: Problem = "") -> Response:
    """One proposal, with what it would log, and forms for whoever may decide it."""
    log = log_of(visit)
    found = _get(visit, f"{log}/proposals/{visit.ids['leaf']}")
    content: dict[str, Any] = _whole(json_format.MessageToDict(found.content))
    is_open = found.state == acts_pb2.PROPOSAL_STATE_OPEN
    return visit.page(
        "proposal.html",
        409 if problem else 200,
        log=log,
        found=found,
        content=json.dumps(content, indent=2, ensure_ascii=False),
        is_own=found.proposed_by == visit.caller.principal.name,
        is_open=is_open,
        index=int(visit.ids["leaf"]),
        fields=[*(changed_fields(visit, found.effect, content) if is_open else ()), *_details(visit, found)],
        terms=changed_policy(visit, found.effect, content) if is_open else [],
        currency=content.get("currency") or (visit.shown["pool"].currency if "pool" in visit.shown else ""),
        compares=found.effect in DISTRIBUTES and is_open,
        adjusted=_adjusted(visit, log, found, content),
        problem=problem,
    )


def _details(visit: Visit, found: Any) -> list[tuple[str, str, str]]:
    """What a proposal is about and its content has a hash of: field, as it is, as proposed."""
    if found.effect not in _AT_THE_DESK or visit.caller.principal.role is not Role.OPERATOR:
        return []
    method, request, fields = _AT_THE_DESK[found.effect]
    try:
        answer = visit.call(method, request(name=found.name))
    except REFUSED:
        return []
    both = ((name, getattr(answer.standing, name), getattr(answer.proposed, name)) for name in fields)
    return [
        (name, _said(visit, answer.standing, now), _said(visit, answer.proposed, then))
        for name, now, then in both
        if now or then
    ]


def _adjusted(visit: Visit, log: str, found: Any, content: Any) -> list[AdjustedRow]:
    """What an adjustment that waits would make of its round, as the log is now."""
    if found.effect != AdjustmentContent.type or found.state != acts_pb2.PROPOSAL_STATE_OPEN:
        return []
    leaves = {name: content.get(name, []) for name in ("pool_leaves", "registry_leaves")}
    request = accounts_pb2.PreviewAdjustmentRequest(name=f"{log}/rounds/{content['round']}", **leaves)
    try:
        answer = visit.call("AccountsService/PreviewAdjustment", request)
    except REFUSED:
        return []
    return adjusted_rows(accounts_pb2.Adjustment(lines=answer.lines, reason=content["reason"]))


def _said(visit: Visit, details: Any, value: object) -> str:
    """A field; the only number is the smallest payment of an account."""
    if isinstance(value, int) and value:
        return money_text(value, details.currency, visit.tongue.locale)
    return str(value or "")


@dataclass(frozen=True, slots=True)
class Beside:
    """A pool's last posted round, and the same as proposed; `problem` says why it could not be computed."""

    pool: Any
    posted: Any
    other: Any = None
    movers: Sequence[Move] = ()
    problem: str = ""


def last_rounds(visit: Visit) -> Response:
    """The last posted rounds as an open proposal would have had them: of its pool, or of the first where it is of all.

    It is fetched by the proposal's page, since it computes a round again.
    """
    log = log_of(visit)
    found = _get(visit, f"{log}/proposals/{visit.ids['leaf']}")
    if found.effect not in DISTRIBUTES or found.state != acts_pb2.PROPOSAL_STATE_OPEN:
        raise PageMissingError
    pools = [visit.shown["pool"]] if "pool" in visit.ids else _some_pools(visit)
    posted = ((pool, last_posted(visit, pool)) for pool in pools)
    compared = [_beside(visit, pool, last, found.name) for pool, last in posted if last is not None]
    template = "last_rounds_part.html" if visit.is_fragment else "last_rounds.html"
    return visit.page(template, index=int(visit.ids["leaf"]), proposal=found, compared=compared, figures=FIGURES)


def _some_pools(visit: Visit) -> Sequence[Any]:
    return everything(visit, "RegistryService/ListPools", registry_pb2.ListPoolsRequest(), "pools", POOLS_MOST)


def last_posted(visit: Visit, pool: Any) -> Any:
    """Returns a pool's last posted round; None if there is none among the last few."""
    rounds = last_rounds_of(visit, pool, _LOOKED_AT)
    return next((each for each in rounds if each.state == rounds_pb2.ROUND_STATE_POSTED), None)


def _beside(visit: Visit, pool: Any, posted: Any, proposal: str) -> Beside:
    request = rounds_pb2.PreviewRoundRequest(parent=pool.name, number=posted.number, proposal=proposal)
    try:
        first, *rest = visit.call("RoundsService/PreviewRound", request)
    except REFUSED as error:
        return Beside(pool, posted, problem=visit.said(error))
    statement = b"".join(each.statement_chunk for each in rest)
    moved = movers(amounts_of(statement), amounts_of(lines_of(visit, posted)))
    return Beside(pool, posted, first.round, moved)


def decide(visit: Visit) -> Response:
    """Approve, reject or withdraw a proposal."""
    name = f"{log_of(visit)}/proposals/{visit.ids['leaf']}"
    reason = text_of(visit, "reason")
    made: dict[str, tuple[str, Any, str]] = {
        "approve": ("ApproveProposal", acts_pb2.ApproveProposalRequest(name=name), "approved"),
        "reject": ("RejectProposal", acts_pb2.RejectProposalRequest(name=name, reason=reason), "rejected"),
        "withdraw": ("WithdrawProposal", acts_pb2.WithdrawProposalRequest(name=name, reason=reason), "withdrawn"),
    }
    method, request, done = choice_of(visit, "decision", made)
    try:
        visit.call(f"ActsService/{method}", request)
    except REFUSED as error:
        return show(visit, problem=error)
    return go(f"/{name}", done=done)


def _get(visit: Visit, name: str) -> Any:
    return visit.call("ActsService/GetProposal", acts_pb2.GetProposalRequest(name=name))


def _whole(value: Any) -> Any:
    """The content with its numbers as the log has them: whole, which a Struct has as floats."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
