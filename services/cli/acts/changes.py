"""What a proposal would change, and what the last posted rounds would have been under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ledger.entries import Movement
from ledger.errors import LedgerCorruptError
from ledger.log.leaves import Content
from ledger.log.origins import REGISTRY_LOG
from ledger.payments import parse_bookings, parse_plan
from moiety import Client, FailedPreconditionError, NotFoundError, Proposal
from moiety.memberships import parse_membership
from moiety.v1 import rounds_pb2
from payout.entries import CONTENTS, DISTRIBUTES
from services.cli.base.documents import Document, document, identity
from services.cli.rounds.comparison import Comparison, compare

_POLICY: Final = "policy.v1"

_SHOWN: Final = 20
"""How many sources, payments or lines are shown one by one: a membership may have a million."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field's value as it is, None where there is nothing yet, and as it would be.

    An amount names its currency; it is in minor units.
    """

    field: str
    before: Any
    after: Any
    currency: str = ""

    def document(self) -> Document:
        """For JSON: what is no amount has no currency."""
        shown = {"field": self.field, "before": self.before, "after": self.after}
        return {**shown, "currency": self.currency} if self.currency else shown


def changes_of(client: Client, proposal: Proposal) -> list[FieldChange]:
    """The fields that a proposal would change, against what holds now; all of them where nothing does.

    What moves money changes balances; a membership, the collectives of sources; a collective, its domains. Of an
    account or a contact its details are shown, and of a pay run or a bank's file whom it pays, and what its lines mean.
    """
    content = _plain(document(proposal)["content"])
    if isinstance(act := _act_of(proposal.effect, content), Movement):
        return _moved(client, proposal, act)
    after = content["policy"] if proposal.effect == _POLICY else content
    before, currency = _standing(client, proposal, content), _currency_of(client, proposal, content)
    found = [
        FieldChange(name, before.get(name), value, currency if name.endswith("_minor") else "")
        for name, value in after.items()
        if not _is_body(name) and not (before and value == identity(before.get("name", "")))
    ]
    found += _BODIES[proposal.effect](client, proposal, content) if proposal.effect in _BODIES else []
    return [each for each in found if str(each.before) != str(each.after)]


@dataclass(frozen=True, slots=True)
class LastRounds:
    """The last posted rounds as they would have been; `left_out` says of each other one why it is not there."""

    compared: tuple[Comparison, ...] = ()
    left_out: tuple[str, ...] = ()


def last_rounds_under(client: Client, proposal: Proposal) -> LastRounds:
    """The last posted round of each pool beside what it would have been as proposed, where an amount differs."""
    if proposal.effect not in DISTRIBUTES:
        return LastRounds()
    of_registry = proposal.name.startswith("registry/")
    pools = [identity(pool.name) for pool in client.list_pools()] if of_registry else [_log_of(proposal)]
    compared, left_out = list[Comparison](), list[str]()
    for pool in pools:
        posted = [each for each in client.list_rounds(pool) if each.state == rounds_pb2.ROUND_STATE_POSTED]
        if posted:
            try:
                compared.append(compare(client, pool, posted[-1], proposal=proposal.name))
            except FailedPreconditionError as error:
                left_out.append(f"round {posted[-1].number} of {pool} was not compared: {error}")
    return LastRounds(tuple(each for each in compared if each.differs()), tuple(left_out))


def _act_of(effect: str, content: Document) -> Content | None:
    kind = CONTENTS.get(effect)
    return kind.model_validate(content) if kind is not None and issubclass(kind, Movement) else None


@dataclass(frozen=True, slots=True)
class _Now:
    """In place of the log before a movement, which looks up nothing but balances."""

    balances: Mapping[str, int]

    def balance(self, account: str) -> int:
        """As of now."""
        return self.balances.get(account, 0)

    def entry(self, kind: type[Content], key: object) -> Any:
        """There is none."""
        raise LedgerCorruptError(f"{kind.type} {key}", "is not at hand")

    def parsed(self, digest: str, parse: object) -> Any:  # noqa: ARG002 - the protocol's
        """There is none."""
        raise LedgerCorruptError(digest, "is not at hand")


def _moved(client: Client, proposal: Proposal, act: Movement) -> list[FieldChange]:
    """The balances of the accounts that money would move between."""
    pool, currency = _log_of(proposal), _currency_of(client, proposal, {})
    balances = client.list_balances(pool)
    before = {each.name.removeprefix(f"pools/{pool}/accounts/"): each.amount_minor for each in balances}
    after = dict(before)
    for transfer in act.transfers(_Now(before)):
        after[transfer.from_account] = after.get(transfer.from_account, 0) - transfer.amount_minor
        after[transfer.to_account] = after.get(transfer.to_account, 0) + transfer.amount_minor
    return [
        FieldChange(f"balance of {account}", before.get(account, 0), amount, currency)
        for account, amount in after.items()
        if amount != before.get(account, 0)
    ]


def _is_body(name: str) -> bool:
    return name.endswith("_sha256") or name in ("details_hash", "contact_hash")


def _domains(client: Client, _: Proposal, content: Document) -> list[FieldChange]:
    """The domains that a collective would have, which the log knows by their hash."""
    before = _or_nothing(lambda: list(client.get_collective(content["collective"]).domains))
    body = client.get_body(REGISTRY_LOG, bytes.fromhex(content["domains_sha256"]))
    return [FieldChange("domains", before, body.decode().splitlines())]


def _sources(client: Client, proposal: Proposal, content: Document) -> list[FieldChange]:
    """The sources whose collective a membership would change; the first of them by name, and how many others."""
    pool = _log_of(proposal)
    before = _or_nothing(lambda: client.get_membership(pool, content["membership"])) or {}
    after = parse_membership(client.get_body(pool, bytes.fromhex(content["body_sha256"])))
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    found = [FieldChange(f"source {name}", before.get(name), after.get(name)) for name in changed[:_SHOWN]]
    more = len(changed) - len(found)
    return found + ([FieldChange("other sources", None, f"{more} more change")] if more else [])


def _account(client: Client, proposal: Proposal, _: Document) -> list[FieldChange]:
    """The bank account that a payee or the operator would have, of which logs have a hash."""
    found = client.get_proposed_account(proposal.name)
    before = document(found.standing) if found.HasField("standing") else {}
    after = document(found.proposed) if found.HasField("proposed") else {"details": "erased"}
    return [
        FieldChange(name, before.get(name), value, after.get("currency", "") if name.endswith("_minor") else "")
        for name, value in after.items()
        if value or before.get(name)
    ]


def _contact(client: Client, proposal: Proposal, _: Document) -> list[FieldChange]:
    """The address and the language of a contact, of which the log has a hash."""
    found = client.get_proposed_contact(proposal.name)
    if not found.HasField("proposed"):
        return [FieldChange("contact", None, "erased")]
    return [
        FieldChange(name, getattr(found.standing, name) or None, getattr(found.proposed, name) or "none")
        for name in ("email", "language")
    ]


def _payments(client: Client, _: Proposal, content: Document) -> list[FieldChange]:
    """Whom a pay run would pay, the largest amounts first."""
    plan = parse_plan(client.get_body(REGISTRY_LOG, bytes.fromhex(content["plan_sha256"])))
    paid = sorted(plan.payments, key=lambda payment: -payment.amount_minor)
    return _first(
        [
            FieldChange(f"paid to {payment.collective}", None, payment.amount_minor, content["currency"])
            for payment in paid
        ],
        "payments",
    )


def _lines(client: Client, proposal: Proposal, content: Document) -> list[FieldChange]:
    """What the lines of a bank's file mean, the largest amounts first."""
    body = client.get_body(REGISTRY_LOG, bytes.fromhex(content["bookings_sha256"]))
    lines = sorted(parse_bookings(body).bookings, key=lambda booking: -abs(booking.amount_minor))
    currency = _currency_of(client, proposal, content)
    return _first(
        [
            FieldChange(
                f"{each.kind} {each.end_to_end_id or each.reference}".strip(), None, each.amount_minor, currency
            )
            for each in lines
        ],
        "lines",
    )


def _first(found: list[FieldChange], what: str) -> list[FieldChange]:
    more = len(found) - _SHOWN
    return found[:_SHOWN] + ([FieldChange(f"other {what}", None, f"{more} more")] if more > 0 else [])


def _or_nothing(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except NotFoundError:
        return None


def _currency_of(client: Client, proposal: Proposal, content: Document) -> str:
    """The currency of a proposal's amounts: its own, that of its bank account, or the pool's."""
    if "currency" in content:
        return str(content["currency"])
    if "bank_account" in content:
        name = f"bankAccounts/{content['bank_account']}"
        return next((each.currency for each in client.list_bank_accounts() if each.name == name), "")
    return client.get_pool(_log_of(proposal)).currency if proposal.name.startswith("pools/") else ""


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


_BODIES: Final[dict[str, Callable[[Client, Proposal, Document], list[FieldChange]]]] = {
    "collective.v1": _domains,
    "membership.v1": _sources,
    "payee.v1": _account,
    "bankaccount.v1": _account,
    "contact.v1": _contact,
    "payrun.v1": _payments,
    "bankfile.v1": _lines,
}
"""How what an effect says in a body is compared, by its type."""


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
