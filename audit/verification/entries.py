"""The first pass of a verification: every entry of a log for its root, its tiles, and to know where rounds end."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from audit.files.in_order import InOrder
from audit.files.static_log import StaticLog
from audit.findings import Finding, FoundError, Where, at
from audit.progress import Progress
from audit.steps import Step
from audit.verification.leaves import RoundPlace
from audit.verification.report import Report
from ledger.acts.entries import REGISTRY_CONTENTS
from ledger.errors import LedgerCorruptError
from ledger.files.layout import BALANCES, CHECKPOINT, JOURNAL, TileBuilder
from ledger.files.tiles import Bundle, Tile, bundles
from ledger.log.checkpoint import Checkpoint
from ledger.log.leaves import decode
from ledger.log.merkle import HASH_BYTES, leaf_hash
from ledger.log.origins import REGISTRY_LOG
from payout.entries import CONTENTS, RoundContent

_ROUND_MARK: Final = b'"type":"round.v1"'
"""Occurs in every round's entry and in no other: within a JSON string its quotes would be escaped."""


@dataclass(slots=True)
class EntryPass:
    """Reads every entry of a log once: the root, the tiles, and where rounds are."""

    log: StaticLog
    checkpoint: Checkpoint
    older: list[tuple[str, Checkpoint]]
    """Each with the name of its file."""
    report: Report
    order: InOrder | None
    rounds: list[tuple[int, bytes]] = field(default_factory=list)
    """Index and entry of each. They are read only after the root has been verified."""
    builder: TileBuilder = field(default_factory=TileBuilder)
    bodies: list[list[bytes]] = field(default_factory=list)
    """What each leaf of the registry names, unless those before it do: its bodies come before the pool's files."""
    _names: set[bytes] = field(default_factory=set)
    """All of them, in hexadecimal."""
    _older_at: dict[int, list[tuple[str, Checkpoint]]] = field(default_factory=dict)
    """By size: changes of the key may have left many."""
    doubt: Finding | None = None
    """The first hash in a tile that does not match the entries; the root tells which of the two is wrong."""

    def __post_init__(self) -> None:
        for name, older in self.older:
            self._older_at.setdefault(older.size, []).append((name, older))

    def run(self) -> Generator[Progress, None, list[RoundPlace]]:
        of_registry = self.log.pool == REGISTRY_LOG
        beside_a_pool = bool(self.log.folder)
        counted = "registry entries" if of_registry else "entries"
        self._hold_against_older()
        if beside_a_pool:
            self._comes_next(CHECKPOINT)
        for bundle in bundles(self.log.leaf_count):
            self._comes_next(bundle.path())
            for index, entry in enumerate(self.log.entries(bundle), bundle.start):
                self._take_in(index, entry)
            self.report.count(Step.ENTRIES, counted, bundle.width)
            yield Progress(bundle.end, self.log.leaf_count)
        for tile, data in self.builder.partial():
            self._compare(tile, data)
        if not beside_a_pool:
            self._comes_next(JOURNAL)
            self._comes_next(BALANCES)
        if of_registry:
            self._bodies_come_next()
        with self.report.noting():
            self._require_root()
        places = []
        for index, entry in self.rounds:
            with self.report.noting():
                places.append(_round_place(index, entry))
        return places

    def _take_in(self, index: int, entry: bytes) -> None:
        for tile, data in self.builder.append(leaf_hash(entry)):
            self._compare(tile, data)
        if _ROUND_MARK in entry:
            self.rounds.append((index, entry))
        if (
            self.order is not None
            and self.log.pool == REGISTRY_LOG
            and not self._names.issuperset(_NAMED_BODY.findall(entry))
        ):
            self.bodies.append(named := _bodies_of(entry))
            self._names.update(digest.hex().encode() for digest in named)
        self._hold_against_older()

    def _hold_against_older(self) -> None:
        for name, older in self._older_at.get(self.builder.frontier.size, ()):
            root = self.builder.frontier.root()
            if root != older.root:
                where = Where(file=name)
                figure = f"root at {older.size}"
                self.report.note(Finding(where, figure, root.hex(), older.root.hex(), Step.CONSISTENCY))
            counted = "older registry checkpoints" if _log_of(self.log) else "older checkpoints"
            self.report.count(Step.CONSISTENCY, counted)

    def _comes_next(self, path: str) -> None:
        if self.order is not None:
            with self.report.noting():
                self.order.take(self.log.folder + path)

    def _bodies_come_next(self) -> None:
        if self.order is not None:
            for named in self.bodies:
                with self.report.noting():
                    self.order.take_bodies(named, self.log.folder)

    def _compare(self, tile: Tile, data: bytes) -> None:
        self._comes_next(tile.path())
        stored = self.log.tile(tile)
        self.report.count(Step.ENTRIES, "registry tiles" if _log_of(self.log) else "tiles")
        if stored == data or self.doubt is not None:
            return
        at = next((at for at in _hash_places(data) if stored[at : at + HASH_BYTES] != data[at : at + HASH_BYTES]), 0)
        ours, theirs = data[at : at + HASH_BYTES], stored[at : at + HASH_BYTES]
        subtree = tile.coordinates()[at // HASH_BYTES]
        leaf_index = subtree.index if subtree.level == 0 else -1
        figure = "leaf_hash" if subtree.level == 0 else f"hash of subtree {subtree.index} at level {subtree.level}"
        where = Where(leaf_index, file=self.log.folder + tile.path(), log=_log_of(self.log))
        self.doubt = Finding(where, figure, theirs.hex(), ours.hex(), Step.ENTRIES)

    def _require_root(self) -> None:
        root = self.builder.frontier.root()
        if root == self.checkpoint.root:
            if self.doubt is not None:
                raise FoundError(self.doubt)
            return
        if self.doubt is not None and self.doubt.where.leaf_index >= 0:
            index = self.doubt.where.leaf_index
            width = min(self.log.leaf_count - index // 256 * 256, 256)
            file = self.log.folder + Bundle(index // 256, width).path()
            raise FoundError(replace(self.doubt, where=Where(index, file=file, log=_log_of(self.log))))
        raise at(-1, step=Step.ENTRIES, log=_log_of(self.log)).error("root", self.checkpoint.root.hex(), root.hex())


def _log_of(log: StaticLog) -> str:
    return REGISTRY_LOG if log.pool == REGISTRY_LOG else ""


_NAMED_BODY: Final = re.compile(rb'_sha256":"([0-9a-f]{64})"')
"""Finds all bodies that a canonical entry names, and maybe others; most leaves of a registry name the same."""


def _bodies_of(entry: bytes) -> list[bytes]:
    """The bodies that an entry of the registry names; none where it is none, which the fold finds."""
    try:
        return [bytes.fromhex(digest) for digest in decode(entry, REGISTRY_CONTENTS).content.bodies().values()]
    except LedgerCorruptError:
        return []


def _hash_places(data: bytes) -> Iterator[int]:
    yield from range(0, len(data), HASH_BYTES)


def _round_place(index: int, entry: bytes) -> RoundPlace:
    try:
        content: Any = decode(entry, CONTENTS).content
    except LedgerCorruptError as error:
        raise at(index, step=Step.FORMS).error("entry", error, "a canonical entry") from None
    if not isinstance(content, RoundContent):
        raise at(index, step=Step.FORMS).error("type", content.type, RoundContent.type)
    return RoundPlace(index, content.number, content.start, content.end, content.usage_start)
