"""`moiety payment`: what has left the system."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.connection import Session, client_command
from services.cli.documents import document
from services.cli.money import amount_in_minor, major

app = typer.Typer(help="Payments to collectives.", no_args_is_help=True)


@app.command("record")
@client_command
def record(
    session: Session,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")],
    collective: Annotated[str, typer.Argument(metavar="COLLECTIVE", help="The id of who was paid.")],
    request_id: Annotated[str, typer.Option(metavar="ID", help="Your own id for it; a repeat changes nothing.")],
    amount: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="In major units, with the currency's decimals: 12.50.")
    ] = None,
    amount_minor: Annotated[
        int | None, typer.Option(metavar="AMOUNT", help="In minor units: 1250 for 12.50 EUR.")
    ] = None,
    reference: Annotated[str, typer.Option(metavar="TEXT", help="What the bank or the collective calls it.")] = "",
) -> None:
    """Record that a collective was paid outside the system."""
    currency = session.client.get_pool(pool).currency
    paid = session.client.record_payment(
        pool,
        collective,
        amount_in_minor(amount, amount_minor, currency),
        request_id=request_id,
        reference=reference,
    )
    said = f"{major(paid.amount_minor, currency)} to {collective} recorded in {pool}, leaf {paid.leaf_index}."
    session.output.show(document(paid), said)
