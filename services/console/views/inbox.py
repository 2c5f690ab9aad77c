"""What waits for an operator, in all pools: the most money first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from moiety.v1 import acts_pb2, payments_pb2, registry_pb2, rounds_pb2
from services.console.formats import in_major, moment
from services.console.tables import lines_of, rows_of
from services.console.texts import marked
from services.console.views.money import unmatched_of
from services.console.views.pools import everything, last_rounds, schedule_of
from services.console.visit import Visit

POOLS_MOST: Final = 100
"""Pools that are looked through for one page."""

PROPOSALS_MOST: Final = 200

ACCOUNTS_MOST: Final = 20
LINES_MOST: Final = 100
"""Bank accounts, and open lines of each, of one page."""

LATE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits.

    Attributes:
        what: what it is, as a text to translate.
        subject: which one.
        path: where it is decided.
        where: the pool, or nothing for the registry.
        since: since when.
        until: until when nothing can be done about it; None where something can be done now.
        amount_minor: the money that hangs on it; None where that is not known.
        currency: of the amount.
    """

    what: str
    subject: str
    path: str
    where: str
    since: datetime | None
    until: datetime | None = None
    amount_minor: int | None = None
    currency: str = ""


def show(visit: Visit) -> Response:
    """All that waits."""
    pools = everything(visit, "RegistryService/ListPools", registry_pb2.ListPoolsRequest(), "pools", POOLS_MOST)
    found = [*_proposals(visit, "registry", "", "")]
    for pool in pools:
        found += [*_rounds(visit, pool), *_proposals(visit, pool.name, pool.display_name, pool.currency)]
        found += [*_late(visit, pool), *_unmatched(visit, pool)]
    found += _bank_lines(visit)
    found.sort(key=_by_money)
    return visit.page("inbox.html", found=found, pools_most=POOLS_MOST if len(pools) >= POOLS_MOST else 0)


def _by_money(each: Waiting) -> tuple[bool, Any, float]:
    is_unknown = each.amount_minor is None
    amount = 0 if each.amount_minor is None else -in_major(each.amount_minor, each.currency)
    return is_unknown, amount, each.since.timestamp() if each.since else 0.0


def _rounds(visit: Visit, pool: Any) -> list[Waiting]:
    """The round that waits, of which a pool has one at most, and the objections to it that nobody has answered."""
    waits = [each for each in last_rounds(visit, pool, 1) if each.state == rounds_pb2.ROUND_STATE_CALCULATED]
    found = []
    for each in waits:
        ends = moment(each.review_end_time)
        until = ends if ends and ends > visit.parts.clock() else None
        found.append(
            Waiting(
                marked("Round"),
                str(each.number),
                f"/{each.name}",
                pool.display_name,
                moment(each.calculate_time),
                until,
                each.pot_minor,
                pool.currency,
            )
        )
        request = rounds_pb2.ListObjectionsRequest(parent=each.name)
        for objection in everything(visit, "RoundsService/ListObjections", request, "objections"):
            if not objection.answer:
                amount = _amount_of(visit, each, objection.collective)
                found.append(
                    Waiting(
                        marked("Objection"),
                        objection.collective.partition("/")[2],
                        f"/{each.name}",
                        pool.display_name,
                        moment(objection.object_time),
                        None,
                        amount,
                        pool.currency,
                    )
                )
    return found


def _amount_of(visit: Visit, found: Any, collective: str) -> int | None:
    line = next(rows_of(lines_of(visit, found, collective=collective)), None)
    return int(line["amount_minor"]) if line else None


def _proposals(visit: Visit, log: str, where: str, currency: str) -> list[Waiting]:
    request = acts_pb2.ListProposalsRequest(parent=log, only_open=True)
    found = everything(visit, "ActsService/ListProposals", request, "proposals", PROPOSALS_MOST)
    return [
        Waiting(
            marked("Proposal"),
            each.effect.partition(".")[0],
            f"/{each.name}",
            where,
            moment(each.propose_time),
            None,
            _proposed_amount(each) if _currency_of(each, currency) else None,
            _currency_of(each, currency),
        )
        for each in found
    ]


def _currency_of(proposal: Any, currency: str) -> str:
    """The currency of what is proposed: its pool's, or what it names itself, as a pay run does."""
    named = proposal.content.fields.get("currency")
    return currency or (named.string_value if named is not None else "")


def _proposed_amount(proposal: Any) -> int | None:
    if "amount_minor" not in proposal.content.fields:
        return None
    return int(proposal.content["amount_minor"])


def _unmatched(visit: Visit, pool: Any) -> list[Waiting]:
    """Receipts of which nobody knows whose money they are."""
    return [
        Waiting(
            marked("Receipt without a payer"),
            each.payment_reference,
            f"/{pool.name}/money",
            pool.display_name,
            moment(each.create_time),
            None,
            each.amount_minor - each.reversed_minor,
            pool.currency,
        )
        for each in unmatched_of(visit, pool)
    ]


def _bank_lines(visit: Visit) -> list[Waiting]:
    """Lines of banks' statements of which something is of an unknown payer, or has no partner in the books."""
    asked = payments_pb2.ListBankAccountsRequest()
    found = []
    for account in everything(visit, "PaymentsService/ListBankAccounts", asked, "bank_accounts", ACCOUNTS_MOST):
        request = payments_pb2.ListBankLinesRequest(parent=account.name, only_open=True)
        lines = everything(visit, "PaymentsService/ListBankLines", request, "bank_lines", LINES_MOST)
        found += [
            Waiting(
                marked("Bank line without a partner"),
                each.reference or each.payment_reference,
                f"/bank/{account.name.partition('/')[2]}",
                account.display_name,
                datetime.fromisoformat(each.day).replace(tzinfo=UTC) if each.day else None,
                None,
                abs(each.open_minor),
                each.currency,
            )
            for each in lines
        ]
    return found


def _late(visit: Visit, pool: Any) -> list[Waiting]:
    """The fire time that a schedule should have answered and has not."""
    schedule = schedule_of(visit, pool.name)
    due = moment(schedule.next_fire_time)
    if due is None or schedule.paused or due + LATE > visit.parts.clock():
        return []
    return [Waiting(marked("Late schedule"), "", f"/{pool.name}/terms", pool.display_name, due)]
