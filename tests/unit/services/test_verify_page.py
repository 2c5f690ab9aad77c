"""`moiety verify --report`: the page says what the document says, and nothing that a log says acts in it."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.exports import KEY, bundle_of
from tests.support.pool_log import PoolLog
from tests.support.replay_history import HISTORY, POOL, REVENUE, ROUND_2

VKEY: Final = str(KEY.verifier_key)


class Elements(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(log: PoolLog, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[str, dict[str, Any]]:
    bundle = bundle_of(log, folder / "folk.tar")
    with pytest.raises(SystemExit):
        main(["verify", str(bundle), "--key", VKEY, "--report", str(folder / "folk.html"), "--json", *more])
    return (folder / "folk.html").read_text(), json.loads(capsys.readouterr().out)


def test_the_page_has_rounds_people_changes_money_and_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, document = page_of(HISTORY, tmp_path, capsys, "--sample", "2", "--seed", "x")
    text = Elements(page).text
    assert document["holds"]
    assert "All of it holds." in text
    for each in document["rounds"]:
        day, _, time = each["calculated_at"].partition("T")
        assert all(name in text for name in (each["calculated_by"], each["decided_by"], f"{day} {time[:8]} UTC"))
        assert f"{each['pot_minor'] // 100}.{each['pot_minor'] % 100:02} EUR" in text
    assert document["checkpoint"]["root"] in text
    assert document["logs"]["pool"]["last_leaf_at"].replace("T", " ").partition("+")[0] in text
    assert all(event["event_id"] in text for event in document["sample"])
    assert re.search(r"last leaf2026-01-01 00:00:\d\d UTC, [\d,]+ days and \d+ hours before this page", text)


def test_what_changed_from_round_to_round_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, document = page_of(HISTORY, tmp_path, capsys)
    first, second, third = (each["changes"] for each in document["rounds"])
    assert {"subject": "collectives/eire", "figure": "members", "before": "", "after": "300"} in first
    assert {"subject": "collectives/han", "figure": "status", "before": "ACTIVE", "after": "SUSPENDED"} in second
    assert {"subject": "policy", "figure": "tempering", "before": "PROPORTIONAL", "after": "SQRT"} in second
    confidence = {"figure": "confidence_ppm", "before": "900000", "after": "500000"}
    assert [{key: each[key] for key in confidence} for each in second if each["figure"] == "confidence_ppm"] == [
        confidence
    ]
    assert third == []
    assert "SUSPENDED" in Elements(page).text


def test_the_page_fetches_nothing_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, _ = page_of(HISTORY, tmp_path, capsys)
    elements = Elements(page)
    assert {"script", "link", "img", "iframe", "a", "form", "object"} & {tag for tag, _ in elements.tags} == set()
    names = {name for _, attributes in elements.tags for name in attributes}
    assert names <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import", page)


HOSTILE: Final = "<script>alert(1)</script><img src=x onerror=y>\u202e\x1b[2J&amp;\"'"


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = deepcopy(HISTORY)
    log.change(POOL, display_name=HOSTILE)
    log.change(REVENUE, note=HOSTILE, request_id=HOSTILE)
    log.append(log.content(REVENUE))
    log.journal[log.size() - 1] = log.journal[REVENUE]
    page, document = page_of(log, tmp_path, capsys)
    assert any(HOSTILE in finding["claimed"] for finding in document["findings"])
    elements = Elements(page)
    assert {"script", "img"} & {tag for tag, _ in elements.tags} == set()
    assert "<script>alert(1)</script>" in elements.text
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_all_findings_are_on_the_page_with_their_money(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = deepcopy(HISTORY)
    log.change(ROUND_2, pot_minor=log.content(ROUND_2).pot_minor + 100)
    page, document = page_of(log, tmp_path, capsys)
    text = Elements(page).text
    assert f"Findings: {document['finding_count']}" in text
    assert "It does not hold" in text
    assert document["findings"][0]["consequence"]["claimed"] in text
    assert "nobody: the round was not posted" in text


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundle_of(HISTORY, tmp_path / "folk.tar")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(bundle), "--key", VKEY, "--report", str(tmp_path / "no" / "folk.html")])
    assert ended.value.code == Exit.NOT_WRITTEN
    assert capsys.readouterr().err.startswith("report: ")
