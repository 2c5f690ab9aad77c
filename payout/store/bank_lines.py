"""Lines of banks' statements in Postgres: what each is booked as now, and what operators say that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from ledger.acts.entries import BankMatchContent
from ledger.errors import LostRaceError, NotFoundError
from ledger.log.leaves import Leaf, decode
from ledger.payments import BookingKind, Bookings
from ledger.store import tables as lt
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.registry.acts import Effect, append_act
from payout.payments.lines import BookedLine, changed_by, read_parts, written
from payout.payments.matching import AFTER, State
from payout.store import pay_runs
from payout.store import tables as t
from payout.store.bookings import bookings_of


def row_of(line: BookedLine) -> dict[str, Any]:
    """Returns what the row of a line has besides its account and the leaf that made it so."""
    return {**asdict(line), "parts": written(line.parts), "open_minor": line.open_minor}


def put_lines(connection: sa.Connection, bank_account: str, leaf_index: int, lines: Iterable[BookedLine]) -> None:
    """Keep what a leaf made of lines."""
    rows = [{**row_of(line), "bank_account": bank_account, "leaf_index": leaf_index} for line in lines]
    if rows:
        connection.execute(sa.insert(t.bank_line), rows)


def list_lines(
    connection: sa.Connection,
    bank_account: str,
    *,
    only_open: bool = False,
    names: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    after: tuple[int, int] = (-1, -1),
    limit: int | None = None,
) -> list[tuple[BookedLine, int]]:
    """Returns an account's lines as they are now, each with the leaf that made it so, in the order of the log.

    Args:
        connection: a transaction's.
        bank_account: the account.
        only_open: those alone of which something is of an unknown payer or without a partner.
        names: these alone.
        references: those alone that came with one of these payment references, or which the bank calls so.
        after: the leaf of a file and a place in it.
        limit: at most this many.
    """
    table = t.bank_line.c
    latest = sa.select(t.bank_line).where(table.bank_account == bank_account)
    if names is not None:
        latest = latest.where(table.name == sa.any_(sa.literal(list(names), sa.ARRAY(sa.Text))))
    if references is not None:
        among = sa.any_(sa.literal(list(references), sa.ARRAY(sa.Text)))
        latest = latest.where(sa.or_(table.payment_reference == among, table.reference == among))
    now = latest.ext(distinct_on(table.name)).order_by(table.name, table.leaf_index.desc()).subquery()
    place = sa.tuple_(*(sa.cast(sa.func.split_part(now.c.name, "-", each), sa.BigInteger) for each in (1, 2)))
    beyond = sa.tuple_(*(sa.literal(part, sa.BigInteger) for part in after))
    query = sa.select(now).where(place > beyond).order_by(place).limit(limit)
    if only_open:
        query = query.where(now.c.open_minor != 0)
    return [(_line(row), int(row.leaf_index)) for row in connection.execute(query)]


def get_line(connection: sa.Connection, bank_account: str, name: str) -> tuple[BookedLine, int]:
    """Returns a line as it is now, and the leaf that made it so.

    Raises:
        NotFoundError: the account has no such line.
    """
    for found in list_lines(connection, bank_account, names=[name]):
        return found
    raise NotFoundError(f"bankAccounts/{bank_account}/lines/{name}")


def by_name(connection: sa.Connection, bank_account: str, names: Sequence[str]) -> dict[str, BookedLine]:
    """Returns those of these lines that there are."""
    return {line.name: line for line, _ in list_lines(connection, bank_account, names=names)}


def _record(
    connection: sa.Connection, pool: PoolRef, content: BankMatchContent, now: datetime
) -> Leaf[BankMatchContent]:
    bookings = bookings_of(connection, content)
    named = {content.line, *(each.line for each in bookings.bookings if each.line)}
    lines = by_name(connection, content.bank_account, sorted(named))
    try:
        changed = changed_by(content.line, bookings, lines)
    except (ValueError, KeyError):
        raise LostRaceError(f"line {content.line}") from None
    _require_open(connection, bookings)
    leaf_index = append_act(connection, pool, content, now)
    pay_runs.put_events(connection, leaf_index, bookings)
    row = {"leaf_index": leaf_index, "bank_account": content.bank_account, "line": content.line}
    connection.execute(sa.insert(t.bank_match).values(row))
    put_lines(connection, content.bank_account, leaf_index, changed.values())
    return Leaf(pool.name, leaf_index, now, content)


def _require_open(connection: sa.Connection, bookings: Bookings) -> None:
    """Payments that a debit paid are open: since it was said, a statement may have had them."""
    paid = [each.end_to_end_id for each in bookings.bookings if each.kind == BookingKind.PAID]
    if paid:
        for event in pay_runs.events_of(connection, paid):
            if AFTER[BookingKind(event.kind)] is not State.REJECTED:
                raise LostRaceError(f"payment {event.end_to_end_id}")


def _rests_on(connection: sa.Connection, _: PoolRef, content: BankMatchContent) -> Mapping[str, str]:
    bookings = bookings_of(connection, content)
    named = sorted({content.line, *(each.line for each in bookings.bookings if each.line)})
    account = f"bankAccounts/{content.bank_account}"
    found = list_lines(connection, content.bank_account, names=named)
    return {f"{account}/lines/{line.name}": str(leaf_index) for line, leaf_index in found}


MATCH_LINE: Final = Effect(BankMatchContent, _record, rests_on=_rests_on)
"""Says what a line of a bank's file is of; the body of its bookings is kept already. Returns its leaf.

Raises LostRaceError if the line changed since.
"""


def list_matches(connection: sa.Connection, bank_account: str, *, after: int = -1) -> list[Leaf[BankMatchContent]]:
    """Returns what operators said of an account's lines, in the order of the log, after the leaf `after`."""
    table = t.bank_match.c
    on = (lt.leaf.c.pool_id == REGISTRY.pool_id) & (lt.leaf.c.leaf_index == table.leaf_index)
    query = sa.select(lt.leaf.c.entry).select_from(t.bank_match.join(lt.leaf, on))
    query = query.where(table.bank_account == bank_account, table.leaf_index > after).order_by(table.leaf_index)
    return [decode(bytes(row.entry), {BankMatchContent.type: BankMatchContent}) for row in connection.execute(query)]


def _line(row: Any) -> BookedLine:
    return BookedLine(row.name, row.amount_minor, read_parts(row.parts), row.payment_reference, row.day, row.reference)
