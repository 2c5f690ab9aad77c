"""`moiety key`: who may call."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.output import details, table

app = typer.Typer(help="API keys: who may call.", no_args_is_help=True)


@app.command("issue")
@client_command
def issue(
    session: Session,
    principal: Annotated[
        str,
        typer.Argument(
            metavar="PRINCIPAL", help="operators/ID, platforms/PLATFORM, collectives/COLLECTIVE or auditors/ID."
        ),
    ],
) -> None:
    """Make an API key for a principal and print its secret, this once."""
    made = session.client.create_api_key(principal)
    session.output.show(
        document(made),
        details([("key", identity(made.api_key.name)), ("principal", made.api_key.principal), ("secret", made.secret)]),
        "The secret is shown this once. Set it as MOIETY_API_KEY where it is used.",
    )


@app.command("revoke")
@client_command
def revoke(
    session: Session, key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, from `moiety key list`.")]
) -> None:
    """End an API key at once and for ever. Repeating it changes nothing."""
    revoked = session.client.revoke_api_key(identity(key))
    ended = document(revoked)["revoke_time"]
    session.output.show(
        document(revoked), f"Key {identity(revoked.name)} of {revoked.principal} is revoked since {ended}."
    )


@app.command("list")
@client_command
def list_(session: Session) -> None:
    """List API keys, without their secrets."""
    keys = [document(key) for key in session.client.list_api_keys()]
    session.output.show(
        keys,
        table(
            ["Key", "Principal", "Made", "Revoked"],
            [(identity(key["name"]), key["principal"], key["create_time"], key["revoke_time"]) for key in keys],
        ),
    )
