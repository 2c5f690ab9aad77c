"""`moiety adjustment`: a posted round that was wrong, corrected by the difference over the corrected log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document
from services.cli.base.exits import InputError
from services.cli.base.money import major
from services.cli.base.output import table

app = typer.Typer(help="Correct posted rounds: what differs is asked back and paid.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The posted round's number.")]
PoolLeaves = Annotated[
    list[int] | None,
    typer.Option("--leaf", metavar="LEAF", help="A policy or a method of the pool's log that is right. Repeatable."),
]
RegistryLeaves = Annotated[
    list[int] | None,
    typer.Option("--registry-leaf", metavar="LEAF", help="A collective of the registry's log that is right."),
]


@app.command("preview")
@client_command
def preview(
    session: Session, pool: Pool, number: Number, leaf: PoolLeaves = None, registry_leaf: RegistryLeaves = None
) -> None:
    """Show what a round would have given over the corrected log. Nothing is recorded."""
    found = session.client.preview_adjustment(pool, number, pool_leaves=leaf or [], registry_leaves=registry_leaf or [])
    lines = document(found)["lines"]
    currency = session.client.get_pool(pool).currency
    session.output.show({"lines": lines}, _lines(lines, currency) if lines else "The round gives the same.")


@app.command("propose")
@client_command
def propose(
    session: Session,
    pool: Pool,
    number: Number,
    *,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="Your own id for the request; a repeat changes nothing.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    leaf: PoolLeaves = None,
    registry_leaf: RegistryLeaves = None,
    source: Annotated[
        str,
        typer.Option(metavar="ACCOUNT", help="fees or commons, to pay at once what is due."),
    ] = "",
) -> None:
    """Adjust a posted round; a second operator approves it where the controls ask for two."""
    made = session.client.adjust_round(
        pool, number, request_id=request_id, reason=reason, pool_leaves=leaf or [],
        registry_leaves=registry_leaf or [], source=source,
    )  # fmt: skip
    currency = session.client.get_pool(pool).currency
    said = f"Round {number} of {pool} adjusted by {major(made.amount_minor, currency)}, leaf {made.leaf_index}."
    show_act(session.output, made, said)


@app.command("list")
@client_command
def list_adjustments(session: Session, pool: Pool) -> None:
    """List a pool's adjustments. A collective sees its own."""
    currency = session.client.get_pool(pool).currency
    found = [document(each) for each in session.client.list_adjustments(pool)]
    rows = [
        (
            item["leaf_index"], item["name"].rpartition("/")[2], item["round"].rpartition("/")[2],
            major(item["amount_minor"], currency), item["source"], item["reason"], item["create_time"],
        )
        for item in found
    ]  # fmt: skip
    columns = ["Leaf", "Request", "Round", "Amount", "Source", "Reason", "Logged"]
    session.output.show(found, table(columns, rows, right=["Leaf", "Round", "Amount"]))


@app.command("show")
@client_command
def show(
    session: Session,
    pool: Pool,
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="The adjustment's request id.")],
) -> None:
    """Show an adjustment: old, new and the reason. A collective sees its own line."""
    name = f"pools/{pool}/adjustments/{request}"
    found = next((each for each in session.client.list_adjustments(pool) if each.name == name), None)
    if found is None:
        raise InputError.of("request", f"no adjustment {request} in {pool}")
    currency = session.client.get_pool(pool).currency
    item = document(found)
    session.output.show(item, f"{found.round}: {found.reason}", _lines(item["lines"], currency))


def _lines(lines: Iterable[dict[str, Any]], currency: str) -> object:
    rows = [
        (
            line["account"], major(line["old_minor"], currency), major(line["new_minor"], currency),
            major(line["new_minor"] - line["old_minor"], currency),
        )
        for line in lines
    ]  # fmt: skip
    return table(["Account", "Old", "New", "Difference"], rows, right=["Old", "New", "Difference"])
