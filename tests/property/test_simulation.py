"""The rules of log, claims, acts, rounds and checkpoints, in one thread under a seeded scheduler: tests/simulation.

The store there is a model of what the rules rest on. That Postgres is like it is what the tests on Postgres are for.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Final

import pytest

from tests.simulation import rules
from tests.simulation.rules import Fault
from tests.simulation.store import Store, TakenError, Transaction
from tests.simulation.world import World

LIVES: Final = 120
"""Some 190,000 steps; `python -m tests.simulation` goes on for a million."""

LIVES_UNTIL_FOUND: Final = 150


def test_whoever_dies_and_whatever_is_lost_the_rules_hold() -> None:
    kinds: Counter[str] = Counter()
    timelines = 0
    for seed in range(LIVES):
        world = World(seed)
        assert world.live() == [], f"python -m tests.simulation --steps 1 --seed {seed}"
        leaves = (row for key, row in world.store.rows.items() if key[0] == "leaf")
        kinds.update(chain.from_iterable(leaves))
        timelines += world.store.timeline
    # Or nothing was tried.
    assert all(kinds[each] >= LIVES / 2 for each in ("usage", "report", "taken back", "decision", "round", "posted"))
    assert kinds["rejected"] >= LIVES / 10
    assert timelines >= LIVES / 4


@pytest.mark.parametrize("fault", Fault)
def test_a_mistake_made_on_purpose_is_found(fault: Fault) -> None:
    assert any(World(seed, frozenset([fault])).live() for seed in range(LIVES_UNTIL_FOUND)), fault.value


def test_the_same_seed_lives_the_same_life() -> None:
    first, second = World(7), World(7)
    assert first.live() == second.live() == []
    assert first.store.rows == second.store.rows
    assert first.steps == second.steps


def test_the_model_reads_what_is_committed_and_its_own() -> None:
    store = Store()
    one, other = Transaction(store), Transaction(store)
    one.put("row", row=1)
    assert (one.get("row"), other.get("row")) == (1, None)
    one.commit()
    assert other.get("row") == 1


def test_the_model_lets_one_wait_for_a_key_that_another_is_about_to_take() -> None:
    store = Store()
    one, other = Transaction(store), Transaction(store)
    assert list(one.insert("key", row=1)) == []
    waiting = other.insert("key", row=2)
    next(waiting)
    one.commit()
    with pytest.raises(TakenError):
        next(waiting)


def test_the_model_s_standby_lacks_the_last_commits() -> None:
    store = Store()
    for row in range(3):
        tx = Transaction(store)
        tx.put("row", row=row)
        tx.commit()
    held = Transaction(store)
    assert list(held.lock(*rules.HEAD)) == []
    store.fail_over(2)
    assert store.rows == {("row",): 0}
    assert list(Transaction(store).lock(*rules.HEAD)) == []
