"""What a verification says: its numbered steps, how much each checked, and the first thing that does not hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from audit.divergence import Divergence
from audit.unique_events import Conflict
from ledger.acts.entries import DecisionContent
from ledger.entries import (
    GrantContent,
    PaymentContent,
    ReleaseContent,
    RevenueContent,
)
from ledger.files.layout import BALANCES, JOURNAL, body_path
from ledger.log.checkpoint import Checkpoint
from ledger.log.leaves import Leaf
from ledger.usage.entries import MembershipContent, RetractionContent, UsageContent
from payout.entries import PostingContent, RoundContent


class Step(IntEnum):
    """The steps, in the order in which they are told. All but the first three are taken together, leaf by leaf."""

    SIGNATURES = 1
    CONSISTENCY = 2
    ENTRIES = 3
    BODIES = 4
    BATCHES = 5
    WEIGHTS = 6
    EVENTS = 7
    ROUNDS = 8
    DECISIONS = 9
    POSTINGS = 10
    BALANCES = 11
    CONSERVATION = 12


TITLES: Final = {
    Step.SIGNATURES: "the checkpoint is signed",
    Step.CONSISTENCY: "the log only grew",
    Step.ENTRIES: "every entry is in the root",
    Step.BODIES: "bodies have their hashes",
    Step.BATCHES: "batches are valid",
    Step.WEIGHTS: "weights follow from batches",
    Step.EVENTS: "no event counts twice",
    Step.ROUNDS: "rounds follow from the log",
    Step.DECISIONS: "four eyes were kept",
    Step.POSTINGS: "postings follow from statements",
    Step.BALANCES: "journal and balances follow",
    Step.CONSERVATION: "no money appears or is lost",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that does not hold: in which step, and where. What does not apply is empty, leaf -1, line 0.

    `file` is the static file that it was found in, `body` the SHA-256 of a body in hexadecimal, `line` a line of either
    of them, counting from 1.
    """

    step: Step
    figure: str
    logged: str
    recomputed: str
    leaf_index: int = -1
    body: str = ""
    file: str = ""
    line: int = 0


class FoundError(Exception):
    """What was claimed does not hold."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


@dataclass(slots=True)
class RoundSummary:
    """What a verification tells of a round: what it distributed, who asked for it and who decided."""

    number: int
    leaf_index: int
    start: int
    end: int
    pot_minor: int
    calculated_by: str
    recomputed: bool
    state: str = "CALCULATED"
    decided_by: str = ""


Counts = dict[str, int]
"""By what was counted."""


@dataclass(slots=True)
class Report:
    """What was checked so far, and what was found. It holds where `finding` is None at the end."""

    checkpoint: Checkpoint | None = None
    counts: dict[Step, Counts] = field(default_factory=dict)
    skipped: dict[Step, str] = field(default_factory=dict)
    """Steps that were not taken, or not in full, and why."""
    signers: list[str] = field(default_factory=list)
    rounds: dict[int, RoundSummary] = field(default_factory=dict)
    finding: Finding | None = None

    def count(self, step: Step, what: str, by: int = 1) -> None:
        """Count what a step has checked."""
        counts = self.counts.setdefault(step, {})
        counts[what] = counts.get(what, 0) + by


@dataclass(frozen=True, slots=True)
class Headway:
    """How far a verification has come: leaves of `leaf_total`, in which pass over them, and shares weighed."""

    reading: str
    leaves: int
    leaf_total: int
    shares: int


def finding_of(divergence: Divergence, leaf: Leaf[Any] | None, *, journal_line: int) -> Finding:
    """A divergence of the fold at its leaf; `journal_line` is the journal's where it was read for this leaf, else 0."""
    content = leaf.content if leaf else None
    step, body = Step.ENTRIES, ""
    figure = divergence.figure
    match content:
        case UsageContent() | MembershipContent():
            step, body = _usage_step(figure), content.body_sha256
        case RetractionContent():
            step = _usage_step(figure)
        case RevenueContent() | PaymentContent() | ReleaseContent() | GrantContent():
            step = Step.BALANCES
        case PostingContent():
            step = Step.BALANCES if journal_line or figure.startswith("balance") else Step.POSTINGS
        case DecisionContent():
            step = Step.DECISIONS
        case RoundContent():
            step = Step.ROUNDS
            body = content.statement_sha256 if divergence.line else ""
    if figure in ("leaf_hash", "entry", "index", "pool", "leaf", "type"):
        step, body = Step.ENTRIES, ""
    in_journal = bool(journal_line) and figure in ("transfer", "transfers")
    file = body_path(bytes.fromhex(body)) if body else ""
    return Finding(
        step=step,
        figure=figure,
        logged=divergence.logged,
        recomputed=divergence.replayed,
        leaf_index=divergence.leaf_index,
        body=body,
        file=JOURNAL if in_journal else file,
        line=journal_line if in_journal else divergence.line,
    )


def _usage_step(figure: str) -> Step:
    if figure in ("body_sha256", "body_bytes"):
        return Step.BODIES
    return Step.WEIGHTS if figure.startswith("mode ") else Step.BATCHES


def body_finding(divergence: Divergence, digest: str) -> Finding:
    """What is wrong with a body itself."""
    return Finding(
        Step.BODIES, divergence.figure, divergence.logged, divergence.replayed, divergence.leaf_index, body=digest,
        file=body_path(bytes.fromhex(digest)),
    )  # fmt: skip


def conflict_finding(conflict: Conflict) -> Finding:
    """An event that does not count as it should."""
    logged = "accepted" if conflict.accepted else "a duplicate"
    if conflict.earlier is None:
        recomputed = "the first with its id"
    else:
        leaf_index, position = conflict.earlier
        recomputed = f"a duplicate of event {position} in leaf {leaf_index}"
    figure = f"event {conflict.position}, {conflict.event_id.hex()}"
    return Finding(Step.EVENTS, figure, logged, recomputed, conflict.leaf_index)


def line_finding(claimed: bytes, replayed: bytes) -> Finding:
    """The first line of the balances that is not the one that follows."""
    theirs, ours = claimed.decode(errors="replace").split("\n"), replayed.decode().split("\n")
    length = max(len(theirs), len(ours))
    padded = zip(theirs + ["nothing"] * (length - len(theirs)), ours + ["nothing"] * (length - len(ours)), strict=True)
    for line, (one, other) in enumerate(padded, 1):
        if one != other:
            return Finding(Step.BALANCES, "balance", one[:200], other[:200], file=BALANCES, line=line)
    raise AssertionError("two different texts have the same lines")
