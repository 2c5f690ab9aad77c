"""What lines of statements mean, without a database."""

from __future__ import annotations

from datetime import date
from typing import Final

import pytest

from ledger.payments import Bookings, PoolAmount
from payout.payments.bank_messages import Line, Statement
from payout.payments.lines import BookedLine, Part, changed_by, charged, lines_of_file, matched
from payout.payments.matching import Books, Debt, Sent, State, bank_movement, match_statement, references_of

DAY: Final = date(2026, 1, 5)
ONE, TWO = "RF45ABCDEFGHJKMNPQRS", "RF45SRQPNMKJHGFEDCBA"


def credit(amount_minor: int, *references: str) -> Line:
    return Line(amount_minor, DAY, references=references, bank_reference=f"B{amount_minor}")


def back(amount_minor: int, *references: str) -> Line:
    return Line(-amount_minor, DAY, references=references, is_return=True, reason="MD06")


def meaning(books: Books, *lines: Line) -> list[tuple[str, str, int, str]]:
    """What each line is booked as: kind, whose, how much, and the line that it takes back."""
    moved = sum(line.amount_minor for line in lines)
    made = match_statement(Statement("S", "A", "EUR", 0, moved, DAY, DAY, lines), books)
    assert bank_movement(made) == moved
    return [(each.kind, each.subject, each.amount_minor, each.line) for each in made]


def books(**lines: BookedLine) -> Books:
    debts = {ONE: Debt("folk", "acme", 30), TWO: Debt("jazz", "zen", 12)}
    return Books("folk", {}, debts, {name.replace("_", "-")[1:]: line for name, line in lines.items()})


def test_references_are_found_anywhere_in_a_text_and_each_once() -> None:
    assert references_of(credit(1, f"INVOICE{ONE}", f"{ONE}{TWO}", "RF18539007547034")) == [ONE, TWO]


@pytest.mark.parametrize(
    ("line", "kind", "subject"),
    [
        (credit(30, ONE), "RECEIVED", "acme"),
        (credit(29, ONE), "RECEIVED", "acme"),
        (credit(3_000, ONE), "RECEIVED", "acme"),
        (credit(30), "UNMATCHED", ""),
        (credit(41, ONE, TWO), "UNMATCHED", ""),
        (Line(-3, DAY, is_charge=True), "CHARGE", ""),
        (Line(-3, DAY, references=(ONE,)), "UNKNOWN", ""),
        (back(3, ONE), "UNKNOWN", ""),
    ],
)
def test_a_line_is_booked_where_reference_and_amount_leave_no_doubt(line: Line, kind: str, subject: str) -> None:
    ((found, whose, amount, _),) = meaning(books(), line)
    assert (found, whose, abs(amount)) == (kind, subject, abs(line.amount_minor))


def test_a_line_for_two_reports_is_split_if_it_is_their_sum() -> None:
    assert meaning(books(), credit(42, ONE, TWO)) == [("RECEIVED", "acme", 30, ""), ("RECEIVED", "zen", 12, "")]


def test_money_that_goes_back_is_of_the_credit_of_the_same_amount_and_never_of_more_than_there_is() -> None:
    made = meaning(books(), credit(30, ONE), credit(20, ONE), back(30, ONE), back(15, ONE), back(6, ONE), back(5, ONE))
    assert made[2:] == [
        ("TAKEN_BACK", "acme", 30, "-0"), ("TAKEN_BACK", "acme", 15, "-1"), ("UNKNOWN", "", -6, ""),
        ("TAKEN_BACK", "acme", 5, "-1"),
    ]  # fmt: skip


def test_what_goes_back_of_a_split_line_is_of_its_parts_in_their_order() -> None:
    split = BookedLine("7-1", 50, (Part("folk", "acme", 20), Part("jazz", "", 30)), ONE, "2026-01-01", "B")
    assert meaning(books(_7_1=split), back(35, ONE)) == [
        ("TAKEN_BACK", "acme", 20, "7-1"), ("TAKEN_BACK", "", 15, "7-1"),
    ]  # fmt: skip


def test_a_return_of_a_payment_is_never_taken_for_money_in() -> None:
    sent = Sent("run-1", "run", "irish", DAY, (PoolAmount(pool="folk", amount_minor=9),), State.RETURNED)
    found = meaning(Books("folk", {"run-1": sent}, {ONE: Debt("folk", "acme", 9)}), Line(9, DAY, "run-1", "", (ONE,)))
    assert found == [("UNKNOWN", "irish", 9, "")]


def test_words_about_lines_that_do_not_follow_are_refused() -> None:
    open_line = BookedLine("7-1", 50, (Part("folk", "", 50),), "", "2026-01-01", "B")
    debit = BookedLine("7-2", -5, (), "", "2026-01-01", "B")
    lines = {"7-1": open_line, "7-2": debit}
    whole = matched(open_line, [Part("folk", "acme", 50)])
    assert changed_by("7-1", bookings(whole), lines)["7-1"].parts == (Part("folk", "acme", 50),)
    assert changed_by("7-2", bookings(charged(debit, "folk")), lines)["7-2"].amount_minor == 0
    wrong = [
        ("7-1", whole[1:]), ("7-1", whole[:1]), ("7-1", matched(open_line, [Part("folk", "acme", 49)])),
        ("7-1", [*whole, whole[-1]]), ("7-2", whole), ("7-2", []),
        ("7-1", [each.model_copy(update={"kind": "CHARGE"}) for each in whole]),
    ]  # fmt: skip
    for name, made in wrong:
        with pytest.raises(ValueError, match="line"):
            changed_by(name, bookings(made), lines)


def bookings(made: object) -> Bookings:
    return Bookings.model_validate({"salt": "0" * 64, "bookings": made})


def test_a_file_cannot_take_back_what_is_not_there() -> None:
    open_line = BookedLine("7-1", 50, (Part("folk", "acme", 50),), "", "2026-01-01", "B")
    (booking,) = matched(open_line, [])
    for update in ({"amount_minor": 51, "pools": [PoolAmount(pool="folk", amount_minor=51)]}, {"subject": "zen"}):
        taken = booking.model_copy(update={"kind": "TAKEN_BACK", **update})
        with pytest.raises(ValueError, match="no such part"):
            lines_of_file(9, Bookings(salt="0" * 64, bookings=[taken]), {"7-1": open_line})
    with pytest.raises(ValueError, match="no line"):
        lines_of_file(9, Bookings(salt="0" * 64, bookings=[booking.model_copy(update={"kind": "TAKEN_BACK"})]), {})
