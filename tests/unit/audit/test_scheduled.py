"""A round by schedule answers a fire time of the schedule that the log has, and both verifiers refuse any other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from ledger.acts.act import SCHEDULER
from ledger.acts.entries import Decision
from ledger.registry import NANO, Collective
from payout.entries import FireTimes, RoundContent
from payout.policy import Policy
from tests.support.batches import Event, event_id
from tests.support.exports import KEY, bundle_of, report_of
from tests.support.independent import verifier
from tests.support.pool_log import PoolLog


def opened() -> PoolLog:
    log = PoolLog(collectives=[Collective("eire", "É", 300)])
    log.open(Policy())
    log.method(1_000_000)
    use(log, 1)
    return log


def use(log: PoolLog, number: int) -> None:
    log.revenue(1_000)
    log.usage([Event(event_id(number), None, 1, 1, 1, (("eire", NANO // 2),))])


def cut(log: PoolLog, first: str, last: str = "", count: int = 1) -> PoolLog:
    log.calculate(SCHEDULER, fire_times=FireTimes(first=first, last=last or first, count=count))
    log.decide(Decision.APPROVED, "policy")
    log.post()
    return log


def scheduled(*then: str) -> tuple[PoolLog, str, str]:
    """A log with a schedule and what became of it, a time right after it was set, and the time of the next leaf."""
    log = opened()
    log.schedule("* * * * *")
    first = said(log)
    for what in then:
        if what == "pause":
            log.pause()
        else:
            log.schedule(what)
    log.now += timedelta(minutes=10)
    return log, first, said(log)


def said(log: PoolLog, ago: int = 0) -> str:
    return f"{log.now - timedelta(seconds=ago):%Y-%m-%dT%H:%M:%SZ}"


def twice(*, same: bool) -> PoolLog:
    log, first, last = scheduled()
    cut(log, first, last, 10)
    use(log, 2)
    return cut(log, last if same else said(log))


def by_hand() -> PoolLog:
    log, first, _ = scheduled()
    log.calculate("operators/olive", fire_times=FireTimes(first=first, last=first, count=1))
    return log


def with_key() -> PoolLog:
    log, first, _ = scheduled()
    cut(log, first)
    index, _ = log.placed(RoundContent)[0]
    log.change(index, by_key="a" * 16)
    return log


CASES: Final[dict[str, tuple[bool, Callable[[], PoolLog]]]] = {
    "a time that has come": (True, lambda: cut(*scheduled()[:2])),
    "many times that have come": (True, lambda: cut(*scheduled(), 10)),
    "the next one": (True, lambda: twice(same=False)),
    "one that was answered": (False, lambda: twice(same=True)),
    "one before the times were changed": (False, lambda: cut(*scheduled("0 0 * * *")[:2])),
    "one before it was set again": (True, lambda: cut(*scheduled("* * * * *")[:2])),
    "one to come": (False, lambda: cut(scheduled()[0], "2026-02-01T00:00:00Z")),
    "one before it was set": (False, lambda: cut(scheduled()[0], "2026-01-01T00:00:00Z")),
    "while it is paused": (False, lambda: cut(*scheduled("pause")[:2])),
    "once it goes on": (True, lambda: cut(*scheduled("pause", "* * * * *")[:2])),
    "without a schedule": (False, lambda: cut(opened(), "2026-01-01T00:00:01Z")),
    "by hand": (False, by_hand),
    "with a key": (False, with_key),
}


@pytest.mark.parametrize("name", CASES)
def test_a_round_by_schedule_answers_one(name: str, tmp_path: Path) -> None:
    holds, make = CASES[name]
    bundle = bundle_of(make(), tmp_path / "folk.tar")
    finding = report_of(bundle).finding
    assert (finding is None) == holds, finding
    if holds:
        verifier.verify(bundle, str(KEY.verifier_key))
    else:
        with pytest.raises(AssertionError):
            verifier.verify(bundle, str(KEY.verifier_key))


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [
        ("zebra", "", -1),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 2),
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", 1),
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", 2),
        ("2026-02-30T00:00:00Z", "2026-03-30T00:00:00Z", 2),
        ("2026-1-01T00:00:00Z", "2026-03-30T00:00:00Z", 2),
        ("2026-01-01T00:00:00.000000Z", "2026-03-30T00:00:00Z", 2),
    ],
)
def test_fire_times_are_so_many_times_in_order(first: str, last: str, count: int, tmp_path: Path) -> None:
    log = opened()
    log.schedule("* * * * *")
    log.now += timedelta(days=100)
    log.calculate(SCHEDULER, fire_times=FireTimes(first=first, last=last, count=count))
    bundle = bundle_of(log, tmp_path / "folk.tar")
    assert report_of(bundle).finding is not None
    with pytest.raises((AssertionError, ValueError)):
        verifier.verify(bundle, str(KEY.verifier_key))
