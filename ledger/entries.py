"""The entries of a pool's log that operators move money by, except for rounds and for money in (`ledger.income`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ledger.acts.controls import Kind
from ledger.acts.entries import SaltedContent
from ledger.journal import (
    COMMONS,
    Purpose,
    Transfer,
    collective_account,
    held_account,
    paid_account,
)
from ledger.log.leaves import DecimalInt, Past


class Movement(SaltedContent):
    """Money that an operator moves by hand. All such movements of a pool share one set of request ids."""

    kind: ClassVar[Kind | None] = Kind.MONEY

    request_id: str
    amount_minor: DecimalInt

    @property
    def identity(self) -> tuple[str, ...]:
        """The id of the request."""
        return "request_id", "movement", self.request_id


class CollectiveMovement(Movement):
    """One that a collective takes part in."""

    collective: str


class ReleaseContent(CollectiveMovement):
    """An operator released what was held for a collective to it, or returned it to the commons fund."""

    type: ClassVar[str] = "release.v1"

    to_commons: bool
    reason: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From the held amount to the collective, or to the commons fund."""
        held = held_account(self.collective)
        if self.to_commons:
            return (Transfer(held, COMMONS, self.amount_minor, Purpose.RETURN),)
        return (Transfer(held, collective_account(self.collective), self.amount_minor, Purpose.RELEASE),)


class GrantContent(CollectiveMovement):
    """An operator granted a collective an amount from the commons fund."""

    type: ClassVar[str] = "grant.v1"

    reason: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From the commons fund to the collective."""
        return (Transfer(COMMONS, collective_account(self.collective), self.amount_minor, Purpose.GRANT),)


class PaymentContent(CollectiveMovement):
    """A collective was paid outside the system."""

    type: ClassVar[str] = "payment.v1"

    reference: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From what the collective is owed to what it was paid."""
        owed, paid = collective_account(self.collective), paid_account(self.collective)
        return (Transfer(owed, paid, self.amount_minor, Purpose.PAYMENT),)
