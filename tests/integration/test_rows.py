"""Rows handed over in binary are to Postgres what psycopg would have made of them, few or many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from ledger.store import tables as t
from ledger.store.postgres.database import Database
from ledger.store.postgres.rows import VALUES_MAX, Column, byteas, int2s, int4s, int8s, numerics, put_rows, texts, uuids
from ledger.store.postgres.transactions import driver_connection

IDS: Final = [UUID(int=1), UUID(int=2**128 - 1), UUID("01890a5d-ac96-774b-bcce-b302099a8057")]


@pytest.fixture(scope="module")
def shared_database(shared_database_url: str) -> Iterator[Database]:
    """One for all tests that only read."""
    opened = Database(shared_database_url, connections=2)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (int4s([0, -1, 2**31 - 1, -(2**31)]), "integer[]", [0, -1, 2**31 - 1, -(2**31)]),
        (int4s(np.array([7, 8], dtype=np.int64)), "integer[]", [7, 8]),
        (int4s([]), "integer[]", []),
        (int2s([0, -1, 2**15 - 1]), "smallint[]", [0, -1, 2**15 - 1]),
        (int8s([2**63 - 1, -(2**63)]), "bigint[]", [2**63 - 1, -(2**63)]),
        (int8s([]), "bigint[]", []),
        (uuids(np.frombuffer(b"".join(each.bytes for each in IDS), dtype="V16")), "uuid[]", IDS),
        (uuids(np.empty(0, dtype="V16")), "uuid[]", []),
        (byteas([b"", b"\x00\xff", b"x" * 100_000]), "bytea[]", [b"", b"\x00\xff", b"x" * 100_000]),
        (byteas([]), "bytea[]", []),
        (texts(["", "täle", 'a "quoted", {braced} NULL']), "text[]", ["", "täle", 'a "quoted", {braced} NULL']),
        (texts([]), "text[]", []),
    ],
)
def test_an_array_arrives_as_it_is(shared_database: Database, column: Column, kind: str, values: list[Any]) -> None:
    array = column.as_array()
    with shared_database.reading() as connection:
        found = driver_connection(connection).execute("SELECT %b, pg_typeof(%b)::text", (array, array)).fetchone()
    assert found == (values, kind)


def test_arrays_of_one_statement_are_rows_together(database: Database) -> None:
    columns = [each.as_array() for each in (int8s([3, 4]), texts(["c", "d"]), byteas([b"3", b"4"]))]
    with database.reading() as connection:
        found = driver_connection(connection).execute("SELECT * FROM unnest(%b, %b, %b)", columns).fetchall()
    assert found == [(3, "c", b"3"), (4, "d", b"4")]


def columns_of(count: int) -> dict[str, Column]:
    """A column of each type, with values at the ends of what it holds."""
    numbers = range(count)
    return {
        "batch_number": int8s([2**63 - 1 - number for number in numbers]),
        "mode": int2s([2**15 - 1] * count),
        "method": texts(f"täle '{number}'" for number in numbers),
        "method_version": int4s([-(2**31)] * count),
        "events": int4s(list(numbers)),
        "unattributed": numerics(10**38 - 1 - number for number in numbers),
        "packed": byteas([bytes([number % 256, 0]) * number for number in numbers]),
        "month": int4s([2**31 - 1] * count),
    }


@pytest.mark.parametrize("count", [0, 1, 2, VALUES_MAX, VALUES_MAX + 1, 300])
def test_rows_are_stored_as_they_are_few_or_many(database: Database, count: int) -> None:
    with database.transaction() as connection:
        put_rows(connection, t.batch_weights, 7, columns_of(count))
    with database.reading() as connection:
        rows = connection.execute(sa.select(t.batch_weights).order_by(t.batch_weights.c.events)).all()
    assert [tuple(row) for row in rows] == [
        (
            7, 2**63 - 1 - number, 2**15 - 1, f"täle '{number}'", -(2**31), number, 10**38 - 1 - number,
            bytes([number % 256, 0]) * number, 2**31 - 1,
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [3, 3 * VALUES_MAX])
def test_rows_whose_key_is_taken_are_left_out_where_that_is_wanted(database: Database, count: int) -> None:
    digests = [number.to_bytes(32, "big") for number in range(count)]
    with database.transaction() as connection:
        first = {"sha256": byteas(digests[:2]), "bytes": byteas([b"old", b"old"])}
        put_rows(connection, t.body, 7, first)
        put_rows(
            connection, t.body, 7, {"sha256": byteas(digests), "bytes": byteas([b"new"] * count)}, unless_there=True
        )
        found = connection.execute(sa.select(t.body.c.bytes).order_by(t.body.c.sha256)).scalars().all()
    assert found == [b"old", b"old", *[b"new"] * (count - 2)]
