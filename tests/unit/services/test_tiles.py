"""Folders and bundles: complete, incremental, the same bytes for the same log; and their tar is everyone's."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from audit.files.archives import ArchiveFiles, ArchiveWriter, header, parse_header
from audit.files.folders import FolderFiles
from audit.steps import Step
from ledger.errors import FormatError, InvalidInputError, LedgerCorruptError, NotFoundError
from ledger.files.layout import body_path
from ledger.journal import Transfer
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import export_folder
from tests.support.exports import KEY, PoolSource, bundle_of, report_of
from tests.support.pool_log import PoolLog
from tests.support.replay_history import HISTORY


@dataclass
class CountingSource(PoolSource):
    """Remembers what was asked for, and may end in the middle."""

    asked_entries: list[tuple[int, int]] = field(default_factory=list)
    asked_bodies: list[bytes] = field(default_factory=list)
    asked_transfers: list[int] = field(default_factory=list)
    bodies_left: int = 10_000

    def entries(self, start: int, end: int) -> Iterable[bytes]:
        self.asked_entries.append((start, end))
        return super().entries(start, end)

    def body(self, digest: bytes) -> bytes:
        if not self.bodies_left:
            raise ConnectionError
        self.bodies_left -= 1
        self.asked_bodies.append(digest)
        return super().body(digest)

    def transfers(self, start: int, end: int) -> Iterator[tuple[int, int, Transfer]]:
        self.asked_transfers.append(start)
        return super().transfers(start, end)


@pytest.fixture
def log() -> PoolLog:
    """The history, and then some: two bundles of entries and a bit."""
    log = deepcopy(HISTORY)
    while log.size() < 600:
        log.revenue(7)
    log.calculate("operators/olive")
    return log


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def archived(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        opened = ((member.name, archive.extractfile(member)) for member in archive.getmembers())
        return {name: file.read() for name, file in opened if file}


def test_a_folder_and_a_bundle_hold_the_same_files(log: PoolLog, tmp_path: Path) -> None:
    exported = export_folder(PoolSource(log), tmp_path / "log")
    assert contents(tmp_path / "log") == archived(bundle_of(log, tmp_path / "bundle.tar"))
    assert (exported.entries, exported.entries_before, exported.bodies) == (601, 0, len(log.bodies))
    assert report_of(tmp_path / "log").finding is None
    assert report_of(tmp_path / "bundle.tar").finding is None


def test_the_same_log_gives_the_same_bytes(log: PoolLog, tmp_path: Path) -> None:
    one, other = bundle_of(log, tmp_path / "one.tar"), bundle_of(log, tmp_path / "other.tar")
    assert one.read_bytes() == other.read_bytes()


def test_a_second_export_fetches_only_what_is_new(log: PoolLog, tmp_path: Path) -> None:
    export_folder(PoolSource(log, size=520), tmp_path)
    assert report_of(tmp_path).finding is None
    partial = {path for path in contents(tmp_path) if ".p/" in path and not path.startswith("registry/")}
    source = CountingSource(log)
    exported = export_folder(source, tmp_path)
    assert source.asked_entries == [(512, 601)]
    assert source.asked_transfers == [519]
    assert set(source.asked_bodies) == {bytes.fromhex(named) for named in named_by(log, 600)} - known(log, 520)
    assert (exported.entries, exported.entries_before) == (89, 512)
    # The one tile of level 1 has no more hashes than before.
    assert partial & set(contents(tmp_path)) == {"tile/1/000.p/2"}
    assert contents(tmp_path) == archived(bundle_of(log, tmp_path.with_suffix(".tar")))
    assert report_of(tmp_path).finding is None


def named_by(log: PoolLog, leaf: int) -> list[str]:
    content = log.content(leaf)
    return list(content.bodies().values())


def known(log: PoolLog, size: int) -> set[bytes]:
    values = (value for leaf in range(size) for value in log.content(leaf).model_dump().values())
    return {bytes.fromhex(value) for value in values if isinstance(value, str) and len(value) == 64}


def test_an_export_of_what_is_there_fetches_nothing_but_the_last_transfers(log: PoolLog, tmp_path: Path) -> None:
    export_folder(PoolSource(log), tmp_path)
    before = contents(tmp_path)
    source = CountingSource(log)
    export_folder(source, tmp_path)
    assert (source.asked_entries, source.asked_bodies) == ([], [])
    assert contents(tmp_path) == before


@pytest.mark.parametrize("bodies", [0, 1, 5, 9])
def test_an_export_that_was_interrupted_goes_on(log: PoolLog, bodies: int, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        export_folder(CountingSource(log, bodies_left=bodies), tmp_path)
    assert not (tmp_path / "checkpoint").exists()
    source = CountingSource(log)
    export_folder(source, tmp_path)
    assert len(source.asked_bodies) == len(log.bodies) - bodies
    assert contents(tmp_path) == archived(bundle_of(log, tmp_path.with_suffix(".tar")))


def test_an_interrupted_export_leaves_the_older_one_verifiable(log: PoolLog, tmp_path: Path) -> None:
    export_folder(PoolSource(log, size=520), tmp_path)
    with pytest.raises(ConnectionError):
        export_folder(CountingSource(log, bodies_left=0), tmp_path)
    report = report_of(tmp_path)
    assert report.finding is None
    assert report.checkpoint is not None
    assert report.checkpoint.size == 520


def test_a_folder_of_another_history_is_not_written_over(log: PoolLog, tmp_path: Path) -> None:
    export_folder(PoolSource(log), tmp_path)
    other = deepcopy(log)
    other.change(2, note="another history")
    other.revenue(1)
    with pytest.raises(LedgerCorruptError):
        export_folder(PoolSource(other), tmp_path)
    assert report_of(tmp_path).finding is None


@pytest.mark.parametrize("grown", [0, 1, 300])
def test_a_history_that_parts_in_a_partial_tile_is_not_written_over(log: PoolLog, grown: int, tmp_path: Path) -> None:
    export_folder(PoolSource(log, size=520), tmp_path)
    note = (tmp_path / "checkpoint").read_bytes()
    other = deepcopy(log)
    other.change(515, note="another history")
    for amount in range(1, grown + 1):
        other.revenue(amount)
    with pytest.raises(LedgerCorruptError, match="root"):
        export_folder(PoolSource(other, size=520 if grown == 0 else None), tmp_path)
    assert (tmp_path / "checkpoint").read_bytes() == note
    assert report_of(tmp_path).finding is None


def test_a_log_that_shrank_is_not_written_over(log: PoolLog, tmp_path: Path) -> None:
    export_folder(PoolSource(log), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(LedgerCorruptError, match="states 601 leaves, the service's 520"):
        export_folder(PoolSource(log, size=520), tmp_path)
    assert contents(tmp_path) == before


def test_a_service_that_gives_other_entries_than_it_signs_is_found_out(log: PoolLog, tmp_path: Path) -> None:
    source = PoolSource(log, size=520)
    note = source.checkpoint()
    log.change(2, note="another history")
    source.checkpoint = lambda: note  # type: ignore[method-assign]
    with pytest.raises(LedgerCorruptError, match="root"):
        export_folder(source, tmp_path / "log")
    with pytest.raises(LedgerCorruptError, match="root"):
        write_bundle(source, tmp_path / "bundle.tar")
    assert list(tmp_path.glob("bundle*")) == []


def test_a_service_that_gives_another_body_is_found_out(log: PoolLog, tmp_path: Path) -> None:
    digest = next(iter(log.bodies))
    log.bodies[digest] += b"?"
    with pytest.raises(LedgerCorruptError, match=digest.hex()):
        export_folder(PoolSource(log), tmp_path)


def test_a_bundle_for_a_round_that_is_not_there_is_refused(log: PoolLog, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no round 9"):
        write_bundle(PoolSource(log), tmp_path / "bundle.tar", frozenset([9]))
    assert list(tmp_path.iterdir()) == []


# The archive itself.


def test_the_machines_own_tar_reads_a_bundle(log: PoolLog, tmp_path: Path) -> None:
    bundle = bundle_of(log, tmp_path / "bundle.tar")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", bundle, "-C", tmp_path / "unpacked"], check=True)
    assert contents(tmp_path / "unpacked") == archived(bundle)
    assert report_of(tmp_path / "unpacked").finding is None


def test_the_checkpoint_comes_first(log: PoolLog, tmp_path: Path) -> None:
    assert next(iter(archived(bundle_of(log, tmp_path / "bundle.tar")))) == "checkpoint"


def test_a_header_is_the_one_that_pythons_own_writer_gives() -> None:
    for name, size in (("checkpoint", 0), (body_path(bytes(32)), 8**11 - 1)):
        info = tarfile.TarInfo(name)
        info.size = size
        assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)
        assert parse_header(header(name, size)) == (name, size)


@pytest.mark.parametrize("place", range(0, 512, 13))
def test_any_changed_byte_of_a_header_is_refused(place: int) -> None:
    block = bytearray(header("journal.csv", 77))
    block[place] ^= 1
    with pytest.raises(FormatError):
        parse_header(bytes(block))


def archive_of(tmp_path: Path, *files: tuple[str, bytes], end: bytes = b"") -> Path:
    path = tmp_path / "archive.tar"
    with path.open("wb") as file:
        archive = ArchiveWriter(file)
        for name, data in files:
            archive.write(name, data)
        archive.finish()
        file.write(end)
    return path


def test_files_of_an_archive_are_read_whole_and_in_pieces(tmp_path: Path) -> None:
    long = bytes(range(256)) * 9000
    one, other = bytes(32), bytes(31) + b"\1"
    files = ArchiveFiles(
        archive_of(tmp_path, ("journal.csv", long), (body_path(other), b"other"), (body_path(one), b""))
    )
    assert files.read("journal.csv") == long
    assert b"".join(files.chunks("journal.csv")) == long
    assert (files.read(body_path(one)), files.read(body_path(other))) == (b"", b"other")
    for missing in ("checkpoint", body_path(bytes(30) + b"\1\1")):
        with pytest.raises(NotFoundError):
            files.read(missing)
    with pytest.raises(FormatError):
        files.read("journal.csv", bytes_max=1000)
    files.close()


@pytest.mark.parametrize(
    "files",
    [
        (("journal.csv", b"1"), ("journal.csv", b"2")),
        ((body_path(bytes(32)), b"1"), (body_path(bytes(32)), b"1")),
        (("readme.txt", b"hello"),),
        (("../checkpoint", b""),),
        (("tile/0/0", b""),),
        (("body/ab/" + "0" * 64, b""),),
    ],
)
def test_an_archive_with_a_file_twice_or_of_no_log_is_refused(files: list[tuple[str, bytes]], tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        ArchiveFiles(archive_of(tmp_path, *files))


def test_an_archive_that_is_cut_off_or_goes_on_is_refused(tmp_path: Path) -> None:
    whole = archive_of(tmp_path, ("journal.csv", bytes(2000)), ("checkpoint", b"note")).read_bytes()
    path = tmp_path / "cut.tar"
    for data in (*(whole[:size] for size in range(0, len(whole) - 1024, 300)), whole + b"more"):
        path.write_bytes(data)
        with pytest.raises(FormatError):
            ArchiveFiles(path)


def test_every_byte_of_an_archive_counts(tmp_path: Path) -> None:
    whole = archive_of(tmp_path, ("journal.csv", b"j" * 700), ("checkpoint", b"note")).read_bytes()
    files = ArchiveFiles(tmp_path / "archive.tar")
    before = files.read("journal.csv"), files.read("checkpoint")
    files.close()
    for place in range(0, len(whole), 7):
        (tmp_path / "archive.tar").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            files = ArchiveFiles(tmp_path / "archive.tar")
        except FormatError:
            continue
        assert (files.read("journal.csv"), files.read("checkpoint")) != before
        files.close()


def test_what_else_lies_in_a_folder_is_left_alone(log: PoolLog, tmp_path: Path) -> None:
    export_folder(PoolSource(log), tmp_path)
    (tmp_path / "readme.txt").write_text("hello")
    assert report_of(tmp_path).finding is None
    files = FolderFiles(tmp_path)
    for missing in ("body", "checkpoint/x", "nothing"):
        with pytest.raises(NotFoundError):
            files.read(missing)
        with pytest.raises(NotFoundError):
            list(files.chunks(missing))


def test_a_file_that_is_too_long_is_refused(log: PoolLog, tmp_path: Path) -> None:
    export_folder(PoolSource(log), tmp_path)
    (tmp_path / "checkpoint").write_bytes(bytes(2**20 + 1))
    finding = report_of(tmp_path, KEY.verifier_key).finding
    assert finding is not None
    assert (finding.step, finding.where.file) == (Step.SIGNATURES, "checkpoint")
