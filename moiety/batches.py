"""Usage batches: any Arrow-capable table made into the record batches and bytes that the service takes.

A table has a row per usage event and the columns of `USAGE_SCHEMA`, or for raw attribution scores those of
`SCORE_SCHEMA`, in any order, with some leniency:
`event_id` as 16 bytes or UUID text, or a text column `id` instead of it, from which event ids are derived
(`moiety.event_id_of`, or with `occurred_at` too where the platform's ids are ordered); `work_id` may be left out;
`occurred_at` is any timestamp with a zone, or ISO 8601 text; numbers may have any width; `mode` may be in words;
`collectives` and `sources` may be encoded in any way, and may hold structs of `id` and `share` (or `score`) in the
place of two columns. Any other column is an error, so that a misspelt one is not lost.

The same rows give the same bytes, whatever library made the table: the dictionary of collectives or sources holds just
the ids that occur, sorted by bytes, and the compression is fixed. (Another release of pyarrow may write other
bytes.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from moiety import columns
from moiety.errors import InvalidUsageError
from moiety.ids import IdScheme
from moiety.sizes import EVENTS_PER_BATCH, EVENTS_PER_BATCH_MAX
from moiety.slices import slices
from moiety.streams import stream_of
from moiety.tables import ArrowTable, reader_of

USAGE_SCHEMA: Final = pa.schema(
    [
        pa.field("event_id", pa.binary(16), nullable=False),
        pa.field("work_id", pa.utf8(), nullable=True),
        pa.field("occurred_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("units", pa.int64(), nullable=False),
        pa.field("mode", pa.uint8(), nullable=False),
        pa.field("collectives", pa.list_(pa.dictionary(pa.int32(), pa.utf8())), nullable=False),
        pa.field("shares", pa.list_(pa.int32()), nullable=False),
    ]
)
"""The exact columns of a batch; docs/concepts.md says what they mean."""

SCORE_SCHEMA: Final = pa.schema(
    [
        *(USAGE_SCHEMA.field(name) for name in ("event_id", "work_id", "occurred_at", "units", "mode")),
        pa.field("sources", pa.list_(pa.dictionary(pa.int32(), pa.utf8())), nullable=False),
        pa.field("scores", pa.list_(pa.float64()), nullable=False),
    ]
)
"""The exact columns of a batch of raw scores; docs/concepts.md says what they mean."""

SCORES_PER_BATCH: Final = 1_500_000
"""The most scores in a batch. At twelve bytes each they leave room for the ids in the 32 MiB that the service takes."""

SHARES_PER_BATCH: Final = 2_500_000
"""The most shares in a batch, at eight bytes each."""

IDS_PER_BATCH: Final = {"collectives": 65_536, "sources": 262_144}
"""The most distinct ids that the service takes in a batch."""

BYTES_PER_BATCH: Final = 31 * 2**20
"""The most bytes of a batch before it is compressed: so it is never larger than the 32 MiB that the service takes."""

_NARROW: Final = (pa.int8(), pa.int16(), pa.int32())
_PANDAS_INDEX: Final = re.compile(r"__index_level_\d+__")


def usage_batches(
    table: ArrowTable, *, events_per_batch: int = EVENTS_PER_BATCH, id_scheme: IdScheme | str = IdScheme.OWN
) -> Iterator[bytes]:
    """Return the batches of a table of usage events, each as one Arrow IPC stream of one record batch.

    The table is read as a stream, a batch at a time; a table without rows gives nothing. `id_scheme` says how event ids
    are derived from a column `id`; a batch is sent under the name of the same scheme.

    Raises:
        ValueError: `events_per_batch` is not 1 to 65,536, or there is no such `id_scheme`.
        TypeError: `table` is not an Arrow-capable table.
        InvalidUsageError: a column is missing, superfluous, of another type, or has values that do not fit its type.
    """
    return map(encode, record_batches(table, events_per_batch=events_per_batch, id_scheme=id_scheme))


def record_batches(
    table: ArrowTable, *, events_per_batch: int = EVENTS_PER_BATCH, id_scheme: IdScheme | str = IdScheme.OWN
) -> Iterator[pa.RecordBatch]:
    """Return the batches of a table of usage events as record batches of exactly `USAGE_SCHEMA`, or of `SCORE_SCHEMA`
    where it has scores. A batch ends after `events_per_batch` events, and before it has more shares, scores, distinct
    ids or bytes than the service takes. `id_scheme` says how event ids are derived from a column `id`.

    Raises:
        ValueError: `events_per_batch` is not 1 to 65,536, or there is no such `id_scheme`.
        TypeError: `table` is not an Arrow-capable table.
        InvalidUsageError: a column is missing, superfluous, of another type, or has values that do not fit its type.
    """
    if not 1 <= events_per_batch <= EVENTS_PER_BATCH_MAX:
        raise ValueError(f"events_per_batch must be 1 to {EVENTS_PER_BATCH_MAX}, got {events_per_batch}")
    scheme = IdScheme(id_scheme)
    reader = reader_of(table)
    schema = SCORE_SCHEMA if _is_of_scores(reader.schema) else USAGE_SCHEMA
    _require_columns(reader.schema, schema)
    return _converted(reader, schema, events_per_batch, scheme)


def encode(batch: pa.RecordBatch) -> bytes:
    """Return a record batch of `USAGE_SCHEMA` or `SCORE_SCHEMA` as the bytes of an Arrow IPC stream.

    Units and the indices into its dictionary are of as few bits in there as all of them fit into.
    """
    return stream_of(_narrowed(batch))


def _narrowed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose units and indices are narrow: compressing them takes half of the time, and reading less."""
    lists, units = batch.column(_names_place(batch.schema)), batch.column("units")
    if lists.null_count or units.null_count:
        return batch  # for the service to refuse
    least, most = (each.as_py() for each in pc.min_max(units).values())
    kind = _width_of(most) if least is not None and least >= 0 else units.type
    return _with_widths(batch, kind, _width_of(len(lists.values.dictionary) - 1))


def _with_widths(batch: pa.RecordBatch, units: pa.DataType, indices: pa.DataType) -> pa.RecordBatch:
    """Return a batch without nulls in these columns, whose units and indices are of other types."""
    place, schema = _names_place(batch.schema), batch.schema
    lists = batch.column(place)
    encoded = pa.DictionaryArray.from_arrays(lists.values.indices.cast(indices), lists.values.dictionary)
    columns = {"units": batch.column("units").cast(units)}
    columns[schema.names[place]] = pa.ListArray.from_arrays(lists.offsets, encoded)
    for name, column in columns.items():
        at = schema.names.index(name)
        batch = batch.set_column(at, schema.field(at).with_type(column.type), column)
    return batch


def _names_place(schema: pa.Schema) -> int:
    place: int = schema.names.index("sources" if _is_of_scores(schema) else "collectives")
    return place


def _width_of(most: int) -> pa.DataType:
    """Return the narrowest type for integers from 0 on; 64 bits for those that are refused."""
    return next((each for each in _NARROW if most < 1 << (each.bit_width - 1)), pa.int64())


def decode(data: bytes) -> pa.RecordBatch:
    """Return the record batch in the bytes of a batch, as `encode` took it, or as an audit got them.

    Raises:
        ValueError: they are not an Arrow stream of exactly one record batch.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            (batch,) = list(reader)
        batch.validate(full=True)  # Arrow believes what a batch says of itself; a wrong offset ends the process
    except pa.ArrowInvalid as error:
        raise ValueError(str(error)) from None
    return _with_widths(batch, pa.int64(), pa.int32()) if _is_narrowed(batch) else batch


def _is_narrowed(batch: pa.RecordBatch) -> bool:
    """Whether it is of another schema than `encode` took, and of one that it sends."""
    whole = SCORE_SCHEMA if _is_of_scores(batch.schema) else USAGE_SCHEMA
    if batch.schema.names != whole.names or batch.schema.equals(whole) or batch.column(_names_place(whole)).null_count:
        return False
    widths = product((*_NARROW, pa.int64()), _NARROW)
    return any(batch.schema.equals(_of_widths(whole, units, indices)) for units, indices in widths)


def _of_widths(whole: pa.Schema, units: pa.DataType, indices: pa.DataType) -> pa.Schema:
    kinds = {"units": units, whole.names[_names_place(whole)]: pa.list_(pa.dictionary(indices, pa.utf8()))}
    return pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in whole])


def _require_columns(schema: pa.Schema, wanted: pa.Schema) -> None:
    names = _names(schema)
    paired = columns.AMOUNT_OF_NAMES.get(wanted.names[-2]) if _has_pairs(schema, wanted) else None
    for name in names:
        if names.count(name) > 1:
            raise InvalidUsageError(name, None, "is in the table twice")
        if name not in wanted.names and name != "id":
            raise InvalidUsageError(name, None, f"is not a column of usage; these are {', '.join(wanted.names)}")
    if "id" in names and "event_id" in names:
        raise InvalidUsageError("id", None, "is given in addition to event_id; use only one of them")
    if paired and wanted.names[-1] in names:
        raise InvalidUsageError(
            wanted.names[-1], None, f"is given in addition to {wanted.names[-2]} with a {paired} each"
        )
    for name in wanted.names:
        is_elsewhere = (name == "event_id" and "id" in names) or (paired and name == wanted.names[-1])
        if name not in names and name != "work_id" and not is_elsewhere:
            raise InvalidUsageError(name, None, "is missing from the table")


def _has_pairs(schema: pa.Schema, wanted: pa.Schema) -> bool:
    """Whether names and amounts stand in one column."""
    name = wanted.names[-2]
    return name in schema.names and columns.has_pairs(schema.field(name).type)


def _is_of_scores(schema: pa.Schema) -> bool:
    return bool({"sources", "scores"} & set(_names(schema)))


def _names(schema: pa.Schema) -> list[str]:
    try:
        return [name for name in schema.names if not _PANDAS_INDEX.fullmatch(name)]
    except UnicodeDecodeError:
        raise InvalidUsageError("table", None, "has a column whose name is not UTF-8") from None


def _converted(
    reader: pa.RecordBatchReader, schema: pa.Schema, events_per_batch: int, id_scheme: IdScheme
) -> Iterator[pa.RecordBatch]:
    position = 0
    most = SCORES_PER_BATCH if schema is SCORE_SCHEMA else SHARES_PER_BATCH
    for table in slices(reader, events_per_batch, schema.names[-2], most):
        _require_amounts(table, schema, position, most)
        for batch in _by_size(table, schema, position, id_scheme):
            yield batch
            position += batch.num_rows


def _require_amounts(table: pa.Table, schema: pa.Schema, first_position: int, most: int) -> None:
    """Refuse a row with more shares or scores than a batch may have, which `slices` leaves alone in its table."""
    names, amounts = schema.names[-2:]
    count = columns.element_count(table.column(names).combine_chunks(), names)
    if count > most:
        raise InvalidUsageError(amounts, first_position, f"are {count}, more than {most} for a batch")


def _by_size(table: pa.Table, schema: pa.Schema, first_position: int, id_scheme: IdScheme) -> Iterator[pa.RecordBatch]:
    """The rows as batches, halved until each has as few distinct ids and bytes as the service takes."""
    batch = _record_batch(table, schema, first_position, id_scheme)
    names = schema.names[-2]
    distinct = len(batch.column(names).values.dictionary)
    if distinct <= IDS_PER_BATCH[names] and batch.nbytes <= BYTES_PER_BATCH:
        yield batch
        return
    if table.num_rows == 1:
        reason = f"are {distinct} ids, or {batch.nbytes} bytes with the event, more than a batch takes"
        raise InvalidUsageError(names, first_position, reason)
    middle = table.num_rows // 2
    yield from _by_size(table.slice(0, middle), schema, first_position, id_scheme)
    yield from _by_size(table.slice(middle), schema, first_position + middle, id_scheme)


def _record_batch(table: pa.Table, schema: pa.Schema, first_position: int, id_scheme: IdScheme) -> pa.RecordBatch:
    column = {name: table.column(name).combine_chunks() for name in _names(table.schema)}
    occurred_at = columns.times(column["occurred_at"], first_position)
    if "event_id" in column:
        event_id = columns.event_ids(column["event_id"], first_position)
    else:
        event_id = columns.derived_event_ids(column["id"], occurred_at, first_position, id_scheme)
    field, amounts = schema.names[-2:]
    if columns.has_pairs(column[field].type):
        column[field], column[amounts] = columns.pairs(column[field], field, first_position)
    to_amounts = columns.scores if schema is SCORE_SCHEMA else columns.shares
    lists = [columns.names(column[field], field, first_position), to_amounts(column[amounts], first_position)]
    return pa.RecordBatch.from_arrays(
        [
            event_id,
            columns.work_ids(column.get("work_id", pa.nulls(table.num_rows, pa.utf8()))),
            occurred_at,
            columns.units(column["units"], first_position),
            columns.modes(column["mode"], first_position),
            *lists,
        ],
        schema=schema,
    )
