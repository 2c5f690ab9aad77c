"""Sends webhooks their logs: any number of processes, one at a time for each webhook, in order, at least once.

How far each was sent is in the database, and moves on once the receiver has taken an event. Whoever is killed between
the two sends that event again, with the same id.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event, Lock
from typing import Final

import structlog

from ledger.acts.entries import REGISTRY_CONTENTS, WebhookContent
from ledger.acts.webhooks import WebhookDetails
from ledger.errors import InvalidInputError, LedgerError, Sentence
from ledger.log.leaves import EncodedLeaf, decode
from ledger.store.desk import deliveries, webhooks
from ledger.store.desk.deliveries import Attempt, Delivery
from ledger.store.desk.vault import Vault
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef, log_name
from ledger.store.pools.pools import pool_ref, pool_refs
from ledger.store.pools.readers import Readers
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.people import is_suspended, read_people
from payout.entries import CONTENTS
from services.access.keys import PEOPLE, Principal
from services.access.sight import Sight, sight_of
from services.webhooks.events import CONTENT_TYPE, event_of, test_event
from services.webhooks.posting import Answer, Poster
from services.webhooks.signing import signed

logger: Final = structlog.get_logger("moiety.webhooks")

THREADS: Final = 8
THREADS_EACH: Final = 3
"""An owner's most at a time: receivers that hang keep a thread for seconds, and others wait."""

TURN_SECONDS: Final = 15.0
"""After this long others get the thread."""

LEAVES_AT_ONCE: Final = 200

SHORTEST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 3_600.0
"""Pauses between attempts double. An event is never given up: it stays in the log, and those after it wait."""

CONFIGURED_PAUSE_SECONDS: Final = 60.0
"""Where the fault is on our side, such as a missing key or an owner who is suspended."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """A webhook that this process holds: what it is, and where its log is."""

    holder: str
    webhook: WebhookContent
    details: WebhookDetails
    owner: Principal
    pool: PoolRef
    deployment: str
    is_suspended: bool


class Deliverer:
    """Sends to webhooks when asked to.

    Args:
        database: where webhooks are.
        readers: where leaves are read.
        vault: opens addresses and secrets.
        poster: posts.
        clock: the time of attempts, by which receivers refuse what is old.
        jitter: between 0 and 1; how much of the second half of a pause passes.
    """

    def __init__(
        self,
        database: Database,
        readers: Readers,
        vault: Vault,
        poster: Poster,
        clock: Callable[[], datetime],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database, self._readers, self._vault = database, readers, vault
        self._poster, self._clock, self._jitter = poster, clock, jitter
        self._threads: ThreadPoolExecutor | None = None
        self._lock = Lock()
        self._busy: dict[str, str] = {}
        """The webhooks whose turn it is in this process, with their owners."""
        self._stopped = Event()

    def run_once(self) -> list[Future[None]]:
        """Give each webhook that is behind and due a turn in a thread; does not wait for any."""
        try:
            found = [each for each in self._behind() if self._takes(each)]
        except LedgerError as error:
            logger.warning("cannot look at webhooks", reason=str(error))
            return []
        if self._threads is None and found:
            self._threads = ThreadPoolExecutor(THREADS, "webhook")
        return [self._threads.submit(self._turn, each.webhook) for each in found if self._threads]

    def close(self) -> None:
        """Finish the attempts under way, and begin no other."""
        self._stopped.set()
        if self._threads:
            self._threads.shutdown(cancel_futures=True)

    def _behind(self) -> list[Delivery]:
        with self._database.reading() as connection:
            due = deliveries.list_due(connection, read_time(connection))
            if not due:
                return []
            names = {each.log for each in due}
            pools = [pool for pool in pool_refs(connection) if log_name(pool) in names]
        sizes: dict[str, int] = {}
        for pool in pools:  # one by one: the node of one pool may be away
            with suppress(LedgerError), self._database.reading() as connection:
                sizes[log_name(pool)] = log.read_head(connection, pool).size
        return [each for each in due if each.next_leaf < sizes.get(each.log, 0)]

    def _takes(self, each: Delivery) -> bool:
        with self._lock:
            counts = Counter(self._busy.values())
            if each.webhook in self._busy or len(self._busy) >= THREADS or counts[each.owner] >= THREADS_EACH:
                return False
            self._busy[each.webhook] = each.owner
            return True

    def _turn(self, name: str) -> None:
        holder = uuid.uuid4().hex
        try:
            delivery = self._hold(name, holder)
            if delivery is not None:
                self._serve(name, holder, delivery)
        except LedgerError as error:
            logger.warning("a webhook waits", webhook=name, reason=str(error))
        except Exception:
            logger.exception("a webhook's turn failed", webhook=name)
        finally:
            with self._lock:
                self._busy.pop(name, None)
            self._let_go(name, holder)

    def _hold(self, name: str, holder: str) -> Delivery | None:
        with self._database.transaction() as connection:
            return deliveries.hold(connection, name, holder, read_time(connection))

    def _let_go(self, name: str, holder: str) -> None:
        with suppress(LedgerError), self._database.transaction() as connection:
            deliveries.let_go(connection, name, holder, read_time(connection))

    def _serve(self, name: str, holder: str, delivery: Delivery) -> None:
        """Send what the log has for a webhook, until it is all sent, something fails, or its turn is over."""
        next_leaf, ends = delivery.next_leaf, time.monotonic() + TURN_SECONDS
        try:
            turn = self._begun(name, holder)
        except LedgerError as error:
            self._fail(name, holder, delivery, f"cannot be sent: {error}")
            return
        if turn is None or turn.is_suspended:
            self._fail(
                name,
                holder,
                delivery,
                Sentence("its owner is suspended") if turn else Sentence("its address was erased"),
            )
            return
        while not self._stopped.is_set() and time.monotonic() < ends:
            leaves = list(self._leaves(turn, next_leaf))
            if not leaves:
                return
            for leaf in leaves:
                body = self._body(turn, leaf)
                if body is None:
                    continue
                if not self._sent(turn, leaf.index, body, delivery.failures):
                    return
                next_leaf, delivery = leaf.index + 1, replace(delivery, failures=0)
                if self._stopped.is_set() or time.monotonic() >= ends:
                    return
            next_leaf = leaves[-1].index + 1
            with self._database.transaction() as connection:
                now = read_time(connection)
                if not deliveries.move_on(connection, name, holder, next_leaf, now):
                    return

    def _begun(self, name: str, holder: str) -> _Turn | None:
        with self._database.transaction() as connection:
            webhook = webhooks.get_webhook(connection, name).content
            details = webhooks.read_details(connection, self._vault, webhook)
            if details is None:
                return None
            owner = Principal.parse(webhook.owner)
            pool = REGISTRY
            if webhook.log != REGISTRY.name:
                pool = pool_ref(connection, webhook.log.removeprefix("pools/"))
            suspended = owner.role in PEOPLE and is_suspended(connection, owner.name)
            return _Turn(holder, webhook, details, owner, pool, read_people(connection).origin, suspended)

    def _leaves(self, turn: _Turn, start: int) -> Iterator[EncodedLeaf]:
        with self._database.reading() as connection:
            size = log.read_head(connection, turn.pool).size
        end = min(size, start + LEAVES_AT_ONCE)
        with self._readers.database_for(log_name(turn.pool)).reading() as connection:
            yield from log.read_leaves(connection, turn.pool, start, end, chunk=LEAVES_AT_ONCE)

    @staticmethod
    def _body(turn: _Turn, leaf: EncodedLeaf) -> bytes | None:
        """The event of a leaf; None if the webhook does not ask for it, or its owner may not see it."""
        is_registry = turn.pool == REGISTRY
        content = decode(leaf.entry, REGISTRY_CONTENTS if is_registry else CONTENTS).content
        if turn.webhook.types and content.type not in turn.webhook.types:
            return None
        sight = sight_of(turn.owner, content)
        if sight is Sight.NOTHING:
            return None
        return event_of(turn.deployment, turn.pool.name, leaf, shows_entry=sight is Sight.ALL)

    def _sent(self, turn: _Turn, index: int, body: bytes, failures: int) -> bool:
        """Post an event and note what came of it; tells whether to go on with the next."""
        name = turn.webhook.webhook
        answer = self._post(turn.details, f"msg_{name}_{index}", body)
        with self._database.transaction() as connection:
            now = read_time(connection)
            if answer.problem:
                pause = max(self._pause(failures), answer.retry_after_seconds)
                attempt = Attempt(
                    index, now, answer.status, answer.problem, now + timedelta(seconds=pause), is_gone=answer.is_gone
                )
            else:
                attempt = Attempt(index + 1, now, answer.status)
            is_noted = deliveries.note_attempt(connection, name, turn.holder, attempt)
        if answer.problem:
            logger.info("a webhook took nothing", webhook=name, leaf=index, reason=answer.problem)
        return is_noted and not answer.problem

    def _post(self, details: WebhookDetails, message_id: str, body: bytes) -> Answer:
        try:
            target = self._poster.reach.target(details.url)
        except InvalidInputError:  # the settings allowed it once
            return Answer(problem=Sentence("the settings do not allow its address"))
        now = self._clock().timestamp()
        headers = {"content-type": CONTENT_TYPE, "user-agent": "moiety"}
        return self._poster.post(target, headers | signed(details.secrets(now), message_id, int(now), body), body)

    def test(self, deployment: str, pool: PoolRef, webhook: WebhookContent, details: WebhookDetails) -> Answer:
        """Post an event that says nothing, once."""
        now, identity = self._clock(), f"test-{uuid.uuid4().hex}"
        body = test_event(deployment, pool.name, identity, now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        return self._post(details, f"msg_{webhook.webhook}_{identity}", body)

    def _fail(self, name: str, holder: str, delivery: Delivery, problem: str) -> None:
        """Note a fault that is not the receiver's."""
        with self._database.transaction() as connection:
            now = read_time(connection)
            later = now + timedelta(seconds=CONFIGURED_PAUSE_SECONDS)
            attempt = Attempt(delivery.next_leaf, now, None, problem, later)
            deliveries.note_attempt(connection, name, holder, attempt)

    def _pause(self, failures: int) -> float:
        """How long to wait after another failure, so that not all come back at the same moment."""
        longest = min(LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * (1 << min(failures, 12)))
        return longest * (1 + self._jitter()) / 2
