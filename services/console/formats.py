"""Amounts, dates and numbers as a reader's locale writes them; exact, by integers and decimals."""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any, Final

from babel.core import Locale
from babel.dates import format_date, format_time, format_timedelta
from babel.numbers import format_decimal
from google.protobuf.timestamp_pb2 import Timestamp
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from ledger.errors import stored
from ledger.money import minor_unit_exponent

PPM: Final = 1_000_000
PERCENT_DIGITS: Final = 4
"""What a millionth has of digits after the point, as a percentage."""
DIGITS: Final = 80
"""Weights are sums of products, and longer than the 28 digits that decimals have by default."""
SHOWN_OF_HASH: Final = 12


def _locale(context: Context) -> Locale:
    found: Locale = context["tongue"].locale
    return found


def decimals_of(currency: str) -> int:
    """Returns how many decimals amounts of a currency have that is stored.

    Raises:
        LedgerCorruptError: it is none.
    """
    with stored("a currency"):
        return minor_unit_exponent(currency)


def in_major(amount_minor: int, currency: str) -> Decimal:
    """Returns an amount in major units, exactly."""
    return Decimal(amount_minor).scaleb(-decimals_of(currency))


def amount_text(amount_minor: int, currency: str, locale: Locale, *, signed: bool = False) -> str:
    """Returns an amount without its currency, which the table or the figure names."""
    decimals = decimals_of(currency)
    pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
    with localcontext(prec=DIGITS):
        shown = format_decimal(in_major(abs(amount_minor), currency), format=pattern, locale=locale)
    sign = "\N{MINUS SIGN}" if amount_minor < 0 else "+" if signed and amount_minor else ""
    return f"{sign}{shown}"


def money_text(amount_minor: int, currency: str, locale: Locale) -> str:
    """Returns an amount with its currency, and with the decimals of ISO 4217.

    CLDR would have fewer for fifteen currencies, such as HUF and IDR, whose small coins are out of use, and round.
    """
    pattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (decimals_of(currency),) * 2
    with localcontext(prec=DIGITS):
        shown: str = pattern.apply(in_major(amount_minor, currency), locale, currency=currency, currency_digits=False)
    return shown


@pass_context
def amount(context: Context, amount_minor: int, currency: str, signed: bool = False) -> str:
    """An amount without its currency, in a template."""
    return amount_text(amount_minor, currency, _locale(context), signed=signed)


@pass_context
def money(context: Context, amount_minor: int, currency: str) -> str:
    """An amount with its currency, in a template."""
    return money_text(amount_minor, currency, _locale(context))


def count_text(whole: int, locale: Locale, *, signed: bool = False) -> str:
    """Returns a whole number, grouped."""
    sign = "\N{MINUS SIGN}" if whole < 0 else "+" if signed and whole else ""
    with localcontext(prec=DIGITS):
        return f"{sign}{format_decimal(abs(whole), locale=locale)}"


def percent_text(ppm: int, locale: Locale) -> str:
    """Returns millionths as a percentage, with as many digits as it has: 2.5% in English, 2,5 % in German."""
    pattern = copy(locale.percent_formats[None])
    pattern.frac_prec = (0, PERCENT_DIGITS)
    shown: str = pattern.apply(Decimal(ppm) / PPM, locale)
    return shown


def factor_text(ppm: int, locale: Locale) -> str:
    """Returns millionths as a factor."""
    shown: str = format_decimal(Decimal(ppm) / PPM, format="#,##0.######", locale=locale)
    return shown


@pass_context
def count(context: Context, number: int | str, signed: bool = False) -> str:
    """A whole number, in a template."""
    return count_text(int(number), _locale(context), signed=signed)


@pass_context
def percent(context: Context, ppm: int) -> str:
    """A percentage, in a template."""
    return percent_text(ppm, _locale(context))


@pass_context
def factor(context: Context, ppm: int) -> str:
    """A factor, in a template."""
    return factor_text(ppm, _locale(context))


def moment(value: Any) -> datetime | None:
    """Returns the time of a message or text; None where it is unset."""
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC) if value.seconds or value.nanos else None
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    found: datetime | None = value
    return found


def moment_text(found: datetime, locale: Locale) -> str:
    """Returns a time to the minute in UTC."""
    both = format_time(found, "short", tzinfo=UTC, locale=locale), format_date(found, "medium", locale=locale)
    return str(locale.datetime_formats["medium"]).format(*both)


@pass_context
def when(context: Context, value: Any) -> Markup:
    """A time to the minute in UTC, which machines can read too."""
    found = moment(value)
    if found is None:
        return Markup("")
    return Markup('<time datetime="{}">{}</time>').format(found.isoformat(), moment_text(found, _locale(context)))


@pass_context
def day(context: Context, value: Any) -> Markup:
    """A date in UTC: of a time, or as 2026-03-31."""
    found = moment(value) if value else None
    if found is None:
        return Markup("")
    shown = format_date(found, "medium", locale=_locale(context))
    said = value if isinstance(value, str) else found.isoformat()
    return Markup('<time datetime="{}">{}</time>').format(said, shown)


def duration_text(seconds: int, locale: Locale) -> str:
    """Returns how long something takes, roughly, in words."""
    shown: str = format_timedelta(seconds, threshold=2, locale=locale)
    return shown


@pass_context
def duration(context: Context, seconds: int) -> str:
    """A duration, in a template."""
    return duration_text(seconds, _locale(context))


def digest(value: bytes | str) -> Markup:
    """A hash: its beginning to be seen, all of it to be read out and copied."""
    text = value if isinstance(value, str) else value.hex()
    return Markup('<code class="hash" title="{}">{}</code>').format(text, text[:SHOWN_OF_HASH])


def identity(name: str) -> str:
    """The last id of a resource name."""
    return name.rpartition("/")[2]


FILTERS: Final = {
    "amount": amount, "money": money, "count": count, "percent": percent, "factor": factor, "when": when, "day": day,
    "duration": duration, "digest": digest, "identity": identity,
}  # fmt: skip
