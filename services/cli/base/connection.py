"""How a command reaches the service: the options that every client command has, and how errors are handled."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec

import typer

from ledger.errors import LedgerError
from moiety import Client, MoietyError
from services.cli.base.exits import InputError, NotAllowedError
from services.cli.base.output import Output, report

P = ParamSpec("P")

_TOO_LARGE: Final = "Value out of range"
"""How protobuf's ValueError starts for a number that does not fit in its field."""

_PANEL: Final = "Connection and output"
_OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "address": (
        Annotated[
            str,
            typer.Option(
                envvar="MOIETY_ADDRESS", metavar="HOST:PORT", help="Address of the service.", rich_help_panel=_PANEL
            ),
        ],
        "127.0.0.1:50051",
    ),
    "api_key": (
        Annotated[
            str,
            typer.Option(
                envvar="MOIETY_API_KEY",
                metavar="SECRET",
                help="API key to authenticate with. Better set in the environment: others can see a command line.",
                show_default=False,
                rich_help_panel=_PANEL,
            ),
        ],
        "",
    ),
    "ca_certificate": (
        Annotated[
            Path | None,
            typer.Option(
                envvar="MOIETY_CA_CERTIFICATE_FILE",
                metavar="FILE",
                help="PEM certificates to trust instead of the system's.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "client_certificate": (
        Annotated[
            Path | None,
            typer.Option(
                envvar="MOIETY_CLIENT_CERTIFICATE_FILE",
                metavar="FILE",
                help="A client certificate to authenticate with at the mTLS port, in PEM.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "client_key": (
        Annotated[
            Path | None,
            typer.Option(
                envvar="MOIETY_CLIENT_KEY_FILE",
                metavar="FILE",
                help="The client certificate's private key, in PEM.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "timeout_seconds": (
        Annotated[
            float,
            typer.Option(
                "--timeout",
                envvar="MOIETY_TIMEOUT_SECONDS",
                metavar="SECONDS",
                min=0.1,
                help="How long to wait for an answer; calls are repeated meanwhile where the service is away.",
                rich_help_panel=_PANEL,
            ),
        ],
        20.0,
    ),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.", rich_help_panel=_PANEL)],
        False,
    ),
}


@dataclass(frozen=True, slots=True)
class Session:
    """What a client command works with."""

    client: Client
    output: Output


def client_command(run: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Turn a function whose first argument is a session into a command.

    The command has the connection's options besides its own. An error of Moiety's ends it with the exit status of
    `services.cli.base.exits`, and `services.cli.base.output` prints it.
    """

    @wraps(run)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        given: dict[str, Any] = {name: kwargs.pop(name) for name in _OPTIONS}
        output = Output(given.pop("as_json"))
        try:
            with _connect(**given) as client, _telling_of_waits(output):
                run(Session(client, output), *args, **kwargs)
        except (MoietyError, LedgerError) as error:
            raise typer.Exit(report(error, as_json=output.as_json)) from None
        except ValueError as error:
            if not str(error).startswith(_TOO_LARGE):
                raise
            wrong = InputError.of("command line or file", str(error))
            raise typer.Exit(report(wrong, as_json=output.as_json)) from None

    own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    # Typer reads a command's options from its signature.
    command.__signature__ = inspect.Signature([*own, *options], return_annotation=None)  # type: ignore[attr-defined]
    return command


@contextmanager
def _telling_of_waits(output: Output) -> Iterator[None]:
    """Tell people at a terminal, once, that the service is away and waited for."""
    log = logging.getLogger("moiety")
    handler = _Once()
    if not output.as_json and sys.stderr.isatty():
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Once(logging.Handler):
    """Writes the first message on stderr, and no other."""

    _was_told = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._was_told:
            self._was_told = True
            sys.stderr.write(record.getMessage() + "\n")


def _connect(
    address: str,
    api_key: str,
    ca_certificate: Path | None,
    client_certificate: Path | None,
    client_key: Path | None,
    timeout_seconds: float,
) -> Client:
    if not api_key and not client_certificate:
        raise NotAllowedError.of("api-key", "is missing; use --api-key or set MOIETY_API_KEY")
    trusted = _read("ca-certificate", ca_certificate)
    certificate, key = _read("client-certificate", client_certificate), _read("client-key", client_key)
    try:
        return Client(
            address,
            api_key,
            ca_certificate=trusted,
            client_certificate=certificate,
            client_key=key,
            timeout_seconds=timeout_seconds,
        )
    except ValueError as error:
        raise InputError.of("connection", str(error)) from None


def _read(option: str, file: Path | None) -> bytes | None:
    try:
        return file.read_bytes() if file else None
    except OSError as error:
        raise InputError.of(option, f"{file}: {error.strerror}") from None
