"""Raw attribution scores, and the one rule that makes them shares.

A score batch has the events of a usage batch (`ledger.usage.shares`), but instead of collectives and shares a `float64`
score for each source item, as attribution methods give them. `shares_of` is the rule; docs/distribution.md says it in
words.

The result is the same on every machine, with every numpy and on any number of threads, because
- floating-point numbers are only ever multiplied and rounded to an integer, one by one, and never added. IEEE 754 gives
  each of these one answer; it is sums that depend on the order, the SIMD width and the fused operations that a machine,
  a release or a thread count chooses. But for SHARE even the products are exact, for they are by powers of two;
- every sum is one of integers that cannot overflow, where the order does not matter;
- subnormal numbers, which some libraries switch off for a whole process, are read from their bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.registry import NANO
from ledger.usage.batch import Batch, BoolArray, Int64Array
from ledger.usage.decoding import read_columns
from ledger.usage.format import (
    EVENT_TYPES,
    NAMES_TYPE,
    EventViolation,
    event_violations,
    raise_violations,
    repeated_names,
    require_known_names,
    where,
    where_amount,
)
from ledger.usage.membership import MAX_SOURCE_BYTES, SOURCE_RULE, is_source_id
from ledger.usage.methods import ScoreKind, ScoreOrder, ScoreRule
from ledger.usage.schema import Kind

MAX_SOURCES: Final = 262_144
"""Ids in a batch's dictionary, used or not: each becomes a Python string, and those that are used a question to the
membership. There are more items than collectives, so it is four times `ledger.usage.shares.MAX_COLLECTIVES`."""

SCORE_TYPES: Final[dict[str, pa.DataType]] = {
    **EVENT_TYPES,
    "sources": NAMES_TYPE,
    "scores": pa.list_(pa.float64()),
}
"""The columns as the SDK writes them."""

SCORES: Final = Kind("sources", "scores", "score", pa.float64(), MAX_SOURCES, MAX_SOURCE_BYTES)

SCALE_BITS: Final = 40
"""An event's largest score becomes 2^39 to 2^40. Even if all 2^22 scores of a batch stood in one event, their sum would
be at most 2^62; and it is the same for every event, so that a score of zero more or less changes nothing."""

PICO: Final = 10**12
"""One whole fraction, for SHARE: 2^22 fractions of up to twice this still sum below 2^63."""

_FEMTO: Final = 10**15
"""Fractions are read to 15 decimals, which is what a float64 keeps of a decimal: 0.3 is 0.3."""

_EXPONENT_BITS: Final = 0x7FF
_FRACTION_BITS: Final = 52
_INFINITY: Final = _EXPONENT_BITS << _FRACTION_BITS
_TINY: Final = 64 << _FRACTION_BITS
"""The bits of 2^-959. A score of an event whose largest is no smaller rounds to zero long before it is subnormal."""

_MAX_DENSE_CELLS: Final = 2**23
"""Cells of events by collectives that are summed in a table; 64 MiB. More are sorted first."""

_DENSE_CELLS_PER_SCORE: Final = 16
"""A table with more cells than this for each score costs more to clear and to search than sorting does."""

FloatArray = npt.NDArray[np.float64]


def parse_score_batch(body: bytes) -> Batch:
    """The batch in an Arrow stream.

    Raises:
        InvalidInputError: the batch is refused; the error holds the first 100 positions and reasons.
    """
    return checked(read_columns(body, SCORES).only_named())


def checked(batch: Batch) -> Batch:
    """Returns the batch, after its check against the rules on single events. Raises as `parse_score_batch` does."""
    raise_violations(_violations(batch))
    return batch


def require_known_sources(batch: Batch, known: BoolArray) -> None:
    """Refuse the batch, with the positions, where an event names a source that is not a registered collective.

    `known` is (s,): whether each of `batch.names` is. One that no event names may be unknown.
    """
    require_known_names(batch, known, column="sources")


def shares_of(batch: Batch, rule: ScoreRule, membership: Mapping[str, str] | None) -> Batch:
    """Returns the shares that a rule makes of a batch's scores; `membership` has the collectives of sources.

    1. Each score becomes an integer: times the power of two that brings the event's largest magnitude to 2^39 to 2^40,
       rounded half to even. (A power of two, so that counts of 3 and 1 stay 3 to 1.) A SHARE becomes trillionths: it is
       read to 15 decimals and cut to 12.
    2. Integers are summed per collective. Sources without a collective are summed as one more, nobody.
    3. Negative numbers count as zero: each sum, or under CLIP_THEN_SUM each integer before it is summed.
    4. `share_nano = coverage_nano * sum // total` of the event; for SHARE of a whole, or of the total where the
       tolerance lets that pass one. Zero shares are left out.

    What is lost to rounding or goes to nobody is unattributed. If `membership` is None, the sources are collectives.

    Raises:
        InvalidInputError: scores are not what `rule.kind` allows; the error has the first 100 positions.
    """
    events = batch.event_of_amount()
    raise_violations(_rule_violations(batch, events, rule))
    integers = _pico(batch.amounts) if rule.kind is ScoreKind.SHARE else _scaled(batch, events)
    if rule.order is ScoreOrder.CLIP_THEN_SUM:
        np.maximum(integers, 0, out=integers)
    collective_of = [source if membership is None else membership.get(source) for source in batch.names]
    # Python orders text by code point, which is the order of its UTF-8 bytes. Nobody, None, comes last.
    collectives = sorted({collective for collective in collective_of if collective is not None})
    nobody = len(collectives)
    number = {collective: place for place, collective in enumerate([*collectives, None])}
    group_of_source = np.array([number[collective] for collective in collective_of], dtype=np.int64)
    width = nobody + 1
    cells, sums = _positive_sums(events * width + group_of_source[batch.name_index], integers, len(batch) * width)
    event, group = np.divmod(cells, width)
    totals = np.zeros(len(batch), dtype=np.int64)
    np.add.at(totals, event, sums)
    if rule.kind is ScoreKind.SHARE:
        np.maximum(totals, PICO, out=totals)
    claimed = group != nobody
    event, group = event[claimed], group[claimed]
    shares = _floor_parts(sums[claimed], totals[event], rule.coverage_nano)
    paid = shares > 0
    return _usage_batch(batch, event[paid], group[paid], shares[paid], collectives)


def _violations(batch: Batch) -> Iterator[EventViolation]:
    """Every rule on single events, whatever the kind of scores: (position, column, reason) of each breach."""
    yield from event_violations(batch)
    malformed = np.array([not is_source_id(source) for source in batch.names], dtype=np.bool_)
    yield from where_amount(malformed[batch.name_index], batch.offsets, "sources", SOURCE_RULE)
    yield from where_amount(_magnitudes(batch.amounts) >= _INFINITY, batch.offsets, "scores", "must be finite")


def _rule_violations(batch: Batch, events: Int64Array, rule: ScoreRule) -> Iterator[EventViolation]:
    kind = rule.kind
    if not rule.sums_repeats:
        reason = f"must not repeat in one event if the scores are {kind}, unless the method says sum_repeats"
        yield from where_amount(repeated_names(batch), batch.offsets, "sources", reason)
    if kind is ScoreKind.SIGNED_INFLUENCE:
        return
    negative = (batch.amounts.view(np.int64) < 0) & (_magnitudes(batch.amounts) > 0)
    yield from where_amount(negative, batch.offsets, "scores", f"must not be negative if the scores are {kind}")
    if kind is ScoreKind.SHARE:
        sums = np.zeros(len(batch), dtype=np.int64)
        np.add.at(sums, events, _pico(np.clip(batch.amounts, 0.0, 2.0)))
        most = f"1 and a tolerance of {rule.tolerance_nano} billionths" if rule.tolerance_nano else "1"
        beyond = sums > PICO + rule.tolerance_nano * (PICO // NANO)
        yield from where(beyond, "scores", f"must sum to at most {most} if the scores are SHARE")


def _magnitudes(scores: FloatArray) -> Int64Array:
    """The scores' bits without their signs: integers in the order of the magnitudes, infinities and NaN last."""
    magnitudes: Int64Array = scores.view(np.int64) & np.int64(2**63 - 1)
    return magnitudes


def _pico(fractions: FloatArray) -> Int64Array:
    with np.errstate(under="ignore"):
        return np.rint(fractions * float(_FEMTO)).astype(np.int64) // (_FEMTO // PICO)


def _scaled(batch: Batch, events: Int64Array) -> Int64Array:
    """(k,) the scores as integers, scaled so that the largest magnitude of each event is 2^39 to 2^40."""
    largest = np.zeros(len(batch), dtype=np.int64)
    with_scores = np.flatnonzero(np.diff(batch.offsets))
    if len(with_scores):
        largest[with_scores] = np.maximum.reduceat(_magnitudes(batch.amounts), batch.offsets[with_scores])
    scores, reference = batch.amounts, largest.view(np.float64)
    tiny = (largest > 0) & (largest < _TINY)
    if tiny.any():
        scores = np.where(tiny[events], _lifted(scores), scores)
        reference = np.where(tiny, _lifted(reference), reference)
    exponents = np.frexp(reference)[1]
    # The factors, and what comes near one half or more, are in the normal range; the rest may underflow to zero.
    with np.errstate(under="ignore"):
        scaled = scores * np.ldexp(1.0, SCALE_BITS - exponents)[events]
    integers: Int64Array = np.rint(scaled, out=scaled).astype(np.int64)
    return integers


def _lifted(scores: FloatArray) -> FloatArray:
    """Scores of magnitudes below `_TINY` times 2^1074: whole numbers, exact. Others come out as anything."""
    bits = scores.view(np.int64)
    exponents = (bits >> _FRACTION_BITS) & _EXPONENT_BITS
    significands = bits & ((1 << _FRACTION_BITS) - 1) | ((exponents > 0).astype(np.int64) << _FRACTION_BITS)
    shifts = np.clip(exponents - 1, 0, _TINY >> _FRACTION_BITS).astype(np.int32)
    lifted: FloatArray = np.copysign(np.ldexp(significands.astype(np.float64), shifts), scores)
    return lifted


def _positive_sums(key: Int64Array, values: Int64Array, cells: int) -> tuple[Int64Array, Int64Array]:
    """The keys below `cells` whose values sum to more than zero, ascending, and the sums."""
    if cells <= min(_MAX_DENSE_CELLS, _DENSE_CELLS_PER_SCORE * len(key)):
        table = np.zeros(cells, dtype=np.int64)
        np.add.at(table, key, values)
        found = np.flatnonzero(table > 0)
        return found, table[found]
    if not len(key):
        return key, values
    order = np.argsort(key)
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sums = np.add.reduceat(values[order], starts)
    positive = sums > 0
    return ordered[starts[positive]], sums[positive]


def _floor_parts(parts: Int64Array, totals: Int64Array, coverage_nano: int) -> Int64Array:
    """`coverage_nano * part // total` for 0 < part <= total <= 2^62, exactly: long division, digit by digit.

    A digit of b bits keeps `remainder * 2^b + digit * part` below `total * 2^(b + 1)`, which must not pass 2^64.
    """
    if not len(parts):
        return parts
    part, total = parts.astype(np.uint64), totals.astype(np.uint64)
    digit_bits = 63 - (int(totals.max()) - 1).bit_length()
    quotient, remainder = np.zeros_like(part), np.zeros_like(part)
    for place in reversed(range(0, NANO.bit_length(), digit_bits)):
        digit = np.uint64(coverage_nano >> place & (1 << digit_bits) - 1)
        step, remainder = np.divmod((remainder << np.uint64(digit_bits)) + digit * part, total)
        quotient = (quotient << np.uint64(digit_bits)) + step
    return quotient.astype(np.int64)


def _usage_batch(
    batch: Batch, event: Int64Array, group: Int64Array, shares: Int64Array, collectives: list[str]
) -> Batch:
    """The batch's events with shares, which come by event and then by collective; collectives with none are dropped."""
    named = np.zeros(len(collectives), dtype=np.bool_)
    named[group] = True
    index = np.cumsum(named) - 1
    offsets = np.zeros(len(batch) + 1, dtype=np.int64)
    np.cumsum(np.bincount(event, minlength=len(batch)), out=offsets[1:])
    return Batch(
        event_ids=batch.event_ids,
        work_ids=batch.work_ids,
        occurred_at=batch.occurred_at,
        units=batch.units,
        modes=batch.modes,
        offsets=offsets,
        name_index=index[group].astype(np.int32),
        amounts=shares.astype(np.int32),
        names=tuple(collectives[place] for place in np.flatnonzero(named)),
    )
