"""Objects in a remote store: S3, GCS or Azure, by obstore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final

from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from ledger.errors import InvalidInputError, StoreUnavailableError
from ledger.store.logs.bodies import StoredObject

_ASKED_FOR: Final = timedelta(seconds=10)
"""How long one exchange with a remote store may take, and all attempts at it together."""

_ATTEMPTS: Final = 3


class RemoteObjects:
    """Objects in a store that obstore reaches. Its `put` returns once the store has the object durably."""

    are_near: Final = False

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
            raise InvalidInputError.of("MOIETY_BODIES_URL", f"cannot be used: {_first_line(error)}") from None
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

    def has(self, key: str) -> bool:
        """See `Objects`."""
        with _reachable():
            try:
                self._store.head(key)
            except FileNotFoundError:
                return False
            return True

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

    def tidy(self, prefix: str, before: datetime) -> None:
        """See `Objects`. An object is there as a whole or not at all; parts of one are for the bucket's own rules."""


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
