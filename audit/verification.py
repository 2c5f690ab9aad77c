"""Verification: checks everything that a bundle claims with one public key and nothing else.

The entries are read first, for the root and to know where rounds end. Then one fold over them checks all the rest: a
batch's body is read once, and once more for each retraction from it. Nothing here opens a file: `Files` provides them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from audit.files.in_order import InOrder
from audit.files.static_log import StaticLog
from audit.findings import Finding, FoundError, Where, at
from audit.progress import Progress
from audit.report import Report
from audit.signatures import signed_by
from audit.steps import Step
from audit.verification_fold import Means, RoundPlace, check_leaves
from ledger.errors import FormatError, LedgerCorruptError, NotFoundError
from ledger.files.layout import ARCHIVE, BALANCES, CHECKPOINT, JOURNAL, ArchivedFiles, Files, TileBuilder
from ledger.files.tiles import Bundle, Tile, bundles
from ledger.log.checkpoint import Checkpoint
from ledger.log.leaves import decode
from ledger.log.merkle import HASH_BYTES, leaf_hash
from ledger.log.note_keys import VerifierKey
from ledger.log.notes import MAX_NOTE_BYTES
from ledger.log.witness_policy import WitnessPolicy
from payout.entries import CONTENTS, RoundContent

_POOLS: Final = "/pools/"
_ROUND_MARK: Final = b'"type":"round.v1"'
"""Occurs in every round's entry and in no other: within a JSON string its quotes would be escaped."""


@dataclass(frozen=True, slots=True)
class Older:
    """A checkpoint that was kept: its note, and its name, such as its file."""

    name: str
    note: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """What to verify a bundle with.

    Attributes:
        key: the log's own; its name is the log's origin.
        since: older checkpoints.
        witnesses: policies about who must have cosigned the checkpoint.
        rounds: the rounds to recompute, None for all of them.
    """

    key: VerifierKey
    since: tuple[Older, ...] = ()
    witnesses: tuple[WitnessPolicy, ...] = ()
    rounds: frozenset[int] | None = None


def verify(files: Files, asked: Asked, means: Means) -> Generator[Progress, None, Report]:
    """Check a bundle step by step (`Step`); yields progress, and returns what was checked and found."""
    report = Report()
    reading = Step.SIGNATURES
    try:
        # 2. The checkpoint is the log's.
        checkpoint = _signed_checkpoint(files, asked, report)
        pool = checkpoint.origin.rpartition(_POOLS)[2]

        # 3. and 4. It extends the older checkpoints, and its root is that of the entries: none is missing or changed.
        reading = Step.CONSISTENCY
        older = [_older_checkpoint(each, checkpoint, asked.key) for each in asked.since]
        reading = Step.ENTRIES
        log = StaticLog(pool, files, checkpoint.size)
        order = InOrder(files) if isinstance(files, ArchivedFiles) else None
        rounds = yield from _EntryPass(log, checkpoint, older, report, order).run()

        # 5. to 14. What they say, leaf by leaf.
        yield from check_leaves(log, rounds, asked.rounds, means, report, order)

        # 1. Nothing else is in the archive: only now is it known which files belong there.
        _end_files(order, asked, report)
    except FoundError as found:
        report.finding = found.finding
    except (FormatError, NotFoundError) as error:
        report.finding = _file_finding(error, reading)
    return report


def _end_files(order: InOrder | None, asked: Asked, report: Report) -> None:
    if order is None:
        report.skipped[Step.FILES] = "a folder may contain other files too"
        return
    if asked.rounds is None:
        order.finish()
    else:
        report.skipped[Step.FILES] = "the order of bodies needs all rounds"
    report.count(Step.FILES, "files", order.count)
    report.take(Step.FILES)


def _signed_checkpoint(files: Files, asked: Asked, report: Report) -> Checkpoint:
    note = files.read(CHECKPOINT, bytes_max=MAX_NOTE_BYTES)
    opened = signed_by(note, asked.key, CHECKPOINT, Step.SIGNATURES, asked.witnesses)
    origin = opened.checkpoint.origin
    if _POOLS not in origin:
        where = Where(file=CHECKPOINT)
        raise FoundError(Finding(where, "origin", origin, "one that names a pool", Step.SIGNATURES))
    report.checkpoint = opened.checkpoint
    report.signers = [verified.key.name for verified in opened.note.verified]
    report.count(Step.SIGNATURES, "signatures", len(opened.note.verified))
    if opened.note.unknown:
        report.count(Step.SIGNATURES, "unknown signatures", len(opened.note.unknown))
    report.take(Step.SIGNATURES)
    return opened.checkpoint


def _older_checkpoint(kept: Older, checkpoint: Checkpoint, key: VerifierKey) -> tuple[str, Checkpoint]:
    older = signed_by(kept.note, key, kept.name, Step.CONSISTENCY).checkpoint
    if older.size > checkpoint.size:
        expected = f"{older.size} leaves or more: this bundle is older than the checkpoint"
        finding = Finding(Where(file=kept.name), "size", f"{checkpoint.size} leaves", expected, Step.CONSISTENCY)
        raise FoundError(finding)
    return kept.name, older


@dataclass(slots=True)
class _EntryPass:
    """Reads every entry once, for the root, the tiles and the places of rounds."""

    log: StaticLog
    checkpoint: Checkpoint
    older: list[tuple[str, Checkpoint]]
    """Each with the name of its file."""
    report: Report
    order: InOrder | None
    rounds: list[tuple[int, bytes]] = field(default_factory=list)
    """Index and entry of each. They are read only after the root has been verified."""
    builder: TileBuilder = field(default_factory=TileBuilder)
    doubt: Finding | None = None
    """The first hash in a tile that does not match the entries; the root tells which of the two is wrong."""

    def run(self) -> Generator[Progress, None, list[RoundPlace]]:
        self._hold_against_older()
        self._comes_next(CHECKPOINT)
        for bundle in bundles(self.log.leaf_count):
            self._comes_next(bundle.path())
            for index, entry in enumerate(self.log.entries(bundle), bundle.start):
                self._take_in(index, entry)
            self.report.count(Step.ENTRIES, "entries", bundle.width)
            yield Progress(bundle.end, self.log.leaf_count)
        for tile, data in self.builder.partial():
            self._compare(tile, data)
        self._comes_next(JOURNAL)
        self._comes_next(BALANCES)
        self._require_root()
        self.report.take(Step.ENTRIES)
        if self.older:
            self.report.take(Step.CONSISTENCY)
        else:
            self.report.skipped[Step.CONSISTENCY] = "no older checkpoint was given"
        return [_round_place(index, entry) for index, entry in self.rounds]

    def _take_in(self, index: int, entry: bytes) -> None:
        for tile, data in self.builder.append(leaf_hash(entry)):
            self._compare(tile, data)
        if _ROUND_MARK in entry:
            self.rounds.append((index, entry))
        self._hold_against_older()

    def _hold_against_older(self) -> None:
        for name, older in self.older:
            if older.size == self.builder.frontier.size:
                root = self.builder.frontier.root()
                if root != older.root:
                    where = Where(file=name)
                    figure = f"root at {older.size}"
                    finding = Finding(where, figure, root.hex(), older.root.hex(), Step.CONSISTENCY)
                    raise FoundError(finding)
                self.report.count(Step.CONSISTENCY, "older checkpoints")

    def _comes_next(self, path: str) -> None:
        if self.order is not None:
            self.order.take(path)

    def _compare(self, tile: Tile, data: bytes) -> None:
        self._comes_next(tile.path())
        stored = self.log.tile(tile)
        self.report.count(Step.ENTRIES, "tiles")
        if stored == data or self.doubt is not None:
            return
        at = next((at for at in _hash_places(data) if stored[at : at + HASH_BYTES] != data[at : at + HASH_BYTES]), 0)
        ours, theirs = data[at : at + HASH_BYTES], stored[at : at + HASH_BYTES]
        subtree = tile.coordinates()[at // HASH_BYTES]
        leaf_index = subtree.index if subtree.level == 0 else -1
        figure = "leaf_hash" if subtree.level == 0 else f"hash of subtree {subtree.index} at level {subtree.level}"
        self.doubt = Finding(Where(leaf_index, file=tile.path()), figure, theirs.hex(), ours.hex(), Step.ENTRIES)

    def _require_root(self) -> None:
        root = self.builder.frontier.root()
        if root == self.checkpoint.root:
            if self.doubt is not None:
                raise FoundError(self.doubt)
            return
        if self.doubt is not None and self.doubt.where.leaf_index >= 0:
            index = self.doubt.where.leaf_index
            width = min(self.log.leaf_count - index // 256 * 256, 256)
            raise FoundError(replace(self.doubt, where=Where(index, file=Bundle(index // 256, width).path())))
        raise at(-1, step=Step.ENTRIES).error("root", self.checkpoint.root.hex(), root.hex())


def _hash_places(data: bytes) -> Iterator[int]:
    yield from range(0, len(data), HASH_BYTES)


def _round_place(index: int, entry: bytes) -> RoundPlace:
    try:
        content: Any = decode(entry, CONTENTS).content
    except LedgerCorruptError as error:
        raise at(index, step=Step.FORMS).error("entry", error, "a canonical entry") from None
    if not isinstance(content, RoundContent):
        raise at(index, step=Step.FORMS).error("type", content.type, RoundContent.type)
    return RoundPlace(index, content.number, content.start, content.end)


def _file_finding(error: FormatError | NotFoundError, reading: Step) -> Finding:
    """Returns the finding for a malformed file."""
    if isinstance(error, NotFoundError):
        return Finding(Where(file=error.resource), "file", "missing", "there", reading)
    file, _, line = error.subject.partition(" line ")
    if file == JOURNAL:
        reading = Step.BALANCES
    elif file == ARCHIVE:
        reading = Step.FILES
    elif file.startswith("body/"):
        reading = Step.BODIES
    where = Where(file=file, line=int(line) if line else 0)
    return Finding(where, "form", error.reason, "as it is specified", reading)
