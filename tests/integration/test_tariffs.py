"""What platforms owe under a pool's tariffs, and what they report: by those who set them and those who are judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from moiety import Client, InvalidArgumentError, Method, NotFoundError, Policy, Pool, UsageEvent
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NAMED_PLATFORMS, Scene, event, open_scene

EUR: Final = "EUR"


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    return open_scene(shared_deployment)


@pytest.fixture
def pool(scene: Scene, request: pytest.FixtureRequest) -> str:
    """A pool of the test's own."""
    name = str(request.node.name)[:30].replace("_", "-").rstrip("-")
    made = Pool(
        display_name=name, currency=EUR, policy=Policy(), distribute=DISTRIBUTE_REPORTED, platforms=NAMED_PLATFORMS
    )
    scene.operator.create_pool(name, made)
    scene.operator.create_method(name, METHOD, Method(display_name="votes", confidence_ppm=1_000_000))
    return name


def in_month(month: int, numbers: Iterable[int], units: int = 1) -> list[UsageEvent]:
    return [replace(event(each, units=units), occurred_at=datetime(2025, month, 9, tzinfo=UTC)) for each in numbers]


def dues(client: Client, pool: str, period: str) -> dict[str, tuple[int, int | None, int, int | None]]:
    """By platform: units, what is due, what is reported, and the difference."""
    return {
        each.platform.removeprefix("platforms/"): (
            each.units,
            each.due_minor if each.HasField("due_minor") else None,
            each.reported_minor,
            each.difference_minor if each.HasField("difference_minor") else None,
        )
        for each in client.list_dues(pool, period)
    }


def test_what_is_due_follows_from_usage_income_and_the_tariff_in_force(scene: Scene, pool: str) -> None:
    operator, platform = scene.operator, scene.platform
    usage = [*in_month(10, range(3), units=7), *in_month(11, range(3, 5), units=100)]
    platform.submit_events(pool, usage, METHOD, batch_id="b-1")
    platform.retract_usage(pool, request_id="t", reason="wrong", event_ids=[event(0).event_id])
    platform.report_revenue(pool, 50, EUR, request_id="r-1", period="2025-10", income_minor=1_000)
    platform.report_revenue(pool, 5, EUR, request_id="r-2", period="2025-10")
    platform.report_revenue(pool, 900, EUR, request_id="r-3", period="2025-10", income_minor=10**9)
    operator.reverse_report(pool, "tunesmith", "r-3", 900, request_id="v", reason="of another pool")
    assert dues(operator, pool, "2025-10") == {"tunesmith": (14, None, 55, None)}
    assert dues(operator, pool, "2025-Q4") == {"tunesmith": (214, None, 55, None)}

    made = operator.set_tariff(pool, "2025-10", share_ppm=60_000, rate_minor=9, rate_units=2, minimum_minor=20)
    assert (made.version, made.platform) == (1, "")
    again = operator.set_tariff(pool, "2025-10", share_ppm=60_000, rate_minor=9, rate_units=2, minimum_minor=20)
    assert again == made
    (october,) = operator.list_dues(pool, "2025-10")
    assert (october.share_minor, october.usage_minor, october.minimum_minor) == (60, 63, 20)
    assert (october.due_minor, october.difference_minor, october.tariff_leaf) == (63, 8, made.leaf_index)
    assert dues(operator, pool, "2025-11") == {"tunesmith": (200, 900, 0, 900)}
    # Both were admitted in January of 2026, in which nothing was reported.
    assert dues(operator, pool, "2026-01") == {"songbird": (0, 20, 0, 20), "tunesmith": (0, 20, 0, 20)}
    assert dues(operator, pool, "2025-Q4")["tunesmith"] == (214, None, 55, None)

    own = operator.set_tariff(pool, "2025-11", platform="tunesmith")
    assert (own.version, own.platform) == (1, "platforms/tunesmith")
    assert dues(operator, pool, "2025-10")["tunesmith"] == (14, 63, 55, 8)
    assert dues(operator, pool, "2025-11")["tunesmith"] == (200, 0, 0, 0)
    # Nothing was collected.
    assert operator.get_balance(pool, "platform/tunesmith").amount_minor == -55


def test_a_platform_sees_its_own_and_what_holds_for_all(scene: Scene, pool: str) -> None:
    for platform in ("", "songbird", "tunesmith"):
        scene.operator.set_tariff(pool, "2026-01", platform=platform, minimum_minor=10)
    assert [each.platform for each in scene.platform.list_tariffs(pool)] == ["", "platforms/tunesmith"]
    assert dues(scene.platform, pool, "2026-01") == {"tunesmith": (0, 10, 0, 10)}
    assert list(dues(scene.operator, pool, "2026-01")) == ["songbird", "tunesmith"]


def test_tariffs_out_of_bounds_are_refused(scene: Scene, pool: str) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        scene.operator.set_tariff(pool, "2026-01", platform="nobody", minimum_minor=1)
    with pytest.raises(InvalidArgumentError, match=r"tariff\.period_from"):
        scene.operator.set_tariff(pool, "", minimum_minor=1)
    with pytest.raises(InvalidArgumentError, match=r"tariff\.rate_units"):
        scene.operator.set_tariff(pool, "2026-01", rate_minor=1)
    with pytest.raises(InvalidArgumentError, match=r"report\.income_minor"):
        scene.platform.report_revenue(pool, 1, EUR, request_id="r", income_minor=-1)


def test_commands_show_amounts_in_major_units(scene: Scene, pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    def said(principal: str, *words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main([*words, "--address", scene.deployment.address, "--api-key", scene.deployment.key(principal)])
        assert caught.value.code == Exit.OK
        return " ".join(capsys.readouterr().out.split())

    terms = ("2026-01", "--share-ppm", "25000", "--rate", "0.05", "--rate-units", "1000", "--minimum", "12.50")
    made = said("operators/olive", "tariff", "set", pool, *terms)
    assert f"Tariff 1 of all platforms without their own in {pool} holds from 2026-01" in made
    shown = said("auditors/ada", "tariff", "show", pool)
    assert "(all others) 1 2026-01 2.5 % 0.05 EUR for 1,000 units 12.50 EUR" in shown
    report = ("revenue", "report", pool, "--currency", EUR, "--request-id", "r", "--period", "2026-01")
    said("platforms/tunesmith", *report, "--amount", "20", "--income", "1000")
    assert "1000.00 EUR" in said("platforms/tunesmith", "revenue", "list", pool)
    due = said("platforms/tunesmith", "tariff", "due", pool, "2026-01")
    assert "tunesmith 0 1000.00 EUR 25.00 EUR 0.00 EUR 12.50 EUR 25.00 EUR 20.00 EUR 5.00 EUR" in due
