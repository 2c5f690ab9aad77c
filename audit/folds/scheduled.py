"""Whether a round that was cut by schedule answers one: the schedule that the pool's log has then, at times to come.

A round by `scheduler` needs no second person, since two set the schedule. So it counts only where there is one. Which
times a cron expression means is not computed: that takes the rules of time zones, which change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.findings import at
from audit.steps import Step
from ledger.log.leaves import Leaf
from payout.entries import PauseContent, RoundContent, ScheduleContent


@dataclass(slots=True)
class Scheduled:
    """The schedule so far, and what rounds answered of it."""

    times: tuple[str, str] | None = None
    """The cron expression and its time zone."""
    paused: bool = False
    answered: datetime | None = None
    """Fire times count after this: when these times were set, or the last one that a round answered."""

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Take in the next leaf.

        Raises:
            FoundError: it is a round by schedule, and there is none that it answers.
        """
        match leaf.content:
            case ScheduleContent(cron=cron, time_zone=zone, paused=paused):
                if self.times != (cron, zone):
                    self.times, self.answered = (cron, zone), max(self.answered or leaf.time, leaf.time)
                self.paused = paused
            case PauseContent():
                self.paused = True
            case RoundContent(by=by, fire_times=fire_times):
                if fire_times is None:
                    return
                here = at(leaf.index, step=Step.DECISIONS)
                here.holds(self.times is not None and not self.paused, "by", by, "a schedule that is not paused")
                first, last = fire_times.moments()
                after = f"after {self.answered}"
                here.holds(self.answered is None or first > self.answered, "fire_times.first", first, after)
                self.answered = last
