"""`moiety bundle` and `moiety log export`: a pool's log as files that anyone can check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.audit.verify import parse_rounds
from services.cli.base.connection import Session, client_command
from services.cli.base.exits import InputError, NotWrittenError
from services.cli.base.output import details

if TYPE_CHECKING:
    from services.exports.tiles.folders import Exported

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]


@client_command
def bundle(
    session: Session,
    pool: Pool,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write.")],
    rounds: Annotated[
        str,
        typer.Option(metavar="LIST", help="Leave out batches that none of these rounds counts, such as 3,5-7."),
    ] = "",
) -> None:
    """Write everything that an audit of a pool needs to one archive, for `moiety verify`."""
    from services.exports.source import PoolSource
    from services.exports.tiles.bundles import write_bundle

    chosen = parse_rounds(rounds) if rounds else None
    with _told_plainly(file), session.output.progress("Bundling", None, "leaves") as bar:
        found = write_bundle(PoolSource(session.client, pool), file, chosen, bar.set)
    told = {**_told(found), "file": str(file), "bytes": file.stat().st_size}
    session.output.show(told, details(told.items()))


@client_command
def export(
    session: Session,
    pool: Pool,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to bring up to date.")],
) -> None:
    """Write a pool's log as static files: tiles, entries, bodies, checkpoint. Run again, it adds what is new."""
    from services.exports.source import PoolSource
    from services.exports.tiles.folders import export_folder

    with _told_plainly(folder), session.output.progress("Exporting", None, "leaves") as bar:
        found = export_folder(PoolSource(session.client, pool), folder, bar.set)
    told = {**_told(found), "folder": str(folder), "entries_before": found.entries_before}
    session.output.show(told, details(told.items()))


def _told(found: Exported) -> dict[str, Any]:
    checkpoint = found.checkpoint
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "entries": found.entries,
        "bodies": found.bodies,
    }


@contextmanager
def _told_plainly(path: Path) -> Iterator[None]:
    """Turns errors about files and their contents into errors of the command."""
    from ledger.errors import FormatError, InvalidInputError, LedgerCorruptError
    from moiety.errors import DataLossError

    try:
        yield
    except OSError as error:
        raise NotWrittenError.of("path", f"{error.filename or path}: {error.strerror}") from None
    except InvalidInputError as error:
        raise InputError.of(error.violations[0].field, error.violations[0].reason) from None
    except (FormatError, LedgerCorruptError) as error:
        raise DataLossError(str(error)) from None
