"""Memberships in Postgres: a version is a leaf, with the body that it commits to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from ledger.errors import InvalidInputError, LedgerCorruptError, NotFoundError, Sentence, Violation
from ledger.log.leaves import decode
from ledger.registry import require_resource_id
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.pools.numbers import collective_numbers
from ledger.store.registry.acts import Effect, append_act
from ledger.usage.entries import MembershipContent
from ledger.usage.format import MAX_VIOLATIONS
from ledger.usage.membership import MAX_MEMBERSHIP_BYTES, parse_membership


@dataclass(frozen=True, slots=True)
class RecordedMembership:
    """A logged version of a membership; before it is logged, `time` is None and the version 0."""

    leaf_index: int
    time: datetime | None
    content: MembershipContent


@dataclass(frozen=True, slots=True)
class NewMembership:
    """A membership that is ready to be logged, if its collectives are registered."""

    name: str
    body: bytes
    digest: bytes
    sources: int
    collectives: tuple[str, ...]

    def content(self) -> MembershipContent:
        """Its content in the log, except for the version."""
        return MembershipContent(
            membership=self.name,
            version=0,
            body_sha256=self.digest.hex(),
            body_bytes=len(self.body),
            sources=self.sources,
            collectives=len(self.collectives),
        )


def new_membership(name: str, body: bytes) -> NewMembership:
    """Returns the membership in a body.

    Raises:
        InvalidInputError: a line of the body is not canonical; the error names it.
    """
    require_resource_id(name, "membership_id")
    if len(body) > MAX_MEMBERSHIP_BYTES:
        raise InvalidInputError.of(
            "body", "must be at most %(most)s bytes, got %(got)s", most=MAX_MEMBERSHIP_BYTES, got=len(body)
        )
    try:
        parsed = parse_membership(body)
    except LedgerCorruptError as error:
        raise InvalidInputError.of("body", error.detail) from None
    return NewMembership(name, body, sha256(body).digest(), len(parsed), tuple(sorted(set(parsed.values()))))


def require_registered(connection: sa.Connection, new: NewMembership) -> None:
    """Check that every collective of a membership is registered.

    Raises:
        InvalidInputError: some are not; the error names each.
    """
    known = collective_numbers(connection, new.collectives) > 0
    unknown = [name for name, is_known in zip(new.collectives, known.tolist(), strict=True) if not is_known]
    if unknown:
        listed = [
            Violation("body", Sentence("the collective %(got)r is not registered", got=name))
            for name in unknown[:MAX_VIOLATIONS]
        ]
        raise InvalidInputError(listed, total=len(unknown))


def _declare(connection: sa.Connection, pool: PoolRef, content: MembershipContent, now: datetime) -> RecordedMembership:
    leaf_index = append_act(connection, pool, content, now)
    row = {"name": content.membership, "version": content.version, "leaf_index": leaf_index}
    connection.execute(sa.insert(t.membership).values(pool_id=pool.pool_id, **row))
    return RecordedMembership(leaf_index, now, content)


def _standing(connection: sa.Connection, pool: PoolRef, content: MembershipContent) -> RecordedMembership | None:
    latest = _find(connection, pool, content.membership)
    return latest if latest and latest.content.body_sha256 == content.body_sha256 else None


def _latest_version(connection: sa.Connection, pool: PoolRef, name: str) -> int:
    latest = _find(connection, pool, name)
    return latest.content.version if latest else 0


def _prepared(connection: sa.Connection, pool: PoolRef, content: MembershipContent) -> MembershipContent:
    return content.model_copy(update={"version": _latest_version(connection, pool, content.membership) + 1})


def _rests_on(connection: sa.Connection, pool: PoolRef, content: MembershipContent) -> dict[str, str]:
    return {f"memberships/{content.membership}": str(_latest_version(connection, pool, content.membership))}


DECLARE_MEMBERSHIP: Final = Effect(MembershipContent, _declare, _standing, _prepared, _rests_on)
"""Declares a membership or its next version, whose body is kept already; the content's version is filled in.

Returns a `RecordedMembership`.
"""


def get_membership(connection: sa.Connection, pool: PoolRef, name: str, version: int = 0) -> RecordedMembership:
    """Returns a version of a membership; 0 means the latest.

    Raises:
        NotFoundError: there is no such version.
    """
    found = _find(connection, pool, name, version)
    if found is None:
        raise NotFoundError(f"pools/{pool.name}/memberships/{name}")
    return found


def _find(connection: sa.Connection, pool: PoolRef, name: str, version: int = 0) -> RecordedMembership | None:
    query = _memberships(pool).where(t.membership.c.name == name).order_by(t.membership.c.version.desc()).limit(1)
    row = connection.execute(query.where(t.membership.c.version == version) if version else query).first()
    return _recorded(row) if row else None


def list_memberships(
    connection: sa.Connection, pool: PoolRef, *, after: int = -1, limit: int = 1000
) -> list[RecordedMembership]:
    """Returns every version of every membership of the pool, in log order, after the leaf `after`."""
    query = _memberships(pool).where(t.membership.c.leaf_index > after).order_by(t.membership.c.leaf_index)
    return [_recorded(row) for row in connection.execute(query.limit(limit))]


def _memberships(pool: PoolRef) -> sa.Select[Any]:
    on = (t.leaf.c.pool_id == t.membership.c.pool_id) & (t.leaf.c.leaf_index == t.membership.c.leaf_index)
    query = sa.select(t.leaf.c.entry).join_from(t.membership, t.leaf, on)
    return query.where(t.membership.c.pool_id == pool.pool_id)


def _recorded(row: Any) -> RecordedMembership:
    leaf = decode(bytes(row.entry), {MembershipContent.type: MembershipContent})
    return RecordedMembership(leaf.index, leaf.time, leaf.content)
