"""One log has one bundle, byte for byte: an archive with anything more, less or elsewhere does not verify."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from audit.files.archives import ArchiveWriter
from audit.findings import Finding
from audit.steps import Step
from ledger.errors import FormatError
from ledger.files.layout import BALANCES, CHECKPOINT, JOURNAL, body_path
from tests.support.exports import bundle_of, report_of
from tests.support.replay_history import HISTORY

Named = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(HISTORY, tmp_path_factory.mktemp("bundle") / "folk.tar")


@pytest.fixture(scope="module")
def files(bundle: Path) -> Named:
    """Name and content of each file, in order."""
    data, at, found = bundle.read_bytes(), 0, []
    while any(data[at : at + 512]):
        name, size = data[at : at + 100].rstrip(b"\0").decode(), int(data[at + 124 : at + 135], 8)
        found.append((name, data[at + 512 : at + 512 + size]))
        at += 512 + size + -size % 512
    return found


def archived(files: Named, path: Path) -> Path:
    with path.open("wb") as file:
        writer = ArchiveWriter(file)
        for name, data in files:
            writer.write(name, data)
        writer.finish()
    return path


def found_in(files: Named, tmp_path: Path) -> Finding:
    finding = report_of(archived(files, tmp_path / "other.tar")).finding
    assert finding is not None, "it held"
    return finding


def test_the_bundle_as_it_is_written_holds_and_every_file_of_it_is_counted(bundle: Path, files: Named) -> None:
    report = report_of(bundle)
    assert report.finding is None
    assert report.counts[Step.FILES] == {"files": len(files)}


@pytest.mark.parametrize("at", range(14))
def test_two_files_that_changed_places_are_found(at: int, files: Named, tmp_path: Path) -> None:
    swapped = [*files[:at], files[at + 1], files[at], *files[at + 2 :]]
    finding = found_in(swapped, tmp_path)
    assert (finding.step, finding.claimed, finding.expected) == (Step.FILES, files[at + 1][0], files[at][0])


@pytest.mark.parametrize("at", [0, 1, 4, 8, -1])
@pytest.mark.parametrize("digest", [sha256(b"more").digest(), bytes(32), b"\xff" * 32])
def test_a_body_that_nothing_names_is_found_whatever_its_hash(
    at: int, digest: bytes, files: Named, tmp_path: Path
) -> None:
    place = at % (len(files) + 1)
    more = [*files[:place], (body_path(digest), b"more"), *files[place:]]
    finding = found_in(more, tmp_path)
    assert (finding.step, finding.where.file) == (Step.FILES, body_path(digest))


@pytest.mark.parametrize("path", ["tile/3/000.p/1", "tile/entries/000.p/20", "tile/0/000"])
def test_a_tile_of_another_log_is_found(path: str, files: Named, tmp_path: Path) -> None:
    finding = found_in([*files[:3], (path, bytes(32)), *files[3:]], tmp_path)
    assert (finding.step, finding.where.file) == (Step.FILES, path)


def test_a_file_that_is_missing_is_named_by_the_step_that_reads_it(files: Named, tmp_path: Path) -> None:
    for path in (CHECKPOINT, JOURNAL, BALANCES):
        finding = found_in([(name, data) for name, data in files if name != path], tmp_path)
        assert (finding.step != Step.FILES, finding.where.file) == (True, path)


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1536), bytes(10240), bytes(1024) + b"x", bytes(1023) + b"x"])
def test_an_archive_that_ends_in_another_way_is_refused(end: bytes, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    other.write_bytes(bundle.read_bytes()[:-1024] + end)
    with pytest.raises(FormatError):
        report_of(other)


def test_of_a_folder_it_is_said_that_other_files_are_left_alone(files: Named, tmp_path: Path) -> None:
    for name, data in [*files, (body_path(bytes(32)), b"more")]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    report = report_of(tmp_path)
    assert report.finding is None
    assert report.skipped[Step.FILES] == "a folder may contain other files too"


def test_a_bundle_for_some_rounds_holds_without_the_order_of_its_bodies(tmp_path: Path) -> None:
    chosen = frozenset([3])
    report = report_of(bundle_of(HISTORY, tmp_path / "third.tar", rounds=chosen), rounds=chosen)
    assert report.finding is None
    assert report.skipped[Step.FILES] == "the order of bodies needs all rounds"
