"""The numbered steps of a verification."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Step(IntEnum):
    """The steps, in the order in which they are shown. From FORMS on they run together, leaf by leaf."""

    FILES = 1
    SIGNATURES = 2
    CONSISTENCY = 3
    ENTRIES = 4
    FORMS = 5
    BODIES = 6
    BATCHES = 7
    WEIGHTS = 8
    EVENTS = 9
    ROUNDS = 10
    DECISIONS = 11
    POSTINGS = 12
    BALANCES = 13
    CONSERVATION = 14


TITLES: Final = {
    Step.FILES: "the files are those of one log",
    Step.SIGNATURES: "the checkpoint is signed",
    Step.CONSISTENCY: "the log only grew",
    Step.ENTRIES: "every entry is in the root",
    Step.FORMS: "every entry is sound",
    Step.BODIES: "bodies have their hashes",
    Step.BATCHES: "batches are valid",
    Step.WEIGHTS: "weights follow from batches",
    Step.EVENTS: "nothing counts twice",
    Step.ROUNDS: "rounds follow from the log",
    Step.DECISIONS: "whoever acted was allowed to",
    Step.POSTINGS: "postings follow from statements",
    Step.BALANCES: "journal and balances follow",
    Step.CONSERVATION: "no money appears or is lost",
}

LOOKED_AT: Final = {
    Step.FILES: "files",
    Step.SIGNATURES: "signatures",
    Step.CONSISTENCY: "older checkpoints",
    Step.ENTRIES: "entries",
    Step.FORMS: "entries",
    Step.BODIES: "bodies",
    Step.BATCHES: "batches",
    Step.WEIGHTS: "shares",
    Step.EVENTS: "events",
    Step.ROUNDS: "rounds",
    Step.DECISIONS: "decisions",
    Step.POSTINGS: "postings",
    Step.BALANCES: "transfers",
    Step.CONSERVATION: "rounds",
}
"""What each step counts. Every completed step has a count, which may be 0."""
