"""Many at once: clients, schedulers and operators on several processes' worth of the service."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from threading import Barrier, Event
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from moiety import (
    Client,
    FailedPreconditionError,
    Method,
    Policy,
    Pool,
    Receipt,
    Report,
    Round,
    Schedule,
    ServiceError,
    batch_of,
)
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.rounds_pb2 import ROUND_STATE_POSTED
from payout.store import rounds as round_store
from services.process.host import scheduling
from tests.support.books import event_counts, require_sound_log, row_counts, wait_until
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, event, events, open_scene

T = TypeVar("T")


def at_once(*jobs: Callable[[], T]) -> list[T]:
    """Run the jobs in a thread each, all beginning at the same moment; gives their results in order."""
    start = Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(run, jobs))


def by_each(clients: Sequence[Client], job: Callable[[int, Client], T]) -> list[T]:
    """The same job by several clients at once, told apart by their place."""
    return at_once(*(partial(job, place, client) for place, client in enumerate(clients)))


def outcome(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """`OK`, or the reason that the call was refused."""
    try:
        call(*arguments, **named)
    except ServiceError as error:
        return error.reason
    return "OK"


@pytest.fixture
def processes(deploy: Callable[..., Deployment]) -> list[Deployment]:
    return [deploy(), deploy(), deploy()]


@pytest.fixture
def scene(processes: list[Deployment]) -> Scene:
    return open_scene(processes[0])


@pytest.fixture
def platforms(scene: Scene, processes: list[Deployment]) -> list[Client]:
    """The same platform three times, each with a channel of its own to a process of its own."""
    assert scene.deployment is processes[0]
    return [process.client("platforms/tunesmith") for process in processes]


@pytest.fixture
def operators(processes: list[Deployment]) -> list[Client]:
    return [process.client(f"operators/o{number}") for number, process in enumerate(processes)]


def require_counted_once(scene: Scene, owner: sa.Engine, receipts: Iterable[Receipt], distinct: int) -> None:
    by_batch = {receipt.name: receipt for receipt in receipts}
    assert sum(receipt.accepted_count for receipt in by_batch.values()) == distinct
    assert row_counts(owner)["event"] == distinct
    assert {receipt.name: receipt.leaf_index for receipt in scene.operator.list_batches(POOL)} == {
        name: receipt.leaf_index for name, receipt in by_batch.items()
    }
    scene.pay_in(1_000_000, "before-the-round")
    cut = scene.cut("count")
    assert cut.event_count == distinct
    assert scene.operator.replay_round(POOL, cut.number).outcome == REPLAY_OUTCOME_MATCH
    require_sound_log(owner, POOL)


def test_three_clients_with_the_same_batches_record_each_once_and_get_the_same_receipts(
    scene: Scene, owner: sa.Engine, platforms: Sequence[Client]
) -> None:
    tables = [batch_of(events(range(first, first + 100))) for first in range(0, 2000, 100)]

    def submit(seed: int, client: Client) -> dict[str, Receipt]:
        shuffled = random.Random(seed).sample(tables, len(tables))
        found = [client.submit_usage(POOL, table, METHOD)[0] for table in shuffled]
        return {receipt.name: receipt for receipt in found}

    first, *others = by_each(platforms, submit)
    assert others == [first] * 2
    require_counted_once(scene, owner, first.values(), 2000)


def test_three_clients_with_overlapping_events_count_each_once(
    scene: Scene, owner: sa.Engine, platforms: Sequence[Client]
) -> None:
    def submit(seed: int, client: Client) -> list[Receipt]:
        drawn = random.Random(seed)
        receipts = []
        for number in range(12):
            usage = events(drawn.sample(range(1500), 250))
            receipts += client.submit_usage(POOL, batch_of(usage), METHOD, batch_id=f"{seed}-{number}")
        return receipts

    found = by_each(platforms, submit)
    receipts = [receipt for each in found for receipt in each]
    assert all(receipt.accepted_count + receipt.duplicate_count == 250 for receipt in receipts)
    drawn = {number for seed in range(3) for number in sampled(seed)}
    require_counted_once(scene, owner, receipts, len(drawn))


def sampled(seed: int) -> Iterator[int]:
    drawn = random.Random(seed)
    for _ in range(12):
        yield from drawn.sample(range(1500), 250)


def test_one_batch_id_with_different_events_from_three_clients_is_recorded_once(
    scene: Scene, owner: sa.Engine, platforms: Sequence[Client]
) -> None:
    def submit(number: int, place: int, client: Client) -> str:
        return outcome(scene.submit, [event(10 * number + place)], f"b-{number}", by=client)

    for number in range(10):
        outcomes = by_each(platforms, partial(submit, number))
        assert Counter(outcomes) == {"OK": 1, "ID_REUSED": 2}
    require_counted_once(scene, owner, scene.operator.list_batches(POOL), 10)


def test_large_batches_over_the_same_events_in_opposite_orders_do_not_deadlock(
    scene: Scene, owner: sa.Engine, platforms: Sequence[Client]
) -> None:
    def submit(client: Client, order: Sequence[int], name: str) -> list[Receipt]:
        usage = batch_of(events(order))
        return client.submit_usage(POOL, usage, METHOD, batch_id=name, events_per_batch=2000)

    found = at_once(
        lambda: submit(platforms[0], range(6000), "up"),
        lambda: submit(platforms[1], range(5999, -1, -1), "down"),
        lambda: submit(platforms[2], random.Random(0).sample(range(6000), 6000), "about"),
    )
    require_counted_once(scene, owner, [receipt for each in found for receipt in each], 6000)


def test_revenue_with_one_request_id_from_many_threads_is_recorded_once(
    scene: Scene, owner: sa.Engine, platforms: Sequence[Client]
) -> None:
    clients = [*platforms, *platforms]

    def record(request_id: str, amount_minor: int, client: Client) -> Report:
        return client.report_revenue(POOL, amount_minor, "EUR", request_id=request_id)

    for number in range(5):
        first, *others = at_once(*(partial(record, f"r-{number}", 700, client) for client in clients))
        assert others == [first] * 5
    outcomes = by_each(clients, lambda place, client: outcome(record, "contested", 1 + place, client))
    assert Counter(outcomes) == {"OK": 1, "ID_REUSED": 5}
    assert row_counts(owner)["report"] == row_counts(owner)["transfer"] == 6
    assert 3500 < scene.balances()["revenue"] <= 3506
    require_sound_log(owner, POOL)


def test_three_operators_calculating_at_once_make_one_round(
    scene: Scene, owner: sa.Engine, operators: Sequence[Client]
) -> None:
    scene.operator.create_policy(POOL, Policy(review_seconds=60))
    scene.fill()
    scene.cut("takes-the-policy-in")
    scene.fill()
    outcomes = by_each(operators, lambda place, client: outcome(client.calculate_round, POOL, request_id=f"q-{place}"))
    assert Counter(outcomes) == {"OK": 1, "ROUND_OPEN": 2}
    assert outcome(scene.reviewer.calculate_round, POOL, request_id="late") == "ROUND_OPEN"
    require_sound_log(owner, POOL)


def test_one_request_to_calculate_from_many_threads_makes_one_round(scene: Scene, processes: list[Deployment]) -> None:
    scene.fill()
    clients = [process.client("operators/olive") for process in processes]
    rounds = by_each(clients * 2, lambda _, client: client.calculate_round(POOL, request_id="same"))
    assert {found.number for found in rounds} == {1}
    assert [found.number for found in scene.operator.list_rounds(POOL)] == [1]


def test_a_round_is_decided_once_whoever_is_first(scene: Scene, owner: sa.Engine, operators: Sequence[Client]) -> None:
    scene.operator.create_policy(POOL, Policy(review_seconds=60))
    scene.fill()
    scene.cut("takes-the-policy-in")
    for number in range(2, 7):
        scene.pay_in(900, f"r-{number}")
        scene.submit([event(number)], f"b-{number}")
        scene.operator.calculate_round(POOL, request_id=f"q-{number}")
        scene.after_review(number)
        outcomes = at_once(
            *(partial(outcome, client.approve_round, POOL, number) for client in operators),
            partial(outcome, scene.reviewer.reject_round, POOL, number, "no"),
        )
        assert Counter(outcomes) == {"OK": 1, "ROUND_DECIDED": 3}
        if outcomes[3] == "OK":
            scene.pay_in(1, f"more-{number}")
    counted = row_counts(owner)
    rounds = list(scene.operator.list_rounds(POOL))
    assert counted["decision"] == len(rounds)
    assert counted["posting"] == len([found for found in rounds if found.state == ROUND_STATE_POSTED])
    assert sum(scene.balances().values()) == 0
    require_sound_log(owner, POOL)


def test_three_schedulers_cut_each_round_once(scene: Scene, owner: sa.Engine, processes: list[Deployment]) -> None:
    clock = scene.deployment.clock
    scene.operator.update_schedule(POOL, Schedule(cron="0 0 * * *", time_zone="UTC"))

    def cut(count: int) -> bool:
        return len(list(scene.operator.list_rounds(POOL))) >= count

    settings = processes[0].settings.model_copy(update={"schedule_poll_seconds": 0.05})
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(scheduling(settings, clock=clock))
        for day in range(1, 6):
            scene.pay_in(1000, f"r-{day}")
            scene.submit([event(day)], f"b-{day}")
            clock.advance(days=1)
            wait_until(partial(cut, day))
        scene.fill()
        clock.advance(days=3)
        wait_until(partial(cut, 6))
    rounds = list(scene.operator.list_rounds(POOL))
    assert [found.number for found in rounds] == [1, 2, 3, 4, 5, 6]
    assert [found.fire_times.count for found in rounds] == [1, 1, 1, 1, 1, 3]
    assert all(found.state == ROUND_STATE_POSTED and found.calculated_by == "scheduler" for found in rounds)
    assert sum(found.event_count for found in rounds) == 6
    assert row_counts(owner)["posting"] == 6
    require_sound_log(owner, POOL)


def test_rounds_calculated_while_usage_comes_in_hold_every_event_once_and_replay(
    scene: Scene, owner: sa.Engine, platforms: Sequence[Client], operators: Sequence[Client]
) -> None:
    done = Event()

    def submit(place: int, client: Client) -> None:
        for number in range(2000 * place, 2000 * place + 1200, 40):
            client.submit_usage(POOL, batch_of(events(range(number, number + 40))), METHOD)
            client.report_revenue(POOL, 101, "EUR", request_id=f"r-{number}")

    def settle() -> list[Round]:
        rounds: list[Round] = []
        while len(rounds) < 10 and not done.wait(0.1):
            with suppress(FailedPreconditionError):  # there may be nothing to distribute yet
                rounds.append(operators[0].calculate_round(POOL, request_id=f"q-{len(rounds)}"))
        return rounds

    def intake() -> list[Round]:
        try:
            by_each(platforms, submit)
        finally:
            done.set()
        return []

    settled, _ = at_once(settle, intake)
    last = scene.cut("the-rest")
    assert len(settled) > 3
    rounds = [*settled, last]
    assert [found.start for found in rounds] == [0, *(found.end for found in rounds[:-1])]
    assert sum(found.event_count for found in rounds) == 3600
    verdicts = [scene.operator.replay_round(POOL, found.number) for found in rounds]
    assert {verdict.outcome for verdict in verdicts} == {REPLAY_OUTCOME_MATCH}
    assert sum(verdict.events for verdict in verdicts) == 3600
    assert scene.balances()["platform/tunesmith"] == -101 * 90
    assert sum(scene.balances().values()) == 0
    require_sound_log(owner, POOL)


def test_a_preview_sees_one_moment_even_where_a_round_is_posted_meanwhile(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.operator.create_policy(POOL, Policy(review_seconds=60))
    scene.fill()
    scene.cut("takes-the-policy-in")
    scene.pay_in(900, "r")
    scene.submit([event(1)], "b")
    waiting = scene.operator.calculate_round(POOL, request_id="q")
    scene.after_review(waiting.number)
    expected = scene.operator.preview_round(POOL).round
    latest_posted = round_store.latest_posted
    posted: list[Round] = []

    def meanwhile(*arguments: Any) -> Any:
        found = latest_posted(*arguments)
        if not posted:
            posted.append(scene.reviewer.approve_round(POOL, waiting.number))
        return found

    monkeypatch.setattr(round_store, "latest_posted", meanwhile)
    seen = scene.operator.preview_round(POOL).round
    assert posted
    assert (seen.pot_minor, seen.end, seen.event_count) == (expected.pot_minor, expected.end, expected.event_count)


def test_what_two_pools_do_at_once_stays_apart(scene: Scene, owner: sa.Engine, platforms: Sequence[Client]) -> None:
    scene.operator.create_pool(
        "sea", Pool(display_name="Sea songs", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    scene.operator.create_method("sea", METHOD, Method(display_name="votes", confidence_ppm=1_000_000))

    def submit(place: int, client: Client) -> None:
        for pool in (POOL, "sea")[:: 1 if place % 2 else -1]:
            client.submit_usage(pool, batch_of(events(range(place, place + 600))), METHOD, events_per_batch=50)

    by_each(platforms, submit)
    assert list(event_counts(owner).values()) == [602, 602]
    require_sound_log(owner, POOL)
    require_sound_log(owner, "sea")
