"""Statements are sent without asking first whether they can be, and all of them arrive."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import psycopg
import pytest

from ledger.store.postgres.database import Database
from ledger.store.postgres.sending import Connection, drain
from ledger.store.postgres.transactions import driver_connection
from tests.support.deployment import Deployment

BODY: Final = bytes(range(256)) * 2**14
"""4 MB, of which the socket takes a fraction at a time."""


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with Connection.connect(database_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TEMPORARY TABLE kept (place int, body bytea) ON COMMIT PRESERVE ROWS")
        connection.commit()
        yield connection


def kept(connection: psycopg.Connection[Any]) -> list[tuple[int, bytes]]:
    return connection.cursor(binary=True).execute("SELECT place, body FROM kept ORDER BY place").fetchall()


def put(connection: psycopg.Connection[Any], place: int) -> None:
    connection.execute("INSERT INTO kept VALUES (%s, %s)", (place, BODY), prepare=True)


def test_more_than_the_socket_takes_is_sent_before_the_commit_is_waited_for(
    connection: psycopg.Connection[Any],
) -> None:
    with connection.pipeline():
        for place in range(4):
            put(connection, place)
        connection.commit()
    assert kept(connection) == [(place, BODY) for place in range(4)]


def test_more_than_the_socket_takes_may_go_both_ways_at_the_same_time(connection: psycopg.Connection[Any]) -> None:
    with connection.pipeline():
        put(connection, 0)
        read = [connection.cursor(binary=True).execute("SELECT body FROM kept", prepare=True) for _ in range(8)]
        for place in range(1, 5):
            put(connection, place)
        assert [one.fetchone() for one in read] == [(BODY,)] * 8
    assert len(kept(connection)) == 5


def test_a_connection_that_is_drained_has_nothing_left_to_write(connection: psycopg.Connection[Any]) -> None:
    with connection.pipeline():
        put(connection, 0)
        assert connection.pgconn.flush() == 1
        drain(connection)
        assert connection.pgconn.flush() == 0
        put(connection, 1)
        connection.commit()
    assert len(kept(connection)) == 2


def test_what_is_copied_in_arrives(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor().copy("COPY kept FROM STDIN") as copy:
        for place in range(3):
            copy.write_row((place, BODY))
    assert kept(connection) == [(place, BODY) for place in range(3)]


def in_a_pipeline(connection: psycopg.Connection[Any], statement: str) -> None:
    with connection.pipeline():
        put(connection, 0)
        connection.execute(statement.encode())
        put(connection, 1)
        connection.commit()


def test_an_error_in_a_pipeline_is_raised_at_its_end_at_the_latest(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        in_a_pipeline(connection, "SELECT 1 / 0")
    connection.rollback()
    assert kept(connection) == []


def test_a_connection_that_is_lost_is_noticed(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.OperationalError):
        in_a_pipeline(connection, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert connection.closed


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
