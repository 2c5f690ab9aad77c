"""`moiety contact`: where people are written to."""

from __future__ import annotations

from typing import Annotated

import typer

from moiety.v1.registry_pb2 import Contact
from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document
from services.cli.base.output import details

app = typer.Typer(help="Contacts: where operators and collectives are written to.", no_args_is_help=True)

Principal = Annotated[str, typer.Argument(metavar="PRINCIPAL", help="collectives/ID or operators/ID.")]


@app.command("set")
@client_command
def set_(
    session: Session,
    principal: Principal,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The address; an empty one is sent nothing.")],
    language: Annotated[str, typer.Option(metavar="CODE", help="The language of messages: en or de.")] = "en",
) -> None:
    """Say where somebody is written to. The address before hears of it."""
    found = session.client.set_contact(principal, email, language)
    said = f"{principal} is written to at {found.email}." if found.email else f"{principal} is sent nothing."
    show_act(session.output, found, said)


@app.command("show")
@client_command
def show(session: Session, principal: Principal) -> None:
    """Show where somebody is written to."""
    found = session.client.get_contact(principal)
    session.output.show(document(found), details(_rows(found)))


def _rows(found: Contact) -> list[tuple[str, str]]:
    asked = "only what everybody must be told" if found.HasField("unsubscribe_time") else "all"
    return [("email", found.email or "none"), ("language", found.language), ("is sent", asked)]
