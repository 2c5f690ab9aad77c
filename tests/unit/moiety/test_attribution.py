"""Matrices of scores made into batches and shares: worked examples, and the service's rule as the oracle."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ledger.registry import NANO
from ledger.usage import methods
from ledger.usage import scores as rules
from ledger.usage.scores import SCORE_TYPES, parse_score_batch, shares_of
from ledger.usage.shares import parse_batch
from moiety import InvalidUsageError, Mode, event_id_of, usage_batches
from moiety import attribution as sdk
from moiety.attribution import ScoreKind, ScoreOrder, ScoreRule, score_batches, shares_table
from moiety.batches import SCORE_SCHEMA
from tests.support.batches import stream
from tests.support.scores import shares_in

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
USED: Final = {"occurred_at": NOON, "units": 3, "mode": Mode.HUMAN_AI}
RULES: Final = [
    ScoreRule(kind, order, coverage) for kind in ScoreKind for order in ScoreOrder for coverage in (NANO, 123_456_789)
]

Matrix = npt.NDArray[Any]


@dataclass
class Compressed:
    """A sparse matrix as scipy keeps one; scipy itself is held against it where it is installed."""

    format: str
    shape: tuple[int, int]
    data: Matrix
    indices: Matrix
    indptr: Matrix


def compressed(matrix: Matrix, layout: str) -> Compressed:
    """A dense matrix in CSC or CSR form, with each column's or row's entries in descending order, and a zero kept."""
    major = matrix.T if layout == "csc" else matrix
    present = [[place for place in reversed(range(len(line))) if line[place] or place == 1] for line in major]
    return Compressed(
        layout,
        (matrix.shape[0], matrix.shape[1]),
        np.array([line[place] for line, places in zip(major, present, strict=True) for place in places]),
        np.array([place for places in present for place in places], dtype=np.int32),
        np.cumsum([0, *map(len, present)], dtype=np.int32),
    )


def a_matrix(items: int, works: int, seed: int = 1, missing: float = 0.3) -> Matrix:
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((items, works)) * 10.0 ** random.integers(-6, 6, (items, works))
    matrix[random.random((items, works)) < missing] = 0.0
    return matrix


def named(matrix: Any, **changes: Any) -> dict[str, Any]:
    items, works = matrix.shape
    return {
        "items": [f"item-{(7 * number) % 1000:03}" for number in range(items)],
        "works": [f"work-{number}" for number in range(works)],
        **USED,
        **changes,
    }


def members(items: int, collectives: int = 5) -> dict[str, str]:
    """Most items have a collective, some have none, and one that is not in the matrix has one."""
    names = named(np.empty((items, 0)))["items"]
    return {"absent": "x", **{item: f"c{place % collectives}" for place, item in enumerate(names) if place % 4}}


def rows(batches: Any) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def refusal(matrix: Any, **changes: Any) -> tuple[str, int | None, str]:
    with pytest.raises(InvalidUsageError) as caught:
        list(score_batches(matrix, **named(matrix, **changes)))
    return caught.value.field, caught.value.position, caught.value.reason


# Worked examples.


def test_citation_counts_become_shares() -> None:
    """Three works and what they cite: counts by source, sources by collective, one tenth of each work unexplained."""
    citations = np.array([[4, 0, 1], [2, 0, 0], [2, 0, 2], [0, 0, 3]])
    table = shares_table(
        citations,
        {"bothy-band": "irish", "planxty": "irish", "silly-wizard": "scottish"},
        ScoreRule(ScoreKind.COUNT, coverage_nano=900_000_000),
        items=["bothy-band", "planxty", "silly-wizard", "a-forum-post"],
        works=["w1", "w2", "w3"],
        occurred_at=NOON,
        units=1,
        mode=Mode.AI_ONLY,
    )
    assert table.column("collectives").to_pylist() == [["irish", "scottish"], [], ["irish", "scottish"]]
    assert table.column("shares").to_pylist() == [[675_000_000, 225_000_000], [], [150_000_000, 300_000_000]]


def the_example() -> ModuleType:
    path = Path(__file__).parents[3] / "docs" / "examples" / "influence.py"
    spec = importlib.util.spec_from_file_location("influence_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_influence_goes_to_the_right_collective_and_more_of_it_when_summed_before_it_is_clipped() -> None:
    """The example of docs/examples/influence.py on clouds of points instead of digits."""
    example = the_example()
    random = np.random.default_rng(3)
    centres = random.standard_normal((4, 12))
    labels = np.arange(240) % 4
    features = np.hstack([centres[labels] + 1.5 * random.standard_normal((240, 12)), np.ones((240, 1))])
    items, works = slice(0, 200), slice(200, 240)
    matrix = example.influences(features[items], labels[items], features[works], labels[works])
    assert matrix.shape == (200, 40)
    assert 0.25 < np.mean(matrix < 0) < 0.75
    own = {
        order: example.part_to_own_label(example.shares_by_label(matrix, labels[items], order), labels[works])
        for order in ScoreOrder
    }
    assert own[ScoreOrder.SUM_THEN_CLIP] > own[ScoreOrder.CLIP_THEN_SUM] + 0.1 > 0.5


def test_an_influence_is_how_much_a_weight_on_the_item_lowers_the_loss_of_the_work() -> None:
    """The example's formula against training again without an item."""
    example = the_example()
    random = np.random.default_rng(5)
    labels = np.arange(90) % 3
    features = random.standard_normal((90, 4)) + labels[:, None]
    work, label = random.standard_normal((1, 4)) + 1, np.array([1])
    matrix = example.influences(features, labels, work, label)

    def loss(kept: Matrix) -> float:
        return float(-np.log(example.probabilities(example.fit(features[kept], labels[kept]), work)[0, 1]))

    everything = np.ones(90, dtype=np.bool_)
    without = [loss(np.arange(90) != item) - loss(everything) for item in range(90)]
    assert np.corrcoef(without, matrix[:, 0])[0, 1] > 0.99


# One rule on both sides.


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind}-{rule.order}-{rule.coverage_nano}")
def test_the_shares_are_those_that_the_service_makes_of_the_scores(rule: ScoreRule) -> None:
    matrix = a_matrix(60, 50)
    matrix[:, 3] = -np.abs(matrix[:, 3])
    matrix[:, 4] = 0.0
    matrix[:, 5] *= 1e-310
    matrix[:, 6] *= 1e300
    matrix[:7, 7] = [5e-324, -5e-324, 1e-320, 2.0**-1022, 0.0, -0.0, 1.7e308]
    if rule.kind is not ScoreKind.SIGNED_INFLUENCE:
        matrix = np.abs(matrix)
    if rule.kind is ScoreKind.SHARE:
        matrix = matrix / np.maximum(matrix.max(axis=0), 1e-300) / len(matrix)
        matrix[:, 8] /= matrix[:, 8].sum() * (1 - 0.9e-6)  # a little more than a whole
    batches = score_batches(matrix, **named(matrix), events_per_batch=13)
    same = methods.ScoreRule(methods.ScoreKind(rule.kind), methods.ScoreOrder(rule.order), rule.coverage_nano)
    if rule.kind is ScoreKind.SHARE:
        same = replace(same, tolerance_nano=rule.tolerance_nano)
    by_service = [
        shares
        for batch in batches
        for shares in shares_in(shares_of(parse_score_batch(stream(batch)), same, members(60)))
    ]
    table = shares_table(matrix, members(60), rule, **named(matrix))
    by_platform = [shares for body in usage_batches(table) for shares in shares_in(parse_batch(body))]
    assert by_platform == by_service
    assert sum(map(len, by_platform)) > 100


def test_the_terms_of_a_rule_are_the_service_s_own() -> None:
    assert [*ScoreKind] == [*methods.ScoreKind]
    assert [*ScoreOrder] == [*methods.ScoreOrder]
    assert {field.name: field.type for field in SCORE_SCHEMA} == SCORE_TYPES
    assert sdk.SOURCES_PER_BATCH == rules.MAX_SOURCES


# Any form of the same matrix.


@pytest.mark.parametrize("layout", ["csc", "csr"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
def test_a_sparse_matrix_gives_what_the_dense_one_gives(layout: str, dtype: str) -> None:
    matrix = np.abs(a_matrix(40, 30)).clip(0, 250).astype(dtype)
    sparse = compressed(matrix, layout)
    assert len(sparse.data) > np.count_nonzero(matrix)
    dense = [stream(batch) for batch in score_batches(matrix, **named(matrix), events_per_batch=7)]
    assert [stream(batch) for batch in score_batches(sparse, **named(matrix), events_per_batch=7)] == dense
    rule = ScoreRule(ScoreKind.SIMILARITY)
    by_dense = shares_table(matrix, members(40), rule, **named(matrix))
    assert shares_table(sparse, members(40), rule, **named(matrix)).equals(by_dense)


def test_scipy_s_matrices_give_what_the_dense_one_gives() -> None:
    scipy_sparse = importlib.import_module("scipy.sparse")
    matrix = a_matrix(40, 30)
    dense = rows(score_batches(matrix, **named(matrix)))
    for make in ("csc_array", "csr_array", "csc_matrix", "csr_matrix"):
        assert rows(score_batches(getattr(scipy_sparse, make)(matrix), **named(matrix))) == dense
    for form in ("bsr", "coo", "dia", "dok", "lil"):
        with pytest.raises(ValueError, match=f"must be in CSC or CSR form, got {form.upper()}"):
            score_batches(getattr(scipy_sparse, f"{form}_array")(matrix), **named(matrix))


def test_any_memory_layout_and_any_way_of_cutting_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = a_matrix(40, 30)
    expected = [stream(batch) for batch in score_batches(matrix, **named(matrix), events_per_batch=7)]
    wide = np.zeros((80, 60))
    wide[::2, ::2] = matrix
    for cells in (1, 100, 1000):
        monkeypatch.setattr("moiety.matrices._CELLS_AT_ONCE", cells)
        for same in (matrix, np.asfortranarray(matrix), wide[::2, ::2], matrix.astype(">f8")):
            assert [stream(batch) for batch in score_batches(same, **named(matrix), events_per_batch=7)] == expected
    names = named(matrix)
    works = names.pop("works")
    alone = [
        stream(batch)
        for start in range(0, 30, 7)
        for batch in score_batches(matrix[:, start : start + 7], works=works[start : start + 7], **names)
    ]
    assert alone == expected


def test_a_batch_ends_before_it_has_too_many_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.ones((10, 8))
    matrix[5:, 3] = 0.0
    monkeypatch.setattr(sdk, "SCORES_PER_BATCH", 25)
    assert [len(batch) for batch in score_batches(matrix, **named(matrix))] == [2, 3, 2, 1]
    assert [len(batch) for batch in score_batches(matrix[:, 3:5], **named(matrix[:, 3:5]))] == [2]
    assert refusal(np.ones((26, 2)))[:2] == ("scores", 0)
    assert len(shares_table(np.ones((26, 2)), members(26), ScoreRule(ScoreKind.COUNT), **named(np.ones((26, 2))))) == 2
    monkeypatch.setattr(sdk, "SOURCE_BYTES_PER_BATCH", 10)
    monkeypatch.setattr(sdk, "SCORES_PER_BATCH_OF_LONG_IDS", 10)
    assert [len(batch) for batch in score_batches(matrix, **named(matrix))] == [1] * 8


def test_a_matrix_without_works_or_items_has_no_scores() -> None:
    assert list(score_batches(np.empty((3, 0)), **named(np.empty((3, 0))))) == []
    (batch,) = score_batches(np.empty((0, 2)), **named(np.empty((0, 2))))
    assert batch.column("scores").to_pylist() == [[], []]
    nothing = Compressed("csr", (0, 2), np.array([]), np.array([], dtype=np.int32), np.array([0]))
    assert rows(score_batches(nothing, **named(nothing))) == batch.to_pylist()
    table = shares_table(np.empty((3, 0)), {}, ScoreRule(ScoreKind.COUNT), **named(np.empty((3, 0))))
    assert len(table) == 0


# The columns.


def test_a_batch_says_of_each_work_what_was_given() -> None:
    matrix = np.array([[1.0, 0.0], [0.0, 0.0], [-2.0, 3.0]])
    (batch,) = score_batches(matrix, **named(matrix, items=["z", "unused", "a"]))
    assert batch.schema.equals(SCORE_SCHEMA)
    assert batch.column("sources").values.dictionary.to_pylist() == ["a", "z"]
    same = {"occurred_at": NOON, "units": 3, "mode": 2}
    first, second = (event_id_of(f"{work}@1772366400000000").bytes for work in ("work-0", "work-1"))
    assert batch.to_pylist() == [
        {"event_id": first, "work_id": "work-0", **same, "sources": ["z", "a"], "scores": [1.0, -2.0]},
        {"event_id": second, "work_id": "work-1", **same, "sources": ["a"], "scores": [3.0]},
    ]
    assert len(parse_score_batch(stream(batch))) == 2


def test_times_units_modes_and_ids_may_be_given_for_each_work() -> None:
    times = [NOON, NOON + timedelta(hours=1)]
    ids = [UUID(int=1), UUID(int=2)]
    matrix = np.ones((1, 2))
    each = {"works": [None, "w"], "occurred_at": times, "units": [1, 2], "mode": [Mode.AI_ONLY, Mode.HUMAN_AI]}
    for event_ids in (ids, [i.bytes for i in ids], [str(i) for i in ids], pa.array([i.bytes for i in ids])):
        found = rows(score_batches(matrix, **named(matrix, **each, event_ids=event_ids)))
        assert [row["event_id"] for row in found] == [identity.bytes for identity in ids]
        assert [row["work_id"] for row in found] == [None, "w"]
        assert [row["occurred_at"] for row in found] == times
        assert [row["units"] for row in found] == [1, 2]
        assert [row["mode"] for row in found] == [1, 2]
    arrow = {
        "occurred_at": pa.array(times),
        "units": pa.array([1, 2], pa.int8()),
        "mode": pa.array(["AI_ONLY", "HUMAN_AI"]),
    }
    assert [row["mode"] for row in rows(score_batches(matrix, **named(matrix, **arrow)))] == [1, 2]
    table = shares_table(matrix, {}, ScoreRule(ScoreKind.COUNT), **named(matrix, **each, event_ids=ids))
    assert table.column("units").to_pylist() == [1, 2]


def test_what_does_not_fit_is_named_with_its_position() -> None:
    matrix = np.ones((2, 3))
    assert refusal(matrix, items=["a", "a"]) == ("items", 1, "is repeated")
    assert refusal(matrix, items=["a", None])[:2] == ("items", 1)
    twice = refusal(matrix, works=["a", "b", "a"])
    assert twice == ("event_id", 2, "is repeated; set event_ids to count both as used")
    assert refusal(matrix, works=["a", None, "b"])[:2] == ("id", 1)
    assert refusal(matrix, occurred_at=datetime(2026, 1, 1)) == (  # noqa: DTZ001 - that is the point
        "occurred_at", None, "has no time zone; make it a timestamp in UTC, for example",
    )  # fmt: skip
    assert refusal(matrix, units=[1, 2]) == ("units", None, "must be one, or one for each of 3 works; are 2")
    assert refusal(matrix, units=[1, 2, 2**70])[0] == "units"
    assert refusal(matrix, mode="BOTH")[:2] == ("mode", 0)
    assert refusal(matrix, event_ids=[b"x"] * 3)[:2] == ("event_id", 0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_named_with_its_position(wrong: float) -> None:
    matrix = a_matrix(20, 30)
    matrix[4, 17] = wrong
    for form in (matrix, compressed(matrix, "csc"), compressed(matrix, "csr")):
        with pytest.raises(InvalidUsageError, match=r"events\[17\].scores: must be finite"):
            list(score_batches(form, **named(matrix), events_per_batch=4))
        with pytest.raises(InvalidUsageError, match=r"events\[17\].scores: must be finite"):
            shares_table(form, {}, ScoreRule(ScoreKind.SIGNED_INFLUENCE), **named(matrix))


def test_scores_that_the_kind_does_not_allow_are_named_with_their_position() -> None:
    matrix = np.full((3, 5), 0.25)
    matrix[1, 3] = -1.0
    for kind in (ScoreKind.COUNT, ScoreKind.SIMILARITY, ScoreKind.SHARE):
        with pytest.raises(InvalidUsageError, match=rf"events\[3\].scores: must not be negative .* {kind}"):
            shares_table(matrix, {}, ScoreRule(kind), **named(matrix))
    for too_much in (0.500002, 1.7e308):
        matrix[1, 3] = too_much
        with pytest.raises(InvalidUsageError, match=r"events\[3\].scores: must sum to at most 1 and a tolerance"):
            shares_table(matrix, {}, ScoreRule(ScoreKind.SHARE), **named(matrix))
    matrix[1, 3] = 0.500001
    with pytest.raises(InvalidUsageError, match=r"events\[3\].scores: must sum to at most 1 if"):
        shares_table(matrix, {}, ScoreRule(ScoreKind.SHARE, tolerance_nano=0), **named(matrix))


def test_a_sparse_matrix_that_holds_an_item_twice_is_refused() -> None:
    twice = Compressed("csc", (3, 2), np.ones(4), np.array([0, 2, 1, 1]), np.array([0, 2, 4]))
    assert refusal(twice) == ("scores", 1, "contain an item twice")


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (np.ones((2, 2)), "must be 2 items by 3 works"),
        (np.ones(6), "must be 2 items by 3 works"),
        (np.ones((2, 3), dtype=np.complex128), "real numbers"),
        (np.ones((2, 3), dtype=object), "real numbers"),
        (Compressed("coo", (2, 3), np.ones(1), np.zeros(1), np.zeros(4)), "CSC or CSR"),
    ],
    ids=["shape", "one dimension", "complex", "objects", "coo"],
)
def test_what_is_no_matrix_of_real_numbers_is_refused(matrix: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        score_batches(matrix, **named(np.ones((2, 3))))


@pytest.mark.parametrize("events_per_batch", [0, 65_537])
def test_a_batch_size_out_of_range_is_refused(events_per_batch: int) -> None:
    matrix = np.ones((1, 1))
    with pytest.raises(ValueError, match="events_per_batch"):
        score_batches(matrix, **named(matrix), events_per_batch=events_per_batch)


@pytest.mark.parametrize("tolerance_nano", [-1, 10**7 + 1])
def test_a_tolerance_out_of_range_is_refused(tolerance_nano: int) -> None:
    with pytest.raises(ValueError, match="tolerance_nano"):
        ScoreRule(ScoreKind.SHARE, tolerance_nano=tolerance_nano)


@pytest.mark.parametrize("coverage_nano", [0, NANO + 1])
def test_a_coverage_out_of_range_is_refused(coverage_nano: int) -> None:
    with pytest.raises(ValueError, match="coverage_nano"):
        ScoreRule(ScoreKind.COUNT, coverage_nano=coverage_nano)


class Tensor:
    """What torch and others have: it is no numpy array, and gives one."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __array__(self) -> Any:
        if self._array is None:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return self._array


def test_whatever_gives_an_array_is_a_matrix() -> None:
    array = np.array([[0.5, 0.0], [0.25, 1.0]])
    rest: dict[str, Any] = {
        "items": ["a", "b"],
        "works": ["x", "y"],
        "occurred_at": datetime(2026, 3, 1, tzinfo=UTC),
        "units": 1,
        "mode": Mode.AI_ONLY,
    }
    (expected,) = score_batches(array, **rest)
    for matrix in (Tensor(array), pd.DataFrame(array), pl.DataFrame(array)):
        assert list(score_batches(matrix, **rest)) == [expected]  # type: ignore[arg-type]  # has no type in common
    with pytest.raises(ValueError, match=r"gives no numpy array: can't convert cuda"):
        list(score_batches(Tensor(None), **rest))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got list; numpy\.array\(\.\.\.\) makes it"):
        list(score_batches([[0.5, 0.0], [0.25, 1.0]], **rest))  # type: ignore[arg-type]
