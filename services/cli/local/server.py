"""`moiety up`, `moiety serve` and `moiety schedule`: the processes, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Final

import typer

from ledger.errors import StoreUnavailableError
from services.cli.base.local import local_command
from services.cli.base.output import Output, details

_LOOK_SECONDS: Final = 1.0
_RESTART_SECONDS: Final = 10.0
"""How long a restart of Postgres by somebody else may take."""


@local_command
def up(
    output: Output,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Data directory (default: a per-user folder)."),
    ] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPERATOR",
            help="A founder, at the first start; repeatable (default: first).",
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The address to listen on (default: MOIETY_LISTEN).")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where to listen for HTTP, instead of MOIETY_HTTP_LISTEN."),
    ] = None,
) -> None:
    """Run everything in one process, on an embedded Postgres in a data folder."""
    from services.process.embedded import default_data_folder, embedded_postgres_ahead

    folder = data or default_data_folder()
    settings: dict[str, Any] = {"listen": listen} if listen else {}
    settings |= {} if http is None else {"http_listen": http}
    with ExitStack() as stack:
        chosen, stopped = stack.enter_context(_stoppable(log_format="text", **settings))
        url = stack.enter_context(embedded_postgres_ahead(folder))
        # Postgres starts while this is loaded.
        from services.access.keys import Principal, Role
        from services.process.host import FIRST_OPERATOR, everything

        names = [Principal(Role.OPERATOR, identity).name for identity in operator or ()]
        running = stack.enter_context(everything(chosen, folder, url(), operators=names or [FIRST_OPERATOR]))
        shown = [("listening on", running.address), *_http(settings=chosen, address=running.http_address)]
        shown += [(f"sign in {identity}", link) for identity, link in running.links.items()]
        shown += [
            ("data in", str(folder.resolve())),
            ("public key", running.verifier_key),
            ("checkpoints in", str(running.parts.settings.checkpoint_folder)),
        ]
        keys = running.founders_keys
        shown += [(f"key of {name}", key) for name, key in keys.items()]
        output.show(
            {
                "address": running.address,
                "http_address": running.http_address,
                "data": str(folder.resolve()),
                "verifier_key": running.verifier_key,
                "checkpoints": str(running.parts.settings.checkpoint_folder),
                "keys": keys,
                "links": running.links,
            },
            details(shown),
            *_founded(keys),
            "Press Ctrl-C to stop.",
        )
        _wait_on_postgres(stopped, url())


def _founded(keys: dict[str, str]) -> list[str]:
    """The sentences about a founding, besides its keys."""
    if not keys:
        return []
    if len(keys) == 1:
        people = "Founded by one person, who alone may do everything."
    else:
        people = "Founded by several people: two of them are needed to move money or change who may act."
    return [people, "Each key is shown only once. Set one as MOIETY_API_KEY."]


@local_command
def serve(output: Output) -> None:
    """Run the services on MOIETY_DATABASE_URL, by gRPC and HTTP."""
    from services.process.host import serving
    from services.process.workers import working

    with _stoppable() as (settings, stopped):
        if settings.workers == 1:
            with serving(settings) as running:
                _show_until(stopped, output, settings, (running.address, running.http_address))
            return
        with working(settings) as addresses:
            _show_until(stopped, output, settings, addresses)


def _http(settings: Any, address: str) -> list[tuple[str, str]]:
    """The line that says where the console and the API over HTTP are; none where they are not."""
    from services.process.host import browser_address

    return [("console", browser_address(settings, address))] if address else []


def _show_until(stopped: Event, output: Output, settings: Any, addresses: tuple[str, str]) -> None:
    address, http_address = addresses
    lines = [f"{name:<12} {url}" for name, url in [("listening on", address), *_http(settings, http_address)]]
    output.show({"address": address, "http_address": http_address}, *lines)
    _wait(stopped)


def _wait(stopped: Event) -> None:
    from services.process.memory import collect_less_often

    collect_less_often()
    stopped.wait()


def _wait_on_postgres(stopped: Event, url: str) -> None:
    """Wait until the process is to stop. Without its Postgres it ends too, for whoever started it to start both again.

    Raises:
        StoreUnavailableError: somebody else ended Postgres, and it was not restarted.
    """
    from services.process.embedded import is_running
    from services.process.memory import collect_less_often

    collect_less_often()
    seen = time.monotonic()
    while not stopped.wait(_LOOK_SECONDS):
        if is_running(url):
            seen = time.monotonic()
        elif time.monotonic() - seen > _RESTART_SECONDS:
            raise StoreUnavailableError("Postgres", "it ended; start again, and nothing that was acknowledged is lost")


@local_command
def schedule(output: Output) -> None:
    """Run the scheduler, and the signer if MOIETY_SIGNING_KEY_FILE is set; any number of processes may run it."""
    from services.process.host import scheduling

    with _stoppable() as (settings, stopped), scheduling(settings):
        poll_seconds = settings.schedule_poll_seconds
        output.show({"poll_seconds": poll_seconds}, f"checking schedules every {poll_seconds:g} s")
        stopped.wait()


@contextmanager
def _stoppable(**overrides: Any) -> Iterator[tuple[Any, Event]]:
    from services.process.logs import configure_logs
    from services.process.stopping import LAST_SECONDS, until_stopped
    from services.settings import load_settings

    settings = load_settings(**overrides)
    configure_logs(settings)
    # Workers have their own limit, and their parent waits for them.
    for_workers = LAST_SECONDS if settings.workers > 1 else 0.0
    with until_stopped(settings.drain_seconds + for_workers) as stopped:
        yield settings, stopped
