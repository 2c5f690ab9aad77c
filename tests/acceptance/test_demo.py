"""The demo, run as people run it: in a process of its own, on the installed melodies, with few works."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from demo.corpus import Tradition
from demo.interruptions import Interruptions
from demo.months import Retransmission, SettledRound
from demo.outcome import Outcome
from demo.payments import Banking
from demo.plays import MONTHS, PLAYS_MAX, Platform, count_plays, most_played, platforms_of, usage_table
from demo.works import Work, work_of_melody
from moiety import Allocation, Mode, ReplayVerdict, Round
from moiety.v1 import audit_pb2, rounds_pb2

# The first embedded Postgres that root starts on a machine adds a user for it, and several at once would collide.
pytestmark = pytest.mark.usefixtures("postgres")

WORKS: Final = 60
COMMAND: Final = [sys.executable, "-m", "services.cli", "demo", "--works", str(WORKS)]
SECONDS_MAX: Final = 600


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder for the demo's own; pytest's names are too long for Postgres's socket."""
    folder = Path(tempfile.mkdtemp(prefix="mt-"))
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Runs:
    """What two runs of the demo printed, for machines and for people."""

    document: dict[str, Any]
    people: str


@pytest.fixture(scope="module")
def runs(postgres: object) -> Runs:  # noqa: ARG001 - see pytestmark
    def run(option: str) -> str:
        done = subprocess.run(
            [*COMMAND, option], capture_output=True, text=True, timeout=SECONDS_MAX, check=False, encoding="utf-8"
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    with ThreadPoolExecutor() as pool:
        document, people = pool.map(run, ("--json", "--all"))
    return Runs(json.loads(document), people)


def test_every_round_conserves_the_pot(runs: Runs) -> None:
    assert [found["number"] for found in runs.document["rounds"]] == [1, 2, 3]
    for found in runs.document["rounds"]:
        parts = ("fee_minor", "allocated_minor", "commons_kept_minor", "carried_minor", "rounding_minor")
        assert found["pot_minor"] == sum(found[part] for part in parts) > 0
        assert found["allocated_minor"] == found["attributed_minor"] + found["commons_minor"]
    assert runs.document["balances_sum_minor"] == 0


def test_every_replay_matches(runs: Runs) -> None:
    assert [found["replay"] for found in runs.document["rounds"]] == ["MATCH", "MATCH", "MATCH"]
    assert runs.document["breaches"] == []


def test_rounds_are_cut_by_the_scheduler_and_approved_by_a_second_operator(runs: Runs) -> None:
    people = {(found["calculated_by"], found["decided_by"]) for found in runs.document["rounds"]}
    assert people == {("scheduler", "operators/bob")}


def test_a_round_closes_each_month_and_usage_waits_for_its_money(runs: Runs) -> None:
    assert [found["period"] for found in runs.document["rounds"]] == ["2026-01", "2026-02", "2026-03"]
    told = " ".join(runs.people.split())
    assert told.count("pays 2 days late. So the schedule cuts nothing on the first") == 1
    cut = re.findall(r"cut by the scheduler for [-0-9]{7} on (\d+ \w+ [\d:]+) in Lisbon", told)
    assert cut == ["1 February 06:00", "3 March 06:00", "1 April 06:00"]


def test_one_objection_is_set_aside_and_released(runs: Runs) -> None:
    objected = [found["objected_by"] for found in runs.document["rounds"]]
    assert [each is not None for each in objected] == [False, True, False]
    assert f"In the review {objected[1]} objects" in " ".join(runs.people.split())


def test_every_event_counts_once_however_often_it_was_sent(runs: Runs) -> None:
    per_month = [WORKS * month.events_per_work for month in MONTHS]
    assert [found["events"] for found in runs.document["rounds"]] == per_month
    assert runs.document["events"] == sum(per_month)
    assert runs.document["works"] == WORKS
    assert 10 * sum(per_month) < runs.document["shares"] <= runs.document["traditions"] * sum(per_month)
    sent_in_bulk = WORKS * 4 // 5 * MONTHS[1].events_per_work
    assert runs.document["duplicates"] == sent_in_bulk


def test_what_collectives_get_is_what_was_allocated(runs: Runs) -> None:
    earnings = runs.document["earnings"]
    assert len(earnings) == runs.document["traditions"]
    assert sum(each["amount_minor"] for each in earnings) == sum(
        found["allocated_minor"] for found in runs.document["rounds"]
    )
    assert 999_900 < sum(each["weight_ppm"] for each in earnings) <= 1_000_000


def test_collectives_are_paid_and_the_books_are_the_bank_s(runs: Runs) -> None:
    bank = runs.document["bank"]
    assert bank["paid"] > bank["rejected"] >= 3
    assert bank["returned"] >= 3
    assert bank["paid"] + bank["rejected"] + bank["returned"] == bank["payments"]
    assert bank["difference_minor"] == 0
    assert f"{bank['rejected']} rejected and {bank['returned']} returned" in " ".join(runs.people.split())


def test_traditions_are_steadier_than_single_tunes(runs: Runs) -> None:
    moved = runs.document["instability"]
    assert runs.document["tune_instability_ppm"] == moved["per_work"]["tune_ppm"]
    assert runs.document["tradition_instability_ppm"] == moved["per_work"]["tradition_ppm"]
    assert 0 < moved["pooled"]["tradition_ppm"] < moved["per_work"]["tradition_ppm"] < moved["per_work"]["tune_ppm"]


def test_the_same_figures_come_out_of_every_run(runs: Runs) -> None:
    for found in runs.document["rounds"]:
        figures = ("pot_minor", "fee_minor", "allocated_minor", "commons_kept_minor", "carried_minor", "rounding_minor")
        cells = [f"Round {found['number']}", f"{found['events']:,}", *(amount(found[figure]) for figure in figures)]
        assert line_of(*cells, found["replay"]) in lines_of(runs.people)
    assert f"({runs.document['rounds'][-1]['statement_sha256'][:16]}...)" in runs.people
    for each in runs.document["earnings"]:
        parts = [amount(each[part]) for part in ("attributed_minor", "commons_minor", "amount_minor")]
        cells = [each["name"], f"{each['members']:,}", percent(each["weight_ppm"]), *parts]
        assert line_of(*cells) in lines_of(runs.people)
    moved = runs.document["instability"]
    for row in ("per_work", "kept", "pooled"):
        cells = [percent(moved[row][figure]) for figure in ("tune_ppm", "tradition_ppm", "random_group_ppm")]
        assert any(line.endswith(line_of(*cells)) for line in lines_of(runs.people))


def test_people_are_told_of_every_round_and_shown_a_tune(runs: Runs) -> None:
    words = " ".join(runs.people.split())
    assert re.findall(r"Round (\d) is cut by the scheduler", words) == ["1", "2", "3"]
    assert re.search(r"X:1 T:\S.* K:Gmix .* It draws on \S.*; nobody \d+\.\d%\.", words)
    assert "Every replay matches, and every cent is accounted for." in words


def test_an_interrupted_demo_leaves_nothing_behind(short_folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(short_folder), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("3. "):  # the service runs by now
            break
    assert list(short_folder.glob("moiety-demo-*"))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS_MAX)
    assert (process.returncode, errors) == (130, "")
    assert not list(short_folder.glob("moiety-demo-*"))
    commands = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert str(short_folder) not in commands


@pytest.fixture
def interruptions(monkeypatch: pytest.MonkeyPatch) -> Interruptions:
    monkeypatch.setattr("logging.disable", lambda: None)  # it would silence the tests to come
    return Interruptions()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_until_it_is_let_through(number: signal.Signals, interruptions: Interruptions) -> None:
    def interrupted() -> None:
        with interruptions:
            interruptions.let_through()
            signal.raise_signal(number)
            with interruptions.held():
                signal.raise_signal(number)
            waited.append(number)
            interruptions.let_through()

    waited: list[int] = []
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert waited == [number]
    assert signal.getsignal(number) is before


def test_what_fails_because_of_an_interruption_is_an_interruption(interruptions: Interruptions) -> None:
    def interrupted() -> None:
        with interruptions:
            signal.raise_signal(signal.SIGINT)
            raise ChildProcessError

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_second_interruption_does_not_wait(interruptions: Interruptions) -> None:
    def interrupted() -> None:
        with interruptions:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert caught.value.__context__ is None


def amount(minor: int) -> str:
    return f"{'-' * (minor < 0)}{abs(minor) // 100:,}.{abs(minor) % 100:02}"


def percent(ppm: int) -> str:
    return f"{ppm / 10_000:.1f}%"


def line_of(*cells: str) -> str:
    return " ".join(cells)


def lines_of(printed: str) -> list[str]:
    return [" ".join(line.split()) for line in printed.splitlines()]


# The figures that the demo checks by itself: a small outcome that holds, and what each change to it breaks.


def sound_outcome() -> Outcome:
    tradition = Tradition("irish", "Ireland", 3)
    found = Round(
        number=1,
        state=rounds_pb2.ROUND_STATE_POSTED,
        pot_minor=100,
        fee_minor=5,
        allocated_minor=95,
        # SHA-256 of nothing
        statement_sha256=bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    )
    allocation = Allocation(
        collective="collectives/irish", attributed_minor=90, commons_minor=5, amount_minor=95, weight="1"
    )
    return Outcome(
        traditions=(tradition,),
        works=1,
        months=((),),
        retransmissions=(),
        rounds=(SettledRound(found, (allocation,), b""),),
        verdicts=(ReplayVerdict(outcome=audit_pb2.REPLAY_OUTCOME_MATCH),),
        balances={"platform/melodia": -100, "fees": 5, "collective/irish": 25, "paid/irish": 70},
        banking=Banking(
            payments=3, paid=1, rejected=1, returned=1, paid_minor=70, balance_minor=30, difference_minor=0
        ),
    )


def with_round(outcome: Outcome, **figures: Any) -> Outcome:
    (settled,) = outcome.rounds
    changed = Round()
    changed.CopyFrom(settled.round)
    changed.MergeFrom(Round(**figures))
    return replace(outcome, rounds=(replace(settled, round=changed),))


def test_a_sound_outcome_has_no_breaches() -> None:
    assert sound_outcome().breaches() == []


@pytest.mark.parametrize(
    ("broken", "breach"),
    [
        (with_round(sound_outcome(), carried_minor=1), "the pot"),
        (with_round(sound_outcome(), allocated_minor=94, carried_minor=1), "the allocations"),
        (with_round(sound_outcome(), event_count=1), "the receipts"),
        (with_round(sound_outcome(), statement_sha256=bytes(32)), "hash"),
        (with_round(sound_outcome(), state=rounds_pb2.ROUND_STATE_CALCULATED), "not posted"),
        (
            replace(sound_outcome(), verdicts=(ReplayVerdict(outcome=audit_pb2.REPLAY_OUTCOME_DIVERGED),)),
            "the replay diverged",
        ),
        (
            replace(sound_outcome(), verdicts=(ReplayVerdict(outcome=audit_pb2.REPLAY_OUTCOME_MATCH, events=1),)),
            "the replay saw",
        ),
        (replace(sound_outcome(), balances={"collective/irish": 95}), "sum to zero"),
        (replace(sound_outcome(), balances={"collective/irish": 94, "fees": -94}), "irish"),
        (replace(sound_outcome(), balances={"collective/irish": 95, "held/irish": 1, "fees": -96}), "held"),
        (replace(sound_outcome(), banking=replace(sound_outcome().banking, difference_minor=1)), "the bank has 1"),
        (replace(sound_outcome(), banking=replace(sound_outcome().banking, payments=4)), "not answered"),
        (
            replace(
                sound_outcome(),
                retransmissions=(Retransmission(Platform("a", "A", 1, ()), True, accepted=1, duplicates=0),),
            ),
            "again",
        ),
    ],
)
def test_the_demo_says_what_does_not_hold(broken: Outcome, breach: str) -> None:
    assert any(breach in found for found in broken.breaches())


def some_works(number: int = 200) -> list[Work]:
    return [work_of_melody((place,), (("irish", 600_000_000), ("scottish", 300_000_000))) for place in range(number)]


def test_the_usage_of_a_month_is_within_it_and_heavy_tailed() -> None:
    platform, _ = platforms_of(some_works())
    table = usage_table(platform, MONTHS[0], seed=1)
    assert table.num_rows == 160 * MONTHS[0].events_per_work == len(set(table["id"].to_pylist()))
    moments = table["occurred_at"].to_pylist()
    assert moments == sorted(moments)
    assert MONTHS[0].start <= moments[0] < moments[-1] < MONTHS[0].end
    units = table["units"].to_pylist()
    assert min(units) == 1
    assert 0.4 < units.count(1) / len(units) < 0.6
    assert 10 * sorted(units)[len(units) // 2] < max(units) <= PLAYS_MAX
    assert count_plays(table) == sum(units)


def test_usage_is_drawn_by_seed_month_and_platform() -> None:
    first, second = platforms_of(some_works())
    drawn = [
        usage_table(platform, month, seed)["units"].to_pylist()[:50]
        for platform, month, seed in ((first, MONTHS[0], 1), (first, MONTHS[0], 2), (first, MONTHS[1], 1))
    ]
    assert len({tuple(units) for units in drawn}) == 3
    assert usage_table(first, MONTHS[0], 1) == usage_table(first, MONTHS[0], 1)
    used_by_both = set(usage_table(first, MONTHS[2], 1)["work_id"].to_pylist()) & {
        work.work_id for work in second.works
    }
    assert used_by_both == set()


def test_a_work_has_one_mode_and_a_fifth_are_refined_by_people() -> None:
    modes: dict[str, set[int]] = {}
    platform, _ = platforms_of(some_works(5_000))
    for row in usage_table(platform, MONTHS[2], seed=1).select(["work_id", "mode"]).to_pylist():
        modes.setdefault(row["work_id"], set()).add(row["mode"])
    counts = Counter(mode for found in modes.values() for mode in found)
    assert all(len(found) == 1 for found in modes.values())
    assert 0.17 < counts[Mode.HUMAN_AI] / counts.total() < 0.23


def test_the_most_played_work_is_found_over_all_tables() -> None:
    tables = [usage_table(platform, month, 1) for platform in platforms_of(some_works(20)) for month in MONTHS]
    plays: Counter[str] = Counter()
    for table in tables:
        for row in table.to_pylist():
            plays[row["work_id"]] += row["units"]
    most = max(plays.values())
    assert most_played(tables) == (min(work for work, count in plays.items() if count == most), most)
