"""Which platforms may report to a pool, in Postgres: the latest leaf about each decides.

Whoever records a report asks in the transaction that writes it, under the lock on the log's head: admissions are acts
in the same log, so nothing changes between the answer and the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.errors import Sentence, StateError
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import ask
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.platforms import platform_names, platform_number
from ledger.usage.entries import AdmissionContent

_IS_ADMITTED: Final = """
SELECT admitted FROM admission WHERE pool_id = %s AND platform_id = %s ORDER BY leaf_index DESC LIMIT 1
"""

# In a pipeline, a statement can abort the transaction only by an error of its own.
_ARE_ADMITTED: Final = """
SELECT 1 / (NOT EXISTS (
    SELECT FROM unnest(%s::int[]) AS reporting (number) WHERE NOT COALESCE((
        SELECT admitted FROM admission
        WHERE pool_id = %s AND platform_id = number ORDER BY leaf_index DESC LIMIT 1
    ), false)
))::int
"""


def is_admitted(connection: sa.Connection, pool: PoolRef, platform_id: int) -> bool:
    """Returns whether a platform may report to the pool, as of now."""
    asked = ask(connection, _IS_ADMITTED, (pool.pool_id, platform_id))
    found = asked.fetchone()
    return found is not None and bool(found[0])


def require_admitted(connection: sa.Connection, pool: PoolRef, platform: str, platform_id: int) -> None:
    """Check that a platform may report to the pool.

    It stays true until the commit if the caller locks the log's head.

    Raises:
        StateError: it was not admitted, or its admission has ended.
    """
    require_admission(pool, platform, admitted=is_admitted(connection, pool, platform_id))


def require_admission(pool: PoolRef, platform: str, *, admitted: bool) -> None:
    """Check that a platform that wants to report to the pool is admitted to it.

    Raises:
        StateError: it is not.
    """
    if not admitted:
        detail = Sentence(
            "is not admitted to %(pool)s; an operator can admit it: moiety pool admit", pool=f"pools/{pool.name}"
        )
        raise StateError(f"platforms/{platform}", "NOT_ADMITTED", detail)


def require_still_admitted(connection: sa.Connection, pool: PoolRef, platform_ids: Sequence[int]) -> None:
    """Check the same of several platforms, without waiting for the answer.

    If one is not admitted, this or a later statement raises what `methods.superseded` translates.
    """
    ask(connection, _ARE_ADMITTED, (list(platform_ids), pool.pool_id))


def admitted_platforms(connection: sa.Connection, pool: PoolRef, size: int | None = None) -> list[str]:
    """Returns the ids of the platforms that may report to the pool, sorted; as of a size of its log if one is given."""
    query = sa.select(t.admission.c.platform_id, t.admission.c.admitted).where(t.admission.c.pool_id == pool.pool_id)
    if size is not None:
        query = query.where(t.admission.c.leaf_index < size)
    latest = {row.platform_id: row.admitted for row in connection.execute(query.order_by(t.admission.c.leaf_index))}
    numbers = [number for number, admitted in latest.items() if admitted]
    return sorted(platform_names(connection, numbers).values())


def insert_admissions(connection: sa.Connection, pool: PoolRef, leaf_index: int, platforms: Iterable[str]) -> None:
    """Write that a leaf admits platforms.

    Raises:
        NotFoundError: one of them is not registered.
    """
    for platform in platforms:
        _insert(connection, pool, leaf_index, platform, admitted=True)


def _insert(connection: sa.Connection, pool: PoolRef, leaf_index: int, platform: str, *, admitted: bool) -> None:
    number = platform_number(connection, platform)
    row = {"pool_id": pool.pool_id, "platform_id": number, "leaf_index": leaf_index, "admitted": admitted}
    connection.execute(sa.insert(t.admission).values(row))


def _admit(connection: sa.Connection, pool: PoolRef, content: AdmissionContent, now: datetime) -> AdmissionContent:
    leaf_index = append_act(connection, pool, content, now)
    _insert(connection, pool, leaf_index, content.platform, admitted=content.admitted)
    return content


def _standing_admission(connection: sa.Connection, pool: PoolRef, content: AdmissionContent) -> AdmissionContent | None:
    number = platform_number(connection, content.platform)
    return content if is_admitted(connection, pool, number) == content.admitted else None


def _admission_version(connection: sa.Connection, pool: PoolRef, content: AdmissionContent) -> dict[str, str]:
    number = platform_number(connection, content.platform)
    about = (t.admission.c.pool_id == pool.pool_id) & (t.admission.c.platform_id == number)
    latest = connection.execute(sa.select(sa.func.max(t.admission.c.leaf_index)).where(about)).scalar()
    return {f"platforms/{content.platform}": str(latest)}


ADMIT_PLATFORM: Final = Effect(AdmissionContent, _admit, _standing_admission, rests_on=_admission_version)
"""Admits a platform to a pool, or ends its admission. Returns the content; raises NotFoundError if there is no such
platform."""
