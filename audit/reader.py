"""How an audit reads a pool's log, wherever it is: `audit.store` reads Postgres, `audit.files` static files."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Protocol

from audit.findings import at
from ledger.errors import NotFoundError
from ledger.journal import Transfer
from ledger.log.leaves import EncodedLeaf


class BodyReader(Protocol):
    """Reads the bodies that a pool's log commits to."""

    def body(self, sha256: bytes) -> bytes:
        """The body under a hash.

        Raises:
            NotFoundError: there is no such body.
        """


class LogReader(BodyReader, Protocol):
    """Reads a pool's log. Nothing that it returns has been verified."""

    pool: str

    def size(self) -> int:
        """Leaves in the log."""

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        """The leaves in [start, end), in order."""

    def transfers(self, leaf_index: int) -> list[Transfer]:
        """What the journal says that a leaf moved, in order."""


def found_body(log: BodyReader, leaf_index: int, figure: str, digest: str) -> bytes:
    """Returns what lies under the hash that a leaf names in a field of its entry; it may have another hash.

    Raises:
        FoundError: there is no such body.
    """
    try:
        return log.body(bytes.fromhex(digest))
    except NotFoundError:
        raise at(leaf_index).error(figure, digest, "no body has this hash") from None


def require_hash(leaf_index: int, figure: str, digest: str, body: bytes) -> None:
    """Check that a body has the hash that a leaf names."""
    at(leaf_index).same(figure, digest, sha256(body).hexdigest())


def checked_body(log: BodyReader, leaf_index: int, figure: str, digest: str) -> bytes:
    """Returns the body that a leaf commits to in a field of its entry.

    Raises:
        FoundError: there is no such body, or it has another hash.
    """
    body = found_body(log, leaf_index, figure, digest)
    require_hash(leaf_index, figure, digest, body)
    return body
