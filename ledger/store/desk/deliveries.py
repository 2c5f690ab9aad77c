"""How far each webhook was sent its log.

Any number of processes may send. One at a time sends to a webhook: it holds the webhook for a while, which it takes
under a lock on the webhook's row and prolongs with every event. Whoever was killed holds it no longer after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.acts.entries import WebhookContent, WebhookState
from ledger.store.desk.tables import webhook_delivery as delivery_table

HELD: Final = timedelta(seconds=45)
"""How long a process holds a webhook: longer than one attempt takes, name resolution included."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a webhook was sent its log.

    Attributes:
        webhook: its id.
        owner: whose it is.
        log: the log that it is sent.
        state: whether it is sent anything.
        next_leaf: the first leaf that it was not sent yet.
        events: how many it took.
        sent_at: when it took the last one.
        tried_at: when it was last asked to.
        status: what it answered then; None where nothing came.
        problem: why it took nothing; empty if it did.
        failures: how often it failed since it last took something.
        failing_since: since when; None if it does not fail.
        next_at: when it is tried again, where it fails.
        is_gone: it answered 410 Gone, and is not tried again until it is activated.
    """

    webhook: str
    owner: str
    log: str
    state: WebhookState
    next_leaf: int
    events: int
    sent_at: datetime | None
    tried_at: datetime | None
    status: int | None
    problem: str
    failures: int
    failing_since: datetime | None
    next_at: datetime
    is_gone: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending to a webhook: it took an event, or `problem` says why not, and `next_at` when it is tried
    again. `next_leaf` is the first leaf that it was not sent yet.
    """

    next_leaf: int
    at: datetime
    status: int | None = None
    problem: str = ""
    next_at: datetime | None = None
    is_gone: bool = False


def follow(connection: sa.Connection, content: WebhookContent, now: datetime) -> None:
    """Have deliveries follow the act: they begin, go on at once, or stop."""
    digest = bytes.fromhex(content.details_hash)
    said = {"state": content.state, "details_hash": digest, "changed_at": now, "next_at": now, "is_gone": False}
    begun = {"webhook": content.webhook, "owner": content.owner, "log": content.log, "next_leaf": content.start}
    nothing_yet = {"events": 0, "problem": "", "failures": 0, "holder": "", "held_until": now}
    values: dict[str, Any] = {**begun, **nothing_yet, **said}
    connection.execute(
        insert(delivery_table).values(values).on_conflict_do_update(index_elements=["webhook"], set_=said)
    )


_SHOWN: Final = [
    delivery_table.c[name]
    for name in (
        "webhook", "owner", "log", "state", "next_leaf", "events", "sent_at", "tried_at", "status", "problem",
        "failures", "failing_since", "next_at", "is_gone",
    )
]  # fmt: skip


def list_deliveries(connection: sa.Connection, names: Sequence[str] | None = None) -> list[Delivery]:
    """Returns how far webhooks were sent, those of all that are not removed, or of some."""
    used = delivery_table.c
    query = sa.select(*_SHOWN).order_by(used.webhook.collate("C"))
    if names is None:
        query = query.where(used.state != WebhookState.REMOVED)
    else:
        query = query.where(used.webhook == sa.any_(sa.literal(list(names), sa.ARRAY(sa.Text))))
    return [_delivery(row) for row in connection.execute(query)]


def list_due(connection: sa.Connection, now: datetime) -> list[Delivery]:
    """Returns the deliveries that may go on at a time: of webhooks that nobody holds, and are not paused or failing."""
    return [_delivery(row) for row in connection.execute(_due(now).order_by(delivery_table.c.next_at))]


def _due(now: datetime) -> sa.Select[Any]:
    used = delivery_table.c
    return sa.select(*_SHOWN).where(
        used.state == WebhookState.ACTIVE, ~used.is_gone, used.next_at <= now, used.held_until <= now
    )


def hold(connection: sa.Connection, name: str, holder: str, now: datetime) -> Delivery | None:
    """Hold a webhook, so that nobody else sends to it; None if it is not due, or another process takes it just now."""
    query = _due(now).where(delivery_table.c.webhook == name).with_for_update(skip_locked=True)
    row = connection.execute(query).first()
    if row is None:
        return None
    held = {"holder": holder, "held_until": now + HELD}
    connection.execute(sa.update(delivery_table).where(delivery_table.c.webhook == name).values(held))
    return _delivery(row)


def note_attempt(connection: sa.Connection, name: str, holder: str, attempt: Attempt) -> bool:
    """Note what came of an attempt, and prolong the hold.

    Returns False if the holder does not hold the webhook any more, or it was paused or removed; then nothing is noted.
    """
    used = delivery_table.c
    values: dict[str, Any] = {"tried_at": attempt.at, "status": attempt.status, "problem": attempt.problem}
    if attempt.problem:
        values |= {
            "failures": used.failures + 1,
            "failing_since": sa.func.coalesce(used.failing_since, attempt.at),
            "next_at": attempt.next_at or attempt.at,
            "is_gone": attempt.is_gone,
        }
    else:
        values |= {"events": used.events + 1, "sent_at": attempt.at, "failures": 0, "failing_since": None}
    return move_on(connection, name, holder, attempt.next_leaf, attempt.at, **values)


def move_on(connection: sa.Connection, name: str, holder: str, next_leaf: int, now: datetime, **values: Any) -> bool:
    """Note how far leaves were looked at, and prolong the hold; returns what `note_attempt` does."""
    used = delivery_table.c
    mine = sa.update(delivery_table).where(
        used.webhook == name, used.holder == holder, used.state == WebhookState.ACTIVE
    )
    return connection.execute(mine.values(next_leaf=next_leaf, held_until=now + HELD, **values)).rowcount == 1


def try_again(connection: sa.Connection, name: str, now: datetime) -> None:
    """Have an active webhook be tried at once, whatever it answered last."""
    used = delivery_table.c
    mine = sa.update(delivery_table).where(used.webhook == name, used.state == WebhookState.ACTIVE)
    connection.execute(mine.values(next_at=now, is_gone=False))


def let_go(connection: sa.Connection, name: str, holder: str, now: datetime) -> None:
    """Hold a webhook no longer."""
    used = delivery_table.c
    mine = sa.update(delivery_table).where(used.webhook == name, used.holder == holder)
    connection.execute(mine.values(held_until=now))


def _delivery(row: Any) -> Delivery:
    found = Delivery(*row)
    return replace(found, state=WebhookState(found.state))
