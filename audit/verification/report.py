"""The result of a verification: how much each of its steps checked, and what was found."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from audit.batches.unique_events import Conflict
from audit.findings import Finding, FoundError, Where, noting
from audit.folds.acts import DoneAct
from audit.folds.history import Change
from audit.signatures import Signer
from audit.steps import LOOKED_AT, Step
from audit.verification.consequence import Consequence, Consequences
from ledger.acts.entries import DecisionContent
from ledger.acts.people import People
from ledger.entries import Movement
from ledger.files.layout import JOURNAL, body_path
from ledger.income import ReportContent
from ledger.log.checkpoint import Checkpoint
from ledger.log.leaves import Leaf
from ledger.usage.entries import MembershipContent, RetractionContent, UsageContent
from payout.entries import PostingContent, RoundContent
from payout.objections import AnswerContent, ObjectionContent
from payout.splits import SplitContent


@dataclass(slots=True)
class RoundSummary:
    """What a verification reports of a round: what it distributed, who asked for it, who decided, and what changed.

    Times are in RFC 3339. `pot_minor` is the sum of the amounts after it.
    """

    number: int
    leaf_index: int
    start: int
    end: int
    events: int
    retracted: int
    collectives: int
    policy_version: int
    pot_minor: int
    fee_minor: int
    attributed_minor: int
    commons_minor: int
    commons_kept_minor: int
    carried_minor: int
    rounding_minor: int
    calculated_by: str
    recomputed: bool
    calculated_at: str = ""
    state: str = "CALCULATED"
    decided_by: str = ""
    decided_at: str = ""
    posted_at: str = ""
    objections: list[str] = field(default_factory=list)
    """The collectives that objected, each with what was answered: `irish: DISMISSED`."""
    changes: list[Change] = field(default_factory=list)
    """Of the registry and the terms since the round before, the first of them."""
    change_count: int = 0

    @classmethod
    def of(cls, leaf: Leaf[RoundContent], *, recomputed: bool) -> RoundSummary:
        """Returns what a round's entry says of it."""
        content = leaf.content
        figures = {name: getattr(content, name) for name in _OF_ROUND}
        return cls(
            leaf_index=leaf.index,
            collectives=content.statement_lines,
            calculated_by=content.by,
            calculated_at=leaf.time.isoformat(),
            recomputed=recomputed,
            **figures,
        )


_OF_ROUND: Final = (
    "number", "start", "end", "events", "retracted", "policy_version", "pot_minor", "fee_minor", "attributed_minor",
    "commons_minor", "commons_kept_minor", "carried_minor", "rounding_minor",
)  # fmt: skip


@dataclass(slots=True)
class LogSummary:
    """How fresh a log is: the times of its first and its last leaf, in RFC 3339; empty where it has none."""

    first_leaf_at: str = ""
    last_leaf_at: str = ""

    def see(self, time: datetime) -> None:
        """Take in the next leaf's time."""
        self.last_leaf_at = time.isoformat()
        self.first_leaf_at = self.first_leaf_at or self.last_leaf_at


Counts = dict[str, int]
"""By what was counted."""


LISTED_MAX: Final = 1_000
"""Findings that are listed, beside the first of each kind; the others are counted."""


class Outcome(StrEnum):
    """The outcome of a step.

    IN_PART: nothing was found in it, but findings of other steps kept some of it from being checked. LEFT_OUT was not
    asked for; NOT_REACHED comes after a finding.
    """

    HELD = "HELD"
    FAILED = "FAILED"
    IN_PART = "IN_PART"
    LEFT_OUT = "LEFT_OUT"
    NOT_REACHED = "NOT_REACHED"


@dataclass(slots=True)
class Report:
    """What was checked so far, and what was found. The verification succeeded if nothing was found at the end."""

    keep_going: bool = False
    """Whether to go on after a finding, as far as what is left can be checked."""
    checkpoint: Checkpoint | None = None
    registry: Checkpoint | None = None
    """That of the registry's log."""
    counts: dict[Step, Counts] = field(default_factory=dict)
    skipped: dict[Step, str] = field(default_factory=dict)
    """Steps that were skipped, in whole or in part, and why."""
    signers: list[Signer] = field(default_factory=list)
    """Of both checkpoints, the pool's first."""
    pool_name: str = ""
    """What the pool is called."""
    currency: str = ""
    logs: dict[str, LogSummary] = field(default_factory=lambda: {"pool": LogSummary(), "registry": LogSummary()})
    balances: dict[str, int] = field(default_factory=dict)
    """At the end, summed by kind of account: `collective`, `held`, `revenue`."""
    rounds: dict[int, RoundSummary] = field(default_factory=dict)
    acts: list[DoneAct] = field(default_factory=list)
    """All that operators did, the registry's first, each log's in its order."""
    warnings: list[str] = field(default_factory=list)
    """What holds and should be known of a deployment all the same."""
    findings: list[Finding] = field(default_factory=list)
    """Those that are listed, in the order of the log once the verification is over."""
    finding_count: int = 0
    """Of all findings, listed or not."""
    consequences: dict[Finding, Consequence] = field(default_factory=dict)
    _taken: set[Step] = field(default_factory=set)
    _of_kind: dict[tuple[Step | None, str], int] = field(default_factory=dict)

    @property
    def finding(self) -> Finding | None:
        """The first finding."""
        return self.findings[0] if self.findings else None

    def add(self, finding: Finding) -> None:
        """Take in a finding, once."""
        if finding in self.consequences:
            return
        kind = (finding.step, finding.figure.partition(" ")[0])
        self.finding_count += 1
        self._of_kind[kind] = self._of_kind.get(kind, 0) + 1
        if len(self.findings) < LISTED_MAX or self._of_kind[kind] == 1:
            self.findings.append(finding)
            self.consequences[finding] = Consequence()

    def note(self, finding: Finding) -> None:
        """Take in a finding, if the verification goes on after it.

        Raises:
            FoundError: it stops at the first one.
        """
        if not self.keep_going:
            raise FoundError(finding)
        self.add(finding)

    def noting(self) -> AbstractContextManager[None]:
        """Take in the finding that ends what is in here, if the verification goes on after it."""
        return noting(self.note)

    def finish(self, consequences: Consequences | None) -> None:
        """Put the findings in order, and say what each comes to; None if the log cannot be read."""
        self.findings.sort(key=_place_of)
        if consequences is not None:
            self.consequences = {finding: consequences.of(finding) for finding in self.findings}

    def tell_acts(self, done: list[DoneAct], people: People) -> None:
        """Note what was done, and what should be known of those who did it."""
        self.acts = done
        self.count(Step.DECISIONS, "acts", len(done))
        self.count(Step.DECISIONS, "acts of one person", sum(act.alone for act in done))
        self.warnings += warnings_of(people)

    def take(self, *steps: Step) -> None:
        """Note that steps were completed: each succeeded, unless it has a finding."""
        for step in steps:
            self._taken.add(step)
            self.count(step, LOOKED_AT[step], 0)

    def outcome(self, step: Step) -> Outcome:
        """Returns the outcome of a step."""
        if any(failed is step for failed, _ in self._of_kind):
            return Outcome.FAILED
        if step in self._taken:
            return Outcome.IN_PART if self._of_kind and step >= Step.FORMS else Outcome.HELD
        return Outcome.LEFT_OUT if step in self.skipped else Outcome.NOT_REACHED

    def count(self, step: Step, what: str, by: int = 1) -> None:
        """Count what a step has checked."""
        counts = self.counts.setdefault(step, {})
        counts[what] = counts.get(what, 0) + by

    def count_body(self, size: int) -> None:
        """Count a body that was read."""
        self.count(Step.BODIES, "bodies")
        self.count(Step.BODIES, "bytes", size)


def warnings_of(people: People) -> list[str]:
    """What is to be said of who runs a deployment, whatever else holds."""
    found = []
    if not people.controls.ask_for_two():
        found.append("run by one person: the controls ask for nobody else")
    if people.keys_made_together:
        found.append("keys issued together: one command made the founders' keys, so one person may hold them all")
    if people.recoveries:
        found.append(f"keys recovered by the database's owner: {people.recoveries}")
    return found


def in_step(finding: Finding, leaf: Leaf[Any] | None, *, journal_line: int = 0) -> Finding:
    """Returns a finding of the fold with the step that fails and the file it is in, according to its leaf.

    `journal_line` is the line of the journal that was read for this leaf, else 0. A finding with a step is unchanged.
    """
    if finding.step is not None:
        return finding
    content = leaf.content if leaf else None
    step, body = Step.FORMS, ""
    figure = finding.figure
    match content:
        case UsageContent() | MembershipContent():
            step, body = _usage_step(figure), content.body_sha256
        case RetractionContent():
            step = _usage_step(figure)
        case ReportContent() | Movement():
            step = Step.BALANCES
        case PostingContent():
            step = Step.BALANCES if journal_line or figure.startswith("balance") else Step.POSTINGS
        case DecisionContent() | ObjectionContent() | AnswerContent() | SplitContent():
            step = Step.DECISIONS
        case RoundContent():
            step = Step.ROUNDS
            body = content.statement_sha256 if finding.where.line else ""
        case _ if figure.startswith("balance"):
            step = Step.BALANCES
    if figure == "leaf_hash":
        step, body = Step.ENTRIES, ""
    if figure in ("entry", "index", "pool", "leaf", "type", "version"):
        step, body = Step.FORMS, ""
    if journal_line and figure in ("transfer", "transfers"):
        where = replace(finding.where, file=JOURNAL, body=body, line=journal_line)
        return replace(finding, where=where, step=step)
    return replace(in_body(finding, body) if body else finding, step=step)


def _usage_step(figure: str) -> Step:
    if figure in ("body_sha256", "body_bytes"):
        return Step.BODIES
    return Step.WEIGHTS if figure.startswith("mode ") else Step.BATCHES


def in_body(finding: Finding, digest: str) -> Finding:
    """Returns a finding of a leaf's body; without a step of its own, it is about the body itself."""
    where = replace(finding.where, body=digest, file=body_path(bytes.fromhex(digest)))
    return replace(finding, where=where, step=finding.step or Step.BODIES)


def conflict_finding(conflict: Conflict) -> Finding:
    """Returns the finding for an event that is counted wrongly."""
    claimed = "accepted" if conflict.accepted else "a duplicate"
    expected = "the first with its id"
    if conflict.earlier is not None:
        leaf_index, position = conflict.earlier
        expected = f"a duplicate of event {position} in leaf {leaf_index}"
    figure = f"event {conflict.position}, {conflict.event_id.hex()}"
    return Finding(Where(conflict.leaf_index), figure, claimed, expected, Step.EVENTS)


def _place_of(finding: Finding) -> tuple[int, int]:
    """Files first, then both logs leaf by leaf, then what is of no leaf."""
    if finding.step is not None and finding.step <= Step.ENTRIES:
        return 0, 0
    if finding.where.leaf_index < 0:
        return 3, 0
    return 1 if finding.where.log else 2, finding.where.leaf_index
