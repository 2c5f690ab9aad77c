"""Verification by example: a sound bundle holds, and each thing that could be wrong with one is named at its step."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from audit.batches.means import Means
from audit.files.spills import SpillFolder
from audit.findings import Finding, Where
from audit.steps import Step
from audit.verification.bundle import Older
from ledger.acts.entries import Decision
from ledger.errors import NotFoundError
from ledger.files.layout import BALANCES, CHECKPOINT, JOURNAL, MAX_FILE_BYTES, body_path, digest_at
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.merkle import EMPTY_ROOT
from ledger.log.note_keys import SigningKey
from ledger.usage.entries import UsageContent, decode_positions, encode_positions
from ledger.usage.format import AI_ONLY
from payout.entries import RoundContent
from payout.statement import parse_statement, render_statement
from services.exports.tiles.bundles import write_bundle
from tests.support.batches import Event, event_id
from tests.support.exports import KEY, ORIGIN, PoolSource, bundle_of, report_of, steps_of
from tests.support.pool_log import PoolLog, totals
from tests.support.replay_history import (
    APPROVAL_3,
    BATCH,
    HISTORY,
    LAST_REVENUE,
    LATE,
    PAYMENT,
    POSTING_1,
    POSTING_3,
    REPEATS,
    REVENUE,
    ROUND_1,
    ROUND_2,
    ROUND_3,
    corrected_history,
)


class MemoryFiles:
    """Static files in memory, to be tampered with."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def read(self, path: str, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        if path not in self.files:
            raise NotFoundError(path)
        assert len(self.files[path]) <= bytes_max
        return self.files[path]

    def chunks(self, path: str) -> Iterator[bytes]:
        yield from (self.read(path)[at : at + 7] for at in range(0, len(self.read(path)), 7))


def files_of(log: PoolLog, tmp_path: Path, **choices: Any) -> MemoryFiles:
    return unpacked(bundle_of(log, tmp_path / "bundle.tar", **choices))


def unpacked(bundle: Path) -> MemoryFiles:
    """As Python's own reader of archives has it."""
    with tarfile.open(bundle) as archive:
        opened = ((member.name, archive.extractfile(member)) for member in archive.getmembers())
        return MemoryFiles({name: file.read() for name, file in opened if file})


@pytest.fixture
def log() -> PoolLog:
    return deepcopy(HISTORY)


@pytest.fixture
def files(tmp_path: Path) -> MemoryFiles:
    return files_of(HISTORY, tmp_path)


def found(files: MemoryFiles, **asked: Any) -> Finding:
    finding = report_of(files, **asked).finding
    assert finding is not None, "it held"
    return finding


def resigned(log: PoolLog, tmp_path: Path) -> Finding:
    """What is found in a log that says something wrong, sealed and signed by its operator all the same."""
    return found(files_of(log, tmp_path))


# Without tampering.


def test_a_sound_bundle_holds_and_says_what_was_checked(files: MemoryFiles) -> None:
    report = report_of(files)
    assert report.finding is None
    assert report.counts == {
        Step.SIGNATURES: {"signatures": 1, "registry signatures": 1},
        Step.ENTRIES: {"entries": 21, "tiles": 1, "registry entries": 8, "registry tiles": 1},
        Step.FORMS: {"entries": 21, "registry entries": 8},
        Step.BODIES: {"bodies": 21, "bytes": sum(len(files.files[path]) for path in files.files if digest_at(path))
                      + sum(len(HISTORY.bodies[digest]) for digest in repeated_bodies())},
        Step.BATCHES: {"batches": 5, "events": 9},
        Step.WEIGHTS: {"shares": 9},
        Step.EVENTS: {"events": 9, "duplicates": 2, "batches and requests": 12},
        Step.ROUNDS: {"rounds": 3, "statement lines": 9},
        Step.DECISIONS: {"decisions": 3, "approved": 2, "rejected": 1, "acts": 13, "acts of one person": 12},
        Step.POSTINGS: {"postings": 2, "transfers": 14},
        Step.BALANCES: {"transfers": 18, "balances": 10},
        Step.CONSERVATION: {"rounds": 3, "balances summed": 10},
    }  # fmt: skip
    assert set(report.skipped) == {Step.CONSISTENCY, Step.FILES}


def repeated_bodies() -> list[bytes]:
    """Registry snapshots that more than one round commits to, once for each time beyond the first."""
    named = [bytes.fromhex(HISTORY.content(leaf).registry_sha256) for leaf in (ROUND_1, ROUND_2, ROUND_3)]
    return [digest for place, digest in enumerate(named) if digest in named[:place]]


def test_it_tells_who_decided_each_round(files: MemoryFiles) -> None:
    rounds = report_of(files).rounds
    assert [(each.number, each.state, each.calculated_by, each.decided_by) for each in rounds.values()] == [
        (1, "POSTED", "operators/olive", "policy"),
        (2, "REJECTED", "operators/olive", "operators/oscar"),
        (3, "POSTED", "operators/olive", "operators/oscar"),
    ]


def test_it_tells_how_far_it_has_come(files: MemoryFiles) -> None:
    told, _ = steps_of(files)
    assert [each.leaves for each in told] == [8, 21, *range(1, 22)]
    assert {each.leaf_total for each in told[1:]} == {21}
    assert told[-1].shares == 9


def test_threads_change_nothing(files: MemoryFiles) -> None:
    alone = report_of(files)
    with ThreadPoolExecutor(3) as pool, SpillFolder() as spills:
        together = report_of(files, means=Means(spills.new, lambda work: pool.submit(work).result, ahead=4))
    assert together == alone


def test_retractions_and_deficits_hold_too(tmp_path: Path) -> None:
    report = report_of(files_of(corrected_history(), tmp_path))
    assert report.finding is None
    assert report.counts[Step.BATCHES]["retractions"] > 0


@pytest.mark.parametrize("size", range(22))
def test_every_prefix_of_the_log_that_a_checkpoint_may_state_holds(size: int, tmp_path: Path) -> None:
    write_bundle(PoolSource(HISTORY, size=size), tmp_path / "bundle.tar")
    assert report_of(tmp_path / "bundle.tar").finding is None


def test_a_log_of_several_tiles_holds(tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    while log.size() < 70_000 // 100:
        log.revenue(7)
    log.calculate("operators/olive")
    report = report_of(files_of(log, tmp_path))
    assert report.finding is None
    assert report.counts[Step.ENTRIES] == {
        "entries": log.size(),
        "tiles": 4,
        "registry entries": 8,
        "registry tiles": 1,
    }


# 1. The checkpoint.


def test_a_checkpoint_of_another_key_is_refused(files: MemoryFiles) -> None:
    other = SigningKey(ORIGIN, bytes(32)).verifier_key
    assert found(files, key=other).step is Step.SIGNATURES


def test_a_key_of_another_log_is_refused(files: MemoryFiles) -> None:
    assert found(files, key=SigningKey("moiety.example/pools/jazz", KEY.seed).verifier_key).step is Step.SIGNATURES


@pytest.mark.parametrize("place", range(0, len(PoolSource(HISTORY).checkpoint()), 7))
def test_any_changed_byte_of_the_checkpoint_is_found(files: MemoryFiles, place: int) -> None:
    files.files[CHECKPOINT] = flipped(files.files[CHECKPOINT], place)
    assert found(files).step is Step.SIGNATURES


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# 2. Older checkpoints.


def kept(size: int, root: str | None = None, key: SigningKey = KEY) -> Older:
    checkpoint = Checkpoint(ORIGIN, size, bytes.fromhex(root or HISTORY.root_at(size)))
    return Older("kept", sign_checkpoint(checkpoint, key).to_bytes())


@pytest.mark.parametrize("size", [0, 1, 7, 21])
def test_an_older_checkpoint_is_extended(files: MemoryFiles, size: int) -> None:
    report = report_of(files, since=(kept(size), kept(3)))
    assert report.finding is None
    assert report.counts[Step.CONSISTENCY] == {"older checkpoints": 2}
    assert set(report.skipped) == {Step.FILES}


def test_an_older_checkpoint_of_another_history_is_found(files: MemoryFiles) -> None:
    finding = found(files, since=(kept(7, HISTORY.root_at(8)),))
    assert finding == Finding(Where(file="kept"), "root at 7", HISTORY.root_at(7), HISTORY.root_at(8), Step.CONSISTENCY)


def test_an_older_checkpoint_of_the_empty_log_must_have_its_root(files: MemoryFiles) -> None:
    assert found(files, since=(kept(0, HISTORY.root_at(1)),)).claimed == EMPTY_ROOT.hex()


def test_a_log_that_shrank_is_found(files: MemoryFiles) -> None:
    finding = found(files, since=(kept(22, HISTORY.root_at(21)),))
    assert (finding.step, finding.figure, finding.claimed, finding.expected) == (
        Step.CONSISTENCY, "size", "21 leaves", "22 leaves or more: this bundle is older than the checkpoint",
    )  # fmt: skip


def test_an_older_checkpoint_that_another_key_signed_proves_nothing(files: MemoryFiles) -> None:
    other = SigningKey(ORIGIN, bytes(32))
    finding = found(files, since=(kept(3, key=other),))
    assert (finding.step, finding.where.file, finding.figure) == (Step.CONSISTENCY, "kept", "signature")


# 3. Entries and tiles.


@pytest.mark.parametrize("place", range(5, 7000, 381))
def test_any_changed_byte_of_an_entry_is_found_at_its_leaf(files: MemoryFiles, place: int) -> None:
    path = "tile/entries/000.p/21"
    files.files[path] = flipped(files.files[path], place)
    finding = found(files)
    assert finding.step is Step.ENTRIES
    assert finding.where.file.startswith("tile/")
    at = 0
    for leaf in HISTORY.entries:
        if at + 2 <= place < at + 2 + len(leaf.entry):
            assert (finding.where.leaf_index, finding.where.file, finding.claimed) == (
                leaf.index,
                path,
                leaf.hash.hex(),
            )
        at += 2 + len(leaf.entry)


def test_a_changed_byte_of_a_tile_is_found_in_the_tile(files: MemoryFiles) -> None:
    path = "tile/0/000.p/21"
    files.files[path] = flipped(files.files[path], 5 * 32 + 3)
    finding = found(files)
    assert (finding.step, finding.where.leaf_index, finding.where.file) == (Step.ENTRIES, 5, path)
    assert finding.expected == HISTORY.entries[5].hash.hex()


@pytest.mark.parametrize("more", [b"\n", bytes(32)])
def test_what_comes_after_the_hashes_of_a_tile_is_found(files: MemoryFiles, more: bytes) -> None:
    """A log has one bundle, byte for byte: nothing lies in it that no hash is of."""
    for path in ("tile/0/000.p/21", "registry/tile/0/000.p/8"):
        longer = MemoryFiles({**files.files, path: files.files[path] + more})
        finding = found(longer)
        assert (finding.step, finding.where.file) == (Step.ENTRIES, path)
        assert f"must have {len(files.files[path])} bytes" in str(finding)


@pytest.mark.parametrize("path", ["tile/0/000.p/21", "tile/entries/000.p/21", CHECKPOINT, JOURNAL, BALANCES])
def test_a_file_that_is_missing_is_named(files: MemoryFiles, path: str) -> None:
    del files.files[path]
    assert found(files).where.file == path


def test_a_dropped_last_entry_is_found(log: PoolLog, tmp_path: Path) -> None:
    files = files_of(log, tmp_path)
    shorter = files_of_size(log, tmp_path, 20)
    files.files["tile/entries/000.p/21"] = shorter.files["tile/entries/000.p/20"]
    assert found(files).step is Step.ENTRIES


def files_of_size(log: PoolLog, tmp_path: Path, size: int) -> MemoryFiles:
    write_bundle(PoolSource(log, size=size), tmp_path / "shorter.tar")
    return unpacked(tmp_path / "shorter.tar")


def test_a_log_cut_short_and_signed_again_is_found_by_the_older_checkpoint_alone(tmp_path: Path) -> None:
    shorter = files_of_size(HISTORY, tmp_path, 20)
    assert report_of(shorter).finding is None
    assert found(shorter, since=(kept(21),)).figure == "size"


def test_swapped_entries_are_found_even_where_they_are_signed_again(log: PoolLog, tmp_path: Path) -> None:
    one, other = log.entries[LATE], log.entries[ROUND_1 - 2]
    log.entries[LATE], log.entries[ROUND_1 - 2] = replace(other, index=LATE), replace(one, index=ROUND_1 - 2)
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.FORMS, ROUND_1 - 2, "index")


def test_an_entry_that_is_left_out_is_found_even_where_it_is_signed_again(log: PoolLog, tmp_path: Path) -> None:
    del log.entries[REPEATS]
    log.entries = [replace(leaf, index=place) for place, leaf in enumerate(log.entries)]
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.FORMS, REPEATS, "index")
    assert (finding.claimed, finding.expected) == (str(REPEATS + 1), str(REPEATS))


# 4. Bodies.


def bodies() -> list[str]:
    return sorted(body_path(digest) for digest in HISTORY.bodies)


@pytest.mark.parametrize("path", bodies())
def test_a_changed_byte_of_a_body_is_found(files: MemoryFiles, path: str) -> None:
    files.files[path] = flipped(files.files[path], len(files.files[path]) // 2)
    finding = found(files)
    assert (finding.step, finding.where.file, finding.where.body) == (Step.BODIES, path, path.rpartition("/")[2])
    assert finding.expected == sha256(files.files[path]).hexdigest()


@pytest.mark.parametrize("path", bodies())
def test_a_dropped_body_is_found(files: MemoryFiles, path: str) -> None:
    del files.files[path]
    finding = found(files)
    assert (finding.step, finding.where.body) == (Step.BODIES, path.rpartition("/")[2])
    assert finding.expected == "no body has this hash"


# 5. to 7. Batches, weights, events.


def test_a_batch_that_is_none_is_found(log: PoolLog, tmp_path: Path) -> None:
    log.change(BATCH, body_sha256=log.put(b"no batch"), body_bytes=8)
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.BATCHES, BATCH, "body")


def test_a_weight_that_does_not_follow_is_found(log: PoolLog, tmp_path: Path) -> None:
    content: UsageContent = log.content(BATCH)
    log.change(BATCH, ai_only=content.ai_only.model_copy(update={"attributed": content.ai_only.attributed + 1}))
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.WEIGHTS, BATCH, "mode 1 attributed")
    assert int(finding.claimed) == int(finding.expected) + 1


def test_the_first_of_two_batches_that_are_weighed_together_is_told(log: PoolLog, tmp_path: Path) -> None:
    for leaf in (BATCH, REPEATS):
        content: UsageContent = log.content(leaf)
        log.change(leaf, human_ai=content.human_ai.model_copy(update={"events": 77}))
    log.change(LATE, method_version=9)
    with ThreadPoolExecutor(3) as pool, SpillFolder() as spills:
        means = Means(spills.new, lambda work: pool.submit(work).result, ahead=8)
        finding = report_of(files_of(log, tmp_path), means=means).finding
    assert finding is not None
    assert (finding.where.leaf_index, finding.figure) == (BATCH, "mode 2 events")


def test_a_forged_duplicate_is_found(log: PoolLog, tmp_path: Path) -> None:
    # The late batch's one event is marked as a duplicate, and everything else is made to fit.
    log.change(LATE, accepted=0, duplicates=encode_positions([0]), ai_only=totals([], AI_ONLY))
    finding = resigned_without_rounds(log, LATE, tmp_path)
    assert (finding.step, finding.where.leaf_index) == (Step.EVENTS, LATE)
    assert finding.figure == f"event 0, {event_id(5).hex()}"
    assert (finding.claimed, finding.expected) == ("a duplicate", "the first with its id")


def test_an_event_that_counts_twice_is_found(log: PoolLog, tmp_path: Path) -> None:
    assert decode_positions(log.content(REPEATS).duplicates) == [0, 2]
    first = Event(event_id(2), None, 0, 1000, AI_ONLY, (("eire", 10**9),))
    log.change(REPEATS, accepted=2, duplicates=encode_positions([2]), ai_only=totals([first], AI_ONLY))
    finding = resigned_without_rounds(log, REPEATS, tmp_path)
    assert (finding.step, finding.where.leaf_index) == (Step.EVENTS, REPEATS)
    assert (finding.claimed, finding.expected) == ("accepted", f"a duplicate of event 1 in leaf {BATCH}")


def resigned_without_rounds(log: PoolLog, last: int, tmp_path: Path) -> Finding:
    """What is found in the log up to a leaf, so that no round before the end says otherwise."""
    log.entries = log.entries[: last + 1]
    log.journal = {leaf: moved for leaf, moved in log.journal.items() if leaf <= last}
    return found(files_of(log, tmp_path))


def test_one_event_id_of_two_platforms_is_two_events(tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    log.usage([Event(event_id(5), None, 0, 4, AI_ONLY, ())], platform="zen")
    assert report_of(files_of(log, tmp_path)).finding is None


# 8. Rounds.


def test_an_altered_statement_is_found_by_line_and_figure(log: PoolLog, tmp_path: Path) -> None:
    lines = parse_statement(log.bodies[bytes.fromhex(log.content(ROUND_3).statement_sha256)])
    lines[1] = lines[1]._replace(commons_minor=lines[1].commons_minor + 1)
    log.restate(ROUND_3, render_statement(lines))
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.where.line) == (Step.ROUNDS, ROUND_3, 3)
    assert (finding.figure, finding.where.body) == ("commons_minor", log.content(ROUND_3).statement_sha256)
    assert int(finding.claimed) == int(finding.expected) + 1


@pytest.mark.parametrize("leaf", [ROUND_1, ROUND_2, ROUND_3])
@pytest.mark.parametrize(
    ("figure", "step"),
    [("pot_minor", Step.ROUNDS), ("events", Step.ROUNDS), ("policy_leaf", Step.ROUNDS), ("fee_minor", Step.ROUNDS)],
)
def test_a_rounds_figure_that_does_not_follow_is_found(
    log: PoolLog, leaf: int, figure: str, step: Step, tmp_path: Path
) -> None:
    log.change(leaf, **{figure: getattr(log.content(leaf), figure) + 1})
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (step, leaf, figure)


def test_a_round_that_is_calculated_while_one_is_open_is_found(log: PoolLog, tmp_path: Path) -> None:
    log.entries = log.entries[:APPROVAL_3]
    log.calculate("operators/oscar")
    log.journal = {leaf: moved for leaf, moved in log.journal.items() if leaf < APPROVAL_3}
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.ROUNDS, APPROVAL_3, "end")


@pytest.mark.parametrize(("start", "end"), [(6, 18), (6, 0), (9, 8), (-1, 4)])
def test_an_interval_that_cannot_be_is_found(log: PoolLog, start: int, end: int, tmp_path: Path) -> None:
    log.change(ROUND_3, start=start, end=end, seal=False)
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.ROUNDS, ROUND_3, "interval")


# 9. and 10. Decisions and postings.


@pytest.mark.parametrize(
    "fields", [{"decision": "APPROVED?"}, {"subject": ROUND_1}, {"subject": 999}, {"subject_hash": "0"}]
)
def test_a_decision_that_cannot_be_is_found(log: PoolLog, fields: dict[str, Any], tmp_path: Path) -> None:
    log.change(APPROVAL_3, **fields)
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index) == (Step.DECISIONS, APPROVAL_3)


def test_a_posting_of_a_rejected_round_is_found(log: PoolLog, tmp_path: Path) -> None:
    log.change(APPROVAL_3, decision=Decision.REJECTED.value)
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.POSTINGS, POSTING_3, "decision")


@pytest.mark.parametrize("figure", ["transfer_count", "amount_minor"])
def test_a_postings_figure_that_does_not_follow_is_found(log: PoolLog, figure: str, tmp_path: Path) -> None:
    log.change(POSTING_1, **{figure: getattr(log.content(POSTING_1), figure) + 1})
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.POSTINGS, POSTING_1, figure)


# 11. Journal and balances.


def test_a_changed_amount_in_the_journal_is_found_by_its_line(files: MemoryFiles) -> None:
    files.files[JOURNAL] = files.files[JOURNAL].replace(b"10000,REPORT", b"10001,REPORT")
    finding = found(files)
    assert (finding.step, finding.where.leaf_index, finding.where.file) == (Step.BALANCES, REVENUE, JOURNAL)
    assert (finding.claimed, finding.expected) == (
        "platform/acme,revenue,10001,REPORT", "platform/acme,revenue,10000,REPORT",
    )  # fmt: skip


@pytest.mark.parametrize("line", range(1, 17))
def test_a_journal_line_that_is_missing_or_twice_is_found(files: MemoryFiles, line: int) -> None:
    lines = files.files[JOURNAL].splitlines(keepends=True)
    for changed in (lines[:line] + lines[line + 1 :], lines[: line + 1] + lines[line:]):
        files.files[JOURNAL] = b"".join(changed)
        finding = found(files)
        assert (finding.step, finding.where.file) == (Step.BALANCES, JOURNAL)


def test_a_journal_line_for_a_leaf_that_moves_nothing_is_found(files: MemoryFiles) -> None:
    files.files[JOURNAL] += f"{LAST_REVENUE + 1},0,revenue,fees,1,FEE\n".encode()
    finding = found(files)
    assert (finding.step, finding.where.file, finding.where.line) == (Step.BALANCES, JOURNAL, 20)


@pytest.mark.parametrize("place", [0, 9, 60, 70, 100, 300, -1])
def test_a_changed_byte_of_the_journal_is_found(files: MemoryFiles, place: int) -> None:
    files.files[JOURNAL] = flipped(files.files[JOURNAL], place % len(files.files[JOURNAL]))
    assert found(files).step is Step.BALANCES


def test_a_changed_balance_is_found_by_its_line(files: MemoryFiles) -> None:
    lines = files.files[BALANCES].decode().splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith("fees,"))
    lines[place] += "0"
    files.files[BALANCES] = ("\n".join(lines) + "\n").encode()
    finding = found(files)
    assert (finding.step, finding.where.file, finding.where.line) == (Step.BALANCES, BALANCES, place + 1)
    assert finding.claimed == finding.expected + "0"


def test_a_payment_beyond_what_is_owed_is_found(log: PoolLog, tmp_path: Path) -> None:
    amount = log.balance("collective/eire") + log.content(PAYMENT).amount_minor + 1
    log.entries, log.journal = log.entries[:PAYMENT], {k: v for k, v in log.journal.items() if k < PAYMENT}
    log.payment("eire", amount)
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.claimed) == (Step.BALANCES, PAYMENT, "-1")


def test_revenue_in_another_currency_is_found(log: PoolLog, tmp_path: Path) -> None:
    log.change(REVENUE, currency="USD")
    finding = resigned(log, tmp_path)
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.BALANCES, REVENUE, "currency")


# Some rounds only.


def test_a_bundle_for_one_round_leaves_the_batches_of_others_out(tmp_path: Path) -> None:
    partial = files_of(HISTORY, tmp_path, rounds=frozenset([3]))
    missing = {path for path in files_of(HISTORY, tmp_path).files if path not in partial.files}
    assert missing == {body_path(bytes.fromhex(HISTORY.content(leaf).body_sha256)) for leaf in (BATCH, REPEATS)}


def test_of_a_bundle_for_one_round_that_round_is_recomputed_and_the_rest_is_said_to_be_left_out(tmp_path: Path) -> None:
    report = report_of(files_of(HISTORY, tmp_path, rounds=frozenset([3])), rounds=frozenset([3]))
    assert report.finding is None
    assert report.counts[Step.ROUNDS] == {"rounds": 1, "statement lines": 3, "rounds not recomputed": 2}
    assert [each.recomputed for each in report.rounds.values()] == [False, False, True]
    assert report.counts[Step.BODIES]["batches left out"] == 2
    assert Step.EVENTS in report.skipped


def test_a_bundle_for_some_rounds_does_not_pass_for_a_whole_one(tmp_path: Path) -> None:
    partial = files_of(HISTORY, tmp_path, rounds=frozenset([3]))
    assert found(partial).step is Step.BODIES
    assert found(partial, rounds=frozenset([1])).where.leaf_index == BATCH


def test_a_round_that_is_not_in_the_log_is_not_recomputed(files: MemoryFiles) -> None:
    assert found(files, rounds=frozenset([3, 4])).expected == "4"


@pytest.mark.parametrize("leaf", [ROUND_1, ROUND_2])
def test_a_round_that_is_not_recomputed_still_conserves_its_pot(log: PoolLog, leaf: int, tmp_path: Path) -> None:
    log.change(leaf, carried_minor=log.content(leaf).carried_minor + 1)
    finding = found(files_of(log, tmp_path), rounds=frozenset([3]))
    assert (finding.step, finding.where.leaf_index) == (Step.CONSERVATION, leaf)


def test_retractions_from_a_batch_of_an_earlier_round_find_its_body(tmp_path: Path) -> None:
    log = corrected_history()
    numbers = [content.number for _, content in log.placed(RoundContent)]
    assert len(numbers) == 3
    for chosen in (frozenset([number]) for number in numbers):
        assert report_of(files_of(log, tmp_path, rounds=chosen), rounds=chosen).finding is None
