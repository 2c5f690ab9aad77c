"""From a usage leaf and its batch to the rows of `events`."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ledger.errors import LedgerCorruptError
from ledger.usage.batch import Batch
from ledger.usage.entries import UsageContent, decode_positions
from services.exports.parquet.schema import MOMENT, SCHEMAS, SHARES

_MODE_NAMES: Final = ["AI_ONLY", "HUMAN_AI"]
"""Of modes 1 and 2. Not an array: Arrow imports pandas, where there is one, for the first that it makes of a list."""


def events_table(leaf_index: int, content: UsageContent, batch: Batch) -> pa.Table:
    """Returns the rows of `events` for a usage leaf, including duplicates.

    Raises:
        LedgerCorruptError: the leaf counts other events than its body has.
    """
    duplicates = decode_positions(content.duplicates)
    count = len(batch)
    if len(duplicates) + content.accepted != count or (duplicates and duplicates[-1] >= count):
        raise LedgerCorruptError(f"leaf {leaf_index}", f"counts other events than the {count} in its body")
    accepted = np.ones(count, dtype=np.bool_)
    accepted[duplicates] = False
    columns = {
        "leaf_index": pa.array(np.full(count, leaf_index, dtype=np.int64)),
        "position": pa.array(np.arange(count, dtype=np.int32)),
        "accepted": pa.array(accepted),
        "platform": pa.repeat(content.platform, count),
        "method": pa.repeat(content.method, count),
        "method_version": pa.array(np.full(count, content.method_version, dtype=np.int32)),
        "event_id": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), count, [None, pa.py_buffer(np.ascontiguousarray(batch.event_ids))]
        ),
        "work_id": batch.work_ids,
        "occurred_at": pa.array(batch.occurred_at).view(MOMENT),
        "month": pa.array(batch.occurred_at.view("datetime64[us]").astype("datetime64[M]").astype("datetime64[D]")),
        "units": pa.array(batch.units),
        "mode": pa.array(_MODE_NAMES).take(pa.array(batch.modes - 1)),
        "share_sum_nano": pa.array(batch.share_sums().astype(np.int32)),
        "shares": _shares(batch),
    }
    return pa.table(columns, schema=SCHEMAS["events"])


def _shares(batch: Batch) -> pa.ListArray:
    names = pa.array(batch.names, pa.utf8()).take(pa.array(batch.name_index))
    pairs = pa.StructArray.from_arrays([names, pa.array(batch.amounts)], fields=list(SHARES.value_type))
    return pa.ListArray.from_arrays(pa.array(batch.offsets.astype(np.int32)), pairs)
