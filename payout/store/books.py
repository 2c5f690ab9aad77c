"""A pool's money in by period, read from Postgres; and the act by which a period does not wait for a report."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.errors import Sentence, StateError
from ledger.income import ReportContent, WaiverContent
from ledger.journal import REVENUE, due_account
from ledger.log.leaves import decode
from ledger.registry import MAX_NAMED
from ledger.store import tables as lt
from ledger.store.logs.log import PoolRef
from ledger.store.money import journal
from ledger.store.pools.admissions import admitted_platforms, require_admitted
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.platforms import platform_names, platform_number
from payout.periods import Books, Reported
from payout.store import tables as t


def read_books(connection: sa.Connection, pool: PoolRef, size: int) -> Books:
    """Returns the money in as of a size of the pool's log."""
    reports = [Reported.of(content, left) for content, left in standing_reports(connection, pool, size)]
    platforms = sorted({each.platform for each in reports})
    accounts = [REVENUE, *map(due_account, platforms)]
    balances = journal.balances_of(connection, pool, accounts, log_size=size)
    return Books(
        revenue_minor=balances.get(REVENUE, 0),
        due_minor={name: balances.get(due_account(name), 0) for name in platforms},
        reports=reports,
        admitted=admitted_platforms(connection, pool, size),
        waived=frozenset(_waivers(connection, pool, size)),
    )


def standing_reports(connection: sa.Connection, pool: PoolRef, size: int) -> list[tuple[ReportContent, int]]:
    """Returns the reports as of a size of the pool's log that are not reversed whole, each with what of it is left."""
    taken_back = (
        sa.select(sa.func.coalesce(sa.func.sum(lt.reversal.c.amount_minor), 0))
        .where(
            lt.reversal.c.pool_id == lt.report.c.pool_id,
            lt.reversal.c.reverses == lt.report.c.leaf_index,
            lt.reversal.c.leaf_index < size,
        )
        .scalar_subquery()
    )
    on = (lt.leaf.c.pool_id == lt.report.c.pool_id) & (lt.leaf.c.leaf_index == lt.report.c.leaf_index)
    query = (
        sa.select(lt.leaf.c.entry, taken_back.label("reversed_minor"))
        .join_from(lt.report, lt.leaf, on)
        .where(lt.report.c.pool_id == pool.pool_id, lt.report.c.leaf_index < size)
        .order_by(lt.report.c.leaf_index)
    )
    found = []
    for row in connection.execute(query):
        content = decode(bytes(row.entry), {ReportContent.type: ReportContent}).content
        left = content.amount_minor - int(row.reversed_minor)
        if left:
            found.append((content, left))
    return found


def _waivers(connection: sa.Connection, pool: PoolRef, size: int) -> list[tuple[str, str]]:
    query = sa.select(t.waiver.c.period, t.waiver.c.platform_id).where(
        t.waiver.c.pool_id == pool.pool_id, t.waiver.c.leaf_index < size
    )
    rows = connection.execute(query).all()
    names = platform_names(connection, sorted({row.platform_id for row in rows}))
    return [(row.period, names[row.platform_id]) for row in rows]


def _waive(connection: sa.Connection, pool: PoolRef, content: WaiverContent, now: datetime) -> WaiverContent:
    number = platform_number(connection, content.platform)
    require_admitted(connection, pool, content.platform, number)
    same_period = sa.select(sa.func.count()).where(
        t.waiver.c.pool_id == pool.pool_id, t.waiver.c.period == content.period
    )
    if connection.execute(same_period).scalar_one() >= MAX_NAMED:
        detail = Sentence(
            "has %(most)s waivers for %(period)s, and may have no more; expel platforms that do not report",
            most=MAX_NAMED,
            period=content.period,
        )
        raise StateError(f"pools/{pool.name}", "TOO_MANY_WAIVERS", detail)
    leaf_index = append_act(connection, pool, content, now)
    row = {"pool_id": pool.pool_id, "period": content.period, "platform_id": number, "leaf_index": leaf_index}
    connection.execute(sa.insert(t.waiver).values(row))
    return content


def _standing_waiver(connection: sa.Connection, pool: PoolRef, content: WaiverContent) -> WaiverContent | None:
    number = platform_number(connection, content.platform)
    found = sa.exists().where(
        t.waiver.c.pool_id == pool.pool_id,
        t.waiver.c.period == content.period,
        t.waiver.c.platform_id == number,
    )
    return content if connection.execute(sa.select(found)).scalar_one() else None


WAIVE_REPORT: Final = Effect(WaiverContent, _waive, _standing_waiver)
"""Waives a platform's report for a period. Returns the content; raises StateError if the platform is not admitted, or
the round of the period could not name it any more, NotFoundError if there is no such platform."""
