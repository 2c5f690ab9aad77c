"""Money at the bank: platforms pay in, a pay run pays out, and the bank says what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from demo.bank import Bank
from demo.service import ACCOUNT, BANK_ACCOUNT, CURRENCY, Cast
from moiety import PayRun
from moiety.v1.payments_pb2 import PAYMENT_STATE_PAID, PAYMENT_STATE_RETURNED, PAYMENT_STATE_UNPAID

REJECTED: Final = 11
"""Of the payments of a run, the bank rejects one in so many: their accounts are wrong, it says."""
RETURNED: Final = 17
"""And one in so many comes back: their accounts are closed, it says."""


@dataclass(frozen=True, slots=True)
class Banking:
    """How many payments were made, rejected and returned, and how far books and bank differ at the end."""

    payments: int
    paid: int
    rejected: int
    returned: int
    paid_minor: int
    balance_minor: int
    difference_minor: int


@dataclass(slots=True)
class Till:
    """The pool's account at the bank, and the runs that were paid from it."""

    cast: Cast
    bank: Bank = field(default_factory=lambda: Bank(ACCOUNT, CURRENCY))
    runs: list[str] = field(default_factory=list)

    def receive(self, payments: Sequence[tuple[str, int]], day: date) -> None:
        """Platforms pay what they reported, each with its payment reference, and the bank's statement is taken in."""
        for reference, amount_minor in payments:
            self.bank.receive(amount_minor, day.isoformat(), reference=reference)
        self._take_in(self.bank.statement(day.isoformat()))

    def pay(self, name: str, now: datetime) -> PayRun:
        """Pay everyone whom the pool owes something. The bank rejects some payments, and some come back."""
        day = now.date().isoformat()
        proposed = self.cast.operator.create_pay_run(name, BANK_ACCOUNT, day)
        self.cast.reviewer.approve_proposal(proposed.proposal)
        run = self.cast.operator.create_pay_run(name, BANK_ACCOUNT, day)
        identities = [each.end_to_end_id for each in run.payments if each.amount_minor]
        rejected, returned = identities[1::REJECTED], identities[2::RETURNED]
        self.bank.take(self.cast.operator.create_pay_run_file(name).content, rejected=rejected)
        self._take_in(self.bank.status(name, rejected, day))
        for identity in sorted({*returned} - {*rejected}):
            self.bank.give_back(identity, day)
        self._take_in(self.bank.statement(day))
        self.runs.append(name)
        return self.cast.operator.get_pay_run(name)

    def _take_in(self, file: bytes) -> None:
        """One operator has a bank's file taken in, and the other approves it."""
        proposed = self.cast.operator.import_bank_file(BANK_ACCOUNT, file)
        self.cast.reviewer.approve_proposal(proposed.proposal)
        self.cast.operator.import_bank_file(BANK_ACCOUNT, file)

    def reconciled(self) -> Banking:
        """Return what became of all payments, and whether the books are the bank's."""
        runs = [self.cast.auditor.get_pay_run(name) for name in self.runs]
        payments = [each for run in runs for each in run.payments if each.amount_minor]
        by_state = {
            state: [each.amount_minor for each in payments if each.state == state]
            for state in (PAYMENT_STATE_PAID, PAYMENT_STATE_UNPAID, PAYMENT_STATE_RETURNED)
        }
        last = self.cast.auditor.get_reconciliation(BANK_ACCOUNT).positions[-1]
        return Banking(
            payments=len(payments),
            paid=len(by_state[PAYMENT_STATE_PAID]),
            rejected=len(by_state[PAYMENT_STATE_UNPAID]),
            returned=len(by_state[PAYMENT_STATE_RETURNED]),
            paid_minor=sum(by_state[PAYMENT_STATE_PAID]),
            balance_minor=last.closing_minor,
            difference_minor=last.difference_minor,
        )
