"""A registry's history says at each size what a fold that goes along says there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from audit.findings import Finding, FoundError
from audit.folds import registry_history
from audit.folds.registry import RegistryFold
from audit.folds.registry_history import RegistryHistory, RegistryView
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent, KeyRevocationContent, PrincipalContent
from ledger.log.leaves import EncodedLeaf
from ledger.registry import Collective, CollectiveStatus
from payout.policy import Policy
from tests.support.registry_log import OSCAR, RegistryLog, key_of


def registry() -> RegistryLog:
    log = RegistryLog.founded()
    log.platforms(["acme", "zen"])
    for members in (1, 2, 3):
        log.collective(Collective("eire", "Éire", members, domains=(f"d{members}.example",)))
        log.collective(Collective("alba", "Alba", 10 * members))
    log.open_pool("folk", Policy(), platforms=["acme"])
    log.operator("operators/third")
    log.together(ControlsContent(controls=Controls.of_two().model_copy(update={"weights": 1})))
    log.collectives([Collective("eire", "Éire", 3, status=CollectiveStatus.SUSPENDED)])
    log.together(PrincipalContent(principal="auditors/ada", status="ACTIVE"))
    log.act(KeyRevocationContent(key_id=key_of(OSCAR)))
    return log


@pytest.mark.parametrize("step", [1, 3, 4_096])
def test_each_size_is_what_a_fold_says_of_it(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_history, "_STEP", step)
    log = RegistryLog.founded()
    log.entries, log.bodies = registry().entries[:-4], registry().bodies
    history = RegistryHistory(log)
    for start in (0, 5):  # a second pool's view begins again
        view, fold = RegistryView(history), RegistryFold(log)
        for size in range(start, log.size() + 2):
            ours, theirs = view.people_at(size), fold.people_at(size)
            if size:
                assert ours == theirs
            assert (view.last_time(), view.next_time()) == (fold.last_time(), fold.next_time())
            assert (view.root(), view.snapshot()) == (fold.root(), fold.snapshot())
            assert [view.has_platform(name) for name in ("acme", "zen", "x")] == [
                fold.has_platform(name) for name in ("acme", "zen", "x")
            ]
            assert [view.opened_at(at) for at in range(size)] == [fold.opened_at(at) for at in range(size)]


def test_it_is_folded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log, asked = RegistryLog.founded(), list[tuple[int, int]]()
    log.platforms(["acme"])
    leaves = log.leaves

    def counted(start: int, end: int) -> Iterator[EncodedLeaf]:
        asked.append((start, end))
        return leaves(start, end)

    monkeypatch.setattr(log, "leaves", counted)
    history = RegistryHistory(log)
    for _ in range(3):
        RegistryView(history).people_at(log.size())
    assert asked == [(0, 2)]


def test_a_log_that_cannot_be_followed_says_so_to_each_pool() -> None:
    log = RegistryLog.founded()
    log.platforms(["acme"])
    log.platform("acme")
    history = RegistryHistory(log)
    for _ in range(2):
        view = RegistryView(history)
        assert view.people_at(2).size == 2
        with pytest.raises(FoundError):
            view.people_at(3)


def test_a_hash_of_another_length_moves_no_other() -> None:
    """Hashes lie one after the other: with a shorter one, each after it would be read from the wrong place."""
    log, found = registry(), list[Finding]()
    encoded = log.entries[3]
    log.entries[3] = replace(encoded, hash=encoded.hash[:-1])
    fold = RegistryFold(log, note=found.append)
    with pytest.raises(ValueError, match=r"leaf 3 has 31 bytes"):
        fold.advance(log.size())
    assert [finding.where.leaf_index for finding in found] == [3]
    assert len(fold.hashes) == 3 * 32
