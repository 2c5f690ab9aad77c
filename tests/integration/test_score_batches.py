"""Raw scores through the whole service: a method with a rule, a membership, batches, rounds, retractions and replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from ledger.store import tables as t
from moiety import (
    BatchRefusedError,
    DataLossError,
    InvalidArgumentError,
    InvalidUsageError,
    Membership,
    Method,
    Mode,
    NotFoundError,
    Policy,
    Receipt,
)
from moiety.attribution import score_batches
from moiety.batches import encode
from moiety.memberships import render_membership
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_DIVERGED, REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import (
    ROUNDING_PLACED,
    SCORE_KIND_COUNT,
    SCORE_KIND_SHARE,
    SCORE_KIND_SIGNED_INFLUENCE,
    SCORE_KIND_SIMILARITY,
    SCORE_ORDER_CLIP_THEN_SUM,
    SCORE_ORDER_SUM_THEN_CLIP,
)
from tests.support.books import row_counts
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NANO, NOON, POOL, Scene, event, open_scene
from tests.support.scores import score_body, scored
from tests.support.wire import Wire, refusal_of, refused

INFLUENCE: Final = "influence"
CITATIONS: Final = "citations"
ITEMS: Final = "items"
WHOSE: Final = {"tune-1": "irish", "tune-2": "irish", "tune-3": "scottish", "tune-4": "breton"}
HALF: Final = NANO // 2


def opened(deployment: Deployment) -> Scene:
    """A pool with a method of influences over a membership of items, and one that counts citations of collectives."""
    scene = open_scene(deployment, policy=Policy(fee_ppm=100_000, rounding=ROUNDING_PLACED))
    scene.operator.create_membership(POOL, ITEMS, WHOSE)
    declare(scene, INFLUENCE, score_kind=SCORE_KIND_SIGNED_INFLUENCE, membership=ITEMS)
    declare(scene, CITATIONS, score_kind=SCORE_KIND_COUNT, coverage_nano=HALF)
    return scene


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return opened(deployment)


@pytest.fixture(scope="module")
def shared(shared_deployment: Deployment) -> Scene:
    """One for all tests that leave nothing behind which another would see."""
    return opened(shared_deployment)


def declare(scene: Scene, method: str, **fields: Any) -> Method:
    return scene.operator.create_method(POOL, method, Method(display_name=method, confidence_ppm=1_000_000, **fields))


def submit(
    scene: Scene, scores: Mapping[str, Sequence[float]], method: str = INFLUENCE, *, first: int = 0
) -> list[Receipt]:
    """A batch of works, whose scores are given by source; they are numbered from `first`."""
    matrix = np.array(list(scores.values()), dtype=np.float64)
    works = [f"urn:work:{first + number}" for number in range(matrix.shape[1])]
    batches = score_batches(
        matrix,
        items=list(scores),
        works=works,
        occurred_at=NOON,
        units=1,
        mode=Mode.AI_ONLY,
        event_ids=[work_id(first + number) for number in range(len(works))],
    )
    return scene.platform.submit_scores(POOL, batches, method)


def work_id(number: int) -> UUID:
    return UUID(int=1_000_000 + number)


def shares(scene: Scene, number: int) -> dict[str, int]:
    found = scene.platform.find_event(POOL, str(work_id(number)))
    return {share.collective_id: share.share_nano for share in found.event.shares}


def replayed(scene: Scene, number: int) -> int:
    return scene.deployment.client("auditors/ada").replay_round(POOL, number).outcome


def test_scores_become_shares_and_money_and_replay_to_the_same(scene: Scene) -> None:
    (receipt,) = submit(scene, {"tune-1": [3.0, 0.5], "tune-2": [-1.0, 0.5], "tune-3": [2.0, -7.0]})
    assert receipt.method == f"pools/{POOL}/methods/{INFLUENCE}"
    assert (receipt.membership, receipt.membership_version) == (f"pools/{POOL}/memberships/{ITEMS}", 1)
    assert shares(scene, 0) == {"irish": HALF, "scottish": HALF}
    assert shares(scene, 1) == {"irish": NANO}
    scene.pay_in(1000, "r")
    scene.cut("q")
    assert scene.allocations(1) == {"breton": 0, "irish": 675, "scottish": 225}
    verdict = scene.deployment.client("auditors/ada").replay_round(POOL, 1)
    assert (verdict.outcome, verdict.events, verdict.shares) == (REPLAY_OUTCOME_MATCH, 2, 3)


def test_the_body_is_kept_as_it_was_sent_and_coming_again_gives_the_first_receipt(scene: Scene) -> None:
    scores = {"tune-1": [3.0], "tune-3": [1.0]}
    (receipt,) = submit(scene, scores)
    body = scene.deployment.client("auditors/ada").get_body(POOL, receipt.body_sha256)
    assert body == encode(
        next(
            score_batches(
                np.array([[3.0], [1.0]]), items=list(scores), works=["urn:work:0"], occurred_at=NOON, units=1,
                mode=Mode.AI_ONLY, event_ids=[work_id(0)],
            )
        )
    )  # fmt: skip
    assert submit(scene, scores) == [receipt]


def test_where_there_is_no_membership_sources_are_collectives(scene: Scene) -> None:
    (receipt,) = submit(scene, {"irish": [3.0], "breton": [1.0]}, CITATIONS)
    assert (receipt.membership, receipt.membership_version) == ("", 0)
    assert shares(scene, 0) == {"breton": HALF // 4, "irish": HALF // 4 * 3}
    scene.fill()
    scene.cut("q")
    assert replayed(scene, 1) == REPLAY_OUTCOME_MATCH


def test_a_source_that_should_be_a_collective_and_is_not_is_refused_with_the_event(scene: Scene) -> None:
    """Even where its score comes to nothing: another collective's name may be misspelt."""
    with pytest.raises(BatchRefusedError) as caught:
        submit(scene, {"irish": [3.0, 1.0], "irsh": [0.0, 1e-12]}, CITATIONS)
    (violation,) = caught.value.refusals[0].events
    assert (violation.position, violation.field) == (1, "sources")
    assert violation.description == "'irsh' is not registered"


def test_a_source_that_nobody_has_is_unattributed(scene: Scene) -> None:
    submit(scene, {"tune-1": [1.0], "tune-99": [3.0]})
    assert shares(scene, 0) == {"irish": NANO // 4}


def test_each_batch_uses_the_membership_at_its_acceptance(scene: Scene) -> None:
    submit(scene, {"tune-1": [1.0], "tune-3": [1.0]}, first=0)
    moved = scene.operator.create_membership(POOL, ITEMS, {**WHOSE, "tune-1": "breton"})
    assert moved.version == 2
    (receipt,) = submit(scene, {"tune-1": [1.0], "tune-3": [1.0]}, first=1)
    assert receipt.membership_version == 2
    assert shares(scene, 0) == {"irish": HALF, "scottish": HALF}
    assert shares(scene, 1) == {"breton": HALF, "scottish": HALF}
    scene.pay_in(1000, "r")
    scene.cut("q")
    assert scene.allocations(1) == {"breton": 225, "irish": 225, "scottish": 450}
    assert replayed(scene, 1) == REPLAY_OUTCOME_MATCH


def test_scores_are_taken_back_by_the_rule_and_the_membership_that_they_came_with(scene: Scene) -> None:
    (receipt,) = submit(scene, {"tune-1": [1.0, 1.0, 5.0], "tune-3": [1.0, 3.0, -1.0]})
    scene.operator.create_membership(POOL, ITEMS, {"tune-1": "breton"})
    declare(scene, INFLUENCE, score_kind=SCORE_KIND_SIGNED_INFLUENCE, membership=ITEMS, coverage_nano=1)
    scene.platform.retract_usage(POOL, request_id="t-1", reason="counted twice", event_ids=[work_id(1)])
    scene.pay_in(1000, "r-1")
    scene.cut("q-1")
    assert scene.allocations(1) == {"breton": 0, "irish": 675, "scottish": 225}
    scene.platform.retract_usage(POOL, request_id="t-2", reason="withdrawn", batch_id=receipt.name.partition("~")[2])
    scene.fill()
    scene.cut("q-2")
    lines = scene.operator.get_statement(POOL, 2).decode().splitlines()
    assert [line.split(",")[7] for line in lines[1:]] == ["0", str(15 * 10**20), str(5 * 10**20)]
    assert replayed(scene, 1) == replayed(scene, 2) == REPLAY_OUTCOME_MATCH


def test_the_order_of_the_rule_is_the_method_s_record(scene: Scene) -> None:
    scores = {"tune-1": [3.0], "tune-2": [-2.0], "tune-3": [1.0]}
    submit(scene, scores, first=0)
    rule = {"score_kind": SCORE_KIND_SIGNED_INFLUENCE, "membership": ITEMS}
    declare(scene, INFLUENCE, **rule, score_order=SCORE_ORDER_CLIP_THEN_SUM)
    submit(scene, scores, first=1)
    assert shares(scene, 0) == {"irish": HALF, "scottish": HALF}
    assert shares(scene, 1) == {"irish": 3 * NANO // 4, "scottish": NANO // 4}
    scene.fill()
    scene.cut("q")
    assert replayed(scene, 1) == REPLAY_OUTCOME_MATCH


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_with_its_position(shared: Scene, bad: float) -> None:
    body = score_body([scored([("tune-1", 1.0)], 0), scored([("tune-1", 1.0), ("tune-2", bad)], 1)])
    with Wire(shared.deployment.address, shared.deployment.key("platforms/tunesmith")) as wire:
        (answer,) = wire.call(
            "UsageService/AppendUsage", parent=f"pools/{POOL}", batch_id="b", method_id=INFLUENCE, arrow_stream=body
        )
    refusal = refusal_of(answer.error)
    assert refusal.fields == ["events[1].scores"]
    with pytest.raises(InvalidUsageError, match=r"events\[1\]\.scores: must be finite"):
        submit(shared, {"tune-1": [1.0, bad]})


def test_scores_that_the_kind_does_not_allow_are_refused_with_their_position(shared: Scene) -> None:
    with pytest.raises(BatchRefusedError) as caught:
        submit(shared, {"irish": [1.0, -1.0]}, CITATIONS)
    (violation,) = caught.value.refusals[0].events
    assert (violation.position, violation.field) == (1, "scores")


def test_a_batch_of_the_other_kind_is_refused_and_nothing_of_it_is_kept(scene: Scene, owner: sa.Engine) -> None:
    before = row_counts(owner)
    with pytest.raises(InvalidArgumentError, match="method_id: takes shares, and the batch contains scores"):
        submit(scene, {"irish": [1.0]}, METHOD)
    with pytest.raises(InvalidArgumentError, match="method_id: takes scores, and the batch contains shares"):
        scene.platform.submit_events(POOL, [event(1)], INFLUENCE, batch_id="b")
    with pytest.raises(InvalidArgumentError, match="method_id: takes scores"):
        scene.platform.submit_events(POOL, [event(1)], INFLUENCE, batch_id="b", validate_only=True)
    assert row_counts(owner) == before


def test_a_method_may_go_over_from_shares_to_scores(scene: Scene) -> None:
    scene.submit([event(1)], "b-1")
    declare(scene, METHOD, score_kind=SCORE_KIND_SIGNED_INFLUENCE, membership=ITEMS)
    submit(scene, {"tune-3": [1.0]}, METHOD)
    scene.pay_in(1000, "r")
    scene.cut("q")
    scene.platform.retract_usage(POOL, request_id="t", reason="wrong", event_ids=[event(1).event_id])
    assert scene.platform.find_event(POOL, str(event(1).event_id)).event.shares[0].share_nano == 6 * NANO // 10
    submit(scene, {"tune-3": [1.0]}, METHOD, first=50)
    scene.pay_in(1000, "r-2")
    scene.cut("q-2")
    assert replayed(scene, 1) == replayed(scene, 2) == REPLAY_OUTCOME_MATCH


# Methods and memberships.


def test_a_method_is_declared_with_its_rule_and_a_rule_s_defaults_are_told(scene: Scene) -> None:
    influence, citations = list(scene.operator.list_methods(POOL))[1:]
    assert (influence.score_kind, influence.score_order) == (SCORE_KIND_SIGNED_INFLUENCE, SCORE_ORDER_SUM_THEN_CLIP)
    assert (influence.coverage_nano, influence.membership) == (NANO, ITEMS)
    assert (citations.coverage_nano, citations.membership) == (HALF, "")
    told = Method(display_name=CITATIONS, confidence_ppm=1_000_000, score_kind=SCORE_KIND_COUNT, coverage_nano=HALF)
    assert scene.operator.create_method(POOL, CITATIONS, told).version == 1
    told.covers = "books of 2026"
    declared = scene.operator.create_method(POOL, CITATIONS, told)
    assert (declared.version, declared.covers) == (2, "books of 2026")


@pytest.mark.surface
@pytest.mark.parametrize(
    ("method", "fields", "told"),
    [
        ("chunks", {"score_kind": SCORE_KIND_SIMILARITY, "sum_repeats": True}, (True, False, 0)),
        ("softmax", {"score_kind": SCORE_KIND_SHARE}, (False, True, 1_000)),
        (
            "percent",
            {"score_kind": SCORE_KIND_SHARE, "tolerance_nano": 10**7, "sum_repeats": True},
            (True, True, 10**7),
        ),
        ("exact", {"score_kind": SCORE_KIND_SHARE, "tolerance_nano": 0}, (False, True, 0)),
    ],
)
def test_repeats_and_a_tolerance_are_the_method_s_to_declare(
    shared: Scene, method: str, fields: dict[str, Any], told: tuple[bool, bool, int]
) -> None:
    declare(shared, method, **fields)
    (found,) = [each for each in shared.operator.list_methods(POOL) if each.name.endswith(f"/{method}")]
    assert (found.sum_repeats, found.HasField("tolerance_nano"), found.tolerance_nano) == told


def test_sources_that_repeat_and_fractions_that_were_rounded_go_in_and_are_found_with_their_shares(
    scene: Scene,
) -> None:
    declare(scene, "chunks-of", score_kind=SCORE_KIND_COUNT)
    declare(scene, "rounded", score_kind=SCORE_KIND_SHARE, tolerance_nano=10**7)
    event_ids = [UUID(int=7_000_001), UUID(int=7_000_002)]
    alike = {"occurred_at": [NOON], "units": [1], "mode": [1]}
    chunks = {"sources": [["irish", "breton", "irish"]], "scores": [[1, 1, 1]]}
    fractions = {"sources": [["irish", "breton"]], "scores": [[0.67, 0.34]]}
    for identity, method, scores in zip(event_ids, ("chunks-of", "rounded"), (chunks, fractions), strict=True):
        table = pa.table({"event_id": [identity.bytes], **alike, **scores})
        (receipt,) = scene.platform.submit_usage(POOL, table, method)
        assert receipt.accepted_count == 1
    found = [scene.platform.find_event(POOL, str(identity)).event.shares for identity in event_ids]
    assert [{share.collective_id: share.share_nano for share in shares} for shares in found] == [
        {"irish": NANO * 2 // 3, "breton": NANO // 3},
        {"irish": NANO * 67 // 101, "breton": NANO * 34 // 101},
    ]


@pytest.mark.surface
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"score_order": SCORE_ORDER_CLIP_THEN_SUM}, "method.score_order"),
        ({"coverage_nano": 1}, "method.coverage_nano"),
        ({"membership": ITEMS}, "method.membership"),
        ({"score_kind": SCORE_KIND_COUNT, "membership": "absent"}, "method.membership"),
        ({"score_kind": SCORE_KIND_COUNT, "membership": "Items"}, "method.membership"),
        ({"score_kind": SCORE_KIND_COUNT, "coverage_nano": 0}, "method.coverage_nano"),
        ({"score_kind": SCORE_KIND_COUNT, "coverage_nano": NANO + 1}, "method.coverage_nano"),
        ({"sum_repeats": True}, "method.sum_repeats"),
        ({"tolerance_nano": 0}, "method.tolerance_nano"),
        ({"score_kind": SCORE_KIND_COUNT, "sum_repeats": True}, "method.sum_repeats"),
        ({"score_kind": SCORE_KIND_COUNT, "tolerance_nano": 1}, "method.tolerance_nano"),
        ({"score_kind": SCORE_KIND_SHARE, "tolerance_nano": 10**7 + 1}, "method.tolerance_nano"),
        ({"score_kind": 99}, "method.score_kind"),
        ({"covers": "x" * 1_001}, "method.covers"),
    ],
)
@pytest.mark.parametrize("validate_only", [True, False])
def test_a_rule_that_is_none_is_refused(
    shared: Scene, fields: dict[str, Any], field: str, *, validate_only: bool
) -> None:
    method = Method(display_name="M", confidence_ppm=1)
    for name, value in fields.items():
        setattr(method, name, value)
    with pytest.raises(InvalidArgumentError) as caught:
        shared.operator.create_method(POOL, "m", method, validate_only=validate_only)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_membership_is_logged_once_for_the_same_bytes_and_read_back(scene: Scene) -> None:
    size = scene.operator.get_log_head(POOL).size
    again = scene.operator.create_membership(POOL, ITEMS, dict(reversed(WHOSE.items())))
    assert (again.version, again.source_count, again.collective_count) == (1, 4, 3)
    assert scene.operator.get_log_head(POOL).size == size
    assert scene.operator.create_membership(POOL, ITEMS, {}).version == 2
    assert scene.operator.create_membership(POOL, ITEMS, WHOSE).version == 3
    for reader in (scene.platform, scene.deployment.client("collectives/irish")):
        assert reader.get_membership(POOL, ITEMS) == WHOSE
        assert reader.get_membership(POOL, ITEMS, version=2) == {}
        listed: list[Membership] = list(reader.list_memberships(POOL))
        assert [found.version for found in listed] == [1, 2, 3]
        assert listed[0].body_sha256 == listed[2].body_sha256 == again.body_sha256
    for name, version in ((ITEMS, 4), ("absent", 0)):
        with pytest.raises(NotFoundError):
            scene.operator.get_membership(POOL, name, version=version)


def test_the_same_membership_from_several_at_once_is_one_version(scene: Scene) -> None:
    whose = {f"tune-{number}": "irish" for number in range(1_000)}
    size = scene.operator.get_log_head(POOL).size
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: scene.operator.create_membership(POOL, ITEMS, whose), range(8)))
    assert {(found.version, found.leaf_index) for found in made} == {(2, size)}
    assert scene.operator.get_log_head(POOL).size == size + 1


@pytest.mark.parametrize("version", [-1, 2**31 - 1])
def test_a_version_that_is_none_is_refused_or_not_there(shared: Scene, version: int) -> None:
    with pytest.raises((InvalidArgumentError, NotFoundError)):
        shared.operator.get_membership(POOL, ITEMS, version=version)


def test_a_membership_may_be_larger_than_one_message_of_the_usual_limit(scene: Scene) -> None:
    large = {f"urn:recording:{number:08d}": "irish" for number in range(200_000)}
    made = scene.operator.create_membership(POOL, "recordings", large)
    assert made.body_bytes > 4 * 2**20
    assert scene.platform.get_membership(POOL, "recordings") == large


def test_a_membership_names_registered_collectives_only(scene: Scene, owner: sa.Engine) -> None:
    before = row_counts(owner)
    for validate_only in (True, False):
        with pytest.raises(InvalidArgumentError) as caught:
            scene.operator.create_membership(
                POOL, ITEMS, {"a": "irish", "b": "norse", "c": "welsh"}, validate_only=validate_only
            )
        assert [violation.description for violation in caught.value.violations] == [
            "the collective 'norse' is not registered", "the collective 'welsh' is not registered",
        ]  # fmt: skip
    checked = scene.operator.create_membership(POOL, ITEMS, {"a": "breton"}, validate_only=True)
    assert (checked.version, checked.source_count, checked.HasField("create_time")) == (0, 1, False)
    assert row_counts(owner) == before


@pytest.mark.surface
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"x", "line source,collective"),
        (b"source,collective\nb,irish\na,irish\n", "line 3: 'a' does not come after"),
        (b"source,collective\na,irish\na,irish\n", "line 3: 'a' does not come after"),
        (b"source,collective\na,Irish\n", "line 2: the collective"),
        (b'source,collective\n"a",irish\n', "line 2: the source"),
        (b"source,collective\na,irish", "last line"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_membership_that_is_not_canonical_is_refused_with_its_line(shared: Scene, body: bytes, reason: str) -> None:
    with Wire(shared.deployment.address, shared.deployment.key("operators/olive")) as wire:
        fields = {"parent": f"pools/{POOL}", "membership_id": ITEMS, "body": body}
        refusal = refused(lambda: wire.call("RegistryService/CreateMembership", **fields))
    assert refusal.fields == ["body"]
    assert reason in refusal.message


# What is changed behind the service's back.


def test_replay_names_the_membership_whose_body_was_changed(scene: Scene, owner: sa.Engine) -> None:
    submit(scene, {"tune-1": [1.0], "tune-3": [1.0]})
    scene.pay_in(1000, "r")
    scene.cut("q")
    (membership,) = scene.operator.list_memberships(POOL)
    changed = render_membership({**WHOSE, "tune-1": "scottish"})
    with owner.begin() as connection:
        mine = t.body.c.sha256 == membership.body_sha256
        assert connection.execute(sa.update(t.body).where(mine).values(bytes=changed)).rowcount == 1
    verdict = scene.deployment.client("auditors/ada").replay_round(POOL, 1)
    assert verdict.outcome == REPLAY_OUTCOME_DIVERGED
    assert (verdict.leaf_index, verdict.figure) == (membership.leaf_index, "body_sha256")


def test_a_service_that_starts_on_a_changed_membership_takes_no_scores_by_it(
    scene: Scene, deploy: Callable[..., Deployment], owner: sa.Engine
) -> None:
    with owner.begin() as connection:
        connection.execute(sa.update(t.body).values(bytes=render_membership({})))
    platform = deploy().client("platforms/tunesmith")
    with pytest.raises(DataLossError):
        submit(replace(scene, platform=platform), {"tune-1": [1.0]})
