"""Rounds under another policy: what it would have done, of which nothing is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from moiety import Collective, InvalidArgumentError, Method, Mode, NotFoundError, Policy, Pool, UsageEvent
from moiety.v1.registry_pb2 import (
    COLLECTIVE_STATUS_SUSPENDED,
    COMMONS_RULE_FUND,
    DISTRIBUTE_REPORTED,
    ROUNDING_PLACED,
    TEMPERING_SQRT,
    UNATTRIBUTED_RULE_PRO_RATA,
)
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.books import row_counts
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NAMED_PLATFORMS, NANO, POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

PLAIN: Final = Policy(fee_ppm=50_000, rounding=ROUNDING_PLACED)
OTHER: Final = Policy(
    fee_ppm=200_000,
    commons_ppm=100_000,
    tempering=TEMPERING_SQRT,
    unattributed=UNATTRIBUTED_RULE_PRO_RATA,
    human_ai_ppm=3_000_000,
    rounding=ROUNDING_PLACED,
)
OTHER_YAML: Final = """\
fee_ppm: 200000
commons_ppm: 100000
tempering: SQRT
unattributed: PRO_RATA
human_ai_ppm: 3000000
rounding: PLACED
"""


def usage_of(number: int) -> list[UsageEvent]:
    """A round's usage, of which the last event is taken back."""
    return [
        event(10 * number, shares={"irish": NANO // 2, "breton": NANO // 10}, units=number, mode=Mode.HUMAN_AI),
        event(10 * number + 1, shares={"breton": NANO // 3}, units=7),
        event(10 * number + 2, shares={"scottish": NANO}),
    ]


def live(scene: Scene) -> None:
    """Three rounds, with the registry changing between them, and usage that waits for the fourth."""
    for number in range(1, 4):
        usage = usage_of(number)
        scene.submit(usage, f"b-{number}")
        scene.platform.retract_usage(POOL, request_id=f"t-{number}", reason="wrong", event_ids=[usage[2].event_id])
        scene.pay_in(1000 * number + 7, f"r-{number}")
        scene.cut(f"q-{number}")
        if number == 2:
            scene.operator.create_collective("galician", Collective(display_name="Galician"))
            suspended = Collective(display_name="irish", status=COLLECTIVE_STATUS_SUSPENDED)
            scene.operator.update_collective("irish", suspended)
    scene.submit([event(99)], "b-4")
    scene.pay_in(500, "r-4")


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    scene = open_scene(deployment, policy=PLAIN)
    live(scene)
    return scene


def test_a_past_round_under_its_own_policy_is_the_posted_one_byte_for_byte(scene: Scene, owner: sa.Engine) -> None:
    before = row_counts(owner)
    for number in (1, 2, 3):
        posted = scene.operator.get_round(POOL, number)
        for policy in (None, PLAIN):
            found = scene.operator.preview_round(POOL, number=number, policy=policy)
            assert found.statement == scene.operator.get_statement(POOL, number)
            same = (
                "number", "start", "end", "root", "previous_number", "event_count", "retracted_count", "pot_minor",
                "fee_minor", "allocated_minor", "attributed_minor", "commons_minor", "commons_kept_minor",
                "carried_minor", "statement_sha256", "registry_sha256", "weights_sha256",
            )  # fmt: skip
            assert [getattr(found.round, name) for name in same] == [getattr(posted, name) for name in same]
            assert found.round.policy.fee_ppm == PLAIN.fee_ppm
    assert row_counts(owner) == before


def test_past_rounds_under_another_policy_are_what_a_pool_with_it_from_the_start_gets(
    scene: Scene, owner: sa.Engine
) -> None:
    before = row_counts(owner)
    found = [scene.operator.preview_round(POOL, number=number, policy=OTHER) for number in (1, 2, 3)]
    following = scene.operator.preview_round(POOL, policy=OTHER)
    assert row_counts(owner) == before
    operator, platform = scene.operator, scene.platform
    other = Pool(display_name="Other", currency="EUR", policy=OTHER, platforms=NAMED_PLATFORMS)
    other.distribute = DISTRIBUTE_REPORTED
    operator.create_pool("other", other)
    operator.create_method("other", "ngram", Method(display_name="n-gram votes", confidence_ppm=1_000_000))
    # The second pool lives through the same, with the registry as each round of the first one had it.
    for number in range(1, 4):
        registry = operator.get_body(POOL, operator.get_round(POOL, number).registry_sha256)
        assert registry.count(b"\n") == (4 if number < 3 else 5)
        usage = usage_of(number)
        platform.submit_events("other", usage, "ngram", batch_id=f"b-{number}")
        platform.retract_usage("other", request_id=f"t-{number}", reason="wrong", event_ids=[usage[2].event_id])
        platform.report_revenue("other", 1000 * number + 7, "EUR", request_id=f"r-{number}")
        operator.calculate_round("other", request_id=f"q-{number}")
        posted = operator.get_round("other", number)
        of_round = found[number - 1].round
        same = ("pot_minor", "fee_minor", "attributed_minor", "commons_minor", "carried_minor", "weights_sha256")
        assert [getattr(of_round, name) for name in same] == [getattr(posted, name) for name in same]
        assert of_round.policy.fee_ppm == OTHER.fee_ppm
    # The registry of today is that of the third round, so that its statement is the same to the last byte.
    assert found[2].statement == operator.get_statement("other", 3)
    platform.submit_events("other", [event(99)], "ngram", batch_id="b-4")
    platform.report_revenue("other", 500, "EUR", request_id="r-4")
    assert operator.preview_round("other").statement == following.statement


def test_a_rejected_round_can_be_seen_again(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=60))
    scene.submit([event(1)], "b")
    scene.pay_in(100, "r")
    scene.operator.calculate_round(POOL, request_id="q")
    scene.reviewer.reject_round(POOL, 1, "no")
    kept = scene.operator.get_statement(POOL, 1)
    assert scene.operator.preview_round(POOL, number=1).statement == kept
    fund = scene.operator.preview_round(POOL, number=1, policy=Policy(commons_rule=COMMONS_RULE_FUND))
    assert fund.round.commons_kept_minor == 40


def test_a_round_that_is_not_there_or_a_policy_that_is_not_sound_is_refused(scene: Scene, owner: sa.Engine) -> None:
    before = row_counts(owner)
    with pytest.raises(NotFoundError):
        scene.operator.preview_round(POOL, number=4)
    for number, policy, field in (
        (-1, None, "number"),
        (2**31 - 1, None, "number"),
        (1, Policy(fee_ppm=1_000_001), "policy.fee_ppm"),
        (0, Policy(floor_minor=5, cap_minor=4), "policy.cap_minor"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            scene.operator.preview_round(POOL, number=number, policy=policy)
        assert [violation.field for violation in caught.value.violations] == [field]
    assert row_counts(owner) == before


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command printed, without the log of the service beside it."""
    lines = capsys.readouterr().out.splitlines(keepends=True)
    return "".join(line for line in lines if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", line))


def cli(scene: Scene, *arguments: str, principal: str = "operators/olive") -> int:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--address", scene.deployment.address, "--api-key", scene.deployment.key(principal)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_command_line_compares_past_rounds_with_another_policy(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(OTHER_YAML)
    assert cli(scene, "round", "preview", POOL, "--policy", str(path), "--last", "2", "--json") == Exit.OK
    found = json.loads(said(capsys))
    assert [each["round"]["number"] for each in found] == [2, 3]
    for each in found:
        number = each["round"]["number"]
        posted, other = (
            scene.operator.get_round(POOL, number),
            scene.operator.preview_round(POOL, number=number, policy=OTHER),
        )
        assert (each["round"]["fee_minor"], each["other"]["fee_minor"]) == (posted.fee_minor, other.round.fee_minor)
        amounts = {line["collective"]: line["amount_minor"] for line in each["collectives"]}
        assert amounts == scene.allocations(number)
        assert sum(line["other_amount_minor"] for line in each["collectives"]) == other.round.allocated_minor
    assert cli(scene, "round", "preview", POOL, "--policy", str(path)) == Exit.OK
    shown = said(capsys)
    for text in ("Round 1", "Round 2", "Round 3", "Other policy", "Difference", "irish"):
        assert text in shown


def test_the_command_line_shows_the_next_round_without_a_policy(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(scene, "round", "preview", POOL, "--json") == Exit.OK
    found = json.loads(said(capsys))
    assert found["round"]["number"] == 4
    assert [line["collective"] for line in found["lines"]] == ["breton", "galician", "irish", "scottish"]


def test_a_policy_file_with_a_wrong_field_is_bad_input(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("fee_ppm: 2\nfees: 3\n")
    assert cli(scene, "round", "preview", POOL, "--policy", str(path)) == Exit.BAD_INPUT
    assert "fees" in capsys.readouterr().err
    assert cli(scene, "round", "preview", POOL, "--policy", str(tmp_path / "none.yaml")) == Exit.BAD_INPUT


def test_the_command_line_takes_back_releases_and_grants(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = open_scene(deployment, policy=Policy(commons_rule=COMMONS_RULE_FUND))
    scene.operator.update_collective("irish", Collective(display_name="i", status=COLLECTIVE_STATUS_SUSPENDED))
    scene.submit([event(1), event(2), event(3)], "b")

    def run(*arguments: str, principal: str = "operators/olive") -> Any:
        assert cli(scene, *arguments, "--json", principal=principal) == Exit.OK
        return json.loads(said(capsys))

    me = "platforms/tunesmith"
    retract = ("usage", "retract", POOL, "--reason", "wrong")
    one = str(event(3).event_id)
    found = run(*retract, "--request-id", "t-1", "--event", str(event(1).event_id), "--event", one, principal=me)
    assert [(each["batch"], each["positions"]) for each in found] == [(f"pools/{POOL}/batches/tunesmith~b", [0, 2])]
    assert cli(scene, *retract, "--request-id", "t-2", "--event", one, principal=me) == Exit.OK
    assert said(capsys) == "Nothing to retract: all of these events were already retracted.\n"
    scene.pay_in(1000, "r")
    scene.cut("q")
    released = run("held", "release", POOL, "irish", "--amount", "2.50", "--request-id", "h", "--reason", "settled")
    assert (released["amount_minor"], released["to_commons"], released["reason"]) == (250, False, "settled")
    arguments = ("--amount-minor", "350", "--request-id", "h-2", "--reason", "unclaimed", "--to-commons")
    assert cli(scene, "held", "release", POOL, "irish", *arguments) == Exit.OK
    assert said(capsys) == f"3.50 EUR returned to the commons fund in {POOL}, leaf 9.\n"
    granted = run("commons", "grant", POOL, "breton", "--amount", "7.50", "--request-id", "g", "--reason", "a school")
    assert granted["amount_minor"] == 750
    balances = {name: amount for name, amount in scene.balances().items() if amount}
    assert balances == {"collective/breton": 750, "collective/irish": 250, "platform/tunesmith": -1000}
    again = ("--amount-minor", "1", "--request-id", "g-2", "--reason", "another school")
    assert cli(scene, "commons", "grant", POOL, "breton", *again) == Exit.REFUSED_BY_STATE
    assert "less than the 1 minor unit needed" in capsys.readouterr().err
    shown = run("round", "statement", POOL, "1", "--weights")
    assert [line["collective"] for line in shown["lines"]] == ["", "irish"]


def test_the_command_line_takes_an_event_by_the_id_in_its_file(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plays.ndjson"
    play = {"id": "play@home", "occurred_at": "2026-01-01T10:00:00Z", "units": 3, "mode": "AI_ONLY"}
    file.write_text(json.dumps({**play, "collectives": ["irish"], "shares": [10**9]}) + "\n")
    me = "platforms/tunesmith"
    assert cli(scene, "usage", "submit", POOL, str(file), "--method", METHOD, principal=me) == Exit.OK
    capsys.readouterr()
    assert cli(scene, "usage", "find", POOL, "play@home", "--json", principal=me) == Exit.OK
    assert json.loads(said(capsys))["event"]["units"] == 3
    retract = ("usage", "retract", POOL, "--reason", "wrong", "--request-id", "own-id", "--event")
    assert cli(scene, *retract, "play@home", principal=me) == Exit.OK
    assert "1 event retracted." in said(capsys)
