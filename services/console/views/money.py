"""A pool's money in: reports, receipts, what is nobody's yet, what was taken back; and what operators move by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message
from starlette.responses import Response

from ledger.errors import InvalidInputError
from moiety.v1 import accounts_pb2, revenue_pb2
from services.access.keys import Role
from services.console.forms import acted, amount_of, choice_of, id_of, new_request_id, request_id_of, text_of
from services.console.views.pools import PAGE, everything, own_balances, pool_of
from services.console.visit import Problem, Visit

RECEIPTS_MOST: Final = 20_000
"""Receipts of a pool that are searched for those without a payer: sixteen years of a hundred platforms' months."""


def show(visit: Visit, *, problem: Problem = "") -> Response:
    """What was reported and received, and what of it is nobody's; a platform sees its own."""
    pool = pool_of(visit)
    reports = visit.call(
        "RevenueService/ListReports",
        revenue_pb2.ListReportsRequest(
            parent=pool.name, page_size=PAGE, page_token=visit.query.get("reports_after", "")
        ),
    )
    receipts = visit.call(
        "RevenueService/ListReceipts",
        revenue_pb2.ListReceiptsRequest(
            parent=pool.name, page_size=PAGE, page_token=visit.query.get("receipts_after", "")
        ),
    )
    reversals = visit.call(
        "RevenueService/ListReversals",
        revenue_pb2.ListReversalsRequest(
            parent=pool.name, page_size=PAGE, page_token=visit.query.get("reversals_after", "")
        ),
    )
    return visit.page(
        "money.html",
        409 if problem else 200,
        reports=reports,
        receipts=receipts,
        reversals=reversals,
        balances=own_balances(visit, pool) if visit.role is Role.PLATFORM else balances_of(visit, pool),
        unmatched=[] if visit.role is Role.PLATFORM else unmatched_of(visit, pool),
        request_id=new_request_id(),
        problem=problem,
        due_period=(due_period := _due_period(visit, pool.name, reports.reports)),
        dues=_dues(visit, pool.name, due_period) if due_period else revenue_pb2.ListDuesResponse(),
    )


def _due_period(visit: Visit, pool: str, reports: Sequence[Any]) -> str:
    """Returns the period that is asked for, or that of the last report; empty in a pool without a tariff."""
    request = revenue_pb2.ListTariffsRequest(parent=pool, page_size=1)
    found = visit.call("RevenueService/ListTariffs", request).tariffs
    if not found:
        return ""
    named = [each.period for each in reports if each.period]
    return visit.query.get("due", "") or (named or [found[0].period_from])[-1]


def _dues(visit: Visit, pool: str, period: str) -> Any:
    after = visit.query.get("dues_after", "")
    request = revenue_pb2.ListDuesRequest(parent=pool, period=period, page_size=PAGE, page_token=after)
    return visit.call("RevenueService/ListDues", request)


def balances_of(visit: Visit, pool: Any) -> dict[str, int]:
    """Returns what is in a pool's own accounts that money comes in by."""
    found = {}
    for name in ("revenue", "unmatched", "commons", "fees"):
        request = accounts_pb2.GetBalanceRequest(name=f"{pool.name}/accounts/{name}")
        found[name] = visit.call("AccountsService/GetBalance", request).amount_minor
    return found


def unmatched_of(visit: Visit, pool: Any) -> list[Any]:
    """Returns the receipts of which nobody knows whose money they are."""
    balance = accounts_pb2.GetBalanceRequest(name=f"{pool.name}/accounts/unmatched")
    if not visit.call("AccountsService/GetBalance", balance).amount_minor:
        return []
    request = revenue_pb2.ListReceiptsRequest(parent=pool.name)
    found = everything(visit, "RevenueService/ListReceipts", request, "receipts", RECEIPTS_MOST)
    return [each for each in found if not each.platform and each.reversed_minor < each.amount_minor]


def act(visit: Visit) -> Response:
    """Report, receive, match, take back, release, grant or record a payment, or propose it."""
    pool = pool_of(visit)
    currency = pool.currency

    def report() -> tuple[str, Message]:
        report = revenue_pb2.Report(
            amount_minor=amount_of(visit, "amount", currency),
            currency=currency,
            period=text_of(visit, "period"),
            note=text_of(visit, "note"),
            income_minor=amount_of(visit, "income", currency) if text_of(visit, "income") else None,
        )
        request = revenue_pb2.ReportRevenueRequest(parent=pool.name, report=report, request_id=request_id_of(visit))
        return "RevenueService/ReportRevenue", request

    def receive() -> tuple[str, Message]:
        receipt = revenue_pb2.MoneyReceipt(
            platform=_platform(visit),
            amount_minor=amount_of(visit, "amount", currency),
            payment_reference=text_of(visit, "reference"),
            received_on=text_of(visit, "day"),
            note=text_of(visit, "note"),
        )
        request = revenue_pb2.RecordReceiptRequest(parent=pool.name, receipt=receipt, request_id=request_id_of(visit))
        return "RevenueService/RecordReceipt", request

    def match() -> tuple[str, Message]:
        request = revenue_pb2.MatchReceiptRequest(
            name=_of(visit, pool.name, "receipts"), platform=_platform(visit), request_id=request_id_of(visit)
        )
        return "RevenueService/MatchReceipt", request

    def take_back(kind: str) -> tuple[str, Message]:
        reversal = revenue_pb2.Reversal(
            amount_minor=amount_of(visit, "amount", currency),
            reason=text_of(visit, "reason"),
            chargeback="chargeback" in visit.form,
        )
        name, request_id = _of(visit, pool.name, kind), request_id_of(visit)
        if kind == "reports":
            asked = revenue_pb2.ReverseReportRequest(name=name, reversal=reversal, request_id=request_id)
            return "RevenueService/ReverseReport", asked
        return (
            "RevenueService/ReverseReceipt",
            revenue_pb2.ReverseReceiptRequest(name=name, reversal=reversal, request_id=request_id),
        )

    def release() -> tuple[str, Message]:
        release = accounts_pb2.Release(
            collective=f"collectives/{id_of(visit, 'collective')}",
            amount_minor=amount_of(visit, "amount", currency),
            to_commons=choice_of(visit, "to", {"collective": False, "commons": True}),
            reason=text_of(visit, "reason"),
        )
        request = accounts_pb2.ReleaseHeldRequest(parent=pool.name, release=release, request_id=request_id_of(visit))
        return "AccountsService/ReleaseHeld", request

    def grant() -> tuple[str, Message]:
        grant = accounts_pb2.Grant(
            collective=f"collectives/{id_of(visit, 'collective')}",
            amount_minor=amount_of(visit, "amount", currency),
            reason=text_of(visit, "reason"),
        )
        request = accounts_pb2.GrantFromCommonsRequest(parent=pool.name, grant=grant, request_id=request_id_of(visit))
        return "AccountsService/GrantFromCommons", request

    def pay() -> tuple[str, Message]:
        payment = accounts_pb2.Payment(
            collective=f"collectives/{id_of(visit, 'collective')}",
            amount_minor=amount_of(visit, "amount", currency),
            reference=text_of(visit, "reference"),
        )
        request = accounts_pb2.RecordPaymentRequest(parent=pool.name, payment=payment, request_id=request_id_of(visit))
        return "AccountsService/RecordPayment", request

    acts = {
        "pay": pay,
        "report": report,
        "receive": receive,
        "match": match,
        "reverse-report": lambda: take_back("reports"),
        "reverse-receipt": lambda: take_back("receipts"),
        "release": release,
        "grant": grant,
    }
    return acted(visit, acts, f"/{pool.name}/money", lambda problem: show(visit, problem=problem))


def _platform(visit: Visit) -> str:
    return f"platforms/{id_of(visit, 'platform', of='platforms')}" if text_of(visit, "platform") else ""


def _of(visit: Visit, pool: str, collection: str) -> str:
    name = text_of(visit, "name")
    if not name.startswith(f"{pool}/{collection}/"):
        raise InvalidInputError.of("name", "must be one of the names on this page")
    return name
