"""What a pool pays and books because the registry's log says so: the same is computed again from that log."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from audit.findings import at
from audit.folds.acts import RegistryOfPool
from ledger.entries import BookingContent, PayingContent
from ledger.journal import collective_account
from ledger.log.leaves import Past
from ledger.payments import BookingKind, parse_part, parse_pool_bookings, pool_bookings, pool_part

_OF_PAYMENTS: Final = (BookingKind.PAID, BookingKind.UNPAID, BookingKind.RETURNED)


@dataclass(slots=True)
class PoolPayments:
    """A pool's payments so far. `registry` is as of the size that the leaf names."""

    pool: str
    registry: RegistryOfPool
    _paying: dict[str, int] = field(default_factory=dict)
    """What this pool pays of each payment, by end-to-end id."""

    def follow_run(self, leaf_index: int, content: PayingContent, past: Past) -> None:
        """Check the pool's part of a pay run.

        Raises:
            FoundError: it is not what follows.
        """
        here = at(leaf_index)
        found = self.registry.payments.runs.get(content.pay_run)
        if found is None or found[0] >= content.registry_size:
            raise here.error("pay_run", content.pay_run, "one of the registry's log")
        here.same("pay_run_leaf", content.pay_run_leaf, found[0])
        claimed = past.parsed(content.parts_sha256, parse_part)
        owed = {name: past.balance(collective_account(name)) for name in found[2].of_pool(self.pool)}
        expected = pool_part(found[2], self.pool, owed, claimed.salt)
        for said, follows in zip_longest(claimed.parts, expected.parts):
            here.same("part", said, follows)
        self._paying |= {part.end_to_end_id: part.amount_minor for part in expected.parts}

    def follow_statement(self, leaf_index: int, content: BookingContent, past: Past) -> None:
        """Check the pool's bookings of a bank statement, or of a match.

        Raises:
            FoundError: they are not what follows.
        """
        here = at(leaf_index)
        found = self.registry.payments.booked.get(content.bank_file_leaf)
        if found is None or content.bank_file_leaf >= content.registry_size:
            raise here.error("bank_file_leaf", content.bank_file_leaf, "a statement or a match of the registry's log")
        claimed = past.parsed(content.bookings_sha256, parse_pool_bookings)
        expected = pool_bookings(found, self.pool, claimed.salt)
        for said, follows in zip_longest(claimed.bookings, expected.bookings):
            here.same("booking", said, follows)
        here.same("lines", content.lines, len(expected.bookings))
        here.same("lines_root", content.lines_root, expected.root())
        for booking in expected.bookings:
            if booking.kind == BookingKind.RECEIVED:
                known = self.registry.has_platform(booking.subject)
                here.holds(known, "subject", booking.subject, "a platform that is registered")
            if booking.end_to_end_id and booking.kind in _OF_PAYMENTS:
                paying = self._paying.get(booking.end_to_end_id)
                here.same(f"amount of {booking.end_to_end_id}", booking.amount_minor, paying)
