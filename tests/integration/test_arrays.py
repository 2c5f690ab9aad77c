"""Arrays handed over in binary are to Postgres what psycopg would have made of lists."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import numpy as np
import pytest

from ledger.store.arrays import BinaryArray, bytea_array, int4_array, int8_array, text_array, uuid_array
from ledger.store.database import Database, driver_connection

IDS: Final = [UUID(int=1), UUID(int=2**128 - 1), UUID("01890a5d-ac96-774b-bcce-b302099a8057")]


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (int4_array([0, -1, 2**31 - 1, -(2**31)]), "integer[]", [0, -1, 2**31 - 1, -(2**31)]),
        (int4_array(np.array([7, 8], dtype=np.int64)), "integer[]", [7, 8]),
        (int4_array([]), "integer[]", []),
        (int8_array([2**63 - 1, -(2**63)]), "bigint[]", [2**63 - 1, -(2**63)]),
        (int8_array([]), "bigint[]", []),
        (uuid_array(np.frombuffer(b"".join(each.bytes for each in IDS), dtype="V16")), "uuid[]", IDS),
        (uuid_array(np.empty(0, dtype="V16")), "uuid[]", []),
        (bytea_array([b"", b"\x00\xff", b"x" * 100_000]), "bytea[]", [b"", b"\x00\xff", b"x" * 100_000]),
        (bytea_array([]), "bytea[]", []),
        (text_array(["", "täle", 'a "quoted", {braced} NULL']), "text[]", ["", "täle", 'a "quoted", {braced} NULL']),
        (text_array([]), "text[]", []),
    ],
)
def test_an_array_arrives_as_it_is(database: Database, array: BinaryArray, kind: str, values: list[Any]) -> None:
    with database.reading() as connection:
        found = driver_connection(connection).execute("SELECT %b, pg_typeof(%b)::text", (array, array)).fetchone()
    assert found == (values, kind)


def test_arrays_of_one_statement_are_rows_together(database: Database) -> None:
    columns = int8_array([3, 4]), text_array(["c", "d"]), bytea_array([b"3", b"4"])
    with database.reading() as connection:
        found = driver_connection(connection).execute("SELECT * FROM unnest(%b, %b, %b)", columns).fetchall()
    assert found == [(3, "c", b"3"), (4, "d", b"4")]
