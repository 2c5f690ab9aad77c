"""An operator's bank account under faults: receipts, pay runs and statements, one step at a time.

A step that fails is tried again until it is done, as people do. In the end the books must say what the bank says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final
from uuid import UUID

import grpc

from demo.bank import Bank
from ledger.acts.controls import Controls
from moiety import AccountDetails, BankAccount, Client, Method, Mode, Policy, Pool, ServiceError, UsageEvent
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED

PAID_POOL: Final = "polka"
METHOD: Final = "ngram"
PAID: Final = {"irish": "IE29AIBK93115212345678", "breton": "FR1420041010050500013M02606"}
OURS: Final = "DE89370400440532013000"
DUE_MINOR: Final = 90_000
BOOKED_SECONDS: Final = 300.0
"""How long the scheduler may take to book a statement in each pool."""

TWO: Final = Controls(people=2, terms=1, weights=1, money=2, rounds=2, registry=1)


def open_account(olive: Client, otto: Client, platforms: list[str]) -> None:
    """A pool that is paid from a bank account. Nothing is paid to a new account for three days."""
    policy = Policy(review_seconds=1)
    pool = Pool(
        display_name="Polka", currency="EUR", policy=policy, platforms=platforms, distribute=DISTRIBUTE_RECEIVED
    )
    olive.create_pool(PAID_POOL, pool)
    olive.create_method(PAID_POOL, METHOD, Method(display_name="n-gram votes", confidence_ppm=900_000))
    account = BankAccount(display_name="Moiety", details=_account(OURS), pools=[f"pools/{PAID_POOL}"])
    asked: list[Any] = [olive.set_payee(name, _account(iban)) for name, iban in PAID.items()]
    for each in [*asked, olive.set_bank_account("main", account)]:
        if each.proposal:
            otto.approve_proposal(each.proposal)


def _account(iban: str) -> AccountDetails:
    return AccountDetails(holder="Trad", town="Town", country="IE", currency="EUR", iban=iban)


class Banking:
    """What a platform, two operators and their bank do, day after day."""

    def __init__(self, olive: Client, otto: Client, platform: Client) -> None:
        self._olive, self._otto, self._platform = olive, otto, platform
        self.bank = Bank(OURS, "EUR")
        self.runs = 0
        self._steps = self._days()
        self._step = next(self._steps)

    def act(self, _: random.Random) -> None:
        """Do the next step, or the last one again if that failed."""
        self._step()
        self._step = next(self._steps)

    def _days(self) -> Iterator[Callable[[], None]]:
        for number in count():
            name, day = f"{number:05d}", datetime.now(UTC).date().isoformat()
            yield lambda name=name, day=day: self._report(name, day)  # type: ignore[misc]
            statement = self.bank.statement(day)
            yield lambda statement=statement: self._take_in(statement)  # type: ignore[misc]
            yield lambda name=name: self._cut(name)  # type: ignore[misc]
            yield self._post
            yield lambda name=name, day=day: self._pay(name, day)  # type: ignore[misc]

    def _report(self, name: str, day: str) -> None:
        used = UsageEvent(
            UUID(int=random.Random(name).getrandbits(128)),
            datetime.now(UTC).replace(microsecond=0),
            7,
            Mode.AI_ONLY,
            dict.fromkeys(PAID, 400_000_000),
        )
        self._platform.submit_events(PAID_POOL, [used], METHOD, batch_id=f"used-{name}")
        said = self._platform.report_revenue(PAID_POOL, DUE_MINOR, "EUR", request_id=f"due-{name}")
        self.bank.receive(DUE_MINOR, day, reference=said.payment_reference)

    def _take_in(self, statement: bytes) -> None:
        self._agree(lambda: self._olive.import_bank_file("main", statement))

    def _cut(self, name: str) -> None:
        self._olive.calculate_round(PAID_POOL, request_id=f"round-{name}")

    def _post(self) -> None:
        """Approve the last round, if somebody did not hear that it was."""
        last = list(self._olive.list_rounds(PAID_POOL))[-1]
        try:
            self._otto.approve_round(PAID_POOL, last.number)
        except ServiceError as error:
            if error.reason != "ROUND_DECIDED":
                raise

    def _pay(self, name: str, day: str) -> None:
        self._agree(lambda: self._olive.create_pay_run(f"run-{name}", "main", day))
        self.bank.take(self._olive.create_pay_run_file(f"run-{name}").content)
        self.runs += 1

    def _agree(self, ask: Callable[[], Any]) -> None:
        """Ask, and have the other operator approve it, unless that was done and nobody heard of it."""
        if proposal := ask().proposal:
            self._otto.approve_proposal(proposal)
        assert not ask().proposal, "it waits for another operator, who approved it"

    def problems(self) -> list[str]:
        """Where books and bank differ at the end of a statement, once every pool has booked it."""
        deadline = time.monotonic() + BOOKED_SECONDS
        while True:
            try:
                positions = self._olive.get_reconciliation("main").positions
            except ServiceError as error:
                if error.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    return [f"the books were not compared with the bank: {error}"]
                continue
            late = [each.message_id for each in positions if not each.HasField("difference_minor")]
            if not late or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        found = [f"statement {message_id} is not booked after {BOOKED_SECONDS:g} s" for message_id in late]
        found += [
            f"books and bank differ by {each.difference_minor} at statement {each.message_id}"
            for each in positions
            if each.difference_minor
        ]
        if len({each.message_id for each in positions}) != len(positions):
            found.append("a statement was taken in twice")
        return found
