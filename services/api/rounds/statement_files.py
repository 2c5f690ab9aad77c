"""Assembles statement files: one line of a round, with all that it takes to verify it alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from audit.statements.acts import POOL_KINDS
from audit.statements.file import EntryLine, LogPart, ProvedEntry, StatementFile
from ledger.acts.act import COLLECTIVES, ActContent
from ledger.acts.entries import CollectiveContent
from ledger.acts.people import People
from ledger.entries import BookingContent
from ledger.errors import LedgerCorruptError, NotFoundError, Sentence, StateError
from ledger.journal import COLLECTIVE_KINDS
from ledger.log.leaves import Content, EncodedLeaf, decode
from ledger.log.merkle import HASH_BYTES, inclusion_proof, root, subtree_roots
from ledger.log.witness_policy import WitnessPolicy
from ledger.log.witnessed import timing_policy
from ledger.payments import BookingKind, parse_pool_bookings, render
from ledger.store import tables as lt
from ledger.store.kept import Kept
from ledger.store.logs import checkpoints, log, proofs
from ledger.store.logs.checkpoints import StoredCheckpoint
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools import methods
from ledger.store.registry import key_changes
from ledger.store.registry.people import leaves_about_operators, read_people
from payout.adjustments import account_of
from payout.dossiers import (
    Dossier,
    Figures,
    line_salt,
    render_dossier,
    render_dossiers,
    shared_part,
    statement_leaves,
    weights_by_collective,
)
from payout.entries import CONTENTS, PoolContent, RoundContent
from payout.statement import parse_registry, parse_statement
from payout.store import objections, rounds, splits
from payout.store.adjustments import list_adjustments
from payout.store.policies import get_policy
from payout.store.round_tables import Own, lines_of_table
from payout.store.rounds import RoundRecord

MAX_KEPT_LINES: Final = 2_000_000
"""Lines of all rounds whose trees are kept: 64 MB of hashes. Making a tree costs some microseconds a line."""

_LEVEL: Final = 10

MAX_OWN_ENTRIES: Final = 100
"""The collective's own entries in a file, such as payments: the first ones after the round."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """What all files of a round share: the dossiers' common part, the hashes of all leaves, and the roots of each
    2^_LEVEL of them, so that a path takes no hash of the others again.
    """

    shared: str
    leaves: bytes
    subtrees: tuple[bytes, ...]

    @classmethod
    def over(cls, shared: str, leaves: Sequence[bytes]) -> _Tree:
        return cls(shared, b"".join(leaves), tuple(subtree_roots(leaves, _LEVEL)))

    def path(self, position: int) -> tuple[bytes, ...]:
        part, within = divmod(position, 1 << _LEVEL)
        size = HASH_BYTES << _LEVEL
        leaves = self.leaves[part * size : (part + 1) * size]
        hashes = [leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES)]
        return (*inclusion_proof(within, hashes), *inclusion_proof(part, self.subtrees))


class StatementFiles:
    """Makes statement files. The trees of the rounds that were asked for last are kept."""

    def __init__(self) -> None:
        self._trees = Kept[_Tree](MAX_KEPT_LINES, lambda tree: len(tree.leaves) // HASH_BYTES)

    def make(self, connection: sa.Connection, pool: PoolRef, number: int, collective: str) -> StatementFile:
        """Returns the file of a collective's line.

        Raises:
            NotFoundError: there is no such round, or it has no line of this collective.
            StateError: no checkpoint has the round yet.
            LedgerCorruptError: the round does not commit to the dossiers of its statement.
        """
        record = rounds.get_round(connection, pool, number)
        content, bodies = record.content, _Bodies(connection, pool)
        position, stated = bodies.lines_of(content.statement_sha256, collective)
        lines = parse_statement(stated)
        if not lines:
            raise NotFoundError(f"pools/{pool.name}/rounds/{number}/lines/{collective}")
        (line,), (registered,) = lines, parse_registry(bodies.lines_of(content.registry_sha256, collective).table)
        figures = _figures(connection, pool, content)
        tree = self._tree(content, figures, bodies)
        weights = bodies.lines_of(content.weights_sha256, collective).table
        rows = weights_by_collective(weights, figures.confidence_ppm)
        dossier = render_dossier(tree.shared, position, line, registered, rows.get(collective, ()))
        aside = frozenset(objections.set_aside(connection, pool, number))
        adjusted = dict(_adjusted(connection, pool, number, account_of(line, aside)))
        in_pool, in_registry = _parts(connection, pool, record, Dossier.parse(dossier), adjusted)
        shown = {decode(proved.entry, CONTENTS).index for proved in in_pool.entries}
        return StatementFile(
            dossier,
            line_salt(bodies.read(content.salt_sha256), collective),
            tree.path(position),
            in_pool,
            in_registry,
            booked=tuple(_booked(connection, pool, in_pool, collective)),
            adjusted=tuple(own for index, own in adjusted.items() if index in shown),
        )

    def _tree(self, content: RoundContent, figures: Figures, bodies: _Bodies) -> _Tree:
        if (known := self._trees.find(content.statement_root)) is not None:
            return known
        lines = parse_statement(bodies.read(content.statement_sha256))
        collectives = parse_registry(bodies.read(content.registry_sha256))
        dossiers = render_dossiers(figures, lines, collectives, bodies.read(content.weights_sha256))
        leaves = statement_leaves(bodies.read(content.salt_sha256), lines, dossiers)
        made = _Tree.over(shared_part(figures, lines, collectives), leaves)
        if root(made.subtrees).hex() != content.statement_root:
            raise LedgerCorruptError(f"round {content.number}", "does not commit to the dossiers of its statement")
        self._trees.keep(content.statement_root, made)
        return made


@dataclass(frozen=True, slots=True)
class _Bodies:
    """The bodies that a pool's rounds name."""

    connection: sa.Connection
    pool: PoolRef

    def read(self, digest: str) -> bytes:
        """The whole of a body."""
        return log.checked_body(self.connection, self.pool, bytes.fromhex(digest))

    def lines_of(self, digest: str, collective: str) -> Own:
        """A collective's lines of a table."""
        return lines_of_table(self.connection, self.pool, bytes.fromhex(digest), collective)


def _figures(connection: sa.Connection, pool: PoolRef, content: RoundContent) -> Figures:
    logged = get_policy(connection, pool, content.policy_version)
    return Figures.of(content, logged.policy, methods.confidences(connection, pool))


def _parts(
    connection: sa.Connection, pool: PoolRef, record: RoundRecord, dossier: Dossier, also: Iterable[int]
) -> tuple[LogPart, LogPart]:
    """The entries of both logs that a line rests on, with their proofs, and other entries of the pool's.

    The registry's checkpoint is read last: it is signed before a pool's that rests on it.

    Raises:
        StateError: no checkpoint has the round yet.
    """
    people = read_people(connection, record.content.registry_size)
    checkpoint = _cosigned(connection, pool, people, record.leaf_index + 1)
    if record.leaf_index >= checkpoint.size:
        detail = Sentence(
            "is not in the checkpoint of %(size)s leaves yet; the next is signed within seconds", size=checkpoint.size
        )
        raise StateError(f"pools/{pool.name}/rounds/{record.content.number}", "NOT_IN_CHECKPOINT", detail)
    indexes = {0, record.content.policy_leaf, record.leaf_index, *also, *_decided_at(connection, pool, record)}
    for each in dossier.weights:
        indexes.add(methods.get_method(connection, pool, each.method, each.method_version).leaf_index)
    collective = dossier.line.collective
    indexes |= set(_own_entries(connection, pool, record, collective))
    entries = _with_approvals(connection, pool, {index for index in indexes if index < checkpoint.size})
    contents = [decode(leaf.entry, CONTENTS).content for leaf in entries]
    acts = [content for content in contents if isinstance(content, ActContent)]
    opened = next(content.opened_at for content in contents if isinstance(content, PoolContent))
    own_keys = {act.by_key for act in acts if act.by.startswith(COLLECTIVES)}
    judged_by = max(act.registry_size for act in acts)
    registry_checkpoint = _cosigned(connection, REGISTRY, people, judged_by)
    if registry_checkpoint.key.public_key != checkpoint.key.public_key:
        detail = Sentence(
            "waits for the signature of the deployment's new key, which has signed the registry's log alone so far"
        )
        raise StateError(f"pools/{pool.name}/rounds/{record.content.number}", "NOT_IN_CHECKPOINT", detail)
    registry = {
        opened,
        _registration(connection, collective, record.content.registry_size),
        *_key_leaves(connection, own_keys),
        *key_changes.leaves(connection, registry_checkpoint.size),
        *leaves_about_operators(connection, judged_by),
    }
    return (
        _part(connection, pool, checkpoint, entries),
        _part(
            connection,
            REGISTRY,
            registry_checkpoint,
            _with_approvals(connection, REGISTRY, registry),
        ),
    )


def _cosigned(connection: sa.Connection, pool: PoolRef, people: People, size: int) -> StoredCheckpoint:
    """Returns the newest checkpoint of at least a size that a quorum of the registry's witnesses has cosigned, with
    their cosignatures and no others; or else the newest one, without any.
    """
    latest = checkpoints.get_checkpoint(connection, pool)
    policy = timing_policy(people.witnesses)
    if policy is None:
        return replace(latest, cosignatures=())
    for witness_size in _cosigned_sizes(connection, pool, latest, policy):
        found = checkpoints.get_checkpoint(connection, pool, size=witness_size)
        named = tuple(each for each in found.cosignatures if each.key in policy.witnesses.values())
        if witness_size >= size and policy.is_met([each.key for each in named]):
            return replace(found, cosignatures=named)
    return replace(latest, cosignatures=())


def _cosigned_sizes(
    connection: sa.Connection, pool: PoolRef, latest: StoredCheckpoint, policy: WitnessPolicy
) -> list[int]:
    """The sizes that the witnesses cosigned last, the largest first."""
    witnesses = policy.witnesses.values()
    sizes = {checkpoints.last_cosigned_size(connection, pool, latest.key, witness) for witness in witnesses}
    return sorted(sizes - {0}, reverse=True)


def _part(
    connection: sa.Connection, pool: PoolRef, checkpoint: StoredCheckpoint, entries: Iterable[EncodedLeaf]
) -> LogPart:
    within = [leaf for leaf in entries if leaf.index < checkpoint.size]
    paths = proofs.inclusion_proofs(connection, pool, [leaf.index for leaf in within], checkpoint.size)
    proved = (ProvedEntry(leaf.entry, tuple(path)) for leaf, path in zip(within, paths, strict=True))
    return LogPart(checkpoint.cosigned_note(), tuple(proved))


def _with_approvals(connection: sa.Connection, pool: PoolRef, indexes: set[int]) -> list[EncodedLeaf]:
    """The leaves at some places, and for those that two people did the proposal and the approval, right before it."""
    found = {index: log.read_leaf(connection, pool, index) for index in indexes}
    for index, leaf in list(found.items()):
        proposal = json.loads(leaf.entry).get("proposal")
        for also in () if proposal is None else (proposal, index - 1):
            found.setdefault(also, log.read_leaf(connection, pool, also))
    return [found[index] for index in sorted(found)]


def _decided_at(connection: sa.Connection, pool: PoolRef, record: RoundRecord) -> Iterator[int]:
    decided = (lt.decision.c.pool_id == pool.pool_id) & (lt.decision.c.subject == record.leaf_index)
    yield from connection.execute(sa.select(lt.decision.c.leaf_index).where(decided)).scalars()
    posted = rounds.posting_leaf(connection, pool, record.content.number)
    if posted is not None:
        yield posted


def _own_entries(connection: sa.Connection, pool: PoolRef, record: RoundRecord, collective: str) -> Iterator[int]:
    """Where entries after the round are about this collective alone: what it objected, and what it was paid."""
    for said in objections.list_objections(connection, pool, record.content.number, only=collective):
        yield said.objection.index
        if said.answer is not None:
            yield said.answer.index
    split = splits.find_split(connection, pool, record.content.number, collective)
    if split is not None:
        yield split.index
    accounts = [f"{kind}/{collective}" for kind in COLLECTIVE_KINDS]
    query = (
        sa.select(lt.leaf.c.leaf_index, lt.leaf.c.entry)
        .distinct()
        .join(
            lt.balance,
            (lt.balance.c.pool_id == lt.leaf.c.pool_id) & (lt.balance.c.leaf_index == lt.leaf.c.leaf_index),
        )
        .where(
            lt.balance.c.pool_id == pool.pool_id,
            lt.balance.c.account.in_(accounts),
            lt.balance.c.leaf_index > record.leaf_index,
        )
        .order_by(lt.leaf.c.leaf_index)
        .limit(_READ_ENTRIES)
    )
    found = [
        row.leaf_index
        for row in connection.execute(query)
        if _is_own(decode(bytes(row.entry), CONTENTS).content, collective)
    ]
    yield from found[:MAX_OWN_ENTRIES]


def _is_own(content: Content, collective: str) -> bool:
    """Whether an entry that touches a collective's accounts is about it alone, or is what the bank booked, whose lines
    can be shown one by one.
    """
    return isinstance(content, BookingContent) or (
        content.type in POOL_KINDS and getattr(content, "collective", None) == collective
    )


def _booked(connection: sa.Connection, pool: PoolRef, part: LogPart, collective: str) -> Iterator[EntryLine]:
    """A collective's lines of what the bank booked, in the entries of a file."""
    for proved in part.entries:
        leaf = decode(proved.entry, CONTENTS)
        if isinstance(leaf.content, BookingContent):
            digest = bytes.fromhex(leaf.content.bookings_sha256)
            body = parse_pool_bookings(log.checked_body(connection, pool, digest))
            leaves = body.leaves()
            for position, booking in enumerate(body.bookings):
                if booking.subject == collective and booking.kind in _OF_COLLECTIVES:
                    path = tuple(inclusion_proof(position, leaves))
                    yield EntryLine(leaf.index, render(booking), body.salt_at(position), position, path)


def _adjusted(connection: sa.Connection, pool: PoolRef, number: int, account: str) -> Iterator[tuple[int, EntryLine]]:
    """By leaf, the lines of a round's adjustments that are of an account."""
    for found in list_adjustments(connection, pool, number=number):
        for position, line in enumerate(found.lines):
            if line.account == account:
                index, path = found.recorded.leaf.index, tuple(inclusion_proof(position, found.body.leaves()))
                yield index, EntryLine(index, line.document(), found.body.salt_at(position), position, path)


_OF_COLLECTIVES: Final = (BookingKind.PAID, BookingKind.UNPAID, BookingKind.RETURNED)

_READ_ENTRIES: Final = 10 * MAX_OWN_ENTRIES
"""Every later round touches the collective's accounts too, and is not its own entry."""


def _registration(connection: sa.Connection, collective: str, registry_size: int) -> int:
    """Where the registry's log last registered or changed the collective before a size."""
    query = sa.select(lt.collective.c.leaf_index).where(lt.collective.c.name == collective)
    latest = connection.execute(query).scalar_one()
    if latest < registry_size:
        return int(latest)
    # It was changed since, which is rare: its earlier entries are looked for in the log.
    named = sa.func.position(
        sa.literal(f'"collective":"{collective}"'.encode(), sa.LargeBinary).op("in")(lt.leaf.c.entry)
    )
    earlier = (
        sa.select(lt.leaf.c.leaf_index, lt.leaf.c.entry)
        .where(lt.leaf.c.pool_id == REGISTRY.pool_id, lt.leaf.c.leaf_index < registry_size, named > 0)
        .order_by(lt.leaf.c.leaf_index.desc())
    )
    for row in connection.execute(earlier):
        if f'"type":"{CollectiveContent.type}"'.encode() in bytes(row.entry):
            return int(row.leaf_index)
    raise LedgerCorruptError(f"collectives/{collective}", f"is not in the first {registry_size} leaves of the registry")


def _key_leaves(connection: sa.Connection, keys: Iterable[str]) -> Iterator[int]:
    query: sa.Select[Any] = sa.select(lt.api_key.c.leaf_index).where(lt.api_key.c.key_id.in_(sorted(keys)))
    yield from connection.execute(query).scalars()
