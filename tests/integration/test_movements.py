"""What operators move by hand: what was held is released or returned, and the fund grants."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from moiety import Collective, FailedPreconditionError, InvalidArgumentError, NotFoundError, Policy
from moiety.v1.accounts_pb2 import (
    TRANSFER_PURPOSE_GRANT,
    TRANSFER_PURPOSE_RELEASE,
    TRANSFER_PURPOSE_RETURN,
)
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import COLLECTIVE_STATUS_SUSPENDED, COMMONS_RULE_FUND
from tests.support.books import require_sound_log, row_counts
from tests.support.deployment import Deployment
from tests.support.scene import NANO, POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """After a round that held 600 for the suspended Irish, paid the Bretons 100, and put 300 in the fund."""
    scene = open_scene(deployment, policy=Policy(commons_rule=COMMONS_RULE_FUND))
    suspended = Collective(display_name="irish", members=10, status=COLLECTIVE_STATUS_SUSPENDED)
    scene.operator.update_collective("irish", suspended)
    scene.submit([event(1, shares={"irish": 6 * NANO // 10, "breton": NANO // 10})], "b")
    scene.pay_in(1000, "r")
    scene.cut("q")
    assert scene.balances() == {
        "collective/breton": 100, "commons": 300, "held/irish": 600, "platform/tunesmith": -1000, "revenue": 0,
    }  # fmt: skip
    return scene


def release(scene: Scene, amount: int, request_id: str = "m", **changes: Any) -> Any:
    values = {"reason": "settled", "collective": "irish", **changes}
    return scene.operator.release_held(POOL, values.pop("collective"), amount, request_id=request_id, **values)


def grant(scene: Scene, amount: int, request_id: str = "m", **changes: Any) -> Any:
    values = {"reason": "a school", "collective": "irish", **changes}
    return scene.operator.grant_from_commons(POOL, values.pop("collective"), amount, request_id=request_id, **values)


def require_whole(scene: Scene, owner: sa.Engine) -> None:
    assert sum(scene.balances().values()) == 0
    require_sound_log(owner, POOL)
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    scene.fill()
    scene.cut("after")
    assert scene.operator.replay_round(POOL, 2).outcome == REPLAY_OUTCOME_MATCH


def last_transfer(scene: Scene) -> tuple[int, str, str, int, int]:
    found = list(scene.operator.list_transfers(POOL))[-1]
    return found.leaf_index, found.from_account, found.to_account, found.amount_minor, found.purpose


def test_what_is_held_is_released_to_the_collective(scene: Scene, owner: sa.Engine) -> None:
    found = release(scene, 250)
    assert (found.name, found.collective) == (f"pools/{POOL}/releases/m", "collectives/irish")
    assert (found.amount_minor, found.to_commons, found.reason) == (250, False, "settled")
    assert found.decided_by == "operators/olive"
    assert found.create_time.ToDatetime(scene.deployment.clock.now.tzinfo) == scene.deployment.clock.now
    expected = (found.leaf_index, "held/irish", "collective/irish", 250, TRANSFER_PURPOSE_RELEASE)
    assert last_transfer(scene) == expected
    balances = scene.balances()
    assert (balances["held/irish"], balances["collective/irish"], balances["commons"]) == (350, 250, 300)
    scene.operator.record_payment(POOL, "irish", 250, request_id="p")
    require_whole(scene, owner)


def test_what_is_held_is_returned_to_the_commons(scene: Scene, owner: sa.Engine) -> None:
    found = release(scene, 600, to_commons=True)
    assert found.to_commons
    assert last_transfer(scene) == (found.leaf_index, "held/irish", "commons", 600, TRANSFER_PURPOSE_RETURN)
    balances = scene.balances()
    assert (balances["held/irish"], balances["commons"]) == (0, 900)
    assert "collective/irish" not in balances
    grant(scene, 900, "g", collective="scottish")
    require_whole(scene, owner)


def test_the_fund_grants_to_a_collective(scene: Scene, owner: sa.Engine) -> None:
    found = grant(scene, 120, collective="scottish")
    assert (found.name, found.collective) == (f"pools/{POOL}/grants/m", "collectives/scottish")
    assert (found.amount_minor, found.reason, found.decided_by) == (120, "a school", "operators/olive")
    assert last_transfer(scene) == (found.leaf_index, "commons", "collective/scottish", 120, TRANSFER_PURPOSE_GRANT)
    balances = scene.balances()
    assert (balances["commons"], balances["collective/scottish"]) == (180, 120)
    require_whole(scene, owner)


@pytest.mark.parametrize(
    ("move", "account"),
    [
        (lambda scene: release(scene, 601), "held/irish"),
        (lambda scene: release(scene, 601, to_commons=True), "held/irish"),
        (lambda scene: release(scene, 1, collective="breton"), "held/breton"),
        (lambda scene: grant(scene, 301), "commons"),
    ],
    ids=["release", "return", "release of nothing", "grant"],
)
def test_more_than_there_is_is_refused_and_nothing_is_kept(
    scene: Scene, owner: sa.Engine, move: Callable[[Scene], Any], account: str
) -> None:
    before = row_counts(owner)
    with pytest.raises(FailedPreconditionError) as caught:
        move(scene)
    assert caught.value.reason == "BALANCE_TOO_LOW"
    assert account in str(caught.value)
    assert row_counts(owner) == before


@pytest.mark.parametrize("move", [release, grant])
def test_a_movement_is_recorded_exactly_once(scene: Scene, owner: sa.Engine, move: Callable[..., Any]) -> None:
    first = move(scene, 200)
    before = row_counts(owner)
    scene.deployment.clock.advance(days=1)
    assert move(scene, 200) == first
    for amount, changes in ((201, {}), (200, {"reason": "another"}), (200, {"collective": "breton"})):
        with pytest.raises(InvalidArgumentError) as caught:
            move(scene, amount, **changes)
        assert [violation.field for violation in caught.value.violations] == ["request_id"]
    assert row_counts(owner) == before


def test_clients_that_repeat_a_movement_at_once_move_it_once(scene: Scene, owner: sa.Engine) -> None:
    clients = [scene.deployment.client("operators/olive") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda one: one.grant_from_commons(POOL, "irish", 300, request_id="m", reason="x"), clients)
        )
    assert all(each == found[0] for each in found)
    assert scene.balances()["commons"] == 0
    require_whole(scene, owner)


def test_payments_releases_and_grants_have_one_set_of_request_ids(scene: Scene, owner: sa.Engine) -> None:
    scene.operator.record_payment(POOL, "breton", 1, request_id="p", reference="settled")
    release(scene, 1, "h")
    grant(scene, 1, "g")
    before = row_counts(owner)

    def pay(_: Scene, amount: int, request_id: str) -> Any:
        return scene.operator.record_payment(POOL, "breton", amount, request_id=request_id)

    def give_back(_: Scene, amount: int, request_id: str) -> Any:
        return release(scene, amount, request_id, to_commons=True)

    moves: list[tuple[Callable[[Scene, int, str], Any], tuple[str, ...]]] = [
        (pay, ("h", "g")),
        (release, ("p", "g")),
        (give_back, ("p", "g", "h")),
        (grant, ("p", "h")),
    ]
    for move, request_ids in moves:
        for request_id in request_ids:
            with pytest.raises(InvalidArgumentError) as caught:
                move(scene, 1, request_id)
            assert [violation.field for violation in caught.value.violations] == ["request_id"]
    assert row_counts(owner) == before


@pytest.mark.parametrize(("move", "field"), [(release, "release"), (grant, "grant")])
def test_what_a_movement_says_is_checked(scene: Scene, owner: sa.Engine, move: Callable[..., Any], field: str) -> None:
    before = row_counts(owner)
    for values, name in (
        ({"amount": 0}, f"{field}.amount_minor"),
        ({"amount": -5}, f"{field}.amount_minor"),
        ({"amount": 1, "reason": ""}, f"{field}.reason"),
        ({"amount": 1, "reason": "x" * 1001}, f"{field}.reason"),
        ({"amount": 1, "reason": "two\nlines"}, f"{field}.reason"),
        ({"amount": 1, "collective": "No One"}, f"{field}.collective"),
        ({"amount": 1, "request_id": "a b"}, "request_id"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            move(scene, **values)
        assert [violation.field for violation in caught.value.violations] == [name]
    with pytest.raises(NotFoundError):
        move(scene, 1, collective="nobody")
    assert row_counts(owner) == before
