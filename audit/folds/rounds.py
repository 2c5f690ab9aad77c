"""What becomes of a pool's rounds: each is calculated, reviewed, decided, posted, split and adjusted in its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from itertools import zip_longest
from typing import Any

from audit.findings import Finding, FoundError, at, noting
from audit.folds.accounts import Accounts
from audit.folds.acts import RegistryOfPool
from audit.folds.parsed import Parsed
from audit.folds.reviews import Reviews, review_said
from audit.folds.terms import Terms
from audit.reader import LogReader, checked_body
from audit.steps import Step
from ledger.acts.act import ActContent
from ledger.acts.entries import Decision, DecisionContent
from ledger.errors import LedgerCorruptError
from ledger.journal import AWAITING_REVENUE, REVENUE
from ledger.log.leaves import Leaf, Past
from ledger.log.origins import log_origin
from ledger.registry import Collective
from payout.adjustments import SOURCES, AdjustmentContent, amount_due, parse_adjusted
from payout.amounts import Carried
from payout.correction import PostedRound, corrected
from payout.entries import PostingContent, RoundContent
from payout.objections import AnswerContent, ObjectionContent, review_runs
from payout.periods import period_end
from payout.rounds import Deficits, Line
from payout.splits import MAX_LINES, SplitContent
from payout.statement import carried_of, deficits_of, parse_registry, parse_statement, render_registry


@dataclass(slots=True)
class Rounds:
    """A pool's rounds so far. Methods take the leaves in their order, and raise FoundError for what does not hold."""

    log: LogReader
    registry: RegistryOfPool
    terms: Terms
    accounts: Accounts
    parsed: Parsed
    hash_at: Callable[[int], str]
    """The hash of a leaf, in hexadecimal."""
    refuse: Callable[[Finding], None]
    note: Callable[[Finding], None]
    reviews: Reviews = field(default_factory=Reviews)
    contents: dict[int, RoundContent] = field(default_factory=dict)
    """By number."""
    at_leaf: dict[int, int] = field(default_factory=dict)
    """The number of the round at a leaf."""
    decisions: dict[int, str] = field(default_factory=dict)
    """What became of each round, by its number."""
    by_clock_alone: int = 0
    """Rounds whose review the database's clock alone ended."""
    posted_end: int = 0
    posted_number: int = 0
    deficits: Deficits = field(default_factory=Deficits)
    carried: Carried = field(default_factory=Carried)
    _times: dict[int, datetime] = field(default_factory=dict)
    """When each was calculated."""
    _set_aside: dict[int, frozenset[str]] = field(default_factory=dict)
    """By posted round, whose amounts are held as disputed."""
    _adjusted: dict[int, dict[str, int]] = field(default_factory=dict)
    """By round, what each account gets by its last adjustment."""
    _amounts: tuple[int, dict[str, int]] = field(default_factory=lambda: (0, {}))
    """What the round that was split last gives to each collective."""
    _snapshot_size: int = -1
    """The size of the registry's log that its snapshot was made of last."""
    _snapshot: tuple[bytes, list[Collective]] = field(default_factory=lambda: (b"", []))

    @property
    def next_number(self) -> int:
        """The number of the round that is calculated next."""
        return len(self.contents) + 1

    def posted(self) -> RoundContent | None:
        """Returns the last posted round, if any."""
        return self.contents.get(self.posted_number)

    def open(self) -> RoundContent | None:
        """Returns the latest round, while it is neither posted nor rejected."""
        number = len(self.contents)
        is_closed = not number or number == self.posted_number or self.decisions.get(number) == Decision.REJECTED
        return None if is_closed else self.contents[number]

    def is_short(self, leaf_index: int) -> bool:
        """Whether the open round is at a leaf, and the revenue has less than its pot."""
        content = self.open()
        is_it = content is not None and self.at_leaf.get(leaf_index) == content.number
        return is_it and content is not None and self.accounts.balance(REVENUE) < content.pot_minor

    def is_silent(self, leaf_index: int) -> bool:
        """Whether the policy of the round at a leaf takes silence for consent."""
        return self.reviews.is_silent(self.at_leaf.get(leaf_index, 0))

    def require_covered(self, leaf_index: int) -> None:
        """The open round has reserved its pot: only the bank may take it, and then the ledger rejects the round."""
        if content := self.open():
            pot, there = content.pot_minor, self.accounts.balance(REVENUE)
            expected = f"{pot} or more, which round {content.number} has reserved"
            at(leaf_index, step=Step.BALANCES).holds(there >= pot, "balance of revenue", there, expected)

    def statement_lines(self, leaf_index: int, content: RoundContent) -> Sequence[Line]:
        """Returns the lines of a round's logged statement, which are needed several times and parsed once."""

        def read() -> list[Line]:
            statement = checked_body(self.log, leaf_index, "statement_sha256", content.statement_sha256)
            try:
                return parse_statement(statement)
            except LedgerCorruptError as error:
                raise at(leaf_index).error("statement", error, "a canonical statement") from None

        return self.parsed.get(content.statement_sha256, read)

    def calculate(self, leaf: Leaf[RoundContent]) -> None:
        """A round was calculated."""
        number = leaf.content.number
        period_end(leaf.content)
        with self._noting():
            at(leaf.index).same("number", number, self.next_number)
        self.contents[number] = leaf.content
        self._times[number] = leaf.time
        with self._noting():
            self._require_registry(leaf.index, leaf.content)
        with self._noting():
            self.require_covered(leaf.index)
        with self._noting():
            gives = "nothing" if leaf.content.uses_up_usage_for_nothing else "something"
            at(leaf.index, step=Step.ROUNDS).same("what the round gives", gives, "something")
        self.at_leaf[leaf.index] = number
        policy = self.terms.in_force(leaf.content.start)[2]
        self.reviews.begin(leaf, self.hash_at(leaf.index), policy, self.registry.people.witnesses)

    def registry_snapshot(self) -> tuple[bytes, list[Collective]]:
        """Returns the registry's snapshot as of its size now, and the collectives that it is of; made once a size."""
        size = self.registry.people.size
        if size != self._snapshot_size:
            collectives = self.registry.snapshot()
            self._snapshot_size, self._snapshot = size, (render_registry(collectives), collectives)
        return self._snapshot

    def _require_registry(self, leaf_index: int, content: RoundContent) -> None:
        """A round's snapshot is what the registry's log says, up to the size that the round names."""
        here = at(leaf_index, step=Step.ROUNDS)
        here.same("registry_root", content.registry_root, self.registry.root().hex())
        derived, _ = self.registry_snapshot()
        if sha256(derived).hexdigest() == content.registry_sha256:
            return
        logged = checked_body(self.log, leaf_index, "registry_sha256", content.registry_sha256)
        lines = zip_longest(logged.decode(errors="replace").split("\n"), derived.decode().split("\n"), fillvalue="")
        for line, (claimed, expected) in enumerate(lines, 1):
            at(leaf_index, line=line, step=Step.ROUNDS).same("registry", claimed, expected)

    def review(self, leaf: Leaf[Any]) -> None:
        """Note what is said and decided of rounds; what may not be said changes nothing of what follows."""
        try:
            match leaf.content:
                case ObjectionContent(round=number):
                    self.reviews.object_to(leaf, self.hash_at(leaf.index), partial(self._lines_of, leaf.index, number))
                case AnswerContent():
                    self.reviews.answer(leaf)
                case DecisionContent(subject=subject, decision=decision) if subject in self.at_leaf:
                    self.decisions[self.at_leaf[subject]] = decision
                    self.reviews.decide(leaf, self.at_leaf[subject])
        except FoundError as found:
            self.refuse(found.finding)

    def _lines_of(self, leaf_index: int, number: int) -> Sequence[Line]:
        return self.statement_lines(leaf_index, self.contents[number])

    def post(self, leaf: Leaf[PostingContent], past: Past) -> RoundContent:
        """Post a round; returns it."""
        number = leaf.content.round
        content = self.contents.get(number)
        if content is None:
            raise at(leaf.index).error("round", number, "a round that precedes it")
        here = at(leaf.index)
        here.holds(number > self.posted_number, "round", number, "a round that was not posted before")
        with self._noting():
            here.same("decision", self.decisions.get(number, ""), Decision.APPROVED)
        with self._noting():
            self._require_reviewed(leaf, content)
        with self._noting():
            here.same("set_aside", leaf.content.set_aside, self.reviews.post(number))
        lines = self.statement_lines(leaf.index, content)
        self._set_aside[number] = frozenset(leaf.content.set_aside)
        with self._noting():
            here.same("recoup_ppm", leaf.content.recoup_ppm, self.terms.in_force(content.start)[2].recoup_ppm)
        self._move_posted(leaf, content, past)
        self.posted_end, self.posted_number = content.end, content.number
        self.deficits = deficits_of(lines, content.deficit_unattributed)
        self.carried = carried_of(lines, content.kept_after_nano)
        return content

    def _move_posted(self, leaf: Leaf[PostingContent], content: RoundContent, past: Past) -> None:
        """A posting moves what it says, in as many transfers, and leaves of the pot what the round keeps."""
        here, transfers = at(leaf.index), leaf.content.transfers(past)
        amount = sum(transfer.amount_minor for transfer in transfers)
        for figure, stated, found in (
            ("transfer_count", leaf.content.transfer_count, len(transfers)),
            ("amount_minor", leaf.content.amount_minor, amount),
        ):
            with self._noting():
                here.same(figure, stated, found)
        recouped = sum(each.amount_minor for each in transfers if each.from_account == AWAITING_REVENUE)
        left = self.accounts.balance(REVENUE) - content.pot_minor + content.carried_minor + recouped
        self.accounts.move(leaf.index, transfers)
        with self._noting():
            here.same("balance of revenue", self.accounts.balance(REVENUE), left)

    def _require_reviewed(self, leaf: Leaf[PostingContent], content: RoundContent) -> None:
        """A round is posted once its review is over."""
        policy = self.terms.in_force(content.start)[2]
        calculated, here = self._times[content.number], at(leaf.index, step=Step.DECISIONS)
        runs = review_runs(calculated, policy, leaf.time)
        here.holds(not runs, "time", leaf.time.isoformat(), f"{review_said(calculated, policy)}: the review runs")
        origin = log_origin(self.registry.people.origin, self.log.pool)
        timed = self.reviews.require_window(leaf, origin, partial(checked_body, self.log, leaf.index, "note"))
        self.by_clock_alone += not timed and policy.review_seconds > 0

    def adjust(self, leaf: Leaf[AdjustmentContent], past: Past) -> None:
        """A posted round over the corrected log differs as an adjustment says, while no other round is open."""
        said, here = leaf.content, at(leaf.index)
        content = self._require_posted(leaf.index, said.round)
        here.holds(self.open() is None, "round", len(self.contents), "no round that is open")
        here.holds(said.source in SOURCES, "source", said.source, "fees, commons or none")
        claimed = past.parsed(said.lines_sha256, parse_adjusted)
        body = partial(checked_body, self.log, leaf.index)
        policy = self.terms.policy_at(content.policy_leaf)
        try:
            posted = PostedRound(
                content,
                self.contents.get(content.previous),
                policy,
                parse_statement(body("statement_sha256", content.statement_sha256)),
                body("weights_sha256", content.weights_sha256),
                parse_registry(body("registry_sha256", content.registry_sha256)),
                self.terms.confidence_ppm,
                self._set_aside[said.round],
            )
            corrections = [self._correction(leaf, index) for index in said.pool_leaves]
            corrections += [self._registered(leaf, index) for index in said.registry_leaves]
            follows = corrected(posted, corrections, self._adjusted.get(said.round, {}))
        except (LedgerCorruptError, KeyError) as error:
            raise here.error("lines", error, "those of the corrected log") from None
        for line, expected in zip_longest(claimed.lines, follows):
            with self._noting():
                here.same("line", line, expected)
        with self._noting():
            here.same("amount_minor", said.amount_minor, amount_due(claimed.lines))
            here.same("lines", said.lines, len(claimed.lines))
            here.same("lines_root", said.lines_root, claimed.root())
        self._adjusted.setdefault(said.round, {}).update({line.account: line.new_minor for line in claimed.lines})
        self.accounts.move(leaf.index, said.transfers(past))

    def _correction(self, leaf: Leaf[AdjustmentContent], index: int) -> ActContent:
        found = self.terms.corrections.get(index)
        if found is None:
            raise at(leaf.index).error("pool_leaves", index, "a policy or a method that precedes it")
        return found

    def _registered(self, leaf: Leaf[AdjustmentContent], index: int) -> ActContent:
        found = self.registry.collective_at(index)
        if found is None or index >= leaf.content.registry_size:
            raise at(leaf.index).error("registry_leaves", index, "a collective that the registry had then")
        return found

    def split(self, leaf: Leaf[SplitContent]) -> None:
        """A collective splits what the posted round gives to it, and nothing else."""
        said, here = leaf.content, at(leaf.index)
        content = self._require_posted(leaf.index, said.round)
        index = next(index for index, number in self.at_leaf.items() if number == said.round)
        here.same("round_hash", said.round_hash, self.hash_at(index))
        here.same("by", said.by, f"collectives/{said.collective}")
        if self._amounts[0] != said.round:
            lines = self.statement_lines(leaf.index, content)
            self._amounts = said.round, {line.collective: line.amount_minor for line in lines}
        here.same("amount_minor", said.amount_minor, self._amounts[1].get(said.collective))
        here.holds(1 <= said.lines <= MAX_LINES, "lines", said.lines, f"1 to {MAX_LINES}")

    def _require_posted(self, leaf_index: int, number: int) -> RoundContent:
        """Returns a round that an entry names; it was posted."""
        content = self.contents.get(number)
        was_posted = number <= self.posted_number and self.decisions.get(number) == Decision.APPROVED
        if content is None or not was_posted:
            raise at(leaf_index).error("round", number, "a round that was posted")
        return content

    def _noting(self) -> AbstractContextManager[None]:
        return noting(self.note)
