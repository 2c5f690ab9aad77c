"""Finds duplicate values."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]

MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""Odd; times this, all bits of a number decide on the highest ones of the product."""

_SLOTS_EACH: Final = 8
"""At least, for each of a quarter of a million keys or fewer: one in ten is then doubtful."""

_SLOT_BITS_MAX: Final = 21
"""8 MB of slots. For a million keys a larger table takes longer, as caches have no room for it, and more memory."""


def repeated(keys: UInt64Array) -> UInt64Array:
    """The keys, ascending and each once, that are among (n,) more than once."""
    # To sort all of them takes as long with some processors' instructions for it, and five times as long with others'.
    ordered = np.sort(_doubtful(keys))
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.unique(again) if len(again) else again


def _doubtful(keys: UInt64Array) -> UInt64Array:
    """Returns the keys, as often as they occur, that share a slot of a table with another one, as equal ones do."""
    bits = min((_SLOTS_EACH * len(keys)).bit_length(), _SLOT_BITS_MAX)
    slots = ((keys * MIX) >> np.uint64(64 - bits)).view(np.int64)
    places = np.arange(len(keys), dtype=np.int32)
    table = np.empty(1 << bits, dtype=np.int32)
    table[slots] = places
    found = table.take(slots)  # no other slot is read: the others hold anything
    is_doubtful = found != places
    is_doubtful[found[np.flatnonzero(is_doubtful)]] = True
    return keys[np.flatnonzero(is_doubtful)]
