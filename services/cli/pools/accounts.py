"""`moiety balance` and `moiety transfers`: who has what."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document
from services.cli.base.money import major
from services.cli.base.output import table

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]


@client_command
def balance(
    session: Session,
    pool: Pool,
    account: Annotated[
        str | None,
        typer.Argument(
            metavar="ACCOUNT",
            help="revenue, fees, commons, rounding, unmatched, outside, costs, platform/ID, due/ID, credit/ID, "
            "collective/ID, held/ID, owing/ID or paid/ID (default: all).",
        ),
    ] = None,
    log_size: Annotated[int | None, typer.Option(metavar="N", help="As of this log size (default: now).")] = None,
) -> None:
    """Show one account's balance, or those of all accounts, which sum to zero."""
    if account is None:
        balances = [document(item) for item in session.client.list_balances(pool, log_size=log_size)]
        data: object = balances
    else:
        balances = [document(session.client.get_balance(pool, account, log_size=log_size))]
        data = balances[0]
    rows = [
        (item["name"].partition("/accounts/")[2], major(item["amount_minor"], item["currency"]), item["log_size"])
        for item in balances
    ]
    session.output.show(data, table(["Account", "Balance", "Log size"], rows, right=["Balance", "Log size"]))


@client_command
def transfers(
    session: Session,
    pool: Pool,
    account: Annotated[str, typer.Option(metavar="ACCOUNT", help="Only transfers from or to this account.")] = "",
) -> None:
    """List a pool's transfers in log order."""
    found = [document(transfer) for transfer in session.client.list_transfers(pool, account=account)]
    if session.output.as_json:
        session.output.show(found)
        return
    currency = session.client.get_pool(pool).currency
    rows = [
        (
            item["leaf_index"],
            item["from_account"],
            item["to_account"],
            major(item["amount_minor"], currency),
            item["purpose"],
        )
        for item in found
    ]
    columns = ["Leaf", "From", "To", "Amount", "Purpose"]
    session.output.show(found, table(columns, rows, right=["Leaf", "Amount"]))
