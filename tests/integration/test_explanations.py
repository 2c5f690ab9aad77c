"""`moiety round statement --collective`: why one collective has its amount, to the last figure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from moiety import Client, Method, Mode, Policy
from moiety.errors import FailedPreconditionError
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

POLICY: Final = Policy(fee_ppm=50_000, commons_ppm=100_000, human_ai_ppm=1_500_000, floor_minor=1)


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """A first round, of which much is taken back, and a second under two versions of the method and both modes."""
    scene = open_scene(deployment, policy=POLICY)
    scene.submit([event(1, units=5), event(2, shares={"breton": 1_000_000_000})], "may")
    scene.pay_in(1000, "may")
    scene.cut("may")
    scene.platform.retract_usage(POOL, request_id="t", reason="wrong", event_ids=[event(2).event_id])
    scene.submit([event(3, units=3), event(4, shares={"breton": 400_000_000})], "june")
    scene.operator.create_method(POOL, METHOD, Method(display_name="n-gram votes", confidence_ppm=500_000))
    scene.submit([event(5, units=7, mode=Mode.HUMAN_AI), event(6, mode=Mode.HUMAN_AI, shares={"breton": 1})], "june-2")
    scene.pay_in(1000, "june")
    scene.cut("june")
    return scene


def run(scene: Scene, capsys: pytest.CaptureFixture[str], *arguments: str, who: str, code: Exit = Exit.OK) -> str:
    capsys.readouterr()
    key = scene.deployment.key(who)
    with pytest.raises(SystemExit) as caught:
        main(["round", "statement", POOL, *arguments, "--address", scene.deployment.address, "--api-key", key])
    assert caught.value.code == code
    said = capsys.readouterr()
    # The service beside it logs to the same stdout.
    shown = [line for line in said.out.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", line)]
    return said.err if code else "\n".join(shown)


def test_a_collective_s_weight_follows_from_what_it_is_shown(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for collective in ("breton", "irish", "scottish"):
        who = f"collectives/{collective}"
        found: dict[str, Any] = json.loads(run(scene, capsys, "2", "--collective", collective, "--json", who=who))
        line = found["line"]
        counted = sum(int(each["counted"]) for each in found["weights"])
        assert counted - int(line["deficit_before"]) == int(line["weight"]) - int(line["deficit_after"])
        assert sum(int(each["events"]) for each in found["weights"]) == int(line["events"])
        assert line["attributed_minor"] + line["commons_minor"] == line["amount_minor"]
        assert (line["members"], found["policy"]["human_ai_ppm"]) == ("10", 1_500_000)
    irish = json.loads(run(scene, capsys, "2", "--collective", "irish", "--json", who="operators/olive"))["weights"]
    terms = [(each["method_version"], each["mode"], each["confidence_ppm"], each["counted"]) for each in irish]
    weight = 600_000_000
    assert terms == [
        ("1", "AI_ONLY", 1_000_000, str(3 * weight * 10**12)),
        ("2", "HUMAN_AI", 500_000, str(7 * weight * 1_500_000 * 500_000)),
    ]


def test_people_are_shown_weights_deficits_terms_and_parts(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(scene, capsys, "2", "--collective", "breton", who="auditors/ada")
    for text in ("Deficit after", "AI_ONLY", "HUMAN_AI", "Counted", "Attributed", "EUR", "human_ai_ppm", "150 %"):
        assert text in shown
    assert not re.search(r"\d{15}", shown)
    assert "1500000 (150 %)" in shown
    assert re.search(r"Deficit after\s+0\.59999999925 ", shown)
    assert "irish" not in shown
    assert "No usage names it." in run(scene, capsys, "2", "--collective", "scottish", who="auditors/ada")
    whole = run(scene, capsys, "2", who="auditors/ada")
    assert not re.search(r"\d{15}", whole)
    assert all(text in whole for text in ("breton", "irish", "floor_minor"))
    assert "HUMAN_AI" in run(scene, capsys, "2", "--weights", who="auditors/ada")


def test_a_collective_s_own_csv_is_what_the_logged_one_says_of_it(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    auditor: Client = scene.deployment.client("auditors/ada")
    header, breton, *_ = auditor.get_statement(POOL, 2).splitlines(keepends=True)
    assert auditor.get_statement(POOL, 2, collective="breton") == header + breton
    assert scene.deployment.client("collectives/breton").get_statement(POOL, 2) == header + breton
    assert auditor.get_statement(POOL, 2, collective="nobody") == header
    refused = run(scene, capsys, "2", "--collective", "nobody", who="auditors/ada", code=Exit.BAD_INPUT)
    assert refused == "collective: nobody has no line in round 2\n"
    assert "may not use" in run(
        scene, capsys, "2", "--collective", "irish", who="collectives/breton", code=Exit.NOT_ALLOWED
    )


def test_a_collective_is_told_how_evenly_a_round_paid_only_where_that_says_nothing_of_another(scene: Scene) -> None:
    assert scene.operator.get_fairness(POOL, 2).paid.collectives == 3
    with pytest.raises(FailedPreconditionError, match="from 20 on"):
        scene.deployment.client("collectives/breton").get_fairness(POOL, 2)
