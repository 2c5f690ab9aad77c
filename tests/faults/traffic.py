"""What platforms and operators do meanwhile, and the book of what they were told."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import grpc

from ledger.store.money.income import REPORTS
from moiety import Client, Mode, Receipt, ServiceError, UsageEvent
from tests.faults.banking import Banking
from tests.faults.world import COLLECTIVES, METHOD, POOL, World

EXPECTED: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
"""What callers may be told while processes die: try again, or, of rounds and proposals, that another was first."""


class Book:
    """What was sent, and what was acknowledged."""

    def __init__(self) -> None:
        self.lock: Final = threading.Lock()
        self.sent: dict[tuple[int, str], list[UsageEvent]] = {}
        self.receipts: dict[tuple[int, str], Receipt] = {}
        self.revenue: dict[tuple[int, str], int] = {}
        self.leaves_of_revenue: dict[tuple[int, str], int] = {}
        self.calls: Counter[str] = Counter()
        self.problems: list[str] = []

    def unanswered(self, platform: int) -> list[str]:
        """Batches without a receipt: whether they were recorded, only sending them again tells."""
        return [batch for by, batch in self.sent if by == platform and (by, batch) not in self.receipts]

    def received(self, platform: int, batch: str, receipt: Receipt) -> None:
        """Keep a receipt, which must be the one that there was before, if any."""
        before = self.receipts.setdefault((platform, batch), receipt)
        if (before.leaf_index, before.leaf_hash) != (receipt.leaf_index, receipt.leaf_hash):
            self.problems.append(f"batch {batch} has two receipts: {before.leaf_index}, {receipt.leaf_index}")


class Traffic:
    """Callers that go on whatever happens, each on a thread of its own."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.book = world, Book()
        self._stopped, self._paused = threading.Event(), threading.Event()
        self._resting = threading.Semaphore(0)
        work: list[Callable[[random.Random], None]] = []
        for number, platform in enumerate(world.platforms):
            work += [lambda chance, n=number, c=platform: self._submit(chance, n, c)] * 2  # type: ignore[misc]
            work.append(lambda chance, n=number, c=platform: self._pay_in(chance, n, c))  # type: ignore[misc]
        self.banking = Banking(world.olive, world.otto, world.platforms[0])
        work += [self._propose, self._decide, self._look, self.banking.act]
        self._threads = [
            threading.Thread(target=self._go_on, args=(each, random.Random(f"{seed}/{place}")), daemon=True)
            for place, each in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Let every caller finish its call, and wait for that."""
        self._paused.set()
        for _ in self._threads:
            if not self._resting.acquire(timeout=600):
                self.book.problems.append("a call is stuck")

    def go_on(self) -> None:
        self._paused.clear()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(600)

    def _go_on(self, act: Callable[[random.Random], None], chance: random.Random) -> None:
        while not self._stopped.is_set():
            if self._paused.is_set():
                self._resting.release()
                while self._paused.is_set() and not self._stopped.is_set():
                    time.sleep(0.02)
                continue
            try:
                act(chance)
                told = "OK"
            except ServiceError as error:
                told = f"{error.code.name} {error.reason}"
                if error.code not in EXPECTED:
                    self.book.problems.append(f"{told}: {error}")
            with self.book.lock:
                self.book.calls[told] += 1
            time.sleep(chance.random() * 0.2)

    def _submit(self, chance: random.Random, number: int, platform: Client) -> None:
        with self.book.lock:
            left = self.book.unanswered(number)
            again = chance.choice(left) if left and chance.random() < 0.5 else ""
            batch = again or f"b-{chance.getrandbits(80):020x}"
            usage = self.book.sent.setdefault((number, batch), self._events(chance, number))
        receipt = platform.submit_events(POOL, usage, METHOD, batch_id=batch)
        with self.book.lock:
            self.book.received(number, batch, receipt)

    def _events(self, chance: random.Random, number: int) -> list[UsageEvent]:
        """Up to a hundred events, some of which were sent before."""
        made = [
            UsageEvent(
                UUID(int=chance.getrandbits(128)),
                datetime.now(UTC).replace(microsecond=0),
                chance.randint(1, 50),
                chance.choice([Mode.AI_ONLY, Mode.HUMAN_AI]),
                {name: chance.randint(1, 400_000_000) for name in chance.sample(COLLECTIVES, 2)},
            )
            for _ in range(chance.choice([1, 5, 20, 100]))
        ]
        before = [batch for by, batch in self.book.sent if by == number]
        if before and chance.random() < 0.3:
            made.append(self.book.sent[number, chance.choice(before)][0])
        return made

    def _pay_in(self, chance: random.Random, number: int, platform: Client) -> None:
        with self.book.lock:
            mine = [key for key in self.book.revenue if key[0] == number]
            open_ = [key for key in mine if key not in self.book.leaves_of_revenue]
            if not open_ and len(mine) == REPORTS.most:
                return
            key = open_[0] if open_ else (number, f"r-{chance.getrandbits(80):020x}")
            amount = self.book.revenue.setdefault(key, chance.randint(1, 100_000))
        platform.report_revenue(POOL, amount, "EUR", request_id=key[1])
        with self.book.lock:
            self.book.leaves_of_revenue[key] = amount

    def _propose(self, chance: random.Random) -> None:
        """A round, or a payment, which a second operator has to approve."""
        olive = self.world.olive
        if chance.random() < 0.5:
            olive.calculate_round(POOL, request_id=f"round-{chance.getrandbits(60)}")
        else:
            olive.record_payment(POOL, chance.choice(COLLECTIVES), 1, request_id=f"p-{chance.getrandbits(60)}")

    def _decide(self, chance: random.Random) -> None:
        otto = self.world.otto
        proposals = list(otto.list_proposals(POOL, only_open=True))
        if proposals and chance.random() < 0.5:
            chosen = chance.choice(proposals).name
            if chance.random() < 0.7:
                otto.approve_proposal(chosen)
            else:  # such as one of more than there is
                otto.reject_proposal(chosen, "by chance")
            return
        rounds: Sequence[int] = [each.number for each in otto.list_rounds(POOL)]
        if rounds and chance.random() < 0.8:
            otto.approve_round(POOL, rounds[-1])
        elif rounds:
            otto.reject_round(POOL, rounds[-1], "by chance")

    def _look(self, chance: random.Random) -> None:
        size = self.world.olive.get_log_head(POOL).size
        at = self.world.olive.list_balances(POOL, log_size=chance.randint(1, size))
        if total := sum(balance.amount_minor for balance in at):
            self.book.problems.append(f"balances sum to {total}")
