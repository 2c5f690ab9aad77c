"""A pool's log read from static files, for a replay. Nothing read here is verified before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from audit.findings import FoundError, file_finding
from audit.steps import Step
from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import (
    JOURNAL,
    JOURNAL_HEADER,
    MAX_FILE_BYTES,
    Files,
    body_path,
    full_path,
    lines_of,
    parse_journal_line,
)
from ledger.files.tiles import TILE_WIDTH, Bundle, Tile, bundles, encode_tile, parse_bundle, parse_tile
from ledger.journal import Transfer
from ledger.log.leaves import EncodedLeaf
from ledger.log.merkle import leaf_hash


@dataclass(slots=True)
class StaticLog:
    """The first `leaf_count` leaves of a log, with their bodies and transfers. `folder` is what its paths begin with.

    Transfers are read once, in the order of the log.
    """

    pool: str
    files: Files
    leaf_count: int
    folder: str = ""
    journal: JournalReader = field(init=False)
    _kept: tuple[int, list[bytes]] = (-1, [])
    """The entry bundle that was last read for a single leaf: retractions come in runs."""

    def __post_init__(self) -> None:
        self.journal = JournalReader(self.files)

    def size(self) -> int:
        """The number of leaves in the log."""
        return self.leaf_count

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        """Yields the leaves in [start, end), in order.

        Raises:
            FormatError: an entry bundle is missing or malformed.
        """
        end = min(end, self.leaf_count)
        alone = end - start == 1
        for bundle in bundles(self.leaf_count, grown_from=start // TILE_WIDTH * TILE_WIDTH) if start < end else ():
            if bundle.start >= end:
                return
            entries = self._kept[1] if alone and self._kept[0] == bundle.index else self.entries(bundle)
            if alone:
                self._kept = (bundle.index, entries)
            for index in range(max(start, bundle.start), min(end, bundle.end)):
                entry = entries[index - bundle.start]
                yield EncodedLeaf(index, entry, leaf_hash(entry))

    def entries(self, bundle: Bundle) -> list[bytes]:
        """Returns the entries of a bundle.

        Raises:
            FormatError: the bundle is missing or malformed.
        """
        data, width = self._read(bundle)
        try:
            return parse_bundle(data, width)[: bundle.width]
        except FormatError as error:
            raise FormatError(self.folder + bundle.path(), error.reason) from None

    def tile(self, tile: Tile) -> bytes:
        """Returns a tile's bytes.

        Raises:
            FormatError: the tile is missing, or has another length than its hashes.
        """
        data, width = self._read(tile)
        try:
            return encode_tile(parse_tile(data, width)[: tile.width])
        except FormatError as error:
            raise FormatError(self.folder + tile.path(), error.reason) from None

    def _read(self, place: Tile | Bundle) -> tuple[bytes, int]:
        # If the log has grown since, the full file may have replaced the partial one.
        for path, width in ((place.path(), place.width), (full_path(place), TILE_WIDTH)):
            try:
                return self.files.read(self.folder + path), width
            except NotFoundError:
                continue
        raise FormatError(self.folder + place.path(), "is missing")

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """Returns the body with a hash.

        Raises:
            NotFoundError: there is no such body.
            FormatError: it is longer than `bytes_max`.
        """
        return self.files.read(self.folder + body_path(sha256), bytes_max=bytes_max)

    def transfers(self, leaf_index: int, most: int) -> list[Transfer]:
        """Returns what the journal says that a leaf moved, in order: all of it, or one more transfer than `most`.

        Ask for each leaf once, in ascending order.

        Raises:
            FoundError: a line is out of place or malformed; what comes after it can still be asked for.
        """
        try:
            return self.journal.take(leaf_index, most)
        except FormatError as error:
            raise FoundError(file_finding(error, Step.BALANCES)) from None


MAX_SURPLUS: Final = 1_000
"""Lines beyond those of a leaf that are passed over to find those of the next; nobody has signed how many there are."""


@dataclass(slots=True)
class JournalReader:
    """The journal's lines, leaf by leaf. `line` is the number of the last line read, `leaf` the leaf that asked."""

    files: Files
    line: int = 0
    leaf: int = -1
    transfers: int = 0
    _lines: Iterator[str] | None = None
    _next: tuple[int, int, Transfer] | None = None
    """What was read and is not taken yet."""

    def take(self, leaf_index: int, most: int) -> list[Transfer]:
        """Returns the transfers of a leaf: all of them, or one more than the most that there may be.

        If there are many more, the rest of the journal counts for nothing.

        Raises:
            FormatError: a line is out of place, and the lines up to this leaf's last one are passed over; or a line is
                malformed, and those after it can still be taken.
        """
        self.leaf = leaf_index
        found: list[Transfer] = []
        count = 0
        misplaced: FormatError | None = None
        while (following := self._peek()) is not None and following[0] <= leaf_index:
            self._next = None
            index, ordinal, transfer = following
            if (index, ordinal) != (leaf_index, count) and misplaced is None:
                place = f"transfer {count} of leaf {leaf_index}"
                misplaced = FormatError(
                    f"{JOURNAL} line {self.line}", f"is transfer {ordinal} of leaf {index}, expected {place}"
                )
            count += 1
            if count <= most + 1:
                found.append(transfer)
            elif count > most + MAX_SURPLUS:
                self._lines = iter(())
        if misplaced is not None:
            raise misplaced
        self.transfers += count
        return found

    def finish(self) -> None:
        """Check that nothing is left.

        Raises:
            FormatError: there are lines left that belong to no leaf.
        """
        following, self._next = self._peek(), None
        if following is not None:
            index, ordinal, _ = following
            raise FormatError(
                f"{JOURNAL} line {self.line}", f"is transfer {ordinal} of leaf {index}, which moves nothing"
            )

    def _open(self) -> None:
        try:
            self._lines = lines_of(self.files.chunks(JOURNAL), JOURNAL)
            header = next(self._lines, None)
        except NotFoundError:
            raise FormatError(JOURNAL, "is missing") from None
        self.line = 1
        if header != JOURNAL_HEADER:
            raise FormatError(f"{JOURNAL} line 1", f"must be {JOURNAL_HEADER}")

    def _peek(self) -> tuple[int, int, Transfer] | None:
        """Returns what the next line says, which is read once; None at the end."""
        if self._lines is None:
            self._open()
        if self._next is None and (line := next(self._lines or iter(()), None)) is not None:
            self.line += 1
            self._next = parse_journal_line(line, self.line)
        return self._next
