"""`moiety operator`, `moiety auditor` and `moiety controls`: who may act, and how many people acts need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.exits import InputError
from services.cli.base.output import details, table

Identity = Annotated[str, typer.Argument(metavar="ID", help="The id, for example alice.")]


def _people(collection: str, one: str) -> typer.Typer:
    """Returns the commands about operators, or those about auditors."""
    app = typer.Typer(help=f"{one.capitalize()}s: who they are, and whether they may act.", no_args_is_help=True)

    @app.command("add", help=f"Register an {one}; its key is issued by `moiety key issue`.")
    @client_command
    def add(session: Session, name: Identity) -> None:
        found = session.client.update_principal(f"{collection}/{name}")
        show_act(session.output, found, f"{found.name} may act.")

    @app.command("suspend", help=f"Suspend an {one}: none of its keys opens anything. `add` lifts the suspension.")
    @client_command
    def suspend(session: Session, name: Identity) -> None:
        found = session.client.update_principal(f"{collection}/{name}", suspended=True)
        show_act(session.output, found, f"{found.name} may not act.")

    @app.command("list", help=f"List {one}s.")
    @client_command
    def list_(session: Session) -> None:
        people = [document(each) for each in session.client.list_principals() if each.name.startswith(collection)]
        rows = [
            (identity(each["name"]), each["status"], "one person" if each["registered_alone"] else "two or founding")
            for each in people
        ]
        session.output.show(people, table(["Id", "Status", "Registered by"], rows))

    @app.command("show", help=f"Show an {one} and its keys.")
    @client_command
    def show(session: Session, name: Identity) -> None:
        wanted = f"{collection}/{name}"
        found = [document(each) for each in session.client.list_principals() if each.name == wanted]
        if not found:
            raise InputError.of(one, f"{wanted} is not registered")
        keys = [document(key) for key in session.client.list_api_keys() if key.principal == wanted]
        rows = [
            (identity(key["name"]), key["create_time"], key["expire_time"], key["revoke_time"], ", ".join(key["pools"]))
            for key in keys
        ]
        session.output.show(
            {**found[0], "keys": keys},
            details((field, value) for field, value in found[0].items() if field != "proposal"),
            table(["Key", "Made", "Ends", "Revoked", "Pools"], rows),
        )

    return app


operator_app = _people("operators", "operator")
auditor_app = _people("auditors", "auditor")

controls_app = typer.Typer(help="How many people acts need.", no_args_is_help=True)

Count = Annotated[int | None, typer.Option(metavar="1|2", help="People needed (default: unchanged).")]


@controls_app.command("show")
@client_command
def show(session: Session) -> None:
    """Show how many people each kind of act needs, and who founded the deployment."""
    found = document(session.client.get_controls())
    session.output.show(found, details((name, value) for name, value in found.items() if name != "proposal"))


@controls_app.command("set")
@client_command
def set_(
    session: Session,
    people: Count = None,
    terms: Count = None,
    weights: Count = None,
    money: Count = None,
    rounds: Count = None,
    registry: Count = None,
) -> None:
    """Change how many people acts need. Relaxing them needs the stricter of the old and the new number."""
    wanted = {"people": people, "terms": terms, "weights": weights, "money": money, "rounds": rounds}
    wanted["registry"] = registry
    current = session.client.get_controls()
    for name, count in wanted.items():
        if count is not None:
            setattr(current, name, count)
    found = session.client.update_controls(current)
    show_act(session.output, found, "The controls were changed.")


witnesses_app = typer.Typer(help="The witnesses by whom reviews of rounds are timed.", no_args_is_help=True)


@witnesses_app.command("show")
@client_command
def show_witnesses(session: Session) -> None:
    """Print the policy of the witnesses, in the form of C2SP's tlog-policy."""
    found = session.client.get_timing_witnesses()
    nobody = "No witnesses: the database's clock ends reviews."
    session.output.show(document(found), *(found.policy.splitlines() or [nobody]))


@witnesses_app.command("set")
@client_command
def set_witnesses(
    session: Session,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A witness policy; the one that `moiety verify --witness-policy` takes."),
    ] = None,
    nobody: Annotated[
        bool, typer.Option("--none", help="Have no witnesses: the database's clock ends reviews.")
    ] = False,
) -> None:
    """Name the witnesses by whom reviews of rounds are timed, from the next round that is calculated on."""
    if (file is None) != nobody:
        raise InputError.of("file", "is required, or --none")
    try:
        policy = file.read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of("file", f"{file}: {error}") from None
    found = session.client.update_timing_witnesses(policy)
    show_act(session.output, found, "The witnesses were changed.")
