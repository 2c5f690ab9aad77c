"""The numbered steps of a verification."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Step(IntEnum):
    """The steps, in the order in which they are shown. From BODIES on they are taken together, leaf by leaf."""

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
