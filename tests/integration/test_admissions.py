"""Platforms report to the pools that admitted them, and to no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ledger.acts.controls import Controls
from ledger.acts.entries import DecisionContent
from ledger.errors import StateError
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.pools.admissions import admitted_platforms
from ledger.store.pools.pools import pool_ref
from moiety import (
    AccountDetails,
    BankAccount,
    Client,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    Method,
    NotFoundError,
    PermissionDeniedError,
    Platform,
    Policy,
    Pool,
)
from moiety.keys import make_key
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from tests.support.deployment import FOUNDERS, Deployment
from tests.support.paying import payee_key
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    scene = open_scene(deployment)
    scene.operator.create_platform("stranger", Platform(display_name="Stranger"))
    return scene


@pytest.fixture
def stranger(scene: Scene) -> Client:
    """A platform that the pool has not admitted."""
    return scene.deployment.client("platforms/stranger")


def submit(by: Client, number: int, pool: str = POOL) -> object:
    return by.submit_events(pool, [event(number)], METHOD, batch_id=f"b-{number}")


def test_a_platform_that_was_not_admitted_reports_nothing(scene: Scene, stranger: Client) -> None:
    size = scene.operator.get_pool(POOL).log_size
    reports: list[Callable[[], Any]] = [
        lambda: submit(stranger, 1),
        lambda: stranger.submit_events(POOL, [event(2)], METHOD, batch_id="v", validate_only=True),
        lambda: stranger.report_revenue(POOL, 5, "EUR", request_id="r"),
        lambda: stranger.set_id_scheme(POOL, "ORDERED"),
    ]
    for report in reports:
        with pytest.raises(FailedPreconditionError, match="is not admitted to pools/folk"):
            report()
    assert scene.operator.get_pool(POOL).log_size == size


def test_admitted_it_reports_and_expelled_it_neither_reports_nor_retracts(scene: Scene, stranger: Client) -> None:
    assert scene.operator.admit_platform(POOL, "stranger").admitted
    submit(stranger, 1)
    stranger.report_revenue(POOL, 500, "EUR", request_id="r")
    assert not scene.operator.expel_platform(POOL, "stranger").admitted
    with pytest.raises(FailedPreconditionError, match="is not admitted"):
        submit(stranger, 2)
    # What was recorded is answered as before. What was paid out by it is no longer its to take away.
    submit(stranger, 1)
    stranger.report_revenue(POOL, 500, "EUR", request_id="r")
    with pytest.raises(FailedPreconditionError, match="is not admitted"):
        stranger.retract_usage(POOL, request_id="t", reason="wrong", batch_id="b-1")
    scene.operator.admit_platform(POOL, "stranger")
    assert stranger.retract_usage(POOL, request_id="t", reason="wrong", batch_id="b-1")
    scene.operator.expel_platform(POOL, "stranger")
    assert stranger.retract_usage(POOL, request_id="t", reason="wrong", batch_id="b-1")
    scene.fill()
    scene.cut("q")
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


def test_an_expulsion_among_batches_lets_none_in_after_it(scene: Scene) -> None:
    """In one order: whichever batch is in the log comes before the leaf that ends the admission."""
    scene.operator.admit_platform(POOL, "stranger")
    clients = [scene.deployment.client("platforms/stranger") for _ in range(4)]

    def report(place: int) -> int:
        for number in range(100):
            try:
                submit(clients[place], 1000 * (place + 1) + number)
            except FailedPreconditionError:
                return number
        return -1

    with ThreadPoolExecutor(5) as pool:
        ended = [pool.submit(report, place) for place in range(4)]
        pool.submit(scene.operator.expel_platform, POOL, "stranger").result()
        accepted = [each.result() for each in ended]
    assert min(accepted) >= 0
    scene.pay_in(100, "r")
    submit(scene.platform, 1)
    scene.cut("q")
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


def test_admitting_twice_and_expelling_twice_changes_nothing(scene: Scene) -> None:
    sizes = []
    for act in (scene.operator.admit_platform, scene.operator.expel_platform):
        for _ in range(2):
            act(POOL, "stranger")
            sizes.append(scene.operator.get_pool(POOL).log_size)
    assert [after - before for before, after in pairwise(sizes)] == [0, 1, 0]


def test_who_is_admitted_is_shown_to_whom_it_concerns(scene: Scene, stranger: Client) -> None:
    both = ["platforms/songbird", "platforms/tunesmith"]
    assert list(scene.operator.get_pool(POOL).platforms) == both
    assert list(scene.deployment.client("auditors/ada").get_pool(POOL).platforms) == both
    assert list(scene.platform.get_pool(POOL).platforms) == ["platforms/tunesmith"]
    assert not stranger.get_pool(POOL).platforms
    assert not scene.deployment.client("collectives/irish").get_pool(POOL).platforms


def test_a_pool_admits_only_what_is_registered(scene: Scene) -> None:
    opened = Pool(display_name="Sea", currency="EUR", policy=Policy(), platforms=["platforms/nobody"])
    acts: list[Callable[[], Any]] = [
        lambda: scene.operator.create_pool("sea", opened),
        lambda: scene.operator.admit_platform(POOL, "nobody"),
        lambda: scene.operator.admit_platform("nowhere", "stranger"),
        lambda: scene.operator.admit_platform(POOL, "nobody", validate_only=True),
    ]
    for act in acts:
        with pytest.raises(NotFoundError):
            act()
    many = Pool(display_name="Sea", currency="EUR", policy=Policy(), platforms=["platforms/a"] * 501)
    with pytest.raises(InvalidArgumentError, match="at most 500"):
        scene.operator.create_pool("sea", many)


def test_no_act_names_more_than_an_entry_has_room_for(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    scene = open_scene(deploy(payee_key_file=payee_key(tmp_path)))
    names = [f"p{number}" for number in range(501)]
    ours = AccountDetails(holder="T", town="T", country="IE", currency="EUR", iban="DE89370400440532013000")
    account = BankAccount(display_name="M", details=ours, pools=[f"pools/{name}" for name in names])
    acts: list[Callable[[], Any]] = [
        lambda: scene.operator.create_api_key("collectives/irish", make_key().hash, pools=names),
        lambda: scene.operator.set_bank_account("main", account),
    ]
    for act in acts:
        with pytest.raises(InvalidArgumentError, match=r"pools: must be at most 500, got 501"):
            act()
    reason = "r" * 65_536
    with scene.deployment.running.parts.database.transaction() as connection, pytest.raises(StateError) as caught:
        log.append_now(connection, REGISTRY, [DecisionContent(subject=1, subject_hash="", decision="", reason=reason)])
    assert (caught.value.subject, caught.value.kind) == ("registry", "ENTRY_TOO_LARGE")


@pytest.mark.parametrize("who", ["platforms/stranger", "collectives/irish", "auditors/ada"])
def test_operators_alone_admit(scene: Scene, who: str) -> None:
    with pytest.raises(PermissionDeniedError):
        scene.deployment.client(who).admit_platform(POOL, "stranger")


@pytest.fixture
def founders(deploy: Callable[..., Deployment]) -> Iterator[tuple[Deployment, Client, Client]]:
    """A deployment where weights need two people, and its founders."""
    deployment = deploy(controls=Controls.of_two())
    with ExitStack() as stack:
        olive, otto = (stack.enter_context(Client(deployment.address, each.key.text)) for each in FOUNDERS)
        yield deployment, olive, otto


def test_one_operator_alone_admits_nobody(founders: tuple[Deployment, Client, Client]) -> None:
    deployment, olive, otto = founders

    def together(proposed: Any) -> None:
        otto.approve_proposal(proposed.proposal)

    for name in ("acme", "zen"):
        together(olive.create_platform(name, Platform(display_name=name)))
    together(olive.create_collective("irish", Collective(display_name="Irish")))
    policy = Policy(review_seconds=60)
    opened = Pool(display_name="Folk", currency="EUR", policy=policy, platforms=["platforms/acme"])
    together(olive.create_pool(POOL, opened))
    together(olive.create_method(POOL, METHOD, Method(display_name="n-gram votes", confidence_ppm=1_000_000)))
    waiting = olive.admit_platform(POOL, "zen")
    assert waiting.admitted
    assert waiting.proposal.startswith("pools/folk/proposals/")
    assert olive.admit_platform(POOL, "zen").proposal == waiting.proposal
    zen = deployment.client("platforms/zen")
    with pytest.raises(FailedPreconditionError, match="is not admitted"):
        submit(zen, 1, POOL)
    with pytest.raises(FailedPreconditionError, match="cannot decide what it proposed"):
        olive.approve_proposal(waiting.proposal)
    together(waiting)
    zen.submit_events(POOL, events(range(3)), METHOD, batch_id="b")
    with deployment.running.parts.database.transaction() as connection:
        assert admitted_platforms(connection, pool_ref(connection, POOL)) == ["acme", "zen"]
