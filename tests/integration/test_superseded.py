"""A batch is under the versions that are the latest at its leaf, whatever is declared while it is prepared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from ledger.errors import LostRaceError
from ledger.store.pools.pools import pool_ref
from ledger.store.usage.batches import BatchIdentity, find_batch, list_batches
from ledger.store.usage.intake import GROUPED_EVENTS
from ledger.store.usage.prepared import Preparation, Sent
from ledger.usage.entries import UsageContent
from moiety import Method, Mode, batch_of, usage_batches
from moiety.attribution import score_batches
from moiety.v1.registry_pb2 import SCORE_KIND_COUNT
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NOON, POOL, Scene, event, events, open_scene


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def after_preparing(monkeypatch: pytest.MonkeyPatch, happens: Callable[[int], object]) -> None:
    """Let something happen each time that a batch was prepared and is not yet recorded."""
    prepare: Any = Preparation.each
    times = iter(range(1, 100))

    def prepared(*given: Any) -> Any:
        found = prepare(*given)
        happens(next(times))
        return found

    monkeypatch.setattr(Preparation, "each", prepared)


def next_method(scene: Scene, confidence_ppm: int) -> None:
    scene.operator.create_method(POOL, METHOD, Method(display_name="next", confidence_ppm=confidence_ppm))


def said_of(scene: Scene, batch_id: str) -> UsageContent:
    """What the log says of a batch."""
    with scene.deployment.running.parts.database.reading() as connection:
        return find_batch(connection, pool_ref(connection, POOL), "tunesmith", batch_id).content


@pytest.mark.parametrize("count", [1, GROUPED_EVENTS + 1])
def test_a_method_s_version_that_comes_meanwhile_is_the_one_that_counts(
    count: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_preparing(monkeypatch, lambda time: next_method(scene, 100_000) if time == 1 else None)
    (body,) = usage_batches(batch_of(events(range(count))))
    recorded = scene.deployment.running.parts.usage.accept(
        Sent.of(BatchIdentity(POOL, "tunesmith", "first"), METHOD, body)
    )
    assert (recorded.content.accepted, recorded.content.method_version) == (count, 2)


def test_a_membership_s_version_that_comes_meanwhile_is_the_one_that_counts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.operator.create_membership(POOL, "items", {"tune": "irish"})
    scene.operator.create_method(
        POOL, "counts", Method(display_name="counts", confidence_ppm=1, score_kind=SCORE_KIND_COUNT, membership="items")
    )
    move = {"tune": "breton"}
    after_preparing(
        monkeypatch, lambda time: scene.operator.create_membership(POOL, "items", move) if time == 1 else None
    )
    scores = score_batches(
        np.array([[1.0]]), items=["tune"], works=["urn:work:1"], occurred_at=NOON, units=1, mode=Mode.AI_ONLY
    )
    scene.platform.submit_scores(POOL, scores, "counts")
    with scene.deployment.running.parts.database.reading() as connection:
        pool = pool_ref(connection, POOL)
        (batch,) = list_batches(connection, pool, platform=None, after=-1, limit=2)
    assert batch.content.membership_version == 2


def test_who_is_overtaken_again_and_again_is_told_to_come_back_and_nothing_is_kept(
    scene: Scene, owner: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = scene.deployment.running.parts.usage
    identity, (body,) = BatchIdentity(POOL, "tunesmith", "first"), usage_batches(batch_of([event(1)]))
    with monkeypatch.context() as patched:
        after_preparing(patched, lambda time: next_method(scene, time))
        with pytest.raises(LostRaceError):
            usage.accept(Sent.of(identity, METHOD, body))
    with owner.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM batch")).scalar_one() == 0
        assert connection.execute(sa.text("SELECT count(*) FROM event")).scalar_one() == 0
    assert usage.accept(Sent.of(identity, METHOD, body)).content.accepted == 1


def test_a_batch_that_was_recorded_keeps_its_version(scene: Scene) -> None:
    scene.submit([event(1)], "first")
    next_method(scene, 100_000)
    scene.submit([event(1)], "first")
    assert said_of(scene, "first").method_version == 1
