"""Webhooks: a leaf and a row for each version, and the address and its secrets at the desk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from ledger.acts.act import COLLECTIVES, OPERATORS, PLATFORMS
from ledger.acts.entries import WebhookContent, WebhookState
from ledger.acts.webhooks import WebhookDetails
from ledger.errors import AlreadyExistsError, InvalidInputError, LedgerCorruptError, NotFoundError, Sentence, StateError
from ledger.log.leaves import Leaf, decode
from ledger.store import tables as t
from ledger.store.desk.deliveries import follow
from ledger.store.desk.pace import Pace
from ledger.store.desk.tables import webhook_delivery as delivery_table
from ledger.store.desk.tables import webhook_details as details_table
from ledger.store.desk.vault import Vault
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools.pools import pool_ref
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.collectives import require_collective
from ledger.store.registry.people import read_people
from ledger.store.registry.platforms import platform_number

MAX_OF_OWNER: Final = 20
"""Webhooks of a platform or a collective that are not removed."""

MAX_WEBHOOKS: Final = 1_000
"""Of all owners together: each look at what is to be sent reads all of them."""

MAX_BY_OPERATOR: Final = MAX_WEBHOOKS // 4
"""Of those the ones that one operator registered, whoever's they are: nobody takes the room that others need."""

CHANGES: Final = Pace("webhook_changes_per_day", 100, timedelta(days=1))
"""Of a platform's or a collective's webhooks: registered, resumed, given another secret. Each is an entry of the
registry's log for ever, and a new id is taken for ever."""

_SINGLE: Final = "webhooks/"
_KINDS: Final = {WebhookContent.type: WebhookContent}
_ON_LEAF: Final = (t.leaf.c.pool_id == REGISTRY.pool_id) & (t.leaf.c.leaf_index == t.webhook.c.leaf_index)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as the registry's log has it."""

    leaf: Leaf[WebhookContent]
    created_at: datetime
    """When it was registered."""

    @property
    def name(self) -> str:
        """Its id."""
        return self.leaf.content.webhook

    @property
    def content(self) -> WebhookContent:
        """What its latest leaf says."""
        return self.leaf.content


def _put(connection: sa.Connection, pool: PoolRef, content: WebhookContent, now: datetime) -> Webhook:
    before = find_webhook(connection, content.webhook)
    _require_kept(before, content)
    _require_pace(connection, before, content, now)
    if before is None:
        _require_owner(connection, content)
        if content.log != REGISTRY.name:
            pool_ref(connection, content.log.removeprefix("pools/"))
        elif content.owner.startswith((COLLECTIVES, PLATFORMS)):
            raise StateError(content.owner, "NOT_THEIR_LOG", "does not see the registry's log")
        _require_room(connection, content)
    details_hash = bytes.fromhex(content.details_hash)
    if not connection.execute(
        sa.select(details_table.c.webhook).where(details_table.c.details_hash == details_hash)
    ).first():
        raise StateError(_SINGLE + content.webhook, "DETAILS_ERASED", "its address and secret were erased")
    leaf_index = append_act(connection, pool, content, now)
    row = {"name": content.webhook, "owner": content.owner, "created_at": now}
    connection.execute(sa.insert(t.webhook).values(leaf_index=leaf_index, **row))
    follow(connection, content, now)
    return get_webhook(connection, content.webhook)


def _require_kept(before: Webhook | None, after: WebhookContent) -> None:
    """Check that only its state and its secret change, and nothing once it was removed."""
    name = _SINGLE + after.webhook
    if before is None:
        if after.state != WebhookState.ACTIVE:
            raise NotFoundError(name)
        return
    require_not_removed(before)
    if _fixed(before.content) != _fixed(after):
        raise AlreadyExistsError(name)


def require_not_removed(webhook: Webhook) -> None:
    """Check that a webhook is not over.

    Raises:
        StateError: it was removed.
    """
    if webhook.content.state == WebhookState.REMOVED:
        detail = "was removed, which is for ever; register another under another id"
        raise StateError(_SINGLE + webhook.name, "REMOVED", detail)


def _fixed(content: WebhookContent) -> tuple[object, ...]:
    return content.owner, content.log, content.origin, content.types, content.start


def _require_pace(connection: sa.Connection, before: Webhook | None, after: WebhookContent, now: datetime) -> None:
    """Check that its owner did not change webhooks too often. It may always stop one."""
    stops = before is not None and after.state not in (WebhookState.ACTIVE, before.content.state)
    if stops or not after.by.startswith((COLLECTIVES, PLATFORMS)):
        return
    changes = sa.select(t.webhook.c.created_at).where(t.webhook.c.owner == after.owner)
    earlier = changes.order_by(t.webhook.c.leaf_index.desc()).offset(CHANGES.most - 1).limit(1)
    CHANGES.require(after.owner, connection.execute(earlier).scalar(), now)


def _require_owner(connection: sa.Connection, content: WebhookContent) -> None:
    owner = content.owner
    if owner.startswith(PLATFORMS):
        platform_number(connection, owner.removeprefix(PLATFORMS))
    elif owner.startswith(COLLECTIVES):
        require_collective(connection, owner.removeprefix(COLLECTIVES))
    elif owner not in read_people(connection).persons:
        raise NotFoundError(owner)


def _require_room(connection: sa.Connection, content: WebhookContent) -> None:
    """Check that there is room for another webhook: of its owner, of who registers it, and in all."""
    owner, by = content.owner, content.by
    used = delivery_table.c
    query = sa.select(used.owner).where(used.state != WebhookState.REMOVED)
    owners = list(connection.execute(query).scalars())
    if owner.startswith((COLLECTIVES, PLATFORMS)) and owners.count(owner) >= MAX_OF_OWNER:
        raise StateError(
            owner, "TOO_MANY_WEBHOOKS", "has %(most)s webhooks, and may have no more; remove one", most=MAX_OF_OWNER
        )
    if by.startswith(OPERATORS) and len(owners) >= MAX_BY_OPERATOR and _registered(connection, by) >= MAX_BY_OPERATOR:
        detail = Sentence(
            "registered %(most)s webhooks, and may register no more; have one removed", most=MAX_BY_OPERATOR
        )
        raise StateError(by, "TOO_MANY_WEBHOOKS", detail)
    if len(owners) >= MAX_WEBHOOKS:
        detail = Sentence(
            "may have no webhook more: all owners together have %(most)s, which is the most there may be",
            most=MAX_WEBHOOKS,
        )
        raise StateError(owner, "TOO_MANY_WEBHOOKS", detail)


def _registered(connection: sa.Connection, by: str) -> int:
    """How many of the webhooks that are not removed somebody registered."""
    first = t.webhook.alias("first")
    place = sa.select(sa.func.min(first.c.leaf_index)).where(first.c.name == t.webhook.c.name).scalar_subquery()
    query = (
        sa.select(t.leaf.c.entry)
        .select_from(
            t.webhook.join(t.leaf, _ON_LEAF).join(delivery_table, delivery_table.c.webhook == t.webhook.c.name)
        )
        .where(delivery_table.c.state != WebhookState.REMOVED, t.webhook.c.leaf_index == place)
    )
    return sum(decode(bytes(entry), _KINDS).content.by == by for entry in connection.execute(query).scalars())


def _standing(connection: sa.Connection, _: PoolRef, content: WebhookContent) -> Webhook | None:
    found = find_webhook(connection, content.webhook)
    return found if found and found.content.said() == content.said() else None


def _version(connection: sa.Connection, _: PoolRef, content: WebhookContent) -> dict[str, str]:
    found = find_webhook(connection, content.webhook)
    return {_SINGLE + content.webhook: str(found.leaf.index if found else None)}


PUT_WEBHOOK: Final = Effect(WebhookContent, _put, _standing, rests_on=_version)
"""Registers a webhook, or changes its state or its secret; its details are kept already. Returns a `Webhook`.

Raises NotFoundError if its log or owner does not exist, AlreadyExistsError if it exists otherwise, StateError if it was
removed, or there are too many.
"""


def find_webhook(connection: sa.Connection, name: str) -> Webhook | None:
    """Returns the webhook as its latest leaf has it; None if there is none of that name."""
    for found in list_webhooks(connection, only=name):
        return found
    return None


def get_webhook(connection: sa.Connection, name: str) -> Webhook:
    """Returns the webhook as its latest leaf has it.

    Raises:
        NotFoundError: there is none.
    """
    found = find_webhook(connection, name)
    if found is None:
        raise NotFoundError(_SINGLE + name)
    return found


def list_webhooks(
    connection: sa.Connection,
    *,
    after: str = "",
    limit: int | None = None,
    only: str | None = None,
    owner: str | None = None,
) -> list[Webhook]:
    """Returns webhooks by name, the removed ones too; those of an owner, or of all."""
    name = t.webhook.c.name.collate("C")
    first = t.webhook.alias("first")
    created = sa.select(sa.func.min(first.c.created_at)).where(first.c.name == t.webhook.c.name).scalar_subquery()
    query = (
        sa.select(t.leaf.c.entry, created.label("created_at"))
        .select_from(t.webhook.join(t.leaf, _ON_LEAF))
        .where(name > after)
        .ext(distinct_on(name))
        .order_by(name, t.webhook.c.leaf_index.desc())
        .limit(limit)
    )
    if only is not None:
        query = query.where(t.webhook.c.name == only)
    if owner is not None:
        query = query.where(t.webhook.c.owner == owner)
    return [Webhook(decode(bytes(row.entry), _KINDS), row.created_at) for row in connection.execute(query)]


def put_details(connection: sa.Connection, vault: Vault, webhook: str, details: WebhookDetails, now: datetime) -> str:
    """Keep a webhook's address and secrets, encrypted, at the desk; returns their hash in hexadecimal.

    Raises:
        StateError: no key for payees is set.
        InvalidInputError: the same secret and address are another webhook's.
    """
    row = {"details_hash": details.hash(), "webhook": webhook, "sealed": vault.seal(details.to_bytes())}
    connection.execute(insert(details_table).values(created_at=now, **row).on_conflict_do_nothing())
    of = sa.select(details_table.c.webhook).where(details_table.c.details_hash == details.hash())
    if connection.execute(of).scalar_one() != webhook:
        raise InvalidInputError.of("secret", "is another webhook's with the same address; each has its own")
    return details.hash().hex()


def read_details(connection: sa.Connection, vault: Vault, webhook: WebhookContent) -> WebhookDetails | None:
    """Returns a webhook's address and secrets; None if they were erased.

    Raises:
        StateError: no key for payees is set.
        LedgerCorruptError: what is at the desk is not what the log has the hash of.
    """
    digest = bytes.fromhex(webhook.details_hash)
    query = sa.select(details_table.c.sealed).where(details_table.c.details_hash == digest)
    sealed = connection.execute(query).scalar()
    if sealed is None:
        return None
    subject = _SINGLE + webhook.webhook
    found = WebhookDetails.from_bytes(vault.open(bytes(sealed), subject))
    if found.hash() != digest:
        raise LedgerCorruptError(subject, "has details that are not those that the registry's log has the hash of")
    return found
