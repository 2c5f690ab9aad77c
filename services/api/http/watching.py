"""Whether the service lives, whether it can serve, and what it has counted: for probes and for Prometheus.

None of it needs a key, which could not be looked up while the database is away. So it names no pool and no principal,
and looks at the database once in a while however often it is asked, on threads of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.errors import LedgerError
from ledger.store import tables as lt
from ledger.store.desk import deliveries, notices
from ledger.store.logs import checkpoints, signing
from ledger.store.logs.log import PoolRef, of_pools
from ledger.store.pools.each_pool import ask_each
from ledger.store.postgres.database import Database
from payout.schedule import next_fire_time
from payout.store import tables as pt
from payout.store.schedules import list_schedules
from services.api import readiness
from services.api.http.exchange import Exchange
from services.api.readiness import PATIENCE_SECONDS, REMEMBERED_SECONDS
from services.metrics import CONTENT_TYPE, rendered
from services.parts import Clock, Parts
from services.settings import Settings, is_loopback

logger: Final = structlog.get_logger("moiety.watching")

LATE: Final = timedelta(minutes=5)
"""A fire time that nothing has answered for so long is late."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """What is worth watching of a pool.

    Attributes:
        leaves: its log's size.
        unsigned: leaves beyond its last checkpoint.
        open_rounds: rounds that wait for a decision.
        open_objections: objections that nobody has answered, of those rounds.
        unsigned_since: when the first leaf beyond its last checkpoint was appended; None where there is none.
    """

    leaves: int
    unsigned: int
    open_rounds: int
    open_objections: int
    unsigned_since: datetime | None


def pool_states(connection: sa.Connection, refs: Sequence[PoolRef]) -> list[tuple[int, PoolState]]:
    """The state of each of these pools, by its number."""
    signed = checkpoints.signed_size(lt.head.c.pool_id)
    unsigned = (
        sa.select(lt.leaf.c.entry)
        .where(lt.leaf.c.pool_id == lt.head.c.pool_id, lt.leaf.c.leaf_index == sa.func.coalesce(signed, 0))
        .scalar_subquery()
    )
    same_pool = pt.round_.c.pool_id == lt.head.c.pool_id
    decided = sa.exists().where(
        lt.decision.c.pool_id == pt.round_.c.pool_id, lt.decision.c.subject == pt.round_.c.leaf_index
    )
    posted = sa.exists().where(pt.posting.c.pool_id == pt.round_.c.pool_id, pt.posting.c.number == pt.round_.c.number)
    waiting = sa.select(sa.func.count()).where(same_pool, ~decided, ~posted).scalar_subquery()
    answered = sa.exists().where(
        pt.answer.c.pool_id == pt.objection.c.pool_id,
        pt.answer.c.number == pt.objection.c.number,
        pt.answer.c.collective == pt.objection.c.collective,
    )
    of_open_round = sa.exists().where(
        pt.round_.c.pool_id == pt.objection.c.pool_id, pt.round_.c.number == pt.objection.c.number, ~decided, ~posted
    )
    objections = (
        sa.select(sa.func.count())
        .where(pt.objection.c.pool_id == lt.head.c.pool_id, ~answered, of_open_round)
        .scalar_subquery()
    )
    query = sa.select(lt.head.c.pool_id, lt.head.c.size, signed, waiting, objections, unsigned)
    return [
        (number, PoolState(size, size - (signed_size or 0), open_rounds, open_objections, _time_of(entry)))
        for number, size, signed_size, open_rounds, open_objections, entry in connection.execute(
            query.where(of_pools(lt.head, refs))
        )
    ]


def _time_of(entry: bytes | None) -> datetime | None:
    """When an entry was appended."""
    return None if entry is None else datetime.fromisoformat(json.loads(bytes(entry))["time"])


class DatabaseCollector(Collector):
    """What the database says about all pools together, asked at most every few seconds."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._found: list[Metric] = []
        self._until = 0.0

    def collect(self) -> Iterator[Metric]:
        """The metrics. Where the database is away there is `moiety_database_up` alone, and it is 0."""
        if time.monotonic() >= self._until:
            self._found = list(self._look())
            self._until = time.monotonic() + REMEMBERED_SECONDS
        yield from self._found

    def _look(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("moiety_database_up", "Whether the database answers.")
        try:
            found = list(self._ask())
        except LedgerError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found
        yield self._connections()

    def _connections(self) -> Metric:
        name, what = "moiety_database_connections", "Connections of this process to the database, by use and state."
        family = GaugeMetricFamily(name, what, labels=["use", "state"])
        for use, state, count in self._database.connections():
            family.add_metric([use, state], count)
        return family

    def _ask(self) -> Iterator[Metric]:
        states = ask_each(self._database, pool_states)
        schedules = ask_each(self._database, list_schedules)
        refused = ask_each(self._database, signing.refused)
        by_pool = dict(states.found)
        due = [
            next_fire_time(schedule)
            for schedule in schedules.found
            if not schedule.paused
            and (state := by_pool.get(schedule.pool.pool_id)) is not None
            and not state.open_rounds
        ]
        each = by_pool.values()
        with self._database.reading() as connection:
            failing = [hook for hook in deliveries.list_deliveries(connection) if hook.is_gone or hook.failing_since]
            mail = notices.waiting(connection)
        now = self._clock()
        unsigned = [state.unsigned for state in each if state.unsigned]
        lags = [(now - state.unsigned_since).total_seconds() for state in each if state.unsigned_since]
        for name, what, value in (
            ("moiety_pools", "Pools, the registry's log included.", len(by_pool)),
            ("moiety_pools_unreachable", "Pools whose part of the database is away.", len(states.missed)),
            ("moiety_log_leaves", "Leaves of all logs.", sum(state.leaves for state in each)),
            ("moiety_log_unsigned_leaves", "Leaves beyond the last checkpoints.", sum(unsigned)),
            ("moiety_logs_unsigned", "Logs with leaves beyond their last checkpoint.", len(unsigned)),
            (
                "moiety_logs_refused",
                "Logs that the signer refuses to sign; none of their rounds is cut.",
                len(refused.found),
            ),
            ("moiety_sign_lag_seconds", "Age of the oldest leaf that no checkpoint has.", max([0.0, *lags])),
            ("moiety_objections_open", "Objections that nobody has answered.", sum(s.open_objections for s in each)),
            ("moiety_rounds_open", "Rounds that wait for a decision.", sum(state.open_rounds for state in each)),
            (
                "moiety_rounds_due",
                "Rounds that a schedule says are due and nobody has cut.",
                sum(at <= now for at in due),
            ),
            (
                "moiety_schedules_late",
                "Schedules unanswered for five minutes, with no open round.",
                sum(at < now - LATE for at in due),
            ),
            ("moiety_mail_waiting", "Messages to people that wait to be sent.", mail.count),
            (
                "moiety_mail_oldest_seconds",
                "Age of the oldest message that waits.",
                (now - mail.oldest).total_seconds() if mail.oldest else 0.0,
            ),
            ("moiety_mail_given_up", "Messages of the last 90 days that were given up.", mail.given_up),
            (
                "moiety_webhooks_failing",
                "Webhooks whose receivers take nothing, or want nothing any more.",
                len(failing),
            ),
            (
                "moiety_webhook_lag_seconds",
                "How long the first event has waited that a receiver does not take.",
                max([0.0, *((now - hook.failing_since).total_seconds() for hook in failing if hook.failing_since)]),
            ),
        ):
            yield GaugeMetricFamily(name, what, value)


class Watching:
    """Answers `/livez`, `/readyz` and `/metrics`. Used in the server's loop alone."""

    def __init__(self, parts: Parts) -> None:
        self._settings: Settings = parts.settings
        self._database = parts.database
        self._collector = DatabaseCollector(parts.database, parts.clock)
        # One for each: none waits for another.
        self._ready = _Once(lambda: readiness.problems(self._database))
        self._warned = _Once(lambda: readiness.warnings(self._database) | parts.readers.warnings())
        self._metrics = _Once(lambda: rendered(self._collector))
        self.is_draining = False

    def close(self) -> None:
        """Finish what is being looked at."""
        self._ready.close()
        self._warned.close()
        self._metrics.close()

    async def live(self, exchange: Exchange) -> None:
        """Answer that the process answers."""
        await exchange.answer(200, "text/plain", b"ok\n")

    async def ready(self, exchange: Exchange) -> None:
        """Answer whether calls can be served, what is wrong where they cannot, and what is wrong though they can."""
        problems: dict[str, str] | None = await self._ready.result()
        if problems is None:
            problems = {"database": f"did not answer within {PATIENCE_SECONDS:g} s"}
        if self.is_draining:
            problems = {"server": "is stopping", **problems}
        warnings: dict[str, str] = await self._warned.result() or {}
        document = {"ready": not problems, "problems": problems, "warnings": warnings}
        await exchange.answer(503 if problems else 200, "application/json", json.dumps(document).encode() + b"\n")

    async def metrics(self, exchange: Exchange) -> None:
        """Answer with what was counted, to whoever may read it."""
        token = self._settings.metrics_token
        if token:
            given = exchange.header("authorization").encode()
            if not hmac.compare_digest(given, f"Bearer {token}".encode()):
                await exchange.answer(401, "text/plain", b"a token is needed\n", www_authenticate="Bearer")
                return
        elif not is_loopback(self._settings.http_listen.rpartition(":")[0]):
            await exchange.answer(404, "text/plain", b"set MOIETY_METRICS_TOKEN to read these from elsewhere\n")
            return
        text: bytes | None = await self._metrics.result()
        if text is None:
            await exchange.answer(503, "text/plain", b"the database does not answer\n")
            return
        await exchange.answer(200, CONTENT_TYPE, text)


class _Once:
    """Some work that whoever asks shares: it runs once at a time, and its result is remembered for a moment."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self._running: asyncio.Future[Any] | None = None
        self._result: Any = None
        self._until = 0.0

    def close(self) -> None:
        self._thread.shutdown()

    async def result(self) -> Any:
        """The result; None where it does not come in time, or the work failed."""
        if time.monotonic() < self._until:
            return self._result
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().run_in_executor(self._thread, self._work)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                self._result = await asyncio.shield(self._running)
        except TimeoutError:
            return None
        except Exception:
            logger.exception("looking failed")
            return None
        self._until = time.monotonic() + REMEMBERED_SECONDS
        return self._result
