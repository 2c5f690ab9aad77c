"""What commands share that run the service or work on its database: settings, and how errors are handled."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Concatenate, Final, ParamSpec

import typer

from ledger.errors import (
    BusyError,
    InvalidInputError,
    LedgerCorruptError,
    LedgerError,
    LostRaceError,
    StateError,
    StoreUnavailableError,
    UnwritableError,
)
from moiety.roots import Violation
from services.cli.base.exits import ConflictError, Exit, InputError, NotWrittenError
from services.cli.base.output import Output, report

P = ParamSpec("P")

JSON_OPTION: Final = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]


class DatabaseAwayError(InputError):
    """The database cannot be reached, or is busy; the same command may work later."""

    code = Exit.SERVICE_AWAY


class DatabaseCorruptError(InputError):
    """The database contradicts itself."""

    code = Exit.FAULT


def local_command(run: Callable[Concatenate[Output, P], None]) -> Callable[..., None]:
    """Turn a function whose first argument is an output into a command, with `--json` besides its own options."""

    @wraps(run)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.pop("as_json"))
        try:
            run(Output(as_json), *args, **kwargs)
        except LedgerError as error:
            raise typer.Exit(report(_explained(error), as_json=as_json)) from None

    own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]
    option: Any = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, annotation=JSON_OPTION, default=False)
    # Typer reads a command's options from its signature.
    command.__signature__ = inspect.Signature([*own, option], return_annotation=None)  # type: ignore[attr-defined]
    return command


def _explained(error: LedgerError) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, InvalidInputError):
        kind = NotWrittenError if isinstance(error, UnwritableError) else InputError
        return kind([Violation(found.field, found.reason) for found in error.violations])
    if isinstance(error, StateError):
        return ConflictError([Violation(error.subject, error.detail)])
    if isinstance(error, StoreUnavailableError | BusyError | LostRaceError):
        return DatabaseAwayError.of("database", str(error))
    if isinstance(error, LedgerCorruptError):
        return DatabaseCorruptError.of("database", str(error))
    return InputError.of("database", str(error))
