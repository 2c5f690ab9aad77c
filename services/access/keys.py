"""API keys: who a caller is.

A key is `moiety_<id>_<secret>`. The secret has 256 random bits, so its plain SHA-256 is as good as any slow hash; it is
all that is stored.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from ledger.errors import InvalidInputError, LedgerError, NotFoundError
from ledger.registry import require_resource_id
from ledger.store import registry
from ledger.store.tables import created_at, metadata

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("secret_sha256", sa.LargeBinary, nullable=False),
    created_at(),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
)

UPDATABLE: Final[Mapping[sa.Table, tuple[str, ...]]] = {api_key: ("revoked_at",)}
"""What the service may update: a key is revoked, and nothing else of it ever changes."""

_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
_KEY: Final = re.compile(rf"moiety_({_KEY_ID.pattern})_([A-Za-z0-9_-]{{43}})")


class Role(StrEnum):
    """What a principal may do at all; the value is the collection in its resource name."""

    OPERATOR = "operators"
    PLATFORM = "platforms"
    COLLECTIVE = "collectives"
    AUDITOR = "auditors"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a key stands for."""

    role: Role
    id: str

    @property
    def name(self) -> str:
        """Its resource name, `platforms/acme`."""
        return f"{self.role.value}/{self.id}"

    @classmethod
    def parse(cls, name: str) -> Principal:
        """The principal of a resource name.

        Raises:
            InvalidInputError: the name is not a principal's.
        """
        collection, slash, identity = name.partition("/")
        if not slash or collection not in tuple(Role):
            known = ", ".join(f"{role.value}/..." for role in Role)
            raise InvalidInputError.of("principal", f"must be one of {known}, is {name[:80]!r}")
        return cls(Role(collection), require_resource_id(identity, "principal"))


class UnauthenticatedError(LedgerError):
    """No key, or none that holds. It does not say which, so that keys cannot be guessed piece by piece."""

    def __str__(self) -> str:
        return "the API key is missing, unknown or revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    key_id: str
    principal: str
    created_at: datetime
    revoked_at: datetime | None


def issue_key(connection: sa.Connection, principal: Principal, now: datetime) -> tuple[ApiKey, str]:
    """Make a key for a principal, and give its text, which cannot be had again.

    Raises:
        NotFoundError: the platform or collective is not registered.
    """
    if principal.role is Role.PLATFORM:
        registry.platform_number(connection, principal.id)
    if principal.role is Role.COLLECTIVE:
        registry.require_collective(connection, principal.id)
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    row = {"key_id": key_id, "principal": principal.name, "secret_sha256": _digest(secret), "created_at": now}
    connection.execute(sa.insert(api_key).values(row))
    return ApiKey(key_id, principal.name, now, None), f"moiety_{key_id}_{secret}"


def authenticate(connection: sa.Connection, key: str) -> Principal:
    """Whom the key stands for.

    Raises:
        UnauthenticatedError: the key is unknown or revoked.
    """
    matched = _KEY.fullmatch(key)
    if not matched:
        raise UnauthenticatedError
    key_id, secret = matched.groups()
    query = sa.select(api_key.c.principal, api_key.c.secret_sha256)
    row = connection.execute(query.where(api_key.c.key_id == key_id, api_key.c.revoked_at.is_(None))).first()
    if row is None or not hmac.compare_digest(bytes(row.secret_sha256), _digest(secret)):
        raise UnauthenticatedError
    return Principal.parse(row.principal)


def is_key_id(text: str) -> bool:
    """Whether a key may have this id."""
    return _KEY_ID.fullmatch(text) is not None


def revoke_key(connection: sa.Connection, key_id: str, now: datetime) -> ApiKey:
    """End a key. Revoking it again changes nothing.

    Raises:
        NotFoundError: there is no such key.
    """
    still_valid = (api_key.c.key_id == key_id) & api_key.c.revoked_at.is_(None)
    connection.execute(sa.update(api_key).where(still_valid).values(revoked_at=now))
    row = connection.execute(sa.select(api_key).where(api_key.c.key_id == key_id)).first()
    if row is None:
        raise NotFoundError(f"keys/{key_id}")
    return _key(row)


def list_keys(connection: sa.Connection, *, after: str = "", limit: int = 1000) -> list[ApiKey]:
    """Keys by id, from beyond `after`."""
    query = sa.select(api_key).where(api_key.c.key_id > after).order_by(api_key.c.key_id).limit(limit)
    return [_key(row) for row in connection.execute(query)]


def any_key(connection: sa.Connection) -> bool:
    """Whether a key was ever made."""
    return connection.execute(sa.select(sa.exists().select_from(api_key))).scalar_one()


def _key(row: Any) -> ApiKey:
    return ApiKey(row.key_id, row.principal, row.created_at, row.revoked_at)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
