"""Rounds: which there were, what one comes to and what changed, and its statement."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from moiety.v1 import accounts_pb2, registry_pb2, rounds_pb2
from services.access.keys import Role
from services.console.forms import REFUSED, choice_of, text_of
from services.console.tables import adjusted_csv, lines_of, rows_of
from services.console.texts import marked
from services.console.views.pools import PAGE, checkpoint_of, everything, own_allocation, pool_of
from services.console.visit import PageMissingError, Problem, Visit, go

FIGURES: Final = (
    ("pot_minor", marked("Pot")),
    ("fee_minor", marked("Fee")),
    ("attributed_minor", marked("Attributed")),
    ("commons_minor", marked("From the commons")),
    ("allocated_minor", marked("Allocated together")),
    ("commons_kept_minor", marked("Kept in the commons fund")),
    ("rounding_minor", marked("Rounding")),
    ("carried_minor", marked("Carried to the next round")),
)
"""A round's money, as fields of its message."""


@dataclass(frozen=True, slots=True)
class AdjustedRow:
    """An account's line of an adjustment, with its reason and its leaf; amounts in minor units."""

    account: str
    old_minor: int
    new_minor: int
    reason: str
    leaf_index: int | None

    @property
    def difference_minor(self) -> int:
        """What is due more, or below zero what is asked back."""
        return self.new_minor - self.old_minor


def adjusted_rows(made: Any) -> list[AdjustedRow]:
    """Returns the lines of an adjustment; its leaf is left out where there is none yet."""
    leaf = made.leaf_index or None
    return [AdjustedRow(each.account, each.old_minor, each.new_minor, made.reason, leaf) for each in made.lines]


def adjustments_of(visit: Visit, found: Any, collective: str = "") -> list[AdjustedRow]:
    """Returns what adjustments made of a posted round: of all accounts that the reader may see, or of one owner."""
    if visit.role is Role.PLATFORM or found.state != rounds_pb2.ROUND_STATE_POSTED:
        return []
    request = accounts_pb2.ListAdjustmentsRequest(parent=found.name.partition("/rounds/")[0])
    made = everything(visit, "AccountsService/ListAdjustments", request, "adjustments")
    rows = [row for each in made if each.round == found.name for row in adjusted_rows(each)]
    own = collective.partition("/")[2]
    return [row for row in rows if not own or row.account.partition("/")[2] == own]


def round_of(visit: Visit) -> Any:
    """Returns the round in the path."""
    number = visit.ids["number"]
    if not (number.isascii() and number.isdecimal()) or len(number) > 9:  # noqa: PLR2004  # as the contract has it
        raise PageMissingError
    return _get(visit, f"pools/{visit.ids['pool']}/rounds/{number}")


def _get(visit: Visit, name: str) -> Any:
    return visit.call("RoundsService/GetRound", rounds_pb2.GetRoundRequest(name=name))


def previous_of(visit: Visit, found: Any) -> Any:
    """Returns the last round posted before a round; None for the first."""
    if not found.previous_number:
        return None
    return _get(visit, f"pools/{visit.ids['pool']}/rounds/{found.previous_number}")


def listed(visit: Visit, *, problem: Problem = "") -> Response:
    """All rounds, the newest first, each with what changed since the one before."""
    pool = pool_of(visit)
    request = rounds_pb2.ListRoundsRequest(
        parent=pool.name, page_size=PAGE, page_token=visit.query.get("after", ""), newest_first=True
    )
    answer = visit.call("RoundsService/ListRounds", request)
    own = {}
    if visit.role is Role.COLLECTIVE:
        own = {each.number: own_allocation(visit, each) for each in answer.rounds}
    return visit.page(
        "rounds.html",
        409 if problem else 200,
        rounds=answer.rounds,
        own=own,
        more=answer.next_page_token,
        once=secrets.token_hex(8),
        problem=problem,
    )


def overview(visit: Visit, *, problem: Problem = "", status: int = 200) -> Response:
    """One round, as its reader needs it."""
    pool = pool_of(visit)
    found = round_of(visit)
    previous = previous_of(visit, found)
    now = visit.parts.clock()
    objections = rounds_pb2.ListObjectionsResponse()
    if visit.is_reader() or visit.role is Role.COLLECTIVE:
        request = rounds_pb2.ListObjectionsRequest(
            parent=found.name, page_size=PAGE, page_token=visit.query.get("after", "")
        )
        objections = visit.call("RoundsService/ListObjections", request)
    own = before = None
    if visit.role is Role.COLLECTIVE:
        own = own_allocation(visit, found)
        before = own_allocation(visit, previous) if previous is not None else None
    return visit.page(
        "round.html",
        status,
        pool=pool,
        found=found,
        previous=previous,
        figures=FIGURES,
        changed=changed_terms(found.policy, previous.policy) if previous is not None else [],
        objections=objections.objections,
        more=objections.next_page_token,
        own=own,
        own_before=before,
        adjusted=adjustments_of(visit, found),
        in_review=found.state == rounds_pb2.ROUND_STATE_CALCULATED
        and now < found.review_end_time.ToDatetime(now.tzinfo),
        problem=problem,
    )


def changed_terms(new: Any, old: Any) -> list[tuple[str, Any, Any]]:
    """Returns the fields of a policy that differ from an earlier one's: name, before and after; None is unset."""
    passed_over = {"version", "leaf_index", "proposal"}
    return [
        (field.name, _value(old, field), _value(new, field))
        for field in registry_pb2.Policy.DESCRIPTOR.fields
        if field.name not in passed_over and _value(old, field) != _value(new, field)
    ]


def _value(policy: Any, field: Any) -> Any:
    return getattr(policy, field.name) if not field.has_presence or policy.HasField(field.name) else None


def object_to(visit: Visit) -> Response:
    """Object to a round, as the collective that is signed in."""
    found = round_of(visit)
    request = rounds_pb2.ObjectToRoundRequest(name=found.name, reason=text_of(visit, "reason"))
    return acted(visit, "RoundsService/ObjectToRound", request, "objected")


def calculate(visit: Visit) -> Response:
    """Cut the pool's next round."""
    if visit.role is not Role.OPERATOR:
        raise PageMissingError
    pool = pool_of(visit)
    request = rounds_pb2.CalculateRoundRequest(
        parent=pool.name, request_id=f"console-{visit.form.get('once', '')[:64]}"
    )
    try:
        found = visit.call("RoundsService/CalculateRound", request)
    except REFUSED as error:
        return listed(visit, problem=error)
    return go(f"/{found.name}", done="saved")


def decide(visit: Visit) -> Response:
    """Approve a round, or reject it with a reason."""
    if visit.role is not Role.OPERATOR:
        raise PageMissingError
    name = round_of(visit).name
    made: dict[str, tuple[str, Any, str]] = {
        "approve": ("ApproveRound", rounds_pb2.ApproveRoundRequest(name=name), "approved"),
        "reject": (
            "RejectRound", rounds_pb2.RejectRoundRequest(name=name, reason=text_of(visit, "reason")), "rejected"
        ),
    }  # fmt: skip
    method, request, done = choice_of(visit, "decision", made)
    return acted(visit, f"RoundsService/{method}", request, done)


def answer(visit: Visit) -> Response:
    """Answer an objection."""
    answers = {
        "dismiss": rounds_pb2.OBJECTION_ANSWER_DISMISSED,
        "uphold": rounds_pb2.OBJECTION_ANSWER_UPHELD,
        "set-aside": rounds_pb2.OBJECTION_ANSWER_SET_ASIDE,
    }
    request = rounds_pb2.AnswerObjectionRequest(
        name=f"{round_of(visit).name}/objections/{visit.form.get('collective', '')}",
        answer=choice_of(visit, "answer", answers),
        reason=text_of(visit, "reason"),
    )
    return acted(visit, "RoundsService/AnswerObjection", request, "answered")


def acted(visit: Visit, method: str, request: Any, done: str) -> Response:
    """Do something to the round in the path, and show it as it then is, or why it was not done."""
    try:
        visit.call(method, request)
    except REFUSED as error:
        return overview(visit, problem=error, status=409)
    return go(f"/{request.name.partition('/objections/')[0]}", done=done)


def statement(visit: Visit) -> Response:
    """A round's statement: a collective's own with all that explains it, or everyone's, page by page."""
    collective = _asked_collective(visit)
    pool_of(visit)
    found = round_of(visit)
    if collective:
        return own_statement(visit, found, collective)
    request = rounds_pb2.ListAllocationsRequest(
        parent=found.name, page_size=PAGE, page_token=visit.query.get("after", "")
    )
    answer = visit.call("RoundsService/ListAllocations", request)
    return visit.page("statement.html", found=found, allocations=answer.allocations, more=answer.next_page_token)


def statement_csv(visit: Visit) -> Response:
    """A round's statement as the log has it: everyone's, or one collective's line."""
    found = round_of(visit)
    content = lines_of(visit, found, collective=_asked_collective(visit))
    headers = {"content-disposition": f'attachment; filename="{_file_name(visit, found)}.csv"'}
    return Response(content, 200, headers, "text/csv; charset=utf-8")


def adjustments_csv(visit: Visit) -> Response:
    """What adjustments made of a round, with the reasons: everyone's, or one collective's lines."""
    collective, found = _asked_collective(visit), round_of(visit)
    headers = {"content-disposition": f'attachment; filename="{_file_name(visit, found)}-adjustments.csv"'}
    content = adjusted_csv(adjustments_of(visit, found, collective))
    return Response(content, 200, headers, "text/csv; charset=utf-8")


def statement_file(visit: Visit) -> Response:
    """One collective's statement file, which `/verify` and `moiety verify` check without asking anybody."""
    found, collective = round_of(visit), _asked_collective(visit)
    if not collective:
        raise PageMissingError
    request = rounds_pb2.GetStatementFileRequest(name=found.name, collective=collective)
    content = b"".join(each.chunk for each in visit.call("RoundsService/GetStatementFile", request))
    headers = {"content-disposition": f'attachment; filename="{_file_name(visit, found)}.json"'}
    return Response(content, 200, headers, "application/json")


def statement_as_pdf(visit: Visit) -> Response:
    """One collective's statement, to be printed and filed."""
    pool, found, collective = pool_of(visit), round_of(visit), _asked_collective(visit)
    lines, weights = (
        list(rows_of(lines_of(visit, found, part, collective)))
        for part in (rounds_pb2.STATEMENT_PART_LINES, rounds_pb2.STATEMENT_PART_WEIGHTS)
    )
    if not collective or not lines:
        raise PageMissingError
    # A fifth of what a server takes to start, for its fonts.
    from services.console.documents import statement_pdf  # noqa: PLC0415

    adjusted = adjustments_of(visit, found, collective)
    name = collective.partition("/")[2]
    content = statement_pdf(visit.tongue, pool.display_name, found, name, lines[0], weights, adjusted)
    headers = {"content-disposition": f'attachment; filename="{_file_name(visit, found)}.pdf"'}
    return Response(content, 200, headers, "application/pdf")


def _asked_collective(visit: Visit) -> str:
    """Whose statement is asked for: a collective's own, or the one that the address names, or nothing for all."""
    if visit.role is Role.PLATFORM:
        raise PageMissingError
    if visit.role is Role.COLLECTIVE:
        return visit.caller.principal.name
    return f"collectives/{visit.query['collective']}" if visit.query.get("collective") else ""


def _file_name(visit: Visit, found: Any) -> str:
    whose = _asked_collective(visit).partition("/")[2]
    known = re.fullmatch(r"[a-z0-9-]{1,63}", whose)
    return f"{visit.ids['pool']}-{found.number}" + (f"-{known[0]}" if known else "")


def own_statement(visit: Visit, found: Any, collective: str) -> Response:
    """One collective's line of a statement, and where it comes from."""
    lines, weights, registered = (
        list(rows_of(lines_of(visit, found, part, collective)))
        for part in (
            rounds_pb2.STATEMENT_PART_LINES,
            rounds_pb2.STATEMENT_PART_WEIGHTS,
            rounds_pb2.STATEMENT_PART_REGISTRY,
        )
    )
    if not lines:
        raise PageMissingError
    return visit.page(
        "statement_own.html",
        found=found,
        line=lines[0],
        weights=weights,
        registered=registered[0] if registered else None,
        collective=collective,
        adjusted=adjustments_of(visit, found, collective),
        checkpoint_size=checkpoint_of(visit, visit.shown["pool"].name).size,
    )
