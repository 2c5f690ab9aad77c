"""Money in: what platforms report, what arrives of it, and what of either is taken back.

A report says what a platform owes for a period; a receipt says that money has arrived. A pool distributes either what
it has received or, where it keeps no money of its own, what was reported. Of the accounts, `due/<platform>` is what was
reported and has not arrived, `credit/<platform>` what arrived beyond that, and `unmatched` what nobody knows whose it
is. The last two come from `outside`, which is below zero by as much as they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from hashlib import sha256
from typing import ClassVar, Final

from pydantic import Field
from stdnum.iso7064 import mod_97_10

from ledger.acts.act import ActContent
from ledger.acts.controls import Kind
from ledger.entries import Movement
from ledger.errors import InvalidInputError, Sentence
from ledger.journal import (
    OUTSIDE,
    REVENUE,
    UNMATCHED,
    Purpose,
    Transfer,
    credit_account,
    due_account,
    platform_account,
)
from ledger.log.leaves import AmountMinor, Content, Past, is_none


class Distribute(StrEnum):
    """What a pool distributes. It is fixed when the pool is opened."""

    RECEIVED = "RECEIVED"
    """The money that has arrived."""
    REPORTED = "REPORTED"
    """What platforms report; they pay, and collectives are paid, elsewhere."""


_PERIOD: Final = re.compile(r"(?P<year>[0-9]{4})(?:-(?P<month>0[1-9]|1[0-2])|-Q(?P<quarter>[1-4]))?")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A month, a quarter or a year of UTC: `months` of them from the month `first`, counted from year 0."""

    first: int
    months: int

    @classmethod
    def parse(cls, text: str, field: str = "period") -> Period:
        """Returns the period that `2026-03`, `2026-Q1` or `2026` names.

        Raises:
            InvalidInputError: it is not in one of these forms.
        """
        found = _PERIOD.fullmatch(text)
        if not found:
            reason = Sentence("must be like 2026-03, 2026-Q1 or 2026, got %(got)r", got=text[:20])
            raise InvalidInputError.of(field, reason)
        year, month, quarter = found["year"], found["month"], found["quarter"]
        if month:
            return cls(12 * int(year) + int(month) - 1, 1)
        if quarter:
            return cls(12 * int(year) + 3 * (int(quarter) - 1), 3)
        return cls(12 * int(year), 12)

    @classmethod
    def containing(cls, month: int, months: int) -> Period:
        """Returns the period of this many months that a month, counted from year 0, belongs to."""
        return cls(month - month % months, months)

    @property
    def end(self) -> int:
        """The month after its last one."""
        return self.first + self.months

    def __contains__(self, other: Period) -> bool:
        """Whether another period is this one or within it."""
        return self.first <= other.first and other.end <= self.end

    def next(self) -> Period:
        """Returns the period after it."""
        return Period(self.end, self.months)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        year, month = divmod(self.first, 12)
        match self.months:
            case 1:
                return f"{year:04d}-{month + 1:02d}"
            case 3:
                return f"{year:04d}-Q{month // 3 + 1}"
            case _:
                return f"{year:04d}"


def month_of(moment: datetime) -> int:
    """Returns the month of UTC that a time belongs to, counted from year 0."""
    utc = moment.astimezone(UTC)
    return 12 * utc.year + utc.month - 1


def require_date(text: str, field: str) -> str:
    """Returns the text if it is empty or a date like 2026-03-31.

    Raises:
        InvalidInputError: it is neither.
    """
    try:
        if text and date.fromisoformat(text).isoformat() != text:
            raise ValueError
    except ValueError:
        raise InvalidInputError.of(field, "must be a date like 2026-03-31, got %(got)r", got=text[:20]) from None
    return text


_REFERENCE_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without I, L, O and U, which people take for others: Crockford's base 32."""
_REFERENCE_LENGTH: Final = 16
"""80 bits, so that nobody finds two requests with the same reference; ISO 11649 has room for 21."""


def payment_reference(pool: str, platform: str, request_id: str) -> str:
    """Returns the reference that a report's payment is to carry: an ISO 11649 creditor reference.

    It follows from what it refers to, so anyone can recompute it.
    """
    digest = int.from_bytes(sha256(f"{pool}\n{platform}\n{request_id}".encode()).digest()[:10], "big")
    text = "".join(_REFERENCE_LETTERS[digest >> 5 * place & 31] for place in range(_REFERENCE_LENGTH))
    return f"RF{mod_97_10.calc_check_digits(text + 'RF')}{text}"


class ReportContent(Content):
    """A platform reported what it owes for a period; what its credit covers is then received.

    `distribute` and `currency` are the pool's. `period` may be empty in a pool without periods.
    """

    type: ClassVar[str] = "report.v1"

    platform: str
    request_id: str
    period: str
    amount_minor: AmountMinor
    currency: str
    distribute: str
    payment_reference: str
    note: str
    income_minor: AmountMinor | None = Field(default=None, exclude_if=is_none)
    """The income in the period that the platform declares, of which a tariff may take a share; None if it does not."""

    @property
    def identity(self) -> tuple[str, ...]:
        """The platform's id of the request."""
        return "request_id", self.type, self.platform, self.request_id

    @property
    def actor(self) -> str:
        """The platform."""
        return f"platforms/{self.platform}"

    @property
    def reporter(self) -> str | None:
        """The platform."""
        return self.platform

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From the platform to what is due, or to the revenue where the pool distributes what is reported."""
        owed = platform_account(self.platform)
        if self.distribute == Distribute.REPORTED:
            return (Transfer(owed, REVENUE, self.amount_minor, Purpose.REPORT),)
        due, credit = due_account(self.platform), credit_account(self.platform)
        covered = min(past.balance(credit), self.amount_minor)
        return _moving(
            (owed, due, self.amount_minor, Purpose.REPORT),
            (due, OUTSIDE, covered, Purpose.CREDIT),
            (credit, REVENUE, covered, Purpose.CREDIT),
        )


class ReceiptContent(Movement):
    """Money arrived, of a platform or, where that is empty, of an unknown payer.

    `payment_reference` is what came with it, `received_on` the day that the bank names; both may be empty.
    """

    type: ClassVar[str] = "receipt.v1"

    platform: str
    payment_reference: str
    received_on: str
    note: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From what is due to the revenue; what is beyond that is the platform's credit."""
        if not self.platform:
            return (Transfer(OUTSIDE, UNMATCHED, self.amount_minor, Purpose.RECEIPT),)
        due = due_account(self.platform)
        expected = min(past.balance(due), self.amount_minor)
        return _moving(
            (due, REVENUE, expected, Purpose.RECEIPT),
            (OUTSIDE, credit_account(self.platform), self.amount_minor - expected, Purpose.CREDIT),
        )


class MatchContent(Movement):
    """Somebody found out whose a receipt of an unknown payer is; what is left of it becomes the platform's."""

    type: ClassVar[str] = "match.v1"

    receipt: int
    """The receipt's leaf."""
    platform: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From what was unmatched to the revenue as far as it is due, and to the platform's credit beyond that."""
        due = due_account(self.platform)
        expected = min(past.balance(due), self.amount_minor)
        return _moving(
            (due, OUTSIDE, expected, Purpose.MATCH),
            (UNMATCHED, REVENUE, expected, Purpose.MATCH),
            (UNMATCHED, credit_account(self.platform), self.amount_minor - expected, Purpose.CREDIT),
        )


class ReversalContent(Movement):
    """A report or a receipt is taken back, in part or whole; it is named by its leaf.

    `of`, `platform` and `distribute` say what is reversed, whose it is, and what the pool distributes. A chargeback is
    of a receipt that the bank has taken back already: no open round can reserve its money.
    """

    type: ClassVar[str] = "reversal.v1"

    reverses: int
    of: str
    platform: str
    distribute: str
    chargeback: bool
    reason: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """The way back: from what is not yet distributable first, then from the revenue, which may fall below zero."""
        purpose = Purpose.CHARGEBACK if self.chargeback else Purpose.REVERSAL
        owed, due, credit = (account(self.platform) for account in (platform_account, due_account, credit_account))
        if self.of == ReceiptContent.type:
            if not self.platform:
                return (Transfer(UNMATCHED, OUTSIDE, self.amount_minor, purpose),)
            spare = min(past.balance(credit), self.amount_minor)
            return _moving((credit, OUTSIDE, spare, purpose), (REVENUE, due, self.amount_minor - spare, purpose))
        if self.distribute == Distribute.REPORTED:
            return (Transfer(REVENUE, owed, self.amount_minor, purpose),)
        open_minor = min(past.balance(due), self.amount_minor)
        arrived = self.amount_minor - open_minor
        return _moving(
            (due, owed, open_minor, purpose), (OUTSIDE, owed, arrived, purpose), (REVENUE, credit, arrived, purpose)
        )


class WaiverContent(ActContent):
    """The round that closes a period does not wait for a platform's report, or for its money; what comes is late."""

    type: ClassVar[str] = "waiver.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    platform: str
    period: str
    reason: str

    @property
    def identity(self) -> tuple[str, ...]:
        """The period and the platform."""
        return "waiver", self.period, self.platform


def _moving(*moves: tuple[str, str, int, Purpose]) -> Sequence[Transfer]:
    return tuple(_transfers(moves))


def _transfers(moves: Sequence[tuple[str, str, int, Purpose]]) -> Iterator[Transfer]:
    for from_account, to_account, amount_minor, purpose in moves:
        if amount_minor:
            yield Transfer(from_account, to_account, amount_minor, purpose)
