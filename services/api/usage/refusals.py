"""Keeps the batches that were refused for what is wrong with them, so that their platform can look them up."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from threading import Lock
from typing import Final

import structlog
from google.rpc import status_pb2

from ledger.errors import IdentityReusedError, InvalidInputError, LedgerError, NotFoundError, QuotaError, StateError
from ledger.store.desk.refusals import KeptRefusal, Refusal, keep_refusal
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from ledger.store.usage.batches import BatchIdentity
from moiety.v1 import usage_pb2 as pb
from services.api.calls.errors import for_trailers
from services.api.convert.common import timestamp

logger: Final = structlog.get_logger("moiety.refusals")

KEPT_A_SECOND: Final = 10
"""Of one platform, in one process. Whoever is refused more often has heard why each time."""

_KEPT: Final = (IdentityReusedError, InvalidInputError, StateError, NotFoundError, QuotaError)
"""What is wrong with a batch; not that the service is busy, or who may send."""


class Refusals:
    """Keeps refusals."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._lock = Lock()
        self._counts: dict[str, tuple[float, int]] = {}

    def keep(self, identity: BatchIdentity, body: bytes, error: Exception, status: status_pb2.Status) -> None:
        """Keep one, if it is of a kind that is kept. It never fails: the batch is refused in any case."""
        if not isinstance(error, _KEPT) or not self._has_room(identity.platform):
            return
        told = for_trailers(status)
        refusal = Refusal(
            platform=identity.platform,
            pool=identity.pool,
            batch_id=identity.batch_id,
            code=told.code,
            status=told.SerializeToString(),
            body_bytes=len(body),
            body_sha256=sha256(body).digest(),
        )
        try:
            with self._database.transaction() as connection:
                pool_ref(connection, identity.pool)
                keep_refusal(connection, refusal, self._clock())
        except LedgerError as failed:
            logger.info("a refusal was not kept", platform=identity.platform, reason=str(failed))

    def _has_room(self, platform: str) -> bool:
        now = time.monotonic()
        with self._lock:
            since, count = self._counts.get(platform, (now, 0))
            if now - since >= 1:
                since, count = now, 0
            self._counts[platform] = since, count + 1
            return count < KEPT_A_SECOND


def refusal_to_proto(kept: KeptRefusal) -> pb.RefusedBatch:
    """The message of a refusal."""
    refusal = kept.refusal
    return pb.RefusedBatch(
        batch_id=refusal.batch_id,
        platform=f"platforms/{refusal.platform}",
        error=status_pb2.Status.FromString(refusal.status),
        body_bytes=refusal.body_bytes,
        body_sha256=refusal.body_sha256,
        refused_count=kept.times,
        first_refuse_time=timestamp(kept.first_at),
        refuse_time=timestamp(kept.refused_at),
    )
