"""Money by example: ISO 4217 codes with their minor units, and the bounds of amounts."""

from __future__ import annotations

import pytest

from ledger.errors import InvalidInputError
from ledger.money import MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR, minor_unit_exponent, require_amount


@pytest.mark.parametrize(
    ("currency", "exponent"),
    [("EUR", 2), ("USD", 2), ("GBP", 2), ("JPY", 0), ("KRW", 0), ("ISK", 0), ("BHD", 3), ("TND", 3), ("CLF", 4)],
)
def test_a_currency_has_the_minor_unit_of_iso_4217(currency: str, exponent: int) -> None:
    assert minor_unit_exponent(currency) == exponent


@pytest.mark.parametrize("currency", ["XAU", "XDR", "XTS", "XXX", "XAG", "XSU"])
def test_a_currency_without_a_minor_unit_is_refused(currency: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"^currency: {currency} has no minor unit$"):
        minor_unit_exponent(currency)


@pytest.mark.parametrize(
    "currency", ["", "eur", "EU", "EURO", " EUR", "EUR ", "Euro", "978", "ZZZ", "€", "BTC", "None"]
)
def test_a_code_that_iso_4217_does_not_list_is_refused(currency: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        minor_unit_exponent(currency)
    assert str(refused.value) == f"currency: is not an ISO 4217 code: {currency!r}"


@pytest.mark.parametrize("amount_minor", [1, 2, 10**15])
def test_an_amount_at_a_bound_is_taken(amount_minor: int) -> None:
    assert require_amount(amount_minor, "revenue.amount_minor") == amount_minor


@pytest.mark.parametrize("amount_minor", [0, -1, 10**15 + 1, 2**63])
def test_an_amount_past_a_bound_is_refused_by_its_field(amount_minor: int) -> None:
    with pytest.raises(InvalidInputError) as refused:
        require_amount(amount_minor, "revenue.amount_minor")
    assert str(refused.value) == f"revenue.amount_minor: must be 1 to 1,000,000,000,000,000, got {amount_minor:,}"


def test_the_limits_are_what_their_reasons_say() -> None:
    assert MAX_AMOUNT_MINOR < 2**53
    assert 9_000 * MAX_AMOUNT_MINOR < MAX_BALANCE_MINOR == 2**63 - 1
