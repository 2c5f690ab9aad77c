"""Adjustments in Postgres: what a posted round would give over the corrected log, and what was adjusted."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from ledger.acts.act import ActContent
from ledger.acts.entries import CollectiveContent
from ledger.errors import (
    IdentityReusedError,
    InvalidInputError,
    LedgerCorruptError,
    LostRaceError,
    StateError,
)
from ledger.journal import awaiting_account, collective_account, owing_account, owner_of
from ledger.log.leaves import Leaf, decode
from ledger.money import require_sum
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.money import journal, movements
from ledger.store.money.movements import RecordedLeaf
from ledger.store.pools import methods
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.registry.acts import Effect
from ledger.usage.entries import MethodContent
from payout.adjustments import (
    SOURCES,
    Adjusted,
    AdjustedLines,
    AdjustmentContent,
    adjustment_transfers,
    amount_due,
    parse_adjusted,
)
from payout.correction import PostedRound, corrected
from payout.entries import PolicyContent
from payout.rounds import Line
from payout.statement import parse_registry, parse_statement
from payout.store import objections, rounds
from payout.store import tables as t
from payout.store.policies import get_policy
from payout.store.rounds import RoundState

NO_LINES: Final = "0" * 64
"""Stands for the body of an adjustment that is asked for: it is computed."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """An adjustment with its body."""

    recorded: RecordedLeaf
    body: AdjustedLines

    @property
    def lines(self) -> Sequence[Adjusted]:
        """Its lines, by account."""
        return self.body.lines


def preview_adjustment(connection: sa.Connection, pool: PoolRef, asked: AdjustmentContent) -> list[Adjusted]:
    """Returns what a round would have given otherwise over the corrected log; nothing if it is the same.

    Raises:
        NotFoundError: there is no such round.
        StateError: the round is not posted, or another is open.
        InvalidInputError: a leaf corrects nothing, or the source is unknown.
    """
    _require_source(asked.source)
    record = rounds.get_round(connection, pool, asked.round)
    if record.state is not RoundState.POSTED:
        raise StateError(
            f"pools/{pool.name}/rounds/{asked.round}",
            "NOT_POSTED",
            "is %(state)s: one that is not posted is rejected, and calculated again",
            state=record.state.value,
        )
    if open_round := rounds.open_round(connection, pool):
        name = f"pools/{pool.name}/rounds/{open_round.content.number}"
        raise StateError(name, "ROUND_OPEN", "must be approved or rejected first")
    corrections = [_correction(connection, pool, index) for index in asked.pool_leaves]
    corrections += [_registered(connection, index) for index in asked.registry_leaves]
    earlier = {
        line.account: line.new_minor
        for found in list_adjustments(connection, pool, number=asked.round)
        for line in found.lines
    }
    return corrected(_posted(connection, pool, asked.round), corrections, earlier)


def _posted(connection: sa.Connection, pool: PoolRef, number: int) -> PostedRound:
    content = rounds.get_round(connection, pool, number).content
    logged = get_policy(connection, pool, content.policy_version)

    def body(digest: str) -> bytes:
        return log.checked_body(connection, pool, bytes.fromhex(digest))

    return PostedRound(
        content,
        rounds.get_round(connection, pool, content.previous).content if content.previous else None,
        logged.policy,
        parse_statement(body(content.statement_sha256)),
        body(content.weights_sha256),
        parse_registry(body(content.registry_sha256)),
        methods.confidences(connection, pool),
        frozenset(objections.set_aside(connection, pool, number)),
    )


def _correction(connection: sa.Connection, pool: PoolRef, index: int) -> ActContent:
    kinds: dict[str, type[ActContent]] = {kind.type: kind for kind in (PolicyContent, MethodContent)}
    return _named(connection, pool, index, kinds, "pool_leaves", "a policy or a method")


def _registered(connection: sa.Connection, index: int) -> ActContent:
    kinds: dict[str, type[ActContent]] = {CollectiveContent.type: CollectiveContent}
    return _named(connection, REGISTRY, index, kinds, "registry_leaves", "a collective")


def _named(
    connection: sa.Connection, pool: PoolRef, index: int, kinds: Mapping[str, type[ActContent]], field: str, what: str
) -> ActContent:
    query = sa.select(lt.leaf.c.entry).where(lt.leaf.c.pool_id == pool.pool_id, lt.leaf.c.leaf_index == index)
    entry = connection.execute(query).scalar()
    try:
        content: ActContent = decode(bytes(entry or b""), kinds).content
    except LedgerCorruptError:
        raise InvalidInputError.of(
            field, "must be leaves that log %(what)s, got %(got)s", what=what, got=index
        ) from None
    return content


def _require_source(source: str) -> None:
    if source not in SOURCES:
        raise InvalidInputError.of("source", "must be fees, commons or empty, got %(got)r", got=source[:20])


def list_adjustments(
    connection: sa.Connection, pool: PoolRef, *, number: int | None = None, after: int = -1, limit: int | None = None
) -> list[Adjustment]:
    """Returns adjustments after a leaf, in the order of the log: of one round, or of all."""
    query = movements.leaves_of(pool, t.adjustment).where(t.adjustment.c.leaf_index > after)
    if number is not None:
        query = query.where(t.adjustment.c.number == number)
    rows = connection.execute(query.order_by(t.adjustment.c.leaf_index).limit(limit)).all()
    return [_read(connection, pool, movements.recorded_leaf(row, AdjustmentContent)) for row in rows]


def _read(connection: sa.Connection, pool: PoolRef, recorded: RecordedLeaf) -> Adjustment:
    return Adjustment(recorded, _body(connection, pool, recorded.leaf.content))


def _body(connection: sa.Connection, pool: PoolRef, content: AdjustmentContent) -> AdjustedLines:
    return parse_adjusted(log.checked_body(connection, pool, bytes.fromhex(content.lines_sha256)))


def _prepare(connection: sa.Connection, pool: PoolRef, content: AdjustmentContent) -> AdjustmentContent:
    lines = preview_adjustment(connection, pool, content)
    if not lines:
        name = f"pools/{pool.name}/rounds/{content.round}"
        raise StateError(name, "NOTHING_TO_ADJUST", "gives the same over the corrected log")
    body = AdjustedLines(_salt(connection, pool, content, lines), lines)
    rendered = body.render()
    log.put_body(connection, pool, rendered)
    told = {
        "lines_sha256": sha256(rendered).hexdigest(),
        "lines": len(lines),
        "lines_root": body.root(),
        "amount_minor": require_sum(amount_due(lines), f"pools/{pool.name}/rounds/{content.round}"),
    }
    return content.model_copy(update=told)


def _salt(connection: sa.Connection, pool: PoolRef, content: AdjustmentContent, lines: Sequence[Adjusted]) -> str:
    """The salt of an adjustment's body: no collective knows the round's, and a repeat has the same one.

    No collective's id has a slash, so that this is not the salt of a statement's line.
    """
    posted = rounds.get_round(connection, pool, content.round).content
    round_salt = log.checked_body(connection, pool, bytes.fromhex(posted.salt_sha256))
    said = [f"adjustment/{content.request_id}".encode(), *(line.document() for line in lines)]
    return hmac.digest(round_salt, b"\n".join(said), "sha256").hex()


def _adjust(connection: sa.Connection, pool: PoolRef, content: AdjustmentContent, now: datetime) -> Adjustment:
    lines = preview_adjustment(connection, pool, content)
    body = _body(connection, pool, content)
    if list(body.lines) != lines:
        raise LostRaceError(f"what pools/{pool.name}/rounds/{content.round} gives over the corrected log")
    (leaf,) = log.append(connection, pool, [content], now)
    owners = sorted({owner for line in lines if (owner := owner_of(line.account))})
    names = [name for owner in owners for name in (owing_account(owner), awaiting_account(collective_account(owner)))]
    before = journal.balances_of(connection, pool, names, log_size=leaf.index)
    moved = adjustment_transfers(lines, content.source, lambda account: before.get(account, 0))
    journal.post(connection, pool, leaf.index, moved)
    row: dict[str, Any] = {
        "pool_id": pool.pool_id,
        "leaf_index": leaf.index,
        "number": content.round,
        "request_id": content.request_id,
    }
    with taken_keys(lambda _: LostRaceError(f"request {content.request_id}")):
        connection.execute(sa.insert(t.adjustment).values(row))
    return Adjustment(RecordedLeaf(Leaf(pool.name, leaf.index, now, content), leaf.hash), body)


def _standing(connection: sa.Connection, pool: PoolRef, content: AdjustmentContent) -> Adjustment | None:
    found = movements.recorded(
        connection, pool, t.adjustment, t.adjustment.c.request_id == content.request_id, AdjustmentContent
    )
    if found is None:
        return None
    logged: AdjustmentContent = found.leaf.content
    asked = ("round", "pool_leaves", "registry_leaves", "source", "reason")
    if any(getattr(logged, name) != getattr(content, name) for name in asked):
        raise IdentityReusedError.of("request_id", "was recorded with other content")
    return _read(connection, pool, found)


def _rests_on(connection: sa.Connection, pool: PoolRef, content: AdjustmentContent) -> dict[str, str]:
    made = len(list_adjustments(connection, pool, number=content.round))
    return {f"rounds/{content.round}/adjustments": str(made)}


ADJUST: Final = Effect(AdjustmentContent, _adjust, _standing, prepare=_prepare, rests_on=_rests_on)
"""Adjusts a posted round, exactly once by request id. Returns an `Adjustment`.

Raises as `preview_adjustment` does; StateError too if there is nothing to adjust, or an account that gives at once has
too little.
"""


def read_recouping(connection: sa.Connection, pool: PoolRef, lines: Sequence[Line], *, log_size: int) -> dict[str, int]:
    """Returns the balances of all accounts that owe, or wait, because of adjustments."""
    if (
        connection.execute(sa.select(t.adjustment.c.number).where(t.adjustment.c.pool_id == pool.pool_id)).first()
        is None
    ):
        return {}
    names = [line.collective for line in lines]
    accounts = [owing_account(name) for name in names]
    accounts += [awaiting_account(collective_account(name)) for name in names]
    accounts += [awaiting_account(account) for account in ("fees", "commons", "revenue")]
    return journal.balances_of(connection, pool, accounts, log_size=log_size)
