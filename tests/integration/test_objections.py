"""The review of a round by a real service: objections, answers, what waits for them, and whatever races."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
import sqlalchemy as sa

from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from moiety import (
    Client,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    Objection,
    PermissionDeniedError,
    Policy,
    Schedule,
    ServiceError,
)
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import APPROVAL_SILENCE
from moiety.v1.rounds_pb2 import (
    OBJECTION_ANSWER_DISMISSED,
    OBJECTION_ANSWER_SET_ASIDE,
    OBJECTION_ANSWER_UPHELD,
    ROUND_STATE_CALCULATED,
    ROUND_STATE_POSTED,
    ROUND_STATE_REJECTED,
)
from payout.store.rounds import RoundRecord
from tests.support.books import require_sound_log, row_counts
from tests.support.deployment import Deployment, SteppedClock
from tests.support.fsck_scene import findings
from tests.support.racing import at_once
from tests.support.scene import NANO, POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

REVIEW: Final = 3600
THREE_DAYS: Final = 3 * 24 * 3600
OF_TWO: Final = Controls.of_one().model_copy(update={"people": 2, "rounds": 2})


def refused_state(call: Callable[[], object]) -> str:
    with pytest.raises(FailedPreconditionError) as caught:
        call()
    return caught.value.reason


def require_sound_database(owner: sa.Engine) -> None:
    """Check that the database is what follows from the logs."""
    with owner.connect() as connection:
        assert findings(connection) == []


def calculated(scene: Scene) -> None:
    """A round of 1,000 under review: 600 for irish, 400 for breton."""
    scene.pay_in(1000, "r")
    scene.submit([event(1, shares={"irish": 600_000_000, "breton": NANO - 600_000_000})], "b")
    scene.operator.calculate_round(POOL, request_id="q")


@pytest.fixture
def scene(deploy: Callable[..., Deployment]) -> Scene:
    """A calculated round that takes two operators to post."""
    found = open_scene(deploy(controls=OF_TWO), policy=Policy(review_seconds=REVIEW))
    calculated(found)
    return found


@pytest.fixture
def irish(scene: Scene) -> Client:
    return scene.deployment.client("collectives/irish")


def test_a_collective_sees_its_own_line_as_soon_as_the_round_is_calculated(irish: Client) -> None:
    assert irish.get_round(POOL, 1).state == ROUND_STATE_CALCULATED
    (own,) = irish.list_allocations(POOL, 1)
    assert (own.collective, own.amount_minor) == ("collectives/irish", 600)
    header, line = irish.get_statement(POOL, 1).decode().splitlines()
    assert header.startswith("collective,")
    assert line.startswith("irish,")
    review = irish.get_round(POOL, 1).review_end_time.ToSeconds() - irish.get_round(POOL, 1).calculate_time.ToSeconds()
    assert review == REVIEW


def test_a_platform_sees_totals_and_its_own_account_and_nothing_of_others(scene: Scene) -> None:
    platform = scene.platform
    assert [found.pot_minor for found in platform.list_rounds(POOL)] == [1000]
    assert platform.get_round(POOL, 1).allocated_minor == 1000
    assert {found.name: found.amount_minor for found in platform.list_balances(POOL)} == {
        "pools/folk/accounts/platform/tunesmith": -1000
    }
    assert platform.get_balance(POOL, "platform/tunesmith").amount_minor == -1000
    assert [moved.amount_minor for moved in platform.list_transfers(POOL, account="platform/tunesmith")] == [1000]
    for account in ("collective/irish", "platform/songbird", "revenue"):
        with pytest.raises(PermissionDeniedError):
            platform.get_balance(POOL, account)
        with pytest.raises(PermissionDeniedError):
            list(platform.list_transfers(POOL, account=account))
    with pytest.raises(InvalidArgumentError):
        list(platform.list_transfers(POOL))
    for call in (platform.list_allocations, platform.list_objections):
        with pytest.raises(PermissionDeniedError):
            list(call(POOL, 1))
    with pytest.raises(PermissionDeniedError):
        platform.get_statement(POOL, 1)


def test_an_open_objection_holds_the_posting_up_until_it_is_answered(
    scene: Scene, irish: Client, owner: sa.Engine
) -> None:
    made = irish.object_to_round(POOL, 1, "ours since 1969")
    assert (made.name, made.collective) == ("pools/folk/rounds/1/objections/irish", "collectives/irish")
    assert irish.object_to_round(POOL, 1, "ours since 1969") == made
    scene.after_review(1)
    before = row_counts(owner)
    assert refused_state(lambda: scene.reviewer.approve_round(POOL, 1)) == "OBJECTION_OPEN"
    assert row_counts(owner) == before
    scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_DISMISSED, "the statement says why")
    assert scene.reviewer.approve_round(POOL, 1).state == ROUND_STATE_POSTED
    assert scene.balances()["collective/irish"] == 600
    require_sound_log(owner, POOL)
    require_sound_database(owner)


def test_what_is_set_aside_is_held_as_disputed_and_released_by_a_later_act(
    scene: Scene, irish: Client, owner: sa.Engine
) -> None:
    irish.object_to_round(POOL, 1, "a second recording is ours too")
    answered = scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_SET_ASIDE, "to be looked at")
    assert (answered.answered_by, answered.answer_reason) == ("operators/otto", "to be looked at")
    scene.approve(1)
    assert scene.balances() == {
        "collective/breton": 400, "held/irish": 600, "platform/tunesmith": -1000, "revenue": 0,
    }  # fmt: skip
    scene.operator.release_held(POOL, "irish", 600, request_id="h", reason="the recording is theirs")
    assert scene.balances()["collective/irish"] == 600
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    require_sound_database(owner)


def test_an_upheld_objection_rejects_the_round(scene: Scene, irish: Client, owner: sa.Engine) -> None:
    said = irish.object_to_round(POOL, 1, "an hour of usage is missing")
    scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_UPHELD, "it is")
    rejected = scene.platform.get_round(POOL, 1)
    assert (rejected.state, rejected.decided_by) == (ROUND_STATE_REJECTED, "operators/otto")
    assert rejected.reason == f"the objection at leaf {said.leaf_index} was upheld"
    assert [found.answer_reason for found in irish.list_objections(POOL, 1)] == ["it is"]
    again = scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_UPHELD, "it is")
    assert again.answer == OBJECTION_ANSWER_UPHELD
    assert scene.operator.calculate_round(POOL, request_id="q-2").number == 2
    assert irish.object_to_round(POOL, 2, "still").leaf_index > again.answer_leaf_index
    require_sound_database(owner)


def test_who_calculated_does_not_answer_where_posting_takes_two(scene: Scene, irish: Client) -> None:
    irish.object_to_round(POOL, 1, "no")
    answer = lambda: scene.operator.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_DISMISSED, "mine")  # noqa: E731
    assert refused_state(answer) == "PROPOSED_IT"
    assert [found.answer for found in scene.operator.list_objections(POOL, 1)] == [0]


def test_an_objection_comes_once_and_within_the_review_of_a_round_that_has_the_collective(
    scene: Scene, irish: Client
) -> None:
    irish.object_to_round(POOL, 1, "first")
    assert refused_state(lambda: irish.object_to_round(POOL, 1, "another")) == "OBJECTED"
    scene.operator.create_collective("manx", Collective(display_name="Manx"))
    manx, breton = (scene.deployment.client(f"collectives/{name}") for name in ("manx", "breton"))
    assert refused_state(lambda: manx.object_to_round(POOL, 1, "us too")) == "NOT_IN_ROUND"
    with pytest.raises(NotFoundError):
        irish.object_to_round(POOL, 2, "no such round")
    with pytest.raises(NotFoundError):
        scene.reviewer.answer_objection(POOL, 1, "breton", OBJECTION_ANSWER_DISMISSED, "did not object")
    scene.after_review(1)
    assert refused_state(lambda: breton.object_to_round(POOL, 1, "late")) == "REVIEW_OVER"
    scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_DISMISSED, "no")
    other = lambda: scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_SET_ASIDE, "yes")  # noqa: E731
    assert refused_state(other) == "OBJECTION_ANSWERED"
    scene.approve(1)
    assert refused_state(lambda: breton.object_to_round(POOL, 1, "too late")) == "ROUND_DECIDED"


@pytest.mark.parametrize("reason", ["", "x" * 1001, "two\nlines"])
def test_an_objection_and_an_answer_need_a_reason(scene: Scene, irish: Client, reason: str) -> None:
    with pytest.raises(InvalidArgumentError):
        irish.object_to_round(POOL, 1, reason)
    irish.object_to_round(POOL, 1, "no")
    with pytest.raises(InvalidArgumentError):
        scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_DISMISSED, reason)


def test_a_collective_sees_its_own_objection_alone(scene: Scene, irish: Client) -> None:
    breton = scene.deployment.client("collectives/breton")
    for client in (irish, breton):
        client.object_to_round(POOL, 1, "ours")
    assert [found.collective for found in breton.list_objections(POOL, 1)] == ["collectives/breton"]
    for reader in (scene.operator, scene.deployment.client("auditors/ada")):
        found = [each.collective for each in reader.list_objections(POOL, 1)]
        assert found == ["collectives/breton", "collectives/irish"]


def test_a_revoked_key_objects_to_nothing(scene: Scene, irish: Client) -> None:
    (key,) = [each for each in scene.operator.list_api_keys() if each.principal == "collectives/irish"]
    scene.operator.revoke_api_key(key.name.removeprefix("keys/"))
    with pytest.raises(ServiceError):
        irish.object_to_round(POOL, 1, "no")
    assert list(scene.operator.list_objections(POOL, 1)) == []


def test_a_review_of_no_time_is_refused_where_posting_takes_two(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(controls=OF_TWO)
    with pytest.raises(InvalidArgumentError) as caught:
        open_scene(deployment, policy=Policy(review_seconds=0))
    assert [item.field for item in caught.value.violations] == ["policy.review_seconds"]
    scene = open_scene(deployment, policy=Policy(review_seconds=1))
    with pytest.raises(InvalidArgumentError):
        scene.operator.create_policy(POOL, Policy(fee_ppm=1))


def test_a_round_waits_for_the_second_person_where_the_controls_came_after_its_policy(deployment: Deployment) -> None:
    scene = open_scene(deployment)
    deployment.act(ControlsContent(controls=OF_TWO))
    # Their keys from before were issued by one person alone.
    operator, reviewer = deployment.client("operators/olive"), deployment.client("operators/otto")
    scene.fill()
    assert operator.calculate_round(POOL, request_id="q").state == ROUND_STATE_CALCULATED
    assert refused_state(lambda: operator.approve_round(POOL, 1)) == "PROPOSED_IT"
    assert reviewer.approve_round(POOL, 1).state == ROUND_STATE_POSTED
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


# Silence.


@pytest.fixture
def silent(deploy: Callable[..., Deployment]) -> Scene:
    """A pool whose rounds are cut every month, and posted by silence."""
    policy = Policy(review_seconds=THREE_DAYS, approval=APPROVAL_SILENCE)
    scene = open_scene(deploy(controls=OF_TWO), policy=policy)
    scene.operator.update_schedule(POOL, Schedule(cron="0 0 1 * *", time_zone="UTC"))
    scene.pay_in(1000, "r")
    scene.submit([event(1, shares={"irish": NANO})], "b")
    scene.deployment.clock.advance(days=31)
    assert [found.content.number for found in look(scene)] == [1]
    return scene


def look(scene: Scene) -> list[RoundRecord]:
    """One look of the scheduler."""
    return scene.deployment.running.parts.scheduler.run_once()


def test_silence_posts_after_three_days_and_not_before(silent: Scene, owner: sa.Engine) -> None:
    clock = silent.deployment.clock
    clock.advance(seconds=THREE_DAYS - 1)
    assert look(silent) == []
    clock.advance(seconds=1)
    assert len(look(silent)) == 1
    assert silent.operator.get_round(POOL, 1).state == ROUND_STATE_POSTED
    assert silent.operator.get_round(POOL, 1).decided_by == "policy"
    assert look(silent) == []
    assert silent.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    require_sound_database(owner)


def test_any_objection_ends_silence_for_its_round(silent: Scene) -> None:
    silent.deployment.client("collectives/irish").object_to_round(POOL, 1, "no")
    silent.operator.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_DISMISSED, "the statement says why")
    silent.after_review(1)
    assert look(silent) == []
    assert silent.operator.approve_round(POOL, 1).state == ROUND_STATE_POSTED


def test_a_paused_schedule_posts_nothing_by_silence(silent: Scene) -> None:
    silent.operator.update_schedule(POOL, Schedule(cron="0 0 1 * *", time_zone="UTC", paused=True))
    silent.after_review(1)
    assert look(silent) == []
    assert silent.operator.get_round(POOL, 1).state == ROUND_STATE_CALCULATED


def test_a_round_that_an_operator_asked_for_is_not_posted_by_silence(silent: Scene) -> None:
    silent.operator.reject_round(POOL, 1, "by hand instead")
    silent.operator.calculate_round(POOL, request_id="q")
    silent.after_review(2)
    assert look(silent) == []
    assert silent.operator.get_round(POOL, 2).state == ROUND_STATE_CALCULATED


# Races.


@pytest.mark.parametrize("turn", range(5))
def test_whatever_races_nothing_is_posted_over_an_objection(
    deploy: Callable[..., Deployment], owner: sa.Engine, clock: SteppedClock, turn: int
) -> None:
    """Two servers on one database: objections come in while approvals and the scheduler try to post."""
    policy = Policy(review_seconds=THREE_DAYS, approval=APPROVAL_SILENCE)
    first = deploy(controls=OF_TWO)
    scene = open_scene(first, policy=policy)
    other = deploy(controls=OF_TWO)
    objecting = [other.client(f"collectives/{name}") for name in ("irish", "breton", "scottish")]
    scene.operator.update_schedule(POOL, Schedule(cron="0 0 1 * *", time_zone="UTC"))
    calculated_by_schedule(scene)
    clock.advance(seconds=THREE_DAYS - 1)
    # The clock passes the end of the review while they are under way.
    calls: list[Callable[[], object]] = [
        *(lambda client=client: client.object_to_round(POOL, 1, "no") for client in objecting),
        lambda: clock.advance(seconds=1),
        lambda: scene.operator.approve_round(POOL, 1),
        lambda: scene.reviewer.approve_round(POOL, 1),
        first.running.parts.scheduler.run_once,
        other.running.parts.scheduler.run_once,
    ]
    shift = turn % len(calls)
    at_once(*calls[shift:], *calls[:shift])
    objected = list(scene.operator.list_objections(POOL, 1))
    state = scene.operator.get_round(POOL, 1).state
    assert state == ROUND_STATE_CALCULATED or not objected
    if objected:
        first.running.parts.scheduler.run_once()
        assert refused_state(lambda: scene.operator.approve_round(POOL, 1)) == "OBJECTION_OPEN"
    require_sound_database(owner)
    require_sound_log(owner, POOL)


def calculated_by_schedule(scene: Scene) -> None:
    scene.pay_in(1000, "r")
    scene.submit([event(1, shares={"irish": NANO})], "b")
    scene.deployment.clock.advance(days=31)
    assert len(look(scene)) == 1


def test_two_answers_at_once_are_one(scene: Scene, irish: Client) -> None:
    third = scene.deployment.client("operators/oona")
    scene.operator.reject_round(POOL, 1, "so that the third operator was there before")
    scene.operator.calculate_round(POOL, request_id="q-2")
    irish.object_to_round(POOL, 2, "no")
    answers = at_once(
        lambda: scene.reviewer.answer_objection(POOL, 2, "irish", OBJECTION_ANSWER_DISMISSED, "no"),
        lambda: third.answer_objection(POOL, 2, "irish", OBJECTION_ANSWER_SET_ASIDE, "yes"),
    )
    done = [each for each in answers if isinstance(each, Objection)]
    assert len(done) == 1
    assert [found.answer for found in scene.operator.list_objections(POOL, 2)] == [done[0].answer]
