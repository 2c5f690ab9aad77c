"""What pages say of money and numbers, held against the ledger: to a platform, to readers of a short log, on paper."""

from __future__ import annotations

import re
from typing import Final

import pytest

from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED
from services.console.routes import PAGES
from tests.support.browsing import signed_in
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, open_scene

pytestmark = pytest.mark.surface

FIGURE: Final = re.compile(r"<dt>([^<]*)</dt><dd>(?:<a[^>]*>)?([^<]*)<")


@pytest.mark.parametrize("page", ["", "/money"])
def test_a_platform_sees_what_it_reported_and_what_of_it_has_not_arrived(deployment: Deployment, page: str) -> None:
    scene = open_scene(deployment, distribute=DISTRIBUTE_RECEIVED)
    scene.platform.report_revenue(POOL, 1_000, "EUR", request_id="r1")
    scene.operator.record_receipt(POOL, 300, request_id="m1", platform="tunesmith")
    shown = signed_in(deployment, "platforms/tunesmith").open(f"/pools/{POOL}{page}")
    assert dict(FIGURE.findall(shown.html)) == {
        "Reported": "€10.00",
        "Reported and not yet received": "€7.00",
        "Received beyond what was reported": "€0.00",
    }
    scene.operator.record_receipt(POOL, 900, request_id="m2", platform="tunesmith")
    shown = signed_in(deployment, "platforms/tunesmith", "de-DE").open(f"/pools/{POOL}{page}")
    assert dict(FIGURE.findall(shown.html)) == {
        "Gemeldet": "10,00\N{NO-BREAK SPACE}€",
        "Gemeldet und noch nicht eingegangen": "0,00\N{NO-BREAK SPACE}€",
        "Über das Gemeldete hinaus eingegangen": "2,00\N{NO-BREAK SPACE}€",
    }


def test_where_nothing_waits_for_its_money_a_platform_sees_what_it_reported(deployment: Deployment) -> None:
    scene = open_scene(deployment)
    scene.platform.report_revenue(POOL, 1_000, "EUR", request_id="r1")
    shown = signed_in(deployment, "platforms/tunesmith").open(f"/pools/{POOL}/money")
    assert dict(FIGURE.findall(shown.html)) == {"Reported": "€10.00"}


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def test_the_address_of_a_form_opened_again_leads_to_what_the_form_is_about(scene: Scene) -> None:
    browser = signed_in(scene.deployment, "operators/olive")
    scene.platform.report_revenue(POOL, 1_000, "EUR", request_id="r1")
    scene.fill()
    scene.operator.calculate_round(POOL, request_id="c1")
    forms = [page for page in PAGES if page.show is None and page.act and "object" not in page.path]
    assert len(forms) >= 3
    for page in forms:
        assert browser.open(page.path.format(pool=POOL, number=1)).status == 200, page.path


def test_another_language_keeps_the_place(scene: Scene) -> None:
    browser = signed_in(scene.deployment, "operators/olive")
    shown = browser.open(f"/pools/{POOL}/transfers?account=fees&done=saved")
    there = re.search(r'name="next" value="([^"]*)"', shown.html)
    assert there
    assert there[1] == f"/pools/{POOL}/transfers?account=fees"
    german = browser.send("/language", language="de", next=there[1])
    assert german.url.endswith("/transfers?account=fees")
    assert '<html lang="de">' in german.html
