"""What a key opens over gRPC, over HTTP and in the console: until its end, for its pools, never for the suspended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from ledger.log.leaves import Content, Leaf, decode
from ledger.store.registry import people
from moiety import (
    AlreadyExistsError,
    Client,
    Collective,
    FailedPreconditionError,
    PermissionDeniedError,
    Policy,
    Pool,
    UnauthenticatedError,
    make_key,
)
from moiety.v1.registry_pb2 import PRINCIPAL_STATUS_SUSPENDED
from tests.support.browsing import Browser
from tests.support.deployment import Deployment
from tests.support.http import call
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

OTHER: Final = "sea"
EVERYONE: Final = ("operators/olive", "auditors/ada", "platforms/tunesmith", "collectives/irish")


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """A pool with everyone around it, and another pool."""
    found = open_scene(deployment)
    found.operator.update_principal("auditors/ada")
    opened = Pool(display_name="Sea", currency="EUR", policy=Policy(), platforms=["platforms/tunesmith"])
    found.operator.create_pool(OTHER, opened)
    return found


class Doors:
    """A new key, tried at all three doors."""

    def __init__(self, scene: Scene, principal: str, **more: Any) -> None:
        made = make_key()
        scene.operator.create_api_key(principal, made.hash, **more)
        self.key, self._scene = made.text, scene
        self._http = scene.deployment.running.http_address
        self._browser = Browser(self._http)
        self.signed_in = self.sign_in()

    def sign_in(self) -> bool:
        """Whether the console takes the key."""
        self._browser.open("/sign-in")
        return "/sign-in" not in self._browser.send("/sign-in", key=self.key).url

    def show(self, pool: str) -> list[bool]:
        """Whether gRPC, HTTP and whoever is signed in to the console already are shown a pool."""
        with Client(self._scene.deployment.address, self.key) as client:
            try:
                by_grpc = client.get_pool(pool).name == f"pools/{pool}"
            except (PermissionDeniedError, UnauthenticatedError):
                by_grpc = False
        by_http = call(self._http, "RegistryService/GetPool", self.key, name=f"pools/{pool}")
        page = self._browser.open(f"/pools/{pool}")
        return [by_grpc, by_http.status == 200, page.status == 200 and "/sign-in" not in page.url]


@pytest.mark.parametrize("principal", EVERYONE)
def test_a_key_opens_every_door_until_its_end_and_none_after(scene: Scene, principal: str) -> None:
    ends = scene.deployment.clock() + timedelta(hours=1)
    doors = Doors(scene, principal, expire_time=ends)
    assert doors.signed_in
    scene.deployment.clock.now = ends - timedelta(microseconds=1)
    assert doors.show(POOL) == [True] * 3
    scene.deployment.clock.now = ends
    assert doors.show(POOL) == [False] * 3
    assert not doors.sign_in()


@pytest.mark.parametrize("principal", EVERYONE)
def test_a_key_for_one_pool_opens_no_other_at_any_door(scene: Scene, principal: str) -> None:
    doors = Doors(scene, principal, pools=[OTHER])
    assert doors.signed_in
    assert (doors.show(OTHER), doors.show(POOL)) == ([True] * 3, [False] * 3)
    with Client(scene.deployment.address, doors.key) as client:
        assert [each.name for each in client.list_pools()] == [f"pools/{OTHER}"]


def test_a_key_for_one_pool_acts_in_that_pool_alone_and_never_on_who_may_act(scene: Scene) -> None:
    doors = Doors(scene, "operators/olive", pools=[OTHER])
    with Client(scene.deployment.address, doors.key) as client:
        assert client.create_policy(OTHER, Policy(fee_ppm=1)).version == 2
        with pytest.raises(PermissionDeniedError):
            client.create_policy(POOL, Policy(fee_ppm=1))
        for act in (
            lambda: client.update_principal("operators/mine"),
            lambda: client.create_api_key("operators/olive", make_key().hash),
        ):
            with pytest.raises(FailedPreconditionError) as caught:
                act()
            assert caught.value.reason == "KEY_OF_OTHER_POOLS"


def test_whoever_is_suspended_finds_every_door_closed_and_open_again_afterwards(scene: Scene) -> None:
    """Reading is a right too: payees' accounts and everybody's amounts are no business of who was sent away."""
    scene.operator.update_principal("operators/third")
    for principal in ("auditors/ada", "operators/third"):
        doors = Doors(scene, principal)
        assert doors.show(POOL) == [True] * 3
        scene.operator.update_principal(principal, suspended=True)
        assert doors.show(POOL) == [False] * 3
        assert not doors.sign_in()
        scene.operator.update_principal(principal)
        assert doors.sign_in()
        assert doors.show(POOL) == [True] * 3


def test_the_last_operator_who_may_act_is_not_suspended(scene: Scene) -> None:
    """Where one person may suspend another, the last one would lock everybody out."""
    for other in [each.name for each in scene.operator.list_principals() if each.name != "operators/olive"]:
        scene.operator.update_principal(other, suspended=True)
    with pytest.raises(FailedPreconditionError) as caught:
        scene.operator.update_principal("operators/olive", suspended=True)
    assert caught.value.reason == "TOO_FEW_OPERATORS"
    scene.operator.update_principal("operators/otto")
    assert scene.operator.update_principal("operators/olive", suspended=True).status == PRINCIPAL_STATUS_SUSPENDED


def test_keys_that_were_issued_make_no_later_act_slower_by_being_read_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every act asks who may act, which follows from all keys there ever were."""
    for _ in range(3):
        scene.operator.create_api_key("platforms/tunesmith", make_key().hash)
    read: list[bytes] = []

    def noted(entry: bytes, kinds: Mapping[str, type[Content]]) -> Leaf[Content]:
        read.append(entry)
        return decode(entry, kinds)

    monkeypatch.setattr(people, "decode", noted)
    people.decoded.cache_clear()
    for name in ("breton", "irish", "scottish"):
        scene.operator.update_collective(name, Collective(display_name=name, members=11))
    assert len(read) == len(set(read)) > 3


def test_a_key_that_was_issued_is_not_issued_again_with_other_rights(scene: Scene) -> None:
    made = make_key()
    issued = scene.operator.create_api_key("platforms/tunesmith", made.hash, pools=[OTHER])
    assert scene.operator.create_api_key("platforms/tunesmith", made.hash, pools=[OTHER]) == issued
    for more in ({"pools": [POOL]}, {}, {"pools": [OTHER], "expire_time": scene.deployment.clock()}):
        with pytest.raises(AlreadyExistsError):
            scene.operator.create_api_key("platforms/tunesmith", made.hash, **more)


def test_a_platform_with_a_key_for_one_pool_reports_to_that_pool_alone(scene: Scene) -> None:
    doors = Doors(scene, "platforms/tunesmith", pools=[OTHER])
    with Client(scene.deployment.address, doors.key) as platform:
        platform.report_revenue(OTHER, 1, "EUR", request_id="r", period="2026-01")
        with pytest.raises(PermissionDeniedError):
            platform.report_revenue(POOL, 1, "EUR", request_id="r")
        with pytest.raises(PermissionDeniedError):
            platform.submit_events(POOL, [event(1)], "ngram", batch_id="b")
