"""A folder of Parquet files that is kept up to date with a pool's log.

    DIR/<table>/pool=<pool>/leaves-<first>-<end>.parquet

A file has the rows of the leaves from `first` up to, not including, `end`. It is written under another name and
renamed when it is complete; nothing is ever rewritten. The file of `leaves` comes last: what it covers is complete,
and the next run deletes what an interrupted run left beyond it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ledger.errors import LedgerCorruptError
from ledger.log.merkle import Frontier, leaf_hash
from ledger.store.durable import alone_in
from services.exports.errors import ExportFolderError
from services.exports.parquet.rows import LeafRows
from services.exports.parquet.schema import SCHEMAS
from services.exports.past import REFERRED_TO, Past
from services.exports.source import PoolSource

EVENTS_PER_FILE: Final = 2**20
LEAVES_PER_FILE: Final = 2**16
"""A file ends with the leaf that exceeds either: large enough to scan well, small enough to lose little."""

ROWS_PER_GROUP: Final = 2**16
BYTES_PER_GROUP: Final = 2**26
"""A row group ends with the leaf that exceeds either, which bounds the memory used."""

_NAME: Final = re.compile(r"leaves-(\d{12})-(\d{12})\.parquet")
_MARK: Final = "leaves"


@dataclass(frozen=True, slots=True)
class Exported:
    """What a run did: the leaves that the folder had and has now, their root, and rows by table."""

    start: int
    end: int
    root: bytes
    rows: dict[str, int]


def export_parquet(source: PoolSource, folder: Path, progress: Callable[[int], None] = lambda _: None) -> Exported:
    """Bring a folder up to the log's size; `progress` is called with the numbers of leaves read.

    Raises:
        ExportFolderError: the folder contains files that no export of this pool has left there.
        OSError: the folder cannot be written to, or another process writes there.
        LedgerCorruptError: the service's log is inconsistent, or no longer has the leaves that were exported.
        ExportValueError: a figure does not fit its column.
    """
    home = _home(folder, _MARK, source.pool)
    home.mkdir(parents=True, exist_ok=True)
    with alone_in(home):
        return _export(source, folder, progress)


def _export(source: PoolSource, folder: Path, progress: Callable[[int], None]) -> Exported:
    frontier, past = _resume(source, folder)
    start = frontier.size
    progress(start)
    rows: Counter[str] = Counter()
    maker = LeafRows(source, past)
    chunk = _Chunk(folder, source.pool, start)
    try:
        for encoded, leaf in source.leaves(start):
            for table, found in maker.of(encoded, leaf):
                chunk.add(table, found)
            frontier.append(encoded.hash)
            progress(1)
            if chunk.full or frontier.size == source.size:
                source.require_root(frontier)
                rows.update(chunk.close(frontier))
                chunk = _Chunk(folder, source.pool, frontier.size)
    finally:
        chunk.abandon()
    source.require_root(frontier)
    return Exported(start, frontier.size, frontier.root(), dict(rows))


def _resume(source: PoolSource, folder: Path) -> tuple[Frontier, Past]:
    """Returns where the folder's export ended, after deleting what is beyond."""
    frontier, past = Frontier(), Past(source)
    for file in _files(folder, _MARK, source.pool):
        first, _ = _range(file)
        if first != frontier.size:
            raise ExportFolderError(file, f"should start with leaf {frontier.size}, but starts with {first}")
        hashes, referred_to = _kept(file)
        for found in hashes:
            frontier.append(found)
        for entry in referred_to:
            past.take_in(source.decoded(entry))
    if frontier.size > source.size:
        detail = f"has {frontier.size:,} leaves of pools/{source.pool}, but its log only {source.size:,}"
        raise LedgerCorruptError(str(folder), detail)
    for table in SCHEMAS:
        home = _home(folder, table, source.pool)
        leftovers = [file for file in _files(folder, table, source.pool) if _range(file)[0] >= frontier.size]
        for file in [*leftovers, *home.glob(".*.partial")]:
            file.unlink()
    return frontier, past


def _kept(file: Path) -> tuple[list[bytes], list[bytes]]:
    """The hashes of a file's leaves, and the entries that others refer to.

    Raises:
        ExportFolderError: the file was damaged or changed since it was written.
    """
    first, end = _range(file)
    try:
        found = pq.read_table(file, columns=["leaf_index", "hash"], partitioning=None)
        entries = pq.read_table(
            file, columns=["leaf_index", "entry"], filters=[("type", "in", REFERRED_TO)], partitioning=None
        )
        hashes = [bytes.fromhex(text) for text in found["hash"].to_pylist()]
        encoded = [text.encode() for text in entries["entry"].to_pylist()]
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError) as error:
        raise ExportFolderError(file, f"cannot be read any more: {str(error).partition(chr(10))[0]}") from None
    if found["leaf_index"].to_pylist() != list(range(first, end)):
        raise ExportFolderError(file, "does not contain the leaves that its name says")
    for index, entry in zip(entries["leaf_index"].to_pylist(), encoded, strict=True):
        if leaf_hash(entry) != hashes[index - first]:
            raise ExportFolderError(file, f"has another entry at leaf {index} than its hash says")
    return hashes, encoded


def _home(folder: Path, table: str, pool: str) -> Path:
    return folder / table / f"pool={pool}"


def _files(folder: Path, table: str, pool: str) -> list[Path]:
    return sorted(file for file in _home(folder, table, pool).glob("*.parquet") if _NAME.fullmatch(file.name))


def _range(file: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(file.name)
    assert match  # noqa: S101 - `_files` gives no others
    return int(match[1]), int(match[2])


@dataclass(slots=True)
class _Chunk:
    """The files of one run of leaves, in progress."""

    folder: Path
    pool: str
    start: int
    files: dict[str, _File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Engines refuse a table without a file, so the first chunk has one of each.
        for table in SCHEMAS if self.start == 0 else ():
            self._file(table)

    @property
    def full(self) -> bool:
        counts = {name: file.rows for name, file in self.files.items()}
        return counts.get("events", 0) >= EVENTS_PER_FILE or counts.get(_MARK, 0) >= LEAVES_PER_FILE

    def add(self, table: str, rows: pa.Table) -> None:
        self._file(table).add(rows)

    def close(self, frontier: Frontier) -> dict[str, int]:
        """Give every file its name, the one of `leaves` last."""
        for table in sorted(self.files, key=lambda name: name == _MARK):
            self.files[table].close(f"leaves-{self.start:012d}-{frontier.size:012d}.parquet", frontier)
        found = {table: file.rows for table, file in self.files.items()}
        self.files = {}
        return found

    def abandon(self) -> None:
        """Remove incomplete files."""
        for file in self.files.values():
            file.abandon()

    def _file(self, table: str) -> _File:
        if table not in self.files:
            self.files[table] = _File(_home(self.folder, table, self.pool), table)
        return self.files[table]


class _File:
    """A Parquet file in progress."""

    def __init__(self, home: Path, table: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.rows = 0
        self._home, self._schema = home, SCHEMAS[table]
        self._partial = home / f".{table}.partial"  # engines pass over names that begin with a full stop
        try:
            self._writer = pq.ParquetWriter(self._partial, self._schema, compression="zstd")
        except OSError:
            self._partial.unlink(missing_ok=True)
            raise
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self.rows += rows.num_rows
        self._waiting_rows += rows.num_rows
        self._waiting_bytes += rows.nbytes
        if self._waiting_rows >= ROWS_PER_GROUP or self._waiting_bytes >= BYTES_PER_GROUP:
            self._flush()

    def close(self, name: str, frontier: Frontier) -> None:
        """Complete the file and give it its name."""
        self._flush()
        self._writer.add_key_value_metadata(
            {"moiety.log_size": str(frontier.size), "moiety.log_root": frontier.root().hex()}
        )
        self._writer.close()
        self._partial.replace(self._home / name)

    def abandon(self) -> None:
        """Remove the incomplete file."""
        with suppress(OSError):  # that it cannot be completed is why
            self._writer.close()
        self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks(), row_group_size=2**30)
        self._waiting = []
        self._waiting_rows = self._waiting_bytes = 0
