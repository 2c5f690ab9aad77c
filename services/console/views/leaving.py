"""Unsubscribing from mail, by the link in each message: mail programs do it with one click (RFC 8058)."""

from __future__ import annotations

from starlette.responses import Response

from ledger.store import notices
from ledger.store.database import read_time
from services.console.visit import PageMissingError, Visit


def ask(visit: Visit) -> Response:
    """Ask whoever opened the link: programs that look at links beforehand unsubscribe nobody."""
    with visit.parts.database.transaction() as connection:
        owner = notices.owner_of_token(connection, visit.ids["token"])
    if owner is None:
        raise PageMissingError
    return visit.page("unsubscribe.html", owner=owner, is_done=False)


def leave(visit: Visit) -> Response:
    """Send no more mail to a contact but what it must be told. Repeating it changes nothing."""
    with visit.parts.database.transaction() as connection:
        owner = notices.unsubscribe(connection, visit.ids["token"], read_time(connection))
    if owner is None:
        raise PageMissingError
    return visit.page("unsubscribe.html", owner=owner, is_done=True)
