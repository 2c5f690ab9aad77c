"""Usage in, both ways, exactly once twice over: by batch and by event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from queue import SimpleQueue
from typing import Any, Final
from uuid import UUID

import grpc
import pyarrow as pa
import pytest
import sqlalchemy as sa

from ledger.usage.format import MAX_BODY_BYTES, MAX_EVENTS
from moiety import (
    BatchRefusedError,
    InvalidArgumentError,
    Method,
    Mode,
    NotFoundError,
    Policy,
    Pool,
    Receipt,
    UsageEvent,
    batch_of,
    usage_batches,
)
from moiety.v1 import usage_pb2 as pb
from tests.support.batches import Event, body_of, event_id, record_batch, some_events, stream
from tests.support.books import require_sound_log, row_counts
from tests.support.deployment import Deployment, issue_key
from tests.support.fsck_scene import findings
from tests.support.scene import METHOD, NAMED_PLATFORMS, NANO, NOON, POOL, Scene, event, events, open_scene
from tests.support.wire import Refusal, Wire, refusal_of, refused, request_of

APPEND: Final = "UsageService/AppendUsage"


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture(scope="module")
def refusing(shared_deployment: Deployment) -> Scene:
    """One for all tests in which everything is refused."""
    return open_scene(shared_deployment)


@pytest.fixture
def refusing_wire(refusing: Scene) -> Iterator[Wire]:
    with Wire(refusing.deployment.address, refusing.deployment.key("platforms/tunesmith")) as wire:
        yield wire


@pytest.fixture
def wire(scene: Scene) -> Iterator[Wire]:
    with Wire(scene.deployment.address, scene.deployment.key("platforms/tunesmith")) as wire:
        yield wire


def arrow(usage: list[UsageEvent]) -> bytes:
    (body,) = usage_batches(batch_of(usage))
    return body


def append_request(body: bytes, batch_id: str, **fields: Any) -> pb.AppendUsageRequest:
    named = {"parent": f"pools/{POOL}", "method_id": METHOD, **fields}
    request: pb.AppendUsageRequest = request_of(APPEND, batch_id=batch_id, arrow_stream=body, **named)
    return request


def append(wire: Wire, body: bytes, batch_id: str, **fields: str) -> pb.Receipt:
    (answer,) = wire.call(APPEND, append_request(body, batch_id, **fields))
    assert answer.batch_id == batch_id
    assert answer.HasField("receipt"), answer.error
    receipt: pb.Receipt = answer.receipt
    return receipt


def refused_batch(wire: Wire, body: bytes, batch_id: str = "b", **fields: str) -> Refusal:
    (answer,) = wire.call(APPEND, append_request(body, batch_id, **fields))
    return refusal_of(answer.error)


def by_rows(scene: Scene, _: Wire, usage: list[UsageEvent], batch_id: str) -> Receipt:
    return scene.submit(usage, batch_id)


def by_arrow(_: Scene, wire: Wire, usage: list[UsageEvent], batch_id: str) -> Receipt:
    return append(wire, arrow(usage), batch_id)


WAYS: Final = pytest.mark.parametrize("submit", [by_rows, by_arrow])
Submit = Callable[[Scene, Wire, list[UsageEvent], str], Receipt]


@WAYS
def test_a_batch_that_comes_again_gets_its_first_receipt_and_changes_nothing(
    scene: Scene, wire: Wire, owner: sa.Engine, submit: Submit
) -> None:
    first = submit(scene, wire, events(range(10)), "march")
    before = row_counts(owner)
    assert [submit(scene, wire, events(range(10)), "march") for _ in range(3)] == [first] * 3
    assert row_counts(owner) == before
    assert (first.accepted_count, first.duplicate_count) == (10, 0)


@WAYS
def test_the_first_receipt_outlives_the_process_that_gave_it(
    scene: Scene, deploy: Callable[..., Deployment], submit: Submit
) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    with Wire(scene.deployment.address, key) as wire:
        first = submit(scene, wire, events(range(10)), "march")
    other = deploy()
    scene.deployment.clock.advance(days=1)
    with Wire(other.address, key) as wire:
        assert wire.call("UsageService/GetBatch", name=first.name) == first
        again = Scene(other, scene.operator, scene.reviewer, other.client("platforms/tunesmith"))
        assert submit(again, wire, events(range(10)), "march") == first


@WAYS
def test_a_batch_id_with_other_events_is_refused_and_nothing_of_it_is_kept(
    scene: Scene, wire: Wire, owner: sa.Engine, submit: Submit
) -> None:
    submit(scene, wire, events(range(10)), "march")
    before = row_counts(owner)
    assert refused_batch(wire, arrow(events(range(11))), "march").fields == ["batch_id"]
    with pytest.raises(InvalidArgumentError) as caught:
        scene.submit(events(range(11)), "march")
    assert [violation.field for violation in caught.value.violations] == ["batch_id"]
    assert caught.value.reason == "ID_REUSED"
    assert row_counts(owner) == before


def test_a_batch_comes_again_under_its_own_method_only(scene: Scene) -> None:
    scene.operator.create_method(POOL, "other", Method(display_name="Other", confidence_ppm=1_000_000))
    first = scene.submit([event(1)], "b")
    with pytest.raises(InvalidArgumentError, match=f"recorded under the method {METHOD}") as caught:
        scene.platform.submit_events(POOL, [event(1)], "other", batch_id="b")
    assert caught.value.reason == "ID_REUSED"
    assert scene.submit([event(1)], "b") == first


def test_a_batch_id_belongs_to_one_platform_in_one_pool(scene: Scene) -> None:
    songbird = scene.deployment.client("platforms/songbird")
    scene.operator.create_pool(
        "sea", Pool(display_name="Sea songs", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    scene.operator.create_method("sea", METHOD, Method(display_name="votes", confidence_ppm=1))
    receipts = [
        scene.submit([event(1)], "march"),
        scene.submit([event(2)], "march", by=songbird),
        scene.platform.submit_events("sea", [event(3)], METHOD, batch_id="march"),
    ]
    assert len({receipt.name for receipt in receipts}) == 3
    assert [receipt.accepted_count for receipt in receipts] == [1, 1, 1]


@WAYS
def test_events_that_repeat_in_a_batch_count_once_and_their_positions_are_reported(
    scene: Scene, wire: Wire, submit: Submit
) -> None:
    usage = events([5, 3, 5, 9, 3, 3])
    receipt = submit(scene, wire, usage, "march")
    assert (receipt.accepted_count, receipt.duplicate_count) == (3, 3)
    assert receipt.duplicate_positions == [2, 4, 5]


@WAYS
def test_events_that_another_batch_recorded_count_once_and_their_positions_are_reported(
    scene: Scene, wire: Wire, submit: Submit
) -> None:
    submit(scene, wire, events(range(10)), "march")
    receipt = submit(scene, wire, events([20, 7, 21, 0, 21]), "april")
    assert receipt.duplicate_positions == [1, 3, 4]
    everything_known = submit(scene, wire, events([7, 0]), "may")
    assert (everything_known.accepted_count, everything_known.duplicate_count) == (0, 2)
    assert scene.operator.preview_round(POOL).round.event_count == 12


def test_the_same_event_id_from_two_platforms_or_in_two_pools_names_different_events(scene: Scene) -> None:
    songbird = scene.deployment.client("platforms/songbird")
    scene.operator.create_pool(
        "sea", Pool(display_name="Sea songs", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    scene.operator.create_method("sea", METHOD, Method(display_name="votes", confidence_ppm=1))
    assert scene.submit([event(1)], "a").accepted_count == 1
    assert scene.submit([event(1)], "b", by=songbird).accepted_count == 1
    assert scene.platform.submit_events("sea", [event(1)], METHOD, batch_id="c").accepted_count == 1
    assert scene.operator.preview_round(POOL).round.event_count == 2
    assert scene.operator.preview_round("sea").round.event_count == 1


def test_duplicates_do_not_reach_the_weights(scene: Scene, owner: sa.Engine) -> None:
    scene.pay_in(1_000_000, "r")
    usage = [
        event(1, shares={"irish": NANO}, units=3),
        event(2, shares={"breton": NANO}, units=1),
        event(1, shares={"scottish": NANO}, units=500),
        event(2, shares={"breton": NANO}, units=1, mode=Mode.HUMAN_AI),
    ]
    scene.submit(usage, "march")
    scene.submit([event(2, shares={"scottish": NANO}, units=900), event(3, shares={}, units=4)], "april")
    cut = scene.cut("first")
    assert cut.event_count == 3
    # Half of the weight is unattributed and makes the commons, which three share alike.
    assert scene.allocations(cut.number) == {
        "breton": 125_000 + 166_666,
        "irish": 375_000 + 166_666,
        "scottish": 166_666,
    }
    assert scene.operator.replay_round(POOL, cut.number).outcome == 1
    require_sound_log(owner, POOL)


def test_rows_and_arrow_give_the_same_weights(scene: Scene, wire: Wire) -> None:
    usage = [
        event(
            number,
            shares={"irish": 1 + number * 10**7, "breton": 3 + number},
            units=10**9 - number,
            mode=Mode(1 + number % 2),
        )
        for number in range(50)
    ]
    scene.submit(usage, "rows")
    scene.operator.create_pool(
        "sea", Pool(display_name="Sea songs", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    scene.operator.create_method("sea", METHOD, Method(display_name="votes", confidence_ppm=1_000_000))
    append(wire, arrow(usage), "arrow", parent="pools/sea")
    rows, arrows = (scene.operator.preview_round(pool) for pool in (POOL, "sea"))
    assert rows.statement == arrows.statement
    assert rows.round.event_count == arrows.round.event_count == 50


def test_a_recorded_body_is_exactly_the_bytes_that_were_sent(scene: Scene, wire: Wire) -> None:
    body = arrow(events(range(100)))
    receipt = append(wire, body, "march")
    assert receipt.body_sha256 == sha256(body).digest()
    assert scene.operator.get_body(POOL, receipt.body_sha256) == body


def test_receipts_come_while_the_stream_is_open(wire: Wire, scene: Scene) -> None:
    requests: SimpleQueue[pb.AppendUsageRequest | None] = SimpleQueue()
    answers = wire.open(APPEND, iter(requests.get, None))
    leaves = []
    for number in range(5):
        requests.put(append_request(arrow([event(number)]), f"b-{number}"))
        answer = next(answers)
        assert answer.batch_id == f"b-{number}"
        leaves.append(answer.receipt.leaf_index)
    assert leaves == sorted(leaves)
    assert scene.operator.get_log_head(POOL).size == leaves[-1] + 1
    requests.put(None)
    assert list(answers) == []


def test_a_refused_batch_does_not_end_the_stream(wire: Wire, scene: Scene) -> None:
    good = [append_request(arrow([event(number)]), f"b-{number}") for number in range(4)]
    bad = [
        append_request(b"not Arrow", "x-1"),
        append_request(arrow([event(9, shares={"nobody": 1})]), "x-2"),
        append_request(arrow([event(9)]), "x-3", method_id="tarot"),
        append_request(b"", "x-4"),
        append_request(arrow([event(9)]), "not an id"),
    ]
    sent = [good[0], bad[0], bad[1], good[1], bad[2], bad[3], good[2], bad[4], good[3]]
    answers = list(wire.open(APPEND, sent))
    assert [answer.batch_id for answer in answers] == [request.batch_id for request in sent]
    assert [answer.HasField("receipt") for answer in answers] == [request in good for request in sent]
    assert scene.operator.preview_round(POOL).round.event_count == 4


def test_the_sdk_reports_refused_batches_and_records_the_others(scene: Scene) -> None:
    usage = events(range(30))
    usage[17] = event(17, shares={"nobody": 5})
    with pytest.raises(BatchRefusedError) as caught:
        scene.platform.submit_usage(POOL, batch_of(usage), METHOD, events_per_batch=10)
    (refusal,) = caught.value.refusals
    assert [(found.position, found.field) for found in refusal.events] == [(17, "collectives")]
    assert len(caught.value.receipts) == 2
    assert scene.operator.preview_round(POOL).round.event_count == 20


REFUSED: Final[list[tuple[Any, str]]] = [
    (b"", "arrow_stream"),
    (b"\xff" * 100, "arrow_stream"),
    (body_of(some_events(3))[:-40], "arrow_stream"),
    (body_of([Event(event_id(0), units=0), Event(event_id(1), units=10**9 + 1)]), "events[0].units"),
    (body_of([Event(event_id(0)), Event(event_id(1), mode=3)]), "events[1].mode"),
    (body_of([Event(event_id(0), occurred_at=-1)]), "events[0].occurred_at"),
    (body_of([Event(event_id(0), work_id="w" * 257)]), "events[0].work_id"),
    (body_of([Event(event_id(0), shares=(("irish", 0),))]), "events[0].shares"),
    (body_of([Event(event_id(0), shares=(("irish", NANO), ("breton", 1)))]), "events[0].shares"),
    (body_of([Event(event_id(0), shares=(("irish", 1), ("irish", 1)))]), "events[0].collectives"),
    (body_of([Event(event_id(0), shares=(("nobody", 1),))]), "events[0].collectives"),
    (body_of([Event(event_id(0), shares=(("\0", 1),))]), "events[0].collectives"),
    (body_of([Event(event_id(0), shares=(("irish'; DROP TABLE leaf; --", 1),))]), "events[0].collectives"),
    (body_of(some_events(MAX_EVENTS + 1)), "events"),
]


@pytest.mark.surface
@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_a_batch_with_anything_wrong_is_refused_whole(
    refusing_wire: Wire, shared_owner: sa.Engine, body: bytes, field: str
) -> None:
    before = row_counts(shared_owner)
    refusal = refused_batch(refusing_wire, body)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.fields[0] == field
    assert row_counts(shared_owner) == before


def test_one_bad_event_among_many_keeps_the_good_ones_out_too(refusing: Scene, shared_owner: sa.Engine) -> None:
    before = row_counts(shared_owner)
    with pytest.raises(InvalidArgumentError) as caught:
        refusing.submit([*events(range(999)), event(999, units=0)], "march")
    assert [violation.field for violation in caught.value.violations] == ["events[999].units"]
    assert row_counts(shared_owner) == before


ROWS: Final[list[tuple[dict[str, Any], str]]] = [
    ({"event_id": "7"}, "event_id"),
    ({"event_id": str(UUID(int=1)).replace("-", "")}, "event_id"),
    ({"event_id": "{" + str(UUID(int=1)) + "}"}, "event_id"),
    ({"occurred_at": None}, "occurred_at"),
    ({"occurred_at": {"seconds": 2**62}}, "occurred_at"),
    ({"occurred_at": {"seconds": -(2**62)}}, "occurred_at"),
    ({"occurred_at": {"seconds": 1, "nanos": 2**31 - 1}}, "occurred_at"),
    ({"occurred_at": {"seconds": 253_402_300_800}}, "occurred_at"),
    ({"units": 0}, "units"),
    ({"units": -(2**63)}, "units"),
    ({"units": 2**63 - 1}, "units"),
    ({"mode": 0}, "mode"),
    ({"mode": 3}, "mode"),
    ({"mode": -1}, "mode"),
    ({"mode": 2**31 - 1}, "mode"),
    ({"work_id": "é" * 129}, "work_id"),
    ({"shares": [{"collective_id": "irish", "share_nano": -(2**31)}]}, "shares"),
    ({"shares": [{"collective_id": "irish", "share_nano": 2**31 - 1}]}, "shares"),
    ({"shares": [{"collective_id": "", "share_nano": 1}]}, "collectives"),
    ({"shares": [{"collective_id": "\0", "share_nano": 1}]}, "collectives"),
    ({"shares": [{"collective_id": "irish", "share_nano": 1}] * 2}, "collectives"),
]


@pytest.mark.surface
@pytest.mark.parametrize(("wrong", "field"), ROWS)
def test_a_row_with_anything_wrong_names_its_field(
    refusing_wire: Wire, shared_owner: sa.Engine, wrong: dict[str, Any], field: str
) -> None:
    sound = {"event_id": str(UUID(int=1)), "occurred_at": {"seconds": 1}, "units": 1, "mode": 1, "shares": []}
    before = row_counts(shared_owner)
    refusal = refused(
        lambda: refusing_wire.call(
            "UsageService/SubmitUsage",
            parent=f"pools/{POOL}",
            batch_id="b",
            method_id=METHOD,
            events=[sound, {**sound, "event_id": str(UUID(int=2)), **wrong}],
        )
    )
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.fields == [f"events[1].{field}"]
    assert row_counts(shared_owner) == before


def test_more_rows_than_a_call_takes_are_refused(refusing: Scene) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        refusing.submit(events(range(1001)), "march")
    assert [violation.field for violation in caught.value.violations] == ["events"]


def test_validating_only_reports_what_recording_would_and_keeps_nothing(scene: Scene, owner: sa.Engine) -> None:
    before = row_counts(owner)
    receipt = scene.platform.submit_events(POOL, events([1, 2, 1]), METHOD, batch_id="march", validate_only=True)
    assert (receipt.accepted_count, list(receipt.duplicate_positions)) == (2, [2])
    assert (receipt.name, receipt.leaf_hash) == ("", b"")
    with pytest.raises(InvalidArgumentError):
        scene.platform.submit_events(POOL, [event(1, units=0)], METHOD, batch_id="march", validate_only=True)
    assert row_counts(owner) == before
    assert scene.submit(events([1, 2, 1]), "march").accepted_count == 2


def test_an_arrow_batch_is_checked_against_what_is_recorded_and_nothing_of_it_is_kept(
    scene: Scene, wire: Wire, owner: sa.Engine
) -> None:
    scene.submit(events([1, 2]), "march")
    before = row_counts(owner)
    (answer,) = wire.call(APPEND, append_request(arrow(events([2, 3, 4, 3])), "april", validate_only=True))
    receipt = answer.receipt
    assert (receipt.accepted_count, list(receipt.duplicate_positions)) == (2, [0, 3])
    assert (receipt.name, receipt.leaf_hash, receipt.HasField("create_time")) == ("", b"", False)
    (answer,) = wire.call(APPEND, append_request(arrow(events([5])), "march", validate_only=True))
    assert "was recorded with other events" in str(answer.error)
    assert row_counts(owner) == before
    recorded = append(wire, arrow(events([2, 3, 4, 3])), "april")
    assert (recorded.accepted_count, list(recorded.duplicate_positions)) == (2, [0, 3])


@pytest.mark.parametrize(
    ("fields", "code", "subject"),
    [
        ({"parent": "pools/sea"}, grpc.StatusCode.NOT_FOUND, "pools/sea"),
        ({"parent": "pools/Sea Songs"}, grpc.StatusCode.INVALID_ARGUMENT, "parent"),
        ({"parent": "folk"}, grpc.StatusCode.INVALID_ARGUMENT, "parent"),
        ({"method_id": "tarot"}, grpc.StatusCode.NOT_FOUND, f"pools/{POOL}/methods/tarot"),
        ({"method_id": "Tarot!"}, grpc.StatusCode.INVALID_ARGUMENT, "method_id"),
        ({"batch_id": "a b"}, grpc.StatusCode.INVALID_ARGUMENT, "batch_id"),
        ({"batch_id": "x" * 129}, grpc.StatusCode.INVALID_ARGUMENT, "batch_id"),
    ],
)
def test_a_pool_method_or_id_that_is_not_there_is_named(
    refusing_wire: Wire, shared_owner: sa.Engine, fields: dict[str, str], code: grpc.StatusCode, subject: str
) -> None:
    before = row_counts(shared_owner)
    batch_id = fields.get("batch_id", "b")
    others = {key: value for key, value in fields.items() if key != "batch_id"}
    refusal = refused_batch(refusing_wire, arrow([event(1)]), batch_id, **others)
    assert refusal.code is code
    named = refusal.fields if "BadRequest" in refusal.details else [refusal.details["ResourceInfo"].resource_name]
    assert named == [subject]
    assert row_counts(shared_owner) == before


def test_a_message_beyond_the_largest_batch_is_refused_and_the_service_goes_on(wire: Wire, scene: Scene) -> None:
    refusal = refused_batch(wire, bytes(MAX_BODY_BYTES + 1))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["arrow_stream"])
    huge = append_request(bytes(MAX_BODY_BYTES + 2**21), "huge")
    assert refused(lambda: wire.call(APPEND, huge)).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert scene.submit([event(1)], "b").accepted_count == 1


def test_the_largest_batch_is_recorded_and_fits_its_entry_with_every_event_a_duplicate(
    scene: Scene, owner: sa.Engine
) -> None:
    usage = batch_of(events(range(MAX_EVENTS)))
    (first,) = scene.platform.submit_usage(POOL, usage, METHOD, events_per_batch=MAX_EVENTS, batch_id="first")
    (again,) = scene.platform.submit_usage(POOL, usage, METHOD, events_per_batch=MAX_EVENTS, batch_id="again")
    assert (first.accepted_count, again.accepted_count) == (MAX_EVENTS, 0)
    assert again.duplicate_positions == list(range(MAX_EVENTS))
    assert scene.operator.preview_round(POOL).round.event_count == MAX_EVENTS
    require_sound_log(owner, POOL)


def test_a_compressed_batch_counts_like_a_plain_one(wire: Wire, scene: Scene) -> None:
    table = batch_of(events(range(200)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(table)
    append(wire, sink.getvalue().to_pybytes(), "packed")
    statement = scene.operator.preview_round(POOL).statement
    scene.submit(events(range(200)), "plain")
    assert scene.operator.preview_round(POOL).statement == statement


def test_an_event_is_found_where_it_was_recorded(scene: Scene) -> None:
    scene.submit(events(range(5)), "march")
    scene.submit(events([8, 3, 8, 9]), "april")
    for number, batch_id, position in ((3, "march", 3), (8, "april", 0), (9, "april", 3)):
        for asking in (scene.platform, scene.operator):
            found = asking.find_event(POOL, str(event(number).event_id), platform="tunesmith")
            assert (found.batch, found.position) == (f"pools/{POOL}/batches/tunesmith~{batch_id}", position)
            assert (found.event.event_id, found.event.work_id) == (str(event(number).event_id), f"urn:tune:{number}")
            assert [(share.collective_id, share.share_nano) for share in found.event.shares] == [("irish", 600_000_000)]
            assert found.event.occurred_at.ToDatetime(NOON.tzinfo) == NOON
    for asking, named in ((scene.platform, None), (scene.operator, "songbird")):
        with pytest.raises(NotFoundError):
            asking.find_event(POOL, str(event(77 if named is None else 3).event_id), platform=named)


def test_batches_are_listed_page_by_page_in_the_order_of_the_log(scene: Scene, wire: Wire) -> None:
    songbird = scene.deployment.client("platforms/songbird")
    names = [scene.submit([event(number), event(number)], f"b-{number}").name for number in range(7)]
    others = [scene.submit([event(number)], f"b-{number}", by=songbird).name for number in range(3)]
    assert [receipt.name for receipt in scene.platform.list_batches(POOL)] == names
    assert [receipt.name for receipt in songbird.list_batches(POOL)] == others
    assert [receipt.name for receipt in scene.operator.list_batches(POOL)] == names + others
    token = ""
    found: list[Receipt] = []
    while not found or token:
        page = wire.call("UsageService/ListBatches", parent=f"pools/{POOL}", page_size=3, page_token=token)
        assert len(page.batches) <= 3
        found += page.batches
        token = page.next_page_token
    assert [receipt.name for receipt in found] == names
    assert all(receipt.duplicate_count == 1 and not receipt.duplicate_positions for receipt in found)


def test_a_method_counts_by_the_version_in_force_when_a_batch_came(scene: Scene) -> None:
    scene.pay_in(1000, "r")
    first = scene.submit([event(1, shares={"irish": NANO})], "a")
    scene.operator.create_method(POOL, METHOD, Method(display_name="doubted", confidence_ppm=0))
    second = scene.submit([event(2, shares={"breton": NANO})], "b")
    assert (first.method_version, second.method_version) == (1, 2)
    cut = scene.cut("c")
    # The second event's weight is wholly unattributed: 500 to Irish, 500 to the commons of three.
    assert scene.allocations(cut.number) == {"breton": 166, "irish": 666, "scottish": 166}


def test_policies_and_methods_that_come_at_once_each_get_a_version_of_their_own(scene: Scene) -> None:
    with ThreadPoolExecutor(8) as threads:
        policies = list(threads.map(lambda ppm: scene.operator.create_policy(POOL, Policy(fee_ppm=ppm)), range(1, 17)))
        same = list(threads.map(lambda _: scene.operator.create_policy(POOL, Policy(fee_ppm=99)), range(8)))
        methods = list(
            threads.map(
                lambda ppm: scene.operator.create_method(POOL, METHOD, Method(display_name="n", confidence_ppm=ppm)),
                range(16),
            )
        )
    assert sorted(policy.version for policy in policies) == list(range(2, 18))
    assert [policy.version for policy in same] == [18] * 8
    assert sorted(method.version for method in methods) == list(range(2, 18))


def test_a_revoked_key_ends_an_open_stream_s_writing_at_once(scene: Scene) -> None:
    key_id, key = issue_key(scene.operator, "platforms/tunesmith")
    requests: SimpleQueue[pb.AppendUsageRequest | None] = SimpleQueue()
    with Wire(scene.deployment.address, key) as wire:
        answers = wire.open(APPEND, iter(requests.get, None))
        requests.put(append_request(arrow([event(1)]), "before"))
        assert next(answers).HasField("receipt")
        scene.operator.revoke_api_key(key_id)
        requests.put(append_request(arrow([event(2)]), "after"))
        assert refusal_of(next(answers).error).code is grpc.StatusCode.UNAUTHENTICATED
        requests.put(None)
    assert [receipt.name.partition("~")[2] for receipt in scene.platform.list_batches(POOL)] == ["before"]


@pytest.mark.usefixtures("scene")
def test_a_name_that_no_event_uses_is_nowhere_but_in_the_body(wire: Wire, owner: sa.Engine) -> None:
    unused = [f"nobody-{number}" for number in range(1_000)]
    one = Event(event_id(1), occurred_at=int(NOON.timestamp() * 1_000_000), shares=(("irish", 1),))
    named = record_batch([one], dictionary=["irish", *unused, "\x1b[2J" * 9])
    append(wire, stream(named), "b")
    with owner.connect() as connection:
        assert findings(connection) == []
