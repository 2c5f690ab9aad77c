"""Small calls that come at the same time are done together, and each is answered as if it had come alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from ledger.errors import LedgerCorruptError
from moiety import Balance, Client
from moiety.errors import NotFoundError, PermissionDeniedError, ServiceError, UnauthenticatedError
from services.api.accounts import Balances
from services.api.calls import together
from services.api.calls.queues import FairThreads
from tests.support.books import wait_until
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    made = open_scene(deployment)
    made.submit([event(1)], "b-1")
    made.pay_in(1_000, "money")
    made.cut("round-1")
    return made


def client_of(scene: Scene, principal: str) -> Client:
    """A client whose key was looked up before, as only calls with such keys are done together."""
    client = scene.deployment.client(principal)
    client.get_pool(POOL)
    return client


@contextmanager
def held(scene: Scene, patch: pytest.MonkeyPatch) -> Iterator[tuple[list[int], list[int]]]:
    """The first group waits meanwhile: gives how many calls have gathered, and the sizes of the groups so far."""
    do, gather, go, first_is_there = Balances.do, FairThreads.gather, Event(), Event()
    gathered: list[int] = []
    sizes: list[int] = []

    def waiting(self: Balances, asked: Sequence[Any]) -> Any:
        sizes.append(len(asked))
        first_is_there.set()
        assert go.wait(240)
        return do(self, asked)

    def counted(self: FairThreads, *given: Any) -> None:
        gather(self, *given)
        gathered.append(1)

    patch.setattr(Balances, "do", waiting)
    patch.setattr(Balances, "groups_at_once", 1)
    patch.setattr(FairThreads, "gather", counted)
    olive = client_of(scene, "operators/olive")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(olive.get_balance, POOL, "revenue")
        try:
            assert first_is_there.wait(240)
            yield gathered, sizes
        finally:
            go.set()


def at_once(scene: Scene, calls: Sequence[Callable[[], Balance]]) -> tuple[list[Future[Balance]], list[int]]:
    """Makes calls that wait together; returns what becomes of them, and the sizes of the groups."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(calls)) as threads:
        with held(scene, patch) as (gathered, sizes):
            found = [threads.submit(call) for call in calls]
            wait_until(lambda: len(gathered) == 1 + len(calls))
        for each in found:
            each.exception()
    return found, sizes


def test_each_has_its_own_balance_and_its_own_rights(scene: Scene) -> None:
    olive, irish = client_of(scene, "operators/olive"), client_of(scene, "collectives/irish")
    wanted = ["collective/irish", "commons", "held/irish", "collective/nobody", "collective/irish"]
    calls = [lambda account=account: olive.get_balance(POOL, account) for account in wanted]
    calls += [lambda account=account: irish.get_balance(POOL, account) for account in wanted[:2]]
    found, sizes = at_once(scene, calls)
    assert sizes == [1, 6]  # what may not be asked for is not
    balances = scene.balances()
    for place in (0, 1, 2, 4, 5):
        account = wanted[place % 5]
        balance = found[place].result()
        assert (balance.name, balance.amount_minor) == (f"pools/{POOL}/accounts/{account}", balances.get(account, 0))
        assert balance == olive.get_balance(POOL, account, log_size=balance.log_size)
    with pytest.raises(NotFoundError):
        found[3].result()
    with pytest.raises(PermissionDeniedError):
        found[6].result()


def test_pools_do_not_wait_for_each_other(scene: Scene) -> None:
    olive = client_of(scene, "operators/olive")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads, held(scene, patch) as (_, sizes):
        other = threads.submit(olive.get_balance, "nowhere", "revenue")
        wait_until(lambda: sizes == [1, 1])
    with pytest.raises(NotFoundError):
        other.result()


def test_what_befalls_the_work_befalls_each(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    olive = client_of(scene, "operators/olive")

    def broken(*_: Any) -> Any:
        raise LedgerCorruptError("the books", "are torn")

    monkeypatch.setattr("ledger.store.money.journal.latest_balances", broken)
    found, _ = at_once(scene, [lambda: olive.get_balance(POOL, "commons")] * 2)
    for each in found:
        with pytest.raises(ServiceError):
            each.result()
    assert olive.get_balance(POOL, "commons").amount_minor == scene.balances().get("commons", 0)


def test_a_key_that_is_revoked_while_its_call_waits_is_refused(scene: Scene) -> None:
    irish = client_of(scene, "collectives/irish")

    def revoked() -> Balance:
        return irish.get_balance(POOL, "collective/irish")

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads:
        with held(scene, patch) as (gathered, _):
            waiting = threads.submit(revoked)
            wait_until(lambda: len(gathered) == 2)
            for key in scene.operator.list_api_keys():
                if key.principal == "collectives/irish":
                    scene.operator.revoke_api_key(key.name.removeprefix("keys/"))
        with pytest.raises(UnauthenticatedError):
            waiting.result()


def test_calls_are_answered_where_grpc_has_other_parts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    olive = client_of(scene, "operators/olive")
    balance = olive.get_balance(POOL, "commons")
    monkeypatch.setattr(together, "_ARE_THERE", False)
    assert olive.get_balance(POOL, "commons") == balance
    assert scene.submit([event(2)], "b-2").accepted_count == 1


def test_each_call_has_its_line_in_the_log(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    olive = client_of(scene, "operators/olive")
    capfd.readouterr()
    at_once(scene, [lambda: olive.get_balance(POOL, "commons")] * 3)
    olive.get_balance(POOL, "commons")
    lines = [line for line in "".join(capfd.readouterr()).splitlines() if "AccountsService/GetBalance" in line]
    assert len(lines) == 5
    assert all("code=OK" in line or '"code": "OK"' in line for line in lines)
