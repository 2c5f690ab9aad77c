"""Two people who change the same from what each has read: the second hears of it, and replaces nothing unseen."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
import sqlalchemy as sa

from ledger.acts.entries import ControlsContent
from moiety import Client, Collective, FailedPreconditionError, NotFoundError, Schedule
from services.api.convert import controls_from_proto
from tests.support.books import head_held, wait_until, waiting_backends
from tests.support.browsing import Shown, signed_in
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, open_scene

pytestmark = pytest.mark.surface


def _with(message: Any, **changed: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    for name, value in changed.items():
        setattr(copied, name, value)
    return copied


Read = Callable[[Client], Any]
Send = Callable[..., Any]

KINDS: Final[dict[str, tuple[Read, Send, dict[str, Any], dict[str, Any]]]] = {
    "collective": (
        lambda client: client.get_collective("irish"),
        lambda client, wanted, **options: client.update_collective("irish", wanted, **options),
        {"members": 42},
        {"display_name": "Irish speakers"},
    ),
    "schedule": (
        lambda client: client.get_schedule(POOL),
        lambda client, wanted, **options: client.update_schedule(POOL, wanted, **options),
        {"paused": True},
        {"cron": "0 7 1 * *"},
    ),
    "controls": (
        lambda client: client.get_controls(),
        lambda client, wanted, **_: client.update_controls(wanted),
        {"people": 2, "money": 2},
        {"people": 2, "rounds": 2},
    ),
}


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def operator(scene: Scene) -> Client:
    scene.operator.update_schedule(POOL, Schedule(cron="0 6 1 * *", time_zone="Europe/Lisbon"))
    return scene.operator


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_of_what_was_changed_meanwhile_is_refused(kind: str, scene: Scene, operator: Client) -> None:
    read, send, one, other = KINDS[kind]
    seen = read(operator)
    assert seen.etag
    first, second = _with(seen, **one), _with(seen, **other)
    if send(operator, first).proposal:
        scene.deployment.act(ControlsContent(controls=controls_from_proto(first)))
    now = read(operator)
    assert now.etag != seen.etag
    for options in ({}, {"validate_only": True}):
        with pytest.raises(FailedPreconditionError, match="read it again") as refused:
            send(operator, second, **options)
        assert refused.value.reason == "CHANGED_MEANWHILE"
    # What would put back what was read is a change too.
    with pytest.raises(FailedPreconditionError):
        send(operator, seen)
    assert read(operator) == now
    send(operator, first)  # as a client does that did not get the answer
    assert read(operator) == now


@pytest.mark.parametrize("kind", ["collective", "schedule"])
def test_an_update_without_an_etag_replaces_whatever_is_there(kind: str, operator: Client) -> None:
    read, send, one, other = KINDS[kind]
    seen = read(operator)
    send(operator, _with(seen, **one))
    send(operator, _with(seen, etag="", **other))
    assert all(getattr(read(operator), name) == value for name, value in other.items())


def test_an_etag_of_what_is_not_there_is_refused(scene: Scene) -> None:
    wanted = Schedule(cron="0 6 1 * *", time_zone="UTC", etag="0123456789abcdef")
    with pytest.raises(NotFoundError, match="schedule"):
        scene.operator.update_schedule(POOL, wanted)
    with pytest.raises(FailedPreconditionError, match="read it again"):
        scene.operator.update_collective("irish", Collective(display_name="Irish", etag="é\u2028" * 1000))


def test_of_two_at_once_one_is_refused(operator: Client, owner: sa.Engine) -> None:
    seen = operator.get_collective("irish")
    asked = [_with(seen, members=number) for number in (101, 102)]

    def ask(wanted: Collective) -> int:
        try:
            return operator.update_collective("irish", wanted).members
        except FailedPreconditionError:
            return 0

    with ThreadPoolExecutor(2) as threads:
        with head_held(owner, "registry"):
            calls = [threads.submit(ask, wanted) for wanted in asked]
            wait_until(lambda: len(waiting_backends(owner)) == len(calls))
        taken = [call.result(timeout=60) for call in calls]
    assert sorted(map(bool, taken)) == [False, True]
    assert operator.get_collective("irish").members == max(taken)


def _etag(page: Shown) -> str:
    (found,) = re.findall(r'name="etag" value="([0-9a-f]+)"', page.html)
    return str(found)


def test_a_form_of_an_old_page_changes_nothing(scene: Scene) -> None:
    browser = signed_in(scene.deployment, "operators/olive")
    path = "/registry/collectives/irish"
    browser.open(path)
    scene.operator.update_collective("irish", Collective(display_name="Irish", members=7_777))

    def rename() -> Shown:
        etag = _etag(browser.page)
        fields = {"display_name": "Renamed", "members": "10", "equity": "1", "status": "ACTIVE", "domains": ""}
        return browser.send(path, headers=None, etag=etag, **fields)

    assert rename().status == 409
    assert "read it again" in browser.page.text
    assert scene.operator.get_collective("irish").members == 7_777
    # What is there now stands beside what was typed, where that is something else: who sends it again knows.
    assert "Name Now: Irish Members Now: 7777 Equity factor Status" in browser.page.text
    assert rename().status == 200
    assert scene.operator.get_collective("irish").display_name == "Renamed"
