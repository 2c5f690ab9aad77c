"""Money in, as a log says it: what its reports, receipts and reversals may say, given those before them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from audit.findings import At, at
from audit.steps import Step
from ledger.income import (
    Distribute,
    MatchContent,
    Period,
    ReceiptContent,
    ReportContent,
    ReversalContent,
    WaiverContent,
    payment_reference,
    require_date,
)
from ledger.journal import REVENUE, due_account
from ledger.log.leaves import Leaf
from ledger.money import MAX_AMOUNT_MINOR
from ledger.registry import require_range
from payout.entries import PoolContent
from payout.periods import Books, Reported

_NONE: Final = "none"


@dataclass(slots=True)
class _Taken:
    """A report or a receipt: whose it is, and what of it is not reversed."""

    of: str
    platform: str
    left_minor: int
    end: int = 0
    """Of a report: the month after its period; 0 without."""


@dataclass(slots=True)
class IncomeFold:
    """What of each report and receipt is left, by its leaf."""

    currency: str = ""
    distribute: str = ""
    _taken: dict[int, _Taken] = field(default_factory=dict)
    _waived: set[tuple[str, str]] = field(default_factory=set)
    """Periods and platforms."""

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Check what a leaf says of money in, before what it moves is taken in.

        Raises:
            FoundError: the log before it does not allow it.
            InvalidInputError: a value is none that the service would write.
        """
        content, here = leaf.content, at(leaf.index, step=Step.BALANCES)
        match content:
            case PoolContent(currency=currency, distribute=distribute):
                here.holds(distribute in set(Distribute), "distribute", distribute, ", ".join(Distribute))
                self.currency, self.distribute = currency, distribute
            case ReportContent():
                here.same("currency", content.currency, self.currency)
                here.same("distribute", content.distribute, self.distribute)
                reference = payment_reference(leaf.pool, content.platform, content.request_id)
                here.same("payment_reference", content.payment_reference, reference)
                require_range(content.income_minor or 0, "income_minor", 0, MAX_AMOUNT_MINOR)
                end = Period.parse(content.period).end if content.period else 0
                self._take(leaf, content.platform)
                self._taken[leaf.index].end = end
            case WaiverContent(period=period, platform=platform):
                Period.parse(period)
                self._waived.add((period, platform))
            case ReceiptContent():
                here.same("distribute", self.distribute, Distribute.RECEIVED.value)
                require_date(content.received_on, "received_on")
                self._take(leaf, content.platform)
            case MatchContent():
                taken = self._named(here, "receipt", content.receipt)
                here.same("receipt", taken.of, ReceiptContent.type)
                here.same("platform before", taken.platform, "")
                here.holds(bool(content.platform), "platform", content.platform, "a platform")
                here.same("amount_minor", content.amount_minor, taken.left_minor)
                taken.platform = content.platform
            case ReversalContent():
                taken = self._named(here, "reverses", content.reverses)
                here.same("of", content.of, taken.of)
                here.same("platform", content.platform, taken.platform)
                here.same("distribute", content.distribute, self.distribute)
                is_receipt = taken.of == ReceiptContent.type
                here.holds(is_receipt or not content.chargeback, "chargeback", taken.of, ReceiptContent.type)
                left = f"at most {taken.left_minor}, which is left of leaf {content.reverses}"
                here.holds(content.amount_minor <= taken.left_minor, "amount_minor", content.amount_minor, left)
                taken.left_minor -= content.amount_minor

    def books(self, balances: Mapping[str, int], admitted: AbstractSet[str]) -> Books:
        """Returns the money in so far."""
        reports = [
            Reported(taken.platform, taken.end, taken.left_minor)
            for taken in self._taken.values()
            if taken.of == ReportContent.type and taken.left_minor
        ]
        return Books(
            revenue_minor=balances.get(REVENUE, 0),
            due_minor={each.platform: balances.get(due_account(each.platform), 0) for each in reports},
            reports=reports,
            admitted=sorted(admitted),
            waived=frozenset(self._waived),
        )

    def _take(self, leaf: Leaf[Any], platform: str) -> None:
        self._taken[leaf.index] = _Taken(leaf.content.type, platform, leaf.content.amount_minor)

    def _named(self, here: At, figure: str, leaf_index: int) -> _Taken:
        taken = self._taken.get(leaf_index)
        if taken is None:
            raise here.error(figure, leaf_index, "a report or a receipt before this leaf")
        return taken
