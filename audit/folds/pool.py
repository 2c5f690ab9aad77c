"""The state of a pool that follows from its leaves, each of which is checked before it is used.

A check that fails is raised as a finding, which names the leaf and the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from audit.findings import UNSOUND, Finding, FoundError, at, noting, raise_finding
from audit.folds.accounts import Accounts
from audit.folds.acts import ActsFold, RegistryOfPool
from audit.folds.admitted import Admitted
from audit.folds.income import IncomeFold
from audit.folds.parsed import Parsed
from audit.folds.pool_payments import PoolPayments
from audit.folds.rounds import Rounds
from audit.folds.scheduled import Scheduled
from audit.folds.terms import Terms
from audit.folds.usage import UsageFold
from audit.progress import Progress
from audit.reader import LogReader, checked_body
from ledger.acts.entries import DecisionContent, ProposalContent
from ledger.entries import BookingContent, Movement, PayingContent
from ledger.errors import LedgerCorruptError
from ledger.income import ReportContent, ReversalContent
from ledger.journal import Transfer
from ledger.log.leaves import C, Content, EncodedLeaf, Leaf, T, decode
from ledger.log.merkle import HASH_BYTES, Frontier, leaf_hash
from ledger.money import require_amount
from ledger.usage.entries import (
    MethodContent,
    RetractionContent,
    UsageContent,
)
from payout.adjustments import AdjustmentContent
from payout.entries import (
    CONTENTS,
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
)
from payout.objections import AnswerContent, ObjectionContent
from payout.periods import Books, period_end
from payout.splits import SplitContent


@dataclass(slots=True)
class PoolFold:
    """The state of a pool so far, as a fold over its leaves."""

    log: LogReader
    registry: RegistryOfPool
    """Advanced to the size that each act names."""
    usage: UsageFold
    refuse: Callable[[Finding], None] = raise_finding
    """Called with findings about who acted, which change nothing of what follows from a leaf."""
    note: Callable[[Finding], None] = raise_finding
    """Called with all other findings. If it returns, the fold goes on with what the log claims."""
    move: Callable[[int, Sequence[Transfer]], None] | None = None
    """Called with what each leaf moves. If None, transfers are compared with the log's journal."""
    frontier: Frontier = field(default_factory=Frontier)
    admitted: Admitted = field(default_factory=Admitted)
    scheduled: Scheduled = field(default_factory=Scheduled)
    income: IncomeFold = field(default_factory=IncomeFold)
    terms: Terms = field(init=False)
    accounts: Accounts = field(init=False)
    rounds: Rounds = field(init=False)
    acts: ActsFold = field(init=False)
    hashes: bytearray = field(default_factory=bytearray)
    """Of all leaves, concatenated: a list of them would take three times the memory."""
    _payments: PoolPayments = field(init=False)
    _keyed: dict[tuple[str, Hashable], Content] = field(default_factory=dict)
    """What later entries may refer to, by type and key."""
    _parsed: Parsed = field(default_factory=Parsed)

    def __post_init__(self) -> None:
        self.terms = Terms(self.note)
        self.accounts = Accounts(self.log, self.note, self.move)
        self.rounds = Rounds(
            self.log, self.registry, self.terms, self.accounts, self._parsed, self._hash_at, self.refuse, self.note
        )
        self._payments = PoolPayments(self.log.pool, self.registry)
        self.acts = ActsFold(
            self.log.pool, self.registry, self._hash_at, is_silent=self.rounds.is_silent, is_short=self.rounds.is_short
        )

    def noting(self) -> AbstractContextManager[None]:
        """Note the finding that ends what is in here, and go on after it."""
        return noting(self.note)

    def progress(self, total: int) -> Progress:
        return Progress(self.frontier.size, total, self.usage.events, self.usage.shares)

    def require_size(self, size: int) -> None:
        """Raise a finding at the next leaf if the log ended before this many leaves."""
        at(self.frontier.size).holds(self.frontier.size == size, "leaf", "nothing", f"a log of {size} leaves")

    def read(self, encoded: EncodedLeaf) -> Leaf[Any]:
        """Returns the leaf of an entry.

        Raises:
            FoundError: it does not match its hash and place.
        """
        at(encoded.index).same("leaf_hash", encoded.hash.hex(), leaf_hash(encoded.entry).hex())
        try:
            leaf = decode(encoded.entry, CONTENTS)
        except LedgerCorruptError as error:
            raise at(encoded.index).error("entry", error, "a canonical entry") from None
        at(encoded.index).same("index", leaf.index, encoded.index)
        at(encoded.index).same("pool", leaf.pool, self.log.pool)
        return leaf

    def earliest(self, finding: Finding) -> Finding:
        """Returns the first in the log among a finding and those of the batches in progress."""
        try:
            self.usage.settle_batches()
        except FoundError as other:
            ours = finding.where.leaf_index if not finding.where.log else self.frontier.size
            return other.finding if other.finding.where.leaf_index < ours else finding
        return finding

    def fold(self, encoded: EncodedLeaf, *, weigh_from: int, read: Leaf[Any] | None = None) -> Leaf[Any]:
        """Take in the next leaf and return it; usage from `weigh_from` on is weighed again from its body.

        `read` is what `read` returned for it, where that was asked before.
        """
        leaf = read or self.read(encoded)
        at(encoded.index).same("index", encoded.index, self.frontier.size)
        first, kind = leaf.index == 0, leaf.content.type
        at(leaf.index).holds(
            first == (kind == PoolContent.type), "type", kind, f"{PoolContent.type} first and only there"
        )
        self.frontier.append(encoded.hash)
        self.hashes += encoded.hash
        try:
            self._take_in(leaf, weigh_from)
        except UNSOUND as error:
            raise at(leaf.index).error(leaf.content.type, error, "a sound entry") from None
        self.rounds.reviews.grow(self.frontier)
        return leaf

    def entry(self, kind: type[C], key: Hashable) -> C:
        """The latest entry of a kind with this key, as `Past` has it."""
        found = self._keyed.get((kind.type, key))
        if not isinstance(found, kind):
            raise LedgerCorruptError(f"{kind.type} {key}", "does not precede the entry that names it")
        return found

    def balance(self, account: str) -> int:
        """An account's balance before the leaf, as `Past` has it."""
        return self.accounts.balance(account)

    def parsed(self, digest: str, parse: Callable[[bytes], T]) -> T:
        """What a body says, as `Past` has it."""
        index = self.frontier.size - 1
        return self._parsed.get(digest, lambda: parse(checked_body(self.log, index, "body_sha256", digest)))

    def skip(self, encoded: EncodedLeaf) -> None:
        """Go on after a leaf that cannot be taken in: only its hash counts."""
        if self.frontier.size == encoded.index:
            self.frontier.append(encoded.hash)
            self.hashes += encoded.hash

    def _take_in(self, leaf: Leaf[Any], weigh_from: int) -> None:
        if leaf.content.key is not None:
            self._keyed[leaf.content.type, leaf.content.key] = leaf.content
        with self.noting():
            self._require_rejected(leaf)
        self._follow_acts(leaf)
        with self.noting():
            self.income.take_in(leaf)
        with self.noting():
            self.usage.declared.take_in(leaf.index, leaf.content)
        match leaf.content:
            case PoolContent() | PolicyContent() | MethodContent():
                self.terms.take_in(leaf)
            case UsageContent() if leaf.index >= weigh_from:
                self.usage.weigh_batch(leaf)
            case RetractionContent():
                self._retract(leaf, counts=leaf.index >= weigh_from)
            case RoundContent():
                self.rounds.calculate(leaf)
            case ObjectionContent() | AnswerContent() | DecisionContent():
                self.rounds.review(leaf)
            case SplitContent():
                self.rounds.split(leaf)
            case PostingContent():
                self.usage.leave_posted(period_end(self.rounds.post(leaf, self)))
            case AdjustmentContent():
                self.rounds.adjust(leaf, self)
            case _:
                self._take_movement(leaf)

    def _require_rejected(self, leaf: Leaf[Any]) -> None:
        """After a chargeback of a round's pot, the next leaf is the ledger's decision."""
        if not isinstance(leaf.content, DecisionContent):
            self.rounds.require_covered(leaf.index)

    def _require_reserved(self, leaf: Leaf[Any]) -> None:
        """A reversal by hand takes nothing of a round's pot."""
        if isinstance(leaf.content, ReversalContent) and not leaf.content.chargeback:
            with self.noting():
                self.rounds.require_covered(leaf.index)

    def _take_movement(self, leaf: Leaf[Any]) -> None:
        content = leaf.content
        if isinstance(content, ReportContent | Movement):
            require_amount(content.amount_minor, "amount_minor")
        if isinstance(content, PayingContent | BookingContent):
            self._follow_registry(leaf.index, content)
        self.accounts.move(leaf.index, content.transfers(self))
        self._require_reserved(leaf)

    def _follow_registry(self, leaf_index: int, content: PayingContent | BookingContent) -> None:
        """What a pool does because the registry's log says so follows from it: the same is computed again."""
        here, size = at(leaf_index), content.registry_size
        here.holds(size >= self.acts.registry_size, "registry_size", size, f"{self.acts.registry_size} or more")
        self.acts.registry_size = size
        known = self.registry.people_at(size).size
        here.holds(known >= size, "registry_size", size, f"at most {known}, of which the registry is")
        if isinstance(content, PayingContent):
            self._payments.follow_run(leaf_index, content, self)
        else:
            self._payments.follow_statement(leaf_index, content, self)

    def _follow_acts(self, leaf: Leaf[Any]) -> None:
        """Check who acted, and the bodies that a proposal names and nothing else reads."""
        try:
            self.acts.take_in(leaf)
            self.admitted.take_in(leaf.index, leaf.content, self.registry.has_platform)
            self.scheduled.take_in(leaf)
        except FoundError as found:
            self.refuse(found.finding)
        if isinstance(leaf.content, ProposalContent):
            for figure, digest in leaf.content.bodies().items():
                with self.noting():
                    checked_body(self.log, leaf.index, figure, digest)

    def books(self) -> Books:
        """Returns the money in so far."""
        return self.income.books(self.accounts.balances, self.admitted.platforms)

    def _hash_at(self, leaf_index: int) -> str:
        return self.hashes[HASH_BYTES * leaf_index : HASH_BYTES * (leaf_index + 1)].hex()

    def _retract(self, leaf: Leaf[RetractionContent], *, counts: bool) -> None:
        batch_leaf = leaf.content.batch_leaf
        at(leaf.index).holds(0 <= batch_leaf < leaf.index, "batch_leaf", batch_leaf, "a leaf before this one")
        (encoded,) = self.log.leaves(batch_leaf, batch_leaf + 1)
        at(batch_leaf).same("leaf_hash", encoded.hash.hex(), self._hash_at(batch_leaf))
        original = self.read(encoded).content
        if not isinstance(original, UsageContent):
            raise at(leaf.index).error("batch_leaf", original.type, UsageContent.type)
        self.usage.retract(leaf, original, counts=counts)
