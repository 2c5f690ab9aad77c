"""Matrices of attribution scores, items by works, read a few works at a time whatever their form.

Neither numpy nor scipy is imported: a matrix brings what is needed of it. Zeros are left out, so that a dense and a
sparse matrix of the same scores read the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from moiety.errors import InvalidUsageError

_CELLS_AT_ONCE: Final = 4_000_000
"""Cells of a dense matrix that are copied at a time."""


class DenseMatrix(Protocol):
    """A numpy array of real numbers, items by works."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any: ...


class SparseMatrix(Protocol):
    """A sparse matrix or array of scipy, items by works, of the `format` "csc" or "csr"."""

    @property
    def shape(self) -> Any: ...
    @property
    def format(self) -> str: ...
    @property
    def data(self) -> Any: ...
    @property
    def indices(self) -> Any: ...
    @property
    def indptr(self) -> Any: ...


Matrix = DenseMatrix | SparseMatrix


class Entries(Protocol):
    """The scores of a matrix that are not zero, by work and then by item."""

    counts: list[int]
    """How many each work has."""

    def read(self, start: int, end: int) -> tuple[pa.Array, pa.Array]:
        """Return the rows and the scores of the works in [start, end)."""


def entries_of(matrix: Any, items: int, works: int) -> Entries:
    """Return the scores of a matrix.

    Raises:
        ValueError: it is not of real numbers, items by works, or sparse in another form than CSC or CSR.
        InvalidUsageError: a work holds an item twice.
    """
    sparse = hasattr(matrix, "format")
    if not sparse:
        matrix = _array_of(matrix)
    # The others may hold a cell in parts, whose sum would be one of floating-point numbers.
    if sparse and matrix.format not in ("csc", "csr"):
        raise ValueError(f"a sparse matrix must be in CSC or CSR form, got {matrix.format.upper()}")
    if tuple(matrix.shape) != (items, works):
        raise ValueError(f"the matrix must be {items} items by {works} works, got {tuple(matrix.shape)}")
    dtype = matrix.data.dtype if sparse else matrix.dtype
    if getattr(dtype, "kind", "") not in set("biuf") or dtype.itemsize > 8:  # noqa: PLR2004 - a float64
        raise ValueError(f"the scores must be real numbers of at most 64 bits, got {dtype}")
    return _Sparse(matrix) if sparse else _Dense(matrix)


def _array_of(matrix: Any) -> Any:
    """The numpy array that a matrix is or gives: of torch, JAX, pandas, polars and others."""
    if not hasattr(matrix, "__array__"):
        raise ValueError(
            f"the matrix must be an array or a sparse matrix, got {type(matrix).__name__}; numpy.array(...) makes it of"
            " lists, and moiety.Client.submit_usage takes scores in a table"
        )
    try:
        return matrix.__array__()
    except (TypeError, RuntimeError, ValueError) as error:  # on a GPU, or of a type that numpy lacks
        raise ValueError(f"the matrix gives no numpy array: {error}") from None


def cuts(counts: list[int], events_max: int, scores_max: int) -> Iterator[tuple[int, int]]:
    """Return the works in runs of at most so many events and scores; one work with more scores is a run by itself."""
    start = scores = 0
    for work, count in enumerate(counts):
        if work > start and (work - start == events_max or scores + count > scores_max):
            yield start, work
            start, scores = work, 0
        scores += count
    if counts:
        yield start, len(counts)


def require_finite(scores: pa.Array, offsets: list[int], first_position: int) -> None:
    """Refuse scores that are not finite, with the position of the first one's event."""
    at = pc.index(pc.is_finite(scores), False).as_py()
    if at >= 0:
        raise InvalidUsageError("scores", first_position + bisect_right(offsets, at) - 1, "must be finite")


class _Dense:
    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix
        self._step = max(1, _CELLS_AT_ONCE // max(1, matrix.shape[0]))
        self.counts: list[int] = []
        for start in range(0, matrix.shape[1], self._step):
            self.counts += (matrix[:, start : start + self._step] != 0).sum(axis=0).tolist()

    def read(self, start: int, end: int) -> tuple[pa.Array, pa.Array]:
        rows, scores = [pa.array([], pa.int32())], [pa.array([], pa.float64())]
        for first in range(start, end, self._step):
            block = self._matrix[:, first : min(end, first + self._step)].T
            present = block != 0
            rows.append(pa.array(present.nonzero()[1].astype("int32")))
            scores.append(pa.array(block[present].astype("float64")))
        return pa.concat_arrays(rows), pa.concat_arrays(scores)


class _Sparse:
    def __init__(self, matrix: Any) -> None:
        scores = pa.array(matrix.data.astype("float64"))
        minor = pa.array(matrix.indices.astype("int32"))
        offsets = pa.array(matrix.indptr.astype("int64"))
        major = pc.list_parent_indices(pa.LargeListArray.from_arrays(offsets, minor)).cast(pa.int32())
        works, rows = (major, minor) if matrix.format == "csc" else (minor, major)
        # Arrow's sort is stable: sorting by item and then by work leaves the items of a work in order.
        order = pc.indices_nonzero(pc.not_equal(scores, 0.0))
        order = order.take(pc.array_sort_indices(rows.take(order)))
        order = order.take(pc.array_sort_indices(works.take(order)))
        works, self._rows, self._scores = works.take(order), rows.take(order), scores.take(order)
        repeated = pc.and_(pc.equal(works[1:], works[:-1]), pc.equal(self._rows[1:], self._rows[:-1]))
        at = pc.index(repeated, True).as_py()
        if at >= 0:
            raise InvalidUsageError("scores", works[at].as_py(), "contain an item twice")
        counted = dict(zip(*(column.to_pylist() for column in pc.value_counts(works).flatten()), strict=True))
        self.counts: list[int] = [counted.get(work, 0) for work in range(matrix.shape[1])]
        self._ends = [0, *accumulate(self.counts)]

    def read(self, start: int, end: int) -> tuple[pa.Array, pa.Array]:
        first, last = self._ends[start], self._ends[end]
        return self._rows.slice(first, last - first), self._scores.slice(first, last - first)
