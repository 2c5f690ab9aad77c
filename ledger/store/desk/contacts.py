"""Contacts at the desk: where principals are written to."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from ledger.acts.act import COLLECTIVES
from ledger.acts.contacts import Contact
from ledger.acts.entries import ContactContent
from ledger.errors import LedgerCorruptError, NotFoundError, StateError, stored
from ledger.log.leaves import decode
from ledger.store import tables as t
from ledger.store.desk.pace import Pace
from ledger.store.desk.tables import contact
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.collectives import require_collective
from ledger.store.registry.people import read_people

TOLD_AFTER: Final = timedelta(days=30)
"""How long a contact that was replaced still hears of changes of contact and payee: who took both over is found out."""

CHANGES: Final = Pace("contact_changes_in_30_days", 10, TOLD_AFTER)
"""Of one contact, by one who changes it: each is told to all that it had within this time, who may be strangers, and
stays in the registry's log. Whoever used up theirs keeps nobody else from setting it right."""

TOKEN_BYTES: Final = 24
"""Of a link to unsubscribe, which nobody must guess."""


@dataclass(frozen=True, slots=True)
class KeptContact:
    """A principal's contact as it lies at the desk, under the hash that the registry's log has."""

    principal: str
    contact: Contact
    contact_hash: bytes
    leaf_index: int
    created_at: datetime
    unsubscribed_at: datetime | None


def propose_contact(connection: sa.Connection, principal: str, wanted: Contact, salt: bytes, now: datetime) -> bytes:
    """Keep a contact that is not in force yet, with a salt for its hash.

    Returns its hash: the one before, if the same was kept and never came into force.
    """
    same = (contact.c.principal == principal) & contact.c.leaf_index.is_(None)
    same &= (contact.c.email == wanted.email) & (contact.c.language == wanted.language)
    found = connection.execute(sa.select(contact.c.contact_hash).where(same).limit(1)).scalar()
    if found is not None:
        return bytes(found)
    contact_hash, token = wanted.hash(salt), secrets.token_urlsafe(TOKEN_BYTES)
    row = {"principal": principal, "email": wanted.email, "language": wanted.language, "salt": salt, "token": token}
    connection.execute(sa.insert(contact).values(contact_hash=contact_hash, created_at=now, ended_at=now, **row))
    return contact_hash


def _put_contact(connection: sa.Connection, pool: PoolRef, content: ContactContent, now: datetime) -> KeptContact:
    name = content.principal
    if name.startswith(COLLECTIVES):
        require_collective(connection, name.removeprefix(COLLECTIVES))
    elif name not in read_people(connection).persons:
        raise NotFoundError(name)
    theirs = contact.c.principal == name
    CHANGES.require(content.by, _before(connection, content, now), now)
    leaf_index = append_act(connection, pool, content, now)
    connection.execute(sa.update(contact).where(theirs, contact.c.ended_at.is_(None)).values(ended_at=now))
    kept = (contact.c.contact_hash == bytes.fromhex(content.contact_hash)) & contact.c.leaf_index.is_(None)
    begun = {"leaf_index": leaf_index, "created_at": now, "ended_at": None}
    connection.execute(sa.update(contact).where(theirs, kept).values(begun))
    found = find_contact(connection, name)
    if found is None:
        raise StateError(f"{name}/contact", "DETAILS_ERASED", "was erased before it came into force")
    return found


def _before(connection: sa.Connection, content: ContactContent, now: datetime) -> datetime | None:
    """When whoever changes a contact had so many changes of it left; None if they still have some."""
    lately = (contact.c.principal == content.principal) & (contact.c.created_at > now - CHANGES.within)
    on = (t.leaf.c.pool_id == REGISTRY.pool_id) & (t.leaf.c.leaf_index == contact.c.leaf_index)
    changes = sa.select(t.leaf.c.entry, contact.c.created_at).join_from(contact, t.leaf, on).where(lately)
    kinds = {ContactContent.type: ContactContent}
    by_them = [
        at
        for entry, at in connection.execute(changes.order_by(contact.c.leaf_index.desc())).all()
        if decode(bytes(entry), kinds).content.by == content.by
    ]
    return by_them[CHANGES.most - 1] if len(by_them) >= CHANGES.most else None


def _standing_contact(connection: sa.Connection, _: PoolRef, content: ContactContent) -> KeptContact | None:
    found = find_contact(connection, content.principal)
    return found if found and found.contact_hash.hex() == content.contact_hash else None


def _contact_version(connection: sa.Connection, _: PoolRef, content: ContactContent) -> dict[str, str]:
    found = find_contact(connection, content.principal)
    return {f"{content.principal}/contact": str(found.leaf_index if found else None)}


PUT_CONTACT: Final = Effect(ContactContent, _put_contact, _standing_contact, rests_on=_contact_version)
"""Says where a principal is written to; `propose_contact` keeps it before. Returns a `KeptContact`.

Raises NotFoundError if there is no such principal, StateError if the contact was erased meanwhile.
"""


def find_contact(connection: sa.Connection, principal: str) -> KeptContact | None:
    """Returns a principal's contact; None if it has none, or it was erased."""
    mine = (contact.c.principal == principal) & contact.c.ended_at.is_(None)
    row = connection.execute(sa.select(contact).where(mine)).first()
    if row is None:
        return None
    return KeptContact(
        principal,
        checked_contact(row),
        bytes(row.contact_hash),
        row.leaf_index,
        row.created_at,
        row.unsubscribed_at,
    )


def read_contact(connection: sa.Connection, contact_hash: bytes) -> Contact | None:
    """Returns the contact that has a hash in the registry's log, in force or not; None if it was erased.

    Raises:
        LedgerCorruptError: it is not what the log has the hash of.
    """
    row = connection.execute(sa.select(contact).where(contact.c.contact_hash == contact_hash)).first()
    return None if row is None else checked_contact(row)


def checked_contact(row: Any) -> Contact:
    """Returns a row's contact.

    Raises:
        LedgerCorruptError: it is not what the registry's log has the hash of.
    """
    subject = f"the contact of {row.principal}"
    with stored(subject):
        found = Contact(row.email, row.language)
    if found.hash(bytes(row.salt)) != bytes(row.contact_hash):
        raise LedgerCorruptError(subject, "is not the one that the registry's log has")
    return found


def unsubscribe(connection: sa.Connection, token: str, now: datetime) -> str | None:
    """Send no more mail to a contact but what it must be told; returns whose it is, None if no contact has the token.

    Repeating it changes nothing.
    """
    theirs = contact.c.token == token
    first = sa.func.coalesce(contact.c.unsubscribed_at, now)
    changed = sa.update(contact).where(theirs).values(unsubscribed_at=first).returning(contact.c.principal)
    return connection.execute(changed).scalar()


def owner_of_token(connection: sa.Connection, token: str) -> str | None:
    """Returns whose contact has a token; None if none has."""
    return connection.execute(sa.select(contact.c.principal).where(contact.c.token == token)).scalar()


def with_contacts(connection: sa.Connection, prefix: str) -> list[str]:
    """Returns the principals of a collection, such as `operators/`, that have a contact."""
    current = contact.c.ended_at.is_(None) & contact.c.principal.startswith(prefix, autoescape=True)
    return list(connection.execute(sa.select(contact.c.principal).where(current)).scalars())
