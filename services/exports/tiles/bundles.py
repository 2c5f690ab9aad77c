"""A pool's log as one archive: everything an audit needs, in an order and with bytes that follow from the log alone.

The checkpoint comes first; then the registry's log; then the entries, each tile after the entries that fill it; the
journal and the balances; and the bodies in the order in which the leaves name them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from audit.files.archives import ArchiveWriter
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.files.layout import (
    BALANCES,
    CHECKPOINT,
    JOURNAL,
    JOURNAL_HEADER,
    REGISTRY_FOLDER,
    TileBuilder,
    body_path,
    journal_line,
    render_balances,
)
from ledger.files.tiles import bundles, encode_bundle
from ledger.log.checkpoint import Checkpoint, read_checkpoint
from ledger.log.merkle import leaf_hash
from ledger.store.durable import whole_file
from services.exports.tiles.folders import (
    Exported,
    LogSource,
    Progress,
    bodies_named,
    fetch_body,
    fetch_entries,
    no_progress,
    require_root,
)


def write_bundle(
    source: LogSource, file: Path, rounds: frozenset[int] | None = None, progress: Progress = no_progress
) -> Exported:
    """Write an archive at the latest checkpoint; with `rounds`, without batches that none of these rounds counts.

    Raises:
        LedgerCorruptError: the service sent something that does not match its hashes.
        InvalidInputError: a round is not in the log.
    """
    note = source.checkpoint()
    checkpoint, _ = read_checkpoint(note)
    with whole_file(file) as opened:
        bodies = _write_archive(source, ArchiveWriter(opened), note, checkpoint, rounds, progress)
    return Exported(checkpoint, checkpoint.size, bodies, 0)


def _write_archive(
    source: LogSource,
    archive: ArchiveWriter,
    note: bytes,
    checkpoint: Checkpoint,
    rounds: frozenset[int] | None,
    progress: Progress,
) -> int:
    archive.write(CHECKPOINT, note)
    if (registry := source.registry()) is not None:
        _write_registry(registry, archive)
    wanted = WantedBodies(rounds)
    _write_entries(source, archive, checkpoint, wanted, progress)
    with TemporaryFile() as journal:
        journal.write(f"{JOURNAL_HEADER}\n".encode())
        journal.writelines(f"{journal_line(*moved)}\n".encode() for moved in source.transfers(0, checkpoint.size))
        archive.write_from(JOURNAL, journal)
    archive.write(BALANCES, render_balances(source.balances(checkpoint.size)))
    written = 0
    for digest, place in wanted.in_order():
        archive.write(body_path(digest), fetch_body(source, digest))
        written += 1
        progress((checkpoint.size + place) // 2, checkpoint.size)
    archive.finish()
    progress(checkpoint.size, checkpoint.size)
    return written


def _write_registry(source: LogSource, archive: ArchiveWriter) -> None:
    """The registry's log up to its newest checkpoint, which is asked for after the pool's was."""
    note = source.checkpoint()
    checkpoint, _ = read_checkpoint(note)
    archive.write(REGISTRY_FOLDER + CHECKPOINT, note)
    wanted = WantedBodies(None)
    _write_entries(source, archive, checkpoint, wanted, no_progress, REGISTRY_FOLDER)
    for digest, _ in wanted.in_order():
        archive.write(REGISTRY_FOLDER + body_path(digest), fetch_body(source, digest))


def _write_entries(
    source: LogSource,
    archive: ArchiveWriter,
    checkpoint: Checkpoint,
    wanted: WantedBodies,
    progress: Progress,
    folder: str = "",
) -> None:
    builder = TileBuilder()
    for bundle in bundles(checkpoint.size):
        entries = fetch_entries(source, bundle)
        archive.write(folder + bundle.path(), encode_bundle(entries))
        for index, entry in enumerate(entries, bundle.start):
            wanted.take_in(index, entry)
            for tile, data in builder.append(leaf_hash(entry)):
                archive.write(folder + tile.path(), data)
        progress(bundle.end // 2, checkpoint.size)
    for tile, data in builder.partial():
        archive.write(folder + tile.path(), data)
    require_root(builder, checkpoint)


@dataclass(slots=True)
class WantedBodies:
    """Which bodies a bundle contains: all, or all except batches that no chosen round counts or retracts from."""

    rounds: frozenset[int] | None
    _bodies: dict[bytes, int] = field(default_factory=dict)
    """By digest, the first leaf that names it."""
    _batches: dict[int, bytes] = field(default_factory=dict)
    _retractions: list[tuple[int, int]] = field(default_factory=list)
    """(leaf, the batch's leaf)."""
    _intervals: dict[int, tuple[int, int]] = field(default_factory=dict)

    def take_in(self, index: int, entry: bytes) -> None:
        """Note what an entry names."""
        content = json.loads(entry)
        match content["type"]:
            case "usage.v1" if self.rounds is not None:
                self._batches[index] = bytes.fromhex(content["body_sha256"])
                return
            case "retraction.v1":
                self._retractions.append((index, content["batch_leaf"]))
            case "round.v1":
                self._intervals[content["number"]] = content["start"], content["end"]
        for digest in bodies_named(entry):
            self._bodies.setdefault(digest, index)

    def in_order(self) -> Iterator[tuple[bytes, int]]:
        """Yields (digest, leaf) in the order in which leaves first name them."""
        for number in sorted(self.rounds or ()):
            if number not in self._intervals:
                raise InvalidInputError.of("rounds", f"the log has no round {number}")
            start, end = self._intervals[number]
            for leaf in [leaf for leaf in self._batches if start <= leaf < end]:
                self._want(leaf, leaf)
            for leaf, batch_leaf in self._retractions:
                if start <= leaf < end:
                    self._want(batch_leaf, batch_leaf)
        yield from sorted(self._bodies.items(), key=lambda found: (found[1], found[0]))

    def _want(self, batch_leaf: int, place: int) -> None:
        digest = self._batches.get(batch_leaf)
        if digest is None:
            raise LedgerCorruptError(f"leaf {batch_leaf}", "is not a batch, but events are retracted from it")
        self._bodies[digest] = min(place, self._bodies.get(digest, place))
