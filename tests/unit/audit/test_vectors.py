"""The test vectors: our verifier, one that was written from the page alone, and the committed figures agree."""

from __future__ import annotations

import ast
import json
import re
import tarfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.batches.means import Means
from audit.batches.sample import Sample
from audit.files.archives import open_files
from audit.files.spills import SpillFolder
from audit.files.static_log import StaticLog
from audit.receipt import check_receipt
from audit.steps import Step
from audit.verification.bundle import Older
from ledger.acts.entries import REGISTRY_CONTENTS
from ledger.log.merkle import root
from ledger.log.note_keys import VerifierKey
from ledger.usage.entries import UsageContent
from payout.apportionment import apportion
from payout.entries import CONTENTS
from tests.support.exports import report_of
from tests.support.independent import verifier
from tests.vectors.make import FOLDER, ROOT_SIZES, write

FIGURES: Final[dict[str, Any]] = json.loads((FOLDER / "figures.json").read_text())
KEY: Final = VerifierKey.parse((FOLDER / "folk.vkey").read_text().removesuffix("\n"))
BUNDLE: Final = FOLDER / "folk.tar"


def test_the_page_names_every_field_that_the_second_verifier_reads() -> None:
    page = (FOLDER.parents[1] / "docs/verification.md").read_text()
    marks = list(re.finditer(r"\*\*`([a-z_]+)\.v1`\*\*", page))
    ends = [mark.start() for mark in marks[1:]] + [len(page)]
    said: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        # What three types have in common is said after the last of them.
        said[mark[1]] = said.get(mark[1], "") + page[mark.start() : end].partition("\n## ")[0]
    for movement in ("receipt", "match"):
        said[movement] += said["reversal"]
    fields = {kind: {f"`{each.split()[0].rstrip('?')}`" for each in forms.split(", ") if each}
              for kind, forms in verifier.TYPES.items()}  # fmt: skip
    missing = {kind: {name for name in names if name not in said[kind]} for kind, names in fields.items()}
    assert {kind: names for kind, names in missing.items() if names} == {}


def test_the_script_writes_the_committed_bytes(tmp_path: Path) -> None:
    write(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix != ".py" and path.is_file()}
    assert written == committed


def test_the_bundle_holds_and_gives_the_figures() -> None:
    report = report_of(BUNDLE, KEY, since=(Older("older", (FOLDER / "older").read_bytes()),))
    assert report.finding is None
    assert not report.skipped
    assert report.checkpoint is not None
    assert (report.checkpoint.size, report.checkpoint.root.hex()) == (FIGURES["size"], FIGURES["root"])
    assert report.registry is not None
    assert report.registry.root.hex() == FIGURES["registry_root"]
    alone = Counter(act.log for act in report.acts if act.alone)
    assert alone == FIGURES["acts_of_one_person"]
    assert report.warnings == [
        "the signing key 900d9812 was replaced by e3d4de0c (ROTATED)",
        "keys recovered by the database's owner: 1",
        "reviews ended by the operator's clock: 1",
    ]
    assert report.counts[Step.CONSISTENCY] == {"older checkpoints": 1, "older registry checkpoints": 1}
    assert report.counts[Step.ROUNDS]["rounds"] == len(FIGURES["rounds"])
    assert report.counts[Step.BATCHES]["batches"] == len(FIGURES["batches"])
    assert report.counts[Step.BALANCES]["balances"] == len(FIGURES["balances"])
    assert [str(asdict(each)["pot_minor"]) for each in report.rounds.values()] == [
        each["pot_minor"] for each in FIGURES["rounds"].values()
    ]


def test_the_roots_and_leaf_hashes_are_the_committed_ones() -> None:
    files = open_files(BUNDLE)
    leaves = [leaf.hash for leaf in StaticLog("folk", files, FIGURES["size"]).leaves(0, FIGURES["size"])]
    files.close()
    assert {str(size): root(leaves[:size]).hex() for size in ROOT_SIZES} == FIGURES["roots"]
    assert {index: leaves[int(index)].hex() for index in FIGURES["leaf_hashes"]} == FIGURES["leaf_hashes"]


def test_the_receipt_holds() -> None:
    report, content = check_receipt(
        (FOLDER / "receipt.tlog-proof").read_bytes(), (FOLDER / "batch.arrow").read_bytes(), KEY
    )
    assert report.finding is None
    assert isinstance(content, UsageContent)


def test_every_type_of_entry_is_in_the_vectors() -> None:
    assert set(FIGURES["entries_by_type"]) == set(CONTENTS)
    assert set(FIGURES["registry_entries_by_type"]) == set(REGISTRY_CONTENTS)


# A second verifier.


def test_the_second_verifier_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(verifier.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in names} & {"ledger", "payout", "services", "moiety", "tests"}


def test_the_second_verifier_gives_the_same_figures() -> None:
    fold, found = verifier.verify(BUNDLE)
    assert found.hex() == FIGURES["root"]
    assert {size: verifier.root_of(fold.hashes[: int(size)]).hex() for size in FIGURES["roots"]} == FIGURES["roots"]
    assert verifier.root_of(fold.registry.hashes).hex() == FIGURES["registry_root"]
    assert {"registry": fold.registry.acts.alone, "folk": fold.acts.alone} == FIGURES["acts_of_one_person"]
    assert fold.totals == FIGURES["batches"]
    assert dict(sorted(fold.balances.items())) == FIGURES["balances"]
    for number, figures in FIGURES["rounds"].items():
        assert fold.figures[number] == {name: figures[name] for name in fold.figures[number]}


@pytest.mark.parametrize("size", [1, 25, 10_000])
def test_the_second_verifier_draws_the_same_events(size: int) -> None:
    drawn = Sample(size, "minutes of 3 March")
    with SpillFolder() as spills:
        assert report_of(BUNDLE, KEY, means=Means(spills.new, sample=drawn)).finding is None
    fold, _ = verifier.verify(BUNDLE)
    ours = [(event.leaf_index, event.position, event.event_id.hex) for event in drawn.drawn()]
    assert ours == verifier.sample(fold, size, "minutes of 3 March")
    assert len(ours) == min(size, sum(map(len, fold.accepted.values())))


@pytest.mark.parametrize("path", ["tile/entries/000", "journal.csv", "balances.csv"])
def test_the_second_verifier_finds_a_changed_byte(path: str, tmp_path: Path) -> None:
    with tarfile.open(BUNDLE) as archive:
        at = archive.getmember(path).offset_data + 200
    data = bytearray(BUNDLE.read_bytes())
    data[at] ^= 1
    (tmp_path / "folk.tar").write_bytes(data)
    with pytest.raises((AssertionError, ValueError, KeyError)):
        verifier.verify(tmp_path / "folk.tar")


@given(
    total=st.integers(0, 300),
    weights=st.lists(st.integers(0, 6) | st.integers(0, 2**70), max_size=7),
    floor=st.integers(0, 20),
    above=st.none() | st.integers(0, 60),
)
def test_the_pages_apportionment_is_ours(total: int, weights: list[int], floor: int, above: int | None) -> None:
    floor = min(floor, total // max(1, sum(weight > 0 for weight in weights)))
    cap = None if above is None else floor + above
    assert verifier.apportion(total, weights, floor, cap) == apportion(total, weights, floor=floor, cap=cap)
