"""A month of the demo: platforms report usage and revenue, the scheduler cuts the round, an operator approves it.

Everything goes through the public API, each step with the key of someone who may do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from demo.clock import DemoClock
from demo.plays import Month, Platform, count_plays, count_shares
from demo.service import CURRENCY, METHOD, POOL, REVIEW_TIME, Cast
from ledger.errors import LedgerError
from moiety import Allocation, Client, Mode, Objection, Receipt, Round, UsageEvent, event_id_of
from moiety.v1.registry_pb2 import SKIP_REASON_REPORTS_MISSING
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_SET_ASIDE

EVENTS_PER_CALL: Final = 1_000
"""The most events that one row-wise call takes."""

OBJECTED_ROUND: Final = 2
"""The round to which a collective objects."""

ROUND_SECONDS_MAX: Final = 60.0
"""How long to wait for the scheduler, which takes a fraction of a second."""

POLL_SECONDS: Final = 0.05

Progress = Callable[[int], None]  # called with how many more events are recorded


class RoundMissingError(LedgerError):
    """The scheduler did not cut the round `number` within `seconds` of its time."""

    def __init__(self, number: int, seconds: float) -> None:
        super().__init__(number, seconds)
        self.number = number
        self.seconds = seconds

    def __str__(self) -> str:
        return f"round {self.number} was due, and the scheduler did not cut it in {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Report:
    """What a platform reported for a month: the plays, the revenue, and the receipts that it got."""

    platform: Platform
    receipts: tuple[Receipt, ...]
    plays: int
    shares: int
    revenue_minor: int
    payment_reference: str

    @property
    def events(self) -> int:
        """Events that the service accepted."""
        return sum(receipt.accepted_count for receipt in self.receipts)


@dataclass(frozen=True, slots=True)
class Retransmission:
    """What became of a month's usage sent twice more: in the same batches, and cut into other ones.

    `same_receipts` says whether the same batches got their first receipts again. The counts are of the other cut.
    """

    platform: Platform
    same_receipts: bool
    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class SettledRound:
    """A posted round with its allocations and its statement; and the objection to it, set aside and released since."""

    round: Round
    allocations: tuple[Allocation, ...]
    statement: bytes
    objection: Objection | None = None


def report_in_bulk(client: Client, platform: Platform, month: Month, table: pa.Table, progress: Progress) -> Report:
    """Report a month as one Arrow table."""
    receipts = client.submit_usage(POOL, table, METHOD, progress=progress)
    return _with_revenue(client, platform, month, table, receipts)


def report_in_rows(client: Client, platform: Platform, month: Month, table: pa.Table, progress: Progress) -> Report:
    """Report a month in ordinary messages, up to a thousand events to a call."""
    receipts = []
    for start in range(0, table.num_rows, EVENTS_PER_CALL):
        events = list(_events(table.slice(start, EVENTS_PER_CALL)))
        batch_id = f"{month.name.lower()}-{start // EVENTS_PER_CALL}"
        receipts.append(client.submit_events(POOL, events, METHOD, batch_id=batch_id))
        progress(len(events))
    return _with_revenue(client, platform, month, table, receipts)


def send_again(client: Client, report: Report, table: pa.Table) -> Retransmission:
    """Send what was reported in bulk twice more, as a platform does that is not sure what arrived."""
    same = client.submit_usage(POOL, table, METHOD)
    others = client.submit_usage(POOL, table, METHOD, events_per_batch=table.num_rows // 3 + 1)
    return Retransmission(
        platform=report.platform,
        same_receipts=tuple(same) == report.receipts,
        accepted=sum(receipt.accepted_count for receipt in others),
        duplicates=sum(receipt.duplicate_count for receipt in others),
    )


def wait_for_money(cast: Cast, clock: DemoClock, month: Month, while_waiting: Callable[[], None]) -> None:
    """Let each fire time come before which a report is not paid: no round is cut, and nothing is used up.

    The money that comes after one that the scheduler had not looked at yet would be in time for it.

    Raises:
        RoundMissingError: the schedule does not say that it waits for a report.
    """
    for morning in month.unpaid_mornings:
        clock.move_to(morning)
        give_up = time.monotonic() + ROUND_SECONDS_MAX
        while _skipped(cast) != (morning, SKIP_REASON_REPORTS_MISSING):
            if time.monotonic() > give_up:
                raise RoundMissingError(0, ROUND_SECONDS_MAX)
            while_waiting()
            time.sleep(POLL_SECONDS)
    clock.move_to(month.paid_at)


def _skipped(cast: Cast) -> tuple[datetime, int]:
    found = cast.auditor.get_schedule(POOL)
    return found.skip_time.ToDatetime(UTC), found.skip_reason


def settle(cast: Cast, clock: DemoClock, month: Month, number: int, while_waiting: Callable[[], None]) -> SettledRound:
    """Let the fire time come that finds all of the month's money, wait for the scheduler's round, and have it approved.

    To one round a collective objects: its amount is set aside, and released once the round is posted.
    """
    clock.move_to(month.closes_at)
    _await_round(cast.auditor, number, while_waiting)
    objection = _objected(cast, number) if number == OBJECTED_ROUND else None
    clock.move_to(month.closes_at + REVIEW_TIME)
    posted = cast.reviewer.approve_round(POOL, number)
    allocations = tuple(cast.auditor.list_allocations(POOL, number))
    if objection:
        _release(cast, allocations)
    return SettledRound(posted, allocations, cast.auditor.get_statement(POOL, number), objection)


def _objected(cast: Cast, number: int) -> Objection:
    cast.objector.object_to_round(POOL, number, "one of these tunes is also ours")
    return cast.reviewer.answer_objection(
        POOL, number, cast.objecting.id, OBJECTION_ANSWER_SET_ASIDE, "to be looked at with the collector's notes"
    )


def _release(cast: Cast, allocations: Sequence[Allocation]) -> None:
    """Both operators let go what was set aside."""
    name = f"collectives/{cast.objecting.id}"
    (amount,) = [each.amount_minor for each in allocations if each.collective == name]
    waits = cast.operator.release_held(
        POOL, cast.objecting.id, amount, request_id="objection", reason="the notes say that the tune is theirs alone"
    )
    cast.reviewer.approve_proposal(waits.proposal)


def balances(auditor: Client) -> dict[str, int]:
    """Return every account's balance in minor units, by account."""
    return {each.name.partition("/accounts/")[2]: each.amount_minor for each in auditor.list_balances(POOL)}


def _with_revenue(
    client: Client, platform: Platform, month: Month, table: pa.Table, receipts: Sequence[Receipt]
) -> Report:
    plays = count_plays(table)
    revenue = client.report_revenue(
        POOL,
        plays * platform.price_minor,
        CURRENCY,
        request_id=f"plays-{month.name.lower()}",
        period=month.period,
        note=f"{plays} plays in {month.name}",
    )
    return Report(
        platform, tuple(receipts), plays, count_shares(table), revenue.amount_minor, revenue.payment_reference
    )


def _events(table: pa.Table) -> Iterator[UsageEvent]:
    for row in table.to_pylist():
        yield UsageEvent(
            event_id=event_id_of(row["id"]),
            occurred_at=row["occurred_at"],
            units=row["units"],
            mode=Mode(row["mode"]),
            shares=dict(zip(row["collectives"], row["shares"], strict=True)),
            work_id=row["work_id"],
        )


def _await_round(auditor: Client, number: int, while_waiting: Callable[[], None]) -> None:
    give_up = time.monotonic() + ROUND_SECONDS_MAX
    while not any(found.number == number for found in auditor.list_rounds(POOL)):
        if time.monotonic() > give_up:
            raise RoundMissingError(number, ROUND_SECONDS_MAX)
        while_waiting()
        time.sleep(POLL_SECONDS)
