"""Watches of logs: who wants each leaf as it comes, whatever carries it to them.

A watch waits without a thread. One thread looks, a few times a second, how long the watched logs are, and wakes the
watches that are behind; so it does where a standby is read, behind a connection pooler, and after a failover.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Condition, Lock, Thread
from typing import Final

import structlog

from ledger.errors import BusyError, LedgerCorruptError, LedgerError, StateError, StoreUnavailableError
from ledger.log.leaves import Content, EncodedLeaf, decode
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef, log_name
from ledger.store.pools.readers import Readers
from ledger.store.postgres.database import Database
from moiety.v1 import audit_pb2 as pb
from payout.entries import CONTENTS
from services.access.keys import Principal
from services.access.sight import Sight, sees_all, sight_of
from services.api.calls.streams import WatchesClosedError
from services.api.pages import PAGE_BYTES
from services.metrics import watching

logger: Final = structlog.get_logger("moiety.watches")

WATCH_LEAVES: Final = "/moiety.v1.AuditService/WatchLeaves"

LOOK_SECONDS: Final = 0.25
"""How often the lengths of watched logs are looked at."""

BEAT_SECONDS: Final = 30.0
"""How long a watch may have nothing to say. Then it tells its position: proxies close what is silent, and who has gone
is noticed."""

LEAVES_MAX: Final = 1_000
"""Leaves that are read at a time."""

_REMEMBERED_PAGES: Final = 8
"""Those that watch a log are mostly at the same place, and one reads for all. A page has a few MiB at most."""


class _Read:
    """A leaf that was read, and what it says: found out once for all who ask."""

    def __init__(self, leaf: EncodedLeaf) -> None:
        self.leaf: Final = leaf

    @cached_property
    def content(self) -> Content:
        return decode(self.leaf.entry, CONTENTS).content


class Watch:
    """One watch of a log, at its position. Used by one thread at a time."""

    def __init__(self, watches: Watches, pool: PoolRef, principal: Principal, start: int, size: int) -> None:
        self._watches = watches
        self._principal = principal
        self._said_at = -BEAT_SECONDS  # its position is the first thing that it tells
        self._said_start = start
        self.pool = pool
        self.holder: Final = principal.name
        self.next_start = start
        self.size = size
        self.is_cut = False
        """Whether the log was seen to be shorter than what was sent of it, as after a failover that lost some."""

    @property
    def is_behind(self) -> bool:
        """Whether there are leaves that it has not looked at, as far as is known."""
        return self.next_start < self.size

    @property
    def is_due(self) -> bool:
        """Whether it has been silent for long enough to tell its position."""
        return time.monotonic() - self._said_at >= BEAT_SECONDS

    def next(self, authenticated: Callable[[], object]) -> pb.WatchLeavesResponse | None:
        """What comes next; None where there is nothing to say yet, in which case `is_behind` may still be so.

        Args:
            authenticated: checks that the key still holds, which may have been revoked since.

        Raises:
            UnauthenticatedError: it does not.
            WatchesClosedError: the service stops.
            LedgerCorruptError: the log has become shorter than what was sent of it, or an entry cannot be read.
        """
        self._watches.require_open()
        if self.is_cut:
            reason = f"is shorter than the {self.next_start} leaves that were sent of it"
            raise LedgerCorruptError(f"the log of {log_name(self.pool)}", reason)
        leaves: list[pb.Leaf] = []
        try:
            authenticated()
            if self.is_behind:
                found = self._watches.read(self.pool, self.next_start, self.size)
                leaves = [shown for read in found if (shown := self._shown(read))]
                self.next_start += len(found)
        except (StoreUnavailableError, BusyError, StateError):
            logger.info("a watch waits for the database", log=log_name(self.pool))
            self.size = self.next_start  # whoever looks at the lengths says when there is something to read again
            return None
        if not leaves and not self.is_due and self.next_start - self._said_start < LEAVES_MAX:
            return None
        self._said_at, self._said_start = time.monotonic(), self.next_start
        return pb.WatchLeavesResponse(leaves=leaves, next_start=self.next_start, log_size=self.size)

    def _shown(self, read: _Read) -> pb.Leaf | None:
        """The leaf as far as the watch's principal may see it."""
        leaf = read.leaf
        # Most watches are of operators and auditors: they need nothing decoded.
        sight = Sight.ALL if sees_all(self._principal) else sight_of(self._principal, read.content)
        if sight is Sight.NOTHING:
            return None
        return pb.Leaf(index=leaf.index, entry=leaf.entry if sight is Sight.ALL else b"", hash=leaf.hash)


class Watches:
    """The watches of this process.

    Args:
        database: says how long logs are.
        readers: where their leaves are read.
    """

    def __init__(self, database: Database, readers: Readers) -> None:
        self._database = database
        self._readers = readers
        self._changed = Condition()
        self._listening: dict[Watch, Callable[[], None]] = {}
        self._is_closed = False
        self._thread: Thread | None = None
        self._pages: OrderedDict[tuple[int, int], list[_Read]] = OrderedDict()
        self._pages_lock = Lock()

    def close(self) -> None:
        """End all watches; whoever carries them is woken to say so."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            listening = list(self._listening.values())
        for wake in listening:
            wake()
        if self._thread:
            self._thread.join()

    def require_open(self) -> None:
        """Check that the service goes on.

        Raises:
            WatchesClosedError: it stops.
        """
        if self._is_closed:
            raise WatchesClosedError

    @contextmanager
    def listening(self, watch: Watch, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called, on another thread and perhaps for nothing, when the watch may have something to say."""
        with self._changed:
            self._listening[watch] = wake
            if self._thread is None:
                self._thread = Thread(target=self._look, name="watches", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            with watching():
                yield
        finally:
            with self._changed:
                self._listening.pop(watch, None)

    def read(self, pool: PoolRef, start: int, size: int) -> list[_Read]:
        """The log's leaves from `start` on, a page of them."""
        place = (pool.pool_id, start)
        with self._pages_lock:
            found = self._pages.get(place, [])
        # Where the log has grown since, a page that was cut short by its end then is too short now.
        if not found or (len(found) < LEAVES_MAX and start + len(found) < size and _bytes(found) <= PAGE_BYTES):
            found = self._read(pool, start, size)
            with self._pages_lock:
                self._pages[place] = found
                self._pages.move_to_end(place)
                while len(self._pages) > _REMEMBERED_PAGES:
                    self._pages.popitem(last=False)
        return found

    def _read(self, pool: PoolRef, start: int, size: int) -> list[_Read]:
        found: list[_Read] = []
        read_bytes = 0
        end = min(start + LEAVES_MAX, size)
        with self._readers.database_for(log_name(pool)).reading() as connection:
            for leaf in log.read_leaves(connection, pool, start, end, chunk=100):
                found.append(_Read(leaf))
                read_bytes += len(leaf.entry)
                if read_bytes > PAGE_BYTES:
                    break
        return found

    def _look(self) -> None:
        """Wake the watches that are behind or due, until there is an end."""
        while True:
            with self._changed:
                while not self._listening and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                watched = dict(self._listening)
            sizes = self._sizes(list({watch.pool for watch in watched}))
            for watch, wake in watched.items():
                size = sizes.get(watch.pool, watch.size)
                watch.is_cut = size < watch.next_start
                watch.size = max(watch.size, size)
                if watch.is_cut or watch.is_behind or watch.is_due:
                    wake()
            with self._changed:
                if not self._is_closed:
                    self._changed.wait(LOOK_SECONDS)

    def _sizes(self, pools: Sequence[PoolRef]) -> dict[PoolRef, int]:
        """How long logs are, of those that can be reached."""
        try:
            return self._asked(pools)
        except LedgerError:
            with self._pages_lock:
                self._pages.clear()  # what comes back may be another database, with less in it
            found: dict[PoolRef, int] = {}
            for pool in pools if len(pools) > 1 else ():
                try:
                    found |= self._asked([pool])
                except LedgerError:
                    continue
            return found

    def _asked(self, pools: Sequence[PoolRef]) -> dict[PoolRef, int]:
        with self._database.reading() as connection:
            return {pool: size for pool, size, _ in log.read_heads(connection, pools)}


def _bytes(found: Sequence[_Read]) -> int:
    return sum(len(read.leaf.entry) for read in found)
