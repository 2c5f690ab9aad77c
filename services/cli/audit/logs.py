"""`moiety log`: a pool's log and its bodies, for auditors, and checkpoints and proofs, for everyone."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated

import typer

from services.cli.audit import checkpoints, forks
from services.cli.audit.bundles import export
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document
from services.cli.base.exits import InputError
from services.cli.base.output import details, table, write_bytes

app = typer.Typer(help="A pool's log: its contents, checkpoints and proofs.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id, or `registry`.")]

app.command("export")(export)


@app.command("head")
@client_command
def head(session: Session, pool: Pool) -> None:
    """Show the size and root of a pool's log."""
    found = document(session.client.get_log_head(pool))
    session.output.show(found, details(found.items()))


@app.command("list")
@client_command
def list_(
    session: Session,
    pool: Pool,
    start: Annotated[int, typer.Option(metavar="INDEX", help="The first leaf.")] = 0,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="At most this many leaves.")] = 1_000,
) -> None:
    """List a pool's leaves in order."""
    leaves = [
        {"index": leaf.index, "hash": leaf.hash.hex(), "entry": json.loads(leaf.entry)}
        for leaf in islice(session.client.list_leaves(pool, start=start), count)
    ]
    rows = [(leaf["index"], leaf["entry"].get("type"), leaf["entry"].get("time"), leaf["hash"]) for leaf in leaves]
    session.output.show(leaves, table(["Leaf", "Type", "Time", "Hash"], rows, right=["Leaf"]))


@app.command("watch")
@client_command
def watch(
    session: Session,
    pool: Pool,
    start: Annotated[int, typer.Option(metavar="INDEX", help="The first leaf.")] = 0,
    only_new: Annotated[bool, typer.Option("--only-new", help="Begin at the log's end.")] = False,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after so many.")] = None,
) -> None:
    """Print a log's leaves as they are appended, a line each, until interrupted; with --json as lines of JSON."""
    leaves = session.client.watch(pool, start=start, only_new=only_new)
    for leaf in islice(leaves, count):
        entry = json.loads(leaf.entry) if leaf.entry else {}
        shown = {"index": leaf.index, "hash": leaf.hash.hex(), "entry": entry}
        time, kind = entry.get("time", "-"), entry.get("type", "not shown")
        session.output.line(shown, f"{leaf.index}  {time}  {kind}  {leaf.hash.hex()}")


@app.command("body")
@client_command
def body(
    session: Session,
    pool: Pool,
    digest: Annotated[str, typer.Argument(metavar="SHA256", help="The body's SHA-256, in hexadecimal.")],
) -> None:
    """Write a body that a leaf commits to to stdout, byte for byte, after checking its SHA-256."""
    if session.output.as_json:
        raise InputError.of("json", "cannot be used: a body is bytes")
    try:
        wanted = bytes.fromhex(digest)
    except ValueError:
        raise InputError.of("sha256", "is not hexadecimal") from None
    write_bytes(session.client.get_body(pool, wanted))


app.command("checkpoint")(checkpoints.checkpoint)
app.command("checkpoints")(checkpoints.checkpoints)
app.command("proof")(checkpoints.proof)
app.command("verify-proof")(checkpoints.verify_proof)
app.command("consistency")(checkpoints.consistency)
app.command("fork")(forks.fork)
app.command("verify-fork")(forks.verify_fork)
app.command("key")(forks.key)
app.command("vkey")(forks.vkey)
app.command("change-key")(forks.change_key)
app.command("adopt")(checkpoints.adopt)
