"""`moiety statement`: files with which a collective verifies its own line of a round, alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.base.connection import Session, client_command
from services.cli.base.output import write_file

app = typer.Typer(help="Verify your own line of a round, alone.", no_args_is_help=True)


@app.callback()
def statement() -> None:
    """Verify your own line of a round, alone."""


@app.command("get")
@client_command
def get(
    session: Session,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")],
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The round's number, starting with 1.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    collective: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose line (default: the caller's own).")
    ] = None,
) -> None:
    """Write a collective's statement file, which `moiety verify FILE --key VKEY` checks: its line of a round, and all
    that the line follows from.
    """
    content = session.client.get_statement_file(pool, number, collective=collective)
    write_file(out, content)
    session.output.show({"file": str(out), "bytes": len(content)}, f"The line of round {number} of {pool}, in {out}")
