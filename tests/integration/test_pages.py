"""Every list comes in pages that a gRPC client takes as it is, however much text its items have."""

from __future__ import annotations

from typing import Final

import pytest

from moiety import Collective, Method
from moiety.v1 import registry_pb2, revenue_pb2
from services.api.pages import PAGE_BYTES, page_of
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, open_scene

pytestmark = pytest.mark.surface

LONGEST_NOTE: Final = "\U0001f3bb" * 1000
"""A thousand characters of four bytes."""


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    return open_scene(shared_deployment)


def test_a_thousand_revenues_with_the_longest_notes_can_be_listed(scene: Scene) -> None:
    for number in range(1000):
        scene.platform.report_revenue(POOL, 1, "EUR", request_id=f"{number:0128}", note=LONGEST_NOTE)
    listed = list(scene.platform.list_reports(POOL))
    assert [revenue.leaf_index for revenue in listed] == sorted({revenue.leaf_index for revenue in listed})
    assert len(listed) == 1000
    assert sum(revenue.ByteSize() for revenue in listed) > 4 * 2**20


def test_many_methods_with_the_longest_texts_can_be_listed(scene: Scene) -> None:
    for number in range(700):
        method = Method(
            display_name="\U0001f3bb" * 200,
            confidence_ppm=1,
            evidence_uri="https://example.com/".ljust(2000, "x"),
            covers=LONGEST_NOTE,
        )
        scene.operator.create_method(POOL, f"m{number}", method)
    assert len(list(scene.operator.list_methods(POOL))) == 701


@pytest.mark.parametrize("count", [0, 1, 9, 10])
def test_a_page_of_small_items_is_as_many_as_were_asked_for(count: int) -> None:
    found = [Collective(name=f"collectives/c{number}") for number in range(count)]
    messages, token = page_of(found, 10, lambda collective: collective, lambda collective: (collective.name,))
    assert messages == found
    assert bool(token) == (count == 10)


def test_a_page_ends_with_the_item_that_fills_it() -> None:
    found = [revenue_pb2.Report(note="x" * (PAGE_BYTES // 2 - 100)) for _ in range(5)]
    messages, token = page_of(found, 10, lambda revenue: revenue, lambda revenue: (revenue.leaf_index,))
    assert len(messages) == 3
    assert token


def test_an_item_larger_than_a_page_is_a_page() -> None:
    found = [registry_pb2.Platform(display_name="x" * (PAGE_BYTES + 1))] * 2
    messages, token = page_of(found, 10, lambda platform: platform, lambda platform: (platform.name,))
    assert len(messages) == 1
    assert token
