"""What a leaf amounts to in the light of those before it: what it moved, and how its body is to be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from audit.declared import Declared
from audit.divergence import DivergedError
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.journal import Transfer, movement_transfers, revenue_transfers
from ledger.log.leaves import (
    GrantContent,
    Leaf,
    MembershipContent,
    MethodContent,
    PaymentContent,
    ReleaseContent,
    RevenueContent,
    UsageContent,
)
from ledger.usage.shares import UsageBatch
from moiety.errors import DataLossError
from payout.rounds import Line, PostingContent, RoundContent, posting_transfers
from payout.statement import parse_statement
from services.exports.source import PoolSource

REFERRED_TO: Final = (MethodContent.type, MembershipContent.type, RoundContent.type)
"""The types of leaf that later ones refer to."""


@dataclass(slots=True)
class Past:
    """What the leaves so far say that later ones refer to. Take every leaf in, in order, before asking about it."""

    source: PoolSource
    _rounds: dict[int, int] = field(default_factory=dict)
    """The leaf of each round, by number."""
    _declared: Declared = field(default_factory=Declared)

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Keep what of the next leaf is referred to. DataLossError where it cannot be."""
        try:
            match leaf.content:
                case MethodContent():
                    self._declared.method(leaf.index, leaf.content)
                case MembershipContent():
                    self._declared.membership(leaf.index, leaf.content)
                case RoundContent(number=number):
                    self._rounds[number] = leaf.index
        except (DivergedError, InvalidInputError, LedgerCorruptError) as error:
            raise _loss(leaf.index, error) from None

    def transfers(self, leaf: Leaf[Any]) -> list[Transfer]:
        """What a leaf moved, in order; nothing for most."""
        match leaf.content:
            case RevenueContent():
                return revenue_transfers(leaf.content)
            case PaymentContent() | ReleaseContent() | GrantContent():
                return movement_transfers(leaf.content)
            case PostingContent(round=number):
                content = self._round(leaf.index, number)
                return posting_transfers(content, statement_lines(self.source, content))
        return []

    def usage(self, leaf_index: int, content: UsageContent) -> UsageBatch:
        """The batch of a usage leaf. DataLossError where its body is none."""
        try:
            reading = self._declared.reading(self.source, leaf_index, content)
            return reading.usage(self.source.body(bytes.fromhex(content.body_sha256)))
        except (DivergedError, InvalidInputError) as error:
            raise _loss(leaf_index, error) from None

    def _round(self, leaf_index: int, number: int) -> RoundContent:
        content = self.source.leaf(self._rounds[number]).content if number in self._rounds else None
        if not isinstance(content, RoundContent):
            raise DataLossError(f"leaf {leaf_index} posts round {number}, which does not stand before it")
        return content


def statement_lines(source: PoolSource, content: RoundContent) -> list[Line]:
    """The lines of a round's statement. DataLossError where it is not canonical."""
    try:
        return parse_statement(source.body(bytes.fromhex(content.statement_sha256)))
    except LedgerCorruptError as error:
        raise DataLossError(str(error)) from None


def _loss(leaf_index: int, error: Exception) -> DataLossError:
    if isinstance(error, DivergedError):
        found = error.divergence
        return DataLossError(f"leaf {found.leaf_index}: {found.figure} is {found.logged}, not {found.replayed}")
    return DataLossError(f"leaf {leaf_index}: {error}")
