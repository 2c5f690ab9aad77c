"""What is looked at before a round is approved, and after: changes, pictures, another policy, replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from babel.numbers import get_decimal_symbol
from google.protobuf.message import Message
from starlette.responses import Response

from ledger.errors import InvalidInputError, LedgerError, StateError
from moiety.v1 import audit_pb2, registry_pb2, rounds_pb2
from services.api.calls.errors import is_expected
from services.console.charts import LORENZ, WIDTH, flow, lorenz
from services.console.formats import PPM, decimals_of
from services.console.forms import MOST_PPM, acted, parts_of
from services.console.tables import CHANGES, amounts_of, lines_of, movers, registry_changes
from services.console.views.pools import pool_of
from services.console.views.rounds import FIGURES, changed_terms, previous_of, round_of
from services.console.visit import PageMissingError, Problem, Visit

_REGISTRY: Final = rounds_pb2.STATEMENT_PART_REGISTRY
_HUNDRED: Final = 100


def changes(visit: Visit) -> Response:
    """What changed since the last round: whose amounts, and what of the registry."""
    pool_of(visit)
    found = round_of(visit)
    previous = previous_of(visit, found)
    moved, registry = [], []
    if previous is not None:
        moved = movers(amounts_of(lines_of(visit, found)), amounts_of(lines_of(visit, previous)))
        if found.registry_sha256 != previous.registry_sha256:
            registry = registry_changes(lines_of(visit, found, _REGISTRY), lines_of(visit, previous, _REGISTRY))
    try:
        fairness = visit.call("RoundsService/GetFairness", rounds_pb2.GetFairnessRequest(name=found.name))
    except StateError:
        fairness = None
    return visit.page(
        "changes_part.html" if visit.is_fragment else "changes.html",
        found=found,
        previous=previous,
        movers=moved,
        registry=registry[:CHANGES],
        registry_more=max(0, len(registry) - CHANGES),
        fairness=fairness,
        flow=flow(found),
        curve=lorenz(fairness.paid.lorenz) if fairness else "",
        side=LORENZ,
        width=WIDTH,
    )


def preview(visit: Visit, *, problem: Problem = "") -> Response:
    """The next round, or a past one, under the policy that the reader fills in."""
    pool = pool_of(visit)
    number = visit.query.get("number", "") or "0"
    if not (number.isascii() and number.isdecimal()) or len(number) > 9:  # noqa: PLR2004  # as the contract has it
        raise PageMissingError
    policy, found, other, moved = pool.policy, None, None, []
    try:
        if "tempering" in visit.query:  # the form was sent; a page that was just opened computes nothing
            policy = _policy(visit, visit.query, pool)
            found, statement = _previewed(visit, pool, int(number), policy)
            other, base = _previewed(visit, pool, int(number), None)
            moved = movers(amounts_of(statement), amounts_of(base))
    except LedgerError as error:
        if not is_expected(error):
            raise
        problem = error
    return visit.page(
        "preview.html",
        409 if problem else 200,
        policy=policy,
        number=int(number),
        found=found,
        other=other,
        movers=moved,
        figures=FIGURES,
        changed=changed_terms(policy, pool.policy),
        flow=flow(found) if found else [],
        width=WIDTH,
        places=decimals_of(pool.currency),
        point=get_decimal_symbol(visit.tongue.locale),
        enums=_ENUMS,
        problem=problem,
    )


_ENUMS: Final = {
    "unattributed": registry_pb2.UnattributedRule,
    "commons_rule": registry_pb2.CommonsRule,
    "tempering": registry_pb2.Tempering,
    "rounding": registry_pb2.Rounding,
    "approval": registry_pb2.Approval,
    "period": registry_pb2.Periods,
}


_NUMBERS: Final = {
    "fee_ppm": PPM // _HUNDRED, "commons_ppm": PPM // _HUNDRED, "recoup_ppm": PPM // _HUNDRED,
    "ai_only_ppm": PPM, "human_ai_ppm": PPM, "review_seconds": 1,
}  # fmt: skip
"""Fields that are numbers, and how many parts one of what is filled in has."""

_UNSAID: Final = {"ai_only_ppm": "1", "human_ai_ppm": "1"}
"""What an empty field stands for, where it is not 0."""

_YES: Final = "yes"


def _previewed(visit: Visit, pool: Any, number: int, policy: Any) -> tuple[Any, bytes]:
    request = rounds_pb2.PreviewRoundRequest(parent=pool.name, number=number, policy=policy)
    first, *rest = visit.call("RoundsService/PreviewRound", request)
    return first.round, b"".join(each.statement_chunk for each in rest)


def propose(visit: Visit) -> Response:
    """Put the terms that the reader filled in into force, or propose them."""
    pool = pool_of(visit)

    def terms() -> tuple[str, Message]:
        policy = _policy(visit, visit.form, pool)
        return "RegistryService/CreatePolicy", registry_pb2.CreatePolicyRequest(parent=pool.name, policy=policy)

    return acted(visit, {"terms": terms}, f"/{pool.name}/terms", lambda problem: preview(visit, problem=problem))


def _policy(visit: Visit, given: Mapping[str, str], pool: Any) -> Any:
    """The policy in force, with what the reader filled in; what the form does not have stays.

    Raises:
        InvalidInputError: a field is not a number, or is out of range.
    """
    policy: Any = registry_pb2.Policy()
    policy.CopyFrom(pool.policy)
    for made in ("version", "leaf_index", "proposal"):
        policy.ClearField(made)
    units, locale = 10 ** decimals_of(pool.currency), visit.tongue.locale
    for name, parts in _NUMBERS.items():
        if name in given:
            setattr(
                policy, name, parts_of(given[name] or _UNSAID.get(name, ""), f"policy.{name}", parts, most=MOST_PPM)
            )
    for name in ("floor_minor", "cap_minor", "fee_cap_minor"):
        if given.get(name, "").strip():
            setattr(policy, name, parts_of(given[name], f"policy.{name}", units, locale))
        elif name in given:
            policy.ClearField(name)
    for name, enum in _ENUMS.items():
        wanted = given.get(name, enum.Name(getattr(policy, name)))
        if wanted not in enum.keys():  # noqa: SIM118  # it is not a mapping
            raise InvalidInputError.of(f"policy.{name}", "is not known")
        setattr(policy, name, enum.Value(wanted))
    policy.period_from = given.get("period_from", policy.period_from).strip()
    policy.public = given.get("public", _YES if policy.public else "") == _YES
    return policy


def replay(visit: Visit) -> Response:
    """Recompute a round from the log alone, and say whether every figure is the same."""
    pool_of(visit)
    found = round_of(visit)
    *_, last = visit.call("AuditService/ReplayRound", audit_pb2.ReplayRoundRequest(name=found.name))
    return visit.page("replay.html", found=found, verdict=last.verdict)
