"""How many events go into a batch."""

from __future__ import annotations

from typing import Final

EVENTS_PER_BATCH: Final = 10_000
"""Default events per batch: enough that a batch's fixed costs do not count, and a few hundred kilobytes."""

EVENTS_PER_BATCH_MAX: Final = 65_536
"""The most events that the service takes in a batch."""
