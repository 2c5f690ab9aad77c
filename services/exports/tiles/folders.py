"""A pool's log as static files in a folder, which can be brought up to date at any time.

It uses what an auditor may read. While writing, every body is checked against its hash and the entries against the
checkpoint's root; `moiety verify` checks the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from audit.files.folders import FolderFiles
from ledger.acts.entries import ProposalContent
from ledger.errors import FormatError, LedgerCorruptError
from ledger.files.layout import (
    BALANCES,
    CHECKPOINT,
    JOURNAL,
    JOURNAL_HEADER,
    REGISTRY_FOLDER,
    TileBuilder,
    body_path,
    journal_line,
    lines_of,
    parse_journal_line,
    render_balances,
)
from ledger.files.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Bundle,
    Tile,
    bundles,
    encode_bundle,
    parse_path,
    parse_tile,
)
from ledger.journal import Transfer
from ledger.log.checkpoint import Checkpoint, read_checkpoint
from ledger.log.leaves import is_body_field
from ledger.log.merkle import leaf_hash
from ledger.store.durable import alone_in, whole_file


class LogSource(Protocol):
    """The source of an exported log."""

    def registry(self) -> LogSource | None:
        """The registry's log, which goes with a pool's; None if this is it."""

    def checkpoint(self) -> bytes:
        """The latest checkpoint's note."""

    def entries(self, start: int, end: int) -> Iterable[bytes]:
        """The entries in [start, end), in order."""

    def body(self, digest: bytes) -> bytes:
        """The body with this SHA-256."""

    def transfers(self, start: int, end: int) -> Iterable[tuple[int, int, Transfer]]:
        """(leaf index, ordinal, transfer) of the leaves in [start, end), in order."""

    def balances(self, size: int) -> dict[str, int]:
        """Every account's balance at a log size."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote, and what existed before."""

    checkpoint: Checkpoint
    entries: int
    bodies: int
    entries_before: int


Progress = Callable[[int, int], None]
"""Called with how many entries are done, and of how many."""


def no_progress(done: int, total: int) -> None:
    """Do nothing."""


def export_folder(source: LogSource, folder: Path, progress: Progress = no_progress) -> Exported:
    """Bring a folder up to the latest checkpoint: only what is missing is fetched.

    Files are written as a whole or not at all. A bundle of entries follows the bodies that it names, and the checkpoint
    follows everything, so the folder is complete up to its checkpoint whenever this stops.

    Raises:
        LedgerCorruptError: the folder has another or a longer log, or the service sent something that does not match
            its hashes. The checkpoint in the folder stays: with the service's it may be evidence.
        FormatError: a file in the folder is malformed.
        OSError: the folder cannot be written to, or another process writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        return _export(source, folder, progress)


def _export(source: LogSource, folder: Path, progress: Progress) -> Exported:
    note = source.checkpoint()
    checkpoint, _ = read_checkpoint(note)
    if (registry := source.registry()) is not None:
        # After the pool's checkpoint was read: the registry's is not signed later than one that rests on it.
        export_folder(registry, folder / REGISTRY_FOLDER)
    target = Folder(folder)
    before = read_checkpoint((folder / CHECKPOINT).read_bytes())[0] if target.has(CHECKPOINT) else None
    if before and before.size > checkpoint.size:
        raise _another_log(folder / CHECKPOINT, f"states {before.size:,} leaves, the service's {checkpoint.size:,}")
    run = _FolderExport(source, target, checkpoint, before)
    run.write_entries(progress)
    require_root(run.builder, checkpoint)
    if registry is not None:
        target.write_lines(JOURNAL, _journal(source, target, checkpoint.size))
        target.write(BALANCES, render_balances(source.balances(checkpoint.size)))
    target.write(CHECKPOINT, note)
    target.drop_partial(checkpoint.size)
    return Exported(checkpoint, run.fetched, run.bodies, checkpoint.size - run.fetched)


@dataclass(slots=True)
class _FolderExport:
    """Write entries, tiles and bodies, bundle by bundle."""

    source: LogSource
    folder: Folder
    checkpoint: Checkpoint
    before: Checkpoint | None
    builder: TileBuilder = field(default_factory=TileBuilder)
    fetched: int = 0
    bodies: int = 0

    def write_entries(self, progress: Progress) -> None:
        for bundle in bundles(self.checkpoint.size):
            if known := self.folder.leaf_hashes(bundle):
                self._take_in(known)
            else:
                entries = fetch_entries(self.source, bundle)
                for entry in entries:
                    self._write_bodies(entry)
                self._take_in([leaf_hash(entry) for entry in entries])
                if bundle.width < TILE_WIDTH:
                    self._write_partial_tiles()
                self.folder.write(bundle.path(), encode_bundle(entries))
                self.fetched += len(entries)
            progress(bundle.end, self.checkpoint.size)
        self._write_partial_tiles()

    def _take_in(self, hashes: list[bytes]) -> None:
        for found in hashes:
            filled = self.builder.append(found)
            self._require_extension()
            for tile, data in filled:
                self.folder.write_once(tile.path(), data)

    def _require_extension(self) -> None:
        """Check that what was exported before is the start of this log; partial tiles alone would not show it."""
        frontier = self.builder.frontier
        if self.before and frontier.size == self.before.size and frontier.root() != self.before.root:
            raise _another_log(self.folder.root / CHECKPOINT, f"states another root for {self.before.size:,} leaves")

    def _write_partial_tiles(self) -> None:
        for tile, data in self.builder.partial():
            self.folder.write_once(tile.path(), data)

    def _write_bodies(self, entry: bytes) -> None:
        for digest in bodies_named(entry):
            if not self.folder.has(body_path(digest)):
                self.folder.write(body_path(digest), fetch_body(self.source, digest))
                self.bodies += 1


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder in which files appear as a whole."""

    root: Path

    def has(self, path: str) -> bool:
        return (self.root / path).exists()

    def write(self, path: str, data: bytes) -> None:
        """Put a file in its place at once, whatever was there."""
        self.write_lines(path, [data])

    def write_once(self, path: str, data: bytes) -> None:
        """Put a file in its place.

        Raises:
            LedgerCorruptError: a different file is there already.
        """
        target = self.root / path
        if not target.exists():
            self.write(path, data)
        elif target.read_bytes() != data:
            raise _another_log(target, "has other hashes")

    def write_lines(self, path: str, pieces: Iterable[bytes]) -> None:
        """Put a file of many pieces in its place at once."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as file:
            file.writelines(pieces)

    def leaf_hashes(self, bundle: Bundle) -> list[bytes]:
        """Returns the hashes of a bundle that was exported with its tile; none if either is missing."""
        tile = Tile(0, bundle.index, bundle.width)
        if not self.has(bundle.path()) or not self.has(tile.path()):
            return []
        return parse_tile((self.root / tile.path()).read_bytes(), tile.width)

    def drop_partial(self, size: int) -> None:
        """Delete partial tiles and entry bundles that a log of this size no longer has."""
        for folder in self.root.glob("tile/**/*.p"):
            for file in folder.iterdir():
                place = parse_path(file.relative_to(self.root).as_posix())
                height = 0 if isinstance(place, Bundle) else TILE_HEIGHT * place.level
                if (size >> height) > place.index * TILE_WIDTH + place.width:
                    file.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


def _another_log(path: Path, what: str) -> LedgerCorruptError:
    return LedgerCorruptError(str(path), f"is of another log than the service's: keep both, and ask why ({what})")


def fetch_entries(source: LogSource, bundle: Bundle) -> list[bytes]:
    """A bundle's entries."""
    entries = list(source.entries(bundle.start, bundle.end))
    if len(entries) != bundle.width:
        raise LedgerCorruptError(bundle.path(), f"the service sent {len(entries)} entries, expected {bundle.width}")
    return entries


def fetch_body(source: LogSource, digest: bytes) -> bytes:
    """Returns a body, which has that hash."""
    body = source.body(digest)
    if sha256(body).digest() != digest:
        raise LedgerCorruptError(body_path(digest), "the service sent bytes with another SHA-256")
    return body


def require_root(builder: TileBuilder, checkpoint: Checkpoint) -> None:
    """Check entries against a checkpoint.

    Raises:
        LedgerCorruptError: the entries are not those of the checkpoint.
    """
    root = builder.frontier.root()
    if root != checkpoint.root:
        detail = f"states the root {checkpoint.root.hex()}, but the entries have {root.hex()}"
        raise LedgerCorruptError(f"the checkpoint at {checkpoint.size}", detail)


def bodies_named(entry: bytes) -> list[bytes]:
    """The SHA-256 of each body that an entry names, in the order of its fields."""
    content: dict[str, Any] = json.loads(entry)
    said = content["content"] if content["type"] == ProposalContent.type else content
    return [bytes.fromhex(value) for name, value in said.items() if is_body_field(name, value)]


def _journal(source: LogSource, folder: Folder, size: int) -> Iterator[bytes]:
    """Yields the journal's lines up to a size: those that exist already, then those of later leaves."""
    yield f"{JOURNAL_HEADER}\n".encode()
    start = 0
    if folder.has(JOURNAL):
        start, kept = _known_journal(folder, size)
        yield from kept
    for moved in source.transfers(start, size):
        yield f"{journal_line(*moved)}\n".encode()


def _known_journal(folder: Folder, size: int) -> tuple[int, Iterator[bytes]]:
    """Returns the last leaf in the existing journal, below a size, and its lines before that leaf."""

    def rows() -> Iterator[tuple[int, str]]:
        lines = lines_of(FolderFiles(folder.root).chunks(JOURNAL), JOURNAL)
        if next(lines, None) != JOURNAL_HEADER:
            raise FormatError(JOURNAL, f"does not start with {JOURNAL_HEADER}")
        return ((parse_journal_line(line, number)[0], line) for number, line in enumerate(lines, 2))

    last = max((leaf for leaf, _ in rows() if leaf < size), default=0)
    return last, (f"{line}\n".encode() for leaf, line in rows() if leaf < last)
