"""`moiety usage submit` of files that are partly wrong, tried first, or piped in."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.books import row_counts
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, open_scene

pytestmark = pytest.mark.surface


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def submit(scene: Scene, file: Path | str, *options: str) -> int:
    key = scene.deployment.key("platforms/tunesmith")
    connection = ["--address", scene.deployment.address, "--api-key", key]
    with pytest.raises(SystemExit) as caught:
        main(["usage", "submit", POOL, str(file), "--method", METHOD, *options, *connection])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def usage(count: int, wrong: dict[int, dict[str, Any]] | None = None) -> str:
    """A file of events; those in `wrong` with other values."""
    rows = [
        {
            "id": f"play-{number}",
            "occurred_at": "2026-01-01T12:00:00Z",
            "units": 1,
            "mode": "AI_ONLY",
            "collectives": ["irish"],
            "shares": [1],
            **(wrong or {}).get(number, {}),
        }
        for number in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def recorded(scene: Scene) -> int:
    return sum(receipt.accepted_count for receipt in scene.platform.list_batches(POOL))


def test_a_partly_refused_file_says_what_is_recorded_and_what_is_not(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usage.ndjson"
    file.write_text(usage(25, {15: {"units": 0}, 17: {"collectives": ["welsh"]}}))
    assert submit(scene, file, "--events-per-batch", "10") == Exit.BAD_INPUT
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "row 16, units: must be 1 to 1,000,000,000",
        "Rows 1 to 10 and 21 to 25 are recorded (15 events accepted, 0 duplicates left out).",
        "Rows 11 to 20 are not: one wrong row is enough to refuse a batch.",
        "Correct the file and submit all of it again: what is recorded is not recorded twice.",
    ]
    assert recorded(scene) == 15
    file.write_text(usage(25))
    assert submit(scene, file, "--events-per-batch", "10") == Exit.OK
    assert recorded(scene) == 25


def test_a_file_that_breaks_off_says_what_is_recorded(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usage.csv"
    rows = [f"play-{number},2026-01-01T12:00:00Z,1,AI_ONLY,irish,1" for number in range(25_000)]
    rows[24_000] = rows[24_000].replace(",1,AI", ",many,AI")
    file.write_text("\n".join(["id,occurred_at,units,mode,collectives,shares", *rows]))
    assert submit(scene, file) == Exit.BAD_INPUT
    assert capsys.readouterr().err.splitlines() == [
        "row 24,001, units: must be a whole number, got 'many'",
        "Rows 1 to 20,000 are recorded (20,000 events accepted, 0 duplicates left out).",
        "The rows from 20,001 on are not.",
        "Correct the file and submit all of it again: what is recorded is not recorded twice.",
    ]
    assert recorded(scene) == 20_000
    file.write_text("\n".join(["id,occurred_at,units,mode,collectives,shares", rows[24_000]]))
    assert submit(scene, file) == Exit.BAD_INPUT
    assert capsys.readouterr().err.splitlines() == [
        "row 1, units: must be a whole number, got 'many'",
        "Nothing was recorded.",
    ]


def test_a_file_that_broke_off_tells_machines_what_is_recorded(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usage.ndjson"
    file.write_text(usage(15, {12: {"occurred_at": "never"}}))
    assert submit(scene, file, "--events-per-batch", "10", "--json") == Exit.BAD_INPUT
    told = json.loads(capsys.readouterr().err)
    assert [receipt["accepted_count"] for receipt in told["receipts"]] == [10]
    assert told["error"]["violations"][0]["field"] == "events[12].occurred_at"


def test_a_dry_run_has_the_service_check_all_of_it_and_records_nothing(
    scene: Scene, tmp_path: Path, owner: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usage.ndjson"
    file.write_text(usage(5))
    assert submit(scene, file) == Exit.OK
    before = row_counts(owner)
    file.write_text(usage(25))
    capsys.readouterr()
    assert submit(scene, file, "--dry-run", "--events-per-batch", "10") == Exit.OK
    summary = "20 events would be accepted, 5 duplicates left out; 3 batches. Nothing was recorded.\n"
    assert f"{summary}100.0 % of it is nobody's.\n" in capsys.readouterr().out  # 1 is a billionth, not all
    file.write_text(usage(25, {3: {"collectives": ["welsh"]}, 24: {"units": 0}}))
    assert submit(scene, file, "--dry-run", "--events-per-batch", "10") == Exit.BAD_INPUT
    printed = capsys.readouterr().err.splitlines()
    assert printed[0].startswith("row 4, collectives")
    assert printed[1:] == [
        "row 25, units: must be 1 to 1,000,000,000",
        "Rows 11 to 20 would be recorded (10 events accepted, 0 duplicates left out).",
        "Rows 1 to 10 and 21 to 25 are not: one wrong row is enough to refuse a batch.",
    ]
    assert row_counts(owner) == before


def test_standard_input_is_read_as_a_file_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(usage(3).encode())))
    assert submit(scene, "-") == Exit.OK
    assert "3 events accepted" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"PAR1")))
    assert submit(scene, "-") == Exit.BAD_INPUT
    assert capsys.readouterr().err.startswith("-: is a Parquet file, which is read from its end")


def test_a_damaged_file_is_bad_input(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "usage.arrow"
    file.write_bytes(b"ARROW1\0\0" + bytes(100))
    assert submit(scene, file) == Exit.BAD_INPUT
    assert "cannot be read" in capsys.readouterr().err
