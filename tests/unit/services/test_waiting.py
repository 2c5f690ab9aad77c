"""Which calls that wait for their callers are cancelled."""

from __future__ import annotations

from typing import Final

from services.api.calls.door import Wait, cut_off

NOW: Final = 100.0


class Named:
    """A call that is only looked at."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        raise AssertionError


def wait(name: str, since: float, *, silent_of: str = "", until: float = NOW + 10) -> Wait:
    return Wait(Named(name), until, since, silent_of)


def cut(*waits: Wait, silent_most: int = 2) -> list[str]:
    return [str(each.call.name) for each in cut_off(waits, NOW, silent_most)]  # type: ignore[attr-defined]


def test_a_call_that_waited_too_long_is_cut_off() -> None:
    assert cut(wait("late", 80, until=99), wait("in time", 80, until=101)) == ["late"]


def test_whoever_has_the_most_silent_calls_loses_the_longest_until_few_enough_are_left() -> None:
    hoarded = [wait(f"hoarded {since}", since, silent_of="hoarder") for since in (93, 91, 92)]
    honest = [wait("honest", 90, silent_of="honest"), wait("another", 90, silent_of="another")]
    assert cut(*hoarded, *honest, silent_most=3) == ["hoarded 91", "hoarded 92"]
    assert cut(*hoarded, *honest, silent_most=5) == []


def test_a_message_that_may_be_on_its_way_is_not_silence() -> None:
    fresh = [wait(f"fresh {place}", NOW - 0.1, silent_of="busy") for place in range(20)]
    assert cut(*fresh) == []


def test_whoever_waits_for_anything_else_is_not_silent() -> None:
    assert cut(*(wait("a stream", 50) for _ in range(20))) == []
