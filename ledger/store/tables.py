"""The ledger's tables.

Every table of a pool has `pool_id` first in every primary and unique key, so that it can be distributed by pool. The
other tables, and `pool`, are the registry's: they are not distributed (`services/schema/distribution.py`), and no query
joins them with a pool's. An `..._id` is the store's own integer; the id that people use is `name`. Tables in
APPEND_ONLY are never updated: the service's role may not. In tables in UPDATABLE it may update the columns named there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def created_at() -> sa.Column[object]:
    """Returns the column with the time when a row was written."""
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False)


def pool_id() -> sa.Column[int]:
    """Returns the column that comes first in every table of a pool."""
    return sa.Column("pool_id", sa.Integer, primary_key=True, autoincrement=False)


def leaf_index(*, primary_key: bool = False) -> sa.Column[int]:
    """Returns the column that names the leaf which a row projects."""
    return sa.Column("leaf_index", sa.BigInteger, primary_key=primary_key, autoincrement=False, nullable=False)


platform = sa.Table(
    "platform",
    metadata,
    sa.Column("platform_id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("display_name", sa.Text, nullable=False),
    created_at(),
    leaf_index(),
)

collective = sa.Table(
    "collective",
    metadata,
    sa.Column("collective_id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("members", sa.BigInteger, nullable=False),
    sa.Column("equity_ppm", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    created_at(),
    leaf_index(),
    sa.CheckConstraint("status = ANY (ARRAY['ACTIVE'::text, 'SUSPENDED'::text])", name="status"),
    comment="What the latest of its leaves in the registry's log says.",
)

collective_domain = sa.Table(
    "collective_domain",
    metadata,
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("collective_id", sa.Integer, nullable=True, index=True),
    comment="Whose content is found at a domain. A row is never deleted: a domain that was let go is nobody's.",
)

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("secret_sha256", sa.LargeBinary, nullable=False),
    created_at(),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
    leaf_index(),
    sa.Column("begins_at", sa.DateTime(timezone=True)),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    sa.Column("pools", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("key_kind", sa.Text, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.CheckConstraint(
        "key_kind = ANY (ARRAY['SECRET'::text, 'IDENTITY'::text, 'CERTIFICATE'::text])", name="key_kind"
    ),
    comment="What the registry's log says of keys; a secret itself is nowhere.",
)

sa.Index(
    "api_key_bound_key",
    api_key.c.secret_sha256,
    unique=True,
    postgresql_where=sa.text("key_kind <> 'SECRET' AND revoked_at IS NULL"),
)

pool = sa.Table(
    "pool",
    metadata,
    sa.Column("pool_id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    created_at(),
    sa.Column("distribute", sa.Text, nullable=False),
)

head = sa.Table(
    "head",
    metadata,
    pool_id(),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
    sa.Column("last_time", sa.DateTime(timezone=True)),
    comment="A log's size and right edge, and the time of its last leaf: those of later leaves are no earlier.",
)

leaf = sa.Table(
    "leaf",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)

node = sa.Table(
    "node",
    metadata,
    pool_id(),
    sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("node_index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)

body = sa.Table(
    "body",
    metadata,
    pool_id(),
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("bytes", sa.LargeBinary, nullable=False),
)

body_object = sa.Table(
    "body_object",
    metadata,
    pool_id(),
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("is_named", sa.Boolean, nullable=False),
    sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
    comment="Bodies that lie outside of Postgres, or are about to. What no leaf names a day later is swept.",
)

method = sa.Table(
    "method",
    metadata,
    pool_id(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    leaf_index(),
)

membership = sa.Table(
    "membership",
    metadata,
    pool_id(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    leaf_index(),
)

id_scheme = sa.Table(
    "id_scheme",
    metadata,
    pool_id(),
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("scheme", sa.Text, nullable=False),
    leaf_index(),
    comment="How a platform makes the ids of its events; where there is none, and batches are, they are its own.",
)

batch_number = sa.Sequence("batch_number", metadata=metadata, data_type=sa.BigInteger, cache=32)
"""Names a batch before its place in the log is known. That a column defaults to it tells a cluster that each node needs
one, with numbers of its own."""

event = sa.Table(
    "event",
    metadata,
    sa.Column("pool_id", sa.Integer, autoincrement=False),
    sa.Column("platform_id", sa.Integer, autoincrement=False),
    sa.Column("event_id", pg.UUID),
    sa.Column("batch_number", sa.BigInteger, nullable=False),
    # The id before the platform: a search compares keys until they differ, and ids do so at once.
    sa.PrimaryKeyConstraint("pool_id", "event_id", "platform_id"),
)

claim_page = sa.Table(
    "claim_page",
    metadata,
    pool_id(),
    sa.Column("platform_id", sa.Integer, nullable=False),
    sa.Column("level", sa.SmallInteger, nullable=False),
    sa.Column("low", pg.UUID, primary_key=True),
    sa.Column("high", pg.UUID, nullable=False),
    sa.Column("batch_number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("width", sa.SmallInteger, nullable=False),
    sa.Column("ids", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("pool_id", "batch_number", "low"),
    sa.Index(None, "pool_id", "platform_id", "level", "low"),
    comment="Events whose ids lie close together, many to a row; the others have a row of event each.",
)

batch_weights = sa.Table(
    "batch_weights",
    metadata,
    pool_id(),
    sa.Column("batch_number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("mode", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("method_version", sa.Integer, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("unattributed", sa.Numeric(38, 0), nullable=False),
    sa.Column("packed", sa.LargeBinary, nullable=False),
    sa.Column("month", sa.Integer, primary_key=True, autoincrement=False),
    sa.PrimaryKeyConstraint("pool_id", "batch_number", "mode", "month"),
)

batch = sa.Table(
    "batch",
    metadata,
    pool_id(),
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column(
        "batch_number",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("nextval('batch_number'::regclass)"),
    ),
    sa.Column("body_sha256", sa.LargeBinary, nullable=False),
    leaf_index(),
    sa.UniqueConstraint("pool_id", "batch_number"),
    sa.UniqueConstraint("pool_id", "leaf_index"),
)

retraction = sa.Table(
    "retraction",
    metadata,
    pool_id(),
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("batch_number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("request_sha256", sa.LargeBinary, nullable=False),
    sa.Column("weights_number", sa.BigInteger, nullable=False),
    leaf_index(),
    sa.UniqueConstraint("pool_id", "weights_number"),
    sa.UniqueConstraint("pool_id", "leaf_index"),
    sa.Index(None, "pool_id", "batch_number"),
    comment="Events of a batch taken back; batch_weights has their weights under weights_number.",
)

report = sa.Table(
    "report",
    metadata,
    pool_id(),
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("payment_reference", sa.Text, nullable=False),
    leaf_index(),
    sa.UniqueConstraint("pool_id", "leaf_index"),
    sa.UniqueConstraint("pool_id", "payment_reference"),
    sa.Index(None, "pool_id", "platform_id", "leaf_index"),
    comment="What platforms say that they owe.",
)

receipt = sa.Table(
    "receipt",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    sa.Column("platform_id", sa.Integer, nullable=True),
    comment="Money that arrived; null is an unknown payer, whom a row of match may name later.",
)

match = sa.Table(
    "match",
    metadata,
    pool_id(),
    sa.Column("receipt", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("platform_id", sa.Integer, nullable=False),
    leaf_index(),
    comment="Whose a receipt, named by its leaf, turned out to be.",
)

reversal = sa.Table(
    "reversal",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    sa.Column("reverses", sa.BigInteger, nullable=False),
    sa.Column("platform_id", sa.Integer, nullable=True),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Index(None, "pool_id", "reverses"),
    comment="What was taken back of a report or a receipt, by its leaf, and whose it was.",
)

admission = sa.Table(
    "admission",
    metadata,
    pool_id(),
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    leaf_index(primary_key=True),
    sa.Column("admitted", sa.Boolean, nullable=False),
    comment="Whether a platform may report to a pool, after each leaf that says so.",
)

movement = sa.Table(
    "movement",
    metadata,
    pool_id(),
    sa.Column("request_id", sa.Text, primary_key=True),
    leaf_index(),
    comment="What operators moved by hand: payments, releases, grants, receipts, matches, reversals.",
)

people = sa.Table(
    "people",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    sa.Column("principal", sa.Text, index=True),
    comment="Which leaves of the registry's log say who may act: few of them, where collectives may be millions. "
    "`principal` is whose status one says, if it says one.",
)

key_change = sa.Table(
    "key_change",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    comment="Which leaves of the registry's log replace the key that signs: the signer asks for them each time.",
)

webhook = sa.Table(
    "webhook",
    metadata,
    leaf_index(primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    created_at(),
    sa.Index(None, "name", "leaf_index"),
    comment="Webhooks by their leaves in the registry's log. The latest holds; the desk has the rest.",
)

proposal = sa.Table(
    "proposal",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    comment="Acts that wait, or waited, for a second person.",
)

decision = sa.Table(
    "decision",
    metadata,
    pool_id(),
    sa.Column("subject", sa.BigInteger, primary_key=True, autoincrement=False),
    leaf_index(),
    sa.UniqueConstraint("pool_id", "leaf_index"),
    comment="What became of a proposal or a round, the subject, by its leaf.",
)

transfer = sa.Table(
    "transfer",
    metadata,
    pool_id(),
    leaf_index(primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("from_account", sa.Text, nullable=False),
    sa.Column("to_account", sa.Text, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.CheckConstraint("amount_minor > 0", name="amount"),
    sa.Index(None, "pool_id", "from_account", "leaf_index"),
    sa.Index(None, "pool_id", "to_account", "leaf_index"),
)

balance = sa.Table(
    "balance",
    metadata,
    pool_id(),
    sa.Column("account", sa.Text, primary_key=True),
    leaf_index(primary_key=True),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    comment="An account's balance after each leaf that touched it: a balance as of a log size is one index seek.",
)

checkpoint = sa.Table(
    "checkpoint",
    metadata,
    pool_id(),
    sa.Column("vkey", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
    created_at(),
    sa.Index(None, "pool_id", "created_at", "size"),
    comment="What the log's key signed of the log; the signer has the last one outside the database too.",
)

cosignature = sa.Table(
    "cosignature",
    metadata,
    pool_id(),
    sa.Column("log_vkey", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("vkey", sa.Text, primary_key=True),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("time_seconds", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Index(None, "pool_id", "log_vkey", "vkey", "size"),
    comment="What a witness signed of a checkpoint, verified before it was kept; again while a round waits for time.",
)

turn = sa.Table(
    "turn",
    metadata,
    pool_id(),
    sa.Column("kind", sa.Text, primary_key=True),
    comment="Whoever locks a row acts alone on its pool, for one kind of act.",
)

signing = sa.Table(
    "signing",
    metadata,
    pool_id(),
    sa.Column("database", sa.Text, nullable=False),
    sa.Column("refusal", sa.Text, nullable=False),
    comment="What the signer last found of each log: in which database, and why it signs nothing, if so.",
)

pool_limit = sa.Table(
    "pool_limit",
    metadata,
    pool_id(),
    sa.Column("lead_seconds_max", sa.BigInteger, nullable=False),
    sa.Column("age_seconds_max", sa.BigInteger, nullable=False),
    comment="How far events may lie ahead of their acceptance, and behind. It only refuses, so no log has it.",
)

closing = sa.Table(
    "closing",
    metadata,
    sa.Column("pool_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("events_dropped", sa.Boolean, nullable=False),
    leaf_index(),
    comment="Pools that take no more usage, and whether the rows of their events are gone.",
)

platform_limit = sa.Table(
    "platform_limit",
    metadata,
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("events_per_day", sa.BigInteger, nullable=True),
    sa.Column("bytes_per_day", sa.BigInteger, nullable=True),
    sa.Column("open_streams", sa.BigInteger, nullable=True),
    comment="How much a platform may send; null is no limit.",
)

usage_day = sa.Table(
    "usage_day",
    metadata,
    pool_id(),
    sa.Column("platform_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("batch_bytes", sa.BigInteger, nullable=False),
    comment="What platforms with a quota sent to a pool each day (UTC), counted as batches are recorded.",
)

APPEND_ONLY: Final = (
    platform, pool, leaf, node, body, method, membership, id_scheme, event, claim_page, batch_weights, batch,
    retraction, report, receipt, match, reversal, admission, movement, people, key_change, webhook, proposal,
    decision, transfer, balance, checkpoint, cosignature, closing,
)  # fmt: skip
"""What the service may insert and read, and nothing more."""

UPDATABLE: Final[Mapping[sa.Table, tuple[str, ...]]] = {
    head: ("size", "frontier", "last_time"),
    collective: ("display_name", "members", "equity_ppm", "status", "leaf_index"),
    collective_domain: ("collective_id",),
    api_key: ("revoked_at",),
    turn: ("kind",),
    signing: ("database", "refusal"),
    pool_limit: ("lead_seconds_max", "age_seconds_max"),
    platform_limit: ("events_per_day", "bytes_per_day", "open_streams"),
    usage_day: ("events", "batch_bytes"),
    body_object: ("is_named", "intended_at"),
}
"""What the service may also update, and which columns: the log's head, a collective's data, limits and their counters,
bodies elsewhere that a leaf now names, and turns, in which it changes nothing: locking a row needs the right to update
it."""
