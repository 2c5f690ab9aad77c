"""Money: an integer count of minor units with an ISO 4217 code."""

from __future__ import annotations

from typing import Final

from iso4217 import Currency

from ledger.errors import InvalidInputError, Sentence, StateError

MAX_AMOUNT_MINOR: Final = 10**15
"""The largest revenue or payment. It is below 2^53, and 9,000 of them fit in a 64-bit balance."""

MAX_BALANCE_MINOR: Final = 2**63 - 1
"""The most that an account may have: the largest Postgres bigint."""


def is_currency(code: str) -> bool:
    """Returns whether ISO 4217 lists a code, with a minor unit."""
    try:
        return Currency(code).exponent is not None
    except ValueError:
        return False


def minor_unit_exponent(currency: str, field: str = "currency") -> int:
    """Returns how many decimal digits the currency's minor unit has: 2 for EUR, 0 for JPY, 3 for BHD.

    Raises:
        InvalidInputError: ISO 4217 does not list the code, or lists it without a minor unit (XAU, XDR); the error names
            `field`.
    """
    try:
        exponent = Currency(currency).exponent
    except ValueError:
        raise InvalidInputError.of(field, "is not an ISO 4217 code: %(got)r", got=currency[:20]) from None
    if exponent is None:
        raise InvalidInputError.of(field, "%(currency)s has no minor unit", currency=currency)
    return exponent


def require_amount(amount_minor: int, field: str) -> int:
    """Returns the amount, if it is 1 to 10^15 minor units.

    Raises:
        InvalidInputError: it is not; the error names `field`.
    """
    if not 1 <= amount_minor <= MAX_AMOUNT_MINOR:
        raise InvalidInputError.of(
            field, "must be %(least)s to %(most)s, got %(got)s", least=1, most=MAX_AMOUNT_MINOR, got=amount_minor
        )
    return amount_minor


def require_balance(amount_minor: int, field: str) -> int:
    """Returns the amount, if an account may have it or lack it.

    Raises:
        InvalidInputError: it may not; the error names `field`.
    """
    if not -MAX_BALANCE_MINOR <= amount_minor <= MAX_BALANCE_MINOR:
        raise InvalidInputError.of(field, "must be within %(most)s of zero", most=MAX_BALANCE_MINOR)
    return amount_minor


def require_sum(amount_minor: int, subject: str, most: int = MAX_BALANCE_MINOR) -> int:
    """Returns a sum of amounts, if it is at most `most`, so that entries, columns and messages can have it.

    Raises:
        StateError: it is more; the error names `subject`, whose sum it is.
    """
    if amount_minor > most:
        detail = Sentence(
            "comes to %(got_minor)s in total, and %(most_minor)s is the most", got_minor=amount_minor, most_minor=most
        )
        raise StateError(subject, "SUM_TOO_LARGE", detail)
    return amount_minor


def decimal_text(amount_minor: int, exponent: int) -> str:
    """Returns an amount in major units with all its decimals: `-0.05` for -5 and an exponent of 2."""
    sign, digits = "-" * (amount_minor < 0), str(abs(amount_minor)).rjust(exponent + 1, "0")
    whole, fraction = digits[: len(digits) - exponent], digits[len(digits) - exponent :]
    return f"{sign}{whole}{'.' * bool(exponent)}{fraction}"
