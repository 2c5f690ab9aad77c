"""Finds duplicate values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]


def repeated(keys: UInt64Array) -> UInt64Array:
    """The keys, ascending and each once, that are among (n,) more than once. Numpy sorts 64-bit numbers by SIMD."""
    ordered = np.sort(keys)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.unique(again) if len(again) else again
