"""What somebody says or gets is seen by them and by those who may: every reading call, and every page, by everyone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from itertools import product
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from ledger.store.desk.vault import add_key
from moiety import Client, InvalidArgumentError, Mode, Policy, UsageEvent
from moiety.v1.limits_pb2 import PlatformLimits
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_DISMISSED, OBJECTION_ANSWER_UPHELD
from services.access.keys import Principal
from services.access.permissions import PERMITTED
from services.console.routes import PAGES
from tests.support.browsing import signed_in
from tests.support.deployment import START, SteppedClock, deployed
from tests.support.fsck_scene import sign
from tests.support.paying import IBANS, account
from tests.support.scene import NOON, POOL, Scene, open_scene
from tests.support.wire import METHODS, Wire, request_of

pytestmark = pytest.mark.surface

OWNERS: Final = ("platforms/tunesmith", "platforms/songbird", "collectives/irish", "collectives/breton")
PLATFORMS, COLLECTIVES = OWNERS[:2], OWNERS[2:]
FOLK: Final = f"pools/{POOL}"
ROUNDS: Final = (f"{FOLK}/rounds/1", f"{FOLK}/rounds/2")
KINDS: Final = ("platform", "due", "credit", "collective", "held", "owing", "awaiting", "paying", "paid")
ACCOUNTS: Final = ("revenue", "commons", *(f"{kind}/{each.partition('/')[2]}" for kind in KINDS for each in OWNERS))


def mark_of(owner: str) -> str:
    """A word that only this owner's texts have."""
    return f"of{owner.partition('/')[2]}alone"


def usage(first: int) -> list[UsageEvent]:
    """Three events, of which the two collectives have different parts."""
    shares = {"irish": 613_700_000, "breton": 247_100_003}
    return [UsageEvent(UUID(int=first + number), NOON, 1, Mode.AI_ONLY, shares) for number in range(3)]


def fill(scene: Scene) -> None:
    """Have each say something of everything that it may, in words of its own, and hear of it."""
    operator = scene.operator
    for number, name in enumerate(PLATFORMS, 1):
        mark, short, platform = mark_of(name), name.partition("/")[2], scene.deployment.client(name)
        amount_minor = 7_654_321 + 11_117 * number
        platform.report_revenue(POOL, amount_minor, "EUR", request_id=f"{mark}-report", note=mark)
        operator.record_receipt(POOL, amount_minor, platform=short, request_id=f"{mark}-receipt", note=mark)
        operator.reverse_report(POOL, short, f"{mark}-report", 50_100 + number, request_id=f"{mark}-less", reason=mark)
        scene.submit(usage(1_000 * number), f"{mark}-batch", by=platform)
        platform.retract_usage(POOL, event_ids=[UUID(int=1_000 * number)], reason=mark, request_id=f"{mark}-back")
        with pytest.raises(InvalidArgumentError):
            scene.submit([UsageEvent(UUID(int=9), NOON, 1, Mode.AI_ONLY, {"nobody": 1})], f"{mark}-bad", by=platform)
        operator.set_tariff(POOL, "2026-01", platform=short, minimum_minor=55_000_000 + number)
        operator.update_platform_limits(short, PlatformLimits(events_per_day=777_000 + number))
        platform.create_webhook(f"{mark}-hook", FOLK, f"http://127.0.0.1:9/{mark}")
    for name in COLLECTIVES:
        mark, short = mark_of(name), name.partition("/")[2]
        operator.set_contact(name, f"{mark}@mail.example")
        operator.set_payee(short, account(IBANS[short], holder=mark))
        scene.deployment.client(name).create_webhook(f"{mark}-hook", FOLK, f"http://127.0.0.1:9/{mark}")
    for number, answer in enumerate((OBJECTION_ANSWER_DISMISSED, OBJECTION_ANSWER_UPHELD), 1):
        operator.calculate_round(POOL, request_id=f"q-{number}")
        for name in COLLECTIVES:
            scene.deployment.client(name).object_to_round(POOL, number, mark_of(name))
        for name in COLLECTIVES if answer == OBJECTION_ANSWER_DISMISSED else COLLECTIVES[1:]:
            scene.reviewer.answer_objection(POOL, number, name.partition("/")[2], answer, mark_of(name))
        if answer == OBJECTION_ANSWER_DISMISSED:
            scene.approve(number)
            move(scene)
    sign(scene.deployment)


def move(scene: Scene) -> None:
    """Have collectives be paid, split what they get, and be granted something; and have more usage and money."""
    for number, name in enumerate(COLLECTIVES, 1):
        mark, short = mark_of(name), name.partition("/")[2]
        scene.operator.record_payment(POOL, short, 1_234_500 + number, request_id=f"{mark}-paid", reference=mark)
        client: Client = scene.deployment.client(name)
        (own,) = client.list_allocations(POOL, 1)
        client.log_split(POOL, 1, amount_minor=own.amount_minor, line_count=2, split_root=bytes(32), rule=mark)
    scene.submit(usage(5_000), "more")
    scene.pay_in(1_000_003, "more")
    scene.operator.record_receipt(POOL, 1_000_003, platform="tunesmith", request_id="more")


@pytest.fixture(scope="module")
def scene(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    key: Path = tmp_path_factory.mktemp("sight") / "payee-key"
    add_key(key)
    settings: dict[str, Any] = {"payee_key_file": key, "webhook_networks": "127.0.0.0/8", "webhook_http": True}
    with deployed(shared_database_url, SteppedClock(START), **settings) as deployment:
        scene = open_scene(deployment, distribute=DISTRIBUTE_RECEIVED, policy=Policy(review_seconds=60))
        fill(scene)
        yield scene


@pytest.fixture(scope="module")
def secrets(scene: Scene) -> dict[str, set[str]]:
    """What is each owner's alone: its words, its bank's number, its amounts and weights."""
    found = {name: {mark_of(name)} for name in OWNERS}
    for name in COLLECTIVES:
        found[name].add(IBANS[name.partition("/")[2]])
        for number in (1, 2):
            lines = [each for each in scene.operator.list_allocations(POOL, number) if each.collective == name]
            found[name] |= {text for each in lines for text in (str(each.amount_minor), each.weight)}
    for balance in scene.operator.list_balances(POOL):
        of = balance.name.rpartition("/")[2]
        owner = next((name for name in OWNERS if name.endswith(f"/{of}")), None)
        if owner and balance.amount_minor:
            found[owner].add(str(abs(balance.amount_minor)))
    return found


def told(text: str, principal: str, secrets: dict[str, set[str]], asked: str) -> list[str]:
    """What of others is in an answer, and was not in the question."""
    others = {word for name, words in secrets.items() if name != principal for word in words} - secrets[principal]
    return [word for word in others if word not in asked and re.search(rf"(?<![\d.]){word}(?![\d.])", text)]


NAMES: Final = [
    *OWNERS, FOLK, *ROUNDS, "webhooks/none", f"{FOLK}/schedule", f"{FOLK}/limits", f"{FOLK}/memberships/items",
    *(f"{name}/{part}" for name in (*OWNERS, "operators/olive") for part in ("contact", "payee", "limits")),
    *(f"webhooks/{mark_of(name)}-hook" for name in OWNERS),
    *(f"{FOLK}/batches/{name.partition('/')[2]}~{mark_of(name)}-batch" for name in PLATFORMS),
    *(f"{FOLK}/accounts/{each}" for each in ACCOUNTS),
]  # fmt: skip
CHOICES: Final[dict[str, list[Any]]] = {
    "name": NAMES,
    "parent": [FOLK, "registry", *ROUNDS, *COLLECTIVES],
    "platform": ["", *PLATFORMS],
    "collective": ["", *COLLECTIVES],
    "account": ["", *ACCOUNTS],
    "event_id": [str(UUID(int=number)) for number in (1_001, 2_001)],
    "part": [1, 2, 3],
    "period": ["2026-01"],
    "leaf_index": list(range(8)),
    "newest_first": [False, True],
}


def requests(method: str) -> Iterator[Message]:
    """Every request of a method that names what there is, its own and others'."""
    fields = [field.name for field in METHODS[method].input_type.fields if field.name in CHOICES]
    for values in product(*(CHOICES[field] for field in fields)):
        yield request_of(method, **dict(zip(fields, values, strict=True)))


def answered(wire: Wire, method: str, request: Message) -> str:
    """All that a call is answered with, be it a refusal, as text and as it came."""
    found: list[Message] = []
    call = wire.open(method, request)
    try:
        if not METHODS[method].server_streaming:
            found = [call.result()]
        for each in call if METHODS[method].server_streaming else ():
            found.append(each)
            if method == "AuditService/WatchLeaves" and each.next_start == each.log_size:
                call.cancel()
                break
    except grpc.RpcError as error:
        return str(error)
    raw = b"".join(each.SerializeToString() for each in found).decode("latin-1")
    return raw + "".join(map(json_format.MessageToJson, found))


READING: Final = [method for method in METHODS if re.search("/(Get|List|Find|Preview|Replay|Watch)", method)]


@pytest.mark.parametrize("principal", OWNERS)
def test_no_call_tells_of_others(scene: Scene, secrets: dict[str, set[str]], principal: str) -> None:
    role, seen, leaks = Principal.parse(principal).role, "", []
    with Wire(scene.deployment.address, scene.deployment.key(principal)) as wire:
        for method in READING:
            for request in requests(method) if role in PERMITTED[f"/moiety.v1.{method}"] else ():
                answer, asked = answered(wire, method, request), str(request)
                seen += answer
                leaks += [(method, asked, word) for word in told(answer, principal, secrets, asked)]
    assert leaks == []
    assert {word for word in secrets[principal] if word in seen} == secrets[principal]


IDS: Final = {
    "pool": [POOL], "number": ["1", "2"], "leaf": ["5"], "digest": ["0" * 64], "collective": ["irish", "breton"],
    "run": ["jan"], "form": ["xml"], "account": ["main"], "link": ["x"], "token": ["x"],
}  # fmt: skip


def paths() -> Iterator[str]:
    """Every page that shows something, and each that is of somebody for both."""
    for page in PAGES:
        names = re.findall(r"{(\w+)}", page.path)
        for values in product(*(IDS[name] for name in names)) if page.show else ():
            path = page.path.format(**dict(zip(names, values, strict=True)))
            of_one = [f"{path}?collective={each.partition('/')[2]}" for each in COLLECTIVES]
            yield from (path, *of_one) if "/statement" in path else (path,)
    yield from (f"/{FOLK}/transfers?account={each}" for each in ACCOUNTS)


_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[.,\u202f\xa0](?=\d)")
"""Amounts on pages are in major units, with something between thousands."""


@pytest.mark.parametrize("principal", OWNERS)
def test_no_page_tells_of_others(scene: Scene, secrets: dict[str, set[str]], principal: str) -> None:
    browser = signed_in(scene.deployment, principal)
    seen, leaks = "", []
    for path in paths():
        answer = browser.http.get(f"http://{browser.address}{path}", allow_redirects=False, timeout=60)
        text = _BETWEEN_DIGITS.sub("", unescape(answer.text))
        seen += text
        leaks += [(path, word) for word in told(text, principal, secrets, path)]
    assert leaks == []
    assert any(word.isdecimal() and word in seen for word in secrets[principal])
