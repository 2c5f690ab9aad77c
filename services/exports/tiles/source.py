"""Where exports come from: the service, as an auditor sees it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ledger.errors import LedgerCorruptError
from ledger.journal import Purpose, Transfer
from moiety import Client
from moiety.v1 import accounts_pb2, audit_pb2

_PURPOSE = "TRANSFER_PURPOSE_"


class ServiceSource:
    """A pool's log, its bodies and its books, over a client."""

    def __init__(self, client: Client, pool: str) -> None:
        self._client = client
        self._pool = pool
        self._leaves: Iterator[audit_pb2.Leaf] = iter(())
        self._next = -1

    def checkpoint(self) -> bytes:
        """The latest checkpoint's note."""
        return self._client.get_checkpoint(self._pool).note

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries in [start, end), in order. Asking on from where it ended asks for no page twice."""
        if start != self._next:
            self._leaves = self._client.list_leaves(self._pool, start=start)
        self._next = end
        for leaf in islice(self._leaves, end - start):
            yield leaf.entry

    def body(self, digest: bytes) -> bytes:
        """The body with this SHA-256."""
        return self._client.get_body(self._pool, digest)

    def transfers(self, start: int, end: int) -> Iterator[tuple[int, int, Transfer]]:
        """(leaf index, ordinal, transfer) of the leaves in [start, end), in order."""
        for moved in self._client.list_transfers(self._pool, start=start):
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
        """Every account's balance at a log size."""
        return {
            balance.name.partition("/accounts/")[2]: balance.amount_minor
            for balance in self._client.list_balances(self._pool, log_size=size)
        }
