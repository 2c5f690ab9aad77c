"""`moiety platform`, `moiety collective` and `moiety pool`: what is registered, who reports to a pool, closing one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from moiety import Client
from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import Document, document, identity
from services.cli.base.output import details, table

Identity = Annotated[str, typer.Argument(metavar="ID", help="The id, for example irish.")]


def _registered(
    help_text: str,
    list_all: Callable[[Client], Iterator[Any]],
    get_one: Callable[[Client, str], Message],
    columns: Sequence[str],
    row: Callable[[Document], Sequence[object]],
) -> typer.Typer:
    """The commands that list and show one kind of thing that is registered."""
    app = typer.Typer(help=help_text, no_args_is_help=True)

    @app.command("list")
    @client_command
    def list_(session: Session) -> None:
        """List them by id."""
        found = [document(each) for each in list_all(session.client)]
        rows = [(identity(each["name"]), *row(each)) for each in found]
        session.output.show(found, table(["Id", *columns], rows))

    @app.command("show")
    @client_command
    def show(session: Session, name: Identity) -> None:
        """Show one with all its fields."""
        found = document(get_one(session.client, name))
        session.output.show(found, details(_fields(found)))

    return app


def _fields(found: Document, before: str = "") -> Iterator[tuple[str, object]]:
    """The names and values of a document's fields, those inside it too."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{before}{name}.")
        elif isinstance(value, list):
            yield f"{before}{name}", ", ".join(map(str, value))
        else:
            yield f"{before}{name}", value


platform_app = _registered(
    "Platforms: who submits usage and revenue.",
    lambda client: client.list_platforms(),
    lambda client, name: client.get_platform(name),
    ["Name", "Registered"],
    lambda each: (each["display_name"], each["create_time"]),
)
collective_app = _registered(
    "Collectives: who is paid.",
    lambda client: client.list_collectives(),
    lambda client, name: client.get_collective(name),
    ["Name", "Members", "Equity ppm", "Status", "Domains"],
    lambda each: (
        each["display_name"], each["members"], each["equity_ppm"], each["status"], len(each["domains"])
    ),
)  # fmt: skip
pool_app = _registered(
    "Pools: revenue in one currency under one policy.",
    lambda client: client.list_pools(),
    lambda client, name: client.get_pool(name),
    ["Name", "Currency", "Policy", "Leaves"],
    lambda each: (each["display_name"], each["currency"], each["policy"]["version"], each["log_size"]),
)


Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
PlatformId = Annotated[str, typer.Argument(metavar="PLATFORM", help="The platform's id.")]


@pool_app.command("admit")
@client_command
def admit(session: Session, pool: Pool, platform: PlatformId) -> None:
    """Admit a platform to a pool: it may report usage and revenue from now on."""
    admitted = session.client.admit_platform(pool, platform)
    show_act(session.output, admitted, f"platform {platform} may report to pool {pool}.")


@pool_app.command("expel")
@client_command
def expel(session: Session, pool: Pool, platform: PlatformId) -> None:
    """End a platform's admission to a pool: it may report and retract nothing more. What it reported is paid out."""
    expelled = session.client.expel_platform(pool, platform)
    said = f"platform {platform} may no longer report to pool {pool}, nor retract."
    show_act(session.output, expelled, said)


@pool_app.command("close")
@client_command
def close(session: Session, pool: Pool) -> None:
    """Close a pool to usage and retractions, for ever. Rounds over the usage that it has go on.

    Events that are sent to another pool afterwards are new there.
    """
    closed = session.client.close_pool(pool)
    show_act(session.output, closed, f"{closed.name} takes no more usage.")
