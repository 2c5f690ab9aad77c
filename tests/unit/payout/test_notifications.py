"""What a notification adds to a statement, and what it never does."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

import pytest

from ledger.payments import Booking
from payout.payments.bank_messages import Line, Notification, Statement
from payout.payments.notifications import notified, told_beside, unstated, with_details

DAY: Final = date(2026, 1, 5)


def of_entry(amount_minor: int, reference: str = "", *, entry: str = "B1", day: date = DAY, **more: object) -> Line:
    told = (reference,) if reference else ()
    return Line(amount_minor, day, references=told, bank_reference=entry, entry=entry, **more)  # type: ignore[arg-type]


def stated(*lines: Line) -> Statement:
    return Statement("S", "A", "EUR", 0, sum(line.amount_minor for line in lines), DAY, DAY, lines)


def told_of(*lines: Line) -> Notification:
    return Notification("N", "A", "EUR", DAY, lines)


DETAILS: Final = (of_entry(40, "RF1"), of_entry(60, "RF2"))


def test_an_entry_that_is_only_summed_up_has_the_details_that_a_notification_tells() -> None:
    before, after = of_entry(1, entry="B0"), of_entry(2, entry="B2")
    found = with_details(stated(before, of_entry(100), after), [told_of(*DETAILS), told_of(*DETAILS[::-1])])
    assert found.lines == (before, *DETAILS, after)


@pytest.mark.parametrize(
    "details",
    [
        (of_entry(40, "RF1"), of_entry(61, "RF2")),  # another sum
        (of_entry(400, "RF1", is_return=True), of_entry(-300, "RF2")),  # both ways
        (of_entry(40), of_entry(60)),  # nothing new
        (of_entry(40, "RF1", entry="B2"), of_entry(60, "RF2", entry="B2")),  # another entry
        (of_entry(40, "RF1", entry=""), of_entry(60, "RF2", entry="")),  # of none
        tuple(replace(line, day=date(2026, 1, 6)) for line in DETAILS),  # of another day
        (),
    ],
)
def test_details_that_do_not_fit_change_nothing(details: tuple[Line, ...]) -> None:
    statement = stated(of_entry(100))
    assert with_details(statement, [told_of(*details)]) == statement


@pytest.mark.parametrize(
    "lines",
    [
        (of_entry(100, "RF3"),),
        (of_entry(100, end_to_end_id="run-1"),),
        (of_entry(50), of_entry(50)),
    ],
)
def test_what_a_statement_says_itself_holds(lines: tuple[Line, ...]) -> None:
    assert with_details(stated(*lines), [told_of(*DETAILS)]) == stated(*lines)


def test_two_notifications_that_differ_count_for_nothing() -> None:
    other = (of_entry(60, "RF1"), of_entry(40, "RF2"))
    statement = stated(of_entry(100))
    assert with_details(statement, [told_of(*DETAILS), told_of(*other)]) == statement


def test_a_notification_moves_nothing_in_any_pool() -> None:
    made = notified(told_of(*DETAILS, of_entry(-7, entry="B3", end_to_end_id="run-1")))
    assert [(each.kind, each.amount_minor, each.reference, each.pools) for each in made] == [
        ("NOTIFIED", 40, "B1", []), ("NOTIFIED", 60, "B1", []), ("NOTIFIED", -7, "B3", []),
    ]  # fmt: skip


def booked(kind: str, amount_minor: int, *, entry: str = "B1", reference: str = "") -> Booking:
    return Booking(
        kind=kind, amount_minor=amount_minor, end_to_end_id="", subject="", day=DAY.isoformat(), reference=entry,
        reason="", pools=[], payment_reference=reference, entry=entry,
    )  # fmt: skip


TOLD: Final = (booked("NOTIFIED", 40, reference="RF1"), booked("NOTIFIED", 60, reference="RF2"))


def test_what_was_announced_and_is_in_no_statement_is_found_once() -> None:
    other, unnamed = booked("NOTIFIED", -7, entry="B2"), booked("NOTIFIED", 5, entry="")
    assert unstated([], [TOLD, TOLD, [other]]) == [*TOLD, other]
    assert unstated([[booked("UNMATCHED", 100)]], [TOLD, [other]]) == [other]
    assert unstated([[booked("PAID", 7, entry="B2")]], [[other]]) == []
    # One that has no name is the statement's of its amount and day, and each of them is one alone.
    assert unstated([[booked("RECEIVED", 5, entry="B9")]], [[unnamed, unnamed]]) == [unnamed]


@pytest.mark.parametrize(
    ("statement", "told", "found"),
    [
        ([booked("UNMATCHED", 100)], [TOLD], {0: TOLD}),
        ([booked("UNMATCHED", 100)], [TOLD, TOLD[::-1]], {0: TOLD}),
        ([booked("UNMATCHED", 100)], [TOLD, [booked("NOTIFIED", 100, reference="RF1")]], {}),
        ([booked("UNMATCHED", 101)], [TOLD], {}),
        ([booked("RECEIVED", 100)], [TOLD], {}),
        ([booked("UNMATCHED", 50), booked("UNMATCHED", 50)], [TOLD], {}),
        ([booked("UNMATCHED", 100, entry="")], [TOLD], {}),
        ([booked("UNMATCHED", 10)], [[booked("NOTIFIED", 20, reference="RF1"), booked("NOTIFIED", -10)]], {}),
        ([booked("UNMATCHED", 100)], [[booked("NOTIFIED", 100)]], {}),
        ([booked("UNKNOWN", -100)], [[booked("NOTIFIED", -100, reference="RF1")]], 1),
    ],
)
def test_a_notification_tells_later_what_a_line_consists_of(
    statement: list[Booking], told: list[list[Booking]], found: object
) -> None:
    details = told_beside(statement, told)
    assert details == found if isinstance(found, dict) else len(details) == found
