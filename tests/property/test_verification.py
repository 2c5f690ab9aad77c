"""Verification by its rules: any history holds, and any entry that says something else does not, without an error."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from audit.verification.report import Report
from ledger.log.leaves import EncodedLeaf
from ledger.log.merkle import leaf_hash
from tests.support.entries import contents
from tests.support.exports import bundle_of, report_of
from tests.support.histories import histories
from tests.support.pool_log import PoolLog


def verified(log: PoolLog, **asked: Any) -> Report:
    with TemporaryDirectory() as folder:
        return report_of(bundle_of(log, Path(folder) / "bundle.tar"), **asked)


@given(log=histories())
@settings(max_examples=40)
def test_every_history_of_a_pool_holds(log: PoolLog) -> None:
    report = verified(log)
    assert report.finding is None
    # Replay, which reads a log for one round, says the same of each.
    assert all(log.replay(each.leaf_index).finding is None for each in report.rounds.values())


@given(log=histories(), data=st.data())
@settings(max_examples=60)
def test_a_log_in_which_one_entry_says_something_else_holds_or_has_a_finding(log: PoolLog, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, log.size() - 1))
    before = log.content(index)
    log.rewrite(index, data.draw(contents))
    try:
        report = verified(log)
    except KeyError:
        # The entry names a body that the service, too, does not have: there is no bundle of such a log.
        return
    if log.content(index) == before:
        assert report.finding is None
    elif type(log.content(index)).type in ("usage.v1", "round.v1", "posting.v1", "retraction.v1"):
        assert report.finding is not None


@given(log=histories(), data=st.data())
@settings(max_examples=60, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_whoever_lists_all_findings_lists_the_first_one(log: PoolLog, data: st.DataObject) -> None:
    for index in data.draw(st.lists(st.integers(0, log.size() - 1), min_size=1, max_size=3)):
        log.rewrite(index, data.draw(contents))
    try:
        first, every = verified(log), verified(log, keep_going=True)
    except KeyError:  # there is no bundle of such a log
        return
    assert (first.finding is None) == (every.finding is None)
    assert first.finding is None or first.finding in every.findings
    assert every.finding_count >= len(every.findings) >= first.finding_count


@given(log=histories(), data=st.data())
@settings(max_examples=40)
def test_an_entry_of_any_bytes_has_a_finding(log: PoolLog, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, log.size() - 1))
    entry = data.draw(st.binary(max_size=60) | st.just(b"{}") | st.just(b'{"type":"round.v1"}'))
    with TemporaryDirectory() as folder:
        bundle = bundle_of(log, Path(folder) / "bundle.tar")
        whole = bundle.read_bytes()
        there = log.entries[index].entry
        same_length = entry[: len(there)].ljust(len(there), b" ")
        bundle.write_bytes(whole.replace(there, same_length, 1))
        finding = report_of(bundle).finding
    assert finding is not None
    assert leaf_hash(same_length) != EncodedLeaf(index, there, leaf_hash(there)).hash
