"""`moiety split`: a collective's amount of a round, divided among its members without any member in the ledger."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.audit.options import read_file
from services.cli.base.connection import Session, client_command
from services.cli.base.exits import InputError
from services.cli.base.output import Output, counted, report, write_file

if TYPE_CHECKING:
    from payout.splits import SplitLine

app = typer.Typer(help="Split a collective's amount among its members, verifiably.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The round's number, starting with 1.")]
SplitFile = Annotated[Path, typer.Argument(metavar="SPLIT", help="The file that `moiety split make` wrote.")]


@app.command("make")
def make(
    csv: Annotated[
        Path, typer.Argument(metavar="CSV", help="Columns member,amount_minor: pseudonyms and minor units.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The split with its salts, which you keep secret.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")] = False,
) -> None:
    """Make a split from a CSV, offline: the lines in a random order, each with a random salt."""
    from ledger.errors import InvalidInputError
    from payout.splits import SplitLine, read_split, sum_root

    try:
        members = read_split(read_file(csv, "csv").decode())
    except UnicodeDecodeError:
        raise typer.Exit(report(InputError.of("csv", f"{csv}: is not UTF-8"), as_json=as_json)) from None
    except InvalidInputError as error:
        detail = "; ".join(each.reason for each in error.violations)
        raise typer.Exit(report(InputError.of("csv", f"{csv}: {detail}"), as_json=as_json)) from None
    except InputError as error:
        raise typer.Exit(report(error, as_json=as_json)) from None
    secrets.SystemRandom().shuffle(members)
    lines = [SplitLine(member, amount, secrets.token_bytes(32)) for member, amount in members]
    document = [
        {"member": line.member, "amount_minor": str(line.amount_minor), "salt": line.salt.hex()} for line in lines
    ]
    root = sum_root([line.leaf() for line in lines])
    write_file(out, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")
    Output(as_json).show(
        {"lines": len(lines), "amount_minor": root.amount_minor, "split_root": root.hash.hex(), "file": str(out)},
        f"{counted(len(lines), 'line')} of {root.amount_minor:,} minor units together, in {out}",
    )


@app.command("log")
@client_command
def log(
    session: Session,
    pool: Pool,
    number: Number,
    split: SplitFile,
    rule: Annotated[str, typer.Option(metavar="TEXT", help="The rule by which you split, in words.")],
) -> None:
    """Log a split as the collective: its root, its sum, and the rule. An amount is split once."""
    from payout.splits import sum_root

    lines = _lines(split)
    root = sum_root([line.leaf() for line in lines])
    found = session.client.log_split(
        pool, number, amount_minor=root.amount_minor, line_count=len(lines), split_root=root.hash, rule=rule
    )
    said: dict[str, Any] = {"leaf_index": found.leaf_index, "split_root": root.hash.hex()}
    session.output.show(said, f"Logged at leaf {found.leaf_index} of {pool}")


@app.command("files")
@client_command
def files(
    session: Session,
    pool: Pool,
    number: Number,
    split: SplitFile,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write one file a member to.")],
) -> None:
    """Write each member's file for `moiety verify FILE --key VKEY`: the collective's line, and the member's of it."""
    from audit.statements.file import MemberLine, StatementFile
    from payout.splits import sum_paths

    whole = StatementFile.parse(session.client.get_statement_file(pool, number))
    lines = _lines(split)
    paths = sum_paths([line.leaf() for line in lines])
    out.mkdir(parents=True, exist_ok=True)
    for position, (line, path) in enumerate(zip(lines, paths, strict=True)):
        member = MemberLine(line.document(), line.salt, position, path)
        write_file(out / _file_name(position, line.member), replace(whole, member=member).to_bytes())
    session.output.show({"files": len(lines), "folder": str(out)}, f"{counted(len(lines), 'file')}, in {out}")


def _file_name(position: int, member: str) -> str:
    """A name that no pseudonym can lead out of the folder, or make the same as another's."""
    return f"{position:07d}-{re.sub(r'[^A-Za-z0-9_-]', '_', member)[:60]}.json"


def _lines(split: Path) -> list[SplitLine]:
    from ledger.errors import InvalidInputError
    from payout.splits import split_lines

    try:
        found = split_lines(json.loads(read_file(split, "split")))
    except (ValueError, InvalidInputError):
        raise InputError.of("split", f"{split}: is not a file of `moiety split make`") from None
    if not found:
        raise InputError.of("split", f"{split}: has no lines")
    return found
