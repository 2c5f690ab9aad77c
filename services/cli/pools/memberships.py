"""`moiety membership`: the collective of each source of a pool's scores."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from moiety import read_membership
from moiety.memberships import render_membership
from services.cli.base.acts import done_or_waits, outcome
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.output import counted, table

app = typer.Typer(help="Memberships: the collective of each source of scores.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
Membership = Annotated[str, typer.Argument(metavar="MEMBERSHIP", help="The membership's id, which methods name.")]


@app.command("set")
@client_command
def set_(
    session: Session,
    pool: Pool,
    membership: Membership,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="CSV with the columns source and collective, in any order.")
    ],
) -> None:
    """Log a membership, or its next version. Safe to repeat: the same file changes nothing."""
    collectives = read_membership(file)
    logged = session.client.create_membership(pool, membership, collectives)
    session.output.show(
        outcome(logged),
        done_or_waits(
            logged,
            f"Version {logged.version} of {membership}: {counted(logged.source_count, 'source')} of "
            f"{counted(logged.collective_count, 'collective')}; leaf {logged.leaf_index}.",
        ),
        *_alike(collectives),
    )


def _alike(sources: Iterable[str]) -> Iterator[str]:
    """Says of each two sources that differ only in Unicode form, surrounding space or case that they are two."""
    seen: dict[str, str] = {}
    for source in sources:
        first = seen.setdefault(unicodedata.normalize("NFKC", source).strip().casefold(), source)
        if first != source:
            yield f"{first!a} and {source!a} are two sources: scores count for the one whose bytes they have."


@app.command("list")
@client_command
def list_(session: Session, pool: Pool) -> None:
    """List every version of a pool's memberships, in log order."""
    found = [document(membership) for membership in session.client.list_memberships(pool)]
    shown = ("version", "source_count", "collective_count", "leaf_index", "create_time")
    rows = [(identity(membership["name"]), *(membership[name] for name in shown)) for membership in found]
    columns = ["Membership", "Version", "Sources", "Collectives", "Leaf", "Logged"]
    session.output.show(found, table(columns, rows, right=columns[1:5]))


@app.command("show")
@client_command
def show(
    session: Session,
    pool: Pool,
    membership: Membership,
    version: Annotated[int, typer.Option(metavar="N", min=0, help="The version (default: the latest).")] = 0,
) -> None:
    """Print a membership as CSV, as logged; with --json, the collectives by source."""
    found = session.client.get_membership(pool, membership, version=version)
    session.output.show(found, *render_membership(found).decode().removesuffix("\n").split("\n"))
