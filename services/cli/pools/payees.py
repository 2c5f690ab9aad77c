"""`moiety payee`: where collectives' money goes."""

from __future__ import annotations

from typing import Annotated

import typer

from moiety import AccountDetails, Payee
from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.money import amount_in_minor, major
from services.cli.base.output import details as rows
from services.cli.base.output import table

app = typer.Typer(help="Payees: the bank accounts to which collectives are paid.", no_args_is_help=True)

Collective = Annotated[str, typer.Argument(metavar="COLLECTIVE", help="The collective's id.")]
Holder = Annotated[str, typer.Option(metavar="NAME", help="Whose account it is, as the bank knows it.")]
Town = Annotated[str, typer.Option(metavar="TOWN", help="The holder's town.")]
Country = Annotated[str, typer.Option(metavar="CC", help="The holder's country: two letters, such as DE.")]
Currency = Annotated[str, typer.Option(metavar="CODE", help="What can be paid to it: EUR.")]
Street = Annotated[str, typer.Option(metavar="STREET", help="The holder's street.")]
Building = Annotated[str, typer.Option(metavar="NUMBER", help="The number of the building.")]
Postcode = Annotated[str, typer.Option(metavar="CODE", help="The postcode.")]
Iban = Annotated[str, typer.Option("--iban", metavar="IBAN", help="The IBAN; spaces are left out.")]
Account = Annotated[str, typer.Option(metavar="NUMBER", help="The account's number, where there is no IBAN.")]
Bic = Annotated[str, typer.Option("--bic", metavar="BIC", help="The bank's BIC; required without an IBAN.")]


@app.command("propose")
@client_command
def propose(  # noqa: PLR0917  # an account has many parts, and each is an option
    session: Session,
    collective: Collective,
    holder: Holder,
    town: Town,
    country: Country,
    currency: Currency,
    street: Street = "",
    building: Building = "",
    postcode: Postcode = "",
    iban: Iban = "",
    account: Account = "",
    bic: Bic = "",
    smallest: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The smallest amount that is paid; less stays owed.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
) -> None:
    """Set the account to which a collective is paid; a collective proposes its own. It waits three days."""
    asked = AccountDetails(
        holder=holder,
        street=street,
        building=building,
        postcode=postcode,
        town=town,
        country=country.upper(),
        iban=iban.replace(" ", "").upper(),
        account=account,
        bic=bic.replace(" ", "").upper(),
        currency=currency,
        smallest_minor=0 if smallest is None else amount_in_minor(smallest, None, currency),
    )
    payee = session.client.set_payee(collective, asked, reason=reason)
    said = f"{collective} is paid to this account from {payee.payable_time.ToDatetime():%Y-%m-%d %H:%M} UTC on."
    show_act(session.output, payee, said)


@app.command("show")
@client_command
def show(session: Session, collective: Collective) -> None:
    """Show the account to which a collective is paid."""
    payee = session.client.get_payee(collective)
    session.output.show(document(payee), rows(_rows(payee)))


@app.command("list")
@client_command
def list_payees(session: Session) -> None:
    """List the collectives that have an account."""
    found = list(session.client.list_payees())
    lines = [
        (identity(payee.name.removesuffix("/payee")), f"{payee.payable_time.ToDatetime():%Y-%m-%d %H:%M}")
        for payee in found
    ]
    session.output.show([document(payee) for payee in found], table(("collective", "paid from (UTC)"), lines))


def _rows(payee: Payee) -> list[tuple[str, str]]:
    paid_from = ("paid from", f"{payee.payable_time.ToDatetime():%Y-%m-%d %H:%M} UTC")
    if not payee.HasField("details"):
        return [("details", "erased"), paid_from]
    account = payee.details
    place = " ".join(filter(None, (account.postcode, account.town, account.country)))
    return [
        ("holder", account.holder),
        ("address", ", ".join(filter(None, (f"{account.street} {account.building}".strip(), place)))),
        ("account", account.iban or account.account),
        ("bank", account.bic or "-"),
        ("currency", account.currency),
        ("smallest payment", major(account.smallest_minor, account.currency)),
        paid_from,
    ]
