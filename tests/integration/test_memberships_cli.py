"""Memberships and raw scores from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from moiety import Method
from moiety.v1.registry_pb2 import SCORE_KIND_COUNT
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.deployment import Deployment
from tests.support.scene import NANO, POOL, Scene, open_scene

pytestmark = pytest.mark.surface

DECLARED: Final = """
collectives:
  norse: {display_name: Norse}
pools:
  folk:
    display_name: Folk tunes
    currency: EUR
    distribute: REPORTED
    policy: {}
    memberships: {items: items.csv}
    methods:
      citations: {display_name: Citations, confidence_ppm: 900000, score_kind: COUNT, membership: items}
"""
EVENT: Final = {
    "event_id": "01890a5d-ac96-774b-bcce-b302099a8057", "work_id": None, "occurred_at": "2026-01-01T12:00:00Z",
    "units": 1, "mode": "AI_ONLY", "sources": ["b", "a", "nobody's"], "scores": [1, 2.5, 0.5],
}  # fmt: skip


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def cli(scene: Scene, *arguments: str, principal: str = "operators/olive") -> int:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--address", scene.deployment.address, "--api-key", scene.deployment.key(principal)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without the service's log lines."""
    lines = capsys.readouterr().out.splitlines(keepends=True)
    return "".join(line for line in lines if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[", line))


def test_a_membership_is_set_listed_and_shown(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "items.csv"
    file.write_text("source,collective\nb,irish\na,breton\n")
    for _ in range(2):
        assert cli(scene, "membership", "set", POOL, "items", str(file)) == Exit.OK
        assert "Version 1 of items: 2 sources of 2 collectives; leaf 2." in said(capsys)
    file.write_text("source,collective\na,breton\n")
    assert cli(scene, "membership", "set", POOL, "items", str(file), "--json") == Exit.OK
    assert json.loads(said(capsys))["version"] == 2
    assert cli(scene, "membership", "list", POOL, "--json") == Exit.OK
    assert [found["source_count"] for found in json.loads(said(capsys))] == [2, 1]
    assert cli(scene, "membership", "list", POOL) == Exit.OK
    assert "items" in said(capsys)
    assert cli(scene, "membership", "show", POOL, "items", "--version", "1") == Exit.OK
    assert said(capsys) == "source,collective\na,breton\nb,irish\n"
    assert cli(scene, "membership", "show", POOL, "items", "--json") == Exit.OK
    assert json.loads(said(capsys)) == {"a": "breton"}
    file.write_text("source,collective\na,norse\n")
    assert cli(scene, "membership", "set", POOL, "items", str(file)) == Exit.BAD_INPUT


def test_a_declaration_brings_a_membership_and_the_method_that_names_it_and_a_file_of_scores_is_submitted(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The collective, the membership and the method are all new, and none can be checked before the one it names."""
    declared, items, usage = (tmp_path / name for name in ("pool.yaml", "items.csv", "usage.ndjson"))
    declared.write_text(DECLARED)
    items.write_text("source,collective\na,norse\nb,irish\n")
    assert cli(scene, "apply", str(declared), "--dry-run", "--json") == Exit.OK
    assert not list(scene.operator.list_memberships(POOL))
    said(capsys)
    assert cli(scene, "apply", str(declared), "--json") == Exit.OK
    made = [(change["resource"], change["action"]) for change in json.loads(said(capsys))["changes"]]
    assert made == [
        ("collectives/norse", "create"),
        (f"pools/{POOL}/memberships/items", "create"),
        (f"pools/{POOL}/methods/citations", "create"),
    ]
    assert cli(scene, "apply", str(declared)) == Exit.OK
    assert said(capsys) == "Nothing changes.\n"
    items.write_text("source,collective\na,norse\n")
    assert cli(scene, "apply", str(declared), "--json") == Exit.OK
    assert json.loads(said(capsys))["changes"][0]["action"] == "new version"

    usage.write_text(json.dumps(EVENT) + "\n")
    arguments = ("usage", "submit", POOL, str(usage), "--method", "citations")
    assert cli(scene, *arguments, principal="platforms/tunesmith") == Exit.OK
    assert "1 event accepted" in said(capsys)
    found = scene.platform.find_event(POOL, str(EVENT["event_id"])).event.shares
    assert {share.collective_id: share.share_nano for share in found} == {"norse": NANO * 5 // 8}


def test_a_declared_method_of_shares_has_no_rule(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = tmp_path / "pool.yaml"
    declared.write_text(DECLARED.replace("score_kind: COUNT, ", "").replace("memberships: {items: items.csv}", ""))
    assert cli(scene, "apply", str(declared)) == Exit.BAD_INPUT
    assert "membership is allowed only with a score_kind" in capsys.readouterr().err
    declared.write_text(declared.read_text().replace(", membership: items", ""))
    for _ in range(2):
        assert cli(scene, "apply", str(declared)) == Exit.OK
    assert "Nothing changes." in said(capsys)
    method = Method(display_name="Citations", confidence_ppm=900_000, score_kind=SCORE_KIND_COUNT)
    assert scene.operator.create_method(POOL, "citations", method).version == 2
    assert cli(scene, "apply", str(declared)) == Exit.OK
    *_, latest = scene.operator.list_methods(POOL)
    assert (latest.version, latest.score_kind, latest.HasField("coverage_nano")) == (3, 0, False)


def test_a_file_that_a_declaration_names_and_that_is_not_there_is_named(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = tmp_path / "pool.yaml"
    declared.write_text(DECLARED)
    assert cli(scene, "apply", str(declared)) == Exit.BAD_INPUT
    assert "items.csv: No such file or directory" in capsys.readouterr().err


def test_a_source_in_another_spelling_is_told_of_as_it_is_sent_and_as_it_is_declared(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As macOS writes names of files: the same letters, other bytes."""
    file = tmp_path / "items.csv"
    file.write_text("source,collective\n\u00c9ire,irish\nE\u0301ire,irish\nplain,irish\n")
    assert cli(scene, "membership", "set", POOL, "items", str(file)) == Exit.OK
    assert r"'\xc9ire' and 'E\u0301ire' are two sources" in said(capsys)
    file.write_text("source,collective\n\u00c9ire,irish\nplain,irish\n")
    assert cli(scene, "membership", "set", POOL, "items", str(file)) == Exit.OK
    assert "two sources" not in said(capsys)
    citations = Method(display_name="C", confidence_ppm=10**6, score_kind=SCORE_KIND_COUNT, membership="items")
    scene.operator.create_method(POOL, "citations", citations)
    usage = tmp_path / "usage.ndjson"
    sources = ["E\u0301ire", " plain", "nobody's", "plain"]
    usage.write_text(json.dumps({**EVENT, "sources": sources, "scores": [1, 1, 1, 1]}))
    submit = ("usage", "submit", POOL, str(usage), "--method", "citations")
    for more in (["--dry-run"], []):
        assert cli(scene, *submit, *more, principal="platforms/tunesmith") == Exit.OK
        printed = said(capsys)
        assert "75.0 % of it is nobody's." in printed
        assert r"The source 'E\u0301ire' is nobody's; the membership has '\xc9ire'" in printed
        assert "The source ' plain' is nobody's; the membership has 'plain'" in printed
        assert "nobody's' is" not in printed
