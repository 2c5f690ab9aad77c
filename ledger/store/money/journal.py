"""Transfers and balances in Postgres."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql import distinct_on

from ledger.errors import LedgerCorruptError, Sentence, StateError
from ledger.journal import COLLECTIVE_KINDS, Purpose, Transfer, fold, may_be_below_zero
from ledger.log.leaves import C, Content, T
from ledger.money import MAX_BALANCE_MINOR
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.rows import Column, int4s, int8s, put_rows, texts
from ledger.store.postgres.transactions import ask, driver_connection


@dataclass(frozen=True, slots=True)
class PlacedTransfer:
    """A transfer at its place: the leaf that caused it and its position among that leaf's."""

    leaf_index: int
    ordinal: int
    transfer: Transfer


def post(connection: sa.Connection, pool: PoolRef, leaf_index: int, transfers: Sequence[Transfer]) -> None:
    """Write a leaf's transfers and the balances after it. The transaction must contain the lock on the log's head.

    Raises:
        StateError: a balance would exceed 64 bits, or an account that may not be negative has less than it should give.
    """
    touched = sorted({account for move in transfers for account in (move.from_account, move.to_account)})
    before = balances_of(connection, pool, touched, log_size=leaf_index)
    after = fold(before, transfers)
    for account, amount in after.items():
        if abs(amount) > MAX_BALANCE_MINOR:
            detail = Sentence("would have or lack more than %(most_minor)s", most_minor=MAX_BALANCE_MINOR)
            raise StateError(f"pools/{pool.name}/accounts/{account}", "BALANCE_TOO_LARGE", detail)
        if amount < 0 and not may_be_below_zero(account):
            there = before.get(account, 0)
            detail = Sentence(
                "has %(there_minor)s, less than the %(needed_minor)s needed",
                there_minor=there,
                needed_minor=there - amount,
            )
            raise StateError(f"pools/{pool.name}/accounts/{account}", "BALANCE_TOO_LOW", detail)
    at = [leaf_index]
    moved = {
        "leaf_index": at * len(transfers),
        "ordinal": range(len(transfers)),
        "from_account": [move.from_account for move in transfers],
        "to_account": [move.to_account for move in transfers],
        "amount_minor": [move.amount_minor for move in transfers],
        "purpose": [move.purpose.value for move in transfers],
    }
    _insert(connection, pool, t.transfer, moved)
    _insert(
        connection, pool, t.balance, {"account": after, "leaf_index": at * len(after), "amount_minor": after.values()}
    )


_AS_COLUMN: Final[Mapping[str, Callable[[Any], Column]]] = {
    "leaf_index": int8s,
    "ordinal": int4s,
    "from_account": texts,
    "to_account": texts,
    "account": texts,
    "amount_minor": lambda amounts: int8s(list(amounts)),
    "purpose": texts,
}

_INSERTED_ROWS: Final = 1_000
"""Up to this many rows an INSERT is faster; a round of many collectives has hundreds of thousands, under the lock on
the log's head."""


def _insert(
    connection: sa.Connection, pool: PoolRef, table: sa.Table, columns: Mapping[str, Collection[object]]
) -> None:
    if len(next(iter(columns.values()))) <= _INSERTED_ROWS:
        put_rows(connection, table, pool.pool_id, {name: _AS_COLUMN[name](values) for name, values in columns.items()})
        return
    statement = sql.SQL("COPY {} (pool_id, {}) FROM STDIN").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with driver_connection(connection).cursor() as cursor, cursor.copy(statement) as copy:
        for row in zip(*columns.values(), strict=True):
            copy.write_row((pool.pool_id, *row))


def balances_of(connection: sa.Connection, pool: PoolRef, accounts: Sequence[str], *, log_size: int) -> dict[str, int]:
    """Returns the balances of the given accounts as of a log size; an account without transfers is absent."""
    asked = (texts(accounts).as_array(), pool.pool_id, log_size)
    found = ask(connection, _BALANCES, asked).fetchall()
    return dict(cast("list[tuple[str, int]]", found))


_BALANCES: Final = """
SELECT account, amount_minor FROM unnest(%b) AS asked (account) CROSS JOIN LATERAL (
    SELECT amount_minor FROM balance
    WHERE balance.pool_id = %s AND balance.account = asked.account AND leaf_index < %s
    ORDER BY leaf_index DESC LIMIT 1
) AS latest
"""

# Raw SQL: the most frequent call, and SQLAlchemy takes longer to compile it than Postgres to run it.
_LATEST_BALANCE: Final = """
SELECT size, (
    SELECT amount_minor FROM balance
    WHERE balance.pool_id = head.pool_id AND account = %s ORDER BY leaf_index DESC LIMIT 1
)
FROM head WHERE pool_id = %s
"""


def latest_balance(connection: sa.Connection, pool: PoolRef, account: str) -> tuple[int | None, int]:
    """Returns an account's balance (None without transfers) and the log size that it is as of, in one query."""
    found = ask(connection, _LATEST_BALANCE, (account, pool.pool_id)).fetchone()
    log_size, amount = cast("tuple[int, int | None]", found)
    return amount, log_size


_LATEST_BALANCES: Final = """
SELECT (
    SELECT amount_minor FROM balance
    WHERE balance.pool_id = head.pool_id AND account = asked.account ORDER BY leaf_index DESC LIMIT 1
), size
FROM head CROSS JOIN unnest(%s::text[]) WITH ORDINALITY AS asked (account, place)
WHERE pool_id = %s ORDER BY place
"""


def latest_balances(connection: sa.Connection, pool: PoolRef, accounts: Sequence[str]) -> list[tuple[int | None, int]]:
    """Returns the same of several accounts, in one query."""
    asked = (list(accounts), pool.pool_id)
    found = ask(connection, _LATEST_BALANCES, asked).fetchall()
    return cast("list[tuple[int | None, int]]", found)


def list_balances(
    connection: sa.Connection, pool: PoolRef, *, log_size: int, only: Sequence[str] | None, after: str, limit: int
) -> list[tuple[str, int]]:
    """Returns (account, balance) as of a log size, by account; of some accounts, or of all."""
    account = t.balance.c.account.collate("C")
    query = (
        sa.select(t.balance.c.account, t.balance.c.amount_minor)
        .where(t.balance.c.pool_id == pool.pool_id, t.balance.c.leaf_index < log_size, account > after)
        .ext(distinct_on(account))
        .order_by(account, t.balance.c.leaf_index.desc())
        .limit(limit)
    )
    if only is not None:
        query = query.where(t.balance.c.account.in_(only))
    return [(row.account, row.amount_minor) for row in connection.execute(query)]


def own_accounts(collective: str) -> list[str]:
    """Returns the names of a collective's accounts."""
    return [f"{kind}/{collective}" for kind in COLLECTIVE_KINDS]


def list_transfers(
    connection: sa.Connection,
    pool: PoolRef,
    *,
    account: str | None,
    after: tuple[int, int],
    limit: int,
    newest_first: bool = False,
) -> list[PlacedTransfer]:
    """Returns transfers after (leaf_index, ordinal) in log order, or those before it the other way round.

    Of one account, or of all.
    """
    place = sa.tuple_(t.transfer.c.leaf_index, t.transfer.c.ordinal)
    beyond = sa.tuple_(*(sa.literal(part, sa.BigInteger) for part in after))
    query = (
        sa.select(t.transfer)
        .where(t.transfer.c.pool_id == pool.pool_id, place < beyond if newest_first else place > beyond)
        .order_by(
            *(column.desc() if newest_first else column for column in (t.transfer.c.leaf_index, t.transfer.c.ordinal))
        )
        .limit(limit)
    )
    if account is not None:
        query = query.where(sa.or_(t.transfer.c.from_account == account, t.transfer.c.to_account == account))
    return [_placed(row) for row in connection.execute(query)]


# Raw SQL: a posting has two transfers for each collective, and a replay reads them all.
_TRANSFERS_OF_LEAF: Final = """
SELECT from_account, to_account, amount_minor, purpose FROM transfer
WHERE pool_id = %s AND leaf_index = %s ORDER BY ordinal
"""


def transfers_of_leaf(connection: sa.Connection, pool: PoolRef, leaf_index: int) -> list[Transfer]:
    """Returns what a leaf moved, in order."""
    cursor = driver_connection(connection).cursor(binary=True)
    found = cursor.execute(_TRANSFERS_OF_LEAF, (pool.pool_id, leaf_index)).fetchall()
    rows = cast("list[tuple[str, str, int, str]]", found)
    try:
        return [Transfer(source, target, amount, _PURPOSES[purpose]) for source, target, amount, purpose in rows]
    except (KeyError, ValueError):  # one of these raises, and says which
        return [_transfer(leaf_index, ordinal, *row) for ordinal, row in enumerate(rows)]


def _placed(row: Any) -> PlacedTransfer:
    transfer = _transfer(row.leaf_index, row.ordinal, row.from_account, row.to_account, row.amount_minor, row.purpose)
    return PlacedTransfer(row.leaf_index, row.ordinal, transfer)


_PURPOSES: Final = {purpose.value: purpose for purpose in Purpose}
"""Looking one up takes a tenth of the time that the class takes, which says what is wrong with any other."""


def _transfer(
    leaf_index: int, ordinal: int, from_account: str, to_account: str, amount_minor: int, purpose: str
) -> Transfer:
    try:
        return Transfer(from_account, to_account, amount_minor, _PURPOSES.get(purpose) or Purpose(purpose))
    except ValueError as error:
        raise LedgerCorruptError(f"transfer {ordinal} of leaf {leaf_index}", str(error)) from None


@dataclass(frozen=True, slots=True)
class _StoredPast:
    """The log before an entry, as `Past` needs it: bodies from the store, entries as passed in."""

    connection: sa.Connection
    pool: PoolRef
    at_hand: Sequence[Content]

    def entry(self, kind: type[C], key: Hashable) -> C:
        """The entry of a kind with this key."""
        for content in self.at_hand:
            if isinstance(content, kind) and content.key == key:
                return content
        raise LedgerCorruptError(f"{kind.type} {key}", "is not at hand")

    def balance(self, account: str) -> int:
        """The account's balance now, under the lock on the log's head."""
        amount, _ = latest_balance(self.connection, self.pool, account)
        return amount or 0

    def parsed(self, digest: str, parse: Callable[[bytes], T]) -> T:
        """What a body says."""
        return parse(log.checked_body(self.connection, self.pool, bytes.fromhex(digest)))


def transfers_of(connection: sa.Connection, pool: PoolRef, content: Content, *at_hand: Content) -> Sequence[Transfer]:
    """Returns what an entry moves; `at_hand` are the earlier entries that it refers to."""
    return content.transfers(_StoredPast(connection, pool, at_hand))
