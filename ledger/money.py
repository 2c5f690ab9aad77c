"""Money: an integer count of minor units with an ISO 4217 code."""

from __future__ import annotations

from typing import Final

from iso4217 import Currency

from ledger.errors import InvalidInputError

MAX_AMOUNT_MINOR: Final = 10**15
"""The most that one revenue or payment may be. It is below 2^53, and 9,000 of them fit a 64-bit balance."""

MAX_BALANCE_MINOR: Final = 2**63 - 1
"""The most that an account may hold: what a Postgres bigint holds."""


def minor_unit_exponent(currency: str, field: str = "currency") -> int:
    """How many decimal digits the currency's minor unit has: 2 for EUR, 0 for JPY, 3 for BHD.

    Raises:
        InvalidInputError: ISO 4217 does not list the code, or lists it without a minor unit (XAU, XDR); the error names
            `field`.
    """
    try:
        exponent = Currency(currency).exponent
    except ValueError:
        raise InvalidInputError.of(field, f"{currency[:20]!r} is not an ISO 4217 code") from None
    if exponent is None:
        raise InvalidInputError.of(field, f"{currency} has no minor unit")
    return exponent


def require_amount(amount_minor: int, field: str) -> int:
    """The amount, if it is 1 to 10^15 minor units.

    Raises:
        InvalidInputError: it is not; the error names `field`.
    """
    if not 1 <= amount_minor <= MAX_AMOUNT_MINOR:
        raise InvalidInputError.of(field, f"must be 1 to {MAX_AMOUNT_MINOR}, is {amount_minor}")
    return amount_minor


def decimal_text(amount_minor: int, exponent: int) -> str:
    """An amount in major units with all its decimals: `-0.05` for -5 and an exponent of 2."""
    sign, digits = "-" * (amount_minor < 0), str(abs(amount_minor)).rjust(exponent + 1, "0")
    whole, fraction = digits[: len(digits) - exponent], digits[len(digits) - exponent :]
    return f"{sign}{whole}{'.' * bool(exponent)}{fraction}"
