"""Large batches that come at the same time: one transaction, and each as if it were alone."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, Final

import pytest
import sqlalchemy as sa

from ledger.store.usage.batches import BatchIdentity, RecordedBatch
from ledger.store.usage.intake import GROUPED_EVENTS, LARGE_AT_ONCE, LARGE_TOGETHER, UsageStore
from ledger.store.usage.prepared import Sent
from ledger.usage.batch import Batch
from moiety import batch_of, usage_batches
from tests.support.books import require_sound_log, row_counts, wait_until
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, events, open_scene

EVENTS: Final = GROUPED_EVENTS + 1


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def at_once(scene: Scene, asked: Sequence[tuple[int, str]]) -> list[Future[RecordedBatch]]:
    """Accept batches (number of the first event, batch id) so that all wait before the first ones, which are recorded
    each by itself at the same time, are done.
    """
    usage, go = scene.deployment.running.parts.usage, Event()
    record: Any = UsageStore._record_new
    begun: list[Any] = []

    def held(self: UsageStore, group: Any) -> Any:
        begun.append(group)
        assert go.wait(240)
        return record(self, group)

    def is_there(place: int) -> bool:
        return len(begun) + len(usage._large._waiting.get(POOL, ())) > place

    found = []
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(asked)) as threads:
        patch.setattr(UsageStore, "_record_new", held)
        for place, (first, batch_id) in enumerate(asked):
            (body,) = usage_batches(batch_of(events(range(first, first + EVENTS))))
            sent = Sent.of(BatchIdentity(POOL, "tunesmith", batch_id), METHOD, body)
            found.append(threads.submit(usage.accept, sent))
            wait_until(lambda place=place: is_there(place))  # type: ignore[misc]
        assert len(begun) == LARGE_AT_ONCE
        go.set()
    return found


def transactions_of(owner: sa.Engine, leaves: Sequence[int]) -> int:
    """How many transactions recorded some leaves of the pool."""
    query = sa.text(
        "SELECT count(DISTINCT leaf.xmin::text) FROM leaf JOIN pool USING (pool_id) WHERE name = :pool"
        " AND leaf.leaf_index = ANY(:leaves)"
    )
    with owner.connect() as connection:
        return int(connection.execute(query, {"pool": POOL, "leaves": list(leaves)}).scalar_one())


def test_they_share_a_transaction_and_each_has_a_leaf_of_its_own(scene: Scene, owner: sa.Engine) -> None:
    count = LARGE_AT_ONCE + 2 * LARGE_TOGETHER
    recorded = [
        future.result() for future in at_once(scene, [(EVENTS * place, f"b-{place}") for place in range(count)])
    ]
    leaves = [each.leaf_index for each in recorded]
    assert sorted(leaves) == list(range(min(leaves), min(leaves) + count))
    first, second = leaves[LARGE_AT_ONCE:-LARGE_TOGETHER], leaves[-LARGE_TOGETHER:]
    assert [transactions_of(owner, part) for part in (first, second, leaves)] == [1, 1, LARGE_AT_ONCE + 2]
    assert [each.content.accepted for each in recorded] == [EVENTS] * count
    assert require_sound_log(owner, POOL) == max(leaves) + 1
    counts = row_counts(owner)
    assert (counts["batch"], counts["body"]) == (count, count)


def test_one_that_waits_for_its_turn_keeps_none_of_its_columns(scene: Scene) -> None:
    (body,) = usage_batches(batch_of(events(range(EVENTS))))
    before = batches_in_memory()
    prepared = scene.deployment.running.parts.usage._preparation.one(
        Sent.of(BatchIdentity(POOL, "tunesmith", "b-0"), METHOD, body)
    )
    assert (len(prepared), batches_in_memory()) == (EVENTS, before)


def batches_in_memory() -> int:
    gc.collect()
    return sum(type(each) is Batch for each in gc.get_objects())


def test_an_event_in_two_of_them_counts_once(scene: Scene, owner: sa.Engine) -> None:
    asked = [(0, "b-0"), (5_000, "b-1"), (9_000, "b-2"), (9_100, "b-3"), (100, "b-4")]
    recorded = [future.result() for future in at_once(scene, asked)]
    assert [each.content.accepted for each in recorded] == [EVENTS, EVENTS, EVENTS, 100, 100]
    assert recorded[3].duplicate_positions().tolist() == list(range(EVENTS - 100))
    assert require_sound_log(owner, POOL) == max(each.leaf_index for each in recorded) + 1


def test_the_same_batch_twice_among_them_is_recorded_once(scene: Scene, owner: sa.Engine) -> None:
    asked = [(0, "b-0"), (5_000, "b-1"), (9_000, "b-2"), (9_000, "b-2"), (0, "b-0")]
    leaves = [future.result().leaf_index for future in at_once(scene, asked)]
    assert (leaves[2], leaves[0]) == (leaves[3], leaves[4])
    assert len(set(leaves)) == row_counts(owner)["batch"] == 3
    require_sound_log(owner, POOL)
