"""What a leaf means given the leaves before it: what it moved, and how to read its body."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from audit.findings import FoundError
from audit.folds.declared import Declared
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.journal import Transfer, fold
from ledger.log.leaves import C, Content, Leaf, T
from ledger.usage.batch import Batch
from ledger.usage.entries import UsageContent
from payout.entries import CONTENTS, RoundContent
from services.exports.source import PoolSource

REFERRED_TO: Final = tuple(kind.type for kind in CONTENTS.values() if kind.key is not Content.key)
"""The types of leaf that later ones refer to."""


@dataclass(slots=True)
class Past:
    """What later leaves refer to in those so far. Take in every leaf, in order, before asking about it."""

    source: PoolSource
    _places: dict[tuple[str, Hashable], int] = field(default_factory=dict)
    """The leaf of each entry that later ones refer to, by type and key."""
    _rounds: dict[int, int] = field(default_factory=dict)
    """The number of the round at each leaf that has one."""
    _declared: Declared = field(default_factory=Declared)
    _balances: dict[str, int] | None = None
    """Before the leaf that is asked about; None until one needs them."""
    _at: int = 0

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Keep what later leaves refer to in the next one.

        Raises:
            LedgerCorruptError: the leaf's content cannot be read.
        """
        if leaf.content.key is None:
            return
        self._places[leaf.content.type, leaf.content.key] = leaf.index
        if isinstance(leaf.content, RoundContent):
            self._rounds[leaf.index] = leaf.content.number
        try:
            self._declared.take_in(leaf.index, leaf.content)
        except (FoundError, InvalidInputError, LedgerCorruptError) as error:
            raise _loss(leaf.index, error) from None

    def transfers(self, leaf: Leaf[Any]) -> Sequence[Transfer]:
        """Returns what a leaf moved, in order; nothing for most. Ask this once of every leaf, in order.

        Raises:
            LedgerCorruptError: it refers to something that does not precede it.
        """
        self._at = leaf.index
        try:
            moved: Sequence[Transfer] = leaf.content.transfers(self)
        except LedgerCorruptError as error:
            raise _loss(leaf.index, error) from None
        if self._balances is not None:
            self._balances.update(fold(self._balances, moved))
        return moved

    def round_at(self, leaf_index: int) -> int | None:
        """The number of the round at a leaf; None if another entry is there."""
        return self._rounds.get(leaf_index)

    def entry(self, kind: type[C], key: Hashable) -> C:
        """The latest entry of a kind with this key, as `ledger.log.leaves.Past` has it."""
        place = self._places.get((kind.type, key))
        content = None if place is None else self.source.leaf(place).content
        if not isinstance(content, kind):
            raise LedgerCorruptError(f"{kind.type} {key}", "does not precede the entry that names it")
        return content

    def balance(self, account: str) -> int:
        """An account's balance before the leaf that is asked about, as `ledger.log.leaves.Past` has it."""
        if self._balances is None:
            self._balances = self.source.balances(self._at)
        return self._balances.get(account, 0)

    def parsed(self, digest: str, parse: Callable[[bytes], T]) -> T:
        """What a body says, as `ledger.log.leaves.Past` has it."""
        return parse(self.source.body(bytes.fromhex(digest)))

    def usage(self, leaf_index: int, content: UsageContent) -> Batch:
        """The batch of a usage leaf.

        Raises:
            LedgerCorruptError: the leaf's body is not a batch.
        """
        try:
            reading = self._declared.reading(self.source, leaf_index, content)
            return reading.usage(self.source.body(bytes.fromhex(content.body_sha256)))
        except (FoundError, InvalidInputError) as error:
            raise _loss(leaf_index, error) from None


def _loss(leaf_index: int, error: Exception) -> LedgerCorruptError:
    if isinstance(error, FoundError):
        return LedgerCorruptError(f"leaf {error.finding.where.leaf_index}", str(error.finding))
    return LedgerCorruptError(f"leaf {leaf_index}", str(error))
