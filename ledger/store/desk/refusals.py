"""Batches that were refused, at the desk: each platform has so many slots, of which the next refusal takes the oldest.

So a platform that sends refused batches for ever takes no more room than its slots. A batch that comes again keeps its
slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ledger.store.desk.tables import KEPT, refused_batch
from ledger.store.logs.log import PoolRef

SLOTS: Final = 500
"""Refused batches that are kept of a platform, over all pools."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A batch that was refused.

    Attributes:
        platform: who sent it.
        pool: the pool that it was for.
        batch_id: its id.
        code: the status, as a number of google.rpc.Code.
        status: what its sender was told, as a serialized google.rpc.Status.
        body_bytes: the length of its body.
        body_sha256: the hash of its body.
    """

    platform: str
    pool: str
    batch_id: str
    code: int
    status: bytes
    body_bytes: int
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class KeptRefusal:
    """A refusal as it is kept, by its place among its platform's."""

    sequence: int
    refusal: Refusal
    times: int
    first_at: datetime
    refused_at: datetime


def keep_refusal(connection: sa.Connection, refusal: Refusal, now: datetime) -> None:
    """Keep a refusal; one of the same batch is counted."""
    kept = refused_batch.c
    # Two at once would take one slot.
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"refused {refusal.platform}"))))
    last = connection.execute(
        sa.select(sa.func.coalesce(sa.func.max(kept.sequence), -1)).where(kept.platform == refusal.platform)
    ).scalar_one()
    told = {
        "sequence": last + 1,
        "code": refusal.code,
        "status": refusal.status,
        "body_bytes": refusal.body_bytes,
        "body_sha256": refusal.body_sha256,
        "refused_at": now,
    }
    same = sa.update(refused_batch).where(
        kept.platform == refusal.platform, kept.pool == refusal.pool, kept.batch_id == refusal.batch_id
    )
    # Its place stays, so that one batch sent for ever does not push the others out; its slot follows from the first.
    again = {**told, "times": kept.times + 1}
    del again["sequence"]
    if connection.execute(same.values(again)).rowcount:
        return
    row = {**told, "pool": refusal.pool, "batch_id": refusal.batch_id, "times": 1, "first_at": now}
    insert = postgresql.insert(refused_batch).values(platform=refusal.platform, slot=(last + 1) % SLOTS, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=["platform", "slot"], set_=row))


def list_refusals(
    connection: sa.Connection, pool: PoolRef, platform: str, now: datetime, *, before: int, limit: int
) -> Sequence[KeptRefusal]:
    """A platform's refusals in a pool, the latest first, of those before a place and not past their time."""
    kept = refused_batch.c
    query = (
        sa.select(refused_batch)
        .where(
            kept.platform == platform,
            kept.pool == pool.name,
            kept.sequence < before,
            kept.refused_at >= now - KEPT[refused_batch][1],
        )
        .order_by(kept.sequence.desc())
        .limit(limit)
    )
    return [
        KeptRefusal(
            row.sequence,
            Refusal(
                row.platform,
                row.pool,
                row.batch_id,
                row.code,
                bytes(row.status),
                row.body_bytes,
                bytes(row.body_sha256),
            ),
            row.times,
            row.first_at,
            row.refused_at,
        )
        for row in connection.execute(query)
    ]
