"""What each leaf moved, worked out from the log alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ledger.errors import LedgerCorruptError
from ledger.journal import Transfer, movement_transfers, revenue_transfers
from ledger.leaves import GrantContent, Leaf, PaymentContent, ReleaseContent, RevenueContent
from moiety.errors import DataLossError
from payout.rounds import Line, PostingContent, RoundContent, posting_transfers
from payout.statement import parse_statement
from services.export.source import PoolSource


@dataclass(slots=True)
class LeafTransfers:
    """The transfers of leaves taken in order. `rounds` has the leaf of each round so far, by number."""

    source: PoolSource
    rounds: dict[int, int] = field(default_factory=dict)

    def of(self, leaf: Leaf[Any]) -> list[Transfer]:
        """What a leaf moved, in order; nothing for most."""
        match leaf.content:
            case RevenueContent():
                return revenue_transfers(leaf.content)
            case PaymentContent() | ReleaseContent() | GrantContent():
                return movement_transfers(leaf.content)
            case RoundContent(number=number):
                self.rounds[number] = leaf.index
            case PostingContent(round=number):
                content = self._round(leaf.index, number)
                return posting_transfers(content, statement_lines(self.source, content))
        return []

    def _round(self, leaf_index: int, number: int) -> RoundContent:
        content = self.source.leaf(self.rounds[number]).content if number in self.rounds else None
        if not isinstance(content, RoundContent):
            raise DataLossError(f"leaf {leaf_index} posts round {number}, which does not stand before it")
        return content


def statement_lines(source: PoolSource, content: RoundContent) -> list[Line]:
    """The lines of a round's statement. DataLossError where it is not canonical."""
    try:
        return parse_statement(source.body(content.statement_sha256))
    except LedgerCorruptError as error:
        raise DataLossError(str(error)) from None
