"""The source of every export: a pool's log, bodies and books, as the service shows them to an auditor.

Each leaf is checked against its hash and its place when it is read, and each body against its hash. The export checks
the log's root once it has read that far.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from ledger.errors import LedgerCorruptError
from ledger.files.layout import MAX_FILE_BYTES, body_path, bounded
from ledger.journal import Purpose, Transfer
from ledger.log.leaves import EncodedLeaf, Leaf, decode
from ledger.log.merkle import Frontier, leaf_hash
from ledger.log.origins import REGISTRY_LOG
from moiety import Client
from moiety.v1 import accounts_pb2
from payout.entries import CONTENTS

_PURPOSE: Final = "TRANSFER_PURPOSE_"


class PoolSource:
    """A pool's log over a client; `size` and `root` are those that it had when this was made."""

    def __init__(self, client: Client, pool: str) -> None:
        self._client = client
        self.pool = pool
        head = client.get_log_head(pool)
        self.size, self.root = head.size, head.root
        self._encoded: Iterator[EncodedLeaf] = iter(())
        self._next = -1

    def registry(self) -> PoolSource | None:
        """The registry's log; None if this is it."""
        return None if self.pool == REGISTRY_LOG else PoolSource(self._client, REGISTRY_LOG)

    def checkpoint(self) -> bytes:
        """The note of the latest checkpoint that holds for whoever verifies it. Its size may be beyond `size`."""
        return self._client.get_checkpoint(self.pool, cosigned=True).note

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Yields the entries in [start, end), in order. Continuing where the last call ended asks for no page twice.

        Raises:
            LedgerCorruptError: a leaf is missing, or does not match its hash.
        """
        if start != self._next:
            self._encoded = self._leaves_from(start)
        self._next = end
        for encoded in islice(self._encoded, end - start):
            yield encoded.entry

    def leaves(self, start: int) -> Iterator[tuple[EncodedLeaf, Leaf[Any]]]:
        """The leaves from `start` up to `size`, in order.

        Raises:
            LedgerCorruptError: a leaf is missing, does not match its hash, or states another place.
        """
        wanted = start
        for encoded in islice(self._leaves_from(start), max(0, self.size - start)):
            yield encoded, self._placed(encoded)
            wanted += 1
        if wanted < self.size:
            detail = f"ends at {wanted:,} leaves, expected {self.size:,}"
            raise LedgerCorruptError(f"the log of pools/{self.pool}", detail)

    def leaf(self, index: int) -> Leaf[Any]:
        """One leaf."""
        _, leaf = next(self.leaves(index))
        return leaf

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """The body with this SHA-256, which the client checks.

        Raises:
            FormatError: it is longer than `bytes_max`.
        """
        return bounded(self._client.get_body(self.pool, sha256), body_path(sha256), bytes_max)

    def transfers(self, start: int, end: int) -> Iterator[tuple[int, int, Transfer]]:
        """Yields (leaf index, ordinal, transfer) of the leaves in [start, end), in order.

        Raises:
            LedgerCorruptError: a transfer has a purpose that this version does not know, or no amount.
        """
        if self.pool == REGISTRY_LOG:  # it moves no money, and the service has no books of it
            return
        for moved in self._client.list_transfers(self.pool, start=start):
            if moved.leaf_index >= end:
                return
            purpose = accounts_pb2.TransferPurpose.Name(moved.purpose).removeprefix(_PURPOSE)
            try:
                transfer = Transfer(moved.from_account, moved.to_account, moved.amount_minor, Purpose(purpose))
            except ValueError as error:
                subject = f"transfer {moved.ordinal} of leaf {moved.leaf_index}"
                raise LedgerCorruptError(subject, str(error)) from None
            yield moved.leaf_index, moved.ordinal, transfer

    def balances(self, size: int) -> dict[str, int]:
        """Each account's balance, in minor units, at a log size."""
        if self.pool == REGISTRY_LOG:
            return {}
        return {
            balance.name.partition("/accounts/")[2]: balance.amount_minor
            for balance in self._client.list_balances(self.pool, log_size=size)
        }

    def require_root(self, frontier: Frontier) -> None:
        """Check the leaves that were read against the log's root.

        Raises:
            LedgerCorruptError: all leaves have been read and do not have the log's root.
        """
        if frontier.size == self.size and frontier.root() != self.root:
            detail = f"have the root {frontier.root().hex()}, expected {self.root.hex()}"
            raise LedgerCorruptError(f"the {self.size} leaves of pools/{self.pool}", detail)

    @staticmethod
    def decoded(entry: bytes) -> Leaf[Any]:
        """The leaf of an entry.

        Raises:
            LedgerCorruptError: the entry is not canonical.
        """
        return decode(entry, CONTENTS)

    def _leaves_from(self, start: int) -> Iterator[EncodedLeaf]:
        for wanted, found in enumerate(self._client.list_leaves(self.pool, start=start), start):
            if found.index != wanted or leaf_hash(found.entry) != found.hash:
                raise LedgerCorruptError(
                    f"leaf {wanted} of pools/{self.pool}", "does not match its hash, or is missing"
                )
            yield EncodedLeaf(found.index, found.entry, found.hash)

    def _placed(self, encoded: EncodedLeaf) -> Leaf[Any]:
        leaf = self.decoded(encoded.entry)
        if (leaf.pool, leaf.index) != (self.pool, encoded.index):
            raise LedgerCorruptError(f"leaf {encoded.index} of pools/{self.pool}", "states another place")
        return leaf
