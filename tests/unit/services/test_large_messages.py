"""Messages that may be far larger once they are parsed: few are handled at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import Final

import pytest

from ledger.errors import InvalidInputError, QuotaError
from moiety.v1 import usage_pb2 as pb
from services.api.calls.door import SMALL_MESSAGE_BYTES
from services.api.calls.large import AT_ONCE, FREE_BYTES, WAITING, LargeMessages
from services.api.usage import wire
from services.api.usage.submissions import SUBMIT_USAGE
from services.api.usage.wire import is_usual, scan
from tests.support.books import wait_until

NAMED: Final = pb.SubmitUsageRequest(parent="pools/folk", batch_id="b", method_id="ngram").SerializeToString()
EMPTY_EVENT: Final = b"\x22\x00"
LARGE: Final = NAMED + pb.SubmitUsageRequest(batch_id="x" * FREE_BYTES).SerializeToString()
BOMB: Final = EMPTY_EVENT * ((SMALL_MESSAGE_BYTES - 1_000) // 2)


def test_few_are_handled_at_a_time_and_the_next_waits() -> None:
    large, next_has_its_turn = LargeMessages(), Event()

    def go() -> None:
        with large.one(LARGE, SUBMIT_USAGE, "platforms/c"):
            next_has_its_turn.set()

    with ThreadPoolExecutor(1) as threads, ExitStack() as held:
        for number in range(AT_ONCE):
            held.enter_context(large.one(LARGE, SUBMIT_USAGE, f"platforms/{number}"))
        waiting = threads.submit(go)
        assert not next_has_its_turn.wait(0.2)
        held.close()
        waiting.result(timeout=60)


def test_few_wait_and_who_has_the_most_waiting_is_refused() -> None:
    large, end = LargeMessages(), Event()

    def go(holder: str) -> None:
        with large.one(LARGE, SUBMIT_USAGE, holder):
            end.wait(60)

    with ThreadPoolExecutor(AT_ONCE + WAITING + 2) as threads:
        try:
            first = [threads.submit(go, "platforms/a") for _ in range(AT_ONCE + WAITING)]
            wait_until(lambda: large._gate.waiting("platforms/a") == WAITING)
            other = threads.submit(go, "platforms/b")
            (refused,) = wait_until(lambda: [each for each in first if each.done()])
            with pytest.raises(QuotaError, match="platforms/a"):
                refused.result()
        finally:
            end.set()
        other.result(60)


@pytest.mark.parametrize(
    ("size", "method"), [(FREE_BYTES, SUBMIT_USAGE), (2**25, "/moiety.v1.UsageService/AppendUsage")]
)
def test_small_messages_and_bodies_need_no_turn(size: int, method: str) -> None:
    large = LargeMessages()
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(large.one(NAMED + EMPTY_EVENT * (size // 2 - len(NAMED)), method, "platforms/a"))


@pytest.mark.parametrize(
    "raw", [BOMB + NAMED, b"\x0a\x00" * FREE_BYTES, b"\x20\x01" * FREE_BYTES, b"\x25abcd" * FREE_BYTES]
)
def test_a_large_message_of_many_fields_is_refused_before_its_turn(raw: bytes) -> None:
    large = LargeMessages()
    with (
        large.one(LARGE, SUBMIT_USAGE, "platforms/a"),
        pytest.raises(InvalidInputError, match="10,000 fields"),
        large.one(raw, SUBMIT_USAGE, "platforms/a"),
    ):
        pass


def test_what_is_no_message_has_its_turn_and_is_left_to_protobuf() -> None:
    large = LargeMessages()
    for raw in (
        b"\xff" * 2 * FREE_BYTES,
        b"\x0b" * 2 * FREE_BYTES,
        b"\x0a\x00" * 9_000 + b"\x0a" + b"\xff" * FREE_BYTES,
    ):
        with large.one(raw, SUBMIT_USAGE, "platforms/a"):
            pass


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing may be parsed meanwhile."""
    monkeypatch.setattr(wire, "pb", None)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("unparsed")
def test_millions_of_events_are_refused_without_walking_or_parsing_them() -> None:
    with pytest.raises(InvalidInputError, match="must be 1 to 1000, got more than 10000"):
        scan(NAMED + BOMB)
    assert is_usual(NAMED + BOMB)


@pytest.mark.usefixtures("unparsed")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(NAMED + b"\x22\x80\x80\x00" * 500_000, id="lengths in more bytes than they need"),
        pytest.param(NAMED + EMPTY_EVENT + b"\x28\x01" + BOMB, id="behind the other fields"),
        pytest.param(b"\x0a\x00" * (SMALL_MESSAGE_BYTES // 2), id="the same field again and again"),
    ],
)
def test_what_is_large_and_in_another_form_is_left_alone(raw: bytes) -> None:
    assert scan(raw) is None
    assert not is_usual(raw)
