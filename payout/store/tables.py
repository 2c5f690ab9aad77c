"""The payout house's tables; the rules of `ledger.store.tables` hold for them too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from ledger.store.tables import leaf_index, metadata, pool_id


def round_number() -> sa.Column[int]:
    """The column that names a round of the pool."""
    return sa.Column("number", sa.Integer, primary_key=True, autoincrement=False)


policy = sa.Table(
    "policy",
    metadata,
    pool_id(),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    leaf_index(),
)

round_ = sa.Table(
    "round",
    metadata,
    pool_id(),
    round_number(),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("end_size", sa.BigInteger, nullable=False),
    sa.Column("last_fire_time", sa.DateTime(timezone=True)),
    leaf_index(),
    sa.UniqueConstraint("pool_id", "request_id"),
)

posting = sa.Table("posting", metadata, pool_id(), round_number(), leaf_index())

objection = sa.Table(
    "objection",
    metadata,
    pool_id(),
    round_number(),
    sa.Column("collective", sa.Text, primary_key=True),
    leaf_index(),
    comment="What collectives said against rounds, each once.",
)

answer = sa.Table(
    "answer",
    metadata,
    pool_id(),
    round_number(),
    sa.Column("collective", sa.Text, primary_key=True),
    leaf_index(),
    comment="What operators answered to objections, each once.",
)

split = sa.Table(
    "split",
    metadata,
    pool_id(),
    round_number(),
    sa.Column("collective", sa.Text, primary_key=True),
    leaf_index(),
    comment="How collectives split their amounts among their members, each once.",
)

schedule = sa.Table(
    "schedule",
    metadata,
    pool_id(),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    leaf_index(),
    sa.Column("skipped_at", sa.DateTime(timezone=True)),
    sa.Column("skipped_because", sa.Text),
)

APPEND_ONLY: Final = (policy, round_, posting, objection, answer, split)
"""What the service may insert and read, and nothing more."""

UPDATABLE: Final[Mapping[sa.Table, tuple[str, ...]]] = {
    schedule: ("cron", "time_zone", "paused", "updated_at", "leaf_index", "skipped_at", "skipped_because")
}
"""What the service may also update: when rounds are cut does not affect anyone's money."""
