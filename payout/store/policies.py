"""Pools' policies in Postgres, by the first of which a pool is opened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import sqlalchemy as sa

from ledger.acts.controls import TWO, Kind
from ledger.acts.entries import PoolOpenedContent
from ledger.errors import AlreadyExistsError, InvalidInputError
from ledger.log.leaves import decode
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.pools.admissions import insert_admissions
from ledger.store.pools.pools import PoolRecord, get_pool, insert_pool, list_pools
from ledger.store.postgres.transactions import ask
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.people import read_people
from payout.entries import PolicyContent, PoolContent
from payout.policy import Policy
from payout.store import tables as t


@dataclass(frozen=True, slots=True)
class LoggedPolicy:
    """A policy at its place in the log."""

    leaf_index: int
    version: int
    policy: Policy


def _require_review(connection: sa.Connection, policy: Policy) -> None:
    """Check that rounds under a policy have a review where two people are needed to post one.

    Raises:
        InvalidInputError: they have none.
    """
    if not policy.review_seconds and read_people(connection).controls.needed(Kind.ROUNDS) == TWO:
        raise InvalidInputError.of("policy.review_seconds", "must be above 0 where posting a round takes two people")


def _open_pool(connection: sa.Connection, pool: PoolRef, content: PoolOpenedContent, now: datetime) -> PoolRecord:
    policy = Policy.model_validate(content.policy)
    _require_review(connection, policy)
    opened_at = append_act(connection, pool, content, now)
    ref = insert_pool(connection, content.pool_id, content.display_name, content.currency, now, content.distribute)
    first = PoolContent(
        by=content.by,
        by_key=content.by_key,
        registry_size=opened_at + 1,
        people_leaf=content.people_leaf,
        opened_at=opened_at,
        display_name=content.display_name,
        currency=content.currency,
        distribute=content.distribute,
        policy=policy,
        platforms=content.platforms,
    )
    (leaf,) = log.append(connection, ref, [first], now)
    insert_admissions(connection, ref, leaf.index, content.platforms)
    connection.execute(sa.insert(t.policy).values(pool_id=ref.pool_id, version=1, leaf_index=leaf.index))
    return get_pool(connection, content.pool_id)


def _standing_pool(connection: sa.Connection, _: PoolRef, content: PoolOpenedContent) -> PoolRecord | None:
    """Returns the pool, if it was opened with this content.

    Raises:
        AlreadyExistsError: it was opened with other content.
    """
    for existing in list_pools(connection, only=content.pool_id, limit=1):
        leaf = decode(log.read_leaf(connection, existing.ref, 0).entry, {PoolContent.type: PoolContent})
        first = leaf.content
        opened = (first.display_name, first.currency, first.distribute, first.policy, first.platforms)
        policy = Policy.model_validate(content.policy)
        if opened != (content.display_name, content.currency, content.distribute, policy, content.platforms):
            raise AlreadyExistsError(f"pools/{content.pool_id}")
        return existing
    return None


OPEN_POOL: Final = Effect(PoolOpenedContent, _open_pool, _standing_pool)
"""Opens a pool, in the registry's log and in its own. Returns a `PoolRecord`."""


def _log_policy(connection: sa.Connection, pool: PoolRef, content: PolicyContent, now: datetime) -> LoggedPolicy:
    _require_review(connection, content.policy)
    leaf_index = append_act(connection, pool, content, now)
    row = {"pool_id": pool.pool_id, "version": content.version, "leaf_index": leaf_index}
    connection.execute(sa.insert(t.policy).values(row))
    return LoggedPolicy(leaf_index, content.version, content.policy)


def _standing_policy(connection: sa.Connection, pool: PoolRef, content: PolicyContent) -> LoggedPolicy | None:
    latest = latest_policy(connection, pool)
    return latest if latest.policy == content.policy else None


def _next_policy(connection: sa.Connection, pool: PoolRef, content: PolicyContent) -> PolicyContent:
    return content.model_copy(update={"version": latest_policy(connection, pool).version + 1})


def _policy_version(connection: sa.Connection, pool: PoolRef, _: PolicyContent) -> dict[str, str]:
    return {"policies": str(latest_policy(connection, pool).version)}


LOG_POLICY: Final = Effect(PolicyContent, _log_policy, _standing_policy, _next_policy, _policy_version)
"""Logs the pool's next policy; the content's version is filled in. Returns a `LoggedPolicy`."""


def list_policies(
    connection: sa.Connection, pool: PoolRef, *, after: int = 0, limit: int | None = None
) -> list[LoggedPolicy]:
    """Returns the pool's policies after the version `after`, oldest first."""
    cursor = ask(connection, _POLICIES, (pool.pool_id, after, limit))
    return [_logged(*row) for row in cast("list[tuple[int, bytes]]", cursor.fetchall())]


def get_policy(connection: sa.Connection, pool: PoolRef, version: int) -> LoggedPolicy:
    """Returns a pool's policy by a version that its log names."""
    (logged,) = list_policies(connection, pool, after=version - 1, limit=1)
    return logged


def latest_policy(connection: sa.Connection, pool: PoolRef) -> LoggedPolicy:
    """Returns the policy by which a pool's next round goes."""
    (row,) = ask(connection, _LATEST, (pool.pool_id,)).fetchall()
    return _logged(*cast("tuple[int, bytes]", row))


# Raw SQL: every round asks for its policy, and SQLAlchemy takes longer to compile it than Postgres to run it.
_OF_A_POOL: Final = """
SELECT version, entry FROM policy JOIN leaf ON leaf.pool_id = policy.pool_id AND leaf.leaf_index = policy.leaf_index
WHERE policy.pool_id = %s
"""
_POLICIES: Final = f"{_OF_A_POOL} AND version > %s ORDER BY version LIMIT %s"
_LATEST: Final = f"{_OF_A_POOL} ORDER BY version DESC LIMIT 1"

_POLICY_KINDS: Final[dict[str, type[PoolContent | PolicyContent]]] = {
    kind.type: kind for kind in (PoolContent, PolicyContent)
}


def _logged(version: int, entry: bytes) -> LoggedPolicy:
    leaf = decode(entry, _POLICY_KINDS)
    return LoggedPolicy(leaf.index, version, leaf.content.policy)
