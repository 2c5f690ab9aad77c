"""What forms send, read as the contract wants it; and how an act that a form asks for is carried out."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from google.protobuf.message import Message
from starlette.responses import Response

from ledger.errors import BusyError, InvalidInputError, LostRaceError, NotFoundError, StateError
from ledger.money import minor_unit_exponent
from services.access.permissions import PermissionDeniedError
from services.console.calls import said
from services.console.visit import PageMissingError, Visit, go

REFUSED: Final = (InvalidInputError, StateError, LostRaceError, BusyError, NotFoundError, PermissionDeniedError)
"""What a handler may say against an act, which the page then says beside its form."""

_LARGEST: Final = Decimal(10**15)

Made = Callable[[], tuple[str, Message]]
"""Makes an act's method and request from the form."""


def text_of(visit: Visit, name: str) -> str:
    """Returns a field's text without the blanks around it."""
    return visit.form.get(name, "").strip()


def parts_of(text: str, field: str, parts: int) -> int:
    """Returns a number as people write it in whole parts of one, such as millionths.

    Raises:
        InvalidInputError: it is none, or has more digits than there are parts.
    """
    try:
        found = Decimal(text.strip().replace(",", ".") or "0")
    except InvalidOperation:
        raise InvalidInputError.of(field, "must be a number") from None
    if not found.is_finite() or abs(found) > _LARGEST:
        raise InvalidInputError.of(field, "is too large")
    scaled = found * parts
    if scaled != scaled.to_integral_value():
        raise InvalidInputError.of(field, "has too many digits")
    return int(scaled)


def amount_of(visit: Visit, name: str, currency: str) -> int:
    """Returns an amount that people write in major units, in minor units.

    Raises:
        InvalidInputError: it is none, or has more digits than the currency.
    """
    return parts_of(visit.form.get(name, ""), name, 10 ** minor_unit_exponent(currency))


def request_id_of(visit: Visit) -> str:
    """Returns the request id that the page gave its form: sending a form twice does a thing once."""
    return text_of(visit, "request_id")


def new_request_id() -> str:
    """Returns a request id for a form."""
    return f"console-{secrets.token_hex(8)}"


def acted(visit: Visit, acts: dict[str, Made], path: str, again: Callable[[str], Response]) -> Response:
    """Carry out the act that the form names, and lead on: to what was proposed, or to a page that says it is done.

    Args:
        visit: the visit.
        acts: what the page's forms may ask for.
        path: where to go once it is done.
        again: the page with what is wrong, where the handler says something against it.
    """
    wanted = acts.get(visit.form.get("act", ""))
    if wanted is None:
        raise PageMissingError
    try:
        method, request = wanted()
        answer: Any = visit.call(method, request)
    except REFUSED as error:
        return again(said(error, visit.request_id))
    if proposal := getattr(answer, "proposal", ""):
        # Who is no operator cannot open the proposal, and stays on their own page.
        return go(f"/{proposal}" if visit.is_reader() else path, done="proposed")
    return go(path, done="saved")
