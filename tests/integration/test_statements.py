"""Statements of our own on a connection: what they answer, and how they fail, alone and together."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from ledger.store.postgres.database import Database
from ledger.store.postgres.rows import int4s
from ledger.store.postgres.statements import Connection, Statements
from ledger.store.postgres.transactions import driver_connection
from ledger.store.postgres.values import Value
from tests.support.deployment import Deployment

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
BODY: Final = bytes(range(256)) * 2**14
"""4 MB, of which the socket takes a fraction at a time."""


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with Connection.connect(database_url.replace("+psycopg", ""), options="-c timezone=UTC") as connection:
        connection.execute("CREATE TEMPORARY TABLE kept (place int PRIMARY KEY, body bytea) ON COMMIT PRESERVE ROWS")
        connection.commit()
        yield connection


@pytest.fixture
def statements(connection: Connection) -> Statements:
    return connection.statements


def put(statements: Statements, place: int, body: bytes = b"") -> None:
    statements.ask("INSERT INTO kept VALUES (%s, %s)", (place, body))


def kept(connection: Connection) -> list[tuple[int, bytes]]:
    return connection.cursor(binary=True).execute("SELECT place, body FROM kept ORDER BY place").fetchall()


def prepared(connection: Connection) -> int:
    (number,) = connection.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchone() or (-1,)
    return int(number)


@pytest.mark.parametrize(
    ("query", "parameters", "rows"),
    [
        ("SELECT 1", (), [(1,)]),
        ("SELECT %s::int, %s::text, %s::bytea", (7, "seven", b"\0"), [(7, "seven", b"\0")]),
        ("SELECT %s::timestamptz", (NOON,), [(NOON,)]),
        ("SELECT %s::bytea[]", ([bytes(range(256)), b"'\\"],), [([bytes(range(256)), b"'\\"],)]),
        ("SELECT %s::bytea", (bytes(range(256)),), [(bytes(range(256)),)]),
        ("SELECT %s::text[]", (["'", "\\", '"', ","],), [(["'", "\\", '"', ","],)]),
        ("SELECT %b::uuid", (Value(bytes(15) + b"\1"),), [(UUID(int=1),)]),
        ("SELECT place FROM unnest(%b) AS asked (place)", (int4s([3, 1]).as_array(),), [(3,), (1,)]),
        ("SELECT %(a)s::int + %(b)s::int - %(a)s::int", {"b": 2, "a": 40}, [(2,)]),
        ("SELECT %s::int", (None,), [(None,)]),
        ("SELECT 1 WHERE false", (), []),
    ],
)
def test_rows_come_as_they_would_from_the_driver(
    connection: Connection, statements: Statements, query: str, parameters: Any, rows: list[tuple[Any, ...]]
) -> None:
    for _ in range(2):  # prepared, and as prepared
        answer = statements.ask(query, parameters)
        assert (answer.fetchall(), answer.rowcount) == (rows, len(rows))
        assert answer.fetchone() == (rows[0] if rows else None)
    assert connection.cursor(binary=True).execute(query, parameters).fetchall() == rows


def test_what_is_sent_together_is_answered_in_order_and_committed(
    connection: Connection, statements: Statements
) -> None:
    with statements.pipelined():
        for place in range(3):
            put(statements, place)
        first = statements.ask("SELECT count(*) FROM kept")
        put(statements, 3)
        second = statements.ask("SELECT count(*) FROM kept")
        assert (second.fetchone(), first.fetchone()) == ((4,), (3,))
        put(statements, 4)
        statements.commit()
    connection.rollback()
    assert [place for place, _ in kept(connection)] == list(range(5))


def test_without_a_commit_the_transaction_is_still_open(connection: Connection, statements: Statements) -> None:
    with statements.pipelined():
        put(statements, 1)
    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)
    connection.rollback()
    assert kept(connection) == []


def test_the_first_that_fails_is_told_where_an_answer_is_asked_for_and_nothing_behind_it_is_run(
    connection: Connection, statements: Statements
) -> None:
    put(statements, 1)
    connection.commit()
    with statements.pipelined():
        put(statements, 2)
        put(statements, 1)
        answer = statements.ask("SELECT 1 / 0")
        with pytest.raises(psycopg.errors.UniqueViolation) as taken:
            answer.fetchone()
        assert taken.value.diag.constraint_name == "kept_pkey"
        with pytest.raises(psycopg.InterfaceError, match="was not run"):
            answer.fetchall()
    connection.rollback()
    assert [place for place, _ in kept(connection)] == [1]


def test_the_first_that_fails_is_told_at_the_commit(connection: Connection, statements: Statements) -> None:
    def commit() -> None:
        with statements.pipelined():
            put(statements, 1)
            statements.ask("SELECT 1 / 0")
            statements.commit()

    with pytest.raises(psycopg.errors.DivisionByZero):
        commit()
    connection.rollback()
    assert kept(connection) == []


def test_what_is_raised_within_is_what_is_raised(connection: Connection, statements: Statements) -> None:
    def fail() -> None:
        with statements.pipelined():
            put(statements, 1)
            statements.ask("SELECT 1 / 0")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    connection.rollback()
    put(statements, 2)
    assert [place for place, _ in kept(connection)] == [2]


def test_one_that_cannot_be_prepared_can_be_tried_again(connection: Connection, statements: Statements) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            statements.ask("SELECT * FROM nowhere")
        connection.rollback()
    connection.execute("CREATE TEMPORARY TABLE nowhere ()")
    assert statements.ask("SELECT * FROM nowhere").fetchall() == []


@pytest.mark.parametrize("ending", ["ROLLBACK", "SAVEPOINT here; ROLLBACK TO here", "DROP TABLE kept"])
def test_what_is_prepared_outlives_what_makes_the_driver_forget(
    connection: Connection, statements: Statements, ending: str
) -> None:
    for _ in range(2):
        assert statements.ask("SELECT 1").fetchone() == (1,)
        assert connection.execute("SELECT 2", prepare=True).fetchone() == (2,)
        connection.execute(ending.encode())
        connection.rollback()
    assert prepared(connection) == 2


def test_nothing_is_prepared_where_the_driver_may_not_either(connection: Connection, statements: Statements) -> None:
    connection.prepare_threshold = None
    for _ in range(2):
        assert statements.ask("SELECT %s::int", (1,)).fetchone() == (1,)
    assert prepared(connection) == 0


def test_more_than_the_socket_takes_may_go_both_ways_at_the_same_time(
    connection: Connection, statements: Statements
) -> None:
    with statements.pipelined():
        put(statements, 0, BODY)
        read = [statements.ask("SELECT body FROM kept") for _ in range(8)]
        for place in range(1, 5):
            put(statements, place, BODY)
        assert [one.fetchone() for one in read] == [(BODY,)] * 8
        put(statements, 5, BODY)
        statements.drain()
        assert connection.pgconn.flush() == 0
    assert len(kept(connection)) == 6


def test_rows_after_what_was_streamed_are_whole(connection: Connection, statements: Statements) -> None:
    numbers = "SELECT * FROM generate_series(1, 5) AS number"
    assert len(list(connection.cursor().stream(numbers))) == 5
    assert statements.ask(numbers).fetchall() == [(number,) for number in range(1, 6)]


def test_a_connection_that_is_lost_is_told_and_closed(connection: Connection, statements: Statements) -> None:
    with psycopg.connect(connection.info.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        statements.ask("SELECT 1")
    with suppress(psycopg.OperationalError):
        connection.rollback()
    assert connection.closed


def test_one_alone_needs_no_transaction_where_the_driver_has_none(
    connection: Connection, statements: Statements
) -> None:
    connection.autocommit = True
    put(statements, 1)
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with pytest.raises(psycopg.errors.UniqueViolation):
        put(statements, 1)
    put(statements, 2)
    assert [place for place, _ in kept(connection)] == [1, 2]


def test_the_service_has_such_connections_and_gives_the_last_one_again(deployment: Deployment) -> None:
    database: Database = deployment.running.parts.database
    with ExitStack() as stack:
        several = [stack.enter_context(database.transaction()) for _ in range(3)]
        assert all(type(driver_connection(each)) is Connection for each in several)
    with ThreadPoolExecutor(1) as threads:
        seen = {threads.submit(backend_of, database).result() for _ in range(5)}
    assert len(seen) == 1


def backend_of(database: Database) -> int:
    with database.transaction() as connection:
        return driver_connection(connection).info.backend_pid


def test_a_connection_that_is_let_go_of_is_closed_at_once(database_url: str) -> None:
    connection = Connection.connect(database_url.replace("+psycopg", ""))
    assert connection.statements.ask("SELECT %s::text, %s::bytea[]", ("a", [b"b"])).fetchone() == ("a", [b"b"])
    gone = weakref.ref(connection)
    gc.disable()  # which would find it if something of its own held it
    try:
        with pytest.warns(ResourceWarning, match="was deleted while still open"):
            del connection
        assert gone() is None
    finally:
        gc.enable()
