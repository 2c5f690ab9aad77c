"""`moiety db`: the database's schema, and founding the deployment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from services.cli.base.exits import Exit
from services.cli.base.local import local_command
from services.cli.base.output import Output, counted

if TYPE_CHECKING:
    from ledger.acts.entries import Founder
    from ledger.store.postgres.database import Database

app = typer.Typer(help="The database: its schema, and founding the deployment.", no_args_is_help=True)

_LISTED_MAX: Final = 8
"""How many changes of an upgrade are named; --json has all."""

_SAID: Final = {
    "pending": "missing migration",
    "unknown": "migration of a newer version of Moiety",
    "differences": "difference",
    "undistributed": "not distributed",
    "missing_privileges": "missing privilege",
    "excess_privileges": "excess privilege",
}


@app.command("upgrade")
@local_command
def upgrade(
    output: Output,
    *,
    stopped: Annotated[
        bool,
        typer.Option("--stopped", help="No server or scheduler runs: let migrations take as long as they need."),
    ] = False,
) -> None:
    """Bring schema, role and privileges up to date, at MOIETY_DATABASE_OWNER_URL or else MOIETY_DATABASE_URL.

    Safe to repeat: it changes only what is not up to date.
    """
    from services import schema
    from services.settings import load_settings

    settings = load_settings()
    url = _required(settings.owner_url)
    found = schema.upgrade(url, app_password=settings.database_app_password, stopped=stopped)
    changes = {
        "migrated": found.revisions,
        "distributed": found.distributed,
        "granted": found.granted,
        "revoked": found.revoked,
    }
    lines = [f"{kind}: {_listed(each)}" for kind, each in changes.items() if each]
    output.show({"schema": "up to date", **changes}, *lines, "The schema is up to date.")


@app.command("distribute")
@local_command
def distribute(
    output: Output,
    partitions: Annotated[
        int | None,
        typer.Option(metavar="N", help="The number of partitions (default: distribute over a Citus cluster)."),
    ] = None,
) -> None:
    """Distribute the tables by pool: over the nodes of a Citus cluster, or into partitions on one Postgres.

    Run it as the schema's owner while nothing else uses the database. Safe to repeat; later upgrades distribute new
    tables in the same way. The number of partitions cannot be changed later.
    """
    from services import schema
    from services.settings import load_settings

    found = schema.distribute(_required(load_settings().owner_url), partitions=partitions)
    lines = [f"distributed: {_listed(found)}"] if found else []
    output.show({"distributed": found}, *lines, "Every table is distributed.")


@app.command("check")
@local_command
def check(output: Output) -> None:
    """Check that the schema is what this version needs, and that the service's role has just the rights it needs.

    Run it as the schema's owner, at MOIETY_DATABASE_OWNER_URL or else MOIETY_DATABASE_URL. Exits with status 1 if
    something is wrong.
    """
    from services import schema
    from services.settings import load_settings

    with _database(load_settings().owner_url, as_owner=True) as database, database.transaction() as connection:
        findings = schema.check(connection)
    lines = [f"{_SAID[kind]}: {found}" for kind, each in findings.items() for found in each]
    output.show(findings, *(lines or ["The schema is as expected."]))
    if lines:
        raise typer.Exit(Exit.DOES_NOT_HOLD)


@app.command("fsck")
@local_command
def fsck(
    output: Output,
    pools: Annotated[
        list[str] | None, typer.Argument(metavar="[POOL]...", help="The pools to check, or `registry` (default: all).")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List all findings, not only the first 100 and the first of each kind.")
    ] = False,
) -> None:
    """Check that every row in the database follows from its pool's log, from bodies upward, while the service runs.

    Exits with status 1 if one does not. Findings are listed by kind and leaf, and all are counted.
    """
    from services.cli.audit.fsck import check_pools, show
    from services.settings import load_settings

    settings = load_settings()
    with _database(settings.owner_url, connections=3) as database:
        reports = check_pools(output, database, settings.bodies_url, pools or [], every=every)
    if not show(output, reports):
        raise typer.Exit(Exit.DOES_NOT_HOLD)


@app.command("since")
@local_command
def since(
    output: Output,
    receipts: Annotated[
        list[Path], typer.Argument(metavar="RECEIPTS...", help="Files of receipts that platforms kept, in JSON.")
    ],
) -> None:
    """Say which receipts the logs no longer have, after a restore or a failover.

    A file holds what `moiety usage submit --json`, `moiety usage list --json` or the API printed, one document or one a
    line. Exits with status 1 if something is missing: its platform submits it again under the same batch id.
    """
    from services.cli.local.since import State, compare, read_receipts
    from services.settings import load_settings

    kept = read_receipts(receipts)
    with _database(load_settings().owner_url) as database, database.snapshot() as connection:
        compared = list(compare(connection, kept))
    counts = Counter(state for _, state in compared)
    missing = [receipt for receipt, state in compared if state is State.MISSING]
    output.show(
        {
            "receipts": len(compared),
            **{state.name.lower(): counts[state] for state in State},
            "lost": [{"name": each.name, "leaf_index": each.leaf_index} for each in missing],
        },
        *(f"missing: {each.name}, leaf {each.leaf_index}" for each in missing),
        f"Of {counted(len(compared), 'receipt')}, {counts[State.THERE]:,} are there, {counts[State.AGAIN]:,} are there "
        f"again at another leaf, and {len(missing):,} are missing.",
    )
    if missing:
        raise typer.Exit(Exit.DOES_NOT_HOLD)


@app.command("sweep")
@local_command
def sweep(output: Output) -> None:
    """Delete bodies at MOIETY_BODIES_URL that no leaf names and that nobody has written for a day.

    They are left behind where a server ends in mid-batch. Run it as the schema's owner, while the service runs.
    """
    from ledger.store.logs.objects import open_bodies
    from ledger.store.pools.pools import pool_refs
    from services.settings import load_settings
    from services.wiring import system_clock

    settings = load_settings()
    bodies, swept = open_bodies(settings.bodies_url), 0
    with _database(settings.owner_url, as_owner=True) as database:
        with database.reading() as connection:
            pools = pool_refs(connection)
        with output.progress("Sweeping", len(pools), "pools") as bar:
            for done, pool in enumerate(pools, 1):
                swept += sum(1 for _ in bodies.sweep(database, pool, system_clock()))
                bar.set(done, len(pools))
    output.show({"swept": swept}, f"Deleted {counted(swept, 'body', 'bodies')} that no leaf names.")


@app.command("retain")
@local_command
def retain(output: Output) -> None:
    """Delete what has been kept long enough: bank data and bank files after ten years, notices after 90 days.

    Run it as the schema's owner, for example every night, while the service runs. Safe to repeat.
    """
    from ledger.store.desk.retention import delete_expired
    from ledger.store.postgres.transactions import read_time

    with _desk() as database, database.transaction() as connection:
        deleted = delete_expired(connection, read_time(connection))
    said = ", ".join(f"{count:,} of {name}" for name, count in deleted.items())
    output.show({"deleted": deleted}, f"Deleted {said}.")


@app.command("rotate")
@local_command
def rotate(output: Output) -> None:
    """Encrypt bank data and bank files anew, with the first key of MOIETY_PAYEE_KEY_FILE.

    Run it once every server has the new key; the others can then be removed from the file. Safe to repeat.
    """
    from ledger.store.desk.vault import Vault, read_vault
    from services.settings import load_settings

    settings = load_settings()
    vault = read_vault(settings.payee_key_file) if settings.payee_key_file else Vault()
    with _database(settings.owner_url) as database, database.transaction() as connection:
        done = vault.seal_anew(connection)
    output.show({"encrypted": done}, f"Encrypted {counted(done, 'row')} with the newest key.")


@app.command("erase")
@local_command
def erase(
    output: Output,
    owner: Annotated[
        str, typer.Argument(metavar="OWNER", help="Whose bank data: collectives/ID, or bankAccounts/ID for your own.")
    ],
) -> None:
    """Delete all bank data of a collective that asks for it, and what it was told. Its payments stay in the logs.

    The logs keep hashes that nobody can trace back. It is not paid until it has a new payee. While a payment to it is
    on its way nothing is erased. Run it as the schema's owner.
    """
    from ledger.store.desk.retention import erase_details
    from ledger.store.registry.acts import look_alone
    from payout.store.pay_runs import require_settled
    from services.settings import load_settings

    with _database(load_settings().owner_url) as database, database.transaction() as connection:
        look_alone(connection)
        require_settled(connection, owner)
        with _desk() as desk, desk.transaction() as at_desk:
            erased = erase_details(at_desk, owner)
    output.show({"owner": owner, "erased": erased}, f"Erased {counted(erased, 'account')} of {owner}.")


@app.command("drop-events")
@local_command
def drop_events(
    output: Output,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="A closed pool whose last round is posted.")],
    bundle: Annotated[
        Path, typer.Option(metavar="FILE", help="A bundle of its whole log, which `moiety verify` found to hold.")
    ],
) -> None:
    """Delete the rows of a closed pool's events, more than half of what it takes. Its log and batches stay.

    Events can then no longer be looked up by their ids. Run it as the schema's owner. Safe to repeat.
    """
    from services.cli.local.dropping import drop
    from services.settings import load_settings

    with _database(load_settings().owner_url, as_owner=True) as database:
        deleted = drop(output, database, pool, bundle)
    output.show({"pool": pool, "deleted": deleted}, f"Deleted the rows of {counted(deleted, 'event')}.")


Founders = Annotated[
    list[str], typer.Option(metavar="OPERATOR=HASH", help="A founder and the hash of the founder's key; repeatable.")
]


@app.command("found")
@local_command
def found(
    output: Output,
    origin: Annotated[str, typer.Argument(metavar="ORIGIN", help="The deployment's permanent name, like a URL.")],
    operator: Founders,
) -> None:
    """Found a deployment: its first operators, who each made a key with `moiety key make`. Done once.

    With two or more founders, everything that moves money or changes who may act needs two people.
    """
    from services.access.founding import Founding
    from services.access.founding import found as found_it
    from services.settings import load_settings

    founding = Founding(origin, [_founder(text) for text in operator])
    with _database(load_settings().owner_url) as database, database.transaction() as connection:
        found_it(connection, founding)
    names = [founder.operator for founder in founding.founders]
    controls = founding.content().controls
    output.show(
        {"origin": origin, "founders": names, "controls": controls.model_dump()},
        f"{origin} was founded by {', '.join(names)}.",
        "Two people are needed for whatever moves money or changes who may act."
        if controls.ask_for_two()
        else "One person alone may do everything, and every verdict will say so.",
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _LISTED_MAX
    return ", ".join(names[:_LISTED_MAX]) + (f", and {more} more" if more > 0 else "")


@app.command("recover-key")
@local_command
def recover_key(
    output: Output,
    operator: Annotated[str, typer.Argument(metavar="OPERATOR=HASH", help="An operator, and the hash of a new key.")],
) -> None:
    """Give an operator a key because all keys were lost. It is valid in seven days, and every verdict mentions it."""
    from services.access.founding import recover
    from services.settings import load_settings

    founder = _founder(operator)
    with _database(load_settings().owner_url) as database, database.transaction() as connection:
        begins = recover(connection, founder.operator, founder.key_id, founder.secret_hash)
    output.show(
        {"operator": founder.operator, "key": founder.key_id, "begins": begins.isoformat()},
        f"Key {founder.key_id} of {founder.operator} is valid from {begins:%Y-%m-%d %H:%M} UTC on.",
    )


def _founder(text: str) -> Founder:
    """Returns an operator with the hash of a key, from the form OPERATOR=HASH."""
    from ledger.acts.entries import Founder
    from services.access.keys import Principal, Role, parse_hash

    operator, _, key_hash = text.partition("=")
    key_id, secret_hash = parse_hash(key_hash, "operator")
    name = Principal(Role.OPERATOR, operator.removeprefix("operators/")).name
    return Founder(operator=Principal.parse(name).name, key_id=key_id, secret_hash=secret_hash)


def _required(url: str) -> str:
    from ledger.errors import InvalidInputError

    if not url:
        raise InvalidInputError.of("MOIETY_DATABASE_URL", "is not set")
    return url


@contextmanager
def _desk() -> Iterator[Database]:
    """The database as the role that may delete from the desk, and do nothing else."""
    from ledger.store.desk.tables import DESK_ROLE
    from ledger.store.postgres.database import Database
    from services.settings import load_settings

    database = Database(_required(load_settings().owner_url), connections=2, role=DESK_ROLE)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _database(url: str, *, as_owner: bool = False, connections: int = 2) -> Iterator[Database]:
    from ledger.store.postgres.database import Database
    from ledger.store.postgres.faults import SERVICE_ROLE

    database = Database(_required(url), connections=connections, role=None if as_owner else SERVICE_ROLE)
    try:
        yield database
    finally:
        database.close()
