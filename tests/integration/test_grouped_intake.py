"""Small batches that come at the same time: one transaction, and each as if it were alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from moiety import Client, InvalidArgumentError, Receipt
from services.api.calls.queues import FairThreads
from services.api.usage.submissions import Submissions
from tests.support.books import require_sound_log, row_counts, wait_until
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def at_once(scene: Scene, asked: Sequence[tuple[range, str, Client | None]]) -> tuple[list[Future[Receipt]], list[int]]:
    """Submits (numbers of events, batch id, whose if not the scene's platform's) so that all of them wait before the
    first is done; and tells how many calls were done together.
    """
    do, gather, first_is_there, go = Submissions.do, FairThreads.gather, Event(), Event()
    sizes: list[int] = []
    gathered: list[Any] = []

    def held(self: Submissions, group: Sequence[Any]) -> Any:
        if not first_is_there.is_set():
            first_is_there.set()
            assert go.wait(240)
        else:
            sizes.append(len(group))
        return do(self, group)

    def counted(self: FairThreads, *given: Any) -> None:
        gather(self, *given)
        gathered.append(given)

    first = partial(scene.platform.submit_events, POOL, [event(0)], METHOD, batch_id="first", validate_only=True)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1 + len(asked)) as threads:
        patch.setattr(Submissions, "do", held)
        patch.setattr(FairThreads, "gather", counted)
        threads.submit(first)
        assert first_is_there.wait(240)
        found = []
        for place, (numbers, batch_id, by) in enumerate(asked):
            found.append(threads.submit(scene.submit, events(numbers), batch_id, by=by))
            wait_until(lambda place=place: len(gathered) > place + 1)  # type: ignore[misc]
        go.set()
        for each in found:
            each.exception()
    return found, sizes


def test_they_share_a_transaction_and_each_has_a_leaf_of_its_own(scene: Scene, owner: sa.Engine) -> None:
    found, sizes = at_once(scene, [(range(10 * place, 10 * place + 10), f"b-{place}", None) for place in range(5)])
    receipts = [future.result() for future in found]
    assert sizes == [5]
    first = receipts[0].leaf_index
    assert [receipt.leaf_index for receipt in receipts] == list(range(first, first + 5))
    assert [(receipt.accepted_count, receipt.duplicate_count) for receipt in receipts] == [(10, 0)] * 5
    assert require_sound_log(owner, POOL) == first + 5
    counts = row_counts(owner)
    assert (counts["event"], counts["batch"], counts["body"]) == (50, 5, 5)
    assert [scene.submit(events(range(10)), "b-0"), scene.submit(events(range(40, 50)), "b-4")] == [
        receipts[0],
        receipts[4],
    ]


def test_platforms_do_not_stand_in_each_other_s_way(scene: Scene, owner: sa.Engine) -> None:
    songbird = scene.deployment.client("platforms/songbird")
    found, sizes = at_once(scene, [(range(30), "b-1", None), (range(30), "b-1", songbird)])
    assert sizes == [2]
    assert [future.result().accepted_count for future in found] == [30, 30]
    assert row_counts(owner)["event"] == 60
    require_sound_log(owner, POOL)


def test_an_event_in_two_of_them_counts_once(scene: Scene, owner: sa.Engine) -> None:
    found, sizes = at_once(scene, [(range(10), "b-0", None), (range(5, 15), "b-1", None), (range(20, 30), "b-2", None)])
    receipts = [future.result() for future in found]
    assert sizes[0] == 3
    assert [receipt.accepted_count for receipt in receipts] == [10, 5, 10]
    assert list(receipts[1].duplicate_positions) == [0, 1, 2, 3, 4]
    assert row_counts(owner)["event"] == 25
    require_sound_log(owner, POOL)


def test_the_same_batch_twice_among_them_is_recorded_once(scene: Scene, owner: sa.Engine) -> None:
    found, _ = at_once(scene, [(range(10), "b-0", None), (range(10), "b-0", None), (range(10, 20), "b-1", None)])
    receipts = [future.result() for future in found]
    assert receipts[0] == receipts[1]
    assert row_counts(owner)["batch"] == 2
    require_sound_log(owner, POOL)


def test_one_that_is_refused_leaves_the_others_be(scene: Scene, owner: sa.Engine) -> None:
    scene.submit([event(99)], "b-0")
    found, _ = at_once(scene, [(range(10), "b-0", None), (range(10, 20), "b-1", None), (range(20, 30), "b-2", None)])
    with pytest.raises(InvalidArgumentError):
        found[0].result()
    assert [future.result().accepted_count for future in found[1:]] == [10, 10]
    assert row_counts(owner)["event"] == 21
    require_sound_log(owner, POOL)


def test_what_is_known_already_is_no_warning(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.submit(events(range(10)), "b-0")
    with caplog.at_level(logging.WARNING):
        assert scene.submit(events(range(5, 15)), "b-1").duplicate_count == 5
        assert scene.submit(events(range(10)), "b-0").accepted_count == 10
    assert not caplog.records
