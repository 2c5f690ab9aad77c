"""A pool's log as a client reads it: every leaf and body held against its hash, and the whole against the root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ledger.errors import LedgerCorruptError
from ledger.log.leaves import EncodedLeaf, Leaf, decode
from ledger.log.merkle import Frontier, leaf_hash
from moiety import Client
from moiety.errors import DataLossError
from payout.entries import CONTENTS


class PoolSource:
    """A pool's log up to the size that it had when this was made."""

    def __init__(self, client: Client, pool: str) -> None:
        self._client = client
        self.pool = pool
        head = client.get_log_head(pool)
        self.size, self.root = head.size, head.root

    def leaves(self, start: int) -> Iterator[tuple[EncodedLeaf, Leaf[Any]]]:
        """The leaves from `start` on, in order. DataLossError where one is missing, or is not what its hash says."""
        wanted = start
        for found in self._client.list_leaves(self.pool, start=start) if start < self.size else ():
            if found.index != wanted or leaf_hash(found.entry) != found.hash:
                raise DataLossError(f"leaf {wanted} of pools/{self.pool} is not what its hash says, or is missing")
            encoded = EncodedLeaf(found.index, found.entry, found.hash)
            yield encoded, self._placed(encoded)
            wanted += 1
            if wanted == self.size:
                return
        if wanted < self.size:
            raise DataLossError(f"the log of pools/{self.pool} ends at {wanted} leaves, not {self.size}")

    def leaf(self, index: int) -> Leaf[Any]:
        """One leaf."""
        _, leaf = next(self.leaves(index))
        return leaf

    def body(self, sha256: bytes) -> bytes:
        """The body with this hash; the client checks it."""
        return self._client.get_body(self.pool, sha256)

    def require_root(self, frontier: Frontier) -> None:
        """DataLossError where the leaves read so far are all and do not have the log's root."""
        if frontier.size == self.size and frontier.root() != self.root:
            raise DataLossError(
                f"the {self.size} leaves of pools/{self.pool} have the root {frontier.root().hex()}, "
                f"the service says {self.root.hex()}"
            )

    @staticmethod
    def decoded(entry: bytes) -> Leaf[Any]:
        """The leaf of an entry. DataLossError where it is not canonical."""
        try:
            return decode(entry, CONTENTS)
        except LedgerCorruptError as error:
            raise DataLossError(str(error)) from None

    def _placed(self, encoded: EncodedLeaf) -> Leaf[Any]:
        leaf = self.decoded(encoded.entry)
        if (leaf.pool, leaf.index) != (self.pool, encoded.index):
            raise DataLossError(f"leaf {encoded.index} of pools/{self.pool} says that it is another one")
        return leaf
