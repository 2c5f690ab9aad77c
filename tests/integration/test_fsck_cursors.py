"""Rows that a check leaves unread."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

import sqlalchemy as sa

from audit.fsck.report import CheckReport
from audit.fsck.stored import stored_rows
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import driver_connection


def test_they_are_thrown_away_in_the_middle_of_another_statement(database: Database) -> None:
    with database.snapshot() as connection:
        report = CheckReport("folk")
        three = sa.select(sa.func.generate_series(1, 3, type_=sa.Integer).label("number"))
        kept: list[Iterator[Any]] = [stored_rows(connection, three, report, chunk_rows=1)]
        next(kept[0])
        with driver_connection(connection).lock:  # as a statement holds it
            thrown = Thread(target=kept.clear, daemon=True)
            thrown.start()
            thrown.join(60)
            assert not thrown.is_alive()
