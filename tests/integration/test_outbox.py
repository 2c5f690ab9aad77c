"""An outbox and the service: interrupted anywhere, each event counts once, and a wrong one holds no other up."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import pytest

from moiety import Mode, Outbox, UsageEvent
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NOON, POOL, Scene, event, events, open_scene


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def test_a_delivery_that_was_killed_before_it_removed_a_batch_gets_the_first_receipt(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox(tmp_path, POOL, METHOD) as outbox:
        outbox.put(*events(range(10)))
        with monkeypatch.context() as killing:
            killing.setattr(outbox, "remove", lambda _: sys.exit("killed"))
            with pytest.raises(SystemExit):
                scene.platform.deliver(outbox)
    (first,) = scene.platform.list_batches(POOL)
    with Outbox(tmp_path, POOL, METHOD) as outbox:
        outbox.put(*events(range(5, 15)))  # five of them again, in another batch
        again, new = scene.platform.deliver(outbox).receipts
    assert (again.leaf_index, again.accepted_count, again.duplicate_count) == (first.leaf_index, 10, 0)
    assert (new.accepted_count, new.duplicate_count) == (5, 5)


def test_the_service_s_refusals_are_set_aside_event_by_event(scene: Scene, tmp_path: Path) -> None:
    unknown = event(1, shares={"atlantean": 1})
    nothing = event(2, units=0)
    future = UsageEvent(UUID(int=99), NOON.replace(year=2099), 1, Mode.AI_ONLY, {"irish": 1})
    with Outbox(tmp_path, POOL, METHOD) as outbox:
        outbox.put(event(0), unknown, nothing, event(3), future, event(4))
        delivery = scene.platform.deliver(outbox)
        assert {item.event.event_id for item in delivery.refused} == {
            unknown.event_id,
            nothing.event_id,
            future.event_id,
        }
        assert [(receipt.accepted_count, receipt.duplicate_count) for receipt in delivery.receipts] == [(3, 0)]
        assert len(outbox) == 0
