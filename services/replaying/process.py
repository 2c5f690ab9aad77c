"""What a process of a replay does: it reads bodies on a connection of its own, weighs them, and sums."""

from __future__ import annotations

from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

from audit.batches.weighing import BatchSum, BatchTotals
from audit.findings import Finding, FoundError
from audit.store.stored_log import StoredLog
from ledger.store.logs.log import PoolRef
from ledger.store.logs.objects import open_bodies
from ledger.store.postgres.database import Address, Database
from ledger.usage.entries import UsageContent


class Source(NamedTuple):
    """Where the bodies of a replay are."""

    address: Address
    pool: PoolRef
    bodies_url: str


Asked = tuple[int, UsageContent] | None
"""A usage leaf to be weighed, by its index; None asks for the sum since it was asked for last."""


def work(server: Connection) -> None:
    """Be told the source, and answer what is asked until the server closes its end.

    Until it is told the source, it answers nothing by nothing: that it is there. To a leaf the answer is its
    BatchTotals, or what was found in it. All else that goes wrong ends the process, and so the replay.
    """
    with suppress(EOFError, ConnectionError):
        source: Source | None
        while (source := server.recv()) is None:
            server.send(None)
        url, role, pooler = source.address
        database = Database(url, connections=2, role=role, pooler=pooler)
        bodies = open_bodies(source.bodies_url)
        summed = BatchSum(StoredLog(database, source.pool, bodies))
        while True:
            asked: Asked = server.recv()
            server.send(summed.taken() if asked is None else _weighed(summed, *asked))


def _weighed(summed: BatchSum, leaf_index: int, content: UsageContent) -> BatchTotals | Finding:
    try:
        return summed.weigh(leaf_index, content)
    except FoundError as found:
        return found.finding
