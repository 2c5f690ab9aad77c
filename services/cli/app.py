"""The `moiety` command's table of contents. A command's module is imported when the command is run or
explained.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from moiety.version import __version__
from services.cli.base.exits import Exit, InputError, is_foreign
from services.cli.base.output import report

COMMANDS: Final = {
    "up": "services.cli.local.server:up",
    "serve": "services.cli.local.server:serve",
    "schedule": "services.cli.local.server:schedule",
    "db": "services.cli.local.database:app",
    "apply": "services.cli.apply.command:apply",
    "membership": "services.cli.pools.memberships:app",
    "operator": "services.cli.acts.people:operator_app",
    "auditor": "services.cli.acts.people:auditor_app",
    "platform": "services.cli.acts.registered:platform_app",
    "collective": "services.cli.acts.registered:collective_app",
    "pool": "services.cli.acts.registered:pool_app",
    "key": "services.cli.pools.keys:app",
    "contact": "services.cli.acts.contacts:app",
    "controls": "services.cli.acts.people:controls_app",
    "witnesses": "services.cli.acts.people:witnesses_app",
    "proposal": "services.cli.acts.proposals:app",
    "limits": "services.cli.pools.limits:app",
    "usage": "services.cli.pools.usage:app",
    "revenue": "services.cli.pools.revenue:revenue_app",
    "receipt": "services.cli.pools.revenue:receipt_app",
    "tariff": "services.cli.pools.tariffs:app",
    "round": "services.cli.rounds.commands:app",
    "adjustment": "services.cli.rounds.adjustments:app",
    "split": "services.cli.rounds.splits:app",
    "statement": "services.cli.rounds.statements:app",
    "balance": "services.cli.pools.accounts:balance",
    "transfers": "services.cli.pools.accounts:transfers",
    "payment": "services.cli.pools.payments:payment_app",
    "payrun": "services.cli.pools.pay_runs:payrun_app",
    "bank": "services.cli.pools.pay_runs:bank_app",
    "payee": "services.cli.pools.payees:app",
    "held": "services.cli.pools.payments:held_app",
    "commons": "services.cli.pools.payments:commons_app",
    "webhook": "services.cli.pools.webhooks:app",
    "log": "services.cli.audit.logs:app",
    "bundle": "services.cli.audit.bundles:bundle",
    "audit": "services.cli.audit.compare:app",
    "verify": "services.cli.audit.verify:verify",
    "export": "services.cli.audit.export:export",
    "demo": "demo.cli:demo",
}
"""The module of each command: a function, or a `typer.Typer` with commands of its own."""

_BESIDE: Final = Path(__file__).parents[2]
_IN_CHECKOUT: Final = (_BESIDE / "pyproject.toml").exists() and (_BESIDE / "demo" / "cli.py").exists()
"""The demo is not installed: only a checkout has it. A `demo` package in site-packages is somebody else's."""

_USAGE_ERROR: Final[type[Any]] = typer.BadParameter.__mro__[1]
"""What Typer raises for an invalid command line; it has no public name for it."""


class _Commands(TyperGroup):
    """The commands of the table, imported one by one."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.help = _unwrapped(self.help)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        return [name for name in COMMANDS if name != "demo" or _IN_CHECKOUT]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        target = getattr(import_module(module), attribute)
        alone = typer.Typer()
        if isinstance(target, typer.Typer):
            alone.add_typer(target, name=cmd_name)
        else:
            alone.command(cmd_name)(target)
        found = typer.main.get_group(alone).commands[cmd_name]
        _unwrap(found)
        return found


def _unwrap(command: Any) -> None:
    """Take the line breaks of the source out of the help of a command and of its own commands."""
    command.help = _unwrapped(command.help)
    for each in getattr(command, "commands", {}).values():
        _unwrap(each)


def _unwrapped(text: str | None) -> str | None:
    """The text with one line for each paragraph."""
    return text and "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"moiety {__version__}\n")
        raise typer.Exit


@app.callback(epilog=Exit.table())
def moiety(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Collective compensation: usage in, rounds out, replayed.

    Commands that talk to a service take --address, --api-key, --ca-certificate and --json; the first three
    can be set in the environment.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code (`services.cli.base.exits`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
    except Exception as error:  # a fault has a code of its own; Python's 1 would mean that a verification failed
        if is_foreign(error):
            raise  # `services.cli.entry` says what to install
        traceback.print_exc()
        code = Exit.FAULT
    sys.exit(code)


def _run(given: list[str]) -> int:
    if "--json" not in given:
        app(given, prog_name="moiety")
    try:
        code = app(given, prog_name="moiety", standalone_mode=False)
    except _USAGE_ERROR as error:
        code = report(InputError.of("command line", error.format_message()), as_json=True)
    except typer.Abort:
        code = Exit.INTERRUPTED
    return int(code or Exit.OK)
