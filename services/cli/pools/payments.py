"""`moiety payment`, `moiety held` and `moiety commons`: what operators move by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.money import amount_in_minor, major
from services.cli.base.output import table

payment_app = typer.Typer(help="Payments to collectives.", no_args_is_help=True)
held_app = typer.Typer(help="What is owed and not paid, and what is held.", no_args_is_help=True)
commons_app = typer.Typer(help="The commons fund.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
Collective = Annotated[str, typer.Argument(metavar="COLLECTIVE", help="The collective's id.")]
RequestId = Annotated[str, typer.Option(metavar="ID", help="Your own id for the request; a repeat changes nothing.")]
Amount = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="In major units, with the currency's decimals: 12.50.")
]
AmountMinor = Annotated[int | None, typer.Option(metavar="AMOUNT", help="In minor units: 1250 for 12.50 EUR.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why.")]


@payment_app.command("record")
@client_command
def record(
    session: Session,
    pool: Pool,
    collective: Collective,
    request_id: RequestId,
    amount: Amount = None,
    amount_minor: AmountMinor = None,
    reference: Annotated[str, typer.Option(metavar="TEXT", help="The bank's or the collective's reference.")] = "",
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
    show_act(session.output, paid, said)


@payment_app.command("list")
@client_command
def list_payments(session: Session, collective: Collective) -> None:
    """List a collective's payments by pay runs: reference, day and, where one came back, the bank's reason."""
    found = list(session.client.list_payments(collective))
    shown = [document(each) for each in found]
    lines = [
        (each.end_to_end_id, major(each.amount_minor, each.currency), made["state"], each.day, each.reference,
         each.reason)
        for each, made in zip(found, shown, strict=True)
    ]  # fmt: skip
    columns = ("payment", "amount", "state", "day", "reference", "reason")
    session.output.show(shown, table(columns, lines, right=("amount",)))


@held_app.command("list")
@client_command
def list_unpaid(session: Session, pool: Pool) -> None:
    """List what a pool owes and has not paid, oldest first: why, of which round, and for how long."""
    found = sorted(session.client.list_unpaid(pool), key=lambda each: each.since_time.ToNanoseconds())
    lines = [
        (identity(each.collective), major(each.amount_minor, each.currency), each.reason, each.round or "-", each.days,
         each.bank_reason)
        for each in found
    ]  # fmt: skip
    columns = ("collective", "amount", "why", "round", "days", "bank says")
    session.output.show([document(each) for each in found], table(columns, lines, right=("amount", "round", "days")))


@held_app.command("release")
@client_command
def release(
    session: Session,
    pool: Pool,
    collective: Collective,
    request_id: RequestId,
    reason: Reason,
    amount: Amount = None,
    amount_minor: AmountMinor = None,
    to_commons: Annotated[bool, typer.Option("--to-commons", help="Return it to the commons fund instead.")] = False,
) -> None:
    """Release what is held for a collective, to it or back to the commons fund."""
    currency = session.client.get_pool(pool).currency
    released = session.client.release_held(
        pool,
        collective,
        amount_in_minor(amount, amount_minor, currency),
        request_id=request_id,
        reason=reason,
        to_commons=to_commons,
    )
    target = "returned to the commons fund" if to_commons else f"released to {collective}"
    said = f"{major(released.amount_minor, currency)} {target} in {pool}, leaf {released.leaf_index}."
    show_act(session.output, released, said)


@commons_app.command("grant")
@client_command
def grant(
    session: Session,
    pool: Pool,
    collective: Collective,
    request_id: RequestId,
    reason: Reason,
    amount: Amount = None,
    amount_minor: AmountMinor = None,
) -> None:
    """Grant a collective an amount from the commons fund."""
    currency = session.client.get_pool(pool).currency
    granted = session.client.grant_from_commons(
        pool, collective, amount_in_minor(amount, amount_minor, currency), request_id=request_id, reason=reason
    )
    said = f"{major(granted.amount_minor, currency)} granted to {collective} in {pool}, leaf {granted.leaf_index}."
    show_act(session.output, granted, said)
