"""`moiety revenue`: what there is to distribute."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.money import amount_in_minor, major
from services.cli.base.output import table

app = typer.Typer(help="Revenue: what there is to distribute.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]


@app.command("record")
@client_command
def record(
    session: Session,
    pool: Pool,
    currency: Annotated[str, typer.Option(metavar="CODE", help="The pool's ISO 4217 currency code.")],
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="Your own id for the request; a repeat changes nothing.")
    ],
    amount: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="In major units, with the currency's decimals: 12.50.")
    ] = None,
    amount_minor: Annotated[
        int | None, typer.Option(metavar="AMOUNT", help="In minor units: 1250 for 12.50 EUR.")
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="A description.")] = "",
) -> None:
    """Record revenue that the platform pays into a pool."""
    revenue = session.client.record_revenue(
        pool, amount_in_minor(amount, amount_minor, currency), currency, request_id=request_id, note=note
    )
    recorded = major(revenue.amount_minor, revenue.currency)
    session.output.show(document(revenue), f"{recorded} recorded in {pool}, leaf {revenue.leaf_index}.")


@app.command("list")
@client_command
def list_(session: Session, pool: Pool) -> None:
    """List a pool's revenue in log order. A platform sees its own."""
    revenues = [document(revenue) for revenue in session.client.list_revenues(pool)]
    rows = [
        (
            item["leaf_index"],
            identity(item["platform"]),
            major(item["amount_minor"], item["currency"]),
            identity(item["name"]).partition("~")[2],
            item["note"],
            item["create_time"],
        )
        for item in revenues
    ]
    columns = ["Leaf", "Platform", "Amount", "Request", "Note", "Logged"]
    session.output.show(revenues, table(columns, rows, right=["Leaf", "Amount"]))
