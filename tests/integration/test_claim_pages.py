"""Each event counts once, whatever ids a platform makes, and whether they are in rows or in pages."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from itertools import count
from threading import Barrier
from typing import Final
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from ledger.errors import LostRaceError
from ledger.store import tables as t
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.transactions import pipelined
from ledger.store.registry.platforms import platform_number
from ledger.store.usage import first_look
from ledger.store.usage.batches import BatchIdentity, find_event
from ledger.store.usage.claims import EventClaim, EventsKnownError
from ledger.store.usage.intake import UsageStore
from ledger.store.usage.pages import OVERLAPS_MAX
from ledger.store.usage.prepared import Sent
from ledger.store.usage.second_look import look_again
from ledger.usage.pages import EventIds, unpacked
from tests.support.batches import Event, body_of, event_id
from tests.support.deployment import Deployment
from tests.support.fsck_scene import findings
from tests.support.scene import METHOD, NOON, POOL, Scene, open_scene

LAST: Final = 2**128 - 1
PLATFORMS: Final = ("tunesmith", "songbird")
NOON_US: Final = int(NOON.timestamp() * 1_000_000)


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    return open_scene(shared_deployment)


_names = count()


class Sending:
    """Sends ids of a platform as batches, and keeps account of those that were sent."""

    def __init__(self, scene: Scene, platform: str = PLATFORMS[0]) -> None:
        self._store, self._platform = scene.deployment.running.parts.usage, platform
        self.counted: set[int] = set()

    def send(self, ids: Iterable[int]) -> None:
        """Send them in one batch, and check that those that were never sent are those that count."""
        sent = list(ids)
        counted = accepted(self._store, self._platform, f"b-{next(_names)}", sent)
        assert sorted(counted) == sorted(set(sent) - self.counted)
        self.counted |= counted


def accepted(store: UsageStore, platform: str, batch_id: str, ids: Sequence[int]) -> set[int]:
    """Record a batch; gives the ids that count."""
    body = body_of([Event(event_id(number), occurred_at=NOON_US) for number in ids])
    recorded = None
    while recorded is None:
        with suppress(LostRaceError):  # which a client repeats
            recorded = store.accept(Sent.of(BatchIdentity(POOL, platform, batch_id), METHOD, body))
    left_out = set(recorded.duplicate_positions())
    counted = [number for place, number in enumerate(ids) if place not in left_out]
    assert len(counted) == len(set(counted)) == recorded.content.accepted
    return set(counted)


def page_count(owner: sa.Engine) -> int:
    with owner.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(t.claim_page)).scalar_one()


def ordered(rng: random.Random, count: int, start: int) -> list[int]:
    """Ids as UUIDv7: some random bits after a time in milliseconds."""
    return [((1_790_000_000_000 + start + place) << 80) | rng.getrandbits(74) for place in range(count)]


def scattered(rng: random.Random, count: int, _: int) -> list[int]:
    return [rng.getrandbits(128) for _ in range(count)]


def mixed(rng: random.Random, count: int, start: int) -> list[int]:
    return [*ordered(rng, count // 2, start), *scattered(rng, count - count // 2, start)]


def alike(rng: random.Random, count: int, _: int) -> list[int]:
    """All of one small range, so that batches repeat each other's."""
    return [2**90 + rng.randrange(4 * count) for _ in range(count)]


def wide(rng: random.Random, count: int, _: int) -> list[int]:
    """Over the widest range that a page may have, which overlaps everything there."""
    return [2**120 + rng.randrange(2**107) for _ in range(count)]


def one_bit(rng: random.Random, count: int, _: int) -> list[int]:
    """Ids that differ by a bit."""
    base = 2**127 + rng.randrange(4)
    return [base ^ (1 << rng.randrange(100)) for _ in range(count)]


Kind = Callable[[random.Random, int, int], list[int]]
KINDS: Final[tuple[Kind, ...]] = (ordered, scattered, mixed, alike, wide, one_bit)


@pytest.mark.parametrize("seed", range(8))
def test_what_counts_is_what_a_set_of_ids_says(scene: Scene, seed: int) -> None:
    rng = random.Random(seed)
    sending = [Sending(scene, platform) for platform in PLATFORMS]
    for each in sending:
        each.counted = known(scene, each)
    sent: list[int] = []
    for step in range(30):
        fresh = rng.choice(KINDS)(rng, rng.choice((1, 15, 16, 40, 300)), 1_000 * step)
        again = rng.sample(sent, min(len(sent), rng.choice((0, 0, 3, 200))))
        sent += fresh
        batch = [*fresh, *again]
        rng.shuffle(batch)
        rng.choice(sending).send(batch)


def known(scene: Scene, sending: Sending) -> set[int]:
    """All ids of a platform in the database."""
    with scene.deployment.running.parts.database.reading() as connection:
        platform_id = platform_number(connection, sending._platform)
        rows = connection.execute(sa.select(t.event.c.event_id).where(t.event.c.platform_id == platform_id)).scalars()
        found = {row.int for row in rows}
        columns = (t.claim_page.c.low, t.claim_page.c.width, t.claim_page.c.ids)
        for low, width, ids in connection.execute(sa.select(*columns).where(t.claim_page.c.platform_id == platform_id)):
            found |= {int.from_bytes(each.tobytes()) for each in unpacked(low.bytes, width, bytes(ids))}
        return found


def test_a_day_that_is_sent_again_in_another_order_counts_once(scene: Scene, shared_owner: sa.Engine) -> None:
    rng, sending = random.Random(20), Sending(scene)
    day = ordered(rng, 6_000, 10**8)
    before = page_count(shared_owner)
    for start in range(0, len(day), 1_000):
        sending.send(day[start : start + 1_000])
    assert page_count(shared_owner) > before
    rng.shuffle(day)
    for start in range(0, len(day), 1_500):
        sending.send(day[start : start + 1_500])


def test_ids_between_the_ids_of_a_page_are_new(scene: Scene) -> None:
    sending, base = Sending(scene), 3 * 2**110
    sending.send(range(base, base + 2_000, 2))
    sending.send(range(base + 1, base + 2_000, 2))
    sending.send(range(base, base + 2_000))


def test_random_and_ordered_ids_by_turns(scene: Scene) -> None:
    rng, sending = random.Random(21), Sending(scene)
    sent: list[int] = []
    for step in range(6):
        fresh = (ordered, scattered)[step % 2](rng, 400, 10**9 + 100 * step)
        sending.send([*fresh, *sent[-300:]])
        sent += fresh


def test_a_page_of_rows_that_were_there_before_is_not_written_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where pages came with an upgrade."""
    sending, base = Sending(scene), 5 * 2**110
    with monkeypatch.context() as context:
        context.setattr(first_look, "cut", lambda ids: ([], ids))
        sending.send(range(base, base + 700))
    sending.send(range(base + 650, base + 1_400))
    sending.send(range(base, base + 1_400))


def test_many_overlapping_pages_make_ids_rows_again(scene: Scene, shared_owner: sa.Engine) -> None:
    """A platform's own ids cannot make its pages a heap that each probe has to read."""
    rng, sending, base = random.Random(22), Sending(scene), 7 * 2**110
    span = 2**100
    for _ in range(OVERLAPS_MAX + 12):
        sending.send(sorted(base + rng.randrange(span) for _ in range(20)))
    with shared_owner.connect() as connection:
        query = sa.select(sa.func.count()).where(t.claim_page.c.low.between(UUID(int=base), UUID(int=base + span)))
        written = connection.execute(query).scalar_one()
    assert written == OVERLAPS_MAX + 1


def test_a_wide_page_behind_many_narrow_ones_is_found(scene: Scene) -> None:
    sending, base = Sending(scene), 9 * 2**110
    sending.send([base + 2**95 * place for place in range(20)])
    for start in range(40):
        first = base + 2**95 // 2 + start * 2**80
        sending.send(range(first, first + 500))
    sending.send([base + 2**95 * place for place in range(20)])
    sending.send([base + 2**95, base + 2**95 // 2])


def test_an_event_is_found_by_its_id_in_rows_and_in_pages(scene: Scene) -> None:
    base = 11 * 2**110
    store = scene.deployment.running.parts.usage
    paged, rows = range(base, base + 40), [base + place * 2**109 + 2**108 for place in (1, 2, 3)]
    accepted(store, PLATFORMS[0], "found-in-pages", paged)
    accepted(store, PLATFORMS[0], "found-in-rows", rows)
    with scene.deployment.running.parts.database.reading() as connection:
        pool = pool_ref(connection, POOL)
        for numbers, batch_id in ((paged, "found-in-pages"), (rows, "found-in-rows")):
            for number in numbers:
                assert find_event(connection, pool, PLATFORMS[0], UUID(int=number)).content.batch_id == batch_id
    taken = scene.platform.retract_usage(
        POOL, event_ids=[UUID(int=base + 3), UUID(int=rows[1])], reason="a test", request_id="both"
    )
    assert sum(len(one.positions) for one in taken) == 2


@pytest.mark.parametrize("kind", [ordered, scattered, mixed, alike, wide, one_bit])
def test_batches_that_race_count_each_id_once(
    scene: Scene, kind: Callable[[random.Random, int, int], list[int]]
) -> None:
    """Eight streams of a platform, over one service's connections, with ids that many of them have."""
    rng = random.Random(23)
    before = known(scene, Sending(scene))
    ids = kind(rng, 600, 10**10)
    store = scene.deployment.running.parts.usage

    def stream(number: int) -> list[set[int]]:
        mine = random.Random(number)
        found = []
        for step in range(5):
            start.wait()
            batch = mine.sample(ids, 200)
            found.append(accepted(store, PLATFORMS[0], f"race-{KINDS.index(kind)}-{number}-{step}", batch))
            sent.update(batch)
        return found

    start, sent = Barrier(8, timeout=60), set[int]()
    with ThreadPoolExecutor(8) as threads:
        counted = [one for found in threads.map(stream, range(8)) for one in found]
    assert sum(map(len, counted)) == len(set().union(*counted))
    assert set().union(*counted) == sent - before


def test_the_same_batch_twice_at_once_is_recorded_once(scene: Scene) -> None:
    store, base = scene.deployment.running.parts.usage, 13 * 2**110
    start = Barrier(4, timeout=60)

    def send(name: str) -> set[int]:
        start.wait()
        return accepted(store, PLATFORMS[0], name, range(base, base + 5_000))

    with ThreadPoolExecutor(4) as threads:
        same = list(threads.map(send, ["twice"] * 4))
    assert same == [set(range(base, base + 5_000))] * 4
    with ThreadPoolExecutor(4) as threads:
        others = list(threads.map(send, [f"other-{number}" for number in range(4)]))
    assert others == [set()] * 4


@pytest.mark.parametrize(
    ("claimed", "platforms", "has_common"),
    [
        ([range(50), range(50, 100)], 1, False),
        ([range(50, 100), range(50), []], 1, False),
        ([range(0, 100, 2), range(1, 100, 2)], 1, False),
        ([range(51), range(50, 100)], 1, True),
        ([range(100), [50]], 1, True),
        ([range(50), range(100, 150), range(200, 250), [120]], 1, True),
        ([range(51), range(50, 100)], 2, False),
    ],
    ids=str,
)
def test_claims_of_one_transaction_have_no_id_of_a_platform_in_common(
    claimed: Sequence[Sequence[int]], platforms: int, *, has_common: bool
) -> None:
    claims = [EventClaim(place % platforms, place, array(ids)) for place, ids in enumerate(claimed)]
    with pytest.raises(EventsKnownError) if has_common else nullcontext():
        first_look.require_distinct(claims)


def test_what_was_recorded_between_the_look_and_the_lock_is_seen(scene: Scene) -> None:
    """Without a second look, both would count: no unique index keeps two pages apart."""
    parts, base = scene.deployment.running.parts, 15 * 2**110
    with parts.database.transaction() as connection:
        pool = pool_ref(connection, POOL)
        platform_id = platform_number(connection, PLATFORMS[0])
        for start, between in (
            (base, range(base + 50, base + 90)),
            (base + 2**109, [base + 2**109 + 50]),
        ):  # a page, and a row
            ids = array(range(start, start + 100))
            (looked,) = first_look.look(connection, pool, [EventClaim(platform_id, -1, ids)])
            assert not looked.known.any()
            look_again(connection, pool, [looked])()
            accepted(parts.usage, PLATFORMS[0], f"between-{len(between)}", between)
            with pytest.raises(EventsKnownError):
                look_again(connection, pool, [looked])()


def test_the_second_look_reads_the_pages_of_new_batches_alone(scene: Scene, shared_owner: sa.Engine) -> None:
    """Everybody else waits for it, so it must not read all pages of the platform to join them."""
    parts, base = scene.deployment.running.parts, 14 * 2**110
    with parts.database.transaction() as connection:
        pool = pool_ref(connection, POOL)
        platform_id = platform_number(connection, PLATFORMS[0])
        (looked,) = first_look.look(connection, pool, [EventClaim(platform_id, -1, array(range(base, base + 100)))])
        accepted(parts.usage, PLATFORMS[0], "before-second-look", range(base + 200, base + 300))
        read = pages_read(connection)
        look_again(connection, pool, [looked])()
        assert pages_read(connection) - read <= 1 < page_count(shared_owner)


def test_a_page_among_many_rows_of_others_is_compared_id_by_id_under_the_lock_too(scene: Scene) -> None:
    """Which happens within the pipeline that ends with the commit."""
    parts, base = scene.deployment.running.parts, 12 * 2**110
    for start in range(base, base + 700 * 2, 15 * 2):  # fewer than a page takes
        accepted(parts.usage, PLATFORMS[1], f"among-{start}", range(start, start + 30, 2))
    with parts.database.transaction() as connection:
        pool = pool_ref(connection, POOL)
        platform_id = platform_number(connection, PLATFORMS[0])
        ids = array([*range(base + 1, base + 100), base + 1401])
        (looked,) = first_look.look(connection, pool, [EventClaim(platform_id, -1, ids)])
        accepted(parts.usage, PLATFORMS[0], "among-apart", [base + 1399])
        with pipelined(connection):
            look_again(connection, pool, [looked])()
        accepted(parts.usage, PLATFORMS[0], "among-alike", [base + 77])
        with pipelined(connection), pytest.raises(EventsKnownError):
            look_again(connection, pool, [looked])()


def pages_read(connection: sa.Connection) -> int:
    """How many rows of the table this transaction has fetched so far by its indexes."""
    return int(
        connection.execute(sa.text("SELECT pg_stat_get_xact_tuples_fetched('claim_page'::regclass)")).scalar_one()
    )


@pytest.mark.usefixtures("scene")
def test_nothing_of_it_contradicts_the_log(shared_owner: sa.Engine) -> None:
    """Last of all: the check holds rows and pages against the bodies, and looks for an event that counted twice."""
    assert page_count(shared_owner) > 100
    with shared_owner.connect() as connection:
        assert findings(connection) == []


def array(numbers: Iterable[int]) -> EventIds:
    return np.frombuffer(b"".join(number.to_bytes(16) for number in numbers), dtype="V16")
