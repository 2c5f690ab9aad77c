"""The audit service: the log with its bodies, and replay. Checkpoints and proofs are in `checkpoints`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import grpc

from audit.progress import Progress
from audit.replay import Verdict, replay_round
from audit.store.stored_log import StoredLog
from ledger.errors import InvalidInputError
from ledger.log.merkle import HASH_BYTES
from ledger.registry import require_range
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.gates import Gate
from moiety.v1 import audit_pb2 as pb
from moiety.v1 import audit_pb2_grpc
from payout.store import rounds
from services.access.keys import Role
from services.access.permissions import PermissionDeniedError, caller
from services.api.audit.checkpoints import CheckpointMethods
from services.api.audit.watches import Watch, Watches
from services.api.chunks import chunks
from services.api.names import page_limit, page_token, place_in
from services.api.pages import PAGE_BYTES
from services.api.resources import MAX_LEAF, log_of, round_of
from services.parts import Parts
from services.replaying.process import Source
from services.replaying.processes import Replaying

REPLAYS_AT_ONCE: Final = 2
"""Each reads every batch of its round, for minutes where there are many."""

REPLAY_THREADS: Final = 2
"""One thread reads a body while the other parses and weighs one."""

PROGRESS_SECONDS: Final = 0.2
"""How often a replay reports."""


class AuditService(CheckpointMethods, audit_pb2_grpc.AuditServiceServicer):
    """What auditors read."""

    def __init__(self, parts: Parts, watches: Watches) -> None:
        self._database, self._readers = parts.database, parts.readers
        self._watches = watches
        self._bodies, self._bodies_url = parts.bodies, parts.settings.bodies_url
        self._replaying = Replaying()
        self._replays = Gate(REPLAYS_AT_ONCE, of_one=1, waiting=2 * REPLAYS_AT_ONCE)

    def close(self) -> None:
        """End what replays' processes are forked from."""
        self._replaying.close()

    def GetLogHead(self, request: pb.GetLogHeadRequest, context: grpc.ServicerContext) -> pb.LogHead:
        with self._database.transaction() as connection:
            head = log.read_head(connection, log_of(connection, request.parent, "parent"))
        return pb.LogHead(size=head.size, root=head.root())

    def ListLeaves(self, request: pb.ListLeavesRequest, context: grpc.ServicerContext) -> pb.ListLeavesResponse:
        first = require_range(request.start, "start", 0, MAX_LEAF)
        limit, (start,) = page_limit(request.page_size), place_in(request.page_token, first)
        page: list[pb.Leaf] = []
        page_bytes = 0
        start = max(start, 0)
        with self._readers.database_for(request.parent).transaction() as connection:
            pool = log_of(connection, request.parent, "parent")
            size = log.read_head(connection, pool).size
            for leaf in log.read_leaves(connection, pool, start, min(start + limit, size), chunk=100):
                page.append(pb.Leaf(index=leaf.index, entry=leaf.entry, hash=leaf.hash))
                page_bytes += len(leaf.entry)
                if page_bytes > PAGE_BYTES:
                    break
        more = bool(page) and page[-1].index + 1 < size
        return pb.ListLeavesResponse(leaves=page, next_page_token=page_token(page[-1].index + 1) if more else "")

    def WatchLeaves(self, request: pb.WatchLeavesRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        start = require_range(request.start, "start", 0, MAX_LEAF)
        with self._database.transaction() as connection:
            pool = log_of(connection, request.parent, "parent")
            if pool == REGISTRY and caller().role not in (Role.OPERATOR, Role.AUDITOR):
                raise PermissionDeniedError(caller(), REGISTRY.name)
            size = log.read_head(connection, pool).size
        if request.only_new:
            start = size
        if start > size:
            raise InvalidInputError.of(
                "start", "must be at most the log's %(size)s leaves, is %(got)s", size=size, got=start
            )
        # Whatever carries the call sees that it is a watch, and asks it when there is something to say.
        watch: Any = Watch(self._watches, pool, caller(), start, size)
        return cast("Iterator[Any]", watch)

    def GetBody(self, request: pb.GetBodyRequest, context: grpc.ServicerContext) -> Iterator[pb.GetBodyResponse]:
        if len(request.sha256) != HASH_BYTES:
            raise InvalidInputError.of(
                "sha256", "must have %(bytes)s bytes, got %(got)s", bytes=HASH_BYTES, got=len(request.sha256)
            )
        with self._database.reading() as connection:
            pool = log_of(connection, request.parent, "parent")
        stored = self._bodies.fetch(self._readers.database_for(request.parent), pool, request.sha256)
        body = log.checked(pool, request.sha256, lambda: stored)
        for chunk in chunks(body):
            yield pb.GetBodyResponse(chunk=chunk)

    def ReplayRound(
        self, request: pb.ReplayRoundRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ReplayRoundResponse]:
        with self._database.transaction() as connection:
            pool, number = round_of(connection, request.name, "name")
            round_leaf = rounds.leaf_of(connection, pool, number)
        database = self._readers.database_for(request.name)
        source = Source(database.address, pool, self._bodies_url)
        with (
            self._replays.passed(caller().name),
            ThreadPoolExecutor(REPLAY_THREADS, thread_name_prefix="replay") as threads,
            self._replaying.weighing(source) as weighing,
        ):
            stored = StoredLog(database, pool, self._bodies)
            registry = StoredLog(database, REGISTRY, self._bodies)
            submit = lambda work: threads.submit(work).result  # noqa: E731  # its type is that of the argument
            replay = replay_round(stored, registry, round_leaf, submit=submit, ahead=REPLAY_THREADS, weighing=weighing)
            yield from _steps(replay)


def _steps(replay: Generator[Progress, None, Verdict]) -> Iterator[pb.ReplayRoundResponse]:
    reported = 0.0
    while True:
        try:
            progress = next(replay)
        except StopIteration as end:
            yield pb.ReplayRoundResponse(verdict=_verdict(end.value))
            return
        if time.monotonic() - reported >= PROGRESS_SECONDS:
            reported = time.monotonic()
            yield pb.ReplayRoundResponse(progress=_progress(progress))


def _progress(progress: Progress) -> pb.ReplayProgress:
    return pb.ReplayProgress(leaves=progress.leaves, leaf_total=progress.leaf_total, shares=progress.shares)


def _verdict(verdict: Verdict) -> pb.ReplayVerdict:
    message = pb.ReplayVerdict(
        outcome=pb.REPLAY_OUTCOME_MATCH,
        leaves=verdict.progress.leaves,
        events=verdict.progress.events,
        shares=verdict.progress.shares,
    )
    if finding := verdict.finding:
        message.outcome = pb.REPLAY_OUTCOME_DIVERGED
        message.leaf_index = finding.where.leaf_index
        message.line = finding.where.line
        message.figure = f"{finding.where.log} {finding.figure}".strip()
        message.claimed = finding.claimed
        message.expected = finding.expected
    return message
