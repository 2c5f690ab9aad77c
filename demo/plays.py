"""How the generated works are used: three months of plays on two platforms, drawn by seed.

A usage event says that a work was played so often on one occasion that a platform reports as one: in a playlist, a
film, a day's streams. How often is heavy-tailed, as plays are: half of the events are of one play, and one in n is of
n plays or more. These draws are of integers alone, so no machine rounds them otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demo.works import Work
from moiety import Mode

TIME_ZONE: Final = "Europe/Lisbon"
PLAYS_MAX: Final = 2_000
"""Plays in one event at most: one event in so many has them, and no single one outweighs a month."""

HUMAN_EVERY: Final = 5
"""A person refined one work in so many."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of usage: from its start, or the pool's opening, to the next month's start.

    Attributes:
        days_late: how many days into the next month the second platform pays.
    """

    name: str
    start: datetime
    end: datetime
    events_per_work: int
    days_late: int = 0

    @property
    def period(self) -> str:
        """What the pool calls it."""
        return f"{self.start:%Y-%m}"

    @property
    def unpaid_mornings(self) -> list[datetime]:
        """When the schedule looks for the month's round and money is missing: at six in the morning, local time."""
        return [(self.end + timedelta(days=day)).replace(hour=6) for day in range(self.days_late)]

    @property
    def paid_at(self) -> datetime:
        """When all of its money is there."""
        return self.end + timedelta(days=self.days_late)

    @property
    def closes_at(self) -> datetime:
        """The first morning on which the schedule finds all of its money."""
        return self.paid_at.replace(hour=6)


def _in_lisbon(month: int, hour: int = 0) -> datetime:
    return datetime(2026, month, 1, hour, tzinfo=ZoneInfo(TIME_ZONE))


# The service opens after the first of January's own fire time, which would otherwise cut a round of nothing.
MONTHS: Final = (
    Month("January", _in_lisbon(1, 9), _in_lisbon(2), events_per_work=3),
    Month("February", _in_lisbon(2), _in_lisbon(3), events_per_work=4, days_late=2),
    Month("March", _in_lisbon(3), _in_lisbon(4), events_per_work=5),
)


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that sells plays of the works it generated. `price_minor` is what it pays into the pool per play."""

    id: str
    name: str
    price_minor: int
    works: Sequence[Work]


def platforms_of(works: Sequence[Work]) -> tuple[Platform, Platform]:
    """Two platforms on the same model: four fifths of the works come from the first, the others from the second."""
    border = len(works) * 4 // 5
    return (
        Platform("tunesmith", "Tunesmith", 15, works[:border]),
        Platform("melodia", "Melodia", 18, works[border:]),
    )


def mode_of(work: Work) -> Mode:
    """Return how a work came about. The digest in its id decides, so that it is the same on every run."""
    digest = int(work.work_id.rpartition(":")[2], 16)
    return Mode.HUMAN_AI if digest % HUMAN_EVERY == 0 else Mode.AI_ONLY


def usage_table(platform: Platform, month: Month, seed: int) -> pa.Table:
    """Return a platform's usage of a month as a table that `moiety.Client.submit_usage` takes, in order of time.

    Event ids are the platform's own texts, in the column `id`.
    """
    rng = np.random.default_rng([seed, month.end.month, *platform.id.encode()])
    events = len(platform.works) * month.events_per_work
    works = rng.integers(len(platform.works), size=events)
    plays = PLAYS_MAX // (1 + rng.integers(PLAYS_MAX, size=events))
    milliseconds = np.sort(rng.integers((month.end - month.start) // timedelta(milliseconds=1), size=events))
    moments = 1_000 * milliseconds + round(month.start.timestamp()) * 1_000_000
    used = _works_table(platform.works).take(pa.array(works))
    return (
        used.append_column("id", [[f"{platform.id}/{month.name.lower()}/{number}" for number in range(events)]])
        .append_column("occurred_at", pa.array(moments).cast(pa.timestamp("us", tz="UTC")))
        .append_column("units", pa.array(plays))
    )


def count_plays(table: pa.Table) -> int:
    """Return the plays in a usage table."""
    return int(pc.sum(table["units"]).as_py())


def count_shares(table: pa.Table) -> int:
    """Return the shares in a usage table: one for each collective that an event names."""
    return int(pc.sum(pc.list_value_length(table["shares"])).as_py())


def most_played(tables: Sequence[pa.Table]) -> tuple[str, int]:
    """Return the id of the work with the most plays in all the tables, and these; of several the first by id."""
    used = pa.concat_tables([table.select(["work_id", "units"]) for table in tables])
    totals: Any = used.group_by("work_id").aggregate([("units", "sum")])
    first = totals.sort_by([("units_sum", "descending"), ("work_id", "ascending")]).slice(0, 1).to_pylist()[0]
    return first["work_id"], first["units_sum"]


def _works_table(works: Sequence[Work]) -> pa.Table:
    return pa.table(
        {
            "work_id": pa.array([work.work_id for work in works], pa.utf8()),
            "mode": pa.array([int(mode_of(work)) for work in works], pa.uint8()),
            "collectives": pa.array([[c for c, _ in work.shares] for work in works], pa.list_(pa.utf8())),
            "shares": pa.array([[share for _, share in work.shares] for work in works], pa.list_(pa.int32())),
        }
    )
