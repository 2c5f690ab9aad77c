"""Amounts as people write them: major units with as many decimals as the currency has. No floats anywhere."""

from __future__ import annotations

import re
from typing import Final

from ledger.errors import InvalidInputError
from ledger.money import MAX_AMOUNT_MINOR, decimal_text, minor_unit_exponent
from services.cli.base.exits import InputError

_AMOUNT: Final = re.compile(r"([0-9]{1,30})(?:\.([0-9]+))?")


def major(amount_minor: int, currency: str) -> str:
    """Returns an amount for people: `12.50 EUR` for 1250 and EUR."""
    return f"{decimal_text(amount_minor, _exponent(currency))} {currency}"


def amount_in_minor(amount: str | None, amount_minor: int | None, currency: str) -> int:
    """Returns minor units from an amount in major units (`12.50`) or in minor units. Exactly one is
    given.

    Raises:
        InputError: both or none are given, or the amount is not a plain decimal, has more decimals than the currency,
            or is out of range.
    """
    if amount is None and amount_minor is not None:
        found = amount_minor
    elif amount is not None and amount_minor is None:
        found = minor_from(amount, currency)
    else:
        raise InputError.of("amount", "needs either --amount (like 12.50) or --amount-minor (like 1250)")
    if not 1 <= found <= MAX_AMOUNT_MINOR:
        raise InputError.of("amount", f"must be 1 to {MAX_AMOUNT_MINOR} in minor units, got {found}")
    return found


def minor_from(amount: str, currency: str, field: str = "amount") -> int:
    """Returns minor units from an amount in major units, which may be 0.

    Raises:
        InputError: it is not a plain decimal, has more decimals than the currency, or is out of range; the error names
            `field`.
    """
    match = _AMOUNT.fullmatch(amount)
    if not match:
        raise InputError.of(field, f"must be a plain decimal like 12.50, got {amount!r}")
    exponent = _exponent(currency)
    fraction = match[2] or ""
    if len(fraction) > exponent:
        raise InputError.of(field, f"must have at most {exponent} decimals in {currency}, got {amount}")
    found = int(match[1] + fraction.ljust(exponent, "0"))
    if found > MAX_AMOUNT_MINOR:
        raise InputError.of(field, f"must be at most {MAX_AMOUNT_MINOR} in minor units, got {found}")
    return found


def _exponent(currency: str) -> int:
    try:
        return minor_unit_exponent(currency)
    except InvalidInputError as error:
        raise InputError.of("currency", error.violations[0].reason) from None
