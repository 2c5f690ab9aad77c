"""Money in, in Postgres: reports, receipts, and which payer a receipt turned out to be of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ledger.errors import InvalidInputError, NotFoundError, Sentence, StateError
from ledger.income import Distribute, MatchContent, ReceiptContent, ReportContent, ReversalContent
from ledger.journal import credit_account, due_account, platform_account
from ledger.log.leaves import Content, Leaf, decode
from ledger.money import MAX_AMOUNT_MINOR
from ledger.store import tables as t
from ledger.store.desk.pace import Pace
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.money import journal, movements
from ledger.store.money.movements import RecordedLeaf
from ledger.store.pools.admissions import require_admitted
from ledger.store.registry.acts import Effect
from ledger.store.registry.platforms import platform_number

C = TypeVar("C", bound=Content)

MAX_OPEN_MINOR: Final = MAX_AMOUNT_MINOR
"""What a platform may have reported in a pool and not paid: as much in total as one report may say. All platforms of a
pool share accounts, and so none takes more than a 9,000th of the room in them."""

REPORTS: Final = Pace("reports_per_day", 1_000, timedelta(days=1))
"""Of a platform in a pool: each is an entry of its log for ever, which every auditor reads."""


@dataclass(frozen=True, slots=True)
class Income:
    """A report or a receipt, what of it was reversed, and whose it is: empty for an unknown payer's."""

    recorded: RecordedLeaf
    platform: str
    reversed_minor: int

    @property
    def content(self) -> Any:
        """The report or the receipt."""
        return self.recorded.leaf.content

    @property
    def left_minor(self) -> int:
        """What may still be reversed."""
        return int(self.content.amount_minor - self.reversed_minor)


def record_report(
    connection: sa.Connection, pool: PoolRef, content: ReportContent, *, distributed_size: int = 0
) -> Income:
    """Record a report exactly once by (platform, request_id). Repeating the request returns the first record.

    `distributed_size` is the size of the log up to which a round has distributed what was reported.

    Raises:
        IdentityReusedError: the request id was used with other content.
        InvalidInputError: more than MAX_OPEN_MINOR of the platform would be open.
        QuotaError: the platform reported too often.
        StateError: the platform is not admitted to the pool.
    """
    platform_id = platform_number(connection, content.platform)
    key = (t.report.c.platform_id == platform_id) & (t.report.c.request_id == content.request_id)
    now = log.lock_head(connection, pool)
    if recorded := movements.recorded(connection, pool, t.report, key, ReportContent):
        movements.require_same(recorded, content)
        return find_income(connection, pool, recorded.leaf.index)
    require_admitted(connection, pool, content.platform, platform_id)
    _require_pace(connection, pool, content, platform_id, now)
    _require_room(connection, pool, content, distributed_size)
    moved = movements.append_moving(connection, pool, content, now)
    row = {
        "platform_id": platform_id,
        "request_id": content.request_id,
        "payment_reference": content.payment_reference,
    }
    movements.claim(connection, pool, t.report, row, moved.leaf.index)
    return Income(moved, content.platform, 0)


def _require_pace(
    connection: sa.Connection, pool: PoolRef, content: ReportContent, platform_id: int, now: datetime
) -> None:
    """Check that a platform did not report too often, under the lock on the log's head."""
    mine = (t.report.c.pool_id == pool.pool_id) & (t.report.c.platform_id == platform_id)
    place = sa.select(t.report.c.leaf_index).where(mine).order_by(t.report.c.leaf_index.desc())
    earlier = connection.execute(place.offset(REPORTS.most - 1).limit(1)).scalar()
    before = None if earlier is None else find_income(connection, pool, earlier).recorded.leaf.time
    REPORTS.require(f"platforms/{content.platform}", before, now)


def _require_room(connection: sa.Connection, pool: PoolRef, content: ReportContent, distributed_size: int) -> None:
    """Check that a platform may report so much more, under the lock on the log's head."""
    open_minor = _open_minor(connection, pool, content.platform, distributed_size)
    most = max(0, MAX_OPEN_MINOR - open_minor)
    if content.amount_minor > most:
        reason = (
            "must be at most %(most)s, got %(got)s: %(open)s was reported before and is not paid, and %(total)s is the "
            "most in total"
        )
        if pool.distribute != Distribute.RECEIVED:
            reason = (
                "must be at most %(most)s, got %(got)s: %(open)s was reported before and is not distributed, and "
                "%(total)s is the most in total"
            )
        told = Sentence(reason, most=most, got=content.amount_minor, open=open_minor, total=MAX_OPEN_MINOR)
        raise InvalidInputError.of("report.amount_minor", told)


def _open_minor(connection: sa.Connection, pool: PoolRef, platform: str, distributed_size: int) -> int:
    """Returns what a platform has reported and not paid or, where nobody pays, what no round has distributed."""
    if pool.distribute == Distribute.RECEIVED:
        accounts = [due_account(platform), credit_account(platform)]
        due, credit = (amount or 0 for amount, _ in journal.latest_balances(connection, pool, accounts))
        return due - credit
    owed = platform_account(platform)
    now, _ = journal.latest_balance(connection, pool, owed)
    return journal.balances_of(connection, pool, [owed], log_size=distributed_size).get(owed, 0) - (now or 0)


def list_reports(
    connection: sa.Connection, pool: PoolRef, *, platform: str | None, after: int, limit: int | None
) -> list[Income]:
    """Returns reports in log order, after the leaf `after`; of one platform or of all."""
    query = _with_reversals(pool, t.report, t.report.c.leaf_index).where(t.report.c.leaf_index > after)
    query = query.order_by(t.report.c.leaf_index).limit(limit)
    if platform is not None:
        query = query.where(t.report.c.platform_id == platform_number(connection, platform))
    return [_report(row) for row in connection.execute(query)]


def list_receipts(
    connection: sa.Connection, pool: PoolRef, *, platform: str | None, after: int, limit: int | None
) -> list[Income]:
    """Returns receipts in log order, after the leaf `after`; of one platform, matched ones included, or of all."""
    query = _receipts(pool).where(t.receipt.c.leaf_index > after).order_by(t.receipt.c.leaf_index).limit(limit)
    if platform is not None:
        number = platform_number(connection, platform)
        query = query.where(sa.func.coalesce(t.match.c.platform_id, t.receipt.c.platform_id) == number)
    return [_receipt(row) for row in connection.execute(query)]


def list_reversals(
    connection: sa.Connection, pool: PoolRef, *, platform: str | None, after: int, limit: int
) -> list[RecordedLeaf]:
    """Returns reversals in log order, after the leaf `after`; of one platform's money or of all."""
    query = movements.leaves_of(pool, t.reversal).where(t.reversal.c.leaf_index > after)
    query = query.order_by(t.reversal.c.leaf_index).limit(limit)
    if platform is not None:
        query = query.where(t.reversal.c.platform_id == platform_number(connection, platform))
    return [movements.recorded_leaf(row, ReversalContent) for row in connection.execute(query)]


def find_income(connection: sa.Connection, pool: PoolRef, leaf_index: int) -> Income:
    """Returns the report or the receipt at a leaf.

    Raises:
        NotFoundError: neither is there.
    """
    reports = _with_reversals(pool, t.report, t.report.c.leaf_index).where(t.report.c.leaf_index == leaf_index)
    if row := connection.execute(reports).first():
        return _report(row)
    if row := connection.execute(_receipts(pool).where(t.receipt.c.leaf_index == leaf_index)).first():
        return _receipt(row)
    raise NotFoundError(f"pools/{pool.name}/leaves/{leaf_index}")


def report_leaf(connection: sa.Connection, pool: PoolRef, platform: str, request_id: str) -> int:
    """Returns the leaf of a report.

    Raises:
        NotFoundError: the platform has no report with this request id.
    """
    number = platform_number(connection, platform)
    query = sa.select(t.report.c.leaf_index).where(
        t.report.c.pool_id == pool.pool_id, t.report.c.platform_id == number, t.report.c.request_id == request_id
    )
    found = connection.execute(query).scalar()
    if found is None:
        raise NotFoundError(f"pools/{pool.name}/reports/{platform}~{request_id}")
    return int(found)


def receipt_leaf(connection: sa.Connection, pool: PoolRef, request_id: str) -> int:
    """Returns the leaf of a receipt.

    Raises:
        NotFoundError: the pool has no receipt with this request id.
    """
    on = (t.movement.c.pool_id == t.receipt.c.pool_id) & (t.movement.c.leaf_index == t.receipt.c.leaf_index)
    query = (
        sa.select(t.receipt.c.leaf_index)
        .join_from(t.receipt, t.movement, on)
        .where(t.receipt.c.pool_id == pool.pool_id, t.movement.c.request_id == request_id)
    )
    found = connection.execute(query).scalar()
    if found is None:
        raise NotFoundError(f"pools/{pool.name}/receipts/{request_id}")
    return int(found)


def reports_of_references(
    connection: sa.Connection, pool: PoolRef, payment_references: Sequence[str]
) -> dict[str, Income]:
    """Returns the reports that have these payment references, in a pool in which money arrives."""
    if pool.distribute != Distribute.RECEIVED or not payment_references:
        return {}
    among = sa.any_(sa.literal(list(payment_references), sa.ARRAY(sa.Text)))
    query = _with_reversals(pool, t.report, t.report.c.leaf_index).where(t.report.c.payment_reference == among)
    found = [_report(row) for row in connection.execute(query)]
    return {each.content.payment_reference: each for each in found}


def platform_of_reference(connection: sa.Connection, pool: PoolRef, payment_reference: str) -> str:
    """Returns whose report has a payment reference; empty if none has."""
    key = t.report.c.payment_reference == payment_reference
    found = movements.recorded(connection, pool, t.report, key, ReportContent)
    return found.leaf.content.platform if found else ""


def _record_receipt(connection: sa.Connection, pool: PoolRef, content: ReceiptContent, now: datetime) -> Income:
    require_received(pool)
    number = platform_number(connection, content.platform) if content.platform else None
    moved = movements.append_movement(connection, pool, content, now)
    row = {"pool_id": pool.pool_id, "leaf_index": moved.leaf.index, "platform_id": number}
    connection.execute(sa.insert(t.receipt).values(row))
    return Income(moved, content.platform, 0)


def _standing_receipt(connection: sa.Connection, pool: PoolRef, content: ReceiptContent) -> Income | None:
    standing = movements.standing_movement(connection, pool, content)
    return find_income(connection, pool, standing.leaf.index) if standing else None


def _record_match(connection: sa.Connection, pool: PoolRef, content: MatchContent, now: datetime) -> Income:
    found = find_income(connection, pool, content.receipt)
    if found.content.type != ReceiptContent.type or found.platform:
        name = f"pools/{pool.name}/leaves/{content.receipt}"
        raise StateError(name, "NOT_UNMATCHED", "is not a receipt of an unknown payer")
    if content.amount_minor != found.left_minor or not found.left_minor:
        name = f"pools/{pool.name}/receipts/{found.content.request_id}"
        raise StateError(name, "AMOUNT_CHANGED", "has %(left_minor)s left", left_minor=found.left_minor)
    number = platform_number(connection, content.platform)
    moved = movements.append_movement(connection, pool, content, now)
    row = {
        "pool_id": pool.pool_id,
        "receipt": content.receipt,
        "platform_id": number,
        "leaf_index": moved.leaf.index,
    }
    connection.execute(sa.insert(t.match).values(row))
    return find_income(connection, pool, content.receipt)


def _standing_match(connection: sa.Connection, pool: PoolRef, content: MatchContent) -> Income | None:
    found = movements.find_movement(connection, pool, content.request_id)
    if found is None:
        return None
    # The amount is what was left of the receipt then: some of it may have been taken back since.
    movements.require_same(found, content.model_copy(update={"amount_minor": found.leaf.content.amount_minor}))
    return find_income(connection, pool, content.receipt)


RECORD_RECEIPT: Final = Effect(ReceiptContent, _record_receipt, _standing_receipt)
MATCH_RECEIPT: Final = Effect(MatchContent, _record_match, _standing_match)
"""Money that arrived, and whose it turned out to be, exactly once by request id. Each returns an `Income`.

Raises IdentityReusedError for another content under a known request id, StateError where the pool distributes what is
reported, NotFoundError if there is no such platform or receipt.
"""


def require_received(pool: PoolRef) -> None:
    """Check that money arrives in a pool.

    Raises:
        StateError: it distributes what is reported.
    """
    if pool.distribute != Distribute.RECEIVED:
        detail = "distributes what is reported; no money arrives in it"
        raise StateError(f"pools/{pool.name}", "NO_MONEY_HERE", detail)


_names: Final = t.platform.c.name.label("platform")


def _with_reversals(pool: PoolRef, table: sa.Table, place: sa.Column[int]) -> sa.Select[Any]:
    reversed_minor = (
        sa.select(sa.func.coalesce(sa.func.sum(t.reversal.c.amount_minor), 0))
        .where(t.reversal.c.pool_id == table.c.pool_id, t.reversal.c.reverses == place)
        .scalar_subquery()
        .label("reversed_minor")
    )
    return movements.leaves_of(pool, table).add_columns(reversed_minor)


def _receipts(pool: PoolRef) -> sa.Select[Any]:
    on = (t.match.c.pool_id == t.receipt.c.pool_id) & (t.match.c.receipt == t.receipt.c.leaf_index)
    matched = t.leaf.alias("matched")
    there = (matched.c.pool_id == t.match.c.pool_id) & (matched.c.leaf_index == t.match.c.leaf_index)
    query = _with_reversals(pool, t.receipt, t.receipt.c.leaf_index).add_columns(matched.c.entry.label("matched"))
    return query.outerjoin(t.match, on).outerjoin(matched, there)


def _report(row: Any) -> Income:
    recorded = movements.recorded_leaf(row, ReportContent)
    return Income(recorded, recorded.leaf.content.platform, int(row.reversed_minor))


def _receipt(row: Any) -> Income:
    recorded = movements.recorded_leaf(row, ReceiptContent)
    platform = recorded.leaf.content.platform
    if row.matched:
        match: Leaf[MatchContent] = decode(bytes(row.matched), {MatchContent.type: MatchContent})
        platform = match.content.platform
    return Income(recorded, platform, int(row.reversed_minor))
