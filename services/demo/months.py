"""A month of the demo: platforms report usage and revenue, the scheduler cuts the round, an operator approves it.

Everything goes through the public API, each step with the key of whoever may do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa

from moiety import (
    Allocation,
    Client,
    FailedPreconditionError,
    MoietyError,
    Receipt,
    ReplayVerdict,
    Round,
    UsageEvent,
    event_id_of,
)
from services.demo.clock import DemoClock
from services.demo.plays import Month, Platform, count_plays, count_shares
from services.demo.service import CURRENCY, METHOD, POOL, Cast

EVENTS_PER_CALL: Final = 1_000
"""The most events that one row-wise call takes."""

ROUND_SECONDS_MAX: Final = 60.0
"""How long to wait for the scheduler, which needs less than one."""

POLL_SECONDS: Final = 0.05
REVIEW_TIME: Final = timedelta(hours=4)


class RoundMissingError(MoietyError):
    """The scheduler did not cut the round `number` in time."""

    def __init__(self, number: int, seconds: float) -> None:
        super().__init__(number, seconds)
        self.number = number
        self.seconds = seconds

    def __str__(self) -> str:
        return f"round {self.number} was due, and the scheduler did not cut it in {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Report:
    """What a platform reported for a month, and what the service made of it: from its receipts, not from our plan."""

    platform: Platform
    batches: int
    events: int
    duplicates: int
    shares: int
    plays: int
    revenue_minor: int


@dataclass(frozen=True, slots=True)
class Retransmission:
    """What became of a month's usage sent twice more: as the same batch, and cut into other batches.

    `same_receipts` says whether the same batches got the first receipts again.
    """

    platform: Platform
    same_receipts: bool
    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class SettledRound:
    """A posted round, its allocations and its statement."""

    round: Round
    allocations: tuple[Allocation, ...]
    statement: bytes


def report_in_bulk(
    client: Client, platform: Platform, month: Month, table: pa.Table, progress: Callable[[int], None]
) -> Report:
    """Report a month as one Arrow table."""
    receipts = client.submit_usage(POOL, table, METHOD, progress=progress)
    return _report(client, platform, month, table, receipts)


def report_in_rows(
    client: Client, platform: Platform, month: Month, table: pa.Table, progress: Callable[[int], None]
) -> Report:
    """Report a month as ordinary messages, a thousand events to a call."""
    receipts = []
    for start in range(0, table.num_rows, EVENTS_PER_CALL):
        events = list(_events(table.slice(start, EVENTS_PER_CALL)))
        batch_id = f"{month.name.lower()}-{start // EVENTS_PER_CALL}"
        receipts.append(client.submit_events(POOL, events, METHOD, batch_id=batch_id))
        progress(len(events))
    return _report(client, platform, month, table, receipts)


def send_again(client: Client, platform: Platform, table: pa.Table) -> Retransmission:
    """Send a table that was sent in bulk before twice more: in the same batches, and cut into others."""
    first = [client.get_batch(POOL, platform.id, _batch_id(each)) for each in client.submit_usage(POOL, table, METHOD)]
    second = client.submit_usage(POOL, table, METHOD)
    others = client.submit_usage(POOL, table, METHOD, events_per_batch=table.num_rows // 3 + 1)
    return Retransmission(
        platform=platform,
        same_receipts=first == second,
        accepted=sum(receipt.accepted_count for receipt in others),
        duplicates=sum(receipt.duplicate_count for receipt in others),
    )


def settle(cast: Cast, clock: DemoClock, month: Month, number: int) -> SettledRound:
    """Let the month's fire time come; the round is cut, reviewed and posted."""
    clock.move_to(month.fires_at)
    _await_round(cast.auditor, number)
    clock.move_to(month.fires_at + REVIEW_TIME)
    posted = cast.reviewer.approve_round(POOL, number)
    return SettledRound(
        posted, tuple(cast.auditor.list_allocations(POOL, number)), cast.auditor.get_statement(POOL, number)
    )


def replay(auditor: Client, number: int, progress: Callable[[int, int], None]) -> ReplayVerdict:
    """Have a round recomputed from the log."""
    return auditor.replay_round(
        POOL, number, progress=lambda step: progress(step.leaves, step.leaf_total)
    )


def balances(auditor: Client) -> dict[str, int]:
    """Give every account's balance in minor units, by account."""
    return {each.name.partition("/accounts/")[2]: each.amount_minor for each in auditor.list_balances(POOL)}
