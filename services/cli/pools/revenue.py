"""`moiety revenue` and `moiety receipt`: money into pools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import Document, document, identity
from services.cli.base.money import amount_in_minor, major, minor_from
from services.cli.base.output import table

revenue_app = typer.Typer(help="Revenue: what platforms report that they owe.", no_args_is_help=True)
receipt_app = typer.Typer(help="Receipts: the money that has arrived.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
RequestId = Annotated[str, typer.Option(metavar="ID", help="Your own id for the request; a repeat changes nothing.")]
Amount = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="In major units, with the currency's decimals: 12.50.")
]
AmountMinor = Annotated[int | None, typer.Option(metavar="AMOUNT", help="In minor units: 1250 for 12.50 EUR.")]
Note = Annotated[str, typer.Option(metavar="TEXT", help="A description.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why.")]
Receipt = Annotated[str, typer.Argument(metavar="RECEIPT", help="The receipt's request id.")]


@revenue_app.command("report")
@client_command
def report(
    session: Session,
    pool: Pool,
    *,
    currency: Annotated[str, typer.Option(metavar="CODE", help="The pool's ISO 4217 currency code.")],
    request_id: RequestId,
    amount: Amount = None,
    amount_minor: AmountMinor = None,
    period: Annotated[str, typer.Option(metavar="PERIOD", help="What it is for: 2026-03, 2026-Q1 or 2026.")] = "",
    income: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Your income in the period, of which a tariff takes a share.")
    ] = None,
    note: Note = "",
) -> None:
    """Report what you owe a pool, as a platform."""
    owed = amount_in_minor(amount, amount_minor, currency)
    declared = None if income is None else minor_from(income, currency, "income")
    made = session.client.report_revenue(
        pool, owed, currency, request_id=request_id, period=period, note=note, income_minor=declared
    )
    said = f"{major(made.amount_minor, made.currency)} reported in {pool}, leaf {made.leaf_index}."
    session.output.show(document(made), f"{said} Pay it with the reference {made.payment_reference}.")


@revenue_app.command("list")
@client_command
def list_reports(session: Session, pool: Pool) -> None:
    """List a pool's reports and their reversals. A platform sees its own."""
    reports = _with_reversals(session, pool, session.client.list_reports(pool))
    rows = [
        (
            item["leaf_index"],
            identity(item["platform"]),
            item["period"],
            major(item["amount_minor"], item["currency"]),
            major(item["reversed_minor"], item["currency"]),
            "-" if item.get("income_minor") is None else major(item["income_minor"], item["currency"]),
            item["payment_reference"],
            _request(item),
            item["note"],
            item["create_time"],
        )
        for item in reports
    ]
    columns = ["Leaf", "Platform", "Period", "Amount", "Reversed", "Income", "Reference", "Request", "Note", "Logged"]
    session.output.show(reports, table(columns, rows, right=["Leaf", "Amount", "Reversed", "Income"]))


@revenue_app.command("reverse")
@client_command
def reverse_report(
    session: Session,
    pool: Pool,
    platform: Annotated[str, typer.Argument(metavar="PLATFORM", help="Whose report it is.")],
    report_id: Annotated[str, typer.Argument(metavar="REPORT", help="The report's request id.")],
    request_id: RequestId,
    reason: Reason,
    amount: Amount = None,
    amount_minor: AmountMinor = None,
) -> None:
    """Take a platform's report back, in part or whole."""
    currency = session.client.get_pool(pool).currency
    made = session.client.reverse_report(
        pool, platform, report_id, amount_in_minor(amount, amount_minor, currency), request_id=request_id, reason=reason
    )
    _tell_reversal(session, pool, currency, made)


@revenue_app.command("waive")
@client_command
def waive(
    session: Session,
    pool: Pool,
    platform: Annotated[str, typer.Argument(metavar="PLATFORM", help="Whose report it is.")],
    period: Annotated[str, typer.Argument(metavar="PERIOD", help="Which period: 2026-03, 2026-Q1 or 2026.")],
    reason: Reason,
) -> None:
    """Have a period's round not wait for a platform's report or its money. What comes falls in the next round."""
    made = session.client.waive_report(pool, platform, period, reason=reason)
    said = f"The round of {period} in {pool} does not wait for {platform}."
    show_act(session.output, made, said)


@receipt_app.command("record")
@client_command
def record(
    session: Session,
    pool: Pool,
    *,
    request_id: RequestId,
    platform: Annotated[
        str, typer.Option(metavar="ID", help="Who paid (default: whose report has the reference).")
    ] = "",
    reference: Annotated[str, typer.Option(metavar="TEXT", help="The payment reference that came with it.")] = "",
    received_on: Annotated[str, typer.Option(metavar="DATE", help="The bank's day: 2026-03-31.")] = "",
    amount: Amount = None,
    amount_minor: AmountMinor = None,
    note: Note = "",
) -> None:
    """Record that money has arrived."""
    currency = session.client.get_pool(pool).currency
    made = session.client.record_receipt(
        pool,
        amount_in_minor(amount, amount_minor, currency),
        request_id=request_id,
        platform=platform,
        payment_reference=reference,
        received_on=received_on,
        note=note,
    )
    payer = f"of {identity(made.platform)}" if made.platform else "of an unknown payer"
    said = f"{major(made.amount_minor, currency)} {payer} received in {pool}, leaf {made.leaf_index}."
    show_act(session.output, made, said)


@receipt_app.command("list")
@client_command
def list_receipts(session: Session, pool: Pool) -> None:
    """List a pool's receipts and their reversals. A platform sees its own."""
    currency = session.client.get_pool(pool).currency
    receipts = _with_reversals(session, pool, session.client.list_receipts(pool))
    rows = [
        (
            item["leaf_index"],
            identity(item["platform"]),
            major(item["amount_minor"], currency),
            major(item["reversed_minor"], currency),
            item["payment_reference"],
            item["received_on"],
            _request(item),
            item["note"],
            item["create_time"],
        )
        for item in receipts
    ]
    columns = ["Leaf", "Platform", "Amount", "Reversed", "Reference", "Received", "Request", "Note", "Logged"]
    session.output.show(receipts, table(columns, rows, right=["Leaf", "Amount", "Reversed"]))


@receipt_app.command("match")
@client_command
def match(
    session: Session,
    pool: Pool,
    receipt: Receipt,
    platform: Annotated[str, typer.Argument(metavar="PLATFORM", help="Whose it is.")],
    request_id: RequestId,
) -> None:
    """Say which platform a receipt of an unknown payer is of."""
    made = session.client.match_receipt(pool, receipt, platform, request_id=request_id)
    show_act(session.output, made, f"Receipt {receipt} in {pool} is of {platform}.")


@receipt_app.command("reverse")
@client_command
def reverse_receipt(
    session: Session,
    pool: Pool,
    receipt: Receipt,
    request_id: RequestId,
    reason: Reason,
    amount: Amount = None,
    amount_minor: AmountMinor = None,
    chargeback: Annotated[
        bool, typer.Option("--chargeback", help="The bank has taken it already; an open round may be rejected.")
    ] = False,
) -> None:
    """Take a receipt back, in part or whole."""
    currency = session.client.get_pool(pool).currency
    made = session.client.reverse_receipt(
        pool,
        receipt,
        amount_in_minor(amount, amount_minor, currency),
        request_id=request_id,
        reason=reason,
        chargeback=chargeback,
    )
    _tell_reversal(session, pool, currency, made)


def _tell_reversal(session: Session, pool: str, currency: str, made: Any) -> None:
    said = f"{major(made.amount_minor, currency)} of leaf {made.reverses} reversed in {pool}, leaf {made.leaf_index}."
    show_act(session.output, made, said)


def _with_reversals(session: Session, pool: str, found: Iterable[Message]) -> list[Document]:
    """The messages as JSON, each with its reversals."""
    reversals: dict[object, list[Document]] = {}
    for each in session.client.list_reversals(pool):
        reversals.setdefault(each.reverses, []).append(document(each))
    shown = [document(each) for each in found]
    return [{**each, "reversals": reversals.get(each["leaf_index"], [])} for each in shown]


def _request(item: Document) -> str:
    return str(identity(item["name"])).rpartition("~")[2]
