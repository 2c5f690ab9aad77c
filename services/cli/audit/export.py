"""`moiety export`: a pool as files for other people's tools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from services.cli.base.connection import Session, client_command
from services.cli.base.exits import ConflictError, InputError, NotWrittenError
from services.cli.base.output import details


@client_command
def export(
    session: Session,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder for the files; created if missing.")],
    *,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Tables for analysis. Only what is new in the log is added.")
    ] = False,
    beancount: Annotated[bool, typer.Option("--beancount", help="The books for Beancount.")] = False,
    hledger: Annotated[bool, typer.Option("--hledger", help="The books for hledger.")] = False,
) -> None:
    """Write a pool's tables or books to files, from its log alone; for operators and auditors."""
    from services.exports.books.beancount import Beancount
    from services.exports.books.books import Dialect, export_books
    from services.exports.books.hledger import Hledger
    from services.exports.parquet.folder import export_parquet
    from services.exports.source import PoolSource

    dialects: list[Dialect] = []
    dialects += [Beancount()] if beancount else []
    dialects += [Hledger()] if hledger else []
    if not (parquet or dialects):
        raise InputError.of("format", "is required: one or more of --parquet, --beancount and --hledger")
    source = PoolSource(session.client, pool)
    new_rows: dict[str, int] = {}
    new_leaves: int | None = None
    if parquet:
        with session.output.progress("tables", source.size, "leaves") as bar, _own_errors(folder):
            tables = export_parquet(source, folder, bar.advance)
        new_leaves, new_rows = tables.end - tables.start, tables.rows
    paths: list[str] = []
    if dialects:
        with session.output.progress("books", source.size, "leaves") as bar, _own_errors(folder):
            books = export_books(source, source.balances(source.size), folder, tuple(dialects), bar.advance)
        paths = [str(each.path) for each in books]
    session.output.show(
        {
            "log_size": source.size,
            "log_root": source.root.hex(),
            "new_leaves": new_leaves,
            "new_rows": new_rows,
            "books": paths,
        },
        details(
            [
                ("log", f"{source.size} leaves, root {source.root.hex()}"),
                ("new leaves", new_leaves),
                *((f"  {name}", count) for name, count in new_rows.items()),
                *(("books", path) for path in paths),
            ]
        ),
    )


@contextmanager
def _own_errors(folder: Path) -> Iterator[None]:
    from ledger.errors import LedgerCorruptError
    from moiety.errors import DataLossError
    from services.exports.errors import ExportFolderError, ExportValueError

    try:
        yield
    except ExportFolderError as error:
        raise InputError.of(str(error.path), error.reason) from None
    except OSError as error:
        raise NotWrittenError.of(str(error.filename or folder), error.strerror or str(error)) from None
    except ExportValueError as error:
        raise ConflictError.of(f"leaf {error.leaf_index}, table {error.table}", error.reason) from None
    except LedgerCorruptError as error:
        raise DataLossError(str(error)) from None
