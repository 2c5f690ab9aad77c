"""`moiety up`, `moiety serve` and `moiety schedule`: the processes, until Ctrl-C or SIGTERM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import typer

from services.cli.base.local import local_command
from services.cli.base.output import Output, details


@local_command
def up(
    output: Output,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the data are kept; a folder of the user's own by default."),
    ] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPERATOR",
            help="A founder, at the first start; repeat it for several (default: first).",
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen, instead of MOIETY_LISTEN.")
    ] = None,
) -> None:
    """Run everything in one process, on an embedded Postgres in a data folder."""
    from services.access.keys import Principal, Role
    from services.process.embedded import default_data_folder
    from services.process.host import FIRST_OPERATOR, everything

    folder = data or default_data_folder()
    names = [Principal(Role.OPERATOR, identity).name for identity in operator or ()]
    settings: dict[str, Any] = {"listen": listen} if listen else {}
    with (
        _stoppable(log_format="text", **settings) as (chosen, stopped),
        everything(chosen, folder, operators=names or [FIRST_OPERATOR]) as running,
    ):
        shown = [("listening on", running.address), ("data in", str(folder.resolve()))]
        shown.append(("public key", running.verifier_key))
        keys = running.founders_keys
        shown += [(f"key of {name}", key) for name, key in keys.items()]
        output.show(
            {
                "address": running.address,
                "data": str(folder.resolve()),
                "verifier_key": running.verifier_key,
                "keys": keys,
            },
            details(shown),
            *_founded(keys),
            "Ctrl-C stops.",
        )
        _wait(stopped)


def _founded(keys: dict[str, str]) -> list[str]:
    """What a founding says beside its keys."""
    if not keys:
        return []
    if len(keys) == 1:
        people = "Founded by one person, who alone may do everything."
    else:
        people = "Founded by several people: what moves money or changes who may needs two of them."
    return [people, "Each key is shown this once. Export one as MOIETY_API_KEY."]


@local_command
def serve(output: Output) -> None:
    """Run the gRPC services on MOIETY_DATABASE_URL."""
    from services.process.host import serving
    from services.process.workers import working

    with _stoppable() as (settings, stopped):
        if settings.workers == 1:
            with serving(settings) as running:
                _show_until(stopped, output, running.address)
            return
        with working(settings) as address:
            _show_until(stopped, output, address)


def _show_until(stopped: Event, output: Output, address: str) -> None:
    output.show({"address": address}, f"listening on {address}")
    _wait(stopped)


def _wait(stopped: Event) -> None:
    from services.process.memory import collect_less_often

    collect_less_often()
    stopped.wait()


@local_command
def schedule(output: Output) -> None:
    """Run the scheduler, and the signer where MOIETY_SIGNING_KEY_FILE is set; any number of processes may."""
    from services.process.host import scheduling

    with _stoppable() as (settings, stopped), scheduling(settings):
        poll_seconds = settings.schedule_poll_seconds
        output.show({"poll_seconds": poll_seconds}, f"looking at schedules every {poll_seconds:g} s")
        stopped.wait()


@contextmanager
def _stoppable(**overrides: Any) -> Iterator[tuple[Any, Event]]:
    from services.process.host import until_stopped
    from services.process.logs import configure_logs
    from services.settings import load_settings

    settings = load_settings(**overrides)
    configure_logs(settings)
    with until_stopped() as stopped:
        yield settings, stopped
