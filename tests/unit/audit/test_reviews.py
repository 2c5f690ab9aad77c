"""Reviews of rounds in a log: when they may be approved, who may object, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import pytest

from audit.findings import Finding
from ledger.acts.act import SCHEDULER
from ledger.acts.entries import Decision
from ledger.journal import Purpose, Transfer
from ledger.registry import NANO, Collective
from payout.entries import PostingContent, RoundContent
from payout.objections import Answer, AnswerContent
from payout.policy import MIN_SILENCE_SECONDS, Approval, Policy
from tests.support.batches import Event, event_id
from tests.support.pool_log import PoolLog

REVIEW: Final = 3600


def opened(policy: Policy) -> PoolLog:
    """A pool with money and usage of two collectives, and a round to be calculated."""
    log = PoolLog(collectives=[Collective("eire", "É", 300), Collective("han", "H", 100)])
    log.open(policy)
    log.method(1_000_000)
    log.revenue(1_000)
    log.usage([Event(event_id(1), None, 1, 1, 1, (("eire", NANO // 2), ("han", NANO // 2)))])
    return log


@pytest.fixture
def log() -> PoolLog:
    """A round under review that both object to, one dismissed and one set aside, and its posting."""
    log = opened(Policy(review_seconds=REVIEW))
    log.calculate()
    log.object_to("eire")
    log.object_to("han", "the second recording is ours")
    log.answer("eire", Answer.DISMISSED)
    log.answer("han", Answer.SET_ASIDE)
    log.decide(Decision.APPROVED, "operators/oscar")
    log.post()
    return log


ROUND: Final = 4
OF_EIRE: Final = 5
OF_HAN: Final = 6
TO_EIRE: Final = 7
TO_HAN: Final = 8
APPROVAL: Final = 9
POSTING: Final = 10


def found_in(log: PoolLog) -> Finding | None:
    return log.replay(log.placed(RoundContent)[0][0]).finding


def place(log: PoolLog) -> tuple[int, str]:
    found = found_in(log)
    assert found is not None, "the replay matched"
    return found.where.leaf_index, found.figure


def test_what_is_set_aside_is_held_as_one_disputed_amount(log: PoolLog) -> None:
    assert found_in(log) is None
    assert log.journal[POSTING] == [
        Transfer("revenue", "collective/eire", 500, Purpose.ATTRIBUTED),
        Transfer("revenue", "held/han", 500, Purpose.DISPUTED),
    ]


@pytest.mark.parametrize(
    ("leaf", "fields", "figure"),
    [
        (OF_EIRE, {"by": "operators/oscar"}, "by"),
        (OF_EIRE, {"by": "collectives/nobody"}, "by"),
        (OF_HAN, {"by": "collectives/eire"}, "by"),
        (OF_EIRE, {"round": 2}, "round"),
        (OF_EIRE, {"round": 0}, "round"),
        (TO_EIRE, {"collective": "quebec"}, "objection_hash"),
        (TO_EIRE, {"round": 7}, "round"),
        (TO_HAN, {"collective": "eire"}, "objection_hash"),
        (TO_EIRE, {"answer": "IGNORED"}, "answer"),
        (TO_EIRE, {"answer": Answer.UPHELD.value}, "objections upheld"),
        (APPROVAL, {"by": "policy"}, "by"),
        (POSTING, {"set_aside": []}, "set_aside"),
        (POSTING, {"set_aside": ["eire", "han"]}, "set_aside"),
        (POSTING, {"set_aside": ["eire"]}, "set_aside"),
    ],
)
def test_what_a_review_cannot_be_is_found(log: PoolLog, leaf: int, fields: dict[str, Any], figure: str) -> None:
    log.change(leaf, **fields)
    found = place(log)
    # Another answer to the same objection is found at the first leaf that it makes wrong.
    assert found[1] == figure
    assert found[0] >= leaf


def test_an_objection_is_answered_once(log: PoolLog) -> None:
    log.rewrite(TO_HAN, log.content(TO_EIRE))
    assert place(log) == (TO_HAN, "collective")


@pytest.mark.parametrize(("leaf", "figure"), [(OF_EIRE, "round_hash"), (TO_EIRE, "objection_hash")])
def test_an_objection_and_its_answer_name_exactly_what_they_are_about(log: PoolLog, leaf: int, figure: str) -> None:
    log.change(leaf, seal=False, **{figure: "0" * 64})
    assert place(log) == (leaf, figure)


def test_a_posting_in_the_review_is_found(log: PoolLog) -> None:
    for leaf in (APPROVAL, POSTING):
        log.rewrite(leaf, log.content(leaf), late_by=-2)
    assert place(log) == (POSTING, "time")


def test_an_objection_after_the_review_is_found(log: PoolLog) -> None:
    log.rewrite(OF_HAN, log.content(OF_HAN), late_by=REVIEW)
    assert place(log) == (OF_HAN, "time")


def test_an_approval_over_an_open_objection_is_found() -> None:
    log = opened(Policy(review_seconds=REVIEW))
    log.calculate()
    log.object_to("eire")
    log.decide(Decision.APPROVED, "operators/oscar")
    log.post()
    assert place(log) == (6, "open objections")


@pytest.mark.parametrize(
    "late",
    [lambda log: log.object_to("eire"), lambda log: log.answer("han", Answer.DISMISSED)],
    ids=["objection", "answer"],
)
def test_nothing_is_said_of_a_round_that_is_decided(late: Callable[[PoolLog], int]) -> None:
    log = opened(Policy(review_seconds=REVIEW))
    log.calculate()
    log.object_to("han")
    log.decide(Decision.REJECTED, "operators/oscar")
    assert found_in(log) is None
    assert place_of(log, late(log)) == "round"


def place_of(log: PoolLog, leaf: int) -> str:
    found = place(log)
    assert found[0] == leaf
    return found[1]


def test_a_round_that_an_upheld_objection_rejected_is_calculated_again_and_objected_to_again() -> None:
    log = opened(Policy(review_seconds=REVIEW))
    log.calculate()
    log.object_to("eire")
    log.answer("eire", Answer.UPHELD)
    log.decide(Decision.REJECTED, "operators/oscar")
    again = log.calculate()
    log.object_to("eire")
    log.answer("eire", Answer.SET_ASIDE)
    log.decide(Decision.APPROVED, "operators/oscar")
    log.post()
    assert found_in(log) is None
    assert log.replay(again).finding is None
    assert log.placed(PostingContent)[-1][1].set_aside == ["eire"]


def silent(by: str = "scheduler") -> PoolLog:
    """A round that is approved by silence, by whoever calculated it."""
    log = opened(Policy(review_seconds=MIN_SILENCE_SECONDS, approval=Approval.SILENCE))
    fired = log.fired()
    log.calculate(by, fire_times=fired if by == SCHEDULER else None)
    return log


def test_silence_approves_a_round_of_the_schedule_after_its_review() -> None:
    log = silent()
    log.decide(Decision.APPROVED, "policy")
    log.post()
    assert found_in(log) is None


def test_silence_does_not_approve_what_an_operator_asked_for() -> None:
    log = silent("operators/olive")
    log.decide(Decision.APPROVED, "policy")
    assert place(log) == (6, "calculated by")


def test_any_objection_ends_silence_and_an_operator_approves() -> None:
    log = silent()
    log.object_to("eire")
    log.answer("eire", Answer.DISMISSED)
    by_hand = deepcopy(log)
    log.decide(Decision.APPROVED, "policy")
    assert place(log) == (8, "objections")
    by_hand.decide(Decision.APPROVED, "operators/oscar")
    assert found_in(by_hand) is None
    assert len(by_hand.placed(AnswerContent)) == 1
