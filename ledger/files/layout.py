"""A pool's log as static files: which file has what, so that a folder, an archive and a web server can have the same.

    checkpoint              the signed checkpoint that the rest belongs to
    tile/, tile/entries/    hashes and entries (`ledger.files.tiles`)
    journal.csv             every transfer below the checkpoint's size, in the order of the log
    balances.csv            every account's balance at that size, by account
    body/<2>/<64>           a body, by its SHA-256 in hexadecimal
    registry/               the registry's log up to its own checkpoint, likewise, but without journal and balances

Journal and balances are claims of the service's database; they follow from the log, and are checked against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from ledger.errors import FormatError
from ledger.files.tiles import TILE_HEIGHT, TILE_WIDTH, Bundle, Tile, encode_tile, parse_path
from ledger.journal import Purpose, Transfer
from ledger.log.merkle import Frontier
from ledger.log.origins import REGISTRY_LOG
from ledger.money import MAX_BALANCE_MINOR

ARCHIVE: Final = "archive"
"""The name of the archive itself in errors."""

CHECKPOINT: Final = "checkpoint"
JOURNAL: Final = "journal.csv"
BALANCES: Final = "balances.csv"
REGISTRY_FOLDER: Final = f"{REGISTRY_LOG}/"
"""Below this lies the registry's log, beside a pool's."""

MAX_FILE_BYTES: Final = 2**27
"""The largest file that is read whole: four times the largest batch or membership."""

JOURNAL_COLUMNS: Final = ("leaf_index", "ordinal", "from_account", "to_account", "amount_minor", "purpose")
BALANCES_COLUMNS: Final = ("account", "amount_minor")
JOURNAL_HEADER: Final = ",".join(JOURNAL_COLUMNS)
BALANCES_HEADER: Final = ",".join(BALANCES_COLUMNS)

_BODY_PATH: Final = re.compile(rf"(?:{REGISTRY_FOLDER})?body/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})")


class Files(Protocol):
    """A source of static files."""

    def read(self, path: str, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """A whole file.

        Raises:
            NotFoundError: there is no such file.
            FormatError: the file is longer than `bytes_max`.
        """

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file in pieces, however long it is.

        Raises:
            NotFoundError: there is no such file.
        """


@runtime_checkable
class ArchivedFiles(Files, Protocol):
    """Static files that follow each other in an archive."""

    def place(self, path: str) -> tuple[int, int]:
        """Returns where a file starts, with its header, and where the next one starts, in bytes.

        Raises:
            NotFoundError: there is no such file.
        """

    def name_at(self, offset: int) -> str | None:
        """Returns the path of the file that starts there; None at the end of the archive."""


def bounded(data: bytes, path: str, bytes_max: int) -> bytes:
    """Returns a file's bytes.

    Raises:
        FormatError: there are more than `bytes_max`.
    """
    if len(data) > bytes_max:
        raise FormatError(path, f"has more than {bytes_max} bytes")
    return data


def body_path(digest: bytes) -> str:
    """Returns the path of the body with this SHA-256."""
    name = digest.hex()
    return f"body/{name[:2]}/{name}"


def digest_at(path: str) -> bytes | None:
    """Returns the SHA-256 of the body that belongs at a path; None if it is not the path of a body."""
    found = _BODY_PATH.fullmatch(path)
    return bytes.fromhex(found[2]) if found else None


def require_known_path(path: str) -> str:
    """Returns the path, if it is one of a log's.

    Raises:
        FormatError: it is not.
    """
    if path not in (CHECKPOINT, REGISTRY_FOLDER + CHECKPOINT, JOURNAL, BALANCES) and digest_at(path) is None:
        parse_path(path.removeprefix(REGISTRY_FOLDER))
    return path


@dataclass(slots=True)
class TileBuilder:
    """The tiles of a log, from its leaves' hashes one by one; `frontier` has its root."""

    frontier: Frontier = field(default_factory=Frontier)
    _rows: dict[int, list[bytes]] = field(default_factory=dict)
    _done: dict[int, int] = field(default_factory=dict)
    """By level, how many tiles were full."""

    def append(self, leaf_hash: bytes) -> list[tuple[Tile, bytes]]:
        """Take in a leaf, and return the tiles that it fills."""
        self._rows.setdefault(0, []).append(leaf_hash)
        for subtree, found in self.frontier.append(leaf_hash).items():
            if subtree.level % TILE_HEIGHT == 0:
                self._rows.setdefault(subtree.level // TILE_HEIGHT, []).append(found)
        if len(self._rows[0]) < TILE_WIDTH:
            return []
        return [self._filled(level) for level in sorted(self._rows) if len(self._rows[level]) == TILE_WIDTH]

    def partial(self) -> list[tuple[Tile, bytes]]:
        """The tiles at the right edge that are not full."""
        return [
            (Tile(level, self._done.get(level, 0), len(row)), encode_tile(row))
            for level, row in sorted(self._rows.items())
            if row
        ]

    def _filled(self, level: int) -> tuple[Tile, bytes]:
        index, row = self._done.get(level, 0), self._rows[level]
        self._done[level], self._rows[level] = index + 1, []
        return Tile(level, index), encode_tile(row)


def full_path(place: Tile | Bundle) -> str:
    """Returns the path of a tile or an entry bundle once it is full; a partial one may then be gone."""
    return (Tile(place.level, place.index) if isinstance(place, Tile) else Bundle(place.index)).path()


def journal_line(leaf_index: int, ordinal: int, transfer: Transfer) -> str:
    """Returns a transfer's line, without its line feed."""
    return f"{leaf_index},{ordinal},{transfer}"


def parse_journal_line(line: str, number: int) -> tuple[int, int, Transfer]:
    """Returns (leaf index, ordinal, transfer) of line `number`, counting from 1.

    Raises:
        FormatError: the line is not one that `journal_line` returns.
    """
    subject = f"{JOURNAL} line {number}"
    said = _TRANSFER.fullmatch(line)
    try:
        if said is None or int(said[5]) > MAX_BALANCE_MINOR:
            raise ValueError
        return int(said[1]), int(said[2]), Transfer(said[3], said[4], int(said[5]), Purpose(said[6]))
    except ValueError:
        raise FormatError(subject, f"is not a transfer: {line[:200]!r}") from None


_TRANSFER: Final = re.compile(r"(0|[1-9][0-9]{0,18}),(0|[1-9][0-9]{0,18}),([^,]*),([^,]*),([1-9][0-9]{0,18}),([A-Z_]+)")


def balance_lines(balances: Mapping[str, int]) -> Iterator[str]:
    """Yields the lines of the balances file, without their line feeds."""
    yield BALANCES_HEADER
    for account in sorted(balances):
        yield f"{account},{balances[account]}"


def render_balances(balances: Mapping[str, int]) -> bytes:
    """Returns the content of the balances file."""
    return "".join(f"{line}\n" for line in balance_lines(balances)).encode()


def lines_of(chunks: Iterable[bytes], subject: str) -> Iterator[str]:
    """Yields the lines of a file, without their line feeds, however its bytes are split.

    Raises:
        FormatError: a line is not ASCII, is longer than any of ours, or is incomplete.
    """
    rest, number = b"", 0
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for number, line in enumerate(lines, number + 1):  # noqa: B020 - they are counted on
            yield _text(line, f"{subject} line {number}")
        _require_short(rest, f"{subject} line {number + 1}")
    if rest:
        raise FormatError(f"{subject} line {number + 1}", "ends within the line")


_MAX_LINE_BYTES: Final = 1_000
"""Two accounts of up to 75 characters, three numbers of up to 20, and a word."""


def _require_short(line: bytes, subject: str) -> None:
    if len(line) > _MAX_LINE_BYTES:
        raise FormatError(subject, f"has more than {_MAX_LINE_BYTES:,} bytes")


def _text(line: bytes, subject: str) -> str:
    _require_short(line, subject)
    try:
        return line.decode("ascii")
    except UnicodeDecodeError:
        raise FormatError(subject, "is not ASCII") from None
