"""PgBouncer between the service and Postgres, giving connections for a session or for a transaction."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from ledger.errors import StateError
from ledger.store.postgres.database import Database
from ledger.store.postgres.faults import SERVICE_ROLE
from ledger.store.postgres.transactions import locking
from services.process.passage import give_passage, unprivileged_user
from services.schema import upgrade
from tests.support.deployment import SteppedClock, deployed
from tests.support.ports import free_port
from tests.support.programs import listening, require
from tests.support.scene import event, open_scene

pytestmark = pytest.mark.surface

POOL_SIZES: Final = {"transaction": 4, "session": 20}
"""Fewer than the service's connections; in session mode each keeps one."""

BATCHES: Final = 96
CALLERS: Final = 12

Bouncer = Callable[..., str]


@contextmanager
def pgbouncer(url: str, folder: Path, mode: str, more: str) -> Iterator[str]:
    """A PgBouncer before a database: gives the database's URL through it, for the service's role."""
    behind = sa.make_url(url)
    host = behind.query.get("host", behind.host)
    port = free_port()
    folder.mkdir()
    (folder / "users").write_text(f'"{SERVICE_ROLE}" ""\n"{behind.username}" ""\n')
    (folder / "ini").write_text(
        f"[databases]\n{behind.database} = host={host} port={behind.port or 5432}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {folder}/users\npool_mode = {mode}\nlogfile = {folder}/log\n"
        f"default_pool_size = {POOL_SIZES[mode]}\n{more}\n"
    )
    user = unprivileged_user()
    if user:
        give_passage(folder / "ini", user)
        user.own(folder)
    with listening([require("pgbouncer"), str(folder / "ini")], port, folder / "log", user=user, end=signal.SIGINT):
        yield f"postgresql://{SERVICE_ROLE}@127.0.0.1:{port}/{behind.database}"


@pytest.fixture
def bouncer(postgres: sa.Engine, database_url: str, own_folder: Path) -> Iterator[Bouncer]:
    """Starts a PgBouncer in a mode, with more lines of its configuration.

    Its folder is not pytest's, which another run of pytest closes to the user that PgBouncer runs as.
    """
    require("pgbouncer")
    upgrade(database_url, app_password="a password that trust does not ask for")
    with ExitStack() as stack:
        yield lambda mode, more="": stack.enter_context(pgbouncer(database_url, own_folder / "bouncer", mode, more))
    with postgres.connect() as connection:  # roles are the whole Postgres'
        connection.exec_driver_sql(f"ALTER ROLE {SERVICE_ROLE} NOLOGIN")
        connection.exec_driver_sql(f"ALTER ROLE {SERVICE_ROLE} RESET ALL")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_usage_goes_in_and_a_round_comes_out_through_pgbouncer(
    bouncer: Bouncer, clock: SteppedClock, mode: str
) -> None:
    """With more callers than PgBouncer has connections, and statements that would be prepared."""
    with deployed(bouncer(mode), clock, database_pooler=True, database_connections=12) as deployment:
        scene = open_scene(deployment)

        def submit(number: int) -> int:
            return scene.submit([event(number)], f"batch-{number}").accepted_count

        with ThreadPoolExecutor(CALLERS) as callers:
            assert sum(callers.map(submit, range(BATCHES))) == BATCHES
        scene.pay_in(90_000, "january")
        scene.cut("january")
        assert sum(scene.allocations(1).values()) == 90_000
        database = deployment.running.parts.database
        with database.transaction() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one() == 0
            assert connection.exec_driver_sql("SELECT current_user").scalar_one() == SERVICE_ROLE
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"
        with database.snapshot() as connection:
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on"


def test_nothing_is_known_of_a_database_after_a_transaction(bouncer: Bouncer) -> None:
    """The next one may be on another: a pooler keeps our connections while a standby takes over."""
    opened = Database(bouncer("transaction"), connections=2, pooler=True)
    for _ in range(2):
        with opened.transaction() as connection:
            assert "numbers" not in connection.info
            connection.info["numbers"] = {"irish": 1}
    opened.close()


def test_waits_for_heads_are_counted_behind_a_pooler_too(bouncer: Bouncer) -> None:
    waits: list[float] = []
    opened = Database(bouncer("transaction"), connections=2, pooler=True, waited=waits.append)
    for _ in range(2):
        with opened.transaction() as connection, locking(connection):
            pass
    opened.close()
    assert len(waits) == 2


IGNORING: Final = "ignore_startup_parameters = options"


@pytest.mark.parametrize(
    ("more", "is_owner", "kind"),
    [("", True, "POOLER"), (IGNORING, True, "ROLE_NOT_TAKEN"), (IGNORING, False, "OPTIONS_DROPPED")],
)
def test_a_pooler_that_the_settings_do_not_mention_is_refused(
    bouncer: Bouncer, database_url: str, more: str, is_owner: bool, kind: str
) -> None:
    login = sa.make_url(database_url).username if is_owner else SERVICE_ROLE
    through = sa.make_url(bouncer("transaction", more)).set(username=login)
    opened = Database(through.render_as_string(hide_password=False), connections=2)
    with pytest.raises(StateError, match="MOIETY_DATABASE_POOLER=true") as refused, opened.transaction():
        pass
    assert refused.value.kind == kind
    opened.close()
