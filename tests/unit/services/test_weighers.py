"""Batches weighed by other processes come back as they would have been weighed here, whatever they are."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from hashlib import sha256
from itertools import chain
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Semaphore
from typing import Any, Final

import pytest

from audit.batches.check import Weigh, WeighedBatch, weigh_by
from audit.findings import FoundError, at
from ledger.usage.entries import ModeTotals, UsageContent, encode_positions
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.methods import ScoreKind, ScoreRule
from ledger.usage.reading import Reading
from ledger.work import at_once
from services.process import weighers
from services.process.weighers import AHEAD, ReadBodies, WeigherEndedError, Weighers
from tests.support.batches import Event, body_of, event_id

MONTH_US: Final = 31 * 86_400_000_000
SHARES: Final = Reading()
FORKING: Final = get_context("fork")


def body(number: int, events: int = 3) -> bytes:
    """A batch of two months and both modes, whose collectives are others in each number, in another order."""
    return body_of(
        [
            Event(
                event_id(number * 1_000 + place),
                occurred_at=(place % 2) * MONTH_US,
                units=1 + place,
                mode=(AI_ONLY, HUMAN_AI)[place % 2],
                shares=((f"c-{(number - place) % 7}", 200_000_000 + number), (f"c-{7 + number + place}", 1)),
            )
            for place in range(events)
        ]
    )


def content_of(said: bytes, duplicates: str = "") -> UsageContent:
    nothing = ModeTotals(events=0, attributed=0, unattributed=0)
    return UsageContent(
        platform="acme", batch_id="b", body_sha256=sha256(said).hexdigest(), body_bytes=len(said), method="m",
        method_version=1, accepted=0, duplicates=duplicates, ai_only=nothing, human_ai=nothing,
    )  # fmt: skip


LOG: Final = "a log"


@contextmanager
def kept(bodies: Sequence[bytes]) -> Iterator[ReadBodies]:
    """How a process reads these bodies, of one log alone: those of others are empty."""
    by_hash = {sha256(body).digest(): body for body in bodies}

    def read(log: str, digests: Sequence[bytes], bytes_max: int) -> dict[bytes, bytes]:
        there = {digest: by_hash[digest] if log == LOG else b"" for digest in digests if digest in by_hash}
        return {digest: body for digest, body in there.items() if len(body) <= bytes_max}

    yield read


def read_there(bodies: Sequence[bytes], processes: int = 1) -> Weighers:
    """Processes that can read these bodies; no others than these."""
    return Weighers(processes, partial(kept, bodies))


def never() -> bytes:
    raise AssertionError("read by who asked")


def started(
    weigh: Weigh, bodies: list[bytes], duplicates: str = "", read: Callable[[bytes], bytes] | None = None
) -> list[Callable[[], WeighedBatch]]:
    return [
        weigh(partial(read, said) if read else never, place, content_of(said, duplicates), SHARES)
        for place, said in enumerate(bodies)
    ]


def itself(said: bytes) -> bytes:
    return said


def plain(weighed: WeighedBatch) -> dict[str, Any]:
    """All that a check sees of a batch, by names instead of their places."""
    parts = {
        (month, mode): (
            part.events,
            part.unattributed,
            {
                weighed.names[place]: figures
                for place, *figures in zip(
                    *(each.tolist() for each in (part.index, part.count, part.low, part.high)), strict=True
                )
            },
        )
        for month, mode, part in weighed.weights.parts()
    }
    return {
        "events": [each.tobytes() for each in weighed.event_ids],
        "accepted": weighed.accepted.tolist(),
        "shares": weighed.share_count,
        "named": sorted(weighed.names[place] for place in weighed.named.tolist()),
        "parts": parts,
        "totals": [weighed.weights.totals(mode) for mode in (AI_ONLY, HUMAN_AI)],
    }


HERE: Final = weigh_by(at_once)


@pytest.mark.parametrize("processes", [1, 3])
def test_they_come_back_as_they_would_have_been_weighed_here(processes: int) -> None:
    bodies = [body(number, events=1 + number % 5) for number in range(20)]
    with read_there(bodies, processes) as there:
        waits = started(there.of(LOG), bodies)
        found = [plain(wait()) for wait in waits]
    assert found == [plain(wait()) for wait in started(HERE, bodies, read=itself)]


def test_events_that_were_left_out_are_told_and_weigh_nothing() -> None:
    with read_there([body(1)]) as there:
        (found,) = [wait() for wait in started(there.of(LOG), [body(1)], duplicates=encode_positions([1]))]
    assert found.accepted.tolist() == [True, False, True]
    assert plain(found) == plain(started(HERE, [body(1)], duplicates=encode_positions([1]), read=itself)[0]())


def test_what_has_no_room_in_the_shared_memory_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [body(number, events=9) for number in range(6)]
    for room in (64, 1_000, len(bodies[0])):
        monkeypatch.setattr(weighers, "AREA_BYTES", room)
        with read_there(bodies, 2) as there:
            found = [plain(wait()) for wait in started(there.of(LOG), bodies)]
        assert found == [plain(wait()) for wait in started(HERE, bodies, read=itself)]


def test_whoever_never_waits_for_the_first_ones_gets_the_others() -> None:
    bodies, places = [body(number) for number in range(3 * AHEAD)], (3 * AHEAD - 1, AHEAD, 0)
    with read_there(bodies) as there:
        waits = started(there.of(LOG), bodies)
        found = {place: plain(waits[place]()) for place in places}
    assert found == {place: plain(started(HERE, [bodies[place]], read=itself)[0]()) for place in places}


def test_what_is_wrong_with_a_batch_is_raised_to_who_waits_for_it_and_the_next_is_weighed() -> None:
    def fails() -> bytes:
        raise at(2).error("body_sha256", "x", "y")

    with read_there([b"not a batch", body(1)]) as there:
        weigh = there.of(LOG)
        wrong = weigh(never, 7, content_of(b"not a batch"), SHARES)
        missing = weigh(fails, 2, content_of(b""), SHARES)
        (sound,) = started(weigh, [body(1)])
        with pytest.raises(FoundError) as found:
            wrong()
        assert (found.value.finding.where.leaf_index, found.value.finding.figure) == (7, "body")
        with pytest.raises(FoundError) as found:
            missing()
        assert found.value.finding.where.leaf_index == 2
        assert plain(sound()) == plain(started(HERE, [body(1)], read=itself)[0]())


def test_a_batch_is_read_as_its_own_method_says_even_after_others() -> None:
    said, other = body(1), Reading(ScoreRule(ScoreKind.COUNT), {"c-1": "irish"}, 1)
    with read_there([said]) as there:
        waits = [there.of(LOG)(never, 0, content_of(said), each) for each in (SHARES, other, other, SHARES)]
        plain(waits[0]())
        for wait in waits[1:3]:
            with pytest.raises(FoundError):  # shares are not scores
                wait()
        assert plain(waits[3]()) == plain(started(HERE, [said], read=itself)[0]())


@contextmanager
def telling(bodies: Sequence[bytes], there: Connection, begin: Semaphore) -> Iterator[ReadBodies]:
    """How a process reads these bodies, once all was asked, and tells how long those are that it reads together."""
    with kept(bodies) as read:
        begin.acquire()

        def tells(log: Any, digests: Sequence[bytes], bytes_max: int) -> Mapping[bytes, bytes]:
            found = read(log, digests, bytes_max)
            there.send((len(digests), [len(each) for each in found.values()]))
            return found

        yield tells


def test_small_bodies_are_read_together_up_to_a_bound_and_a_large_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = [body(number) for number in range(30)], [body(30 + number, events=200) for number in range(2)]
    bodies, most = [*small[:15], *large, *small[15:]], 10 * len(small[0])
    monkeypatch.setattr(weighers, "TOGETHER_BYTES", most)
    (there, mine), begin = Pipe(), FORKING.Semaphore(0)
    with Weighers(1, partial(telling, bodies, there, begin)) as asked:
        waits = started(asked.of(LOG), bodies)
        begin.release()
        found = [plain(wait()) for wait in waits]
    reads = [mine.recv()[1] for _ in iter(mine.poll, False)]
    assert found == [plain(wait()) for wait in started(HERE, bodies, read=itself)]
    assert list(chain.from_iterable(reads)) == [len(each) for each in bodies]
    assert len(reads) < len(bodies) // 2
    assert all(len(sizes) == 1 or sum(sizes) <= most for sizes in reads)


def test_whoever_waits_for_one_process_lets_the_others_begin() -> None:
    bodies = [body(number) for number in range(2)]
    (there, mine), begin = Pipe(), FORKING.Semaphore(0)
    with Weighers(2, partial(telling, bodies, there, begin)) as asked:
        first, second = started(asked.of(LOG), bodies)
        for _ in bodies:
            begin.release()
        first()
        assert [mine.poll(60) and mine.recv()[0] for _ in bodies] == [1, 1]
        second()


@pytest.mark.parametrize("said", [0, 1, -(2**40)])
def test_bodies_are_not_read_together_that_are_longer_than_their_leaves_say(
    said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies, most = [body(number, events=50) for number in range(20)], 1_000
    monkeypatch.setattr(weighers, "TOGETHER_BYTES", most)
    (there, mine), begin = Pipe(), FORKING.Semaphore(0)
    with Weighers(1, partial(telling, bodies, there, begin)) as asked:
        waits = [
            asked.of(LOG)(partial(itself, each), 0, content_of(each).model_copy(update={"body_bytes": said}), SHARES)
            for each in bodies
        ]
        begin.release()
        for wait in waits:
            with pytest.raises(FoundError) as found:
                wait()
            assert found.value.finding.figure == "body_bytes"
    reads = [mine.recv() for _ in iter(mine.poll, False)]
    assert sum(asked for asked, _ in reads) == len(bodies)
    assert all(asked == 1 or not sizes for asked, sizes in reads)


def test_what_a_process_cannot_read_is_read_by_who_waits_for_it() -> None:
    def broken() -> AbstractContextManager[ReadBodies]:
        raise OSError("nothing there")

    bodies = [body(number) for number in range(2 * AHEAD)]
    for reading in (partial(kept, bodies[1::2]), broken):
        with Weighers(1, reading) as there:
            found = [plain(wait()) for wait in started(there.of(LOG), bodies, read=itself)]
        assert found == [plain(wait()) for wait in started(HERE, bodies, read=itself)]


def test_a_body_is_that_of_the_log_that_was_asked_about() -> None:
    with read_there([body(1)]) as there:
        (other,) = started(there.of("another log"), [body(1)])
        with pytest.raises(FoundError) as found:
            other()
    assert found.value.finding.figure == "body_sha256"


def test_questions_and_answers_that_fill_the_pipe_are_all_heard() -> None:
    names = [f"{number:04d}-{'x' * 200}" for number in range(4_000)]
    events = [Event(event_id(place), shares=((name, 1),)) for place, name in enumerate(names)]
    bodies = [body_of(events[begin : begin + 1_000]) for begin in range(0, 4_000, 1_000)]
    large = Reading(ScoreRule(ScoreKind.COUNT), {name: name for name in names}, 1)
    with read_there(bodies) as there:
        waits = started(there.of(LOG), bodies)
        for number in range(4):
            there.of(LOG)(never, 0, content_of(bodies[number]), large if number % 2 else SHARES)
        found = [plain(wait()) for wait in waits]
    assert found == [plain(wait()) for wait in started(HERE, bodies, read=itself)]


def test_a_process_that_is_killed_is_told_and_not_waited_for() -> None:
    there = read_there([body(1)])
    os.kill(there._workers[0]._process.pid, signal.SIGKILL)
    with there, pytest.raises(WeigherEndedError, match="exit code -9"):
        plain(started(there.of(LOG), [body(1)])[0]())


def test_the_processes_end_with_who_made_them() -> None:
    with read_there([], 2) as there:
        workers = [each._process for each in there._workers]
        assert [each.is_alive() for each in workers] == [True, True]
    assert [each.exitcode for each in workers] == [0, 0]
