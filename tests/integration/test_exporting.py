"""`moiety export --parquet`: every row follows from the log, once, however often and interrupted it is run."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledger.errors import LedgerCorruptError
from ledger.files.layout import MAX_FILE_BYTES
from ledger.store.durable import alone_in
from ledger.usage.entries import UsageContent
from moiety import Client, DataLossError, Policy, Pool
from moiety.v1.accounts_pb2 import TransferPurpose
from moiety.v1.rounds_pb2 import STATEMENT_PART_REGISTRY, RoundState
from payout import policy as terms
from payout.statement import parse_registry, parse_statement
from services.cli.base.exits import Exit
from services.exports.errors import ExportFolderError
from services.exports.parquet import folder as parquet
from services.exports.parquet.folder import export_parquet
from services.exports.parquet.schema import SCHEMAS, TABLES
from services.exports.source import PoolSource
from tests.support.deployment import Deployment
from tests.support.disks import no_room
from tests.support.history import ITEMS, POLICIES, SCORED, live, open_history, some_usage
from tests.support.parquet_folder import all_tables, files_of, printed_by_export, read_table, run_export
from tests.support.scene import NAMED_PLATFORMS, POOL, Scene

pytestmark = pytest.mark.surface


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    scene = open_history(shared_deployment)
    live(scene)
    return scene


@pytest.fixture(scope="module")
def auditor(scene: Scene) -> Client:
    return scene.deployment.client("auditors/ada")


@pytest.fixture(scope="module")
def exported(auditor: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_parquet(PoolSource(auditor, POOL), folder)
    return folder


class Shortened(PoolSource):
    """The log as it was at an earlier size."""

    def __init__(self, client: Client, size: int) -> None:
        super().__init__(client, POOL)
        if size < self.size:
            self.size, self.root = size, b""

    def require_root(self, frontier: Any) -> None:
        if self.root:
            super().require_root(frontier)


class Breaking(PoolSource):
    """A log that is away after so many bodies."""

    bodies = 5

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        self.bodies -= 1
        if self.bodies < 0:
            raise DataLossError("away")
        return super().body(sha256, bytes_max=bytes_max)


def test_the_tables_have_what_the_contract_says(scene: Scene, exported: Path) -> None:
    operator = scene.operator
    transfers = [
        (each.leaf_index, each.ordinal, each.from_account, each.to_account, each.amount_minor, each.purpose)
        for each in operator.list_transfers(POOL)
    ]
    assert transfers == [
        (
            row["leaf_index"], row["ordinal"], row["from_account"], row["to_account"], row["amount_minor"],
            TransferPurpose.Value(f"TRANSFER_PURPOSE_{row['purpose']}"),
        )
        for row in read_table(exported, "transfers")
    ]  # fmt: skip
    rounds = read_table(exported, "rounds")
    figures = ("pot_minor", "fee_minor", "attributed_minor", "commons_minor", "commons_kept_minor", "carried_minor")
    assert [
        [row["number"], row["leaf_index"], row["start_leaf"], row["end_leaf"], *(row[name] for name in figures)]
        for row in rounds
    ] == [
        [each.number, each.leaf_index, each.start, each.end, *(getattr(each, name) for name in figures)]
        for each in operator.list_rounds(POOL)
    ]
    decided = {row["round"]: (row["decision"], row["by"]) for row in read_table(exported, "decisions")}
    words = {RoundState.ROUND_STATE_POSTED: "APPROVED", RoundState.ROUND_STATE_REJECTED: "REJECTED"}
    for each in operator.list_rounds(POOL):
        assert decided.get(each.number, (None, "")) == (words.get(each.state), each.decided_by)
    posted = [row["round"] for row in read_table(exported, "postings")]
    assert posted == [each.number for each in operator.list_rounds(POOL) if each.state == RoundState.ROUND_STATE_POSTED]
    batches = {row["leaf_index"]: row for row in read_table(exported, "batches")}
    for receipt in operator.list_batches(POOL):
        row = batches.pop(receipt.leaf_index)
        assert (row["accepted"], row["duplicates"]) == (receipt.accepted_count, receipt.duplicate_count)
        assert receipt.name == f"pools/{POOL}/batches/{row['platform']}~{row['batch_id']}"
    assert not batches


def test_allocations_and_registry_are_the_rounds_statement_and_snapshot(auditor: Client, exported: Path) -> None:
    allocations, registry = read_table(exported, "allocations"), read_table(exported, "registry")
    for each in auditor.list_rounds(POOL):
        lines = parse_statement(auditor.get_statement(POOL, each.number))
        found = [row for row in allocations if row["round"] == each.number]
        assert {row["leaf_index"] for row in found} == {each.leaf_index}
        names = [name for name in TABLES["allocations"] if name not in ("leaf_index", "round")]
        assert [[row[name] for name in names] for row in found] == [
            [getattr(line, name) for name in names] for line in lines
        ]
        snapshot = parse_registry(auditor.get_statement(POOL, each.number, part=STATEMENT_PART_REGISTRY))
        assert [
            (row["collective"], row["status"], row["members"], row["equity_ppm"])
            for row in registry
            if row["round"] == each.number
        ] == [(line.name, line.status.value, line.members, line.equity_ppm) for line in snapshot]


def test_every_event_is_there_as_it_was_sent_and_duplicates_are_marked(exported: Path) -> None:
    batches = {row["batch_id"]: row for row in read_table(exported, "batches") if row["platform"] == "tunesmith"}
    first, second = batches["ngram-1"], batches["influence-1"]
    usage = some_usage(1, 60, first_id=10**6)
    sent = {first["leaf_index"]: usage[:30], second["leaf_index"]: [*usage[25:], usage[-1]]}
    for leaf_index, events in sent.items():
        rows = [row for row in read_table(exported, "events") if row["leaf_index"] == leaf_index]
        assert [row["position"] for row in rows] == list(range(len(events)))
        for row, event in zip(rows, events, strict=True):
            occurred = event.occurred_at.astimezone(UTC)
            assert row["event_id"] == event.event_id.bytes
            assert (row["work_id"], row["occurred_at"]) == (event.work_id, occurred)
            assert row["month"] == occurred.date().replace(day=1)
            assert (row["units"], row["mode"]) == (event.units, event.mode.name)
            shares = {share["collective"]: share["share_nano"] for share in row["shares"]}
            assert shares == dict(event.shares)
            assert row["share_sum_nano"] == sum(shares.values())
    accepted = {
        row["position"]
        for row in read_table(exported, "events")
        if row["leaf_index"] == second["leaf_index"] and row["accepted"]
    }
    assert accepted == set(range(5, 35))
    assert (second["accepted"], second["duplicates"]) == (30, 6)


def test_scores_are_exported_as_the_shares_that_they_became(auditor: Client, exported: Path) -> None:
    rows = [row for row in read_table(exported, "events") if row["method"] == SCORED]
    assert len(rows) == 8 * len(POLICIES)
    assert {row["membership_version"] for row in read_table(exported, "batches") if row["method"] == SCORED} == {1}
    for row in rows[:8]:
        found = auditor.find_event(POOL, str(UUID(bytes=row["event_id"])), platform="songbird").event
        assert {share["collective"]: share["share_nano"] for share in row["shares"]} == {
            share.collective_id: share.share_nano for share in found.shares
        }
    assert any(row["shares"] for row in rows[:8])


def test_what_was_taken_back_is_in_a_table_of_its_own(exported: Path) -> None:
    events = {(row["leaf_index"], row["position"]): row for row in read_table(exported, "events")}
    taken = read_table(exported, "retractions")
    assert len({(row["batch_leaf"], row["position"]) for row in taken}) == len(taken) > 0
    for row in taken:
        assert row["batch_leaf"] < row["leaf_index"]
        assert events[row["batch_leaf"], row["position"]]["accepted"]
    of_first = [row for row in taken if row["request_id"] == "t-1"]
    ids = {events[row["batch_leaf"], row["position"]]["event_id"] for row in of_first}
    assert ids == {each.event_id.bytes for each in some_usage(1, 60, first_id=10**6)[:3]}


def test_policies_and_methods_are_there_with_all_their_terms(auditor: Client, exported: Path) -> None:
    assert set(terms.Policy.model_fields) <= set(TABLES["policies"])
    policies = read_table(exported, "policies")
    for row, policy in zip(policies, auditor.list_policies(POOL), strict=True):
        assert (row["version"], row["leaf_index"]) == (policy.version, policy.leaf_index)
        assert (row["fee_ppm"], row["floor_minor"], row["human_ai_ppm"]) == (
            policy.fee_ppm, policy.floor_minor, policy.human_ai_ppm,
        )  # fmt: skip
        assert row["fee_cap_minor"] == (policy.fee_cap_minor if policy.HasField("fee_cap_minor") else None)
        assert row["cap_minor"] == (policy.cap_minor if policy.HasField("cap_minor") else None)
    methods = [(row["method"], row["version"], row["confidence_ppm"]) for row in read_table(exported, "methods")]
    assert methods == [("ngram", 1, 1_000_000), ("influence", 1, 350_000), (SCORED, 1, 800_000)]
    scored = read_table(exported, "methods")[-1]
    assert (scored["score_kind"], scored["membership"]) == ("SIGNED_INFLUENCE", "items")
    assert {row["score_kind"] for row in read_table(exported, "methods")[:2]} == {None}
    (membership,) = read_table(exported, "memberships")
    assert (membership["membership"], membership["version"], membership["sources"]) == ("items", 1, len(ITEMS))


def test_every_leaf_is_there_and_files_say_which_log_they_are_of(auditor: Client, exported: Path) -> None:
    leaves = read_table(exported, "leaves")
    assert [(row["leaf_index"], row["hash"], row["entry"].encode()) for row in leaves] == [
        (leaf.index, leaf.hash.hex(), leaf.entry) for leaf in auditor.list_leaves(POOL)
    ]
    assert Counter(row["type"] for row in leaves)[UsageContent.type] == len(read_table(exported, "batches"))
    assert [json.loads(row["entry"])["type"] for row in leaves] == [row["type"] for row in leaves]
    head = auditor.get_log_head(POOL)
    for table in SCHEMAS:
        (file,) = files_of(exported, table)
        metadata = pq.read_metadata(file).metadata
        assert metadata[b"moiety.log_size"] == str(head.size).encode()
        assert metadata[b"moiety.log_root"] == head.root.hex().encode()
        assert pq.ParquetFile(file).schema_arrow.equals(SCHEMAS[table])


@pytest.mark.parametrize("events_per_file", [50, 2**20])
def test_many_small_files_hold_the_same_rows(
    auditor: Client, exported: Path, tmp_path: Path, events_per_file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "EVENTS_PER_FILE", events_per_file)
    monkeypatch.setattr(parquet, "LEAVES_PER_FILE", 20)
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 7)
    export_parquet(PoolSource(auditor, POOL), tmp_path)
    assert len(files_of(tmp_path, "leaves")) > 4
    assert all_tables(tmp_path) == all_tables(exported)


def test_an_export_goes_on_where_the_last_one_ended(auditor: Client, exported: Path, tmp_path: Path) -> None:
    whole = PoolSource(auditor, POOL).size
    starts = []
    for size in (1, 12, 13, 40, whole, whole):
        done = export_parquet(Shortened(auditor, size), tmp_path)
        starts.append(done.start)
        assert done.end == size
    assert starts == [0, 1, 12, 13, 40, whole]
    assert done.rows == {}
    assert all_tables(tmp_path) == all_tables(exported)


def test_an_interrupted_export_leaves_nothing_half_done(auditor: Client, exported: Path, tmp_path: Path) -> None:
    export_parquet(Shortened(auditor, 12), tmp_path)
    before = all_tables(tmp_path)
    with pytest.raises(DataLossError, match="away"):
        export_parquet(Breaking(auditor, POOL), tmp_path)
    assert all_tables(tmp_path) == before
    assert not list(tmp_path.rglob("*.partial"))
    export_parquet(PoolSource(auditor, POOL), tmp_path)
    assert all_tables(tmp_path) == all_tables(exported)


def test_files_without_their_leaves_are_from_a_run_that_was_killed_and_are_made_again(
    auditor: Client, exported: Path, tmp_path: Path
) -> None:
    export_parquet(Shortened(auditor, 30), tmp_path)
    export_parquet(PoolSource(auditor, POOL), tmp_path)
    files_of(tmp_path, "leaves")[-1].unlink()
    (tmp_path / "events" / f"pool={POOL}" / ".events.partial").write_bytes(b"PAR1")
    assert export_parquet(PoolSource(auditor, POOL), tmp_path).start == 30
    assert all_tables(tmp_path) == all_tables(exported)
    assert not list(tmp_path.rglob("*.partial"))


def test_leaves_that_do_not_have_the_services_root_are_refused(auditor: Client, tmp_path: Path) -> None:
    source = PoolSource(auditor, POOL)
    source.root = bytes(32)
    with pytest.raises(LedgerCorruptError, match="expected 0000"):
        export_parquet(source, tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_log_that_is_no_longer_the_one_exported_is_refused(auditor: Client, tmp_path: Path) -> None:
    export_parquet(Shortened(auditor, 30), tmp_path)
    (file,) = files_of(tmp_path, "leaves")
    table = pq.read_table(file, partitioning=None)
    hashes = table["hash"].to_pylist()
    hashes[7] = "00" * 32
    pq.write_table(table.set_column(3, "hash", [hashes]), file)
    with pytest.raises(LedgerCorruptError, match="have the root"):
        export_parquet(PoolSource(auditor, POOL), tmp_path)


def test_a_log_shorter_than_what_was_exported_is_refused(auditor: Client, tmp_path: Path) -> None:
    export_parquet(Shortened(auditor, 30), tmp_path)
    with pytest.raises(LedgerCorruptError, match=r"has 30 leaves .* its log only 20"):
        export_parquet(Shortened(auditor, 20), tmp_path)


def test_a_folder_with_a_hole_is_refused(auditor: Client, tmp_path: Path) -> None:
    for size in (10, 20, 30):
        export_parquet(Shortened(auditor, size), tmp_path)
    files_of(tmp_path, "leaves")[1].unlink()
    with pytest.raises(ExportFolderError, match="should start with leaf 10, but starts with 20"):
        export_parquet(PoolSource(auditor, POOL), tmp_path)


def test_a_file_that_was_damaged_or_changed_is_named(auditor: Client, tmp_path: Path) -> None:
    export_parquet(Shortened(auditor, 30), tmp_path)
    (file,) = files_of(tmp_path, "leaves")
    whole, table = file.read_bytes(), pq.read_table(file, partitioning=None)
    for damaged in (b"", whole[:100], whole[:-9] + bytes(9), b"PAR1" + bytes(len(whole) - 4)):
        file.write_bytes(damaged)
        with pytest.raises(ExportFolderError, match="cannot be read any more") as caught:
            export_parquet(PoolSource(auditor, POOL), tmp_path)
        assert caught.value.path == file
    for column, changed, reason in (
        ("entry", [text.replace("folk", "fork") for text in table["entry"].to_pylist()], "another entry at leaf"),
        ("hash", [None] * 30, "cannot be read any more"),
        ("leaf_index", list(range(1, 31)), "does not contain the leaves that its name says"),
    ):
        at = table.schema.get_field_index(column)
        pq.write_table(table.set_column(at, column, pa.array(changed, table.schema.field(at).type)), file)
        with pytest.raises(ExportFolderError, match=reason):
            export_parquet(PoolSource(auditor, POOL), tmp_path)


def test_the_command_says_what_it_wrote(scene: Scene, exported: Path, tmp_path: Path) -> None:
    first = json.loads(printed_by_export(scene.deployment, tmp_path, "--parquet", "--json"))
    head = scene.operator.get_log_head(POOL)
    assert (first["log_size"], first["log_root"], first["new_leaves"]) == (head.size, head.root.hex(), head.size)
    assert first["new_rows"] == {table: len(rows) for table, rows in all_tables(exported).items()}
    again = json.loads(printed_by_export(scene.deployment, tmp_path, "--parquet", "--json"))
    assert (again["new_leaves"], again["new_rows"], again["books"]) == (0, {}, [])
    assert f"{head.size} leaves, root {head.root.hex()}" in printed_by_export(scene.deployment, tmp_path, "--parquet")


def test_pools_lie_side_by_side_in_one_folder(scene: Scene, tmp_path: Path) -> None:
    scene.operator.create_pool(
        "quiet", Pool(display_name="Quiet", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    assert run_export(scene.deployment, tmp_path, "--parquet") == Exit.OK
    assert run_export(scene.deployment, tmp_path, "--parquet", pool="quiet") == Exit.OK
    assert [row["type"] for row in read_table(tmp_path, "leaves", "quiet")] == ["pool.v1"]
    assert read_table(tmp_path, "events", "quiet") == []
    assert len(read_table(tmp_path, "leaves")) > 1


def test_only_operators_and_auditors_export(scene: Scene, tmp_path: Path) -> None:
    assert run_export(scene.deployment, tmp_path, "--parquet", principal="operators/olive") == Exit.OK
    for principal in ("platforms/tunesmith", "collectives/irish"):
        assert run_export(scene.deployment, tmp_path / "x", "--parquet", principal=principal) == Exit.NOT_ALLOWED


@pytest.mark.parametrize("format_", ["--parquet", "--beancount"])
def test_a_folder_that_cannot_be_is_named(
    scene: Scene, tmp_path: Path, format_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert run_export(scene.deployment, tmp_path / "taken", format_) == Exit.NOT_WRITTEN
    assert "taken" in capsys.readouterr().err


@pytest.mark.parametrize("format_", ["--parquet", "--beancount"])
def test_a_full_disk_leaves_nothing_half_done_and_the_next_run_works(
    scene: Scene, tmp_path: Path, format_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for room in (0, 500):
        with no_room(room):
            assert run_export(scene.deployment, tmp_path, format_) == Exit.NOT_WRITTEN
        assert "File too large" in capsys.readouterr().err
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert run_export(scene.deployment, tmp_path, format_) == Exit.OK


def test_one_run_at_a_time_writes_to_a_folder(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_export(scene.deployment, tmp_path, "--parquet") == Exit.OK
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with alone_in(tmp_path / "leaves" / f"pool={POOL}"):
        assert run_export(scene.deployment, tmp_path, "--parquet") == Exit.NOT_WRITTEN
    assert "another process writes there" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_format_must_be_asked_for(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_export(scene.deployment, tmp_path) == Exit.BAD_INPUT
    assert "is required: one or more of --parquet, --beancount and --hledger" in capsys.readouterr().err
