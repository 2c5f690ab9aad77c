"""What people are told of a submission that failed."""

from __future__ import annotations

from moiety import (
    BatchRefusal,
    BatchRefusedError,
    InvalidArgumentError,
    InvalidUsageError,
    MoietyError,
    Receipt,
    UnavailableError,
    Violation,
)
from services.cli.pools.submissions import REASONS_SHOWN_MAX, failure_lines


def receipt(accepted: int, duplicates: int = 0) -> Receipt:
    return Receipt(accepted_count=accepted, duplicate_count=duplicates, leaf_hash=bytes(32))


def refusal(index: int, first: int, count: int, *fields: str) -> BatchRefusal:
    violations = [Violation(field, "is wrong") for field in fields]
    return BatchRefusal(f"b-{index}", index, first, count, InvalidArgumentError("no", violations=violations))


def failed(error: MoietyError, *receipts: Receipt) -> MoietyError:
    error.receipts = receipts
    return error


def test_rows_are_told_in_the_fewest_words() -> None:
    refusals = [
        refusal(1, 10, 10, "events[0].units"),
        refusal(2, 20, 1, "arrow_stream"),
        refusal(4, 31, 4, "events[3]"),
    ]
    lines = failure_lines(BatchRefusedError(refusals, [receipt(9, 1), receipt(10), receipt(1)]), "turn")
    assert lines == [
        "turn 11, units: is wrong",
        "turn 21, arrow_stream: is wrong",
        "turn 35, event: is wrong",
        "Turns 1 to 10, 22 to 31 and 36 are recorded (20 events accepted, 1 duplicate left out).",
        "Turns 11 to 21 and 32 to 35 are not: one wrong turn is enough to refuse a batch.",
        "Correct the file and submit all of it again: what is recorded is not recorded twice.",
    ]


def test_many_reasons_are_cut_short() -> None:
    fields = [f"events[{place}].units" for place in range(100)]
    lines = failure_lines(BatchRefusedError([refusal(0, 0, 100, *fields)], []), "row")
    assert lines[REASONS_SHOWN_MAX - 1 : REASONS_SHOWN_MAX + 2] == [
        f"row {REASONS_SHOWN_MAX}, units: is wrong",
        f"... and {100 - REASONS_SHOWN_MAX} more",
        "Nothing was recorded: one wrong row is enough to refuse a batch.",
    ]


def test_where_the_service_went_away_the_rest_is_not_known() -> None:
    lines = failure_lines(failed(UnavailableError("gone"), receipt(1)), "row")
    assert lines == [
        "error: gone",
        "Row 1 is recorded (1 event accepted, 0 duplicates left out).",
        "Whether the rows from 2 on are recorded is not known.",
        "Correct the file and submit all of it again: what is recorded is not recorded twice.",
    ]
    assert failure_lines(UnavailableError("gone"), "row") == ["error: gone"]


def test_a_table_that_cannot_be_read_at_all_says_that_nothing_is_recorded() -> None:
    assert failure_lines(InvalidUsageError("unit", None, "is not a column"), "row") == [
        "unit: is not a column",
        "Nothing was recorded.",
    ]
