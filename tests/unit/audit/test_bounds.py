"""What nobody has signed makes no verifier work without end: of each such thing there is a most, which is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

import pytest

from audit.files.static_log import MAX_SURPLUS
from audit.steps import Step
from audit.verification import named as named_room
from audit.verification.books import balance_findings
from ledger.acts.entries import CollectiveContent, DecisionContent, KeyChangeContent, WitnessesContent
from ledger.errors import NotFoundError
from ledger.files.layout import BALANCES, BALANCES_HEADER, JOURNAL, MAX_FILE_BYTES, bounded
from ledger.income import ReportContent
from ledger.log.key_changes import KeyChange, LastSigned, LogKeys, Reason
from ledger.log.note_keys import SigningKey, VerifierKey
from ledger.registry import Collective
from payout.entries import PostingContent
from payout.policy import Policy
from tests.support.batches import Event, event_id
from tests.support.exports import KEY, bundle_of, report_of
from tests.support.pool_log import PoolLog
from tests.support.registry_log import RegistryLog
from tests.support.replay_history import HISTORY, with_domains
from tests.unit.audit.test_verification import MemoryFiles, unpacked

DEPLOYMENT: Final = "moiety.example"


class Endless(MemoryFiles):
    """Files of which one goes on without end."""

    def __init__(self, files: dict[str, bytes], path: str, line: bytes) -> None:
        super().__init__(files)
        self.path, self.line = path, line
        self.asked: dict[str, int] = {}

    def read(self, path: str, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        assert path != self.path, "it is read whole"
        if path not in self.files:
            raise NotFoundError(path)
        self.asked[path] = bytes_max
        return bounded(self.files[path], path, bytes_max)

    def chunks(self, path: str) -> Iterator[bytes]:
        known = iter([self.files[path]])
        return chain(known, repeat(self.line)) if path == self.path else known


def endless(tmp_path: Path, path: str, line: bytes, log: PoolLog = HISTORY) -> Endless:
    return Endless(unpacked(bundle_of(log, tmp_path / "bundle.tar")).files, path, line)


# The books.


@pytest.mark.parametrize("line", [b"ab\n", b"a,1\n", b"x" * 2_000, b"\xff\n"])
@pytest.mark.parametrize("keep_going", [True, False])
def test_balances_without_end_are_one_finding(tmp_path: Path, line: bytes, keep_going: bool) -> None:
    report = report_of(endless(tmp_path, BALANCES, line), keep_going=keep_going)
    assert [(each.where.file, each.where.line, each.step) for each in report.findings] == [
        (BALANCES, 12, Step.BALANCES)
    ]


def test_balances_that_are_missing_are_told_line_by_line() -> None:
    told = list(balance_findings(iter([f"{BALANCES_HEADER}\na,1\n".encode()]), {"a": 1, "b": 2, "c": 3}))
    assert [(each.where.line, each.claimed, each.expected) for each in told] == [
        (3, "nothing", "b,2"), (4, "nothing", "c,3"),
    ]  # fmt: skip


@pytest.mark.parametrize("line", [b"0,0,a,b,1,REPORT\n", b"a,1\n", b"ab\n", b"99,0,a,b,1,REPORT\n", b"x" * 2_000])
def test_a_journal_without_end_is_read_to_where_it_says_too_much(tmp_path: Path, line: bytes) -> None:
    report = report_of(endless(tmp_path, JOURNAL, line), keep_going=True)
    assert {each.where.file for each in report.findings} == {JOURNAL}
    assert report.finding_count <= 2


def test_a_leaf_has_no_more_transfers_in_memory_than_it_makes(tmp_path: Path) -> None:
    files = endless(tmp_path, JOURNAL, b"")
    moved = files.files[JOURNAL].splitlines(keepends=True)[-1].decode().rstrip("\n").split(",")
    last = int(moved[1])
    numbered = (",".join([moved[0], str(last + place), *moved[2:]]) + "\n" for place in range(1, 10**12))
    more = {JOURNAL: (each.encode() for each in numbered)}
    files.chunks = lambda path: chain([files.files[path]], more.get(path, ()))  # type: ignore[method-assign]
    assert report_of(files).finding is not None
    assert int(next(numbered).split(",")[1]) <= last + MAX_SURPLUS + 2


# Changes of the key.


def made_up(count: int) -> list[KeyChange]:
    """A chain of changes by somebody who has no key of the deployment, the last one first."""
    old, found = VerifierKey(DEPLOYMENT, KEY.verifier_key.public_key), []
    for number in range(count):
        new = SigningKey(DEPLOYMENT, sha256(b"%d" % number).digest())
        change = KeyChange(Reason.LOST, old, new.verifier_key, (LastSigned("registry", 1, bytes(32)),))
        found.append(change.sign(new))
        old = new.verifier_key
    return found[::-1]


def with_changes(changes: list[KeyChange]) -> PoolLog:
    log = deepcopy(HISTORY)
    log.registry.now = log.now
    for change in changes:
        log.registry.append(KeyChangeContent(note=change.note.decode(), logs_sha256=log.registry.put(change.listed())))
    return log


def counted(patch: pytest.MonkeyPatch, owner: Any, name: str) -> list[int]:
    """Counts the calls of a function."""
    calls, real = [0], getattr(owner, name)

    def counting(*given: Any) -> Any:
        calls[0] += 1
        return real(*given)

    patch.setattr(owner, name, counting)
    return calls


def test_changes_of_the_key_are_put_in_order_without_comparing_them_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = made_up(200)
    calls = counted(monkeypatch, KeyChange, "__eq__")
    keys = LogKeys.of(KEY.verifier_key, changes)
    assert keys.changes == tuple(reversed(changes))
    assert calls[0] <= 200


def test_no_more_changes_are_read_than_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_room, "MAX_CHANGES", 3)
    bundle = bundle_of(with_changes(made_up(10)), tmp_path / "bundle.tar")
    calls = counted(monkeypatch, KeyChange, "read")
    report = report_of(bundle)
    assert report.finding is not None
    assert calls[0] <= 4  # the fold finds the first


def test_the_lists_of_all_changes_are_read_up_to_a_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = made_up(10)
    monkeypatch.setattr(named_room, "MAX_LISTED_BYTES", 3 * len(changes[0].listed()))
    calls = counted(monkeypatch, KeyChange, "read")
    report_of(bundle_of(with_changes(changes), tmp_path / "bundle.tar"))
    assert calls[0] <= 4


def test_of_many_policies_of_witnesses_only_the_one_in_force_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = deepcopy(HISTORY)
    log.registry.now = log.now
    for _ in range(50):
        log.registry.act(WitnessesContent(policy=""))
    calls = counted(monkeypatch, named_room, "timing_policy")
    assert report_of(bundle_of(log, tmp_path / "bundle.tar")).finding is None
    assert calls[0] == 2, "one for each of the two logs"


# Bodies.


def domains_finding(tmp_path: Path, body: bytes) -> Any:
    report = report_of(bundle_of(with_domains(body), tmp_path / "bundle.tar"), keep_going=True)
    return [(each.figure, each.expected) for each in report.findings]


def test_domains_are_hosts_and_prefixes_of_content_ids(tmp_path: Path) -> None:
    assert domains_finding(tmp_path, b"a.example\ncontent-id:m:\nlocalhost\nxn--bcher-kva.example\n") == []


@pytest.mark.parametrize(
    "body",
    [
        b"\n", b"\n\n", b"a.example", b"A.example\n", b"a..example\n", b"127.0.0.1\n", b"x" * 254 + b"\n",
        b"content-id:\n", b"content-id:a b\n", b"content-id:" + b"x" * 257 + b"\n", b"\xff\n", b"a.example\r\n",
        b"b.example\na.example\n",
    ],
)  # fmt: skip
def test_domains_of_another_form_are_a_finding(tmp_path: Path, body: bytes) -> None:
    assert [figure for figure, _ in domains_finding(tmp_path, body)] == [CollectiveContent.type]


def test_more_domains_than_there_may_be_are_not_read(tmp_path: Path) -> None:
    assert domains_finding(tmp_path, b"x" * 268_001) == [("domains_sha256", "a body of at most 268,000 bytes")]


def test_no_body_is_read_beyond_what_its_field_may_name(tmp_path: Path) -> None:
    files = endless(tmp_path, "", b"")
    assert report_of(files).finding is None
    most = {path: bytes_max for path, bytes_max in files.asked.items() if "body/" in path}
    assert max(bytes_max for path, bytes_max in most.items() if path.startswith("registry/")) <= MAX_FILE_BYTES
    batches = {HISTORY.content(index).body_sha256 for index in range(HISTORY.size())
               if HISTORY.content(index).type in ("usage.v1", "membership.v1")}  # fmt: skip
    assert {most[f"body/{digest[:2]}/{digest}"] for digest in batches} == {32 * 2**20}


def test_a_body_that_is_too_large_is_a_finding_at_its_leaf(tmp_path: Path) -> None:
    files = endless(tmp_path, "", b"")
    digest = next(HISTORY.content(index).body_sha256 for index in range(9) if HISTORY.content(index).type == "usage.v1")
    path = f"body/{digest[:2]}/{digest}"
    files.files[path] = bytes(32 * 2**20 + 1)
    found = report_of(files).finding
    assert found is not None
    assert (found.figure, found.expected) == ("body_sha256", "a body of at most 33,554,432 bytes")


# What an entry says.


LATE: Final = datetime(9999, 12, 31, 23, tzinfo=UTC)


def late_log() -> PoolLog:
    """A round that is calculated, and posted, an hour before there are no more dates, with a review of a day."""
    log = PoolLog(collectives=[Collective("eire", "E", 300)], registry=RegistryLog.founded())
    log.open(Policy(review_seconds=86_400))
    log.method(850_000)
    log.usage([Event(event_id(1), units=3, shares=(("eire", 500_000_000),))])
    log.revenue(1_001)
    log.now = log.registry.now = LATE
    log.calculate()
    at = log.size() - 1
    log.append(DecisionContent(subject=at, subject_hash=log.entries[at].hash.hex(), decision="APPROVED", reason="",
                               by="operators/oscar"))  # fmt: skip
    log.append(PostingContent(round=1, transfer_count=1, amount_minor=5))
    return log


def test_a_review_that_ends_after_the_last_date_is_not_over(tmp_path: Path) -> None:
    log = late_log()
    report = report_of(bundle_of(log, tmp_path / "bundle.tar"), keep_going=True)
    assert report.finding is not None
    assert (report.finding.figure, report.finding.step) == ("time", Step.DECISIONS)
    assert "the review runs" in report.finding.expected
    assert "the review runs" in str(log.replay(log.size() - 3).finding)


def too_much(log: PoolLog, amount: int) -> None:
    report = log.content(log.size() - 1)
    assert isinstance(report, ReportContent)
    log.entries.pop()
    log.append(report.model_copy(update={"amount_minor": amount}))


@pytest.mark.parametrize("amount", [10**15 + 1, 2**63, 10**4299])
def test_a_report_of_more_than_the_service_takes_is_a_finding_at_its_leaf(tmp_path: Path, amount: int) -> None:
    log = PoolLog(collectives=[Collective("eire", "E", 300)])
    log.open(Policy())
    log.revenue(1)
    too_much(log, amount)
    found = report_of(bundle_of(log, tmp_path / "bundle.tar")).finding
    assert found is not None
    assert (found.where.leaf_index, found.step) == (log.size() - 1, Step.FORMS if amount >= 2**63 else Step.BALANCES)


RAISED: Final[dict[str, Callable[[], object]]] = {
    "no date": lambda: LATE + (LATE - LATE.replace(year=1)),
    "no number": lambda: int("1" * 5_000),
    "nothing there": lambda: dict[str, int]()["nothing"],
    "no quotient": lambda: 1 // 0,
}


@pytest.mark.parametrize("stumbles", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("where", ["audit.folds.pool.PoolFold._take_in", "audit.verification.leaves.History.see"])
def test_whatever_an_entry_makes_a_check_raise_is_a_finding_at_its_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stumbles: Callable[[], object], where: str
) -> None:
    """Also where nothing was found before."""
    bundle = bundle_of(HISTORY, tmp_path / "bundle.tar")
    monkeypatch.setattr(where, lambda *_: stumbles())
    found = report_of(bundle).finding
    assert found is not None
    assert (found.where.leaf_index, found.expected) == (0, "a sound entry")


def test_memory_that_runs_out_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    bundle = bundle_of(HISTORY, tmp_path / "bundle.tar")
    monkeypatch.setattr("audit.verification.leaves.History.see", full)
    with pytest.raises(MemoryError):
        report_of(bundle)
