"""Schedules by example: crontab(5), time zones that change their clocks, and fire times that nobody answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ledger.errors import InvalidInputError
from ledger.store.logs.log import PoolRef
from payout.schedule import DueFireTimes, due_fire_times, next_fire_time, require_cron
from payout.store.schedules import PoolSchedule


def utc(text: str) -> datetime:
    """A moment such as "2026-03-08 07:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(cron: str, set_at: str, time_zone: str = "UTC", *, answered_until: str | None = None) -> PoolSchedule:
    answered = None if answered_until is None else utc(answered_until)
    return PoolSchedule(PoolRef(1, "folk", "EUR"), cron, time_zone, False, 0, utc(set_at), answered, open_round=False)


def fires(cron: str, after: str, count: int, time_zone: str = "UTC") -> list[str]:
    """The next fire times, in UTC, each answered before the next is asked for."""
    found: list[str] = []
    for _ in range(count):
        moment = next_fire_time(schedule(cron, after, time_zone, answered_until=found[-1] if found else None))
        assert moment.tzinfo is UTC
        found.append(f"{moment:%Y-%m-%d %H:%M}")
    return found


def due(answering: PoolSchedule, now: str) -> tuple[str, str, int] | None:
    found = due_fire_times(answering, utc(now))
    if found is None:
        return None
    return f"{found.first.astimezone(UTC):%m-%d %H:%M}", f"{found.last.astimezone(UTC):%m-%d %H:%M}", found.count


# crontab(5). 2026-01-01 is a Thursday.


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 6 1 * *", ["2026-01-01 06:00", "2026-02-01 06:00", "2026-03-01 06:00"]),
        ("*/20 * * * *", ["2026-01-01 00:20", "2026-01-01 00:40", "2026-01-01 01:00"]),
        ("5,10-11 3 * * *", ["2026-01-01 03:05", "2026-01-01 03:10", "2026-01-01 03:11"]),
        ("0 0 * * 0", ["2026-01-04 00:00", "2026-01-11 00:00", "2026-01-18 00:00"]),
        ("0 0 * * 7", ["2026-01-04 00:00", "2026-01-11 00:00", "2026-01-18 00:00"]),
        ("0 0 * * SUN", ["2026-01-04 00:00", "2026-01-11 00:00", "2026-01-18 00:00"]),
        ("0 0 * * 5-7", ["2026-01-02 00:00", "2026-01-03 00:00", "2026-01-04 00:00"]),
        ("0 0 * * 1,4", ["2026-01-05 00:00", "2026-01-08 00:00", "2026-01-12 00:00"]),
        # Where day of month and day of week are both given, either will do.
        ("0 0 13 * 5", ["2026-01-02 00:00", "2026-01-09 00:00", "2026-01-13 00:00"]),
        ("0 0 31 * *", ["2026-01-31 00:00", "2026-03-31 00:00", "2026-05-31 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("59 23 31 DEC *", ["2026-12-31 23:59", "2027-12-31 23:59", "2028-12-31 23:59"]),
    ],
)
def test_fire_times_are_those_of_crontab(cron: str, expected: list[str]) -> None:
    require_cron(cron, "UTC")
    assert fires(cron, "2026-01-01 00:00", 3) == expected


def test_a_fire_time_is_after_what_was_answered_and_not_at_it() -> None:
    assert fires("0 6 1 * *", "2026-01-01 06:00", 1) == ["2026-02-01 06:00"]
    assert fires("0 6 1 * *", "2026-01-01 05:59", 1) == ["2026-01-01 06:00"]


def test_an_expression_is_read_in_its_time_zone() -> None:
    assert fires("0 6 1 * *", "2026-01-15 00:00", 1, "Asia/Tokyo") == ["2026-01-31 21:00"]
    assert fires("0 6 * * *", "2026-07-01 00:00", 1, "Europe/Lisbon") == ["2026-07-01 05:00"]
    assert fires("0 6 * * *", "2026-01-01 00:00", 1, "Europe/Lisbon") == ["2026-01-01 06:00"]
    assert fires("0 0 1 * *", "2026-01-30 00:00", 1, "Asia/Kathmandu") == ["2026-01-31 18:15"]


# Lisbon's clocks go from 01:00 to 02:00 on 2026-03-29, at 01:00 UTC, and from 02:00 to 01:00 on 2026-10-25, at 01:00
# UTC. New York's go from 02:00 to 03:00 on 2026-03-08, at 07:00 UTC, and from 02:00 to 01:00 on 2026-11-01, at 06:00
# UTC.


def test_a_time_that_the_clocks_skip_comes_right_after_the_gap() -> None:
    assert fires("30 1 * * *", "2026-03-28 12:00", 2, "Europe/Lisbon") == ["2026-03-29 01:00", "2026-03-30 00:30"]
    assert fires("30 2 * * *", "2026-03-07 12:00", 2, "America/New_York") == ["2026-03-08 07:00", "2026-03-09 06:30"]


def test_a_time_that_the_clocks_repeat_comes_once() -> None:
    # 01:30 is 00:30 UTC, and again 01:30 UTC.
    assert fires("30 1 * * *", "2026-10-24 12:00", 2, "Europe/Lisbon") == ["2026-10-25 00:30", "2026-10-26 01:30"]
    # 01:30 is 05:30 UTC, and again 06:30 UTC.
    assert fires("30 1 * * *", "2026-10-31 12:00", 2, "America/New_York") == ["2026-11-01 05:30", "2026-11-02 06:30"]
    # Also where it is looked at between the two, or nobody looked for days.
    answered = schedule("30 1 * * *", "2026-10-01 00:00", "America/New_York", answered_until="2026-11-01 05:30")
    assert due(answered, "2026-11-01 06:30") is None
    assert due(answered, "2026-11-02 06:29") is None
    missed = schedule("30 1 * * *", "2026-10-30 12:00", "America/New_York")
    assert due(missed, "2026-11-03 00:00") == ("10-31 05:30", "11-02 06:30", 3)


def test_every_hour_means_every_hour_whatever_the_clocks_do() -> None:
    hours = ["2026-10-25 00:15", "2026-10-25 01:15", "2026-10-25 02:15"]
    assert fires("15 * * * *", "2026-10-24 23:30", 3, "Europe/Lisbon") == hours
    hours = ["2026-03-08 06:15", "2026-03-08 07:15", "2026-03-08 08:15"]
    assert fires("15 * * * *", "2026-03-08 05:30", 3, "America/New_York") == hours


# What is due.


def test_nothing_is_due_before_its_time() -> None:
    monthly = schedule("0 6 1 * *", "2026-01-15 00:00")
    assert due(monthly, "2026-02-01 05:59") is None
    assert due(monthly, "2026-02-01 06:00") == ("02-01 06:00", "02-01 06:00", 1)
    assert due(monthly, "2026-01-01 00:00") is None


def test_fire_times_that_were_missed_are_answered_together_and_once() -> None:
    monthly = schedule("0 6 1 * *", "2026-01-15 00:00")
    found = due_fire_times(monthly, utc("2026-05-20 00:00"))
    assert found == DueFireTimes(utc("2026-02-01 06:00"), utc("2026-05-01 06:00"), 4)
    answered = schedule("0 6 1 * *", "2026-01-15 00:00", answered_until="2026-05-01 06:00")
    assert due(answered, "2026-05-20 00:00") is None
    assert due(answered, "2026-06-01 06:00") == ("06-01 06:00", "06-01 06:00", 1)


def test_fire_times_count_from_when_the_schedule_was_set_again() -> None:
    answered_long_ago = schedule("0 6 1 * *", "2026-04-10 00:00", answered_until="2026-01-01 06:00")
    assert due(answered_long_ago, "2026-05-20 00:00") == ("05-01 06:00", "05-01 06:00", 1)


def test_an_unanswered_fire_time_is_next_though_it_is_past() -> None:
    assert next_fire_time(schedule("0 6 1 * *", "2020-01-15 00:00")) == utc("2020-02-01 06:00")


def test_a_moment_may_be_given_in_any_zone() -> None:
    monthly = schedule("0 6 1 * *", "2026-01-15 00:00", "Europe/Lisbon")
    for hours in (-11, 0, 14):
        now = utc("2026-02-01 06:00").astimezone(timezone(timedelta(hours=hours)))
        found = due_fire_times(monthly, now)
        assert found is not None
        assert found.count == 1


# What is refused.


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "@daily", "0 6 1 * *" + " " * 200, "60 * * * *", "* 24 * * *", "* * 0 * *",
     "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 8", "a * * * *", "*/0 * * * *", "5-1 * * * *", "1, * * * *",
     "-1 * * * *", "1.5 * * * *", "0 0 30 2 *", "0 0 31 2,4 *", "² * * * *", "٣ * * * *", "*/² * * * *", "\0 * * * *",
     "* * * * *; rm"],
)  # fmt: skip
def test_what_is_no_cron_expression_that_fires_is_refused(cron: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        require_cron(cron, "UTC")
    assert [violation.field for violation in refused.value.violations] == ["schedule.cron"]


@pytest.mark.parametrize("cron", ["* * * * *", "*/5 0-6 1,15 JAN-MAR MON-FRI", "0 0 L * *", "0 6 1 * *" + " " * 191])
def test_a_cron_expression_that_fires_is_taken(cron: str) -> None:
    require_cron(cron, "Europe/Lisbon")


@pytest.mark.parametrize(
    "time_zone",
    ["", "Lisbon", "Europe", "europe/lisbon ", "Europe/Lisboa", "../../etc/passwd", "/etc/passwd", "Europe/../UTC",
     "\0", "x" * 10_000, "zone.tab", "UTC+1", "+01:00", ".",
     "localtime", "posixrules", "right/Europe/Lisbon", "posix/Europe/Lisbon"],
)  # fmt: skip
def test_what_is_no_time_zone_is_refused(time_zone: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        require_cron("0 6 1 * *", time_zone)
    assert [violation.field for violation in refused.value.violations] == ["schedule.time_zone"]
    assert len(str(refused.value)) < 500
