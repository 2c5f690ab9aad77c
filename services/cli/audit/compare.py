"""`moiety audit`: what auditors do with two bundles. All offline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.base.exits import DoesNotHoldError, InputError
from services.cli.base.local import local_command
from services.cli.base.output import Output, counted, table

if TYPE_CHECKING:
    from audit.comparison import Comparison, Difference, LogComparison, Side

app = typer.Typer(help="For auditors: two bundles side by side.", no_args_is_help=True)


@app.callback()
def _audit() -> None:
    """Keeps `compare` a command of its own."""


@app.command("compare")
@local_command
def compare(
    output: Output,
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle, or the folder of an export.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same pool.")],
) -> None:
    """Show where two bundles differ: where their logs part, what one has that the other lacks, whose money it is.

    It verifies neither: `moiety verify` does. Exits with status 1 if they tell two histories.
    """
    from audit.comparison import compare as comparison_of
    from audit.files.archives import open_files
    from ledger.errors import FormatError, NotFoundError

    try:
        with closing(open_files(a)) as one, closing(open_files(b)) as other:
            found = comparison_of(one, other)
    except OSError as error:
        raise InputError.of("bundle", f"{error.filename or a}: {error.strerror}") from None
    except FormatError as error:
        raise InputError.of("bundle", f"{error.subject} {error.reason}") from None
    except NotFoundError as error:
        raise InputError.of("bundle", f"{error.resource} is missing") from None
    output.show(_document(found), *_shown(found, str(a), str(b)))
    if found.parts:
        raise DoesNotHoldError.of("bundles", "tell two histories")


def _document(found: Comparison) -> dict[str, Any]:
    return {
        "same": found.same,
        "parts": found.parts,
        "logs": [_log_document(log) for log in found.logs],
        "only_a": found.only_a,
        "only_b": found.only_b,
        "currency": found.currency,
        "difference_count": found.difference_count,
        "rounds": [asdict(each) for each in found.rounds],
        "balances": [asdict(each) for each in found.balances],
    }


def _log_document(log: LogComparison) -> dict[str, Any]:
    sides = {name: _side_document(side) for name, side in (("a", log.a), ("b", log.b))}
    return {"origin": log.name, "common_leaves": log.common, "parts": log.parts, **sides}


def _side_document(side: Side) -> dict[str, Any]:
    return {
        "size": side.checkpoint.size,
        "root": side.checkpoint.root.hex(),
        "leaves": dict(side.leaves),
        "moved_minor": dict(side.moved_minor),
        "bodies_missing": side.bodies_missing,
        "bodies_missing_count": side.bodies_missing_count,
    }


def _shown(found: Comparison, a: str, b: str) -> Iterator[object]:
    yield f"A: {a}"
    yield f"B: {b}"
    for letter, only in (("A", found.only_a), ("B", found.only_b)):
        yield from (f"Only {letter} has {name}." for name in only)
    for log in found.logs:
        yield from _log_shown(log, found.currency)
    if found.rounds:
        yield table(["Round", "Figure", "A", "B"], [_row(each, found.currency) for each in found.rounds])
    if found.balances:
        rows = [_row(each, found.currency) for each in found.balances]
        yield table(["Account", "Figure", "A", "B"], rows, right=["A", "B"])
    unlisted = found.difference_count - len(found.rounds) - len(found.balances)
    if unlisted:
        yield f"And {unlisted:,} more differences of rounds and balances."
    yield _verdict(found)


def _verdict(found: Comparison) -> str:
    if found.same:
        return "Nothing differs."
    if found.parts:
        return "They tell two histories."
    return "They differ, and neither contradicts the other: see what one has more."


def _log_shown(log: LogComparison, currency: str) -> Iterator[object]:
    sizes = f"A {log.a.checkpoint.size:,} leaves, B {log.b.checkpoint.size:,}"
    if log.parts:
        yield f"{log.name}: {sizes}. THEY PART at leaf {log.common:,}."
    else:
        yield f"{log.name}: {sizes}. The first {counted(log.common, 'leaf', 'leaves')} are the same."
    rows = []
    for kind in sorted(log.a.leaves.keys() | log.b.leaves.keys()):
        moved = [_money(side.moved_minor[kind], currency) if side.moved_minor[kind] else "" for side in (log.a, log.b)]
        rows.append((kind, log.a.leaves[kind], log.b.leaves[kind], *moved))
    if rows:
        columns = ["Beyond that", "in A", "in B", "A moves", "B moves"]
        yield table(columns, rows, right=columns[1:])
    for letter, side in (("A", log.a), ("B", log.b)):
        if side.bodies_missing_count:
            yield f"{letter} lacks {counted(side.bodies_missing_count, 'body', 'bodies')} that its leaves name."


def _row(each: Difference, currency: str) -> tuple[str, str, str, str]:
    is_amount = each.figure == "balance" or each.figure.endswith("_minor")
    a, b = (_money(value, currency) if is_amount and value else value for value in (each.a, each.b))
    return each.subject, each.figure, a, b


def _money(amount_minor: str | int, currency: str) -> str:
    from ledger.errors import InvalidInputError
    from ledger.money import decimal_text, minor_unit_exponent

    try:
        return f"{decimal_text(int(amount_minor), minor_unit_exponent(currency))} {currency}"
    except (InvalidInputError, ValueError):
        return f"{amount_minor} minor units"
