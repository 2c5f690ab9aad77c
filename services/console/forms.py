"""What forms send, read as the contract wants it; and how an act that a form asks for is carried out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from babel.core import Locale
from babel.numbers import get_group_symbol
from google.protobuf.message import Message
from starlette.responses import Response

from ledger.errors import (
    AlreadyExistsError,
    BusyError,
    InvalidInputError,
    LedgerError,
    LostRaceError,
    NotFoundError,
    QuotaError,
    StateError,
)
from ledger.money import minor_unit_exponent
from ledger.registry import require_resource_id
from services.access.permissions import PermissionDeniedError
from services.console.visit import Visit, go

REFUSED: Final = (
    InvalidInputError,
    StateError,
    LostRaceError,
    BusyError,
    NotFoundError,
    AlreadyExistsError,
    PermissionDeniedError,
    QuotaError,
)
"""What a handler may say against an act, which the page then says beside its form."""

MOST: Final = 2**63 - 1
MOST_PPM: Final = 2**31 - 1
"""The largest whole number, and the largest number of millionths, that messages can have; handlers say how large one
may be."""

_NUMBER: Final = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]{1,30})(?:[.,](?P<decimals>[0-9]{1,30}))?")
"""What people write. Decimal reads `1e3`, `1_000` and the digits of every script too, where a slip is more likely."""

_GROUPED: Final = re.compile(r"[+-]?[0-9]{1,3}([.,])[0-9]{3}")
"""A number that is in thousands, or has three decimals."""

_LINES: Final = re.compile(r"[ \t]*\n\s*")
"""What parts the lines of a larger field, in which people write paragraphs."""

T = TypeVar("T")

Made = Callable[[], tuple[str, Message]]
"""Makes an act's method and request from the form."""


def text_of(visit: Visit, name: str) -> str:
    """Returns a field's text on one line, as logs have it, without the blanks around it."""
    return _LINES.sub(" ", visit.form.get(name, "").strip())


def id_of(visit: Visit, name: str, *, of: str = "") -> str:
    """Returns a field that is the id of something, so that nobody is told of names that they never wrote.

    Args:
        visit: the visit.
        name: the field.
        of: the collection whose names people may write too, such as `pools`.

    Raises:
        InvalidInputError: it is no id, or is missing.
    """
    written = text_of(visit, name)
    if not written:
        raise InvalidInputError.of(name, "is required")
    return require_resource_id(written.removeprefix(f"{of}/"), name)


def required_of(visit: Visit, name: str) -> str:
    """Returns a field that the page's form always has, so that nothing is taken for what nobody sent.

    Raises:
        InvalidInputError: it is missing.
    """
    if name not in visit.form:
        raise InvalidInputError.of(name, "is required")
    return visit.form[name]


def choice_of(visit: Visit, name: str, choices: Mapping[str, T]) -> T:
    """Returns what a field stands for that has one of these values.

    Raises:
        InvalidInputError: it has another one, or is missing.
    """
    if visit.form.get(name) not in choices:
        raise InvalidInputError.of(name, "must be one of %(choices)s", choices=", ".join(choices))
    return choices[visit.form[name]]


def parts_of(text: str, field: str, parts: int, locale: Locale | None = None, *, most: int = MOST) -> int:
    """Returns a number as people write it in whole parts of one, such as millionths.

    Args:
        text: with a point or a comma before its decimals, and nothing between its thousands.
        field: what errors name.
        parts: how many parts one has.
        locale: the reader's, if it matters: where it has a comma between thousands, `1,234` is no number.
        most: how many parts fit into the message.

    Raises:
        InvalidInputError: it is none, has more digits than there are parts, may be a thousand times as much, or does
            not fit.
    """
    grouped = _GROUPED.fullmatch(text.strip())
    if locale and grouped and grouped[1] == get_group_symbol(locale):
        raise InvalidInputError.of(field, "must have nothing between thousands, and a zero more after three decimals")
    found = _NUMBER.fullmatch(text.strip() or "0")
    if not found:
        raise InvalidInputError.of(field, "must be a number in digits 0 to 9, with a point or a comma before decimals")
    sign, whole, decimals = found["sign"], found["whole"], found["decimals"] or ""
    unit: int = 10 ** len(decimals)
    scaled, rest = divmod(int(whole + decimals) * parts, unit)
    if rest:
        raise InvalidInputError.of(field, "has too many digits")
    if scaled > most:
        raise InvalidInputError.of(field, "is too large")
    return -scaled if sign == "-" else scaled


def amount_of(visit: Visit, name: str, currency: str) -> int:
    """Returns an amount that people write in major units, in minor units.

    Raises:
        InvalidInputError: it is none, has more digits than the currency, or may be in thousands.
    """
    return parts_of(visit.form.get(name, ""), name, 10 ** minor_unit_exponent(currency), visit.tongue.locale)


def request_id_of(visit: Visit) -> str:
    """Returns the request id that the page gave its form: sending a form twice does a thing once."""
    return text_of(visit, "request_id")


def new_request_id() -> str:
    """Returns a request id for a form."""
    return f"console-{secrets.token_hex(8)}"


def acted(visit: Visit, acts: dict[str, Made], path: str, again: Callable[[LedgerError], Response]) -> Response:
    """Carry out the act that the form names, and lead on: to what was proposed, or to a page that says it is done.

    Args:
        visit: the visit.
        acts: what the page's forms may ask for.
        path: where to go once it is done.
        again: the page with what is wrong, where the handler says something against it.
    """
    try:
        method, request = choice_of(visit, "act", acts)()
        answer: Any = visit.call(method, request)
    except REFUSED as error:
        return again(error)
    if proposal := getattr(answer, "proposal", ""):
        # Who is no operator cannot open the proposal, and stays on their own page.
        return go(f"/{proposal}" if visit.is_reader() else path, done="proposed")
    return go(path, done="saved")
