"""Parts of a round's tables: each is what the whole has there, and comes from bytes that were checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from random import Random
from typing import Final

import pytest
import sqlalchemy as sa

from ledger.errors import LedgerCorruptError
from ledger.store.kept import Kept
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from payout.statement import lines_of, page_of_lines
from payout.store import round_tables
from payout.store.round_tables import lines_of_table, page_of_table

HEADER: Final = b"collective,method,weight\n"
ABSENT: Final = ("a", "c001", "c0", "c010x", "c9", "zz")


def table(seed: int, collectives: int, most: int = 3) -> bytes:
    """A table with up to so many lines for each collective, all named c and an even number."""
    rng = Random(seed)
    names = [f"c{2 * number:03d}" for number in range(collectives)]
    rows = [(name, method) for name in names for method in range(rng.randint(1, most))]
    lines = [f"{name},m{method},{rng.getrandbits(rng.randint(1, 90))}\n" for name, method in rows]
    return HEADER + "".join(lines).encode()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of some kilobytes has many blocks, and nothing is known from another test."""
    monkeypatch.setattr(round_tables, "BLOCK_BYTES", 200)
    monkeypatch.setattr(round_tables, "_INDEXES", Kept[round_tables._Index](round_tables.MAX_KEPT_BLOCKS))


@pytest.fixture
def keep(database: Database) -> Callable[[bytes], bytes]:
    def keep(body: bytes) -> bytes:
        with database.transaction() as connection:
            log.put_body(connection, REGISTRY, body)
        return sha256(body).digest()

    return keep


@pytest.fixture
def connection(database: Database) -> Iterator[sa.Connection]:
    with database.transaction() as connection:
        yield connection


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(HEADER, id="no lines"),
        pytest.param(table(1, 1, most=1), id="one line"),
        pytest.param(table(2, 90), id="many blocks"),
        pytest.param(table(3, 3, most=80), id="lines of one collective in many blocks"),
        pytest.param(table(4, 40).removesuffix(b"\n"), id="a last line without an end"),
    ],
)
def test_parts_are_those_of_the_whole(keep: Callable[[bytes], bytes], connection: sa.Connection, whole: bytes) -> None:
    digest, lines = keep(whole), whole.splitlines(keepends=True)[1:]
    for limit in (1, 2, 7, 50, 1_000):
        for after in [*range(0, len(lines) + 3, 3), 2**62]:
            part = page_of_table(connection, REGISTRY, digest, after, limit)
            assert part == page_of_lines(whole, after, limit), (after, limit)
    for name in {line.partition(b",")[0].decode() for line in lines}:
        own = lines_of_table(connection, REGISTRY, digest, name)
        before = next(place for place, line in enumerate(lines) if line.startswith(f"{name},".encode()))
        assert own == (before, lines_of(whole, name))
    for name in ABSENT:
        assert lines_of_table(connection, REGISTRY, digest, name).table == HEADER


def test_no_more_is_read_than_the_blocks_of_a_part(
    keep: Callable[[bytes], bytes], connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = keep(table(1, 200))
    page_of_table(connection, REGISTRY, digest, 0, 1)
    read: list[int] = []
    part = round_tables._part

    def counting(*asked: object) -> bytes:
        found = part(*asked)  # type: ignore[arg-type]
        read.append(len(found))
        return found

    monkeypatch.setattr(round_tables, "_part", counting)
    monkeypatch.delattr(log, "checked_body")
    page_of_table(connection, REGISTRY, digest, 100, 1)
    lines_of_table(connection, REGISTRY, digest, "c100")
    assert len(read) == 2
    assert max(read) < 3 * round_tables.BLOCK_BYTES


def test_a_table_that_changes_after_it_was_read_is_a_corrupt_ledger(
    keep: Callable[[bytes], bytes], database: Database, owner: sa.Engine
) -> None:
    whole = table(1, 100)
    digest, changed = keep(whole), whole.index(b"c100,")
    lines = whole.count(b"\n", 0, changed) - 1

    def page(after: int) -> bytes:
        with database.transaction() as connection:
            return page_of_table(connection, REGISTRY, digest, after, 1)

    assert page(lines).startswith(HEADER + b"c100,")
    with owner.begin() as connection:
        connection.execute(
            sa.text("UPDATE body SET bytes = set_byte(bytes, :at, 57) WHERE sha256 = :digest"),
            {"at": changed + 3, "digest": digest},
        )
    with pytest.raises(LedgerCorruptError, match="does not have this hash"):
        page(lines)
    with database.transaction() as connection, pytest.raises(LedgerCorruptError, match="does not have this hash"):
        lines_of_table(connection, REGISTRY, digest, "c100")
    # What is told elsewhere was checked, and is what the round commits to.
    assert page(0) == page_of_lines(whole, 0, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE body SET bytes = substring(bytes FOR 300)", "does not have this hash"),
        ("UPDATE body SET bytes = bytes || bytes", ""),
        ("DELETE FROM body", "is missing"),
    ],
)
def test_a_table_that_is_cut_or_lost_after_it_was_read_is_a_corrupt_ledger(
    keep: Callable[[bytes], bytes], database: Database, owner: sa.Engine, change: str, said: str
) -> None:
    whole = table(1, 100)
    digest = keep(whole)
    with database.transaction() as connection:
        page_of_table(connection, REGISTRY, digest, 0, 1)
    with owner.begin() as connection:
        connection.execute(sa.text(f"{change} WHERE sha256 = :digest"), {"digest": digest})
    with database.transaction() as connection:
        if said:
            with pytest.raises(LedgerCorruptError, match=said):
                page_of_table(connection, REGISTRY, digest, 90, 1)
        else:
            assert page_of_table(connection, REGISTRY, digest, 90, 1) == page_of_lines(whole, 90, 1)


def test_a_table_is_checked_whole_before_any_of_it_is_told(
    keep: Callable[[bytes], bytes], database: Database, owner: sa.Engine
) -> None:
    digest = keep(table(1, 100))
    with owner.begin() as connection:
        connection.execute(sa.text("UPDATE body SET bytes = bytes || '\\x0a'::bytea"))
    for _ in range(2):
        with database.transaction() as connection, pytest.raises(LedgerCorruptError, match="does not have this hash"):
            page_of_table(connection, REGISTRY, digest, 0, 1)


def test_a_table_that_is_not_sorted_is_a_corrupt_ledger(
    keep: Callable[[bytes], bytes], connection: sa.Connection
) -> None:
    """A collective's lines could not be found in it."""
    header, *lines = table(1, 100).splitlines(keepends=True)
    digest = keep(header + b"".join(reversed(lines)))
    with pytest.raises(LedgerCorruptError, match="is not sorted"):
        lines_of_table(connection, REGISTRY, digest, "c100")


def test_many_threads_read_many_tables_of_which_few_are_remembered(
    keep: Callable[[bytes], bytes], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_tables, "_INDEXES", Kept[round_tables._Index](3))
    tables = [table(seed, 30) for seed in range(8)]
    digests = [keep(whole) for whole in tables]

    def read(seed: int) -> None:
        rng = Random(seed)
        for _ in range(40):
            number, after = rng.randrange(len(tables)), rng.randrange(60)
            name = f"c{2 * rng.randrange(30):03d}"
            with database.transaction() as connection:
                part = page_of_table(connection, REGISTRY, digests[number], after, 10)
                own = lines_of_table(connection, REGISTRY, digests[number], name)
            assert part == page_of_lines(tables[number], after, 10)
            assert own.table == lines_of(tables[number], name)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(read, range(6)))
