"""Random mutations of bundles: both verifiers say the same of each. docs/verification.md says how to run more."""

from __future__ import annotations

from pathlib import Path

from tests.support.exports import bundle_of
from tests.support.mutations import disagreements, finding_of, mutants
from tests.support.replay_history import HISTORY


def test_both_verifiers_agree_on_random_mutations(tmp_path: Path) -> None:
    assert [told[:3] for told in disagreements(1, 250, tmp_path)] == []


def test_mutations_are_of_every_kind_and_some_of_them_hold(tmp_path: Path) -> None:
    bundle = bundle_of(HISTORY, tmp_path / "folk.tar")
    hows, held = set(), 0
    for how, mutant in mutants(2, 150, [bundle]):
        hows.add(how.partition(" ")[0])
        (tmp_path / "mutant.tar").write_bytes(mutant)
        held += finding_of(tmp_path / "mutant.tar") is None
    assert hows >= {"bytes", "files", "field", "drop", "more", "repeat", "leave", "swap", "body"}
    assert held > 0


def test_the_same_seed_makes_the_same_mutations(tmp_path: Path) -> None:
    bundle = bundle_of(HISTORY, tmp_path / "folk.tar")
    assert list(mutants(3, 20, [bundle])) == list(mutants(3, 20, [bundle]))
