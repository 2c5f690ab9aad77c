"""How far an audit has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay, a verification or a check of the database has come.

    Attributes:
        leaves: Leaves read so far, of `leaf_total`.
        leaf_total: Leaves to read.
        events: Usage events recomputed so far.
        shares: Shares recomputed so far.
    """

    leaves: int
    leaf_total: int
    events: int = 0
    shares: int = 0
