"""The payout house's tables; the rules of `ledger.store.tables` hold for them too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from ledger.store.tables import created_at, leaf_index, metadata, pool_id


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

adjustment = sa.Table(
    "adjustment",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.UniqueConstraint("pool_id", "request_id"),
    sa.Index(None, "pool_id", "number"),
    comment="Adjustments of posted rounds.",
)

waiver = sa.Table(
    "waiver",
    metadata,
    pool_id(),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    leaf_index(),
    comment="Platforms for whose reports the round of a period does not wait.",
)

tariff = sa.Table(
    "tariff",
    metadata,
    pool_id(),
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    leaf_index(),
    comment="What is due of platforms; no name is that of all that have no tariff of their own.",
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

payee = sa.Table(
    "payee",
    metadata,
    leaf_index(primary_key=True),
    sa.Column("collective", sa.Text, nullable=False),
    sa.Column("details_hash", sa.LargeBinary, nullable=False),
    created_at(),
    sa.Index(None, "collective", "leaf_index"),
    comment="Accounts of collectives by their leaves in the registry's log. The latest holds; details are at the desk.",
)

bank_account = sa.Table(
    "bank_account",
    metadata,
    leaf_index(primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("details_hash", sa.LargeBinary, nullable=False),
    created_at(),
    comment="The operator's bank accounts by their leaves in the registry's log. The latest of a name holds.",
)

pay_run = sa.Table(
    "pay_run",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    leaf_index(),
    sa.Column("bank_account", sa.Text, nullable=False),
    created_at(),
    sa.UniqueConstraint("leaf_index"),
    comment="Pay runs by their leaves in the registry's log.",
)

planned_payment = sa.Table(
    "planned_payment",
    metadata,
    sa.Column("end_to_end_id", sa.Text, primary_key=True),
    leaf_index(),
    sa.Column("collective", sa.Text, nullable=False),
    sa.Index(None, "collective", "leaf_index"),
    comment="Payments that pay runs planned; amounts are in the plans and in the pools' logs.",
)

bank_message = sa.Table(
    "bank_message",
    metadata,
    leaf_index(primary_key=True),
    sa.Column("bank_account", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("closing_minor", sa.BigInteger),
    created_at(),
    sa.UniqueConstraint("bank_account", "message", "message_id"),
    comment="Files of banks that were taken in, by their leaves in the registry's log; each message once.",
)

payment_event = sa.Table(
    "payment_event",
    metadata,
    sa.Column("end_to_end_id", sa.Text, primary_key=True),
    leaf_index(primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    comment="What banks said of each payment, by the leaf of the file that said it.",
)

bank_line = sa.Table(
    "bank_line",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    leaf_index(primary_key=True),
    sa.Column("bank_account", sa.Text, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("open_minor", sa.BigInteger, nullable=False),
    sa.Column("parts", sa.Text, nullable=False),
    sa.Column("payment_reference", sa.Text, nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Index(None, "bank_account", "payment_reference"),
    comment="Lines of statements that are of payers or nobody, by each leaf that changed them. The latest holds.",
)

bank_match = sa.Table(
    "bank_match",
    metadata,
    leaf_index(primary_key=True),
    sa.Column("bank_account", sa.Text, nullable=False),
    sa.Column("line", sa.Text, nullable=False),
    comment="What operators said of lines of statements, by their leaves in the registry's log.",
)

paying = sa.Table(
    "paying",
    metadata,
    pool_id(),
    sa.Column("pay_run", sa.Text, primary_key=True),
    leaf_index(),
    comment="Which leaf has the pool's part of a pay run; there is one at most.",
)

booking = sa.Table(
    "booking",
    metadata,
    pool_id(),
    sa.Column("bank_file_leaf", sa.BigInteger, primary_key=True, autoincrement=False),
    leaf_index(),
    comment="Which leaf has the pool's part of a bank's statement, by the statement's leaf in the registry's log.",
)

APPEND_ONLY: Final = (
    policy, round_, posting, objection, answer, split, adjustment, waiver, tariff, payee, bank_account, pay_run,
    planned_payment, bank_message, payment_event, bank_line, bank_match, paying, booking,
)  # fmt: skip
"""What the service may insert and read, and nothing more."""

UPDATABLE: Final[Mapping[sa.Table, tuple[str, ...]]] = {
    schedule: ("cron", "time_zone", "paused", "updated_at", "leaf_index", "skipped_at", "skipped_because")
}
"""What the service may also update: when rounds are cut does not affect anyone's money."""
