"""Score batches for tests: sound unless a test makes them otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ledger.usage.batch import Batch
from ledger.usage.methods import ScoreKind, ScoreOrder, ScoreRule
from ledger.usage.scores import SCORE_TYPES, parse_score_batch, shares_of
from tests.support.batches import Event, list_array, record_batch, stream

SCHEMA: Final = pa.schema(list(SCORE_TYPES.items()))

Scores = Sequence[tuple[str | None, float | None]]


def scored(scores: Scores | None, number: int = 0, **columns: Any) -> Event:
    """An event with scores by source where a usage event has shares by collective."""
    return Event(number.to_bytes(16), shares=scores, **columns)  # type: ignore[arg-type]


def score_record_batch(events: Sequence[Event], *, dictionary: Sequence[str | None] | None = None) -> pa.RecordBatch:
    """The events in the columns of a score batch. The dictionary of sources is what occurs, in order, unless given."""
    pairs = [pair for event in events for pair in event.shares or ()]
    names = (
        list(dict.fromkeys(source for source, _ in pairs if source is not None)) if dictionary is None else dictionary
    )
    number = {name: place for place, name in enumerate(names)}
    indices = pa.array([None if source is None else number[source] for source, _ in pairs], pa.int32())
    sources = pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.utf8()))
    scores = pa.array([score for _, score in pairs], pa.float64())
    bare = record_batch([Event(e.event_id, e.work_id, e.occurred_at, e.units, e.mode) for e in events])
    return pa.record_batch([*bare.columns[:5], list_array(events, sources), list_array(events, scores)], schema=SCHEMA)


def score_body(events: Sequence[Event], **options: Any) -> bytes:
    """The events as the bytes that a platform sends."""
    return stream(score_record_batch(events), **options)


def score_batch(events: Sequence[Scores]) -> Batch:
    """A batch that was read, of events with these scores."""
    return parse_score_batch(score_body([scored(scores, number) for number, scores in enumerate(events)]))


def plain_batch(scores: Any, source_index: Any, offsets: Any, sources: tuple[str, ...]) -> Batch:
    """A batch of arrays, for sizes that take long to send."""
    events = len(offsets) - 1
    return Batch(
        event_ids=np.zeros(events, dtype="V16"),
        work_ids=pa.nulls(events, pa.utf8()),
        occurred_at=np.zeros(events, dtype=np.int64),
        units=np.ones(events, dtype=np.int64),
        modes=np.ones(events, dtype=np.uint8),
        offsets=np.asarray(offsets, dtype=np.int64),
        name_index=np.asarray(source_index, dtype=np.int32),
        amounts=np.asarray(scores, dtype=np.float64),
        names=sources,
    )


def shares_in(batch: Batch) -> list[dict[str, int]]:
    """The shares by collective of each event, in their order."""
    owners = [batch.names[place] for place in batch.name_index]
    ends = batch.offsets.tolist()
    return [
        dict(zip(owners[start:end], batch.amounts[start:end].tolist(), strict=True)) for start, end in pairwise(ends)
    ]


def shares(events: Sequence[Scores], rule: ScoreRule, membership: Mapping[str, str]) -> list[dict[str, int]]:
    """What a rule makes of the scores of each event."""
    return shares_in(shares_of(score_batch(events), rule, membership))


def exponent_of(number: Fraction) -> int:
    """The least e for which the number is below 2^e."""
    exponent = 0
    while Fraction(2) ** exponent <= number:
        exponent += 64
    while Fraction(2) ** (exponent - 1) > number:
        exponent -= 1
    return exponent


def shares_by_hand(
    event: Sequence[tuple[str, float]], rule: ScoreRule, membership: Mapping[str, str]
) -> dict[str, int]:
    """The rule as docs/distribution.md has it, in fractions and without any of the ledger's own arithmetic."""
    exact = [(source, Fraction(score)) for source, score in event]
    largest = max((abs(score) for _, score in exact), default=Fraction(0))
    if rule.kind is ScoreKind.SHARE:
        integers = [(source, round(Fraction(float(score * 10**15))) // 1000) for source, score in exact]
    elif largest:
        scale = Fraction(2) ** (40 - exponent_of(largest))
        integers = [(source, round(score * scale)) for source, score in exact]
    else:
        return {}
    if rule.order is ScoreOrder.CLIP_THEN_SUM:
        integers = [(source, max(0, value)) for source, value in integers]
    names = {membership.get(source, "") for source, _ in integers}
    sums = {name: sum(value for source, value in integers if membership.get(source, "") == name) for name in names}
    claims = {name: value for name, value in sums.items() if value > 0}
    total = sum(claims.values())
    if rule.kind is ScoreKind.SHARE:
        total = max(total, 10**12)
    shares = {name: int(Fraction(rule.coverage_nano * claims[name], total)) for name in sorted(claims) if name}
    return {name: share for name, share in shares.items() if share}
