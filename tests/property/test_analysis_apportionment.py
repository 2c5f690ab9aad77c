"""The analyses' own division is the service's: two functions that share nothing but docs/distribution.md."""

from __future__ import annotations

from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from moiety.analysis import apportion as recomputed
from payout.apportionment import apportion

CLAIMS: Final = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 10**37)), max_size=12)


@given(pot=st.one_of(st.integers(0, 200), st.integers(0, 10**18)), claims=CLAIMS)
@example(pot=1, claims=[1, 1])
def test_without_bounds_both_divide_alike(pot: int, claims: list[int]) -> None:
    assert recomputed(pot, claims) == apportion(pot, claims)


@given(
    pot=st.integers(0, 3_000), claims=CLAIMS, floor=st.integers(0, 60), room=st.one_of(st.none(), st.integers(0, 400))
)
@example(pot=10, claims=[1, 1, 100], floor=2, room=3)
@example(pot=100, claims=[1, 2, 97], floor=10, room=50)
def test_with_a_floor_and_a_cap_both_divide_alike(pot: int, claims: list[int], floor: int, room: int | None) -> None:
    floor = min(floor, pot // max(1, len(claims)))
    cap = None if room is None else floor + room
    assert recomputed(pot, claims, floor=floor, cap=cap) == apportion(pot, claims, floor=floor, cap=cap)
