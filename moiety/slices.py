"""The rows of a table in pieces as large as a batch: what is held at a time does not grow with their lists."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from moiety import columns
from moiety.errors import InvalidUsageError


def slices(reader: pa.RecordBatchReader, rows: int, field: str, most: int) -> Iterator[pa.Table]:
    """The rows of a reader as tables of `rows` rows, the last with what is left. A table ends before that where the
    lists of `field` would have more than `most` elements, however many rows the reader gives at a time.

    Raises:
        InvalidUsageError: a column is damaged, or the field is not one of lists.
    """
    held: list[pa.RecordBatch] = []
    window = amounts = 0
    for batch in reader:
        _validate(batch)
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, rows - window)
            start += part.num_rows
            window += part.num_rows
            *full, (rest, amounts) = _runs(part, held, amounts, field, most)
            for table, _ in full:
                yield pa.Table.from_batches(table)
            held = rest
            if window == rows:
                yield pa.Table.from_batches(held)
                held, window, amounts = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def _runs(
    part: pa.RecordBatch, held: list[pa.RecordBatch], amounts: int, field: str, most: int
) -> list[tuple[list[pa.RecordBatch], int]]:
    """What is held and the next rows, in runs of at most as many elements; the last may go on."""
    lengths = columns.lengths(part.column(field), field)
    total = pc.sum(lengths).as_py() or 0
    if amounts + total <= most:
        return [([*held, part], amounts + total)]
    runs: list[tuple[list[pa.RecordBatch], int]] = []
    first = 0
    for place, length in enumerate(lengths.to_pylist()):
        if amounts + length > most and (held or place > first):
            runs.append(([*held, part.slice(first, place - first)], amounts))
            held, first, amounts = [], place, 0
        amounts += length
    return [*runs, ([*held, part.slice(first)], amounts)]


def _validate(batch: pa.RecordBatch) -> None:
    """Check what a batch says of itself, which Arrow believes: an offset out of bounds ends the process."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowException as error:
            raise InvalidUsageError(name, None, f"is damaged: {error}") from None
