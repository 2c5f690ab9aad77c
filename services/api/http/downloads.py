"""What is read by GET: logs as static files, bundles, statements, exports.

A log's files lie at `/v1/pools/{pool}/log/`, under the paths of C2SP tlog-tiles and of `moiety log export`. `at` names
its state: the sizes of its last checkpoint and of the registry's, `120-43`. Below `/v1/pools/{pool}/log/120-43/` lie
the files of that state alone, which never change, and `files`, which lists them. So curl mirrors a log, and a web
server that knows nothing of Moiety can serve the mirror.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from ledger.errors import FormatError, InvalidInputError, NotFoundError
from ledger.files.layout import (
    BALANCES,
    CHECKPOINT,
    JOURNAL,
    JOURNAL_HEADER,
    REGISTRY_FOLDER,
    body_path,
    digest_at,
    journal_line,
    render_balances,
)
from ledger.files.tiles import Bundle, bundles, encode_bundle, encode_tile, parse_path, tiles
from ledger.log.origins import REGISTRY_LOG
from ledger.store.logs import log, proofs
from ledger.store.pools.readers import Readers
from moiety import Client
from moiety.v1 import rounds_pb2 as pb
from services.api.calls.door import NoRoomError
from services.api.chunks import CHUNK_BYTES, chunks
from services.api.http.carried import Carrier, unless_gone
from services.api.http.connect import answer_error
from services.api.http.exchange import Exchange, GoneError
from services.api.http.inside import Inside
from services.api.resources import log_of
from services.exports.books.beancount import Beancount
from services.exports.books.books import Dialect, export_books
from services.exports.books.hledger import Hledger
from services.exports.parquet.folder import export_parquet
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import bodies_named
from services.parts import Parts

_POOL: Final = r"/v1/(?:pools/(?P<pool>[^/]{1,100})|(?P<registry>registry))"
_STATE: Final = r"(?P<size>[0-9]{1,18})(?:-(?P<registry_size>[0-9]{1,18}))?"
_AUDIT: Final = "/moiety.v1.AuditService/"

TEXT: Final = "text/plain; charset=utf-8"
CSV: Final = "text/csv; charset=utf-8"
BYTES: Final = "application/octet-stream"

FOREVER: Final = "private, max-age=31536000, immutable"
FRESH: Final = "private, no-cache"
_KEPT_FOR: Final = {"vary": "authorization, origin", "cache-control": "no-store"}
"""Of every answer: a browser gives what it kept to the same key and page alone. Refusals are kept by nobody."""

FILES: Final = "files"
AT: Final = "at"

ROUNDS_TEXT_MAX: Final = 10_000

_GET_STATEMENT: Final = "/moiety.v1.RoundsService/GetStatement"
_PARTS: Final = {
    "statement": pb.STATEMENT_PART_LINES,
    "weights": pb.STATEMENT_PART_WEIGHTS,
    "registry": pb.STATEMENT_PART_REGISTRY,
}
_DIALECTS: Final[dict[str, Dialect]] = {"beancount": Beancount(), "hledger": Hledger()}


@dataclass(frozen=True, slots=True)
class Download:
    """What is to be read.

    Attributes:
        method: the method of the contract whose rights it takes.
        content_type: what it is.
        pieces: makes it; runs on a thread, with the caller's rights.
        cache: how long a copy holds.
        file: the name to save it under; empty for that of its path.
    """

    method: str
    content_type: str
    pieces: Callable[[], Iterator[bytes]]
    cache: str = FRESH
    file: str = ""


class Downloads:
    """Answers `GET /v1/pools/...` and `GET /v1/registry/...`."""

    def __init__(self, carrier: Carrier, parts: Parts) -> None:
        self._carrier = carrier
        self._readers: Readers = parts.readers
        self._client = Inside(carrier.methods)
        self._kinds = tuple(
            (re.compile(_POOL + path), make)
            for path, make in (
                (rf"/log/(?:{_STATE}/)?(?P<within>{REGISTRY_FOLDER})?(?P<path>.{{1,200}})", self._file),
                (r"/bundle", self._bundle),
                (r"/rounds/(?P<number>[0-9]{1,9})/(?P<part>statement|weights|registry)", self._statement),
                (r"/exports/(?P<form>beancount|hledger|parquet)", self._export),
            )
        )

    def has(self, path: str) -> bool:
        """Whether anything of this lies at a path."""
        return any(pattern.fullmatch(path) for pattern, _ in self._kinds)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request.

        Raises:
            GoneError: the caller went away, or what it reads broke off, which it sees by the connection's end.
        """
        matched, make = next((found, make) for kind, make in self._kinds if (found := kind.fullmatch(exchange.path)))
        pool = matched["pool"] or REGISTRY_LOG
        exchange.always |= _KEPT_FOR
        call = self._carrier.call(exchange, f"{_AUDIT}GetCheckpoint")
        try:
            download = make(pool, matched.groupdict(), exchange.parameters())
            call.method = download.method
            async with self._carrier.let_in(call, stream=True) as entered:
                pieces = await entered.run(download.pieces)
                async for piece in unless_gone(exchange, entered.each(pieces)):
                    if not exchange.started:
                        await exchange.start(200, _headers(download))
                    await exchange.give(piece)
                if not exchange.started:
                    await exchange.start(200, _headers(download))
                await exchange.give(b"", more=False)
            call.done()
        except GoneError:
            call.cancelled()
            raise
        except Exception as error:  # everything that leaves here is translated
            status = call.refused(error)
            if exchange.started:
                raise GoneError from error
            await answer_error(exchange, status)

    def _file(self, pool: str, place: Mapping[str, str | None], asked: dict[str, str]) -> Download:
        require_no_more(asked)
        path = place["path"] or ""
        size, registry_size = (int(found) if (found := place[name]) else None for name in ("size", "registry_size"))
        is_pools = pool != REGISTRY_LOG
        if place["within"]:
            if not is_pools or path in (JOURNAL, BALANCES, FILES, AT):
                raise NotFoundError(f"{pool}/log/{REGISTRY_FOLDER}{path}"[:300])
            pool, size, is_pools = REGISTRY_LOG, registry_size, False
        if path == AT:
            return Download(f"{_AUDIT}GetCheckpoint", TEXT, lambda: self._at(pool))
        if path == CHECKPOINT:
            return Download(f"{_AUDIT}GetCheckpoint", TEXT, lambda: self._checkpoint(pool, size))
        if path.startswith("tile/"):
            return Download(f"{_AUDIT}ListLeaves", BYTES, lambda: iter([self._tile(pool, path, size)]), FOREVER)
        if digest := digest_at(path):
            return Download(f"{_AUDIT}GetBody", BYTES, lambda: chunks(self._client.get_body(pool, digest)), FOREVER)
        if size is not None and path == FILES:
            return Download(f"{_AUDIT}ListLeaves", TEXT, lambda: self._files(pool, size, registry_size), FOREVER)
        if size is not None and is_pools and path in (JOURNAL, BALANCES):
            render = self._journal if path == JOURNAL else self._balances
            return Download(f"{_AUDIT}ListLeaves", CSV, lambda: render(pool, size), FOREVER)
        raise NotFoundError(f"{pool}/log/{path}"[:300])

    def _at(self, pool: str) -> Iterator[bytes]:
        """The state of a log: its checkpoint's size, and then the registry's, which is not signed later."""
        logs = [pool] if pool == REGISTRY_LOG else [pool, REGISTRY_LOG]
        yield "-".join(str(self._client.get_checkpoint(each, cosigned=True).size) for each in logs).encode() + b"\n"

    def _checkpoint(self, pool: str, size: int | None) -> Iterator[bytes]:
        found = self._client.get_checkpoint(pool, min_size=size or 0)
        if size is not None and found.size != size:
            raise NotFoundError(f"the checkpoint of {size} leaves")
        yield found.note

    def _tile(self, pool: str, path: str, size: int | None) -> bytes:
        try:
            place = parse_path(path)
        except FormatError:
            raise NotFoundError(path) from None
        with self._readers.database_for(_parent(pool)).reading() as connection:
            found = log_of(connection, _parent(pool), "pool")
            there = log.read_head(connection, found).size
            there = min(there, size) if size is not None else there
            if isinstance(place, Bundle):
                if place.end > there:
                    raise NotFoundError(path)
                leaves = log.read_leaves(connection, found, place.start, place.end)
                return encode_bundle([leaf.entry for leaf in leaves])
            coordinates = place.coordinates()
            last = coordinates[-1]
            if last.index + 1 << last.level > there:
                raise NotFoundError(path)
            hashes = proofs.read_hashes(connection, found, coordinates)
            return encode_tile([hashes[each] for each in coordinates])

    def _journal(self, pool: str, size: int) -> Iterator[bytes]:
        yield f"{JOURNAL_HEADER}\n".encode()
        for moved in self._source(pool).transfers(0, size):
            yield f"{journal_line(*moved)}\n".encode()

    def _balances(self, pool: str, size: int) -> Iterator[bytes]:
        yield render_balances(self._source(pool).balances(size))

    def _files(self, pool: str, size: int, registry_size: int | None) -> Iterator[bytes]:
        """The paths of a log's files in this state, a line each: what a checkpoint states comes before it."""
        if registry_size is not None:
            for lines in self._files(REGISTRY_LOG, registry_size, None):
                yield b"".join(REGISTRY_FOLDER.encode() + line for line in lines.splitlines(keepends=True))
        source = self._source(pool)
        for bundle in bundles(size):
            bodies: dict[str, None] = {}
            for entry in source.entries(bundle.start, bundle.end):
                bodies |= dict.fromkeys(map(body_path, bodies_named(entry)))
            yield "".join(f"{path}\n" for path in [*bodies, bundle.path()]).encode()
        yield "".join(f"{tile.path()}\n" for tile in tiles(size)).encode()
        if pool != REGISTRY_LOG:
            yield f"{JOURNAL}\n{BALANCES}\n".encode()
        yield f"{CHECKPOINT}\n".encode()

    def _bundle(self, pool: str, _: Mapping[str, str | None], asked: dict[str, str]) -> Download:
        chosen = rounds_in(asked.pop("rounds", ""))
        require_no_more(asked)

        def pieces() -> Iterator[bytes]:
            with _scratch() as folder:
                path = folder / "bundle"
                write_bundle(self._source(pool), path, chosen)
                yield from _read(path)

        return Download(f"{_AUDIT}ListLeaves", BYTES, pieces, file=f"{pool}.bundle")

    def _statement(self, pool: str, place: Mapping[str, str | None], asked: dict[str, str]) -> Download:
        request = pb.GetStatementRequest(name=f"pools/{pool}/rounds/{place['number']}")
        request.part = _PARTS[place["part"] or ""]
        if collective := asked.pop("collective", ""):
            request.collective = f"collectives/{collective}"
        require_no_more(asked)
        if pool == REGISTRY_LOG:
            raise NotFoundError(request.name)
        answer = self._carrier.methods[_GET_STATEMENT].answer
        name = f"{pool}-{place['number']}-{place['part']}.csv"
        return Download(_GET_STATEMENT, CSV, lambda: (part.chunk for part in answer(request, None)), FOREVER, name)

    def _export(self, pool: str, place: Mapping[str, str | None], asked: dict[str, str]) -> Download:
        require_no_more(asked)
        form = place["form"] or ""
        if pool == REGISTRY_LOG:
            raise NotFoundError(f"exports/{form}")

        def books() -> Iterator[bytes]:
            source = self._source(pool)
            with _scratch() as folder:
                (written,) = export_books(source, source.balances(source.size), folder, (_DIALECTS[form],))
                yield from _read(written.path)

        def tables() -> Iterator[bytes]:
            with _scratch() as folder:
                whole, packed = folder / "tables", folder / "tables.tar"
                export_parquet(self._source(pool), whole)
                with tarfile.open(packed, "w") as archive:
                    archive.add(whole, pool)
                yield from _read(packed)

        if form == "parquet":
            return Download(f"{_AUDIT}ListLeaves", "application/x-tar", tables, file=f"{pool}.tar")
        return Download(f"{_AUDIT}ListLeaves", TEXT, books, file=f"{pool}.{form}")

    def _source(self, pool: str) -> PoolSource:
        return PoolSource(cast("Client", self._client), pool)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder.

    Raises:
        NoRoomError: it cannot be made, or a file in it cannot be written.
    """
    try:
        with TemporaryDirectory(prefix="moiety-download-") as folder:
            yield Path(folder)
    except OSError as error:
        raise NoRoomError from error


def _parent(pool: str) -> str:
    return pool if pool == REGISTRY_LOG else f"pools/{pool}"


def _headers(download: Download) -> dict[str, str]:
    found = {
        "content-type": download.content_type, "cache-control": download.cache, "x-content-type-options": "nosniff",
    }  # fmt: skip
    if download.file:
        found["content-disposition"] = f'attachment; filename="{download.file}"'
    return found


def require_no_more(asked: Mapping[str, str]) -> None:
    """Check that no parameter is left.

    Raises:
        InvalidInputError: there is one that nothing here knows.
    """
    if asked:
        raise InvalidInputError.of(next(iter(asked))[:80], "is no parameter of this address")


def rounds_in(text: str) -> frozenset[int] | None:
    """The numbers in `3,5`; None where there is no text.

    Raises:
        InvalidInputError: it is no list of numbers.
    """
    if not text:
        return None
    if len(text) > ROUNDS_TEXT_MAX or not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", text):
        raise InvalidInputError.of("rounds", "must be numbers with commas between, such as 3,5")
    return frozenset(map(int, text.split(",")))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
