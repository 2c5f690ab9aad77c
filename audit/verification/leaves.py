"""The part of a verification that follows the leaves: bodies, batches, rounds, decisions, postings and books."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from audit.batches.check import WeighedBatch
from audit.batches.identities import Identities
from audit.batches.means import Means
from audit.batches.unique_events import UniqueEvents
from audit.files.in_order import InOrder
from audit.files.static_log import StaticLog
from audit.findings import UNSOUND, Finding, FoundError, at
from audit.folds.history import History
from audit.folds.pool import PoolFold
from audit.folds.registry import RegistryFold
from audit.folds.usage import UsageFold
from audit.progress import Progress
from audit.reader import checked_body
from audit.steps import Step
from audit.verification.books import book_findings
from audit.verification.registry import require_origin
from audit.verification.report import LISTED_MAX, Report, conflict_finding, in_step
from audit.verification.rounds import RoundsCheck
from ledger.acts.entries import Decision, DecisionContent
from ledger.errors import LedgerCorruptError
from ledger.journal import collectives_of
from ledger.log.leaves import Content, EncodedLeaf, Leaf
from ledger.usage.entries import MembershipContent, RetractionContent, UsageContent
from ledger.usage.membership import parse_membership
from payout.entries import PoolContent, PostingContent, RoundContent
from payout.objections import AnswerContent, ObjectionContent
from payout.splits import SplitContent

_DECISIONS: Final = ", ".join(Decision)


@dataclass(frozen=True, slots=True)
class RoundPlace:
    """The place of a round's entry, its interval, and the first leaf whose usage may be in it."""

    leaf_index: int
    number: int
    start: int
    end: int
    usage_start: int

    def can_be(self) -> bool:
        """Returns whether the interval ends at the round's leaf or before."""
        return 0 <= self.usage_start <= self.start <= self.end <= self.leaf_index and self.end > 0


@dataclass(frozen=True, slots=True)
class Scene:
    """What is verified: the origin of the deployment, its pool's log, its registry's, and the order of an archive."""

    deployment: str
    log: StaticLog
    registry: StaticLog
    order: InOrder | None = None


def check_leaves(
    scene: Scene, rounds: list[RoundPlace], chosen: frozenset[int] | None, means: Means, report: Report
) -> Generator[Progress, None, None]:
    """Fold all leaves and check what follows; `chosen` are the rounds to recompute, None for all.

    Raises:
        FoundError: a check fails, and the report is of the first finding only.
        FormatError: a file is malformed.
    """
    for number in sorted((chosen or frozenset()) - {place.number for place in rounds}):
        with report.noting():
            raise at(-1, step=Step.ROUNDS).error("round", "not in the log", number)
    yield from _LeafPass(scene, rounds, chosen, means, report).run()


@dataclass(slots=True)
class _LeafPass:
    scene: Scene
    rounds: list[RoundPlace]
    chosen: frozenset[int] | None
    means: Means
    report: Report
    log: StaticLog = field(init=False)
    registry: RegistryFold = field(init=False)
    fold: PoolFold = field(init=False)
    unique: UniqueEvents = field(init=False)
    identities: Identities = field(init=False)
    ended: RoundsCheck = field(init=False)
    history: History = field(init=False)
    _body_bytes: dict[str, int] = field(default_factory=dict)
    """How long the bodies are that the registry names: most collectives have the same one."""

    def __post_init__(self) -> None:
        self.log = self.scene.log
        self.registry = RegistryFold(self.scene.registry, self._registered, self._note, self._note)
        self.fold = PoolFold(
            self.log,
            self.registry,
            UsageFold(self.log, weigh=self.means.weigh, ahead=self.means.ahead, observe=self._observe, note=self._note),
            refuse=self._note,
            note=self._note,
        )
        self.ended = RoundsCheck(self.log, self.fold, self.report, self._note)
        self.history = History(self.registry)
        self.unique = UniqueEvents(self.means.new_spill, self.means.salt, self.means.submit)
        self.identities = Identities(self.means.new_spill, self.means.salt, self.means.submit)

    def run(self) -> Generator[Progress, None, None]:
        ends: dict[int, list[RoundPlace]] = {}
        for place in filter(RoundPlace.can_be, self.rounds):
            ends.setdefault(place.end, []).append(place)
        wanted = sorted(
            (place.usage_start, place.end) for place in self.rounds if self.chosen and place.number in self.chosen
        )
        size = self.log.leaf_count
        try:
            for encoded in self.log.leaves(0, size):
                for place in ends.get(encoded.index, ()):
                    self._go_on(encoded.index, partial(self._cut, place))
                while wanted and wanted[0][1] <= encoded.index:
                    wanted.pop(0)
                weighed = self.chosen is None or any(start <= encoded.index < end for start, end in wanted[:1])
                self._go_on(encoded.index, partial(self._take_in, encoded, weighed=weighed))
                yield Progress(encoded.index + 1, size, self.fold.usage.events, self.fold.usage.shares)
            self.fold.usage.settle()
            self._go_on(size, self.fold.acts.end)
            self._go_on(size, self.registry.finish)
        except FoundError as found:
            raise FoundError(self._in_step(self.fold.earliest(found.finding))) from None
        self.report.tell_acts([*self.registry.acts.done, *self.fold.acts.done], self.registry.people)
        if self.fold.rounds.by_clock_alone:
            self.report.warnings.append(f"reviews ended by the operator's clock: {self.fold.rounds.by_clock_alone}")
        self.report.take(Step.FORMS, Step.BODIES, Step.BATCHES, Step.WEIGHTS)
        self.report.take(Step.ROUNDS, Step.DECISIONS, Step.POSTINGS)
        self._check_events()
        self._check_books()

    def _take_in(self, encoded: EncodedLeaf, *, weighed: bool) -> None:
        try:
            leaf = self.fold.fold(encoded, weigh_from=0 if weighed else self.log.leaf_count)
        except FoundError as found:
            self._note(found.finding)
            self.fold.skip(encoded)
            self._pass_bodies(encoded)
        else:
            self._follow(leaf, weighed=weighed)

    def _pass_bodies(self, encoded: EncodedLeaf) -> None:
        """Keep the order of the archive after a leaf that was not taken in."""
        try:
            self._take_bodies(self.fold.read(encoded).content)
        except FoundError:
            if self.scene.order is not None:
                self.scene.order.lose()

    def _take_bodies(self, content: Content) -> None:
        if self.scene.order is not None and self.chosen is None:
            with self.report.noting():
                self.scene.order.take_bodies([bytes.fromhex(digest) for digest in content.bodies().values()])

    def _go_on(self, leaf_index: int, check: Callable[[], None]) -> None:
        """Make a check; what it finds is noted, if the verification goes on after a finding.

        After a finding the state may be one that no sound log leads to, so anything may be missing from it. Before one,
        what a check stumbles over is what the leaf says.
        """
        try:
            check()
        except FoundError as found:
            self._note(found.finding)
        except UNSOUND as error:
            if self.report.findings:
                unsound = at(leaf_index).error("leaf", "not checked any further", "what precedes it to hold")
            else:
                unsound = at(leaf_index).error("leaf", error, "a sound entry")
            self._note(unsound.finding)

    def _note(self, finding: Finding) -> None:
        self.report.note(self._in_step(finding))

    def _registered(self, leaf: Leaf[Any]) -> None:
        self.report.count(Step.FORMS, "registry entries")
        require_origin(leaf, self.scene.deployment, self.report)
        self.report.logs["registry"].see(leaf.time)
        self.history.see_registered(leaf)
        for digest in leaf.content.bodies().values():
            if digest not in self._body_bytes:
                self._body_bytes[digest] = len(self.scene.registry.body(bytes.fromhex(digest)))
            self.report.count_body(self._body_bytes[digest])

    # What each leaf asks for beyond the fold.

    def _observe(self, leaf: Leaf[Any], weighed: WeighedBatch) -> None:
        content: UsageContent = leaf.content
        if self.means.sample is not None:
            self.means.sample.see(leaf, weighed)
        self.report.count_body(content.body_bytes)
        self.report.count(Step.BATCHES, "batches")
        self.report.count(Step.BATCHES, "events", len(weighed))
        self.report.count(Step.WEIGHTS, "shares", weighed.share_count)
        if self.chosen is None:
            self.unique.add(content.platform, leaf.index, weighed.event_ids, weighed.accepted)
            self.report.count(Step.EVENTS, "events", len(weighed))
            self.report.count(Step.EVENTS, "duplicates", len(weighed) - content.accepted)

    def _follow(self, leaf: Leaf[Any], *, weighed: bool) -> None:
        self.report.count(Step.FORMS, "entries")
        self.report.logs["pool"].see(leaf.time)
        self.history.see(leaf)
        self._take_bodies(leaf.content)
        if leaf.content.identity is not None:
            self.identities.add(leaf.index, leaf.content.identity)
            self.report.count(Step.EVENTS, "batches and requests")
        match leaf.content:
            case PoolContent(currency=currency, display_name=name):
                self.report.currency, self.report.pool_name = currency, name
            case MembershipContent():
                self._membership(leaf.index, leaf.content)
            case UsageContent() if not weighed:
                self.report.count(Step.BODIES, "batches left out")
            case RetractionContent() if weighed:
                self.report.count(Step.BATCHES, "retractions")
            case RoundContent():
                self._calculated(leaf.index, leaf.content)
            case ObjectionContent() | AnswerContent():
                self._count_review(leaf.content)
            case SplitContent():
                self.report.count(Step.DECISIONS, "member splits")
                self.report.count(Step.DECISIONS, "lines of members", leaf.content.lines)
            case DecisionContent():
                self._decide(leaf, leaf.content)
            case PostingContent():
                self._posted(leaf, leaf.content)

    def _membership(self, leaf_index: int, content: MembershipContent) -> None:
        body = checked_body(self.log, leaf_index, "body_sha256", content.body_sha256)
        at(leaf_index).same("body_bytes", content.body_bytes, len(body))
        try:
            membership = parse_membership(body)
        except LedgerCorruptError as error:
            raise at(leaf_index).error("body", error, "a canonical membership") from None
        at(leaf_index).same("sources", content.sources, len(membership))
        at(leaf_index).same("collectives", content.collectives, len(set(membership.values())))
        self.report.count_body(len(body))
        self.report.count(Step.BATCHES, "memberships")

    def _calculated(self, leaf_index: int, content: RoundContent) -> None:
        # If it could be, it was checked at its end, before this leaf.
        if (summary := self.report.rounds.get(content.number)) is not None:
            version, policy = self.fold.terms.in_force(content.start)[1:]
            changes = self.history.at_round(policy, version)
            summary.changes, summary.change_count = changes.listed, changes.count
        interval = f"[{content.start}, {content.end})"
        at(leaf_index).holds(
            self.ended.latest == content, "interval", interval, "one that ends at the round's leaf or before"
        )

    def _count_review(self, content: ObjectionContent | AnswerContent) -> None:
        what = f" {content.answer.lower().replace('_', ' ')}" if isinstance(content, AnswerContent) else ""
        self.report.count(Step.DECISIONS, f"objections{what}")
        if (summary := self.report.rounds.get(content.round)) is None:
            return
        if isinstance(content, AnswerContent):
            if content.collective in summary.objections:
                summary.objections.remove(content.collective)
            summary.objections.append(f"{content.collective}: {content.answer}")
        else:
            summary.objections.append(content.collective)

    def _decide(self, leaf: Leaf[Any], content: DecisionContent) -> None:
        number = self.fold.rounds.at_leaf.get(content.subject)
        if number is None or number not in self.report.rounds:
            return
        self.ended.require_latest(leaf.index, number)
        at(leaf.index).holds(content.decision in list(Decision), "decision", content.decision, _DECISIONS)
        self.report.count(Step.DECISIONS, "decisions")
        self.report.count(Step.DECISIONS, content.decision.lower())
        summary = self.report.rounds[number]
        summary.state, summary.decided_by, summary.decided_at = content.decision, content.by, leaf.time.isoformat()

    def _posted(self, leaf: Leaf[Any], content: PostingContent) -> None:
        if (summary := self.report.rounds.get(content.round)) is not None:
            summary.state, summary.posted_at = "POSTED", leaf.time.isoformat()
        self.ended.require_latest(leaf.index, content.round)
        self.report.count(Step.POSTINGS, "postings")
        self.report.count(Step.POSTINGS, "transfers", content.transfer_count)

    def _cut(self, place: RoundPlace) -> None:
        self.fold.usage.settle()
        leaf = self._leaf(place.leaf_index)
        recomputed = self.chosen is None or leaf.content.number in self.chosen
        for check in self.ended.checks(leaf, recomputed=recomputed):
            self._go_on(leaf.index, check)
        self.ended.end(leaf, recomputed=recomputed)
        self.fold.usage.cut()

    # What can be checked at the end.

    def _check_events(self) -> None:
        for leaf_index, earlier in self.identities.conflicts(LISTED_MAX):
            figure, *_, identity = self._leaf(leaf_index).content.identity
            expected = f"one that leaf {earlier} does not have"
            self._note(at(leaf_index, step=Step.EVENTS).error(figure, identity, expected).finding)
        if self.chosen is not None:
            self.report.skipped[Step.EVENTS] = "events: needs the batches of all rounds"
        else:
            for conflict in self.unique.conflicts(LISTED_MAX):
                self._note(conflict_finding(conflict))
        self.report.take(Step.EVENTS)

    def _check_books(self) -> None:
        balances = self.fold.accounts.balances
        for finding in book_findings(self.log, balances):
            self._note(finding)
        self.report.count(Step.BALANCES, "transfers", self.log.journal.transfers)
        self.report.count(Step.BALANCES, "balances", len(balances))
        for account, amount in balances.items():
            kind = account.partition("/")[0]
            self.report.balances[kind] = self.report.balances.get(kind, 0) + amount
        with self.report.noting():
            at(-1, step=Step.CONSERVATION).same("sum of all balances", sum(balances.values()), 0)
        self.report.count(Step.CONSERVATION, "balances summed", len(balances))
        unknown = sorted(collectives_of(balances) - self.registry.collectives.keys())
        with self.report.noting():
            at(-1, step=Step.BALANCES).same("collectives not in the registry", unknown, [])
        self.report.take(Step.BALANCES, Step.CONSERVATION)

    def _leaf(self, index: int) -> Leaf[Any]:
        (encoded,) = self.log.leaves(index, index + 1)
        return self.fold.read(encoded)

    def _in_step(self, finding: Finding) -> Finding:
        leaf, index = None, -1 if finding.where.log else finding.where.leaf_index
        if 0 <= index < self.log.leaf_count:
            try:
                leaf = self._leaf(index)
            except FoundError:
                leaf = None
        read = self.log.journal.leaf == index
        return in_step(finding, leaf, journal_line=self.log.journal.line if read else 0)
