"""What somebody may do that others bear, and how often: then they hear of the bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.acts.people import PROPOSAL_LIFETIME
from ledger.store.desk import contacts, webhooks
from ledger.store.desk.vault import add_key
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.money import income
from ledger.store.pools.pools import pool_ref
from ledger.store.registry import acts
from ledger.store.registry.proposals import list_proposals, proposal_name
from moiety import FailedPreconditionError, InvalidArgumentError, Method, Policy, ResourceExhaustedError, Schedule
from payout import review
from services.access import sessions
from tests.support.browsing import Browser
from tests.support.deployment import Deployment
from tests.support.paying import IBANS, account, of_two
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

URL: Final = "http://127.0.0.1:9/"
DAY: Final = timedelta(days=1).total_seconds()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    add_key(tmp_path / "payee-key")
    return {"payee_key_file": tmp_path / "payee-key", "webhook_networks": "127.0.0.0/8", "webhook_http": True}


@pytest.fixture
def scene(deploy: Callable[..., Deployment], settings: dict[str, Any]) -> Scene:
    return open_scene(deploy(**settings))


def registry_size(scene: Scene) -> int:
    with scene.deployment.running.parts.database.transaction() as connection:
        return log.read_head(connection, REGISTRY).size


def slowed(monkeypatch: pytest.MonkeyPatch, room: Any, name: str, most: int) -> None:
    monkeypatch.setattr(room, name, replace(getattr(room, name), most=most))


def test_an_owner_changes_its_webhooks_so_often_a_day_and_may_always_stop_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, webhooks, "CHANGES", 4)
    songbird, irish = (scene.deployment.client(name) for name in ("platforms/songbird", "collectives/irish"))
    pool = f"pools/{POOL}"
    songbird.create_webhook("one", pool, URL)
    songbird.rotate_webhook_secret("one")
    songbird.pause_webhook("one")
    songbird.rotate_webhook_secret("one")
    before = registry_size(scene)
    for act in (songbird.resume_webhook, songbird.rotate_webhook_secret):
        with pytest.raises(ResourceExhaustedError, match="webhook_changes_per_day is 4") as refused:
            act("one")
        assert refused.value.retry_after_seconds == DAY
    with pytest.raises(ResourceExhaustedError, match="platforms/songbird"):
        songbird.create_webhook("two", pool, URL)
    assert registry_size(scene) == before
    songbird.remove_webhook("one")
    irish.create_webhook("theirs", pool, URL)
    scene.operator.create_webhook("for-them", pool, URL, owner="platforms/songbird")
    songbird.pause_webhook("for-them")
    scene.deployment.clock.advance(seconds=DAY)
    songbird.create_webhook("two", pool, URL)


def test_an_operator_leaves_others_room_for_webhooks(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_BY_OPERATOR", 3)
    pool, owners = f"pools/{POOL}", ("", "operators/otto", "platforms/songbird")
    scene.reviewer.create_webhook("of-another", pool, URL)
    for number, owner in enumerate(owners):
        scene.operator.create_webhook(f"hook-{number}", pool, URL, owner=owner)
    for owner in (*owners, "collectives/irish"):
        with pytest.raises(FailedPreconditionError, match="operators/olive: registered 3 webhooks") as refused:
            scene.operator.create_webhook("one-more", pool, URL, owner=owner)
        assert refused.value.reason == "TOO_MANY_WEBHOOKS"
    scene.operator.pause_webhook("hook-0")
    scene.operator.rotate_webhook_secret("hook-1")
    scene.operator.resume_webhook("hook-0")
    scene.reviewer.create_webhook("another-of-another", pool, URL)
    scene.deployment.client("platforms/songbird").create_webhook("theirs", pool, URL)
    scene.reviewer.remove_webhook("hook-2")
    scene.operator.create_webhook("one-more", pool, URL)


def test_a_platform_reports_revenue_so_often_a_day(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, income, "REPORTS", 2)
    deployment = deploy()
    scene = open_scene(deployment)
    songbird = deployment.client("platforms/songbird")
    first = songbird.report_revenue(POOL, 5, "EUR", request_id="r-1")
    deployment.clock.advance(seconds=60)
    songbird.report_revenue(POOL, 5, "EUR", request_id="r-2")
    scene.operator.reverse_report(POOL, "songbird", "r-2", 5, request_id="back", reason="wrong")
    with pytest.raises(ResourceExhaustedError, match="reports_per_day is 2") as refused:
        songbird.report_revenue(POOL, 5, "EUR", request_id="r-3")
    assert refused.value.retry_after_seconds == DAY - 60
    assert songbird.report_revenue(POOL, 5, "EUR", request_id="r-1") == first
    with pytest.raises(InvalidArgumentError, match="recorded with other content"):
        songbird.report_revenue(POOL, 6, "EUR", request_id="r-1")
    scene.platform.report_revenue(POOL, 5, "EUR", request_id="r-3")
    scene.operator.create_pool("jazz", scene.operator.get_pool(POOL))
    songbird.report_revenue("jazz", 5, "EUR", request_id="r-3")
    deployment.clock.advance(seconds=DAY - 60)
    songbird.report_revenue(POOL, 5, "EUR", request_id="r-3")
    with pytest.raises(ResourceExhaustedError):
        songbird.report_revenue(POOL, 5, "EUR", request_id="r-4")


def test_a_collective_changes_its_contact_so_often_in_a_month(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, contacts, "CHANGES", 3)
    irish = scene.deployment.client("collectives/irish")
    for number in range(3):
        irish.set_contact("collectives/irish", f"{number}@irish.example")
    with pytest.raises(ResourceExhaustedError, match="contact_changes_in_30_days is 3"):
        irish.set_contact("collectives/irish", "stranger@other.example")
    assert irish.set_contact("collectives/irish", "2@irish.example").email == "2@irish.example"
    scene.operator.set_contact("collectives/irish", "office@irish.example")
    scene.deployment.clock.advance(days=30)
    irish.set_contact("collectives/irish", "new@irish.example")


def test_an_operator_changes_a_contact_so_often_too_and_keeps_no_other_from_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change is told to all whom the contact was before, so many of them would be a flood of mail."""
    slowed(monkeypatch, contacts, "CHANGES", 3)
    for number in range(3):
        scene.operator.set_contact("collectives/irish", f"{number}@stranger.example")
    with pytest.raises(ResourceExhaustedError, match="contact_changes_in_30_days is 3"):
        scene.operator.set_contact("collectives/irish", "3@stranger.example")
    scene.operator.set_contact("collectives/breton", "office@breton.example")
    scene.reviewer.set_contact("collectives/irish", "office@irish.example")
    scene.deployment.clock.advance(days=30)
    scene.operator.set_contact("collectives/irish", "3@stranger.example")


def test_rounds_that_are_rejected_are_not_asked_for_again_and_again(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told to every collective in it."""
    slowed(monkeypatch, review, "REJECTED", 2)
    scene = open_scene(deploy(), policy=Policy(review_seconds=60))
    scene.submit([event(1)], "b")
    scene.pay_in(1_000, "m")
    for number in (1, 2):
        scene.operator.calculate_round(POOL, request_id=f"q-{number}")
        scene.operator.reject_round(POOL, number, "again")
    with pytest.raises(ResourceExhaustedError, match="rejected_rounds_per_day is 2") as refused:
        scene.operator.calculate_round(POOL, request_id="q-3")
    assert refused.value.retry_after_seconds == DAY
    assert scene.operator.calculate_round(POOL, request_id="q-2").number == 2
    scene.operator.update_schedule(POOL, Schedule(cron="* * * * *", time_zone="UTC"))
    scene.deployment.clock.advance(minutes=2)
    assert scene.deployment.running.parts.scheduler.run_once()
    assert scene.approve(3).number == 3
    scene.deployment.clock.advance(days=1)
    scene.submit([event(2)], "b-2")
    scene.pay_in(1_000, "m-2")
    assert scene.operator.calculate_round(POOL, request_id="q-3").number == 4


def test_a_key_signs_in_so_often_a_day(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, sessions, "SIGN_INS", 2)
    key = scene.deployment.key("operators/otto")

    def signed_in() -> tuple[int, str]:
        browser = Browser(scene.deployment.running.http_address)
        browser.open("/sign-in")
        shown = browser.send("/sign-in", key=key)
        return shown.status, shown.text

    assert [signed_in()[0] for _ in range(2)] == [200, 200]
    status, said = signed_in()
    assert status == 429
    assert "done as often as it may be" in said
    scene.deployment.clock.advance(seconds=DAY)
    assert signed_in()[0] == 200


def test_a_collective_has_so_many_open_proposals(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "MAX_OPEN_OF_OWNER", 2)
    irish = scene.deployment.client("collectives/irish")
    waiting = [irish.set_payee("irish", account(IBANS[town])) for town in ("irish", "breton")]
    with pytest.raises(FailedPreconditionError, match="may have 2") as refused:
        irish.set_payee("irish", account(IBANS["scottish"]))
    assert refused.value.reason == "TOO_MANY_PROPOSALS"
    scene.operator.reject_proposal(waiting[0].proposal, "another")
    irish.set_payee("irish", account(IBANS["scottish"]))


def test_proposals_that_lapsed_hide_none_that_is_open(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    scene = of_two(open_scene(deployment))
    lapsed = [propose(scene, number) for number in range(3)]
    deployment.clock.advance(seconds=PROPOSAL_LIFETIME.total_seconds() + 1)
    fresh = propose(scene, 3)
    with deployment.running.parts.database.transaction() as connection:
        pool = pool_ref(connection, POOL)
        page = list(list_proposals(connection, pool, only_open=True, limit=2))
    assert [proposal_name(pool, each.leaf_index) for each in page] == [fresh]
    assert [each.name for each in scene.operator.list_proposals(POOL, only_open=True)] == [fresh]
    assert [each.name for each in scene.operator.list_proposals(POOL)] == [*lapsed, fresh]


def propose(scene: Scene, number: int) -> str:
    method = Method(display_name="another", confidence_ppm=1_000)
    return scene.operator.create_method(POOL, f"method-{number}", method).proposal
