"""The tables of an export. docs/analysis.md says what each column means; a test compares the two.

Every table has the leaf that a row comes from, so that the rows of a round are those of its interval of the log.
Nothing in a row ever changes: decisions on rounds are in `decisions` and `postings`, and retractions in `retractions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

WEIGHT: Final = pa.decimal128(38, 0)
"""Whole numbers beyond 2^63. Raw weights always fit (docs/analysis.md has the bounds)."""

MOMENT: Final = pa.timestamp("us", tz="UTC")
AMOUNT: Final = pa.int64()
LEAF: Final = pa.int64()
PPM: Final = pa.int32()

SHARES: Final = pa.list_(pa.struct([pa.field("collective", pa.utf8()), pa.field("share_nano", pa.int32())]))

TABLES: Final[Mapping[str, Mapping[str, pa.DataType]]] = {
    "leaves": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "type": pa.utf8(),
        "hash": pa.utf8(),
        "entry": pa.utf8(),
    },
    "pools": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "display_name": pa.utf8(),
        "currency": pa.utf8(),
    },
    "policies": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "version": pa.int32(),
        "fee_ppm": PPM,
        "fee_cap_minor": AMOUNT,
        "commons_ppm": PPM,
        "unattributed": pa.utf8(),
        "commons_rule": pa.utf8(),
        "tempering": pa.utf8(),
        "floor_minor": AMOUNT,
        "cap_minor": AMOUNT,
        "ai_only_ppm": PPM,
        "human_ai_ppm": PPM,
        "review_seconds": pa.int64(),
        "rounding": pa.utf8(),
        "approval": pa.utf8(),
    },
    "methods": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "method": pa.utf8(),
        "version": pa.int32(),
        "display_name": pa.utf8(),
        "confidence_ppm": PPM,
        "evidence_uri": pa.utf8(),
        "covers": pa.utf8(),
        "score_kind": pa.utf8(),
        "score_order": pa.utf8(),
        "coverage_nano": pa.int32(),
        "sum_repeats": pa.bool_(),
        "tolerance_nano": pa.int32(),
        "membership": pa.utf8(),
    },
    "memberships": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "membership": pa.utf8(),
        "version": pa.int32(),
        "body_sha256": pa.utf8(),
        "body_bytes": pa.int64(),
        "sources": pa.int32(),
        "collectives": pa.int32(),
    },
    "batches": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "platform": pa.utf8(),
        "batch_id": pa.utf8(),
        "method": pa.utf8(),
        "method_version": pa.int32(),
        "membership": pa.utf8(),
        "membership_version": pa.int32(),
        "id_scheme": pa.utf8(),
        "body_sha256": pa.utf8(),
        "body_bytes": pa.int64(),
        "accepted": pa.int32(),
        "duplicates": pa.int32(),
        "attributed_ai_only": WEIGHT,
        "attributed_human_ai": WEIGHT,
        "unattributed_ai_only": WEIGHT,
        "unattributed_human_ai": WEIGHT,
    },
    "events": {
        "leaf_index": LEAF,
        "position": pa.int32(),
        "accepted": pa.bool_(),
        "platform": pa.utf8(),
        "method": pa.utf8(),
        "method_version": pa.int32(),
        "event_id": pa.binary(16),
        "work_id": pa.utf8(),
        "occurred_at": MOMENT,
        "month": pa.date32(),
        "units": pa.int64(),
        "mode": pa.utf8(),
        "share_sum_nano": pa.int32(),
        "shares": SHARES,
    },
    "retractions": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "platform": pa.utf8(),
        "request_id": pa.utf8(),
        "batch_leaf": LEAF,
        "position": pa.int32(),
    },
    "rounds": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "number": pa.int32(),
        "previous": pa.int32(),
        "start_leaf": LEAF,
        "end_leaf": LEAF,
        "root": pa.utf8(),
        "policy_version": pa.int32(),
        "registry_sha256": pa.utf8(),
        "statement_sha256": pa.utf8(),
        "weights_sha256": pa.utf8(),
        "salt_sha256": pa.utf8(),
        "statement_root": pa.utf8(),
        "statement_lines": pa.int32(),
        "events": pa.int64(),
        "retracted": pa.int64(),
        "weight": WEIGHT,
        "weight_unattributed": WEIGHT,
        "deficit_unattributed": WEIGHT,
        "pot_minor": AMOUNT,
        "fee_minor": AMOUNT,
        "attributed_minor": AMOUNT,
        "commons_minor": AMOUNT,
        "commons_kept_minor": AMOUNT,
        "carried_minor": AMOUNT,
        "rounding_minor": AMOUNT,
        "kept_after_nano": pa.int32(),
        "by": pa.utf8(),
    },
    "registry": {
        "leaf_index": LEAF,
        "round": pa.int32(),
        "collective": pa.utf8(),
        "status": pa.utf8(),
        "members": pa.int64(),
        "equity_ppm": PPM,
    },
    "decisions": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "subject": LEAF,
        "round": pa.int32(),
        "decision": pa.utf8(),
        "by": pa.utf8(),
        "reason": pa.utf8(),
    },
    "postings": {
        "leaf_index": LEAF,
        "time": MOMENT,
        "round": pa.int32(),
        "transfer_count": pa.int32(),
        "amount_minor": AMOUNT,
    },
    "allocations": {
        "leaf_index": LEAF,
        "round": pa.int32(),
        "collective": pa.utf8(),
        "status": pa.utf8(),
        "events": pa.int64(),
        "weight_ai_only": WEIGHT,
        "weight_human_ai": WEIGHT,
        "deficit_before": WEIGHT,
        "weight": WEIGHT,
        "deficit_after": WEIGHT,
        "attributed_minor": AMOUNT,
        "commons_minor": AMOUNT,
        "amount_minor": AMOUNT,
        "attributed_before_nano": pa.int32(),
        "attributed_after_nano": pa.int32(),
        "commons_before_nano": pa.int32(),
        "commons_after_nano": pa.int32(),
    },
    "transfers": {
        "leaf_index": LEAF,
        "ordinal": pa.int32(),
        "time": MOMENT,
        "from_account": pa.utf8(),
        "to_account": pa.utf8(),
        "amount_minor": AMOUNT,
        "purpose": pa.utf8(),
    },
}
"""The columns of each table, in order. The pool is in the name of the folder that the files are in."""

SCHEMAS: Final[Mapping[str, pa.Schema]] = {name: pa.schema(list(columns.items())) for name, columns in TABLES.items()}
