"""What a proposal would change, and what the last posted round would have been under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import payout.policy
from moiety import Client, NotFoundError, Policy, Proposal
from moiety.v1 import rounds_pb2
from services.cli.base.documents import Document, document, identity, message_of
from services.cli.rounds.comparison import Comparison, compare

_POLICY: Final = "policy.v1"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field's value as it is, None where there is nothing yet, and as it would be."""

    field: str
    before: Any
    after: Any


def changes_of(client: Client, proposal: Proposal) -> list[FieldChange]:
    """The fields that a proposal would change, against what holds now; all of them where nothing does."""
    content = _plain(document(proposal)["content"])
    after = content["policy"] if proposal.effect == _POLICY else content
    before = _standing(client, proposal, content)
    found = [FieldChange(name, before.get(name), value) for name, value in after.items()]
    return [each for each in found if str(each.before) != str(each.after)]


def last_round_under(client: Client, proposal: Proposal) -> Comparison | None:
    """The last posted round of a pool beside what a proposed policy would have made of it; None for other acts."""
    if proposal.effect != _POLICY:
        return None
    pool = _log_of(proposal)
    posted = [each for each in client.list_rounds(pool) if each.state == rounds_pb2.ROUND_STATE_POSTED]
    if not posted:
        return None
    said = payout.policy.Policy.model_validate(_plain(document(proposal)["content"])["policy"])
    values = {name: getattr(said, name) for name in payout.policy.Policy.model_fields}
    return compare(client, pool, posted[-1], message_of(Policy, values))


def _log_of(proposal: Proposal) -> str:
    return proposal.name.split("/")[1]


def _standing(client: Client, proposal: Proposal, content: Document) -> Document:
    """What holds now of what a proposal is about; empty where there is nothing."""
    find = _FINDERS.get(proposal.effect)
    try:
        return find(client, proposal, content) if find else {}
    except NotFoundError:
        return {}


def _latest_method(client: Client, proposal: Proposal, content: Document) -> Document:
    known = [document(each) for each in client.list_methods(_log_of(proposal))]
    return next((each for each in reversed(known) if identity(each["name"]) == content["method"]), {})


def _person(client: Client, _: Proposal, content: Document) -> Document:
    people = [document(each) for each in client.list_principals()]
    return next((each for each in people if each["name"] == content["principal"]), {})


def _controls(client: Client, _: Proposal, content: Document) -> Document:
    controls = document(client.get_controls())
    return {"controls": {name: controls[name] for name in content["controls"]}}


_FINDERS: Final[dict[str, Callable[[Client, Proposal, Document], Document]]] = {
    _POLICY: lambda client, proposal, _: document(client.get_pool(_log_of(proposal)).policy),
    "collective.v1": lambda client, _, content: document(client.get_collective(content["collective"])),
    "admission.v1": lambda client, proposal, content: {
        "platform": content["platform"],
        "admitted": f"platforms/{content['platform']}" in client.get_pool(_log_of(proposal)).platforms,
    },
    "schedule.v1": lambda client, proposal, _: document(client.get_schedule(_log_of(proposal))),
    "controls.v1": _controls,
    "method.v1": _latest_method,
    "principal.v1": _person,
}
"""How what holds now is read, by the type of the effect."""


def _plain(value: Any) -> Any:
    """A value of a Struct, in which all numbers are floating-point, with its whole numbers as such."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
