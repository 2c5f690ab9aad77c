"""Attribution methods in Postgres: every version that a pool has declared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa

from ledger.errors import InvalidInputError, NotFoundError
from ledger.log.leaves import decode
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import ask
from ledger.store.registry.acts import Effect, append_act
from ledger.usage.entries import MethodContent
from ledger.usage.methods import Method, method_of


def require_declarable(connection: sa.Connection, pool: PoolRef, method: Method) -> None:
    """Check that the pool has the membership that a method uses for its sources.

    Raises:
        InvalidInputError: it does not.
    """
    here = (t.membership.c.pool_id == pool.pool_id) & (t.membership.c.name == method.membership)
    if method.membership and not connection.execute(sa.select(sa.exists().where(here))).scalar_one():
        raise InvalidInputError.of(
            "method.membership", "is not one of %(pool)s: %(got)r", pool=f"pools/{pool.name}", got=method.membership
        )


_METHODS: Final = sa.select(t.leaf.c.entry).join_from(
    t.method, t.leaf, (t.leaf.c.pool_id == t.method.c.pool_id) & (t.leaf.c.leaf_index == t.method.c.leaf_index)
)
# Raw SQL: runs once per batch, and SQLAlchemy takes longer to compile it than Postgres to run it.
_LATEST_METHOD: Final = """
SELECT entry FROM method JOIN leaf USING (pool_id, leaf_index)
WHERE pool_id = %s AND method.name = %s ORDER BY version DESC LIMIT 1
"""


# In a pipeline, a statement can abort the transaction only by an error of its own.
_IS_LATEST: Final = """
SELECT 1 / (NOT EXISTS (
    SELECT FROM method WHERE pool_id = %s AND name = %s AND version > %s
) AND NOT EXISTS (
    SELECT FROM membership WHERE pool_id = %s AND name = %s AND version > %s
) AND NOT EXISTS (
    SELECT FROM closing WHERE pool_id = %s
))::int
"""


def latest_method(connection: sa.Connection, pool: PoolRef, name: str) -> Method | None:
    """Returns the latest version of a method, if it was declared."""
    found = ask(connection, _LATEST_METHOD, (pool.pool_id, name)).fetchone()
    return method_in(cast("bytes", found[0])) if found else None


class SupersededError(Exception):
    """After a batch was prepared, its method or membership got a new version, its pool was closed, or its platform's
    admission to the pool ended.
    """


def require_latest(connection: sa.Connection, pool: PoolRef, method: Method, membership_version: int | None) -> None:
    """Check that the pool is open and these versions are the latest.

    Both stay true until the commit if the caller locks the log's head.

    It does not wait for the answer. If they are not, this or a later statement raises what `superseded` translates.
    """
    asked = (
        pool.pool_id,
        method.name,
        method.version,
        pool.pool_id,
        method.membership,
        membership_version or 0,
        pool.pool_id,
    )
    ask(connection, _IS_LATEST, asked)


@contextmanager
def superseded() -> Iterator[None]:
    """Translates the error that `require_latest` and `admissions.require_still_admitted` cause within.

    Raises:
        SupersededError: there is a newer version, the pool was closed, or an admission ended.
    """
    try:
        yield
    except psycopg.errors.DivisionByZero:
        raise SupersededError from None


def get_method(connection: sa.Connection, pool: PoolRef, name: str, version: int) -> Method:
    """Returns a version of a method.

    Raises:
        NotFoundError: there is no such version.
    """
    row = connection.execute(_methods(pool).where(t.method.c.name == name, t.method.c.version == version)).first()
    if row is None:
        raise NotFoundError(f"pools/{pool.name}/methods/{name}")
    return method_in(bytes(row.entry))


def list_methods(connection: sa.Connection, pool: PoolRef, *, after: int = -1, limit: int = 1000) -> list[Method]:
    """Returns every version of every method of the pool, in log order, after the leaf `after`."""
    query = _methods(pool).where(t.method.c.leaf_index > after).order_by(t.method.c.leaf_index).limit(limit)
    return [method_in(bytes(row.entry)) for row in connection.execute(query)]


def _methods(pool: PoolRef) -> sa.Select[Any]:
    return _METHODS.where(t.method.c.pool_id == pool.pool_id)


@lru_cache(maxsize=1024)
def method_in(entry: bytes) -> Method:
    """Returns the method that a leaf declares."""
    leaf = decode(entry, {MethodContent.type: MethodContent})
    return method_of(leaf.content, leaf.index)


def confidences(connection: sa.Connection, pool: PoolRef) -> dict[tuple[str, int], int]:
    """Returns the confidence, in millionths, of each (method, version) of the pool."""
    rows = ask(connection, _ENTRIES, (pool.pool_id,)).fetchall()
    methods = [method_in(entry) for (entry,) in cast("list[tuple[bytes]]", rows)]
    return {(method.name, method.version): method.confidence_ppm for method in methods}


# Raw SQL: every round asks for them, and SQLAlchemy takes longer to send it than Postgres to run it.
_ENTRIES: Final = """
SELECT entry FROM method JOIN leaf ON leaf.pool_id = method.pool_id AND leaf.leaf_index = method.leaf_index
WHERE method.pool_id = %s ORDER BY method.leaf_index
"""


def _declare_method(connection: sa.Connection, pool: PoolRef, content: MethodContent, now: datetime) -> Method:
    require_declarable(connection, pool, method_of(content, 0))
    leaf_index = append_act(connection, pool, content, now)
    row = {"name": content.method, "version": content.version, "leaf_index": leaf_index}
    connection.execute(sa.insert(t.method).values(pool_id=pool.pool_id, **row))
    return method_of(content, leaf_index)


def _standing_method(connection: sa.Connection, pool: PoolRef, content: MethodContent) -> Method | None:
    method, latest = method_of(content, 0), latest_method(connection, pool, content.method)
    if latest and replace(latest, version=0, leaf_index=0) == replace(method, version=0):
        return latest
    return None


def _next_method(connection: sa.Connection, pool: PoolRef, content: MethodContent) -> MethodContent:
    latest = latest_method(connection, pool, content.method)
    return content.model_copy(update={"version": latest.version + 1 if latest else 1})


def _method_version(connection: sa.Connection, pool: PoolRef, content: MethodContent) -> dict[str, str]:
    latest = latest_method(connection, pool, content.method)
    return {f"methods/{content.method}": str(latest.version if latest else 0)}


DECLARE_METHOD: Final = Effect(MethodContent, _declare_method, _standing_method, _next_method, _method_version)
"""Declares a method or its next version; the content's version is filled in. Returns a `Method`."""
