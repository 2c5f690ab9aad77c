"""Unsubscribing from mail, by the link in each message: mail programs do it with one click (RFC 8058)."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from ledger.store.desk import contacts
from ledger.store.postgres.transactions import read_time
from services.console.visit import PageMissingError, Visit

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


def ask(visit: Visit) -> Response:
    """Ask whoever opened the link: programs that look at links beforehand unsubscribe nobody."""
    with visit.parts.database.transaction() as connection:
        owner = contacts.owner_of_token(connection, _token(visit))
    if owner is None:
        raise PageMissingError
    return visit.page("unsubscribe.html", owner=owner, is_done=False)


def leave(visit: Visit) -> Response:
    """Send no more mail to a contact but what it must be told. Repeating it changes nothing."""
    with visit.parts.database.transaction() as connection:
        owner = contacts.unsubscribe(connection, _token(visit), read_time(connection))
    if owner is None:
        raise PageMissingError
    return visit.page("unsubscribe.html", owner=owner, is_done=True)


def _token(visit: Visit) -> str:
    """What the address has, if it is of the form of a token: a text that Postgres cannot hold would be a failure."""
    found = visit.ids["token"]
    if not _TOKEN.fullmatch(found):
        raise PageMissingError
    return found
