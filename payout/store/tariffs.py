"""Tariffs in Postgres, and what is due by them: read from reports, usage and admissions as of a size of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, cast

import sqlalchemy as sa

from ledger.income import Period, month_of
from ledger.log.leaves import decode
from ledger.registry import NANO
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.money import movements
from ledger.store.money.movements import RecordedLeaf
from ledger.store.postgres.transactions import driver_connection
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.platforms import platform_names, platform_number
from ledger.usage.weights import ModeWeights, unpack
from payout.entries import CONTENTS
from payout.store import tables as t
from payout.store.books import standing_reports
from payout.tariffs import Admitted, PlatformDue, ReportLeft, TariffContent, present_in


def list_tariffs(
    connection: sa.Connection,
    pool: PoolRef,
    *,
    platform: str | None = None,
    after: int = -1,
    limit: int | None = None,
    size: int | None = None,
) -> list[RecordedLeaf]:
    """Returns tariffs in log order, after the leaf `after`, and as of a size of the log if one is given: all, or a
    platform's own and those of all that have none of their own.
    """
    query = movements.leaves_of(pool, t.tariff).where(t.tariff.c.leaf_index > after)
    if platform is not None:
        query = query.where(t.tariff.c.platform.in_(("", platform)))
    if size is not None:
        query = query.where(t.tariff.c.leaf_index < size)
    rows = connection.execute(query.order_by(t.tariff.c.leaf_index).limit(limit))
    return [movements.recorded_leaf(row, TariffContent) for row in rows]


@dataclass(frozen=True, slots=True)
class Dues:
    """What is due for a period, by platform, and the size of the log that it follows from."""

    log_size: int
    platforms: tuple[PlatformDue, ...]
    tariff_leaves: Mapping[TariffContent, int]
    """Where each tariff is in the log."""


def read_dues(connection: sa.Connection, pool: PoolRef, period: Period) -> Dues:
    """Returns what is due for a period of those who were admitted in it, or have usage or reports of it; by name."""
    size = log.read_head(connection, pool).size
    leaves: dict[TariffContent, int] = {
        each.leaf.content: each.leaf.index for each in list_tariffs(connection, pool, size=size)
    }
    reports = _reports_within(connection, pool, period, size)
    units = _units(connection, pool, period, size)
    names = present_in(_admissions(connection, pool, size), period) | {*units, *reports}
    found = (PlatformDue.of(name, period, leaves, reports.get(name, ()), units.get(name, 0)) for name in sorted(names))
    return Dues(size, tuple(found), leaves)


def _reports_within(connection: sa.Connection, pool: PoolRef, period: Period, size: int) -> dict[str, list[ReportLeft]]:
    found: dict[str, list[ReportLeft]] = {}
    for content, left in standing_reports(connection, pool, size):
        if content.period and Period.parse(content.period) in period:
            found.setdefault(content.platform, []).append(ReportLeft(left, content.income_minor))
    return found


_USAGE: Final = """
    SELECT platform_id, unattributed, packed FROM {table}
    JOIN batch_weights ON batch_weights.pool_id = {table}.pool_id AND batch_weights.batch_number = {table}.{number}
    WHERE {table}.pool_id = %s AND {table}.leaf_index < %s AND batch_weights.month >= %s AND batch_weights.month < %s
"""


def _units(connection: sa.Connection, pool: PoolRef, period: Period, size: int) -> dict[str, int]:
    """Each platform's units of usage in a period, less those retracted: weights are units times shares, and what nobody
    claims is the rest.
    """
    found: Counter[int] = Counter()
    values = (pool.pool_id, size, period.first, period.end)
    for table, number, sign in (("batch", "batch_number", 1), ("retraction", "weights_number", -1)):
        query = _USAGE.format(table=table, number=number)
        for row in driver_connection(connection).cursor(binary=True).stream(query, values, binary=True):
            platform_id, unattributed, packed = cast("tuple[int, Decimal, bytes]", row)
            weights = ModeWeights(0, *unpack(packed), int(unattributed))
            found[platform_id] += sign * (weights.attributed() + weights.unattributed)
    names = platform_names(connection, sorted(found))
    return {names[platform_id]: weight // NANO for platform_id, weight in found.items()}


def _admissions(connection: sa.Connection, pool: PoolRef, size: int) -> list[Admitted]:
    on = (lt.leaf.c.pool_id == lt.admission.c.pool_id) & (lt.leaf.c.leaf_index == lt.admission.c.leaf_index)
    query = (
        sa.select(lt.admission.c.platform_id, lt.admission.c.admitted, lt.leaf.c.entry)
        .join_from(lt.admission, lt.leaf, on)
        .where(lt.admission.c.pool_id == pool.pool_id, lt.admission.c.leaf_index < size)
        .order_by(lt.admission.c.leaf_index)
    )
    rows = connection.execute(query).all()
    names = platform_names(connection, sorted({row.platform_id for row in rows}))
    return [
        Admitted(names[row.platform_id], month_of(decode(bytes(row.entry), CONTENTS).time), admitted=row.admitted)
        for row in rows
    ]


def _latest(connection: sa.Connection, pool: PoolRef, platform: str) -> RecordedLeaf | None:
    query = movements.leaves_of(pool, t.tariff).where(t.tariff.c.platform == platform)
    row = connection.execute(query.order_by(t.tariff.c.version.desc()).limit(1)).first()
    return movements.recorded_leaf(row, TariffContent) if row else None


def _set(connection: sa.Connection, pool: PoolRef, content: TariffContent, now: datetime) -> RecordedLeaf:
    if content.platform:
        platform_number(connection, content.platform)
    leaf_index = append_act(connection, pool, content, now)
    row = {"pool_id": pool.pool_id, "platform": content.platform, "version": content.version, "leaf_index": leaf_index}
    connection.execute(sa.insert(t.tariff).values(row))
    (made,) = list_tariffs(connection, pool, after=leaf_index - 1, limit=1)
    return made


def _standing(connection: sa.Connection, pool: PoolRef, content: TariffContent) -> RecordedLeaf | None:
    latest = _latest(connection, pool, content.platform)
    return latest if latest and {**latest.leaf.content.said(), "version": 0} == content.said() else None


def _next(connection: sa.Connection, pool: PoolRef, content: TariffContent) -> TariffContent:
    latest = _latest(connection, pool, content.platform)
    return content.model_copy(update={"version": latest.leaf.content.version + 1 if latest else 1})


def _version(connection: sa.Connection, pool: PoolRef, content: TariffContent) -> dict[str, str]:
    latest = _latest(connection, pool, content.platform)
    return {f"tariffs/{content.platform or '-'}": str(latest.leaf.content.version if latest else 0)}


SET_TARIFF: Final = Effect(TariffContent, _set, _standing, _next, _version)
"""Sets a tariff; the content's version is 0 and filled in. Returns a `RecordedLeaf`; raises NotFoundError if there is
no such platform."""
