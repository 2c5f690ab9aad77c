"""How the console writes amounts and numbers: exactly, however long they are."""

from __future__ import annotations

import pytest
from babel import Locale
from iso4217 import Currency
from jinja2 import Environment

from ledger.errors import InvalidInputError
from services.console.formats import FILTERS, amount_text, count, money_text
from services.console.forms import parts_of
from services.console.texts import Tongue, tongue_of


@pytest.mark.parametrize(
    ("amount_minor", "currency", "locale", "text"),
    [
        (123_456, "EUR", "en_GB", "1,234.56"),
        (123_456, "EUR", "de", "1.234,56"),
        (123_456, "EUR", "de_CH", "1'234.56"),
        (-5, "EUR", "en_GB", "\N{MINUS SIGN}0.05"),
        (1_234, "JPY", "en_GB", "1,234"),
        (1_234, "KWD", "en_GB", "1.234"),
        (10**15, "EUR", "en_GB", "10,000,000,000,000.00"),
    ],
)
def test_an_amount_is_written_with_all_that_it_has(amount_minor: int, currency: str, locale: str, text: str) -> None:
    assert amount_text(amount_minor, currency, Locale.parse(locale)) == text


def test_a_change_has_its_sign() -> None:
    assert amount_text(5, "EUR", Locale.parse("en_GB"), signed=True) == "+0.05"
    assert amount_text(0, "EUR", Locale.parse("en_GB"), signed=True) == "0.00"


def test_money_names_its_currency() -> None:
    assert money_text(123_456, "EUR", Locale.parse("de")) == "1.234,56\N{NO-BREAK SPACE}€"


@pytest.mark.parametrize("locale", ["en_GB", "de"])
def test_no_currency_loses_a_digit(locale: str) -> None:
    """CLDR has fewer decimals than ISO 4217 for HUF, IDR, COP and others, as their coins are out of use."""
    for currency in (each for each in Currency if each.exponent is not None):
        for shown in (money_text, amount_text):
            digits = "".join(
                letter for letter in shown(1_234_567, currency.code, Locale.parse(locale)) if letter.isdigit()
            )
            assert digits == "1234567", currency.code


@pytest.mark.parametrize(
    ("text", "locale", "minor"),
    [("1,5", "en_GB", 1500), ("1,234", "de", 1234), ("1.234", "en_GB", 1234), ("1,2340", "en_GB", 1234),
     ("1234", "de", 1_234_000), ("1,234", "en_GB", None), ("1.234", "de", None), ("1.2345", "en_GB", None),
     ("1,234.5", "en_GB", None)],
)  # fmt: skip
def test_an_amount_with_three_decimals_is_not_taken_for_thousands(text: str, locale: str, minor: int | None) -> None:
    if minor is not None:
        assert parts_of(text, "amount", 1000, Locale.parse(locale)) == minor
        return
    with pytest.raises(InvalidInputError):
        parts_of(text, "amount", 1000, Locale.parse(locale))


@pytest.mark.parametrize(
    "text",
    ["1e3", "1_000", "\N{FULLWIDTH DIGIT ONE}2", "\N{ARABIC-INDIC DIGIT THREE}", "1 000", "1\N{NO-BREAK SPACE}000",
     "NaN", "Infinity", "0x10", "--1", ".", "1.", ".5", "1e-9999999", "9" * 5000, "1.0000000000000000000000000000001"],
)  # fmt: skip
def test_an_amount_is_in_plain_digits_and_never_rounded(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parts_of(text, "amount", 100)


@pytest.mark.parametrize(
    ("text", "parts"), [("", 0), (" 5 ", 500), ("-0", 0), ("-1,5", -150), ("12.3400", 1234), ("1" + "0" * 15, 10**17)]
)
def test_an_amount_may_be_empty_negative_or_have_zeros_behind_it(text: str, parts: int) -> None:
    assert parts_of(text, "amount", 100) == parts


def test_a_weight_longer_than_any_float_keeps_every_digit() -> None:
    weight = int("123456789" * 5)
    shown = count({"tongue": tongue_of("en", "")}, str(weight))  # type: ignore[arg-type]  # all that it looks at
    assert shown.replace(",", "") == str(weight)


@pytest.mark.parametrize(
    ("locale", "share", "date"), [("en_GB", "2.5%", "31 Jan 2026"), ("de", "2,5\N{NO-BREAK SPACE}%", "31.01.2026")]
)
def test_percents_and_days_are_written_as_the_reader_does(locale: str, share: str, date: str) -> None:
    page = Environment(autoescape=True)
    page.filters |= FILTERS
    made = page.from_string("{{ 25000|percent }} {{ '2026-01-31'|day }} {{ ''|day }}")
    shown = made.render(tongue=Tongue("en", Locale.parse(locale)))
    assert shown == f'{share} <time datetime="2026-01-31">{date}</time> '
