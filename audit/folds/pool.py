"""The state of a pool that follows from its leaves, each of which is checked before it is used.

A check that fails is raised as a finding, which names the leaf and the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from itertools import zip_longest
from typing import Any, cast

from audit.findings import UNSOUND, Finding, FoundError, at, noting, raise_finding
from audit.folds.acts import ActsFold, RegistryOfPool
from audit.folds.admitted import Admitted
from audit.folds.income import IncomeFold
from audit.folds.pool_payments import PoolPayments
from audit.folds.reviews import Reviews, review_said
from audit.folds.scheduled import Scheduled
from audit.folds.usage import UsageFold
from audit.progress import Progress
from audit.reader import LogReader, checked_body
from audit.steps import Step
from ledger.acts.act import ActContent
from ledger.acts.entries import Decision, DecisionContent, ProposalContent
from ledger.entries import BookingContent, Movement, PayingContent
from ledger.errors import LedgerCorruptError
from ledger.income import ReportContent, ReversalContent
from ledger.journal import AWAITING_REVENUE, REVENUE, Transfer, fold, may_be_below_zero
from ledger.log.leaves import C, Content, EncodedLeaf, Leaf, T, decode
from ledger.log.merkle import HASH_BYTES, Frontier, leaf_hash
from ledger.log.origins import log_origin
from ledger.money import require_amount
from ledger.registry import PPM, require_range
from ledger.usage.entries import (
    MethodContent,
    RetractionContent,
    UsageContent,
)
from payout.adjustments import SOURCES, AdjustmentContent, amount_due, parse_adjusted
from payout.amounts import Carried
from payout.correction import PostedRound, corrected
from payout.entries import (
    CONTENTS,
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
)
from payout.objections import AnswerContent, ObjectionContent, review_runs
from payout.periods import Books, period_end
from payout.policy import Policy, policy_in_force
from payout.rounds import Deficits, Line
from payout.splits import MAX_LINES, SplitContent
from payout.statement import (
    carried_of,
    deficits_of,
    parse_registry,
    parse_statement,
    render_registry,
)


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
    policies: list[tuple[int, int, Policy]] = field(default_factory=list)
    """(leaf index, version, terms), oldest first."""
    confidence_ppm: dict[tuple[str, int], int] = field(default_factory=dict)
    admitted: Admitted = field(default_factory=Admitted)
    scheduled: Scheduled = field(default_factory=Scheduled)
    reviews: Reviews = field(default_factory=Reviews)
    income: IncomeFold = field(default_factory=IncomeFold)
    balances: dict[str, int] = field(default_factory=dict)
    rounds: dict[int, RoundContent] = field(default_factory=dict)
    round_times: dict[int, datetime] = field(default_factory=dict)
    """When each was calculated."""
    round_at: dict[int, int] = field(default_factory=dict)
    """The number of the round at a leaf."""
    corrections: dict[int, ActContent] = field(default_factory=dict)
    """What adjustments may name, by leaf: policies and methods."""
    set_aside: dict[int, frozenset[str]] = field(default_factory=dict)
    """By posted round, whose amounts are held as disputed."""
    adjusted: dict[int, dict[str, int]] = field(default_factory=dict)
    """By round, what each account gets by its last adjustment."""
    decisions: dict[int, str] = field(default_factory=dict)
    """What became of each round, by its number."""
    acts: ActsFold = field(init=False)
    by_clock_alone: int = 0
    """Rounds whose review the database's clock alone ended."""
    posted_end: int = 0
    posted_number: int = 0
    deficits: Deficits = field(default_factory=Deficits)
    carried: Carried = field(default_factory=Carried)
    hashes: bytearray = field(default_factory=bytearray)
    """Of all leaves, concatenated: a list of them would take three times the memory."""
    _payments: PoolPayments = field(init=False)
    _keyed: dict[tuple[str, Hashable], Content] = field(default_factory=dict)
    """What later entries may refer to, by type and key."""
    _parsed: tuple[str, Any] = ("", None)
    """The body that was parsed last: its SHA-256 and its content. A statement is needed several times."""
    _amounts: tuple[int, dict[str, int]] = field(default_factory=lambda: (0, {}))
    """What the round that was split last gives to each collective."""

    def __post_init__(self) -> None:
        self._payments = PoolPayments(self.log.pool, self.registry)
        self.acts = ActsFold(
            self.log.pool, self.registry, self._hash_at, is_silent=self._is_silent, is_short=self._is_short
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
        self.reviews.grow(self.frontier)
        return leaf

    def entry(self, kind: type[C], key: Hashable) -> C:
        """The latest entry of a kind with this key, as `Past` has it."""
        found = self._keyed.get((kind.type, key))
        if not isinstance(found, kind):
            raise LedgerCorruptError(f"{kind.type} {key}", "does not precede the entry that names it")
        return found

    def balance(self, account: str) -> int:
        """An account's balance before the leaf, as `Past` has it."""
        return self.balances.get(account, 0)

    def parsed(self, digest: str, parse: Callable[[bytes], T]) -> T:
        """What a body says, as `Past` has it."""
        known, value = self._parsed
        if known != digest:
            value = parse(checked_body(self.log, self.frontier.size - 1, "body_sha256", digest))
            self._parsed = digest, value
        return cast("T", value)

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
            case PoolContent(policy=policy):
                self.policies.append((leaf.index, 1, policy.require_sound()))
            case PolicyContent(version=version, policy=policy):
                with self.noting():
                    at(leaf.index).same("version", version, self.policies[-1][1] + 1)
                self.corrections[leaf.index] = leaf.content
                self.policies.append((leaf.index, version, policy.require_sound()))
            case MethodContent(method=method, version=version, confidence_ppm=confidence):
                self.corrections[leaf.index] = leaf.content
                self.confidence_ppm[method, version] = require_range(confidence, "confidence_ppm", 0, PPM)
            case UsageContent() if leaf.index >= weigh_from:
                self.usage.weigh_batch(leaf)
            case RetractionContent():
                self._retract(leaf, counts=leaf.index >= weigh_from)
            case RoundContent():
                self._calculated(leaf)
            case ObjectionContent() | AnswerContent() | DecisionContent():
                self._follow_review(leaf)
            case SplitContent():
                self._split(leaf)
            case PostingContent():
                self._post(leaf)
            case AdjustmentContent():
                self._adjust(leaf)
            case _:
                self._take_movement(leaf)

    def _calculated(self, leaf: Leaf[RoundContent]) -> None:
        number = leaf.content.number
        period_end(leaf.content)
        with self.noting():
            at(leaf.index).same("number", number, len(self.rounds) + 1)
        self.rounds[number] = leaf.content
        self.round_times[number] = leaf.time
        with self.noting():
            self._require_registry(leaf.index, leaf.content)
        with self.noting():
            self._require_covered(leaf.index)
        with self.noting():
            gives = "nothing" if leaf.content.uses_up_usage_for_nothing else "something"
            at(leaf.index, step=Step.ROUNDS).same("what the round gives", gives, "something")
        self.round_at[leaf.index] = number
        policy = policy_in_force(self.policies, leaf.content.start)[2]
        self.reviews.begin(leaf, self._hash_at(leaf.index), policy, self.registry.people.witnesses)

    def _require_rejected(self, leaf: Leaf[Any]) -> None:
        """After a chargeback of a round's pot, the next leaf is the ledger's decision."""
        if not isinstance(leaf.content, DecisionContent):
            self._require_covered(leaf.index)

    def _require_reserved(self, leaf: Leaf[Any]) -> None:
        """A reversal by hand takes nothing of a round's pot."""
        if isinstance(leaf.content, ReversalContent) and not leaf.content.chargeback:
            with self.noting():
                self._require_covered(leaf.index)

    def _require_covered(self, leaf_index: int) -> None:
        """The open round has reserved its pot: only the bank may take it, and then the ledger rejects the round."""
        if content := self._open_round():
            pot, there = content.pot_minor, self.balances.get(REVENUE, 0)
            expected = f"{pot} or more, which round {content.number} has reserved"
            at(leaf_index, step=Step.BALANCES).holds(there >= pot, "balance of revenue", there, expected)

    def _open_round(self) -> RoundContent | None:
        """The latest round, while it is neither posted nor rejected."""
        number = len(self.rounds)
        is_closed = not number or number == self.posted_number or self.decisions.get(number) == Decision.REJECTED
        return None if is_closed else self.rounds[number]

    def _is_short(self, leaf_index: int) -> bool:
        """Whether the open round is at a leaf, and the revenue has less than its pot."""
        content = self._open_round()
        is_it = content is not None and self.round_at.get(leaf_index) == content.number
        return is_it and content is not None and self.balances.get(REVENUE, 0) < content.pot_minor

    def _take_movement(self, leaf: Leaf[Any]) -> None:
        content = leaf.content
        if isinstance(content, ReportContent | Movement):
            require_amount(content.amount_minor, "amount_minor")
        if isinstance(content, PayingContent | BookingContent):
            self._follow_registry(leaf.index, content)
        self._move(leaf.index, content.transfers(self))
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

    def _require_registry(self, leaf_index: int, content: RoundContent) -> None:
        """A round's snapshot is what the registry's log says, up to the size that the round names."""
        here = at(leaf_index, step=Step.ROUNDS)
        here.same("registry_root", content.registry_root, self.registry.root().hex())
        derived = render_registry(self.registry.snapshot())
        if sha256(derived).hexdigest() == content.registry_sha256:
            return
        logged = checked_body(self.log, leaf_index, "registry_sha256", content.registry_sha256)
        lines = zip_longest(logged.decode(errors="replace").split("\n"), derived.decode().split("\n"), fillvalue="")
        for line, (claimed, expected) in enumerate(lines, 1):
            at(leaf_index, line=line, step=Step.ROUNDS).same("registry", claimed, expected)

    def _move(self, leaf_index: int, transfers: Sequence[Transfer]) -> None:
        if not transfers:
            return
        if self.move is None:
            with self.noting():
                self._require_journal(leaf_index, transfers)
        else:
            self.move(leaf_index, transfers)
        after = fold(self.balances, transfers)
        for account, amount in after.items():
            sound = may_be_below_zero(account) or amount >= 0
            with self.noting():
                at(leaf_index).holds(sound, f"balance of {account}", amount, "zero or more")
        self.balances.update(after)

    def _require_journal(self, leaf_index: int, transfers: Sequence[Transfer]) -> None:
        journal = self.log.transfers(leaf_index, len(transfers))
        at(leaf_index).same("transfers", len(journal), len(transfers))
        for logged, replayed in zip(journal, transfers, strict=True):
            at(leaf_index).same("transfer", logged, replayed)

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

    def posted(self) -> RoundContent | None:
        """Returns the last posted round, if any."""
        return self.rounds.get(self.posted_number)

    def books(self) -> Books:
        """Returns the money in so far."""
        return self.income.books(self.balances, self.admitted.platforms)

    def _hash_at(self, leaf_index: int) -> str:
        return self.hashes[HASH_BYTES * leaf_index : HASH_BYTES * (leaf_index + 1)].hex()

    def _follow_review(self, leaf: Leaf[Any]) -> None:
        """Note what is said and decided of rounds; what may not be said changes nothing of what follows."""
        try:
            match leaf.content:
                case ObjectionContent(round=number):
                    self.reviews.object_to(leaf, self._hash_at(leaf.index), partial(self._lines_of, leaf.index, number))
                case AnswerContent():
                    self.reviews.answer(leaf)
                case DecisionContent(subject=subject, decision=decision) if subject in self.round_at:
                    self.decisions[self.round_at[subject]] = decision
                    self.reviews.decide(leaf, self.round_at[subject])
        except FoundError as found:
            self.refuse(found.finding)

    def _post(self, leaf: Leaf[Any]) -> None:
        number = leaf.content.round
        content = self.rounds.get(number)
        if content is None:
            raise at(leaf.index).error("round", number, "a round that precedes it")
        here = at(leaf.index)
        here.holds(number > self.posted_number, "round", number, "a round that was not posted before")
        with self.noting():
            here.same("decision", self.decisions.get(number, ""), Decision.APPROVED)
        with self.noting():
            self._require_reviewed(leaf, content)
        with self.noting():
            here.same("set_aside", leaf.content.set_aside, self.reviews.post(number))
        lines = self.statement_lines(leaf.index, content)
        self.set_aside[number] = frozenset(leaf.content.set_aside)
        policy = policy_in_force(self.policies, content.start)[2]
        with self.noting():
            here.same("recoup_ppm", leaf.content.recoup_ppm, policy.recoup_ppm)
        transfers = leaf.content.transfers(self)
        amount = sum(transfer.amount_minor for transfer in transfers)
        for figure, stated, found in (
            ("transfer_count", leaf.content.transfer_count, len(transfers)),
            ("amount_minor", leaf.content.amount_minor, amount),
        ):
            with self.noting():
                here.same(figure, stated, found)
        recouped = sum(each.amount_minor for each in transfers if each.from_account == AWAITING_REVENUE)
        left = self.balance(REVENUE) - content.pot_minor + content.carried_minor + recouped
        self._move(leaf.index, transfers)
        with self.noting():
            here.same("balance of revenue", self.balance(REVENUE), left)
        self.posted_end, self.posted_number = content.end, content.number
        self.deficits = deficits_of(lines, content.deficit_unattributed)
        self.carried = carried_of(lines, content.kept_after_nano)
        self.usage.leave_posted(period_end(content))

    def _adjust(self, leaf: Leaf[AdjustmentContent]) -> None:
        """A posted round over the corrected log differs as an adjustment says, while no other round is open."""
        said, here = leaf.content, at(leaf.index)
        content = self.rounds.get(said.round)
        was_posted = said.round <= self.posted_number and self.decisions.get(said.round) == Decision.APPROVED
        if content is None or not was_posted:
            raise here.error("round", said.round, "a round that was posted")
        here.holds(self._open_round() is None, "round", len(self.rounds), "no round that is open")
        here.holds(said.source in SOURCES, "source", said.source, "fees, commons or none")
        claimed = self.parsed(said.lines_sha256, parse_adjusted)
        body = partial(checked_body, self.log, leaf.index)
        policy = next(policy for at_leaf, _, policy in self.policies if at_leaf == content.policy_leaf)
        try:
            posted = PostedRound(
                content,
                self.rounds.get(content.previous),
                policy,
                parse_statement(body("statement_sha256", content.statement_sha256)),
                body("weights_sha256", content.weights_sha256),
                parse_registry(body("registry_sha256", content.registry_sha256)),
                self.confidence_ppm,
                self.set_aside[said.round],
            )
            corrections = [self._correction(leaf, index) for index in said.pool_leaves]
            corrections += [self._registered(leaf, index) for index in said.registry_leaves]
            follows = corrected(posted, corrections, self.adjusted.get(said.round, {}))
        except (LedgerCorruptError, KeyError) as error:
            raise here.error("lines", error, "those of the corrected log") from None
        for line, expected in zip_longest(claimed.lines, follows):
            with self.noting():
                here.same("line", line, expected)
        with self.noting():
            here.same("amount_minor", said.amount_minor, amount_due(claimed.lines))
            here.same("lines", said.lines, len(claimed.lines))
            here.same("lines_root", said.lines_root, claimed.root())
        self.adjusted.setdefault(said.round, {}).update({line.account: line.new_minor for line in claimed.lines})
        self._move(leaf.index, said.transfers(self))

    def _correction(self, leaf: Leaf[AdjustmentContent], index: int) -> ActContent:
        found = self.corrections.get(index)
        if found is None:
            raise at(leaf.index).error("pool_leaves", index, "a policy or a method that precedes it")
        return found

    def _registered(self, leaf: Leaf[AdjustmentContent], index: int) -> ActContent:
        found = self.registry.collective_at(index)
        if found is None or index >= leaf.content.registry_size:
            raise at(leaf.index).error("registry_leaves", index, "a collective that the registry had then")
        return found

    def _split(self, leaf: Leaf[SplitContent]) -> None:
        """A collective splits what the posted round gives to it, and nothing else."""
        said, here = leaf.content, at(leaf.index)
        content = self.rounds.get(said.round)
        posted = said.round <= self.posted_number and self.decisions.get(said.round) == Decision.APPROVED
        if content is None or not posted:
            raise here.error("round", said.round, "a round that was posted")
        index = next(index for index, number in self.round_at.items() if number == said.round)
        here.same("round_hash", said.round_hash, self._hash_at(index))
        here.same("by", said.by, f"collectives/{said.collective}")
        if self._amounts[0] != said.round:
            lines = self.statement_lines(leaf.index, content)
            self._amounts = said.round, {line.collective: line.amount_minor for line in lines}
        here.same("amount_minor", said.amount_minor, self._amounts[1].get(said.collective))
        here.holds(1 <= said.lines <= MAX_LINES, "lines", said.lines, f"1 to {MAX_LINES}")

    def _require_reviewed(self, leaf: Leaf[Any], content: RoundContent) -> None:
        """A round is posted once its review is over."""
        _, _, policy = policy_in_force(self.policies, content.start)
        calculated, here = self.round_times[content.number], at(leaf.index, step=Step.DECISIONS)
        runs = review_runs(calculated, policy, leaf.time)
        here.holds(not runs, "time", leaf.time.isoformat(), f"{review_said(calculated, policy)}: the review runs")
        origin = log_origin(self.registry.people.origin, self.log.pool)
        timed = self.reviews.require_window(leaf, origin, partial(checked_body, self.log, leaf.index, "note"))
        self.by_clock_alone += not timed and policy.review_seconds > 0

    def statement_lines(self, leaf_index: int, content: RoundContent) -> Sequence[Line]:
        """Returns the lines of a round's logged statement, which are needed several times and parsed once."""
        known, lines = self._parsed
        if known != content.statement_sha256:
            statement = checked_body(self.log, leaf_index, "statement_sha256", content.statement_sha256)
            lines = _parsed_lines(leaf_index, statement)
            self.know_statement(content, lines)
        return cast("Sequence[Line]", lines)

    def _is_silent(self, leaf_index: int) -> bool:
        return self.reviews.is_silent(self.round_at.get(leaf_index, 0))

    def _lines_of(self, leaf_index: int, number: int) -> Sequence[Line]:
        return self.statement_lines(leaf_index, self.rounds[number])

    def know_statement(self, content: RoundContent, lines: Sequence[Line]) -> None:
        """Note the lines of a round's logged statement: its bytes were compared with what they render to."""
        self._parsed = content.statement_sha256, lines

    def _retract(self, leaf: Leaf[RetractionContent], *, counts: bool) -> None:
        batch_leaf = leaf.content.batch_leaf
        at(leaf.index).holds(0 <= batch_leaf < leaf.index, "batch_leaf", batch_leaf, "a leaf before this one")
        (encoded,) = self.log.leaves(batch_leaf, batch_leaf + 1)
        at(batch_leaf).same("leaf_hash", encoded.hash.hex(), self._hash_at(batch_leaf))
        original = self.read(encoded).content
        if not isinstance(original, UsageContent):
            raise at(leaf.index).error("batch_leaf", original.type, UsageContent.type)
        self.usage.retract(leaf, original, counts=counts)


def _parsed_lines(leaf_index: int, statement: bytes) -> list[Line]:
    """Returns the lines of a canonical statement."""
    try:
        return parse_statement(statement)
    except LedgerCorruptError as error:
        raise at(leaf_index).error("statement", error, "a canonical statement") from None
