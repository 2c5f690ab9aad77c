"""What a process of a replay does: it reads bodies on a connection of its own, weighs them, and sums."""

from __future__ import annotations

import pickle
import select
import socket
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

from audit.batches.weighing import BatchSum, BatchTotals
from audit.findings import Finding, FoundError
from audit.store.stored_log import StoredLog
from ledger.log.leaves import MAX_ENTRY_BYTES
from ledger.store.logs.log import PoolRef
from ledger.store.logs.objects import open_bodies
from ledger.store.postgres.database import Address, Database
from ledger.usage.entries import UsageContent


class Source(NamedTuple):
    """Where the bodies of a replay are."""

    address: Address
    pool: PoolRef
    bodies_url: str


_DEALT_BYTES: Final = 2 * MAX_ENTRY_BYTES
"""The most that the message of a leaf has."""


def work(server: Connection, dealt: socket.socket) -> None:
    """Be told the source, then weigh the next batch that no process has taken until the server closes its end.

    Until it is told the source, it answers nothing by nothing: that it is there. From then on nothing asks for the sum
    since it was asked for last. Of each batch, a message of its leaf's index and content, the answer is the index with
    its totals, or with what was found in it. All else that goes wrong ends the process, and so the replay.
    """
    with suppress(EOFError, ConnectionError):
        source: Source | None
        while (source := server.recv()) is None:
            server.send(None)
        url, role, pooler = source.address
        database = Database(url, connections=2, role=role, pooler=pooler)
        summed = BatchSum(StoredLog(database, source.pool, open_bodies(source.bodies_url)))
        told = select.poll()
        for each in (server, dealt):
            told.register(each.fileno(), select.POLLIN)
        while True:
            try:
                taken = dealt.recv(_DEALT_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if server.fileno() in dict(told.poll()):
                    server.recv()
                    server.send(summed.taken())
                continue
            if not taken:
                return
            leaf_index, content = pickle.loads(taken)  # noqa: S301  # it is from this program
            server.send((leaf_index, _weighed(summed, leaf_index, content)))


def _weighed(summed: BatchSum, leaf_index: int, content: UsageContent) -> BatchTotals | Finding:
    try:
        return summed.weigh(leaf_index, content)
    except FoundError as found:
        return found.finding
