"""Where a replay reads from, and how it says what does not hold: by a divergence, which names leaf and figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from ledger.errors import NotFoundError
from ledger.journal import Transfer
from ledger.log.leaves import EncodedLeaf


class BodyReader(Protocol):
    """Where bodies are read from."""

    def body(self, sha256: bytes) -> bytes:
        """The body under a hash.

        Raises:
            NotFoundError: there is none.
        """


class LogReader(BodyReader, Protocol):
    """Where a replay reads from."""

    pool: str

    def size(self) -> int:
        """Leaves in the log."""

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        """The leaves in [start, end), in order."""

    def transfers(self, leaf_index: int) -> list[Transfer]:
        """What the journal says that a leaf moved, in order."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first thing that is not as the replay has it: the leaf, the statement's line (from 1, else 0), the figure."""

    leaf_index: int
    figure: str
    logged: str
    replayed: str
    line: int = 0


class DivergedError(Exception):
    """What is logged is not what follows from the log."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence)
        self.divergence = divergence


def require_same(leaf_index: int, figure: str, logged: object, replayed: object, line: int = 0) -> None:
    """Diverge where the figure is not what the replay gives; `line` is the statement's, from 1."""
    if logged != replayed:
        raise DivergedError(Divergence(leaf_index, figure, str(logged), str(replayed), line))


def require(holds: bool, leaf_index: int, figure: str, logged: object, wanted: str) -> None:
    """Diverge where the logged figure is not what it must be, which `wanted` says in words."""
    if not holds:
        raise DivergedError(Divergence(leaf_index, figure, str(logged), wanted))


def checked_body(log: BodyReader, leaf_index: int, figure: str, digest: str) -> bytes:
    """The body that a leaf commits to, which has that hash."""
    try:
        body = log.body(bytes.fromhex(digest))
    except NotFoundError:
        raise DivergedError(Divergence(leaf_index, figure, digest, "no body has this hash")) from None
    require_same(leaf_index, figure, digest, sha256(body).hexdigest())
    return body
