"""Object stores that bodies may lie in: a folder of this machine, or what obstore reaches (S3, GCS, Azure)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from ledger.errors import InvalidInputError, StoreUnavailableError
from ledger.store.bodies import Objects, StoredObject
from ledger.store.durable import make_folder, write_whole

SCHEMES: Final = ("file", "s3", "gs", "az")
"""How the URL of an object store may begin."""

_ASKED_FOR: Final = timedelta(seconds=10)
"""How long one exchange with a remote store may take, and all attempts at it together."""

_ATTEMPTS: Final = 3


def open_objects(url: str) -> Objects:
    """The store at a URL: `file:///folder`, `s3://bucket/prefix`, `gs://...` or `az://...`.

    Credentials, region and endpoint of a remote store come from its own environment variables, such as
    AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.

    Raises:
        InvalidInputError: the URL is not one of these, or the store cannot be set up from it.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise InvalidInputError.of("bodies_url", f"must begin with {', '.join(f'{each}://' for each in SCHEMES)}")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/"):
            raise InvalidInputError.of("bodies_url", "must name a folder, such as file:///var/lib/moiety/bodies")
        return FolderObjects(Path(unquote(parts.path)))
    return RemoteObjects.open(url)


class FolderObjects:
    """Objects as files of a folder, for one machine or a shared disk. Written beside and renamed, and synced."""

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
                return (self._folder / key).read_bytes()
            except FileNotFoundError:
                return None

    def delete(self, key: str) -> None:
        """See `Objects`."""
        with _available():
            (self._folder / key).unlink(missing_ok=True)

    def stored(self, prefix: str) -> Iterator[StoredObject]:
        """See `Objects`."""
        with _available():
            for path in sorted((self._folder / prefix).rglob("*")):
                with suppress(FileNotFoundError):  # another sweep was faster
                    if path.is_file():
                        written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                        yield StoredObject(path.relative_to(self._folder).as_posix(), written_at)


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError("the store of bodies") from error


class RemoteObjects:
    """Objects in a store that obstore reaches. Its `put` returns once the store has the object durably."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> RemoteObjects:
        """The store at a URL.

        Raises:
            InvalidInputError: there can be no store of this URL.
        """
        try:
            store = from_url(
                url,
                client_options={"timeout": _ASKED_FOR, "allow_http": True},
                retry_config={"max_retries": _ATTEMPTS, "retry_timeout": _ASKED_FOR},
            )
        except BaseError as error:
            raise InvalidInputError.of("bodies_url", f"cannot be used: {_first_line(error)}") from None
        return cls(store)

    def put(self, key: str, body: bytes) -> None:
        """See `Objects`."""
        with _reachable():
            self._store.put(key, body)

    def get(self, key: str) -> bytes | None:
        """See `Objects`."""
        with _reachable():
            try:
                return bytes(self._store.get(key).bytes())
            except FileNotFoundError:
                return None

    def delete(self, key: str) -> None:
        """See `Objects`."""
        with _reachable(), suppress(FileNotFoundError):
            self._store.delete(key)

    def stored(self, prefix: str) -> Iterator[StoredObject]:
        """See `Objects`."""
        with _reachable():
            for page in self._store.list(prefix):
                for each in page:
                    yield StoredObject(each["path"], each["last_modified"])


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise StoreUnavailableError("the store of bodies") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
