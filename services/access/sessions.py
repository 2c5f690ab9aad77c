"""Sessions of the console: who is signed in, and links that sign in once.

A session stands for the key by which it began, so it has that key's rights and ends with it, and logs name the key. A
cookie has a token of 256 random bits, of which only the SHA-256 is stored. A signature would add nothing: it cannot be
guessed, and ending a session has to be looked up in any case.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from ledger.acts.entries import KeyKind
from ledger.store.desk.pace import Pace
from ledger.store.desk.tables import session, sign_in_link
from ledger.store.postgres.database import Database
from ledger.store.tables import api_key
from services.access.keys import (
    Caller,
    Principal,
    Role,
    UnauthenticatedError,
    authenticate,
    authenticate_bound,
    caller_of,
)
from services.access.openid import Identity

SESSION_LASTS: Final = timedelta(hours=12)
"""A working day. Nobody is signed in for longer without showing again who they are."""

SIGN_INS: Final = Pace("sign_ins_per_day", 200, timedelta(days=1))
"""By one key: each leaves a row that is kept for a month."""

LINK_LASTS: Final = timedelta(hours=1)

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Sessions:
    """Begins sessions, finds whose they are, and ends them."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def sign_in(self, key: str) -> str:
        """Begin a session by a key; returns what its cookie has.

        Raises:
            UnauthenticatedError: the key is unknown, revoked, or not valid now.
            QuotaError: it signed in too often.
        """
        with self._database.transaction() as connection:
            calling = authenticate(connection, key, self._clock())
            return self._begin(connection, calling.key_id)

    def sign_in_as(self, identity: Identity) -> str:
        """Begin a session by an account at a provider that has just said whose it is; returns what its cookie has.

        Raises:
            UnauthenticatedError: no key stands for the account, or none that is valid now.
        """
        with self._database.transaction() as connection:
            calling = authenticate_bound(connection, KeyKind.IDENTITY, identity.hash, self._clock())
            return self._begin(connection, calling.key_id)

    def caller(self, token: str) -> Caller:
        """Returns who is signed in.

        Raises:
            UnauthenticatedError: there is no such session, or it has ended, or the key by which it began does not hold.
        """
        query = (
            sa.select(api_key, session.c.expires_at.label("session_ends"))
            .join(session, session.c.key_id == api_key.c.key_id)
            .where(session.c.token_sha256 == _digest(token), session.c.ended_at.is_(None))
        )
        now = self._clock()
        with self._database.reading() as connection:
            row = connection.execute(query).first()
            if row is None or now >= row.session_ends:
                raise UnauthenticatedError
            return caller_of(connection, row, now)

    def sign_out(self, token: str) -> None:
        """End a session; ending one that has ended is a no-op."""
        ended = sa.update(session).where(session.c.token_sha256 == _digest(token), session.c.ended_at.is_(None))
        with self._database.transaction() as connection:
            connection.execute(ended.values(ended_at=self._clock()))

    def sign_out_everywhere(self, principal: Principal) -> None:
        """End every session of a principal, by whichever of its keys it began."""
        own = sa.select(api_key.c.key_id).where(api_key.c.principal == principal.name)
        ended = sa.update(session).where(session.c.key_id.in_(own), session.c.ended_at.is_(None))
        with self._database.transaction() as connection:
            connection.execute(ended.values(ended_at=self._clock()))

    def make_link(self, key_id: str) -> str:
        """Returns a token that signs in once, within an hour, by a key that is known by its id."""
        token, now = secrets.token_urlsafe(32), self._clock()
        row = {"token_sha256": _digest(token), "key_id": key_id, "created_at": now, "expires_at": now + LINK_LASTS}
        with self._database.transaction() as connection:
            connection.execute(sa.insert(sign_in_link).values(row))
        return token

    def owner(self, link: str) -> Principal:
        """Returns whom a link would sign in; it is not used up.

        Raises:
            UnauthenticatedError: there is no such link, or it was used, or it is too old.
        """
        query = sa.select(sign_in_link.c.key_id).where(*self._standing(link))
        with self._database.reading() as connection:
            key_id = connection.execute(query).scalar()
            return self._owner(connection, key_id).principal

    def use(self, link: str) -> str:
        """Begin a session by a link, which is used up; returns what its cookie has.

        Raises:
            UnauthenticatedError: there is no such link, or it was used, or it is too old.
        """
        used = sa.update(sign_in_link).where(*self._standing(link)).values(used_at=self._clock())
        with self._database.transaction() as connection:
            key_id = connection.execute(used.returning(sign_in_link.c.key_id)).scalar()
            return self._begin(connection, self._owner(connection, key_id).key_id)

    def _standing(self, link: str) -> tuple[sa.ColumnElement[bool], ...]:
        of = sign_in_link.c
        return of.token_sha256 == _digest(link), of.used_at.is_(None), of.expires_at > self._clock()

    def _owner(self, connection: sa.Connection, key_id: str | None) -> Caller:
        row = connection.execute(sa.select(api_key).where(api_key.c.key_id == key_id)).first()
        if row is None:
            raise UnauthenticatedError
        return caller_of(connection, row, self._clock())

    def _begin(self, connection: sa.Connection, key_id: str) -> str:
        token, now = secrets.token_urlsafe(32), self._clock()
        sign_ins = sa.select(session.c.created_at).where(session.c.key_id == key_id)
        earlier = sign_ins.order_by(session.c.created_at.desc()).offset(SIGN_INS.most - 1).limit(1)
        SIGN_INS.require(f"keys/{key_id}", connection.execute(earlier).scalar(), now)
        row = {"token_sha256": _digest(token), "key_id": key_id, "created_at": now, "expires_at": now + SESSION_LASTS}
        connection.execute(sa.insert(session).values(row))
        return token


def operators_with_keys(connection: sa.Connection, now: datetime) -> dict[str, str]:
    """The id of a key that holds for each operator that has one, by the operator's name."""
    holds = (
        api_key.c.revoked_at.is_(None),
        sa.or_(api_key.c.begins_at.is_(None), api_key.c.begins_at <= now),
        sa.or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now),
    )
    query = sa.select(api_key.c.principal, api_key.c.key_id).where(*holds, sa.func.cardinality(api_key.c.pools) == 0)
    rows = connection.execute(query.order_by(api_key.c.created_at.desc(), api_key.c.key_id)).all()
    return {row.principal: row.key_id for row in rows if Principal.parse(row.principal).role is Role.OPERATOR}


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest() if _TOKEN.fullmatch(token) else b""
