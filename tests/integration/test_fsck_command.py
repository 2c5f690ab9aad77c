"""`moiety db fsck`, and logs that say of themselves what cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from ledger.store.postgres.database import Database
from moiety import DataLossError, Policy, Pool
from services.cli.app import main
from tests.support.books import execute
from tests.support.deployment import Deployment
from tests.support.fsck_scene import check
from tests.support.scene import NAMED_PLATFORMS, POOL, Scene, event, open_scene


@pytest.fixture
def scene(deployment: Deployment, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    scene = open_scene(deployment)
    scene.operator.create_pool(
        "jazz", Pool(display_name="Jazz", currency="USD", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    scene.submit([event(1), event(2)], "first")
    return scene


def fsck(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def found_in(database: Database) -> list[tuple[str, str, str]]:
    with database.snapshot() as connection:
        reports = check(connection)
    return [(each.where.table, each.claimed, each.expected) for report in reports for each in report.findings]


@pytest.mark.usefixtures("scene")
def test_a_sound_database_ends_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert fsck() == 0
    assert "folk: 3 leaves, 2 events, " in (told := capsys.readouterr().out)
    assert "jazz: 1 leaves, 0 events, " in told
    assert told.endswith("Every row follows from its log.\n")


def test_a_finding_ends_with_one_and_names_table_key_and_figures(
    scene: Scene, owner: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.pay_in(100, "money")
    execute(owner, "UPDATE balance SET amount_minor = 900 WHERE account = 'revenue'")
    assert fsck(POOL) == 1
    told = capsys.readouterr().out
    assert "  balance account=revenue leaf_index=3\n    amount_minor: expected 100, got 900\n" in told
    assert fsck("jazz") == 0
    capsys.readouterr()
    assert fsck("--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["holds"], document["finding_count"]) == (False, 1)
    (folk,) = [report for report in document["reports"] if report["pool"] == POOL]
    key = "account=revenue leaf_index=3"
    figures = {"figure": "amount_minor", "claimed": "900", "expected": "100"}
    finding = {"leaf_index": 3, "table": "balance", "key": key, **figures}
    assert folk["findings"] == [finding]


def test_rows_of_events_are_compared_whatever_rounds_say(
    scene: Scene, owner: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.submit([event(number << 112) for number in range(1, 200)], "rows")
    scene.pay_in(900, "money")
    scene.cut("round-1")
    capsys.readouterr()
    execute(owner, f"UPDATE event SET batch_number = batch_number + 100 WHERE event_id < '{15 << 112:032x}'")
    assert fsck(POOL, "--all", "--json") == 1
    listed = json.loads(capsys.readouterr().out)
    execute(owner, "UPDATE round SET leaf_index = leaf_index - 1")
    assert fsck(POOL, "--all", "--json") == 1
    again = json.loads(capsys.readouterr().out)
    wrong = {each["key"] for each in listed["reports"][0]["findings"] if each["table"] == "event"}
    assert len(wrong) > 10
    assert wrong == {each["key"] for each in again["reports"][0]["findings"] if each["table"] == "event"}
    assert "round" in {each["table"] for each in again["reports"][0]["findings"]}


def test_a_time_that_python_has_not_hides_no_other_finding_and_is_data_loss_to_callers(
    scene: Scene, owner: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.pay_in(100, "money")
    execute(owner, "UPDATE balance SET amount_minor = 900 WHERE account = 'revenue'")
    execute(owner, "UPDATE collective SET created_at = 'infinity' WHERE name = 'irish'")
    assert fsck() == 1
    told = capsys.readouterr().out
    assert "  collective name=irish\n    created_at: expected a value that the service can read, got infinity\n" in told
    assert "  balance account=revenue leaf_index=3\n    amount_minor: expected 100, got 900\n" in told
    assert told.endswith("\nFindings: 2.\n")
    with pytest.raises(DataLossError):
        scene.operator.get_collective("irish")


@pytest.mark.usefixtures("scene")
def test_a_pool_that_is_not_there_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert fsck("blues") == 2
    assert "pools/blues" in capsys.readouterr().err


def test_rows_after_a_leaf_that_says_nothing_sound_are_not_judged(
    scene: Scene, owner: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.pay_in(100, "money")
    execute(owner, "UPDATE leaf SET entry = '{}' WHERE leaf_index = 1 AND pool_id = 1")
    assert fsck(POOL) == 1
    told = capsys.readouterr().out
    assert "leaf leaf_index=1\n    entry: " in told
    assert "From leaf 1 on it cannot be told what follows" in told
    assert told.endswith("\nFindings: 1.\n")


def test_an_event_that_two_batches_have_accepted_is_a_finding(
    scene: Scene, owner: sa.Engine, database: Database
) -> None:
    execute(owner, "DELETE FROM event WHERE event_id = '00000000-0000-0000-0000-000000000002'")
    assert scene.submit([event(1), event(3)], "second").accepted_count == 2
    assert ("leaf", "accepted", "a duplicate of event 0 in leaf 2") in found_in(database)


def test_a_duplicate_of_an_event_that_nobody_had_is_a_finding(
    scene: Scene, owner: sa.Engine, database: Database
) -> None:
    row: Any = "(1, 2, '00000000-0000-0000-0000-000000000004', 1)"
    execute(owner, f"INSERT INTO event VALUES {row}")
    assert scene.submit([event(3), event(4)], "second").duplicate_count == 1
    execute(owner, "DELETE FROM event WHERE event_id = '00000000-0000-0000-0000-000000000004'")
    assert found_in(database) == [("leaf", "a duplicate", "the first with its id")]
