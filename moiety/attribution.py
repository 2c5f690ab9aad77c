"""Attribution scores of whole matrices, items by works, made into batches of raw scores or into shares.

Attribution methods (influence functions, TRAK, LoGra, embedding search, citation logs) give a matrix: a row for each
source item, a column for each generated work. `score_batches` sends it as it is, and the service makes shares of it by
the method's rule. `shares_table` applies the same rule here, in plain integers, for platforms that would rather send
shares; docs/distribution.md says the rule in words.

A matrix is a numpy array, or a sparse matrix or array of scipy in CSC or CSR form. Scores of zero are left out: no
share depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import accumulate, pairwise
from math import frexp, ldexp
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from moiety import columns
from moiety.batches import SCORE_SCHEMA, SCORES_PER_BATCH, USAGE_SCHEMA
from moiety.errors import InvalidUsageError
from moiety.events import Mode
from moiety.ids import IdScheme
from moiety.matrices import Entries, Matrix, cuts, entries_of, require_finite
from moiety.sizes import EVENTS_PER_BATCH, EVENTS_PER_BATCH_MAX

NANO: Final = 10**9
"""One whole share."""

TOLERANCE_NANO_MAX: Final = 10**7
"""A hundredth of a whole."""

SCORES_PER_BATCH_OF_LONG_IDS: Final = 100_000
"""The most where the sources' ids alone might pass that: each score may then need a source of 256 bytes."""

SOURCES_PER_BATCH: Final = 262_144
"""The most distinct sources that the service takes in a batch."""

SOURCE_BYTES_PER_BATCH: Final = 8 * 2**20
"""Bytes of all sources' ids, up to which a batch may name any of them."""

_SCALE_BITS: Final = 40
_FEMTO: Final = 10**15
_PICO: Final = 10**12


class ScoreKind(StrEnum):
    """What a method's scores are. Only SIGNED_INFLUENCE may be negative; only SHARE is not normalised."""

    SIGNED_INFLUENCE = "SIGNED_INFLUENCE"
    SIMILARITY = "SIMILARITY"
    COUNT = "COUNT"
    SHARE = "SHARE"


class ScoreOrder(StrEnum):
    """Whether negative scores are cut off after they are summed per collective, or before."""

    SUM_THEN_CLIP = "SUM_THEN_CLIP"
    CLIP_THEN_SUM = "CLIP_THEN_SUM"


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How a method's scores become shares.

    Attributes:
        kind: what the scores are.
        order: when negative scores are cut off.
        coverage_nano: the part of a work that the method claims to explain, 1 to 10^9.
        tolerance_nano: by how much the fractions of a SHARE may pass a whole because they were rounded, in billionths,
            0 to 10^7. They then count as parts of what they sum to.
    """

    kind: ScoreKind
    order: ScoreOrder = ScoreOrder.SUM_THEN_CLIP
    coverage_nano: int = NANO
    tolerance_nano: int = 1_000

    def __post_init__(self) -> None:
        if not 1 <= self.coverage_nano <= NANO:
            raise ValueError(f"coverage_nano must be 1 to {NANO}, got {self.coverage_nano}")
        if not 0 <= self.tolerance_nano <= TOLERANCE_NANO_MAX:
            raise ValueError(f"tolerance_nano must be 0 to {TOLERANCE_NANO_MAX}, got {self.tolerance_nano}")


def score_batches(
    matrix: Matrix,
    *,
    items: Sequence[str],
    works: Sequence[str | None],
    occurred_at: datetime | Sequence[datetime] | pa.Array,
    units: int | Sequence[int] | pa.Array,
    mode: Mode | Sequence[Mode] | pa.Array,
    event_ids: Sequence[UUID | bytes | str] | pa.Array | None = None,
    events_per_batch: int = EVENTS_PER_BATCH,
) -> Iterator[pa.RecordBatch]:
    """Return the scores as record batches of exactly `SCORE_SCHEMA`, an event for each work.

    A batch ends after `events_per_batch` events, and before it has more scores than the service takes.

    Args:
        matrix: the scores, items by works.
        items: the source id of each row.
        works: the work id of each column.
        occurred_at: when the works were used: one time for all of them, or one each. So with `units` and `mode`.
        units: how much they were used.
        mode: how they came about.
        event_ids: the events' ids. Without them each is that of the own id `WORK@MICROSECONDS`: the same call gives the
            same events again, and a work that is used at another time is another event.
        events_per_batch: 1 to 65,536.

    Raises:
        ValueError: the matrix is not of real numbers, items by works; or `events_per_batch` is out of range.
        InvalidUsageError: a value does not fit its column, an item is repeated, a score is not finite, two works get
            the same event id, or one work has more scores than a batch takes.
    """
    if not 1 <= events_per_batch <= EVENTS_PER_BATCH_MAX:
        raise ValueError(f"events_per_batch must be 1 to {EVENTS_PER_BATCH_MAX}, got {events_per_batch}")
    entries, sources = entries_of(matrix, len(items), len(works)), _sources(items)
    events = _events(works, occurred_at, units, mode, event_ids)
    scores_max = _scores_max(sources)
    for work, count in enumerate(entries.counts):
        if count > scores_max:
            reason = f"are {count}, more than {scores_max} for a batch; send shares, or the largest scores alone"
            raise InvalidUsageError("scores", work, reason)
    return _score_batches(entries, sources, events, cuts(entries.counts, events_per_batch, scores_max))


def shares_table(  # noqa: PLR0913 - each is a column of the table, and has a name
    matrix: Matrix,
    membership: Mapping[str, str],
    rule: ScoreRule,
    *,
    items: Sequence[str],
    works: Sequence[str | None],
    occurred_at: datetime | Sequence[datetime] | pa.Array,
    units: int | Sequence[int] | pa.Array,
    mode: Mode | Sequence[Mode] | pa.Array,
    event_ids: Sequence[UUID | bytes | str] | pa.Array | None = None,
) -> pa.Table:
    """Return a usage table of `USAGE_SCHEMA`, an event for each work, with the shares that the rule makes from scores.

    They are, share for share, what the service makes of `score_batches` under a method with the same rule.

    Args:
        matrix: the scores, items by works.
        membership: the collective of each item that has one. Where the rows are collectives, it is the identity.
        rule: how scores become shares.
        items: the source id of each row; this and the rest are as in `score_batches`.
        works: the work id of each column.
        occurred_at: when the works were used.
        units: how much they were used.
        mode: how they came about.
        event_ids: the events' ids.

    Raises:
        ValueError: the matrix is not of real numbers, items by works.
        InvalidUsageError: as in `score_batches`, or a score is not what the rule's kind allows.
    """
    entries, sources = entries_of(matrix, len(items), len(works)), _sources(items)
    events = _events(works, occurred_at, units, mode, event_ids)
    collective_of_row = [membership.get(source) for source in sources.to_pylist()]
    found: list[dict[str, int]] = []
    for start, end in cuts(entries.counts, EVENTS_PER_BATCH, SCORES_PER_BATCH):
        rows, scores = entries.read(start, end)
        offsets = [0, *accumulate(entries.counts[start:end])]
        require_finite(scores, offsets, start)
        collectives, values = [collective_of_row[row] for row in rows.to_pylist()], scores.to_pylist()
        for position, (first, last) in enumerate(pairwise(offsets), start):
            found.append(_shares(collectives[first:last], values[first:last], rule, position))
    collectives_column = pa.array([list(shares) for shares in found], USAGE_SCHEMA.field("collectives").type)
    shares_column = pa.array([list(shares.values()) for shares in found], USAGE_SCHEMA.field("shares").type)
    return pa.Table.from_arrays([*events, collectives_column, shares_column], schema=USAGE_SCHEMA)


def _shares(collectives: list[str | None], scores: list[float], rule: ScoreRule, position: int) -> dict[str, int]:
    """The shares of one event by collective, in the order of the ids' bytes; None is nobody, who only has a sum."""
    sums: dict[str | None, int] = {}
    for collective, integer in zip(collectives, _integers(scores, rule.kind, position), strict=True):
        if integer > 0 or rule.order is ScoreOrder.SUM_THEN_CLIP:
            sums[collective] = sums.get(collective, 0) + integer
    total = sum(value for value in sums.values() if value > 0)
    if rule.kind is ScoreKind.SHARE:
        if total > _PICO + rule.tolerance_nano * (_PICO // NANO):
            most = f"1 and a tolerance of {rule.tolerance_nano} billionths" if rule.tolerance_nano else "1"
            raise InvalidUsageError("scores", position, f"must sum to at most {most} if the scores are {rule.kind}")
        total = max(total, _PICO)
    claims = sorted((collective, value) for collective, value in sums.items() if collective is not None and value > 0)
    shares = ((collective, rule.coverage_nano * value // total) for collective, value in claims)
    return {collective: share for collective, share in shares if share}


def _integers(scores: list[float], kind: ScoreKind, position: int) -> list[int]:
    """The scores of one event as integers: after this there is no floating-point number."""
    if kind is not ScoreKind.SIGNED_INFLUENCE and min(scores, default=0) < 0:
        raise InvalidUsageError("scores", position, f"must not be negative if the scores are {kind}")
    if kind is ScoreKind.SHARE:
        return [round(min(score, 2.0) * _FEMTO) // (_FEMTO // _PICO) for score in scores]
    _, exponent = frexp(max(map(abs, scores), default=0.0))
    return [round(ldexp(score, _SCALE_BITS - exponent)) for score in scores]


def _score_batches(
    entries: Entries, sources: pa.Array, events: list[pa.Array], batches: Iterator[tuple[int, int]]
) -> Iterator[pa.RecordBatch]:
    for start, end in batches:
        rows, scores = entries.read(start, end)
        offsets = [0, *accumulate(entries.counts[start:end])]
        require_finite(scores, offsets, start)
        named = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.DictionaryArray.from_arrays(rows, sources))
        yield pa.RecordBatch.from_arrays(
            [
                *(_cut(column, start, end) for column in events),
                columns.names(named, "sources", start),
                pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), scores),
            ],
            schema=SCORE_SCHEMA,
        )


def _cut(column: pa.Array, start: int, end: int) -> pa.Array:
    """A copy, for Arrow writes a slice otherwise than the same values in a buffer of their own."""
    return pa.concat_arrays([pa.array([], column.type), column.slice(start, end - start)])


def _scores_max(sources: pa.Array) -> int:
    if len(sources) <= SOURCES_PER_BATCH and sources.nbytes <= SOURCE_BYTES_PER_BATCH:
        return SCORES_PER_BATCH
    return SCORES_PER_BATCH_OF_LONG_IDS


def _sources(items: Sequence[str]) -> pa.Array:
    for position, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidUsageError("items", position, f"must be text, got {item!r}")
    _require_distinct(items, "items", "is repeated")
    return pa.array(items, pa.utf8())


def _events(works: Any, occurred_at: Any, units: Any, mode: Any, event_ids: Any) -> list[pa.Array]:
    """The columns of the events themselves."""
    work_ids = columns.work_ids(pa.array(works, pa.utf8()))
    times = columns.times(_column(occurred_at, len(works), "occurred_at"), 0)
    if event_ids is None:
        ids = columns.derived_event_ids(_used_at(work_ids, times), times, 0, IdScheme.OWN)
        _require_distinct(ids.to_pylist(), "event_id", "is repeated; set event_ids to count both as used")
    else:
        if not isinstance(event_ids, pa.Array):
            event_ids = [identity.bytes if isinstance(identity, UUID) else identity for identity in event_ids]
        ids = columns.event_ids(_column(event_ids, len(works), "event_id"), 0)
    unit_column = columns.units(_column(units, len(works), "units"), 0)
    return [ids, work_ids, times, unit_column, columns.modes(_column(mode, len(works), "mode"), 0)]


def _used_at(work_ids: pa.Array, times: pa.Array) -> pa.Array:
    """What names the use of a work at a time: its id and the microseconds since 1970."""
    microseconds = times.cast(pa.int64())
    return pc.binary_join_element_wise(work_ids, microseconds.cast(pa.utf8()), "@")


def _column(values: Any, length: int, field: str) -> pa.Array:
    """One value for every event, or one for each, as an Arrow column."""
    if isinstance(values, (int, str, datetime)):
        values = [values] * length
    if len(values) != length:
        raise InvalidUsageError(field, None, f"must be one, or one for each of {length} works; are {len(values)}")
    if not length:
        return pa.array([], SCORE_SCHEMA.field(field).type)
    try:
        return values if isinstance(values, pa.Array) else pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise InvalidUsageError(field, None, str(error)) from None


def _require_distinct(values: Sequence[Any], field: str, reason: str) -> None:
    seen = set()
    for position, value in enumerate(values):
        if value in seen:
            raise InvalidUsageError(field, position, reason)
        seen.add(value)
