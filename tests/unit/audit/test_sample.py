"""A sample of a log: the same for everyone who has the seed, and of events that count alone."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from audit.batches.means import Means
from audit.batches.sample import Sample, SampledEvent
from tests.support.batches import event_id
from tests.support.exports import bundle_of, report_of
from tests.support.memory_spill import MemorySpill
from tests.support.replay_history import BATCH, HISTORY


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(HISTORY, tmp_path_factory.mktemp("bundle") / "folk.tar")


def drawn(bundle: Path, size: int, seed: str) -> list[SampledEvent]:
    sample = Sample(size, seed)
    assert report_of(bundle, means=Means(MemorySpill, sample=sample)).finding is None
    return sample.drawn()


def test_the_same_seed_draws_the_same_events_and_more_of_them_hold_the_fewer(bundle: Path) -> None:
    everything = drawn(bundle, 1000, "2026-11")
    for size in range(1, len(everything) + 1):
        assert drawn(bundle, size, "2026-11") == everything[:size]
    others = drawn(bundle, 1000, "another")
    assert others != everything
    assert {(each.leaf_index, each.position) for each in others} == {
        (each.leaf_index, each.position) for each in everything
    }


def test_the_order_is_that_of_the_hashes_that_the_specification_names(bundle: Path) -> None:
    found = drawn(bundle, 1000, "seed")
    places = [sha256(b"seed\n" + each.platform.encode() + b"\n" + each.event_id.bytes).digest() for each in found]
    assert places == sorted(places)


def test_duplicates_are_never_drawn_and_an_event_is_told_with_its_shares(bundle: Path) -> None:
    found = drawn(bundle, 1000, "seed")
    keys = [(each.platform, each.event_id) for each in found]
    assert len(keys) == len(set(keys))
    (second,) = [each for each in found if each.event_id.bytes == event_id(1) and each.leaf_index == BATCH]
    assert (second.work_id, second.units, second.mode) == ("urn:1", 3, 1)
    assert second.shares == (("eire", 300_000_000), ("han", 500_000_000))
