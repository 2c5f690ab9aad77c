"""What was derived last is kept, within a limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

from ledger.store.kept import Kept


def test_what_was_asked_for_last_stays() -> None:
    kept = Kept[str](2)
    kept.keep(1, "one")
    kept.keep(2, "two")
    assert kept.find(1) == "one"
    kept.keep(3, "three")
    assert [kept.find(key) for key in (1, 2, 3)] == ["one", None, "three"]


def test_sizes_are_added_up_and_the_last_one_stays_whatever_its_size() -> None:
    kept = Kept[str](10, len)
    for key, value in (("a", "four"), ("b", "six---"), ("c", "more than ten")):
        kept.keep(key, value)
    assert [kept.find(key) for key in "abc"] == [None, None, "more than ten"]
    kept.keep("d", "six---")
    kept.keep("e", "four")
    assert [kept.find(key) for key in "cde"] == [None, "six---", "four"]


def test_the_same_key_again_changes_nothing() -> None:
    kept = Kept[str](10, len)
    for _ in range(5):
        kept.keep("a", "four")
    kept.keep("b", "six---")
    assert kept.find("a") == "four"


def test_threads_may_share_it() -> None:
    kept = Kept[int](20)

    def use(seed: int) -> None:
        rng = Random(seed)
        for _ in range(2_000):
            key = rng.randrange(60)
            assert kept.find(key) in (None, key)
            kept.keep(key, key)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, range(6)))
    assert sum(kept.find(key) is not None for key in range(60)) == 20
