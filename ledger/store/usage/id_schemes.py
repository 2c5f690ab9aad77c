"""How platforms make the ids of their events, in Postgres. Fixed before a platform's first batch, or by it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ledger.errors import InvalidInputError, LostRaceError, StateError
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.pools.admissions import require_admitted
from ledger.store.registry.platforms import platform_number
from ledger.usage.entries import IdSchemeContent
from ledger.usage.ids import IdScheme


@dataclass(frozen=True, slots=True)
class FixedScheme:
    """The scheme of a platform in a pool; `leaf_index` is None if its batches fixed it and no leaf did."""

    scheme: IdScheme
    leaf_index: int | None = None


def find_scheme(connection: sa.Connection, pool: PoolRef, platform_id: int) -> FixedScheme | None:
    """Returns how a platform makes its ids, as of now; None until it is fixed."""
    of_scheme = _of_platform(t.id_scheme, pool, platform_id)
    found = connection.execute(sa.select(t.id_scheme.c.scheme, t.id_scheme.c.leaf_index).where(of_scheme)).first()
    if found is not None:
        return FixedScheme(IdScheme(found.scheme), found.leaf_index)
    has_batch = sa.select(sa.exists().where(_of_platform(t.batch, pool, platform_id)))
    return FixedScheme(IdScheme.OWN) if connection.execute(has_batch).scalar_one() else None


def known_scheme(connection: sa.Connection, pool: PoolRef, platform_id: int) -> IdScheme | None:
    """Returns the same. Connections remember what is fixed, since it never changes."""
    known: dict[tuple[int, int], IdScheme] = connection.info.setdefault(known_scheme, {})
    key = pool.pool_id, platform_id
    if key not in known:
        found = find_scheme(connection, pool, platform_id)
        if found is None:
            return None
        known[key] = found.scheme
    return known[key]


def require_scheme(named: IdScheme, fixed: IdScheme | None) -> None:
    """Check that a batch names the scheme of its platform, which is OWN if none is fixed.

    Raises:
        InvalidInputError: it names another.
    """
    expected = fixed or IdScheme.OWN
    if named is not expected:
        reason = f"must be {expected}, like all ids of this platform in this pool; the batch names {named}"
        raise InvalidInputError.of("id_scheme", reason)


def hold_unfixed(connection: sa.Connection, pool: PoolRef, platform_ids: Collection[int]) -> None:
    """Keep these platforms, none of which has a scheme, from fixing one until the commit: their batches fix OWN.

    Raises:
        LostRaceError: one of them fixed the other scheme meanwhile.
    """
    log.lock_head(connection, pool)
    for platform_id in platform_ids:
        fixed = find_scheme(connection, pool, platform_id)
        if fixed is not None and fixed.scheme is not IdScheme.OWN:
            raise LostRaceError(f"the id scheme of a platform in pools/{pool.name}")


def fix_scheme(connection: sa.Connection, pool: PoolRef, platform: str, scheme: IdScheme) -> FixedScheme:
    """Fix how a platform makes its ids. Repeating it returns what is fixed.

    Raises:
        StateError: the other scheme is fixed, by a leaf or by a batch; or the platform is not admitted to the pool.
        NotFoundError: no platform has this id.
    """
    platform_id = platform_number(connection, platform)
    now = log.lock_head(connection, pool)
    found = find_scheme(connection, pool, platform_id)
    if found is not None:
        if found.scheme is not scheme:
            subject = f"pools/{pool.name}/idSchemes/{platform}"
            raise StateError(subject, "ID_SCHEME_FIXED", f"is {found.scheme} for ever: a change would count twice")
        return found
    require_admitted(connection, pool, platform, platform_id)
    (leaf,) = log.append(connection, pool, [IdSchemeContent(platform=platform, scheme=scheme.value)], now)
    row = {"pool_id": pool.pool_id, "platform_id": platform_id, "scheme": scheme.value, "leaf_index": leaf.index}
    connection.execute(sa.insert(t.id_scheme).values(row))
    return FixedScheme(scheme, leaf.index)


def _of_platform(table: Any, pool: PoolRef, platform_id: int) -> sa.ColumnElement[bool]:
    here: sa.ColumnElement[bool] = (table.c.pool_id == pool.pool_id) & (table.c.platform_id == platform_id)
    return here
