"""Memory of the process: freed memory is kept for later use, and lasting objects are not searched for garbage."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

KEPT_BYTES: Final = 64 * 2**20
"""Kept at the end of each heap: the arrays of a few batches."""

MAPPED_FROM_BYTES: Final = 32 * 2**20
"""Larger pieces come from the kernel and go back to it at once; the most that glibc allows."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, all of it in one heap; elsewhere this does nothing.

    A batch is processed in arrays of a megabyte. By default each goes back to the kernel when it is freed, and the
    kernel clears the pages of the next one: half of the time that parsing and weighing take. Each thread has a heap of
    its own by default, and Arrow another, so that what one frees no other can use. Source: mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_M_ARENA_MAX, 1)
    import pyarrow as pa  # noqa: PLC0415  # most commands have no use for it

    pa.set_memory_pool(pa.system_memory_pool())


YOUNG_OBJECTS: Final = 200_000
"""Objects made, and not freed, between searches for cycles, each of which takes up to 0.1 s. A small call makes a few
thousand, and no cycle of any size; a replay has twenty for each collective, and frees them at its end. Modules and logs
are hundreds of thousands that stay."""


def collect_less_often() -> None:
    """Exclude existing objects from garbage collection for good; call it once a server has all it needs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
