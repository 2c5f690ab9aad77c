"""Limits on usage: which times a pool accepts, and how much a platform may send.

They only refuse usage, so nothing that is recorded depends on them, and they are not in a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger.errors import InvalidInputError, QuotaError, StateError
from ledger.registry import require_range
from ledger.usage.batch import Int64Array
from ledger.usage.format import raise_violations, where

_DAY: Final = 86_400
_SECONDS_MAX: Final = 3_650_000 * _DAY
"""More than the time between 1970 and 9999, so no limit."""

COUNT_MAX: Final = 2**62

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many seconds a pool's events may be ahead of their acceptance, how many behind, and since when it is closed.

    The defaults allow for wrong clocks and time zones and for importing years of usage. They refuse times read in
    another unit: seconds taken for milliseconds are in 1970.
    """

    lead_seconds_max: int = _DAY
    age_seconds_max: int = 10 * 366 * _DAY
    closed_at: datetime | None = None

    def require_sound(self) -> PoolLimits:
        """Return the limits themselves.

        Raises:
            InvalidInputError: one is out of bounds; the error names it.
        """
        require_range(self.lead_seconds_max, "limits.lead_seconds_max", 0, _SECONDS_MAX)
        require_range(self.age_seconds_max, "limits.age_seconds_max", 0, _SECONDS_MAX)
        return self

    def require_open(self, pool: str) -> None:
        """Check that the pool takes usage.

        Raises:
            StateError: it was closed.
        """
        if self.closed_at is not None:
            detail = (
                f"takes no usage since {self.closed_at:%Y-%m-%d %H:%M} UTC; events that go to another pool instead are "
                "new there, so send only those that this pool has no receipt for"
            )
            raise StateError(f"pools/{pool}", "POOL_CLOSED", detail)

    def require_in_time(self, occurred_at: Int64Array, now: datetime) -> None:
        """Check when the events of a batch occurred: (n,) microseconds since 1970.

        Raises:
            InvalidInputError: some are too far ahead or behind; it has the first 100 by position.
        """
        at = round((now - _EPOCH) / _MICROSECOND)
        ahead = occurred_at > at + self.lead_seconds_max * 1_000_000
        behind = occurred_at < at - self.age_seconds_max * 1_000_000
        if not (ahead.any() or behind.any()):
            return
        shown = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        reason = "must be at most {:,} seconds {} now, {}; is it in another unit, such as seconds for milliseconds?"
        raise_violations(
            [
                *where(ahead, "occurred_at", reason.format(self.lead_seconds_max, "after", shown)),
                *where(behind, "occurred_at", reason.format(self.age_seconds_max, "before", shown)),
            ]
        )


@dataclass(frozen=True, slots=True)
class DayOfUsage:
    """What a platform has sent in a day (UTC), in all pools: events and bytes of the recorded batches."""

    events: int = 0
    batch_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlatformLimits:
    """How much a platform may send: events and bytes of batches in a day (UTC), and open streams. None is no limit."""

    events_per_day: int | None = None
    bytes_per_day: int | None = None
    open_streams: int | None = None

    @property
    def is_counted(self) -> bool:
        """Whether recorded usage has to be counted."""
        return self.events_per_day is not None or self.bytes_per_day is not None

    def require_sound(self) -> PlatformLimits:
        """Return the limits themselves.

        Raises:
            InvalidInputError: one is out of bounds; the error names it.
        """
        for name in ("events_per_day", "bytes_per_day", "open_streams"):
            value = getattr(self, name)
            require_range(0 if value is None else value, f"limits.{name}", 0, COUNT_MAX)
        return self

    def require_room(self, platform: str, batch: DayOfUsage, today: DayOfUsage, now: datetime) -> None:
        """Check that a batch fits in what the platform may still send today.

        Raises:
            QuotaError: it does not fit today; the error says how long until the next day.
            InvalidInputError: it is larger than a whole day's quota.
        """
        for name, most, size, used in (
            ("events_per_day", self.events_per_day, batch.events, today.events),
            ("bytes_per_day", self.bytes_per_day, batch.batch_bytes, today.batch_bytes),
        ):
            if most is None or used + size <= most:
                continue
            if size > most:
                reason = f"has {size:,}, more than platforms/{platform} may send in a whole day ({name} {most:,})"
                raise InvalidInputError.of("arrow_stream", reason)
            raise QuotaError(f"platforms/{platform}", name, most, _until_tomorrow(now))


def _until_tomorrow(now: datetime) -> int:
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((today + timedelta(days=1) - now).total_seconds()) + 1
