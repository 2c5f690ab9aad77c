"""`moiety db`: the database's schema, and the first key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from services.cli.base.exits import Exit
from services.cli.base.local import local_command
from services.cli.base.output import Output, details

if TYPE_CHECKING:
    from ledger.store.database import Database

app = typer.Typer(help="The database: its schema, and the first key.", no_args_is_help=True)

_LISTED_MAX: Final = 8
"""What an upgrade changed is named up to this many; --json has all."""

_SAID: Final = {
    "pending": "missing migration",
    "unknown": "migration of a newer version of Moiety",
    "differences": "difference",
    "missing_privileges": "missing privilege",
    "excess_privileges": "excess privilege",
}


@app.command("upgrade")
@local_command
def upgrade(output: Output) -> None:
    """Bring schema, role and privileges up to date, at MOIETY_DATABASE_OWNER_URL or else MOIETY_DATABASE_URL.

    Safe to repeat: it changes only what is not as it should be.
    """
    from services import schema
    from services.settings import load_settings

    settings = load_settings()
    url = _required(settings.owner_url)
    found = schema.upgrade(url, app_password=settings.database_app_password)
    changes = {"migrated": found.revisions, "granted": found.granted, "revoked": found.revoked}
    lines = [f"{kind}: {_listed(each)}" for kind, each in changes.items() if each]
    output.show({"schema": "up to date", **changes}, *lines, "The schema is up to date.")


@app.command("check")
@local_command
def check(output: Output) -> None:
    """Check that the schema is what this version needs, and that the service's role may do what it needs and no more.

    Run it as the schema's owner, at MOIETY_DATABASE_OWNER_URL or else MOIETY_DATABASE_URL. Exits with status 1 where
    something is found.
    """
    from services import schema
    from services.settings import load_settings

    with _database(load_settings().owner_url, as_owner=True) as database, database.transaction() as connection:
        findings = schema.check(connection)
    lines = [f"{_SAID[kind]}: {found}" for kind, each in findings.items() for found in each]
    output.show(findings, *(lines or ["The schema is as it should be."]))
    if lines:
        raise typer.Exit(Exit.DOES_NOT_HOLD)


@app.command("fsck")
@local_command
def fsck(
    output: Output,
    pools: Annotated[
        list[str] | None, typer.Argument(metavar="[POOL]...", help="The pools to check; all of them unless told.")
    ] = None,
) -> None:
    """Check that every row in the database follows from its pool's log, from bodies upward, while the service runs.

    Exit code 1 where one does not; the first 100 of a pool are listed, and all are counted.
    """
    from services.cli.audit.fsck import check_pools, show
    from services.settings import load_settings

    with _database(load_settings().owner_url) as database:
        reports = check_pools(output, database, pools or [])
    if not show(output, reports):
        raise typer.Exit(Exit.DOES_NOT_HOLD)


@app.command("first-key")
@local_command
def first_key(
    output: Output,
    operator: Annotated[str, typer.Argument(metavar="OPERATOR", help="The operator's id, for example alice.")],
) -> None:
    """Make the first operator's key, in the database itself; refused once there is any key."""
    from ledger.errors import StateError
    from services.access import keys
    from services.settings import load_settings
    from services.wiring import system_clock

    principal = keys.Principal.parse(f"operators/{operator}")
    with _database(load_settings().owner_url) as database, database.transaction() as connection:
        if keys.any_key(connection):
            raise StateError("the first key", "KEY_EXISTS", "was made before; use `moiety key issue`")
        key, secret = keys.issue_key(connection, principal, system_clock())
    output.show(
        {"key": key.key_id, "principal": principal.name, "secret": secret},
        details([("key", key.key_id), ("principal", principal.name), ("secret", secret)]),
        "The secret is shown this once: export it as MOIETY_API_KEY.",
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _LISTED_MAX
    return ", ".join(names[:_LISTED_MAX]) + (f", and {more} more" if more > 0 else "")


def _required(url: str) -> str:
    from ledger.errors import InvalidInputError

    if not url:
        raise InvalidInputError.of("MOIETY_DATABASE_URL", "is not set")
    return url


@contextmanager
def _database(url: str, *, as_owner: bool = False) -> Iterator[Database]:
    from ledger.store.database import SERVICE_ROLE, Database

    database = Database(_required(url), connections=2, role=None if as_owner else SERVICE_ROLE)
    try:
        yield database
    finally:
        database.close()
