"""A log as static files: tiles of hashes and bundles of entries (C2SP tlog-tiles).

A tile at level L holds up to 256 hashes, those of perfect subtrees of 2^(8L) leaves. The rightmost of each level is
partial, until the log has grown over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.errors import FormatError
from ledger.log.merkle import HASH_BYTES, Coordinate, root
from ledger.log.text import MAX_SIZE

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 2**TILE_HEIGHT
"""Hashes in a full tile, and entries in a full bundle."""

MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 2**16 - 1
"""The longest entry that a bundle's length prefix can state."""

LENGTH_BYTES: Final = 2

_PATH: Final = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """The place of an entry bundle; below the full width it is partial.

    Raises:
        FormatError: the index or the width is out of range.
    """

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        _require_place(self.index, self.width)

    @property
    def start(self) -> int:
        """The index of its first entry."""
        return self.index * TILE_WIDTH

    @property
    def end(self) -> int:
        """The index after its last entry."""
        return self.start + self.width

    def path(self) -> str:
        """Returns its path below the log's prefix, such as `tile/entries/x001/234.p/17`."""
        return f"tile/entries/{_place(self.index, self.width)}"


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """The place of a tile of hashes; below the full width it is partial.

    Raises:
        FormatError: the level, the index or the width is out of range.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL:
            raise FormatError("tile.level", f"must be 0 to {MAX_LEVEL}, got {self.level}")
        _require_place(self.index, self.width)

    def path(self) -> str:
        """Returns its path below the log's prefix, such as `tile/1/000.p/17`."""
        return f"tile/{self.level}/{_place(self.index, self.width)}"

    def coordinates(self) -> list[Coordinate]:
        """Returns the perfect subtrees whose hashes it holds, in order."""
        first = self.index * TILE_WIDTH
        return [Coordinate(self.level * TILE_HEIGHT, first + at) for at in range(self.width)]


def parse_path(path: str) -> Tile | Bundle:
    """Reads the path of a tile or a bundle; its own `path` gives it back.

    Raises:
        FormatError: it is not the path of either.
    """
    matched = _PATH.fullmatch(path)
    if not matched:
        raise FormatError("tile path", f"is not the path of a tile or entry bundle: {path[:100]!r}")
    level, groups, width = matched.groups()
    index = int(groups.replace("x", "").replace("/", ""))
    place = int(width) if width else TILE_WIDTH
    found = Bundle(index, place) if level == "entries" else Tile(int(level), index, place)
    if found.path() != path:
        raise FormatError("tile path", f"is not canonical: {path[:100]!r}")
    return found


def tiles(size: int, *, grown_from: int = 0) -> Iterator[Tile]:
    """Returns the tiles of a log of this size, level by level; only those that changed since size `grown_from`.

    Raises:
        ValueError: `grown_from` is negative or above the size.
    """
    _require_growth(grown_from, size)
    for level in range(MAX_LEVEL + 1):
        hashes, before = size >> level * TILE_HEIGHT, grown_from >> level * TILE_HEIGHT
        if not hashes:
            return
        for index, width in _places(before, hashes):
            yield Tile(level, index, width)


def bundles(size: int, *, grown_from: int = 0) -> Iterator[Bundle]:
    """Returns the bundles of a log of this size in order; only those that changed since size `grown_from`.

    Raises:
        ValueError: `grown_from` is negative or above the size.
    """
    _require_growth(grown_from, size)
    for index, width in _places(grown_from, size):
        yield Bundle(index, width)


def tile_of(coordinate: Coordinate, size: int) -> tuple[Tile, range]:
    """Returns the tile of a log of this size that has a perfect subtree, and which of its hashes are in the subtree.

    Their `ledger.log.merkle.root` is the subtree's hash.

    Raises:
        ValueError: a log of this size has no such perfect subtree.
    """
    if coordinate.level < 0 or coordinate.index < 0 or coordinate.index + 1 << coordinate.level > size:
        raise ValueError(f"a log of size {size} has no perfect subtree at {coordinate}")
    level, height = divmod(coordinate.level, TILE_HEIGHT)
    first = coordinate.index << height
    index = first // TILE_WIDTH
    width = min(TILE_WIDTH, (size >> level * TILE_HEIGHT) - index * TILE_WIDTH)
    at = first - index * TILE_WIDTH
    return Tile(level, index, width), range(at, at + (1 << height))


def subtree_hash(coordinate: Coordinate, size: int, read: Callable[[Tile], bytes]) -> bytes:
    """Returns the hash of a perfect subtree of a log of this size, from the one tile that has it.

    Raises:
        FormatError: `read` does not return as many hashes as the tile has.
        ValueError: a log of this size has no such perfect subtree.
    """
    tile, places = tile_of(coordinate, size)
    hashes = parse_tile(read(tile), tile.width)
    return root(hashes[places.start : places.stop])


def encode_tile(hashes: Sequence[bytes]) -> bytes:
    """Returns a tile's bytes: its hashes, one after the other.

    Raises:
        ValueError: there is no hash, there are more than 256, or one is not 32 bytes.
    """
    if not 1 <= len(hashes) <= TILE_WIDTH or any(len(found) != HASH_BYTES for found in hashes):
        raise ValueError(f"a tile holds 1 to {TILE_WIDTH} hashes of {HASH_BYTES} bytes")
    return b"".join(hashes)


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """Reads the hashes of a tile of this width.

    Raises:
        FormatError: the bytes are not as many as the hashes need.
    """
    if len(data) != width * HASH_BYTES:
        raise FormatError("tile", f"must have {width * HASH_BYTES} bytes, got {len(data)}")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Returns a bundle's bytes: each entry after its length as a big-endian uint16.

    Raises:
        ValueError: there is no entry, there are more than 256, or one is too long.
    """
    if not 1 <= len(entries) <= TILE_WIDTH or any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise ValueError(f"a bundle holds 1 to {TILE_WIDTH} entries of at most {MAX_ENTRY_BYTES} bytes")
    return b"".join(len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """Reads the entries of a bundle of this width.

    Raises:
        FormatError: the bytes end in the middle of an entry, or contain fewer or more entries.
    """
    entries: list[bytes] = []
    at = 0
    for _ in range(width):
        begin = at + LENGTH_BYTES
        at = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or at > len(data):
            raise FormatError("bundle", f"ends before entry {len(entries)} of {width} does")
        entries.append(data[begin:at])
    if at != len(data):
        raise FormatError("bundle", f"continues after its {width} entries")
    return entries


def _place(index: int, width: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    *first, last = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    groups = "".join(f"x{group}/" for group in first) + last
    return groups if width == TILE_WIDTH else f"{groups}.p/{width}"


def _places(before: int, count: int) -> Iterator[tuple[int, int]]:
    """Returns index and width of what has `count` hashes or entries, from the first that had fewer with `before`."""
    if before == count:
        return
    full, partial = divmod(count, TILE_WIDTH)
    for index in range(before // TILE_WIDTH, full):
        yield index, TILE_WIDTH
    if partial:
        yield full, partial


def _require_place(index: int, width: int) -> None:
    if not 0 <= index <= MAX_SIZE // TILE_WIDTH:
        raise FormatError("tile.index", f"must be 0 to {MAX_SIZE // TILE_WIDTH}, got {index}")
    if not 1 <= width <= TILE_WIDTH:
        raise FormatError("tile.width", f"must be 1 to {TILE_WIDTH}, got {width}")


def _require_growth(grown_from: int, size: int) -> None:
    if not 0 <= grown_from <= size:
        raise ValueError(f"grown_from must be 0 to the size of {size}, got {grown_from}")
