"""Reviews that witnesses time: a posting names a note that they cosigned with its round, and one after the review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature

from audit.findings import Finding
from audit.steps import Step
from audit.verification.report import Report
from ledger.acts.entries import Decision, WitnessesContent
from ledger.log.checkpoint import Checkpoint
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.notes import Note
from ledger.log.witness_policy import all_of
from ledger.registry import Collective
from payout.entries import PostingContent
from payout.policy import CommonsRule, Policy
from tests.support.exports import ORIGIN, bundle_of, report_of
from tests.support.independent import verifier
from tests.support.pool_log import PoolLog
from tests.support.registry_log import OSCAR, RegistryLog

REVIEW: Final = 3_600
WITNESSES: Final = [
    SigningKey(f"w{number}.example", bytes([number] * 32), SignatureType.COSIGNATURE) for number in (1, 2, 3)
]
POLICY: Final = "".join(
    [
        *(f"witness w{at} {key.verifier_key}\n" for at, key in enumerate(WITNESSES)),
        "group two 2 w0 w1 w2\n",
        "quorum two\n",
    ]
)
NOBODY: Final = (all_of([]),)
"""Asks for no witness of the bundle itself: these tests are of the notes in it."""
BEGAN: Final = 1_800_000_000
"""When the second of two witnesses had cosigned the round."""


def cosigned(log: PoolLog, size: int, *times: int | None, origin: str = ORIGIN, root: str = "") -> bytes:
    """A checkpoint of the log that each witness cosigned at a time, or not."""
    text = Checkpoint(origin, size, bytes.fromhex(root or log.root_at(size))).text()
    both = zip(WITNESSES, times, strict=False)
    return Note(text, tuple(key.sign(text, time) for key, time in both if time is not None)).to_bytes()


def a_round() -> PoolLog:
    """A round that waits, of a deployment that had named its witnesses."""
    registry = RegistryLog.founded()
    registry.act(WitnessesContent(policy=POLICY))
    log = PoolLog(collectives=[Collective("eire", "Éire", 300)], registry=registry)
    log.open(Policy(commons_rule=CommonsRule.FUND, commons_ppm=1_000_000, review_seconds=REVIEW))
    log.revenue(1_000)
    log.calculate("operators/olive")
    return log


def posted(log: PoolLog, *notes: bytes) -> PoolLog:
    log.decide(Decision.APPROVED, OSCAR)
    log.post(*notes)
    return log


def verdict(log: PoolLog, tmp_path: Path) -> Report:
    """What verification says, of which the second verifier must think alike."""
    report = report_of(bundle_of(log, tmp_path / "folk.tar"), witnesses=NOBODY)
    try:
        verifier.verify(tmp_path / "folk.tar")
    except (AssertionError, InvalidSignature, KeyError, ValueError):
        assert report.finding is not None
    else:
        assert report.finding is None
    return report


def finding_of(log: PoolLog, tmp_path: Path) -> Finding:
    found = verdict(log, tmp_path).finding
    assert found is not None, "it held"
    return found


def test_a_round_between_two_notes_holds(tmp_path: Path) -> None:
    log = a_round()
    began = cosigned(log, log.size(), BEGAN - 9, BEGAN)
    log.revenue(5)
    ended = cosigned(log, log.size(), None, BEGAN + REVIEW, BEGAN + REVIEW + 7)
    report = verdict(posted(log, began, ended), tmp_path)
    assert report.finding is None
    assert report.warnings == ["run by one person: the controls ask for nobody else"]


def test_a_log_that_stood_still_is_cosigned_again(tmp_path: Path) -> None:
    log = a_round()
    notes = [cosigned(log, log.size(), at, at) for at in (BEGAN, BEGAN + REVIEW)]
    assert verdict(posted(log, *notes), tmp_path).finding is None


def test_without_witnesses_the_verdict_says_by_whose_clock_reviews_ended(tmp_path: Path) -> None:
    log = PoolLog(collectives=[Collective("eire", "Éire", 300)])
    log.open(Policy(commons_rule=CommonsRule.FUND, commons_ppm=1_000_000, review_seconds=REVIEW))
    log.revenue(1_000)
    log.calculate("operators/olive")
    assert "reviews ended by the operator's clock: 1" in verdict(posted(log), tmp_path).warnings


def test_witnesses_who_are_named_later_time_the_rounds_after(tmp_path: Path) -> None:
    log = PoolLog(collectives=[Collective("eire", "Éire", 300)])
    log.open(Policy(commons_rule=CommonsRule.FUND, commons_ppm=1_000_000, review_seconds=REVIEW))
    log.revenue(1_000)
    log.calculate("operators/olive")
    log.registry.now = log.now
    log.registry.act(WitnessesContent(policy=POLICY))
    assert verdict(posted(log), tmp_path).finding is None
    log.revenue(1_000)
    log.calculate("operators/olive")
    assert finding_of(posted(log), tmp_path).figure == "review_began_sha256"


WRONG: Final[dict[str, Callable[[PoolLog], list[bytes]]]] = {
    "no notes": lambda _: [],
    "one note": lambda log: [cosigned(log, log.size(), BEGAN, BEGAN)],
    "of before the round": lambda log: [
        cosigned(log, log.size() - 1, BEGAN, BEGAN), cosigned(log, log.size(), BEGAN + REVIEW, BEGAN + REVIEW),
    ],
    "a second too early": lambda log: [
        cosigned(log, log.size(), BEGAN - REVIEW, BEGAN), cosigned(log, log.size(), BEGAN + REVIEW, BEGAN + REVIEW - 1),
    ],
    "by one of two": lambda log: [
        cosigned(log, log.size(), BEGAN, BEGAN), cosigned(log, log.size(), None, BEGAN + REVIEW),
    ],
    "by nobody first": lambda log: [
        cosigned(log, log.size(), BEGAN), cosigned(log, log.size(), BEGAN + REVIEW, BEGAN + REVIEW),
    ],
    "of another log": lambda log: [
        cosigned(log, log.size(), BEGAN, BEGAN, origin="moiety.example/pools/jazz"),
        cosigned(log, log.size(), BEGAN + REVIEW, BEGAN + REVIEW),
    ],
    "of another root": lambda log: [
        cosigned(log, log.size(), BEGAN, BEGAN),
        cosigned(log, log.size(), BEGAN + REVIEW, BEGAN + REVIEW, root="0" * 64),
    ],
    "of a log that is yet to come": lambda log: [
        cosigned(log, log.size(), BEGAN, BEGAN), cosigned(log, 99, BEGAN + REVIEW, BEGAN + REVIEW, root="0" * 64),
    ],
    "no checkpoint": lambda log: [cosigned(log, log.size(), BEGAN, BEGAN), b"a note"],
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_posting_without_the_notes_that_it_needs_is_found(wrong: str, tmp_path: Path) -> None:
    log = a_round()
    found = finding_of(posted(log, *WRONG[wrong](log)), tmp_path)
    assert (found.where.leaf_index, found.step) == (log.size() - 1, Step.DECISIONS), found
    assert log.placed(PostingContent)[-1][0] == found.where.leaf_index


def test_a_signature_that_is_not_the_witness_s_is_found(tmp_path: Path) -> None:
    log = a_round()
    began, ended = (cosigned(log, log.size(), at, at) for at in (BEGAN, BEGAN + REVIEW))
    forged = ended.replace(ended.splitlines()[-1][-9:-1], b"AAAAAAA=")
    assert finding_of(posted(log, began, forged), tmp_path).figure == "review_ended_sha256"


def test_notes_where_nobody_times_the_review_are_found(tmp_path: Path) -> None:
    log = PoolLog(collectives=[Collective("eire", "Éire", 300)])
    log.open(Policy(commons_rule=CommonsRule.FUND, commons_ppm=1_000_000, review_seconds=REVIEW))
    log.revenue(1_000)
    log.calculate("operators/olive")
    notes = [cosigned(log, log.size(), BEGAN, BEGAN), cosigned(log, log.size(), BEGAN + REVIEW, BEGAN + REVIEW)]
    assert finding_of(posted(log, *notes), tmp_path).figure == "review_began_sha256"


@pytest.mark.parametrize("policy", ["quorum none\n", "witness w x\n", "nonsense"])
def test_a_policy_that_names_nobody_is_found(policy: str, tmp_path: Path) -> None:
    registry = RegistryLog.founded()
    registry.act(WitnessesContent(policy=policy))
    log = PoolLog(collectives=[Collective("eire", "Éire", 300)], registry=registry)
    log.open(Policy())
    found = report_of(bundle_of(log, tmp_path / "folk.tar"), witnesses=NOBODY).finding
    assert found is not None
    assert (found.where.log, found.figure) == ("registry", "policy")
