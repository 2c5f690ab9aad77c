"""Proposals that are overtaken: what they ask for was done meanwhile, or something else under the same name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from moiety import Client, Platform, Policy, Pool, ServiceError
from moiety.keys import make_key
from moiety.v1.acts_pb2 import PROPOSAL_STATE_APPROVED, PROPOSAL_STATE_OPEN
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED
from tests.support.deployment import Deployment
from tests.support.paying import of_two, pay_scene
from tests.support.scene import POOL, Scene

pytestmark = pytest.mark.surface

ABORTED: Final = grpc.StatusCode.ABORTED
EXISTS: Final = grpc.StatusCode.ALREADY_EXISTS
REUSED: Final = grpc.StatusCode.INVALID_ARGUMENT
KEY: Final = make_key()


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    """600 is owed to irish; whatever matters takes two people."""
    return of_two(pay_scene(deploy, tmp_path))


def opened(client: Client, name: str) -> Any:
    policy = Policy(review_seconds=60)
    return client.create_pool(
        "jazz", Pool(display_name=name, currency="EUR", policy=policy, distribute=DISTRIBUTE_RECEIVED)
    )


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda by, what: by.waive_report(POOL, "songbird", "2026-01", reason=what), ABORTED),
        (lambda by, what: by.create_platform("lyre", Platform(display_name=what)), EXISTS),
        (opened, EXISTS),
        (lambda by, what: by.create_api_key(f"auditors/{what}", KEY.hash), EXISTS),
        (lambda by, what: by.record_receipt(POOL, 5, request_id="x", note=what), REUSED),
        (lambda by, what: by.record_payment(POOL, "irish", 5, request_id="x", reference=what), ABORTED),
    ],
    ids=["waiver", "platform", "pool", "key", "receipt", "payment"],
)
def test_of_two_under_one_name_one_is_carried_out_and_the_other_cannot_be(
    scene: Scene, ask: Callable[[Client, str], Any], told: grpc.StatusCode
) -> None:
    for name in ("ada", "ben"):
        scene.deployment.client(f"auditors/{name}")
    first, second = (ask(scene.operator, what).proposal for what in ("ada", "ben"))
    assert first
    assert second not in ("", first)
    assert scene.reviewer.approve_proposal(first).state == PROPOSAL_STATE_APPROVED
    require_overtaken(scene, second, told)


@pytest.mark.parametrize(
    "ask",
    [
        lambda by: by.close_pool(POOL),
        lambda by: by.waive_report(POOL, "songbird", "2026-01", reason="none"),
        lambda by: by.create_platform("lyre", Platform(display_name="Lyre")),
        lambda by: by.create_api_key("operators/otto", KEY.hash),
        lambda by: by.record_receipt(POOL, 5, request_id="x"),
    ],
    ids=["closing", "waiver", "platform", "key", "receipt"],
)
def test_what_one_person_did_meanwhile_is_not_done_again(scene: Scene, ask: Callable[[Client], Any]) -> None:
    proposal = ask(scene.operator).proposal
    scene.deployment.act(ControlsContent(controls=Controls.of_one()))
    ask(scene.operator)
    require_overtaken(scene, proposal, ABORTED)


def require_overtaken(scene: Scene, proposal: str, told: grpc.StatusCode) -> None:
    """It cannot be approved, which says why and leaves it open."""
    size = scene.operator.get_log_head(POOL).size
    with pytest.raises(ServiceError) as caught:
        scene.reviewer.approve_proposal(proposal)
    assert caught.value.code is told, caught.value
    assert scene.operator.get_log_head(POOL).size == size
    assert scene.operator.get_proposal(proposal).state == PROPOSAL_STATE_OPEN
