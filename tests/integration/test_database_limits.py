"""What a call is told, and how soon, where the database is held, read-only, broken or short of connections."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from threading import Event
from typing import Final

import psycopg
import pytest
import sqlalchemy as sa

from ledger.errors import (
    BusyError,
    LedgerCorruptError,
    LedgerError,
    LostRaceError,
    StateError,
    StoreUnavailableError,
    StoreUnfitError,
    UnreadableError,
)
from ledger.store.postgres.connections import as_driver_url
from ledger.store.postgres.database import Database
from ledger.store.postgres.faults import FAULTS, SERVICE_ROLE, Fault, error_of
from ledger.store.postgres.transactions import computing, pipelined_to_commit

pytestmark = pytest.mark.surface

NOWHERE: Final = "postgresql://127.0.0.1:1/nowhere"


def with_options(url: str, options: str) -> str:
    return sa.engine.make_url(url).update_query_dict({"options": options}).render_as_string(hide_password=False)


def shown(connection: sa.Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())


@pytest.mark.parametrize("name", ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"])
def test_every_connection_of_the_service_has_limits(database: Database, name: str) -> None:
    with database.transaction() as writing, database.reading() as reading:
        assert "0" not in (shown(writing, name), shown(reading, name))


def test_a_snapshot_may_take_as_long_as_a_whole_log_takes(database: Database) -> None:
    with database.snapshot() as connection:
        assert (shown(connection, "statement_timeout"), shown(connection, "transaction_read_only")) == ("0", "on")
        assert shown(connection, "transaction_isolation") == "repeatable read"


def test_a_snapshot_may_see_what_another_one_does(database: Database) -> None:
    sees = "SELECT pg_current_snapshot()::text"
    with database.snapshot() as first:
        seen = first.exec_driver_sql(sees).scalar_one()
        with database.transaction() as writing:
            writing.exec_driver_sql("SELECT pg_current_xact_id()")
        with database.snapshot(like=first) as like, database.snapshot() as later:
            assert like.exec_driver_sql(sees).scalar_one() == seen
            assert shown(like, "transaction_isolation") == "repeatable read"
            assert later.exec_driver_sql(sees).scalar_one() != seen


def test_the_url_s_own_options_are_kept_and_the_role_with_them(database_url: str) -> None:
    opened = Database(with_options(database_url, "-c lock_timeout=300 -c role=none"), connections=2)
    with opened.transaction() as connection:
        assert shown(connection, "lock_timeout") == "300ms"
        assert connection.exec_driver_sql("SELECT current_user").scalar_one() == SERVICE_ROLE
    opened.close()


def test_who_waits_for_a_lock_for_too_long_is_told_to_try_again(database: Database, database_url: str) -> None:
    hasty = Database(with_options(database_url, "-c lock_timeout=100"), connections=2)
    held = "SELECT pg_advisory_xact_lock(1)"
    with database.transaction() as holder:
        holder.exec_driver_sql(held)
        with pytest.raises(BusyError), hasty.transaction() as waiting:
            waiting.exec_driver_sql(held)
    with hasty.transaction() as after:
        after.exec_driver_sql(held)
    hasty.close()


def test_a_read_only_database_is_away(database: Database) -> None:
    written = "SELECT set_config('transaction_read_only', 'on', true), nextval('batch_number')"
    with pytest.raises(StoreUnavailableError), database.transaction() as connection:
        connection.exec_driver_sql(written)


def test_a_transaction_that_postgres_ended_for_its_idleness_is_away(database: Database) -> None:
    with pytest.raises(StoreUnavailableError), database.transaction() as connection:
        _wait_for_the_end(connection)


def test_a_transaction_may_compute_for_longer_than_it_may_be_idle(database_url: str) -> None:
    hasty = Database(with_options(database_url, "-c idle_in_transaction_session_timeout=400"), connections=2)
    with hasty.transaction() as connection:
        with computing(connection):
            assert shown(connection, "idle_in_transaction_session_timeout") == "15min"
            Event().wait(0.8)
        assert shown(connection, "idle_in_transaction_session_timeout") == "400ms"
    with pytest.raises(InterruptedError), hasty.transaction() as connection, computing(connection):
        raise InterruptedError
    with hasty.transaction() as connection:
        assert shown(connection, "idle_in_transaction_session_timeout") == "400ms"
    hasty.close()


def _wait_for_the_end(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 1")
    while True:
        Event().wait(0.05)
        connection.exec_driver_sql("SELECT 1")


OWN_LOGIN: Final = "moiety_test_login"


@pytest.fixture
def login(postgres: sa.Engine, database_url: str) -> Iterator[str]:
    """The URL of a login that may take the service's role."""
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {OWN_LOGIN} LOGIN IN ROLE {SERVICE_ROLE}")
    yield sa.make_url(database_url).set(username=OWN_LOGIN).render_as_string(hide_password=False)
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"DROP ROLE {OWN_LOGIN}")


def _refused(says: str) -> AbstractContextManager[object]:
    return pytest.raises(StoreUnavailableError, match=says)


def test_too_many_connections_pass_and_cost_none_of_those_there_are(postgres: sa.Engine, login: str) -> None:
    opened = Database(login, connections=4)
    with opened.transaction(), opened.transaction():
        pass
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"ALTER ROLE {OWN_LOGIN} CONNECTION LIMIT 0")
    with opened.transaction(), opened.transaction(), _refused("too many connections for role"), opened.transaction():
        pass
    with opened.transaction(), opened.transaction():
        pass
    opened.close()


@pytest.mark.parametrize(
    ("said", "error", "kind"),
    [
        (f'role "{SERVICE_ROLE}" does not exist', StateError, "ROLE_MISSING"),
        (f'permission denied to set role "{SERVICE_ROLE}"', StateError, "ROLE_MISSING"),
        (f'too many connections for role "{SERVICE_ROLE}"', StoreUnavailableError, ""),
        (f'password authentication failed for user "{SERVICE_ROLE}"', StoreUnavailableError, ""),
        (f'no pg_hba.conf entry for host "10.0.0.7", user "{SERVICE_ROLE}", database "b"', StoreUnavailableError, ""),
        (f'pg_hba.conf rejects connection for host "10.0.0.7", user "{SERVICE_ROLE}"', StoreUnavailableError, ""),
        (f"Rolle \u201e{SERVICE_ROLE}\u201c existiert nicht", StoreUnavailableError, ""),
    ],
)
def test_only_a_missing_role_is_told_as_that(said: str, error: type[LedgerError], kind: str) -> None:
    found = error_of(Fault.REFUSED, psycopg.OperationalError(f"connection failed: FATAL:  {said}"))
    assert (type(found), getattr(found, "kind", "")) == (error, kind)
    assert kind or said in str(found)


def raised(database: Database, state: str) -> Exception:
    """What a statement that fails with an SQLSTATE is told as."""
    statement = f"DO $$ BEGIN RAISE 'it is so' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(Exception) as caught, database.transaction() as connection:  # noqa: PT011  # any is looked at
        connection.exec_driver_sql(statement)
    return caught.value


@pytest.mark.parametrize("state", sorted(FAULTS))
def test_every_sqlstate_of_the_table_is_told_by_its_fault(database: Database, state: str) -> None:
    told = raised(database, state.ljust(5, "0"))
    assert type(told) is {
        Fault.LOST: StoreUnavailableError,
        Fault.REFUSED: StoreUnavailableError,
        Fault.UNFIT: StoreUnfitError,
        Fault.HELD: BusyError,
        Fault.RACED: LostRaceError,
        Fault.BROKEN: LedgerCorruptError,
        Fault.UNREADABLE: UnreadableError,
    }.get(FAULTS[state], type(told))
    assert isinstance(told, sa.exc.DBAPIError) == (FAULTS[state] is Fault.OURS)


@pytest.mark.parametrize(
    ("lost", "mended", "says"),
    [
        ("REVOKE INSERT ON leaf FROM moiety_app", "GRANT INSERT ON leaf TO moiety_app", "permission denied for table"),
        ("ALTER TABLE leaf RENAME TO leaf_x", "ALTER TABLE leaf_x RENAME TO leaf", 'relation "leaf" does not exist'),
        ("ALTER TABLE leaf RENAME entry TO e", "ALTER TABLE leaf RENAME e TO entry", 'column "entry"'),
    ],
)
def test_what_an_operator_took_away_is_missed_until_it_is_back(
    database: Database, owner: sa.Engine, lost: str, mended: str, says: str
) -> None:
    statement = "INSERT INTO leaf (entry) SELECT entry FROM leaf WHERE false"
    with database.transaction() as connection:
        connection.exec_driver_sql(statement)
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    with owner.begin() as connection:
        connection.exec_driver_sql(lost)
    with pytest.raises(StoreUnfitError, match=says), database.transaction() as connection:
        connection.exec_driver_sql(statement)
    with owner.begin() as connection:
        connection.exec_driver_sql(mended)
    with database.transaction() as connection:
        connection.exec_driver_sql(statement)
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == pid  # the connection was kept


def test_a_connection_that_dies_in_a_pipeline_is_told_once(
    database: Database, postgres: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def die() -> None:
        with database.transaction() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with pipelined_to_commit(connection), postgres.connect() as killing:
                killing.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 10000)")
                connection.exec_driver_sql("SELECT 1").scalar_one()

    with pytest.raises(StoreUnavailableError):
        die()
    assert not caplog.messages


@pytest.mark.parametrize("state", ["XX001", "XX002"])
def test_a_page_or_an_index_that_a_disk_broke_is_a_corrupt_ledger(database: Database, state: str) -> None:
    broken = f"DO $$ BEGIN RAISE 'invalid page in block 3' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(LedgerCorruptError, match="invalid page in block 3"), database.transaction() as connection:
        connection.exec_driver_sql(broken)


def test_a_connection_without_the_service_s_role_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a pooler that drops options."""
    monkeypatch.setattr("ledger.store.postgres.connections._connect_args", lambda *_, **__: {})
    bare = Database(database_url, connections=2)
    with pytest.raises(StateError) as refused, bare.transaction():
        pass
    assert refused.value.kind == "ROLE_NOT_TAKEN"


def test_one_who_waits_for_a_connection_goes_on_as_soon_as_there_is_one(database_url: str) -> None:
    opened = Database(database_url, connections=2)
    before = opened.engine.pool

    def one() -> int:
        with opened.transaction() as connection:
            return int(connection.exec_driver_sql("SELECT 1").scalar_one())

    with ThreadPoolExecutor(4) as threads, ExitStack() as holding:
        holding.enter_context(opened.transaction())
        waiting = [threads.submit(one) for _ in range(4)]
        opened.close()  # which SQLAlchemy's own queue of waiters would sleep through
        holding.close()
        assert [each.result() for each in waiting] == [1, 1, 1, 1]
    before.dispose()
    opened.close()


def test_no_one_waits_for_a_connection_for_ever(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.store.postgres.database.CONNECTION_WAIT_SECONDS", 0.05)
    opened = Database(database_url, connections=2)
    with opened.transaction(), pytest.raises(StoreUnavailableError), opened.transaction():
        pass
    with opened.transaction() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    opened.close()


def test_connections_that_fail_are_not_counted_as_taken() -> None:
    opened = Database(NOWHERE, connections=2)
    for _ in range(5):
        with pytest.raises(StoreUnavailableError), opened.transaction():
            pass
    opened.close()


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://me:secret@a:5432,b:5433/books?target_session_attrs=read-write", ("a:5432", "b:5433")),
        ("postgres://a,b/books", ("a", "b")),
    ],
)
def test_libpq_s_urls_of_several_hosts_are_taken(url: str, hosts: tuple[str, ...]) -> None:
    parsed = sa.engine.make_url(as_driver_url(url))
    assert (parsed.drivername, parsed.query["host"], parsed.database) == ("postgresql+psycopg", hosts, "books")
    assert parsed.query.get("target_session_attrs") == ("read-write" if "target" in url else None)
    assert (parsed.username, parsed.password) == (("me", "secret") if "secret" in url else (None, None))
