"""What a process of a replay does: it reads bodies on a connection of its own, weighs them, and sums."""

from __future__ import annotations

import pickle
import select
import socket
from contextlib import suppress
from enum import Enum, auto
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

ENDS_AFTER_SECONDS: Final = 60
"""A process ends that has no part in a replay, and that nobody asks for anything."""

TOLD_TOGETHER: Final = 8
"""Answers that are one message: whoever hears it takes a processor from a process for a moment."""

_DEALT_BYTES: Final = 2 * MAX_ENTRY_BYTES
"""The most that the message of a leaf has."""


class Source(NamedTuple):
    """Where the bodies of a replay are. A process that is told one has part in that replay until it rests."""

    address: Address
    pool: PoolRef
    bodies_url: str


class Ask(Enum):
    """What else a process is told."""

    WHETHER_THERE = auto()
    """Answered by nothing."""
    TAKE = auto()
    """Take batches from now on. Not answered."""
    SUM = auto()
    """Answered by the sum since the source was told, or the sum was asked for last."""
    REST = auto()
    """The replay is over. Not answered."""


def work(server: Connection, dealt: socket.socket) -> None:
    """Do what the server asks until it closes its end, or asks nothing for a minute where there is no replay.

    From when it is to take batches until the end of the replay, weigh the next one that no process has taken: a message
    of a leaf's index and content. The answer is the index with the batch's totals, or with what was found in it;
    answers are told together while there is a next batch. All else that goes wrong ends the process, and so the replay.
    """
    with suppress(EOFError, ConnectionError):
        _Process(server, dealt).run()


class _Process:
    def __init__(self, server: Connection, dealt: socket.socket) -> None:
        self._server, self._dealt = server, dealt
        self._database: Database | None = None
        self._summed: BatchSum | None = None
        """Of the replay that it has part in."""
        self._takes = False
        self._untold: list[tuple[int, BatchTotals | Finding]] = []
        self._told = select.poll()
        self._told.register(server.fileno(), select.POLLIN)

    def run(self) -> None:
        while True:
            taken = self._taken() if self._takes else None
            if taken and self._summed:
                leaf_index, content = pickle.loads(taken)  # noqa: S301  # it is from this program
                self._untold.append((leaf_index, _weighed(self._summed, leaf_index, content)))
                if len(self._untold) == TOLD_TOGETHER:
                    self._tell()
            elif self._untold:
                self._tell()
            elif not (said := dict(self._told.poll(None if self._summed else 1_000 * ENDS_AFTER_SECONDS))):
                return
            elif self._server.fileno() in said:
                self._obey(self._server.recv())

    def _tell(self) -> None:
        self._server.send(self._untold)
        self._untold = []

    def _taken(self) -> bytes | None:
        """The next batch, if there is one."""
        try:
            return self._dealt.recv(_DEALT_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def _obey(self, said: Source | Ask) -> None:
        if isinstance(said, Source):
            self._begin(said)
        elif said is Ask.WHETHER_THERE:
            self._server.send(None)
        elif said is Ask.TAKE:
            self._takes = True
            self._told.register(self._dealt.fileno(), select.POLLIN)
        elif said is Ask.SUM and self._summed:
            self._server.send(self._summed.taken())
        elif said is Ask.REST:
            self._rest()

    def _begin(self, source: Source) -> None:
        if self._database is None or self._database.address != source.address:
            url, role, pooler = source.address
            self._database = Database(url, connections=2, role=role, pooler=pooler)
        bodies = open_bodies(source.bodies_url)
        self._summed = BatchSum(StoredLog(self._database, source.pool, bodies))

    def _rest(self) -> None:
        self._summed = None
        if self._takes:
            self._takes = False
            self._told.unregister(self._dealt.fileno())
        if self._database:
            self._database.close()


def _weighed(summed: BatchSum, leaf_index: int, content: UsageContent) -> BatchTotals | Finding:
    try:
        return summed.weigh(leaf_index, content)
    except FoundError as found:
        return found.finding
