"""Object stores that bodies may lie in: a folder of this machine, or what obstore reaches (S3, GCS, Azure)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ledger.errors import InvalidInputError, StoreUnavailableError
from ledger.store.durable import is_unfinished, make_folder, write_whole
from ledger.store.logs.bodies import Bodies, Objects, StoredObject

SCHEMES: Final = ("file", "s3", "gs", "az")
"""How the URL of an object store may begin."""


def open_objects(url: str) -> Objects:
    """The store at a URL: `file:///folder`, `s3://bucket/prefix`, `gs://...` or `az://...`.

    Credentials, region and endpoint of a remote store come from its own environment variables, such as
    AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.

    Raises:
        InvalidInputError: the URL is not one of these, or the store cannot be set up from it.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        begin = ", ".join(f"{each}://" for each in SCHEMES)
        raise InvalidInputError.of("MOIETY_BODIES_URL", f"must begin with {begin}")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/"):
            raise InvalidInputError.of("MOIETY_BODIES_URL", "must name a folder, such as file:///var/lib/moiety/bodies")
        return FolderObjects(Path(unquote(parts.path)))
    # What reaches the others is loaded by those who keep bodies there.
    from ledger.store.logs.remote_objects import RemoteObjects  # noqa: PLC0415

    return RemoteObjects.open(url)


def open_bodies(url: str) -> Bodies:
    """Bodies of which large ones lie in the store at a URL; without one, all are in Postgres. Raises as above."""
    return Bodies(open_objects(url) if url else None)


class FolderObjects:
    """Objects as files of a folder, for one machine or a shared disk. Written beside and renamed, and synced."""

    are_near: Final = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, body: bytes) -> None:
        """See `Objects`."""
        with _available():
            path = self._folder / key
            make_folder(path.parent)
            write_whole(path, body)

    def get(self, key: str) -> bytes | None:
        """See `Objects`."""
        with _available():
            try:
                with open(f"{self._folder}/{key}", "rb", buffering=0) as file:  # noqa: PTH123  # a tenth of a Path's time
                    return file.read()
            except FileNotFoundError:
                return None

    def has(self, key: str) -> bool:
        """See `Objects`."""
        with _available():
            return (self._folder / key).is_file()

    def delete(self, key: str) -> None:
        """See `Objects`."""
        with _available():
            (self._folder / key).unlink(missing_ok=True)

    def stored(self, prefix: str) -> Iterator[StoredObject]:
        """See `Objects`."""
        for path, written_at in self._files(prefix):
            if not is_unfinished(path):
                yield StoredObject(path.relative_to(self._folder).as_posix(), written_at)

    def tidy(self, prefix: str, before: datetime) -> None:
        """See `Objects`."""
        with _available():
            for path, written_at in self._files(prefix):
                if is_unfinished(path) and written_at < before:
                    path.unlink(missing_ok=True)

    def _files(self, prefix: str) -> Iterator[tuple[Path, datetime]]:
        """Yields each file whose key begins so, with the time of its last writing."""
        with _available():
            for path in sorted((self._folder / prefix).rglob("*")):
                with suppress(FileNotFoundError):  # another sweep was faster
                    if path.is_file():
                        yield path, datetime.fromtimestamp(path.stat().st_mtime, UTC)


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError("the store of bodies", str(error)) from error
