"""Usage taken back: which of it, exactly once, and what becomes of the rounds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import UUID

import pytest
import sqlalchemy as sa

from ledger.store.logs.bodies import Bodies
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from ledger.store.usage.intake import UsageStore
from ledger.store.usage.retractions import MAX_BATCHES, RetractionRequest, retract
from moiety import Client, FailedPreconditionError, InvalidArgumentError, Mode, NotFoundError, Policy, batch_of
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import COMMONS_RULE_FUND
from moiety.v1.rounds_pb2 import STATEMENT_PART_REGISTRY, STATEMENT_PART_UNSPECIFIED, STATEMENT_PART_WEIGHTS
from payout.statement import parse_registry, parse_statement
from tests.support.books import execute, require_sound_log, row_counts, wait_until, waiting_backends
from tests.support.deployment import Deployment
from tests.support.scene import COLLECTIVES, METHOD, NANO, POOL, Scene, event, events, open_scene

UNIT: Final = NANO * 10**6 * 10**6
"""The weight of one unit under a policy and a method that count in full."""


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """Unattributed weight goes to the fund, so that amounts are by attributed weight alone."""
    return open_scene(deployment, policy=Policy(commons_rule=COMMONS_RULE_FUND))


def ids(*numbers: int) -> list[UUID]:
    return [event(number).event_id for number in numbers]


def taken(
    scene: Scene, request_id: str, *numbers: int, batch: str = "", reason: str = "wrong", by: Client | None = None
) -> dict[str, list[int]]:
    """Positions by batch id of what a request took back."""
    found = (by or scene.platform).retract_usage(
        POOL, request_id=request_id, reason=reason, batch_id=batch, event_ids=ids(*numbers)
    )
    assert [each.leaf_index for each in found] == sorted({each.leaf_index for each in found})
    return {each.batch.partition("~")[2]: list(each.positions) for each in found}


def refused_fields(call: Any) -> list[str]:
    with pytest.raises(InvalidArgumentError) as caught:
        call()
    return [violation.field for violation in caught.value.violations]


def require_replayed(scene: Scene) -> None:
    for posted in scene.operator.list_rounds(POOL):
        assert scene.operator.replay_round(POOL, posted.number).outcome == REPLAY_OUTCOME_MATCH


def test_events_are_taken_back_by_their_ids_across_batches(scene: Scene, owner: sa.Engine) -> None:
    scene.submit(events([1, 2, 3]), "b-1")
    scene.submit(events([4, 5]), "b-2")
    scene.submit(events([6]), "b-3")
    assert taken(scene, "t", 5, 3, 1, 3) == {"b-1": [0, 2], "b-2": [1]}
    leaves = [leaf for leaf in scene.operator.list_leaves(POOL) if b'"retraction.v1"' in leaf.entry]
    assert len(leaves) == 2
    require_sound_log(owner, POOL)
    scene.pay_in(1000, "r")
    cut = scene.cut("q")
    assert (cut.event_count, cut.retracted_count) == (6, 3)
    (irish,) = [found for found in scene.operator.list_allocations(POOL, 1) if found.collective == "collectives/irish"]
    assert (irish.event_count, irish.weight, irish.deficit) == (3, str(3 * 6 * UNIT // 10), "0")
    require_replayed(scene)


def test_a_retraction_is_told_with_its_leaf(scene: Scene) -> None:
    scene.submit(events([1, 2]), "b")
    (found,) = scene.platform.retract_usage(POOL, request_id="t", reason="wrong", batch_id="b")
    (leaf,) = scene.operator.list_leaves(POOL, start=found.leaf_index)
    assert (found.batch, leaf.hash) == (f"pools/{POOL}/batches/tunesmith~b", found.leaf_hash)
    assert found.create_time.ToDatetime(scene.deployment.clock.now.tzinfo) == scene.deployment.clock.now


def test_a_whole_batch_is_taken_back_but_for_what_was_before(scene: Scene, owner: sa.Engine) -> None:
    scene.submit(events(range(20)), "b")
    assert taken(scene, "t-1", 4, 7) == {"b": [4, 7]}
    assert taken(scene, "t-2", batch="b") == {"b": [place for place in range(20) if place not in (4, 7)]}
    before = row_counts(owner)
    assert taken(scene, "t-3", batch="b") == {}
    assert taken(scene, "t-4", 4, 5) == {}
    assert row_counts(owner) == before


def test_the_positions_of_duplicates_are_never_taken_back(scene: Scene) -> None:
    scene.submit(events([1, 2]), "b-1")
    scene.submit([event(2), event(3), event(3), event(4)], "b-2")
    assert taken(scene, "t-1", 2, 3) == {"b-1": [1], "b-2": [1]}
    assert taken(scene, "t-2", batch="b-2") == {"b-2": [3]}
    scene.pay_in(100, "r")
    cut = scene.cut("q")
    assert (cut.event_count, cut.retracted_count) == (4, 3)
    require_replayed(scene)


def test_more_events_than_one_request_are_taken_back_by_batch_and_few_by_id_among_many(scene: Scene) -> None:
    usage = [event(number, mode=Mode(1 + number % 2)) for number in range(3000)]
    scene.platform.submit_usage(POOL, batch_of(usage), METHOD)
    (batch,) = [found.name.partition("~")[2] for found in scene.platform.list_batches(POOL)]
    assert taken(scene, "t-1", *range(0, 2000, 2)) == {batch: list(range(0, 2000, 2))}
    assert refused_fields(lambda: taken(scene, "t-2", *range(1001))) == ["event_ids"]
    assert len(taken(scene, "t-3", batch=batch)[batch]) == 2000
    scene.pay_in(100, "r")
    found = scene.operator.preview_round(POOL).round
    assert (found.retracted_count, found.carried_minor) == (3000, 100)
    scene.fill()
    assert scene.cut("q").retracted_count == 3000
    require_replayed(scene)


def test_the_same_request_again_has_the_first_answer(scene: Scene, owner: sa.Engine) -> None:
    scene.submit(events([1, 2]), "b-1")
    scene.submit(events([3]), "b-2")

    def ask() -> list[Any]:
        return scene.platform.retract_usage(POOL, request_id="t", reason="wrong", event_ids=ids(2, 3))

    first = ask()
    scene.deployment.clock.advance(days=1)
    taken(scene, "t-2", batch="b-1")
    before = row_counts(owner)
    assert ask() == first
    assert row_counts(owner) == before


def test_a_request_id_with_other_content_is_refused(scene: Scene, owner: sa.Engine) -> None:
    scene.submit(events([1, 2]), "b")
    taken(scene, "t", 1)
    before = row_counts(owner)
    for call in (
        lambda: taken(scene, "t", 2),
        lambda: taken(scene, "t", 1, 2),
        lambda: taken(scene, "t", batch="b"),
        lambda: taken(scene, "t", 1, reason="another"),
    ):
        assert refused_fields(call) == ["request_id"]
    assert row_counts(owner) == before


def test_request_ids_are_each_platform_s_own(scene: Scene) -> None:
    songbird = scene.deployment.client("platforms/songbird")
    scene.submit(events([1]), "b")
    scene.submit(events([1, 2]), "b", by=songbird)
    assert taken(scene, "t", batch="b") == {"b": [0]}
    assert taken(scene, "t", batch="b", by=songbird) == {"b": [0, 1]}


def test_unknown_events_are_named_by_their_positions_and_nothing_is_taken_back(scene: Scene, owner: sa.Engine) -> None:
    scene.submit(events([1]), "b")
    scene.submit(events([9]), "b", by=scene.deployment.client("platforms/songbird"))
    before = row_counts(owner)
    assert refused_fields(lambda: taken(scene, "t", 7, 1, 9, 8)) == ["event_ids[0]", "event_ids[2]", "event_ids[3]"]
    assert row_counts(owner) == before
    with pytest.raises(InvalidArgumentError) as caught:
        scene.platform.retract_usage(POOL, request_id="t", reason="x", event_ids=["not-an-id"])
    assert [violation.field for violation in caught.value.violations] == ["event_ids[0]"]


def test_another_platform_s_batch_or_one_that_is_not_there_is_not_found(scene: Scene, owner: sa.Engine) -> None:
    scene.submit(events([1]), "theirs", by=scene.deployment.client("platforms/songbird"))
    before = row_counts(owner)
    for batch in ("theirs", "nobody-s"):
        with pytest.raises(NotFoundError):
            taken(scene, "t", batch=batch)
    assert row_counts(owner) == before


def test_either_a_batch_or_events_are_given_with_a_reason(scene: Scene) -> None:
    scene.submit(events([1]), "b")
    assert refused_fields(lambda: taken(scene, "t")) == ["event_ids"]
    assert refused_fields(lambda: taken(scene, "t", 1, batch="b")) == ["event_ids"]
    for reason in ("", "x" * 1001, "two\nlines"):
        assert refused_fields(lambda reason=reason: taken(scene, "t", 1, reason=reason)) == ["reason"]
    for request_id in ("", "a b", "x" * 129):
        assert refused_fields(lambda request_id=request_id: taken(scene, request_id, 1)) == ["request_id"]


def test_clients_that_take_back_the_same_events_at_once_take_each_back_once(scene: Scene, owner: sa.Engine) -> None:
    """More clients than the service has connections: none may hold one and wait for another."""
    scene.submit(events(range(200)), "b-1")
    scene.submit(events(range(200, 300)), "b-2")
    clients = [scene.deployment.client("platforms/tunesmith") for _ in range(20)]
    start = threading.Barrier(len(clients))

    def ask(number: int) -> dict[str, list[int]]:
        start.wait()
        if number % 4 == 3:
            return taken(scene, f"t-{number}", batch="b-1", by=clients[number])
        return taken(scene, f"t-{number}", *range(number, 300, 2), by=clients[number])

    with ThreadPoolExecutor(len(clients)) as pool:
        found = list(pool.map(ask, range(len(clients))))
    for batch, count in (("b-1", 200), ("b-2", 100)):
        positions = [position for each in found for position in each.get(batch, [])]
        assert sorted(positions) == list(range(count))
    require_sound_log(owner, POOL)
    scene.pay_in(100, "r")
    seen = scene.operator.preview_round(POOL).round
    assert (seen.event_count, seen.retracted_count, seen.carried_minor) == (300, 300, 100)
    scene.fill()
    scene.cut("q")
    require_replayed(scene)


def test_a_service_with_few_connections_that_knows_no_collective_yet_is_not_stuck(
    scene: Scene, deploy: Callable[..., Deployment]
) -> None:
    """A retraction works on one connection: those that wait for their turn may hold all the others."""
    for number in range(6):
        scene.submit([event(number)], f"b-{number}")
    small = deploy(database_connections=2)
    clients = [small.client("platforms/tunesmith") for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: taken(scene, f"t-{n}", n, by=clients[n]), range(6)))
    assert found == [{f"b-{number}": [0]} for number in range(6)]


def test_the_same_request_from_two_clients_at_once_is_taken_once(scene: Scene) -> None:
    scene.submit(events(range(50)), "b")
    clients = [scene.deployment.client("platforms/tunesmith") for _ in range(8)]
    with ThreadPoolExecutor(len(clients)) as pool:
        found = list(pool.map(lambda client: taken(scene, "t", batch="b", by=client), clients))
    assert found == [{"b": list(range(50))}] * 8


def test_a_correction_is_a_retraction_and_a_new_batch(scene: Scene) -> None:
    scene.submit([event(1, shares={"irish": NANO}, units=5), event(2, shares={"breton": NANO})], "wrong")
    assert taken(scene, "t", 1, reason="five is one, and it is Scottish") == {"wrong": [0]}
    # An event id is never free again.
    again = scene.submit([event(1, shares={"scottish": NANO})], "again")
    assert (again.accepted_count, again.duplicate_count) == (0, 1)
    scene.submit([event(11, shares={"scottish": NANO})], "right")
    scene.pay_in(1000, "r")
    scene.cut("q")
    assert scene.allocations(1) == {"breton": 500, "irish": 0, "scottish": 500}
    require_replayed(scene)


def test_what_is_taken_back_late_is_a_deficit_that_the_statement_carries(scene: Scene) -> None:
    scene.submit([event(1, shares={"irish": NANO}, units=3), event(2, shares={"breton": NANO // 2})], "b-1")
    scene.pay_in(1000, "r-1")
    scene.cut("q-1")
    paid = scene.balances()
    scene.submit([event(3, shares={"irish": NANO}), event(4, shares={"breton": NANO})], "b-2")
    taken(scene, "t", batch="b-1")
    scene.pay_in(1000, "r-2")
    second = scene.cut("q-2")
    assert (second.event_count, second.retracted_count) == (2, 2)
    breton, irish, scottish = parse_statement(scene.operator.get_statement(POOL, 2))
    assert (irish.events, irish.weight_ai_only, irish.weight, irish.deficit_after) == (0, -2 * NANO, 0, 2 * UNIT)
    assert (breton.events, breton.weight, breton.deficit_after) == (0, UNIT // 2, 0)
    assert (scottish.events, scottish.weight, scottish.amount_minor) == (0, 0, 0)
    # Nobody's half unit is owed too, so that all of the pot is Breton.
    assert scene.allocations(2) == {"breton": 1000, "irish": 0, "scottish": 0}
    # What was paid stays paid.
    assert scene.balances()["collective/irish"] == paid["collective/irish"]
    scene.submit([event(5, shares={"irish": NANO}, units=4), event(6, shares={"breton": NANO}, units=2)], "b-3")
    scene.pay_in(1000, "r-3")
    scene.cut("q-3")
    breton, irish, _ = parse_statement(scene.operator.get_statement(POOL, 3))
    assert (irish.deficit_before, irish.weight, irish.deficit_after) == (2 * UNIT, 2 * UNIT, 0)
    assert (breton.deficit_before, breton.weight) == (0, 2 * UNIT)
    assert scene.allocations(3) == {"breton": 500, "irish": 500, "scottish": 0}
    assert sum(scene.balances().values()) == 0
    require_replayed(scene)


def test_a_rejected_round_carries_no_deficits(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=60))
    scene.submit([event(1, shares={"irish": NANO})], "b-1")
    scene.pay_in(100, "r")
    scene.cut("q-1")
    taken(scene, "t", 1)
    scene.fill()
    scene.operator.calculate_round(POOL, request_id="q-2")
    scene.reviewer.reject_round(POOL, 2, "wait")
    third = scene.cut("q-3")
    assert (third.number, third.retracted_count) == (3, 1)
    lines = {line.collective: line for line in parse_statement(scene.operator.get_statement(POOL, 3))}
    assert (lines["irish"].deficit_before, lines["irish"].deficit_after) == (0, UNIT)
    require_replayed(scene)


def test_a_retraction_while_a_round_waits_falls_in_the_next(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=60))
    scene.submit([event(1, shares={"irish": NANO})], "b-1")
    scene.pay_in(100, "r")
    waiting = scene.operator.calculate_round(POOL, request_id="q-1")
    taken(scene, "t", 1)
    scene.approve(1)
    scene.fill()
    assert (waiting.retracted_count, scene.cut("q-2").retracted_count) == (0, 1)
    require_replayed(scene)


def test_the_tables_that_explain_a_statement_are_those_that_the_round_commits_to(scene: Scene) -> None:
    scene.submit([event(1, mode=Mode.HUMAN_AI, shares={"breton": 5}), event(2), event(3)], "b")
    taken(scene, "t", 3)
    scene.pay_in(100, "r")
    cut = scene.cut("q")

    def part(which: Any) -> bytes:
        return scene.operator.get_statement(POOL, 1, part=which)

    assert part(STATEMENT_PART_WEIGHTS) == (
        b"collective,method,method_version,mode,events,weight\n"
        b",ngram,1,1,1,400000000\n"
        b",ngram,1,2,1,999999995\n"
        b"breton,ngram,1,2,1,5\n"
        b"irish,ngram,1,1,1,600000000\n"
    )
    assert part(STATEMENT_PART_WEIGHTS) == scene.operator.get_body(POOL, cut.weights_sha256)
    assert part(STATEMENT_PART_REGISTRY) == scene.operator.get_body(POOL, cut.registry_sha256)
    assert tuple(each.name for each in parse_registry(part(STATEMENT_PART_REGISTRY))) == COLLECTIVES
    assert part(STATEMENT_PART_UNSPECIFIED) == scene.operator.get_statement(POOL, 1)


def test_retracting_everything_in_its_round_distributes_nothing(scene: Scene) -> None:
    batches = {"b-1": [1, 2], "b-2": [2, 3], "b-3": [4]}
    for batch, numbers in batches.items():
        scene.submit(events(numbers), batch)
    for batch in batches:
        taken(scene, f"t-{batch}", batch=batch)
    scene.pay_in(1000, "r")
    found = scene.operator.preview_round(POOL)
    cut = found.round
    assert (cut.event_count, cut.retracted_count, cut.carried_minor) == (4, 4, 1000)
    for line in parse_statement(found.statement):
        assert (line.events, line.weight_ai_only, line.weight_human_ai, line.weight) == (0, 0, 0, 0)
        assert (line.deficit_before, line.deficit_after, line.amount_minor) == (0, 0, 0)
    with pytest.raises(FailedPreconditionError, match="usage"):
        scene.cut("q")


def test_a_request_reaches_into_a_hundred_batches_at_the_most(scene: Scene) -> None:
    for number in range(MAX_BATCHES + 1):
        scene.submit(events([number]), f"b-{number}")
    assert refused_fields(lambda: taken(scene, "t", *range(MAX_BATCHES + 1))) == ["event_ids"]
    assert len(taken(scene, "t", *range(MAX_BATCHES))) == MAX_BATCHES


def test_a_batch_is_let_go_before_the_next_is_read(
    scene: Scene, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        scene.submit(events([number]), f"b-{number}")
    bodies, alive, most = Bodies(), 0, 0
    checked = bodies.checked

    class Held(bytes):
        """A body that says when it is let go."""

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def watched(*asked: Any) -> bytes:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return Held(checked(*asked))

    monkeypatch.setattr(bodies, "checked", watched)
    store = UsageStore(database, scene.deployment.clock, bodies)
    request = RetractionRequest("tunesmith", "t", None, tuple(ids(*range(5))), "wrong")
    with database.transaction() as connection:
        assert len(retract(connection, pool_ref(connection, POOL), request, store)) == 5
    assert most <= 2  # the last one, while the next is fetched


def test_a_batch_of_which_nothing_is_left_is_not_read_again(scene: Scene, owner: sa.Engine) -> None:
    scene.submit(events(range(5)), "b")
    taken(scene, "t-1", 0, 1)
    taken(scene, "t-2", batch="b")
    execute(owner, "DELETE FROM body")
    assert taken(scene, "t-3", batch="b") == taken(scene, "t-4", 3) == {}


def test_no_platform_waits_while_another_reads_what_it_takes_back(scene: Scene) -> None:
    songbird = scene.deployment.client("platforms/songbird")
    scene.submit(events(range(5)), "b")
    scene.submit(events(range(5)), "b", by=songbird)
    with ThreadPoolExecutor(1) as threads:
        with scene.deployment.running.parts.heavy.passed("platforms/tunesmith"):
            waits = threads.submit(taken, scene, "t", batch="b")
            assert taken(scene, "t", batch="b", by=songbird) == {"b": [*range(5)]}
            assert not waits.done()
        assert waits.result() == {"b": [*range(5)]}


def test_what_another_server_takes_back_meanwhile_is_not_taken_back_twice(
    scene: Scene, database: Database, owner: sa.Engine
) -> None:
    scene.submit(events(range(5)), "b")
    store = UsageStore(database, scene.deployment.clock)
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as connection:
            pool = pool_ref(connection, POOL)
            request = RetractionRequest("tunesmith", "t-1", None, tuple(ids(1, 2)), "wrong")
            assert len(retract(connection, pool, request, store)) == 1
            # It sees nothing of that before it has the turn, and then begins anew.
            waits = threads.submit(taken, scene, "t-2", batch="b")
            wait_until(lambda: waiting_backends(owner))
        assert waits.result() == {"b": [0, 3, 4]}
