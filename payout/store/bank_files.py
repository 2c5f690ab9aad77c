"""Banks' files in Postgres: the leaf of each, what it says of payments, and what each pool books of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from ledger.acts.entries import BankFileContent
from ledger.entries import BookingContent
from ledger.errors import IdentityReusedError, LostRaceError, Sentence, StateError
from ledger.journal import is_at_the_bank
from ledger.log.leaves import Leaf, decode
from ledger.payments import Bookings, pool_bookings, render
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.money import movements
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.postgres.transactions import driver_connection
from ledger.store.registry.acts import Effect, append_act, begin
from payout.payments.lines import BookedLine, lines_of_file
from payout.store import bank_lines, pay_runs, reversals
from payout.store import tables as t
from payout.store.bank_accounts import get_bank_account, version_of
from payout.store.bookings import bookings_of


@dataclass(frozen=True, slots=True)
class Last:
    """How far an account's statements go: the last closing balance and its day; before any, the opening balance."""

    closing_minor: int
    day: date | None


def _record(connection: sa.Connection, pool: PoolRef, content: BankFileContent, now: datetime) -> Leaf[BankFileContent]:
    bookings = bookings_of(connection, content)
    require_following(connection, content)
    leaf_index = append_act(connection, pool, content, now)
    row = {
        "bank_account": content.bank_account, "message": content.message, "message_id": content.message_id,
        "closing_minor": content.closing_minor, "created_at": now,
    }  # fmt: skip
    with taken_keys(lambda _: LostRaceError(f"message {content.message_id}")):
        connection.execute(sa.insert(t.bank_message).values(leaf_index=leaf_index, **row))
    pay_runs.put_events(connection, leaf_index, bookings)
    bank_lines.put_lines(
        connection, content.bank_account, leaf_index, _changed_lines(connection, leaf_index, content, bookings)
    )
    return Leaf(pool.name, leaf_index, now, content)


def _changed_lines(
    connection: sa.Connection, leaf_index: int, content: BankFileContent, bookings: Bookings
) -> list[BookedLine]:
    named = sorted({each.line for each in bookings.bookings if each.line})
    known = bank_lines.by_name(connection, content.bank_account, named) if named else {}
    try:
        return list(lines_of_file(leaf_index, bookings, known).values())
    except ValueError:
        raise LostRaceError(f"a line of bankAccounts/{content.bank_account}") from None


def require_following(connection: sa.Connection, content: BankFileContent) -> None:
    """Check that a statement begins where the last one of its account ended.

    Raises:
        StateError: it does not, so that one is missing between them, or it is none of this account's.
    """
    if content.opening_minor is None:
        return
    last = last_of(connection, content.bank_account)
    if content.opening_minor != last.closing_minor:
        detail = Sentence(
            "opens with %(opening_minor)s, and the last one closed with %(closing_minor)s; import the statements in "
            "between first",
            opening_minor=content.opening_minor,
            closing_minor=last.closing_minor,
        )
        raise StateError(f"statement {content.message_id}", "DOES_NOT_FOLLOW", detail)
    if last.day is not None and date.fromisoformat(content.day) < last.day:
        detail = Sentence(
            "ends on %(day)s, before %(last_day)s, on which the last one ended",
            day=date.fromisoformat(content.day),
            last_day=last.day,
        )
        raise StateError(f"statement {content.message_id}", "DOES_NOT_FOLLOW", detail)


def _standing(connection: sa.Connection, _: PoolRef, content: BankFileContent) -> Leaf[BankFileContent] | None:
    """Returns the file with this message, if it was taken in.

    Raises:
        IdentityReusedError: another file with this message was.
    """
    found = find_message(connection, content.bank_account, content.message, content.message_id)
    if found is not None and found.content.file_hash != content.file_hash:
        raise IdentityReusedError.of(
            "content", "has the id of another message: %(message)s", message=content.message_id
        )
    return found


def _rests_on(connection: sa.Connection, _: PoolRef, content: BankFileContent) -> dict[str, str]:
    query = sa.select(sa.func.max(t.bank_message.c.leaf_index)).where(
        t.bank_message.c.bank_account == content.bank_account
    )
    account = f"bankAccounts/{content.bank_account}"
    runs = sa.select(sa.func.max(t.pay_run.c.leaf_index)).where(t.pay_run.c.bank_account == content.bank_account)
    matches = sa.select(sa.func.max(t.bank_match.c.leaf_index)).where(
        t.bank_match.c.bank_account == content.bank_account
    )
    return {
        account: version_of(connection, content.bank_account),
        f"{account}/messages": str(connection.execute(query).scalar()),
        f"{account}/matches": str(connection.execute(matches).scalar()),
        f"{account}/payRuns": str(connection.execute(runs).scalar()),
    }


TAKE_IN_BANK_FILE: Final = Effect(BankFileContent, _record, _standing, rests_on=_rests_on)
"""Takes in a bank's file, the body of whose bookings is kept already. Returns its leaf.

Raises IdentityReusedError for another file under a known message, StateError for a statement that does not follow.
"""


def last_of(connection: sa.Connection, bank_account: str) -> Last:
    """Returns how far an account's statements go."""
    for found in list_files(connection, bank_account=bank_account, newest=True, statements=True, limit=1):
        assert found.content.closing_minor is not None  # noqa: S101  # it is a statement
        return Last(found.content.closing_minor, date.fromisoformat(found.content.day))
    return Last(get_bank_account(connection, bank_account).content.opening_minor, None)


def find_message(
    connection: sa.Connection, bank_account: str, message: str, message_id: str
) -> Leaf[BankFileContent] | None:
    """Returns the file with a message; None if there is none."""
    query = _files().where(
        t.bank_message.c.bank_account == bank_account,
        t.bank_message.c.message == message,
        t.bank_message.c.message_id == message_id,
    )
    row = connection.execute(query).first()
    return _leaf(row) if row else None


def message_ids(connection: sa.Connection, bank_account: str) -> set[tuple[str, str]]:
    """Returns the messages of an account that were taken in: which kind each is, and its id."""
    columns = t.bank_message.c.message, t.bank_message.c.message_id
    query = sa.select(*columns).where(t.bank_message.c.bank_account == bank_account)
    return {(row.message, row.message_id) for row in connection.execute(query)}


def list_files(
    connection: sa.Connection,
    *,
    bank_account: str,
    after: int = -1,
    limit: int | None = None,
    newest: bool = False,
    statements: bool = False,
    message: str = "",
) -> list[Leaf[BankFileContent]]:
    """Returns an account's files in the order of the log, or the newest first: all, of one message, or statements."""
    place = t.bank_message.c.leaf_index
    query = _files().where(t.bank_message.c.bank_account == bank_account, place > after)
    if statements:
        query = query.where(t.bank_message.c.closing_minor.is_not(None))
    if message:
        query = query.where(t.bank_message.c.message == message)
    query = query.order_by(place.desc() if newest else place).limit(limit)
    return [_leaf(row) for row in connection.execute(query)]


def book(connection: sa.Connection, pool: PoolRef, leaf_index: int, bookings: Bookings, salt: str) -> bool:
    """Have a pool book its part of a statement or of a match, once. Returns whether it did now.

    A round that waits for its posting is rejected if that takes money of its pot.

    Args:
        connection: a transaction's.
        pool: the pool.
        leaf_index: of the statement or the match, in the registry's log.
        bookings: what it means.
        salt: 32 random bytes in hexadecimal.

    Raises:
        LostRaceError: it does so at this moment.
    """
    if booked_at(connection, pool, leaf_index) is not None:
        return False
    people, now = begin(connection, pool)
    if booked_at(connection, pool, leaf_index) is not None:
        return False
    booked = pool_bookings(bookings, pool.name, salt)
    part = render(booked)
    log.put_body(connection, pool, part)
    content = BookingContent(
        registry_size=people.size,
        bank_file_leaf=leaf_index,
        bookings_sha256=sha256(part).hexdigest(),
        lines=len(booked.bookings),
        lines_root=booked.root(),
    )
    recorded = movements.append_moving(connection, pool, content, now)
    reversals.reject_uncovered(connection, pool, recorded.leaf.index, people, now)
    with taken_keys(lambda _: LostRaceError(f"bank file {leaf_index}")):
        connection.execute(
            sa.insert(t.booking).values(pool_id=pool.pool_id, bank_file_leaf=leaf_index, leaf_index=recorded.leaf.index)
        )
    return True


def booked_at(connection: sa.Connection, pool: PoolRef, bank_file_leaf: int) -> int | None:
    """Returns the leaf by which a pool booked its part of a statement; None if it has not."""
    query = sa.select(t.booking.c.leaf_index).where(
        t.booking.c.pool_id == pool.pool_id, t.booking.c.bank_file_leaf == bank_file_leaf
    )
    return connection.execute(query).scalar()


def last_booked(connection: sa.Connection, pool: PoolRef) -> int:
    """Returns the registry's leaf of what a pool booked last; -1 if it has booked nothing."""
    query = sa.select(sa.func.max(t.booking.c.bank_file_leaf)).where(t.booking.c.pool_id == pool.pool_id)
    found = connection.execute(query).scalar()
    return -1 if found is None else int(found)


def at_the_bank(connection: sa.Connection, pool: PoolRef, log_size: int) -> int:
    """Returns what a pool's books say is on its bank account, in minor units, as of a log size."""
    query = f"""
        SELECT DISTINCT ON (account COLLATE "C") account, amount_minor FROM {lt.balance.name}
        WHERE pool_id = %s AND leaf_index < %s ORDER BY account COLLATE "C", leaf_index DESC
    """  # noqa: S608  # the name of a table of ours
    rows = driver_connection(connection).execute(query, (pool.pool_id, log_size)).fetchall()
    return sum(int(str(amount)) for account, amount in rows if is_at_the_bank(str(account)))


def _files() -> sa.Select[Any]:
    on = (lt.leaf.c.pool_id == REGISTRY.pool_id) & (lt.leaf.c.leaf_index == t.bank_message.c.leaf_index)
    return sa.select(lt.leaf.c.entry).select_from(t.bank_message.join(lt.leaf, on))


def _leaf(row: Any) -> Leaf[BankFileContent]:
    return decode(bytes(row.entry), {BankFileContent.type: BankFileContent})
