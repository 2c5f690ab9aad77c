"""A table says the same on any terminal: where it is too wide, no number and no name in it is broken."""

from __future__ import annotations

from io import StringIO
from typing import Final

import pytest
from rich.console import Console

from services.cli.base.listing import Listing

ROUNDS: Final = Listing(
    ("Round", "State", "Log", "Pot", "Fee", "Calculated"),
    (
        ("1", "POSTED", "[0, 15)", "1000.00 EUR", "50.00 EUR", "2026-11-30T11:50:59.233352Z"),
        ("2", "REJECTED", "[15, 24)", "250.00 EUR", "12.50 EUR", "2026-11-30T11:51:13.599657Z"),
    ),
    frozenset({"Round", "Pot", "Fee"}),
)
REASONS: Final = Listing(
    ("Collective", "Reason", "Amount"),
    (("irish", "the recording of 12 March is ours, and so is the one of 13 March", "1000.00 EUR"),),
    frozenset({"Amount"}),
)


def printed(listing: Listing, width: int) -> list[str]:
    out = StringIO()
    Console(file=out, width=width).print(listing.laid_out(width), markup=False, highlight=False)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_what_fits_is_a_line_for_each_row() -> None:
    lines = printed(ROUNDS, 120)
    assert len([line for line in lines if "EUR" in line]) == 2
    assert lines[1].split() == ["Round", "State", "Log", "Pot", "Fee", "Calculated"]
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("width", [80, 60, 45])
def test_what_does_not_fit_is_a_line_for_each_cell(width: int) -> None:
    lines = printed(ROUNDS, width)
    assert lines[:6] == [
        "Round       1",
        "State       POSTED",
        "Log         [0, 15)",
        "Pot         1000.00 EUR",
        "Fee         50.00 EUR",
        "Calculated  2026-11-30T11:50:59.233352Z",
    ]
    assert lines[6] == ""
    assert lines[7] == "Round       2"


@pytest.mark.parametrize("width", range(1, 130))
def test_no_number_and_no_name_is_ever_broken_on_a_terminal_that_has_room_for_it(width: int) -> None:
    room = len("Calculated  2026-11-30T11:50:59.233352Z")
    whole = {cell for row in ROUNDS.rows for cell in row if not cell.startswith("[")}
    text = "\n".join(printed(ROUNDS, width))
    assert width < room or [cell for cell in whole if cell not in text] == []


@pytest.mark.parametrize("width", [60, 50, 40])
def test_text_is_folded_between_words_before_anything_else(width: int) -> None:
    lines = printed(REASONS, width)
    assert lines[1].split() == ["Collective", "Reason", "Amount"]
    assert "1000.00 EUR" in lines[3]
    assert max(map(len, lines)) <= width


def test_a_cell_that_is_empty_is_no_line() -> None:
    assert printed(Listing(("Pools", "Key"), (("", "7c8a7aacad8dbea2"),)), 22) == ["Key  7c8a7aacad8dbea2", ""]


def test_a_wide_letter_counts_as_the_two_places_that_it_takes() -> None:
    wide = Listing(("Name", "Amount"), (("音楽" * 4, "1.00 EUR"),), frozenset({"Amount"}))
    assert len(printed(wide, 16 + 3 + 8 + 2)) == 5
    assert printed(wide, 16 + 3 + 8 + 1)[0] == "Name    " + "音楽" * 4
