"""Lines of banks' statements that are of a payer or of nobody yet: what they are booked as, and what changes it.

Each has an id: the leaf of its file, and its place among the file's bookings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ledger.payments import Booking, BookingKind, Bookings, PoolAmount, line_name


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a line: which pool has it, and of which platform it is; empty for an unknown payer."""

    pool: str
    platform: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class BookedLine:
    """A line as it is booked now.

    Attributes:
        amount_minor: what is left of it; below zero for a debit that has no partner, and 0 once it has one.
        parts: what is booked of it; of a credit without a partner nothing is.
        payment_reference: the report's that came with it; empty if none did.
        day: the day that the bank names.
        reference: what the bank calls it.
    """

    name: str
    amount_minor: int
    parts: tuple[Part, ...]
    payment_reference: str
    day: str
    reference: str

    @property
    def open_minor(self) -> int:
        """What of it nobody has said anything of: of an unknown payer, or without a partner."""
        if not self.parts:
            return self.amount_minor
        return sum(part.amount_minor for part in self.parts if not part.platform)


_OPENING: Final = (BookingKind.RECEIVED, BookingKind.UNMATCHED, BookingKind.UNKNOWN)


def opened_by(leaf_index: int, place: int, booking: Booking) -> BookedLine | None:
    """Returns the line that a booking of a statement opens: one of a payer or of nobody; None for any other."""
    if booking.kind not in _OPENING:
        return None
    parts = tuple(Part(part.pool, booking.subject, part.amount_minor) for part in booking.pools)
    name = line_name(leaf_index, place)
    return BookedLine(name, booking.amount_minor, parts, booking.payment_reference, booking.day, booking.reference)


def named(leaf_index: int, line: str) -> str:
    """Returns the id of the line that a booking names; one of its own file is named by its place alone, as in `-3`."""
    return f"{leaf_index}{line}" if line.startswith("-") else line


def lines_of_file(leaf_index: int, bookings: Bookings, lines: Mapping[str, BookedLine]) -> dict[str, BookedLine]:
    """Returns the lines that a statement opens and those that it changes.

    Args:
        leaf_index: of the statement.
        bookings: what its lines mean.
        lines: the lines before it; those that it takes back must be there.

    Raises:
        ValueError: it takes back what is not there.
    """
    changed: dict[str, BookedLine] = {}
    for place, each in enumerate(bookings.bookings):
        if opened := opened_by(leaf_index, place, each):
            changed[opened.name] = opened
        elif each.kind == BookingKind.TAKEN_BACK:
            name = named(leaf_index, each.line)
            line = changed.get(name) or lines.get(name)
            if line is None:
                raise ValueError(f"there is no line {name}")
            changed[name] = taken_back(line, each)
    return changed


def taken_back(line: BookedLine, booking: Booking) -> BookedLine:
    """Returns a line after a later one took back parts of it.

    Raises:
        ValueError: it has no such parts.
    """
    left = list(line.parts)
    for part in booking.pools:
        place = next(
            (place for place, own in enumerate(left) if (own.pool, own.platform) == (part.pool, booking.subject)), None
        )
        if place is None or part.amount_minor > left[place].amount_minor:
            raise ValueError(f"line {line.name} has no such part in {part.pool}")
        left[place] = replace(left[place], amount_minor=left[place].amount_minor - part.amount_minor)
    kept = tuple(part for part in left if part.amount_minor)
    return replace(line, amount_minor=line.amount_minor - booking.amount_minor, parts=kept)


def bookings_back(line: BookedLine, amount_minor: int, kind: BookingKind, **about: str) -> list[Booking]:
    """Returns the bookings that undo a line up to an amount, part by part.

    Args:
        line: a credit.
        amount_minor: at most what is left of it.
        kind: TAKEN_BACK or FREED.
        about: `day`, `reference`, `reason` and `entry` of what undoes it.
    """
    found = []
    for part in line.parts:
        taken = min(part.amount_minor, amount_minor)
        amount_minor -= taken
        if taken:
            found.append(_booking(kind, Part(part.pool, part.platform, taken), line=line.name, **about))
    return found


def matched(line: BookedLine, parts: Sequence[Part]) -> list[Booking]:
    """Returns the bookings by which a credit becomes what an operator says: what it was is freed first."""
    freed = bookings_back(line, line.amount_minor, BookingKind.FREED, day=line.day, reference=line.reference)
    about = {"day": line.day, "reference": line.reference, "line": line.name}
    kinds = [(BookingKind.RECEIVED if part.platform else BookingKind.UNMATCHED, part) for part in parts]
    return [*freed, *(_booking(kind, part, **about) for kind, part in kinds)]


def charged(line: BookedLine, pool: str) -> list[Booking]:
    """Returns the booking by which a debit is a charge of the bank's."""
    part = Part(pool, "", -line.amount_minor)
    return [_booking(BookingKind.CHARGE, part, day=line.day, reference=line.reference, line=line.name)]


def changed_by(name: str, bookings: Bookings, lines: Mapping[str, BookedLine]) -> dict[str, BookedLine]:
    """Returns the lines that an operator's word about one of them changes.

    Args:
        name: the line that it is about.
        bookings: what follows from it.
        lines: the lines as they are; those that are named must be there.

    Raises:
        ValueError: the bookings are none that follow from such a word.
    """
    line, made = lines[name], bookings.bookings
    if line.amount_minor < 0:
        if sum(each.amount_minor for each in made) != -line.amount_minor:
            raise ValueError(f"the bookings do not sum to line {name}")
        changed = {name: replace(line, amount_minor=0)}
        for each in made:
            if each.kind == BookingKind.TAKEN_BACK:
                other = changed.get(each.line) or lines.get(each.line)
                if other is None:
                    raise ValueError(f"there is no line {each.line}")
                changed[each.line] = taken_back(other, each)
            elif each.kind not in (BookingKind.CHARGE, BookingKind.PAID):
                raise ValueError(f"a debit is no {each.kind}")
        return changed
    parts = [
        Part(each.pools[0].pool, each.subject, each.amount_minor) for each in made if each.kind != BookingKind.FREED
    ]
    if (
        min((part.amount_minor for part in parts), default=0) <= 0
        or made != matched(line, parts)
        or sum(part.amount_minor for part in parts) != line.amount_minor
    ):
        raise ValueError(f"the bookings are not those of line {name}")
    return {name: replace(line, parts=tuple(parts))}


def written(parts: Sequence[Part]) -> str:
    """Returns parts as text, for a row of a table."""
    return json.dumps([[part.pool, part.platform, str(part.amount_minor)] for part in parts], separators=(",", ":"))


def read_parts(text: str) -> tuple[Part, ...]:
    """Returns the parts that `written` wrote."""
    return tuple(Part(pool, platform, int(amount)) for pool, platform, amount in json.loads(text))


def _booking(
    kind: BookingKind, part: Part, *, day: str, reference: str, line: str = "", reason: str = "", entry: str = ""
) -> Booking:
    return Booking(
        kind=kind.value,
        amount_minor=part.amount_minor,
        end_to_end_id="",
        subject=part.platform,
        day=day,
        reference=reference,
        reason=reason,
        pools=[PoolAmount(pool=part.pool, amount_minor=part.amount_minor)],
        line=line,
        entry=entry,
    )
