"""Adjustments of posted rounds, with a second person, two verifiers and the check of the database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from audit.statements.check import check_statement
from ledger.acts.controls import Controls
from moiety import Collective, FailedPreconditionError, InvalidArgumentError, Method, Policy
from moiety.v1.accounts_pb2 import Adjustment
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import COLLECTIVE_STATUS_ACTIVE, COLLECTIVE_STATUS_SUSPENDED, COMMONS_RULE_PER_CAPITA
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.browsing import signed_in
from tests.support.deployment import Deployment
from tests.support.exports import report_of
from tests.support.fsck_scene import LOG_KEY, sign
from tests.support.http import ask
from tests.support.independent import verifier
from tests.support.scene import METHOD, POOL, Scene, event, open_scene


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    policy = Policy(commons_ppm=500_000, commons_rule=COMMONS_RULE_PER_CAPITA, recoup_ppm=400_000)
    return open_scene(deployment, policy=policy)


def balances(scene: Scene) -> dict[str, int]:
    prefix = f"pools/{POOL}/accounts/"
    return {each.name.removeprefix(prefix): each.amount_minor for each in scene.operator.list_balances(POOL)}


def round_of(scene: Scene, number: int, amount_minor: int) -> None:
    scene.submit([event(number)], f"b-{number}")
    scene.platform.report_revenue(POOL, amount_minor, "EUR", request_id=f"r-{number}")
    scene.cut(f"round-{number}")


def test_a_posted_round_is_adjusted_recouped_and_verified_by_everybody(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = scene.operator
    round_of(scene, 1, 10_000)
    before = balances(scene)
    with pytest.raises(FailedPreconditionError) as caught:
        operator.adjust_round(POOL, 1, request_id="none", reason="nothing is wrong")
    assert caught.value.reason == "NOTHING_TO_ADJUST"
    with pytest.raises(InvalidArgumentError, match="pool_leaves"):
        operator.preview_adjustment(POOL, 1, pool_leaves=[1_000])
    with pytest.raises(InvalidArgumentError, match="source"):
        operator.adjust_round(POOL, 1, request_id="none", reason="wrong", source="revenue")

    right = operator.create_method(POOL, METHOD, Method(display_name="n-grams", confidence_ppm=200_000))
    previewed = operator.preview_adjustment(POOL, 1, pool_leaves=[right.leaf_index])
    assert sum(line.new_minor - line.old_minor for line in previewed.lines) == 0
    adjust = partial(operator.adjust_round, POOL, 1, request_id="a-1", pool_leaves=[right.leaf_index])
    made = adjust(reason="a bug in the method")
    assert list(made.lines) == list(previewed.lines)
    assert adjust(reason="a bug in the method").leaf_index == made.leaf_index
    with pytest.raises(InvalidArgumentError, match="other content"):
        adjust(reason="another")

    after = balances(scene)
    owing = {name: amount for name, amount in after.items() if name.startswith("owing/") and amount}
    assert owing
    assert -sum(owing.values()) == made.amount_minor
    assert sum(amount for name, amount in after.items() if name.startswith("awaiting")) == made.amount_minor
    assert all(after[name] == amount for name, amount in before.items())

    who = next(iter(owing)).partition("/")[2]
    client = scene.deployment.client(f"collectives/{who}")
    (own,) = client.list_adjustments(POOL)
    assert [line.account for line in own.lines] == [f"collective/{who}"]
    assert (own.reason, own.leaf_index) == ("a bug in the method", made.leaf_index)

    round_of(scene, 2, 1_000)
    round_of(scene, 3, 1_000_000)
    settled = balances(scene)
    assert not any(amount for name, amount in settled.items() if name.startswith(("owing/", "awaiting")))
    for number in (1, 2, 3):
        assert operator.replay_round(POOL, number).outcome == REPLAY_OUTCOME_MATCH
    require_sound(scene, tmp_path, database_url, monkeypatch)
    require_pages(scene, made, who)
    require_shown(client.get_statement_file(POOL, 1), made, f"collective/{who}")


def require_pages(scene: Scene, made: Adjustment, who: str) -> None:
    """The console shows operators all lines of an adjustment, and a collective its own, in its files too."""
    page = f"/pools/{POOL}/rounds/1"
    operator, collective = (signed_in(scene.deployment, name) for name in ("operators/olive", f"collectives/{who}"))
    assert all(line.account in operator.open(page).text for line in made.lines)
    for path in (page, f"{page}/statement"):
        shown = collective.open(path).text
        assert made.reason in shown
        assert [line.account in shown for line in made.lines] == [line.account.endswith(who) for line in made.lines]
    cookie = f"moiety_session={collective.session}"
    (line,) = (each for each in made.lines if each.account.endswith(who))
    given = ask(collective.address, f"{page}/adjustments.csv", cookie=cookie).body.decode().splitlines()
    difference = line.new_minor - line.old_minor
    row = f"{made.leaf_index},{line.account},{line.old_minor},{line.new_minor},{difference},{made.reason}"
    assert given == ["leaf,account,old_minor,new_minor,difference_minor,reason", row]
    assert ask(collective.address, f"{page}/statement.pdf", cookie=cookie).body.startswith(b"%PDF-")


def require_shown(file: bytes, made: Adjustment, account: str) -> None:
    """A collective's statement file has its own line of an adjustment, and no other."""
    report = check_statement(file, LOG_KEY.verifier_key)
    assert report.holds, report
    (line,) = (each for each in made.lines if each.account == account)
    assert report.facts["adjusted"] == [
        {"old_minor": str(line.old_minor), "new_minor": str(line.new_minor), "reason": made.reason}
    ]
    for each in made.lines:
        assert (f'\\"{each.account}\\"'.encode() in file) == (each.account == account)


def test_a_second_person_approves_and_a_proposal_that_another_adjustment_overtook_is_stale(
    deploy: Callable[..., Deployment],
) -> None:
    scene = open_scene(deploy(controls=Controls(people=2, terms=1, weights=1, money=2, rounds=1, registry=1)))
    operator, reviewer = scene.operator, scene.reviewer
    round_of(scene, 1, 10_000)
    right = operator.create_method(POOL, METHOD, Method(display_name="n-grams", confidence_ppm=200_000))
    leaves = [right.leaf_index]
    first = operator.adjust_round(POOL, 1, request_id="a-1", reason="wrong", pool_leaves=leaves)
    again = operator.adjust_round(POOL, 1, request_id="a-1", reason="wrong", pool_leaves=leaves)
    assert first.proposal == again.proposal != ""
    other = operator.adjust_round(POOL, 1, request_id="a-2", reason="wrong too", pool_leaves=leaves)
    assert not any(name.startswith("owing/") for name in balances(scene))
    waits = signed_in(scene.deployment, "operators/otto").open(f"/{first.proposal}")
    assert "collective/irish" in waits.text
    reviewer.approve_proposal(first.proposal)
    who = next(name.partition("/")[2] for name, amount in balances(scene).items() if name.startswith("owing/"))
    shown = signed_in(scene.deployment, f"collectives/{who}").open(f"/pools/{POOL}").text
    assert "Asked back" in shown
    assert any(name.startswith("owing/") for name in balances(scene))
    with pytest.raises(Exception, match="based on"):
        reviewer.approve_proposal(other.proposal)


def test_members_that_were_wrong_are_corrected_while_no_round_is_open(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_of(scene, 1, 10_000)
    scene.operator.update_collective("irish", Collective(display_name="Irish", members=999))
    index = scene.operator.get_log_head("registry").size - 1
    made = scene.operator.adjust_round(POOL, 1, request_id="a", reason="members", registry_leaves=[index])
    assert made.amount_minor > 0
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_who_came_in_by_an_adjustment_gives_it_back_by_the_next(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_of(scene, 1, 10_000)
    operator, leaves = scene.operator, []
    operator.create_collective("welsh", Collective(display_name="Welsh", members=20))
    for status in (COLLECTIVE_STATUS_ACTIVE, COLLECTIVE_STATUS_SUSPENDED):
        operator.update_collective("welsh", Collective(display_name="Welsh", members=30, status=status))
        leaves.append(operator.get_log_head("registry").size - 1)
    adjust = partial(operator.adjust_round, POOL, 1, reason="it was there")
    adjust(request_id="a-1", registry_leaves=leaves[:1])
    assert balances(scene)["awaiting/welsh"] > 0
    adjust(request_id="a-2", registry_leaves=leaves)
    right = operator.create_method(POOL, METHOD, Method(display_name="n-grams", confidence_ppm=200_000))
    adjust(request_id="a-3", pool_leaves=[right.leaf_index])
    settled = balances(scene)
    assert [settled[f"{kind}/welsh"] for kind in ("owing", "awaiting")] == [0, 0]
    require_sound(scene, tmp_path, database_url, monkeypatch)


def require_sound(scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(scene.deployment)
    bundle = tmp_path / "folk.tar"
    write_bundle(PoolSource(scene.deployment.client("auditors/ada"), POOL), bundle)
    verifier.verify(bundle)
    found = report_of(bundle, LOG_KEY.verifier_key)
    assert found.finding is None, found.finding
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck"])
    assert caught.value.code == 0


def test_fees_give_back_what_they_still_wait_for_once_they_have_as_much(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = scene.operator
    round_of(scene, 1, 10_000)
    free, charged = (operator.create_policy(POOL, Policy(fee_ppm=fee)) for fee in (0, 100_000))
    operator.adjust_round(POOL, 1, request_id="a-1", reason="no fee was taken", pool_leaves=[charged.leaf_index])
    assert balances(scene)["awaiting_fees"] == 1_000
    back = partial(
        operator.adjust_round, POOL, 1, request_id="a-2", reason="it was right", pool_leaves=[free.leaf_index]
    )
    before = balances(scene)
    with pytest.raises(FailedPreconditionError, match="accounts/fees: has 0 minor units") as refused:
        back()
    assert (refused.value.reason, balances(scene)) == ("BALANCE_TOO_LOW", before)
    for number in (2, 3):
        round_of(scene, number, 10_000)
    there = balances(scene)["fees"]
    assert back().amount_minor == 1_000
    after = balances(scene)
    assert after["fees"] == there - 1_000
    assert sum(amount for name, amount in after.items() if name.startswith(("owing/", "awaiting"))) == 0
    require_sound(scene, tmp_path, database_url, monkeypatch)
