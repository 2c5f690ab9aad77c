"""What a check needs from the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from audit.batches.check import Weigh, weigh_by
from audit.batches.partitions import Spill
from audit.batches.sample import Sample
from ledger.work import Submit, at_once


@dataclass(frozen=True, slots=True)
class Means:
    """Space for records, and threads or a substitute.

    `submit` is how work is started; `weigh` and `ahead` are those of `UsageFold`; `begun_ahead` is how many batches may
    have been begun before the fold comes to them; `salt` is that of `UniqueEvents` and `Claims`.
    """

    new_spill: Callable[[], Spill]
    submit: Submit = at_once
    weigh: Weigh = field(default_factory=lambda: weigh_by(at_once))
    ahead: int = 0
    begun_ahead: int = 0
    salt: int = 0
    sample: Sample | None = None
    """Draws from the events that are weighed."""
