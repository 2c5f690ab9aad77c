"""Bodies of bookings in Postgres: what the lines of a bank's file mean, or what an operator says of one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from ledger.acts.entries import BankFileContent, BankMatchContent
from ledger.payments import Booking, Bookings, parse_bookings, render
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY

SALT_BYTES: Final = 32


def put_bookings(connection: sa.Connection, bookings: Sequence[Booking]) -> str:
    """Keep bookings, with a new salt; returns the hash of their body in hexadecimal."""
    body = render(Bookings(salt=secrets.token_hex(SALT_BYTES), bookings=list(bookings)))
    log.put_body(connection, REGISTRY, body)
    return sha256(body).hexdigest()


def bookings_of(connection: sa.Connection, content: BankFileContent | BankMatchContent) -> Bookings:
    """Returns what the lines of a file mean, or what an operator said of one."""
    return parse_bookings(log.checked_body(connection, REGISTRY, bytes.fromhex(content.bookings_sha256)))
