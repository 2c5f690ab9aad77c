"""API keys: who a caller is.

A key is `moiety_<id>_<secret>`. The secret has 256 random bits, so its plain SHA-256 is as safe as any slow hash; only
the hash is stored. An account at an OpenID provider and a client certificate are keys too: they have an id, an owner
and an end as every key has, and what is stored is their hash (`moiety.keys`,
`services.access.certificates`).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from ledger.acts.entries import KeyContent, KeyKind, KeyRevocationContent
from ledger.acts.people import Actor
from ledger.errors import (
    AlreadyExistsError,
    InvalidInputError,
    LedgerError,
    NotFoundError,
    Sentence,
    StateError,
    stored,
)
from ledger.registry import require_resource_id
from ledger.store.logs.log import PoolRef
from ledger.store.pools.pools import get_pool
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.collectives import require_collective
from ledger.store.registry.people import is_suspended, read_people
from ledger.store.registry.platforms import platform_number
from ledger.store.tables import api_key

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
_KEY: Final = re.compile(rf"moiety_({_KEY_ID.pattern})_([A-Za-z0-9_-]{{43}})")


class Role(StrEnum):
    """What a principal may do; the value is the collection in its resource name."""

    OPERATOR = "operators"
    PLATFORM = "platforms"
    COLLECTIVE = "collectives"
    AUDITOR = "auditors"


PEOPLE: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
"""Who is registered as a person, and can be suspended. A platform is expelled, and a collective's money held."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The principal of a key."""

    role: Role
    id: str

    @property
    def name(self) -> str:
        """Its resource name, `platforms/acme`."""
        return f"{self.role.value}/{self.id}"

    @classmethod
    def parse(cls, name: str, field: str = "principal") -> Principal:
        """Returns the principal of a resource name.

        Raises:
            InvalidInputError: the name is not a principal's.
        """
        collection, slash, identity = name.partition("/")
        if not slash or collection not in tuple(Role):
            known = ", ".join(f"{role.value}/..." for role in Role)
            raise InvalidInputError.of(field, "must be one of %(known)s, got %(got)r", known=known, got=name[:80])
        return cls(Role(collection), require_resource_id(identity, field))


class UnauthenticatedError(LedgerError):
    """No valid key. It does not say what is wrong, so that keys cannot be guessed piece by piece."""

    def __str__(self) -> str:
        return "the API key or certificate is missing, unknown, revoked or not valid now, or its owner is suspended"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller: a principal, and the key that it used."""

    principal: Principal
    key_id: str
    pools: frozenset[str] = frozenset()
    """The only pools that the key gives access to; empty for all."""
    expires_at: datetime | None = None

    @property
    def actor(self) -> Actor:
        """The caller as logs name it."""
        return Actor(self.principal.name, self.key_id)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    key_id: str
    principal: str
    created_at: datetime | None
    """When it was issued; None for one that is only proposed."""
    revoked_at: datetime | None = None
    begins_at: datetime | None = None
    expires_at: datetime | None = None
    pools: tuple[str, ...] = ()
    kind: KeyKind = KeyKind.SECRET
    issuer: str = ""
    """The OpenID provider of an identity; empty for other keys."""


_ISSUER: Final = re.compile(r"https://[!-~]{1,190}|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?(/[!-~]{0,100})?")


def is_issuer(text: str) -> bool:
    """Whether a text is the address of an OpenID provider: https, or plain http on this machine, for trying."""
    return _ISSUER.fullmatch(text) is not None


def parse_hash(text: str, field: str) -> tuple[str, str]:
    """Returns the key's id, and the hash of its secret, from the text in `moiety.keys.NewKey.hash`.

    Raises:
        InvalidInputError: the text is not in that form.
    """
    key_id, _, digest = text.partition(":")
    if not _KEY_ID.fullmatch(key_id) or not _HASH.fullmatch(digest):
        raise InvalidInputError.of(field, "must be the hash that `moiety key make` printed")
    return key_id, digest


def _issue(connection: sa.Connection, pool: PoolRef, content: KeyContent, now: datetime) -> ApiKey:
    principal = Principal.parse(content.principal)
    if principal.role is Role.PLATFORM:
        platform_number(connection, principal.id)
    if principal.role is Role.COLLECTIVE:
        require_collective(connection, principal.id)
    if principal.role in PEOPLE and principal.name not in read_people(connection).persons:
        raise NotFoundError(principal.name)
    for name in content.pools:
        get_pool(connection, name)
    _require_free(connection, content)
    expires = datetime.fromisoformat(content.expires_at) if content.expires_at else None
    leaf_index = append_act(connection, pool, content, now)
    key = ApiKey(
        content.key_id,
        content.principal,
        now,
        expires_at=expires,
        pools=tuple(content.pools),
        kind=KeyKind(content.key_kind),
        issuer=content.issuer,
    )
    insert_key(connection, key, content.secret_hash, leaf_index)
    return key


def _require_free(connection: sa.Connection, content: KeyContent) -> None:
    """Check that an account or a certificate stands for nobody yet: one person must not become two."""
    if content.key_kind == KeyKind.SECRET:
        return
    row = _bound(connection, KeyKind(content.key_kind), content.secret_hash)
    if row is not None:
        reason = Sentence("is that of %(owner)s already; revoke key %(key)s first", owner=row.principal, key=row.key_id)
        raise StateError("the account or certificate", "ALREADY_BOUND", reason)


def _standing_key(connection: sa.Connection, _: PoolRef, content: KeyContent) -> ApiKey | None:
    row = connection.execute(sa.select(api_key).where(api_key.c.key_id == content.key_id)).first()
    if row is None:
        return None
    found = _key(row)
    expires_at = found.expires_at.isoformat() if found.expires_at else ""
    known = found.principal, bytes(row.secret_sha256).hex(), expires_at, list(found.pools), found.kind, found.issuer
    said = content.principal, content.secret_hash, content.expires_at, content.pools, content.key_kind, content.issuer
    if known != said:
        raise AlreadyExistsError(f"keys/{content.key_id}")
    return found


ISSUE_KEY: Final = Effect(KeyContent, _issue, _standing_key)
"""Issues a key. Returns an `ApiKey`.

Raises NotFoundError if the principal or a pool is not registered, AlreadyExistsError if another key has its id.
"""


def _revoke(connection: sa.Connection, pool: PoolRef, content: KeyRevocationContent, now: datetime) -> ApiKey:
    _get_key(connection, content.key_id)
    append_act(connection, pool, content, now)
    connection.execute(sa.update(api_key).where(api_key.c.key_id == content.key_id).values(revoked_at=now))
    return _get_key(connection, content.key_id)


def _standing_revocation(connection: sa.Connection, _: PoolRef, content: KeyRevocationContent) -> ApiKey | None:
    found = _get_key(connection, content.key_id)
    return found if found.revoked_at else None


REVOKE_KEY: Final = Effect(KeyRevocationContent, _revoke, _standing_revocation)
"""Ends a key, which one person may always do. Returns an `ApiKey`; raises NotFoundError where there is none."""


def insert_key(connection: sa.Connection, key: ApiKey, secret_hash: str, leaf_index: int) -> None:
    """Write the row of a key whose leaf was just appended."""
    connection.execute(
        sa.insert(api_key).values(
            key_id=key.key_id,
            principal=key.principal,
            secret_sha256=bytes.fromhex(secret_hash),
            leaf_index=leaf_index,
            created_at=key.created_at,
            begins_at=key.begins_at,
            expires_at=key.expires_at,
            pools=list(key.pools),
            key_kind=key.kind.value,
            issuer=key.issuer,
        )
    )


def authenticate(connection: sa.Connection, key: str, now: datetime) -> Caller:
    """Returns the principal of the key at this time.

    Raises:
        UnauthenticatedError: the key is unknown, revoked, or not valid then, or whoever it is of is suspended.
    """
    matched = _KEY.fullmatch(key)
    if not matched:
        raise UnauthenticatedError
    key_id, secret = matched.groups()
    row = connection.execute(sa.select(api_key).where(api_key.c.key_id == key_id)).first()
    if row is None or row.key_kind != KeyKind.SECRET:
        raise UnauthenticatedError
    if not hmac.compare_digest(bytes(row.secret_sha256), _digest(secret)):
        raise UnauthenticatedError
    return caller_of(connection, row, now)


def authenticate_bound(connection: sa.Connection, kind: KeyKind, bound_hash: str, now: datetime) -> Caller:
    """Returns the principal of an account at an OpenID provider, or of a client certificate, by its hash.

    Raises:
        UnauthenticatedError: no key stands for it, or none that is valid then.
    """
    row = _bound(connection, kind, bound_hash)
    if row is None:
        raise UnauthenticatedError
    return caller_of(connection, row, now)


def _bound(connection: sa.Connection, kind: KeyKind, bound_hash: str) -> Any:
    query = sa.select(api_key).where(
        api_key.c.secret_sha256 == bytes.fromhex(bound_hash),
        api_key.c.key_kind != KeyKind.SECRET.value,
        api_key.c.key_kind == kind.value,
        api_key.c.revoked_at.is_(None),
    )
    return connection.execute(query).first()


def caller_of(connection: sa.Connection, row: Any, now: datetime) -> Caller:
    """Returns the caller that a row of `api_key` stands for.

    Raises:
        UnauthenticatedError: the key is revoked, or not valid at this time, or whoever it is of is suspended.
    """
    is_early, is_late = row.begins_at and now < row.begins_at, row.expires_at and now >= row.expires_at
    if row.revoked_at or is_early or is_late:
        raise UnauthenticatedError
    with stored(f"keys/{row.key_id}"):
        principal = Principal.parse(row.principal)
    if principal.role in PEOPLE and is_suspended(connection, principal.name):
        raise UnauthenticatedError
    return Caller(principal, row.key_id, frozenset(row.pools), row.expires_at)


def is_key_id(text: str) -> bool:
    """Returns whether a key may have this id."""
    return _KEY_ID.fullmatch(text) is not None


def list_keys(connection: sa.Connection, *, after: str = "", limit: int = 1000) -> list[ApiKey]:
    """Keys by id, after `after`."""
    query = sa.select(api_key).where(api_key.c.key_id > after).order_by(api_key.c.key_id).limit(limit)
    return [_key(row) for row in connection.execute(query)]


def _get_key(connection: sa.Connection, key_id: str) -> ApiKey:
    row = connection.execute(sa.select(api_key).where(api_key.c.key_id == key_id)).first()
    if row is None:
        raise NotFoundError(f"keys/{key_id}")
    return _key(row)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row.key_id,
        row.principal,
        row.created_at,
        row.revoked_at,
        row.begins_at,
        row.expires_at,
        tuple(row.pools),
        KeyKind(row.key_kind),
        row.issuer,
    )


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
