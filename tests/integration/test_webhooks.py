"""Webhooks: who registers what, what each is sent, in order and at least once, whatever the receiver does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack
from datetime import timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any
from uuid import uuid4

import grpc
import pytest
import sqlalchemy as sa

from audit.fsck import CheckReport, check_registry_log, read_registry
from ledger.acts.controls import Controls
from ledger.store.desk import deliveries, webhooks
from ledger.store.desk import tables as desk
from ledger.store.desk.retention import delete_expired
from ledger.store.desk.vault import add_key
from ledger.store.logs.bodies import Bodies
from ledger.store.postgres.transactions import read_time
from moiety import (
    AlreadyExistsError,
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    Mode,
    NotFoundError,
    PermissionDeniedError,
    UsageEvent,
)
from moiety.v1 import webhooks_pb2 as pb
from moiety.verbs.webhooks import make_webhook_secret
from services.api.webhooks import TESTS_AT_ONCE, TESTS_WAITING
from services.cli.app import main
from services.webhooks.addresses import Reach
from services.webhooks.delivery import Deliverer
from services.webhooks.posting import Answer, Poster
from tests.support.books import wait_until
from tests.support.browsing import signed_in
from tests.support.deployment import START, Deployment, SteppedClock, deployed
from tests.support.fsck_scene import report_of
from tests.support.http import ask
from tests.support.receiver import Receiver, answer, receiving
from tests.support.scene import NOON, POOL, Scene, open_scene
from tests.support.wire import Wire, refused, request_of


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings by which webhooks may lead to this machine."""
    path = tmp_path_factory.mktemp("webhooks") / "payee-key"
    add_key(path)
    return {"payee_key_file": path, "webhook_networks": "127.0.0.0/8", "webhook_http": True}


@pytest.fixture(scope="module")
def scene(shared_database_url: str, settings: dict[str, Any]) -> Iterator[Scene]:
    """One deployment for all tests that remove what they registered, which `receiver` does."""
    with deployed(shared_database_url, SteppedClock(START), **settings) as deployment:
        yield open_scene(deployment)


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    with receiving() as found:
        yield found
    if "scene" in request.fixturenames:
        operator: Client = request.getfixturevalue("scene").operator
        for webhook in operator.list_webhooks():
            operator.remove_webhook(webhook.name.removeprefix("webhooks/"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An id of a webhook that no other test uses."""
    return f"hook-{sha256(request.node.name.encode()).hexdigest()[:8]}"


def happen(scene: Scene, *, by: Client | None = None) -> None:
    """Have another entry in the log."""
    fresh = UsageEvent(uuid4(), NOON, 1, Mode.AI_ONLY, {})
    scene.submit([fresh], f"batch-{fresh.event_id}", by=by)


def check(connection: sa.Connection) -> CheckReport:
    """The check of the registry's log and tables."""
    return report_of(check_registry_log(connection, read_registry(connection), Bodies()))


def deliver(scene: Scene, deliverer: Deliverer | None = None) -> None:
    """Have everything sent that can be."""
    sender = deliverer or scene.deployment.running.parts.deliverer
    while turns := sender.run_once():
        assert not wait(turns, timeout=120).not_done


def leaves_of(scene: Scene) -> list[tuple[int, dict[str, Any]]]:
    return [(leaf.index, json.loads(leaf.entry)) for leaf in scene.operator.list_leaves(POOL)]


def test_a_webhook_is_sent_every_entry_in_order_signed_and_once(scene: Scene, receiver: Receiver, name: str) -> None:
    made = scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url, start=0)
    happen(scene)
    deliver(scene)
    leaves = list(scene.operator.list_leaves(POOL))
    assert receiver.ids() == [f"{POOL}/{leaf.index}" for leaf in leaves]
    for received, leaf in zip(receiver.received, leaves, strict=True):
        found = received.event
        assert received.path == "/hook?key=k"
        assert received.headers["content-type"].startswith("application/cloudevents+json")
        assert received.is_signed_by(made.secret)
        assert not received.is_signed_by(make_webhook_secret())
        assert (found["specversion"], found["source"]) == ("1.0", f"log.example/pools/{POOL}")
        assert (found["type"], found["time"]) == (f"moiety.{found['data']['type']}", found["data"]["time"])
        assert found["leafhash"] == leaf.hash.hex()
        # The entry is there byte for byte, so that whoever receives it can prove it against a checkpoint.
        assert leaf.entry in received.body
        assert sha256(b"\0" + leaf.entry).digest() == leaf.hash
    deliver(scene)
    assert len(receiver.received) == len(leaves)
    sent = scene.operator.get_webhook(name).delivery
    assert (sent.next_leaf, sent.log_size, sent.event_count) == (len(leaves), len(leaves), len(leaves))
    assert (sent.last_status, sent.last_problem, sent.failure_count) == (204, "", 0)


def test_everyone_is_sent_what_they_may_see_and_no_more(scene: Scene, receiver: Receiver) -> None:
    """A collective's payment, and a posting that holds back another's amount, are nobody else's."""
    songbird = scene.deployment.client("platforms/songbird")
    clients = {name: scene.deployment.client(name) for name in ("collectives/irish", "collectives/breton")}
    clients["platforms/songbird"] = songbird
    for name, client in clients.items():
        identity = name.partition("/")[2]
        client.create_webhook(identity, f"pools/{POOL}", receiver.url.replace("/hook", f"/{identity}"), start=0)
    scene.deployment.client("auditors/ada")
    scene.operator.create_webhook(
        "postings", f"pools/{POOL}", receiver.url.replace("/hook", "/postings"), types=["posting.v1"], start=0,
        owner="auditors/ada",
    )  # fmt: skip
    happen(scene)
    happen(scene, by=songbird)
    scene.pay_in(100_000, "january")
    scene.cut("r")
    scene.operator.record_payment(POOL, "irish", 10, request_id="pay-irish", reference="a")
    deliver(scene)
    by_path = {
        path: [each.event for each in receiver.received if each.path.startswith(f"/{path}?")]
        for path in ("irish", "breton", "songbird", "postings")
    }
    for name, client in clients.items():
        identity = name.partition("/")[2]
        watched = []
        for leaf in client.watch(POOL):
            watched.append(leaf)
            if leaf.index >= [index for index, entry in leaves_of(scene) if entry["type"] == "posting.v1"][-1]:
                break
        sent = [each for each in by_path[identity] if int(each["sequence"]) <= watched[-1].index]
        assert [each["leafhash"] for each in sent] == [leaf.hash.hex() for leaf in watched]
        assert [each.get("data") for each in sent] == [
            json.loads(leaf.entry) if leaf.entry else None for leaf in watched
        ]
    assert "moiety.payment.v1" in {each["type"] for each in by_path["irish"]}
    assert "moiety.payment.v1" not in {each["type"] for each in by_path["breton"] + by_path["songbird"]}
    assert [each["type"] for each in by_path["postings"]] == ["moiety.posting.v1"]


def test_a_receiver_that_fails_is_asked_again_later_and_gets_everything_in_order(
    scene: Scene, receiver: Receiver, name: str
) -> None:
    scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url)
    for _ in range(4):
        happen(scene)
    receiver.answers = [answer(200), answer(500), answer(302, {"location": "/"}), answer(503, {"retry-after": "600"})]
    pauses = []
    for _ in range(3):
        deliver(scene)
        found = scene.operator.get_webhook(name).delivery
        pauses.append((found.next_attempt_time.ToDatetime() - found.last_attempt_time.ToDatetime()).total_seconds())
        assert found.failure_count == len(pauses)
        scene.deployment.clock.advance(seconds=pauses[-1])
    assert found.last_problem == "answered 503"
    assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2
    assert pauses[2] == 600
    deliver(scene)
    ids = receiver.ids()
    assert ids == [ids[0], *[ids[1]] * 4, *ids[5:]]
    assert [int(each.rpartition("/")[2]) for each in dict.fromkeys(ids)] == list(
        range(int(ids[0].rpartition("/")[2]), len(leaves_of(scene)))
    )
    again = {each.headers["webhook-id"] for each in receiver.received if each.event["id"] == ids[1]}
    assert len(again) == 1
    assert scene.operator.get_webhook(name).delivery.failure_count == 0


def test_a_receiver_that_is_gone_is_left_alone_until_it_is_resumed(scene: Scene, receiver: Receiver, name: str) -> None:
    scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url)
    happen(scene)
    receiver.answers = [answer(410)]
    deliver(scene)
    scene.deployment.clock.advance(days=30)
    deliver(scene)
    assert len(receiver.received) == 1
    assert scene.operator.get_webhook(name).delivery.is_gone
    scene.operator.resume_webhook(name)
    deliver(scene)
    assert receiver.ids()[1:] == receiver.ids()[:1]


def test_whoever_is_killed_between_sending_and_noting_sends_again_once_another_may(
    scene: Scene, receiver: Receiver, name: str
) -> None:
    scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url)
    happen(scene)
    happen(scene)
    parts = scene.deployment.running.parts

    class Dies(Poster):
        def post(self, *args: Any) -> Answer:
            super().post(*args)
            raise SystemExit

    killed = Deliverer(parts.database, parts.readers, parts.vault, Dies(Reach.of(parts.settings)), parts.clock)
    killed._let_go = lambda *_: None  # type: ignore[method-assign]  # a process that is killed does not clean up
    (turn,) = killed.run_once()
    assert isinstance(turn.exception(timeout=120), SystemExit)
    deliver(scene)
    assert len(receiver.received) == 1  # as far as anyone knows, the other one still sends
    scene.deployment.clock.advance(seconds=deliveries.HELD.total_seconds())
    deliver(scene)
    ids = receiver.ids()
    assert ids[0] == ids[1]
    assert [each.headers["webhook-id"] for each in receiver.received[:2]] == [f"msg_{name}_" + ids[0].split("/")[1]] * 2
    assert len(ids) == 3
    killed.close()


def test_one_process_at_a_time_sends_to_a_webhook_and_a_late_one_moves_nothing(
    scene: Scene, receiver: Receiver, name: str
) -> None:
    scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url)
    database = scene.deployment.running.parts.database
    with database.transaction() as first:
        now = read_time(first)
        held = deliveries.hold(first, name, "first", now)
        assert held is not None
        with database.transaction() as second:  # it does not wait for the first
            assert deliveries.hold(second, name, "second", now) is None
    later = now + deliveries.HELD
    with database.transaction() as second:
        assert deliveries.hold(second, name, "second", later) is not None
        assert deliveries.move_on(second, name, "second", held.next_leaf + 1, later)
        assert not deliveries.move_on(second, name, "first", held.next_leaf + 5, later)
    assert scene.operator.get_webhook(name).delivery.next_leaf == held.next_leaf + 1


def test_pausing_holds_events_back_and_removing_ends_them(scene: Scene, receiver: Receiver, name: str) -> None:
    scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url)
    assert scene.operator.pause_webhook(name).state == pb.WEBHOOK_STATE_PAUSED
    happen(scene)
    deliver(scene)
    assert not receiver.received
    scene.operator.resume_webhook(name)
    deliver(scene)
    assert len(receiver.received) >= 1
    sent = len(receiver.received)
    assert scene.operator.remove_webhook(name) == scene.operator.remove_webhook(name)
    happen(scene)
    deliver(scene)
    assert len(receiver.received) == sent
    with pytest.raises(FailedPreconditionError, match="was removed"):
        scene.operator.resume_webhook(name)
    with pytest.raises(FailedPreconditionError):
        scene.operator.test_webhook(name)
    with pytest.raises(FailedPreconditionError, match="under another id"):
        scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url)


def test_a_new_secret_signs_with_the_old_one_for_a_day(scene: Scene, receiver: Receiver, name: str) -> None:
    old = scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url).secret
    new = make_webhook_secret()
    assert scene.operator.rotate_webhook_secret(name, secret=new).secret == new
    assert (
        scene.operator.rotate_webhook_secret(name, secret=new).leaf_index == scene.operator.get_webhook(name).leaf_index
    )
    assert scene.operator.test_webhook(name) == pb.TestWebhookResponse(status=204)
    scene.deployment.clock.advance(days=1)
    receiver.answers = [answer(204), answer(404)]
    scene.operator.test_webhook(name)
    first, second = receiver.received
    assert (first.is_signed_by(new), first.is_signed_by(old)) == (True, True)
    assert (second.is_signed_by(new), second.is_signed_by(old)) == (True, False)
    assert (first.event["type"], first.event["data"]) == ("moiety.test", {})
    assert scene.operator.test_webhook(name).problem == "answered 404"
    assert scene.operator.get_webhook(name).delivery.event_count == 0


def test_only_the_owner_and_operators_register_see_and_change(scene: Scene, receiver: Receiver) -> None:
    songbird, irish = (scene.deployment.client(name) for name in ("platforms/songbird", "collectives/irish"))
    log = f"pools/{POOL}"
    made = songbird.create_webhook("bird", log, receiver.url)
    assert (made.owner, made.url, made.origin) == (
        "platforms/songbird", receiver.url, f"http://127.0.0.1:{receiver.port}",
    )  # fmt: skip
    for act in (irish.get_webhook, irish.pause_webhook, irish.rotate_webhook_secret, irish.test_webhook):
        with pytest.raises(PermissionDeniedError):
            act("bird")
    for secret in ("", make_webhook_secret()):
        with pytest.raises(AlreadyExistsError):
            irish.create_webhook("bird", log, receiver.url, secret=secret)
    with pytest.raises(PermissionDeniedError):
        irish.create_webhook("mine", log, receiver.url, owner="platforms/songbird")
    with pytest.raises(PermissionDeniedError):
        irish.create_webhook("mine", "registry", receiver.url)
    with pytest.raises(PermissionDeniedError):
        scene.operator.create_webhook("mine", "registry", receiver.url, owner="platforms/songbird")
    auditor = scene.deployment.client("auditors/ada")
    with pytest.raises(PermissionDeniedError):
        auditor.create_webhook("mine", log, receiver.url)
    (shown,) = [each for each in auditor.list_webhooks() if each.name == "webhooks/bird"]
    assert (shown.url, shown.origin, shown.secret) == ("", made.origin, "")
    assert {each.owner for each in irish.list_webhooks()} <= {"collectives/irish"}
    own = [(each.name, each.url, each.secret) for each in songbird.list_webhooks() if each.state == made.state]
    assert own == [("webhooks/bird", receiver.url, "")]
    assert scene.operator.pause_webhook("bird").state == pb.WEBHOOK_STATE_PAUSED
    for number in range(webhooks.MAX_OF_OWNER - 1):
        songbird.create_webhook(f"bird-{number}", log, receiver.url)
    with pytest.raises(FailedPreconditionError, match="may have no more"):
        songbird.create_webhook("bird-too-many", log, receiver.url)
    songbird.remove_webhook("bird-1")
    with pytest.raises(AlreadyExistsError):
        irish.create_webhook("bird-1", log, receiver.url)
    with pytest.raises(FailedPreconditionError, match="under another id"):
        songbird.create_webhook("bird-1", log, receiver.url)


def test_bad_requests_say_what_is_wrong(scene: Scene, receiver: Receiver, name: str) -> None:
    create, log = scene.operator.create_webhook, f"pools/{POOL}"
    for given, field in (
        (("Hook", log, receiver.url), "webhook_id"),
        ((name, "pools/none", receiver.url), "none"),
        ((name, log, "https://10.0.0.1/"), "url"),
    ):
        with pytest.raises((InvalidArgumentError, NotFoundError), match=field):
            create(*given)
    with pytest.raises(InvalidArgumentError, match="types"):
        create(name, log, receiver.url, types=["collective.v1"])
    with pytest.raises(InvalidArgumentError, match="start"):
        create(name, log, receiver.url, start=10**9)
    with pytest.raises(InvalidArgumentError, match="secret") as refused:
        create(name, log, receiver.url, secret="whsec_geheim")
    assert "geheim" not in str(refused.value)
    with pytest.raises(NotFoundError):
        create(name, log, receiver.url, owner="platforms/nobody")
    secret = make_webhook_secret()
    made = create(name, log, receiver.url, types=["round.v1", "posting.v1", "round.v1"], secret=secret)
    assert list(made.types) == ["posting.v1", "round.v1"]
    assert create(name, log, receiver.url, types=["round.v1", "posting.v1"], secret=secret) == made
    with pytest.raises(AlreadyExistsError):
        create(name, log, receiver.url, types=["round.v1"], secret=secret)
    with pytest.raises(AlreadyExistsError):
        create(name, log, receiver.url + "x", types=["round.v1", "posting.v1"], secret=secret)
    with pytest.raises(InvalidArgumentError, match="another webhook's"):
        create("other", log, receiver.url, secret=secret)


def test_two_people_decide_where_the_controls_say_so_but_one_may_stop(
    deploy: Callable[..., Deployment], settings: dict[str, Any], receiver: Receiver
) -> None:
    scene = open_scene(deploy(controls=Controls.of_one().model_copy(update={"people": 2, "registry": 2}), **settings))
    songbird = scene.deployment.client("platforms/songbird")
    secret = make_webhook_secret()
    waits = songbird.create_webhook("bird", f"pools/{POOL}", receiver.url, secret=secret)
    assert songbird.create_webhook("bird", f"pools/{POOL}", receiver.url, secret=secret).proposal == waits.proposal
    assert waits.proposal
    with pytest.raises(NotFoundError):
        songbird.get_webhook("bird")
    scene.operator.approve_proposal(waits.proposal)
    happen(scene, by=songbird)
    deliver(scene)
    assert receiver.received
    assert all(each.is_signed_by(secret) for each in receiver.received)
    assert not songbird.pause_webhook("bird").proposal
    assert songbird.resume_webhook("bird").proposal
    assert songbird.get_webhook("bird").state == pb.WEBHOOK_STATE_PAUSED
    assert not scene.operator.remove_webhook("bird").proposal


def test_addresses_and_secrets_are_nowhere_in_the_clear_and_are_deleted_when_no_longer_used(
    deploy: Callable[..., Deployment], settings: dict[str, Any], receiver: Receiver, owner: sa.Engine, name: str
) -> None:
    scene = open_scene(deploy(**settings))
    made = scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url)
    scene.operator.rotate_webhook_secret(name)
    scene.operator.create_webhook("over", f"pools/{POOL}", receiver.url)
    scene.operator.remove_webhook("over")
    secret = base64.b64decode(made.secret.removeprefix("whsec_"))
    with owner.connect() as connection:
        logged = b"".join(bytes(entry) for (entry,) in connection.exec_driver_sql("SELECT entry FROM leaf"))
        kept = b"".join(bytes(sealed) for (sealed,) in connection.execute(sa.select(desk.webhook_details.c.sealed)))
    assert f'"origin":"http://127.0.0.1:{receiver.port}"'.encode() in logged
    for hidden in (secret, made.secret.encode(), b"key=k"):
        assert hidden not in logged
        assert hidden not in kept
    with owner.begin() as connection:
        now = scene.deployment.clock() + timedelta(days=31)
        connection.exec_driver_sql(f"SET LOCAL ROLE {desk.DESK_ROLE}")
        deleted = delete_expired(connection, now)
    assert (deleted["webhook_details"], deleted["webhook_delivery"]) == (2, 1)
    assert scene.operator.test_webhook(name).status == 204
    with scene.deployment.running.parts.database.transaction() as connection:
        assert scene.deployment.running.parts.vault.seal_anew(connection) >= 1
    with owner.connect() as connection:
        assert not check(connection).findings
        connection.exec_driver_sql("UPDATE webhook SET owner = 'platforms/songbird' WHERE name = 'over'")
        assert {each.where.table for each in check(connection).findings} == {"webhook"}


def test_the_console_and_the_metrics_show_a_webhook_that_fails(scene: Scene, receiver: Receiver, name: str) -> None:
    scene.operator.create_webhook(name, f"pools/{POOL}", receiver.url, owner="platforms/songbird")
    receiver.answers = [answer(500), answer(404), answer(204)]
    browser = signed_in(scene.deployment, "platforms/songbird")
    happen(scene, by=scene.deployment.client("platforms/songbird"))
    deliver(scene)
    shown = browser.open("/webhooks")
    assert name in shown.text
    assert "answered 500" in shown.text
    german = signed_in(scene.deployment, "platforms/songbird", "de")
    assert "antwortete mit 500" in german.open("/webhooks").text
    assert "key=k" not in shown.html
    scene.deployment.clock.advance(seconds=90)
    metrics = ask(scene.deployment.running.http_address, "/metrics").text
    assert "moiety_webhooks_failing 1.0" in metrics
    assert "moiety_webhook_lag_seconds 90.0" in metrics
    assert "answered 404" in browser.send("/webhooks", act="test", name=f"webhooks/{name}").text
    browser.send("/webhooks", act="test", name=f"webhooks/{name}")
    assert receiver.received[-1].event["type"] == "moiety.test"
    assert signed_in(scene.deployment, "auditors/ada").open("/webhooks").status == 200
    others = signed_in(scene.deployment, "collectives/irish")
    assert name not in others.open("/webhooks").text
    others.send("/webhooks", act="remove", name=f"webhooks/{name}")
    assert scene.operator.get_webhook(name).state == pb.WEBHOOK_STATE_ACTIVE
    browser.send("/webhooks", act="remove", name=f"webhooks/{name}")
    assert scene.operator.get_webhook(name).state == pb.WEBHOOK_STATE_REMOVED


def test_a_suspended_operator_is_sent_nothing(scene: Scene, receiver: Receiver, name: str) -> None:
    boss = scene.deployment.client("operators/boss")
    boss.create_webhook(name, f"pools/{POOL}", receiver.url)
    scene.operator.create_webhook("registry", "registry", receiver.url)
    scene.operator.update_principal("operators/boss", suspended=True)
    happen(scene)
    deliver(scene)
    assert {each.event["source"] for each in receiver.received} == {"log.example/registry"}
    assert scene.operator.get_webhook(name).delivery.last_problem == "its owner is suspended"


def test_the_command_registers_tries_shows_and_removes(
    scene: Scene, receiver: Receiver, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        access = ["--address", scene.deployment.address, "--api-key", scene.deployment.key("operators/olive")]
        with pytest.raises(SystemExit) as ended:
            main(["webhook", *arguments, *access])
        assert ended.value.code == code
        return capsys.readouterr().out

    assert "whsec_" in run("create", name, POOL, receiver.url, "--type", "usage.v1")
    assert f"{name} took it: 204" in run("test", name)
    receiver.answers = [answer(500)]
    assert f"{name} took nothing: answered 500" in run("test", name, code=1)
    assert "127.0.0.1" in run("list")
    assert "next leaf" in run("show", name)
    assert "whsec_" in run("rotate", name)
    assert "is paused at leaf" in run("pause", name)
    assert "goes on at leaf" in run("resume", name)
    assert "is removed" in run("remove", name)


def test_receivers_that_never_answer_keep_no_threads_from_other_calls(
    scene: Scene, receiver: Receiver, name: str
) -> None:
    owners, stopped = ("platforms/tunesmith", "collectives/irish"), Event()

    def never(_: BaseHTTPRequestHandler) -> None:
        stopped.wait(60)

    receiver.answers = [never] * 100
    with ExitStack() as stack:
        stack.callback(stopped.set)
        under_way = []
        for owner in owners:
            webhook = f"{name}-{owner.partition('/')[2]}"
            scene.operator.create_webhook(webhook, f"pools/{POOL}", receiver.url, owner=owner)
            wire = stack.enter_context(Wire(scene.deployment.address, scene.deployment.key(owner)))
            asked = request_of("WebhooksService/TestWebhook", name=f"webhooks/{webhook}")
            under_way += [wire.open("WebhooksService/TestWebhook", asked) for _ in range(24)]
        kept = TESTS_AT_ONCE + TESTS_WAITING
        wait_until(lambda: sum(each.done() for each in under_way) == len(under_way) - kept)
        ada = stack.enter_context(Wire(scene.deployment.address, scene.deployment.key("auditors/ada")))
        assert ada.call("RegistryService/ListPools").pools
        wait_until(lambda: len(receiver.received) == TESTS_AT_ONCE)
        refusals = {refused(each.result).code for each in under_way if each.done()}
        assert refusals == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for each in under_way:
            each.cancel()
