"""How an audit reads a pool's log, wherever it is: `audit.store` reads Postgres, `audit.files` static files."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final, Protocol

from audit.findings import at
from ledger.acts.collectives import MAX_DOMAINS_BYTES
from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import MAX_FILE_BYTES
from ledger.journal import Transfer
from ledger.log.key_changes import MAX_LISTED_BYTES
from ledger.log.leaves import EncodedLeaf
from ledger.log.notes import MAX_NOTE_BYTES
from ledger.usage.format import MAX_BODY_BYTES
from payout.dossiers import SALT_BYTES


class BodyReader(Protocol):
    """Reads the bodies that a pool's log commits to."""

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """The body under a hash.

        Raises:
            NotFoundError: there is no such body.
            FormatError: it is longer than `bytes_max`.
        """


class LogReader(BodyReader, Protocol):
    """Reads a pool's log. Nothing that it returns has been verified."""

    pool: str

    def size(self) -> int:
        """Leaves in the log."""

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        """The leaves in [start, end), in order."""

    def transfers(self, leaf_index: int, most: int) -> list[Transfer]:
        """What the journal says that a leaf moved, in order: all of it, or one more transfer than `most`."""


MAX_BYTES: Final = {
    "body_sha256": MAX_BODY_BYTES,
    "domains_sha256": MAX_DOMAINS_BYTES,
    "logs_sha256": MAX_LISTED_BYTES,
    "salt_sha256": 2 * SALT_BYTES,
    "review_began_sha256": MAX_NOTE_BYTES,
    "review_ended_sha256": MAX_NOTE_BYTES,
}
"""The most bytes of a body by the field that names it; of all others they are `MAX_FILE_BYTES`."""


def found_body(log: BodyReader, leaf_index: int, figure: str, digest: str) -> bytes:
    """Returns what lies under the hash that a leaf names in a field of its entry; it may have another hash.

    Raises:
        FoundError: there is no such body, or it is larger than one of this field may be.
    """
    most = MAX_BYTES.get(figure, MAX_FILE_BYTES)
    try:
        return log.body(bytes.fromhex(digest), bytes_max=most)
    except NotFoundError:
        raise at(leaf_index).error(figure, digest, "no body has this hash") from None
    except FormatError:
        raise at(leaf_index).error(figure, digest, f"a body of at most {most:,} bytes") from None


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
