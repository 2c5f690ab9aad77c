"""A pool with every kind of leaf, a second and closed pool beside it, and what a check of their database says."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from audit.batches.means import Means
from audit.files.spills import SpillFolder
from audit.fsck import CheckReport, check_pool, check_strays, read_registry, registry_history
from audit.progress import Progress
from ledger.acts.entries import ProposalContent
from ledger.acts.people import A, Actor
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.store import tables
from ledger.store.logs import checkpoints, log
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.checkpoints import StoredCheckpoint, StoredCosignature
from ledger.store.logs.log import REGISTRY
from ledger.store.pools.pools import pool_ref
from ledger.store.registry.people import read_people
from moiety import Client, Collective, Method, Mode, Policy, Pool, Schedule
from moiety.attribution import score_batches
from moiety.v1.registry_pb2 import (
    COLLECTIVE_STATUS_SUSPENDED,
    COMMONS_RULE_FUND,
    DISTRIBUTE_RECEIVED,
    DISTRIBUTE_REPORTED,
    SCORE_KIND_SIGNED_INFLUENCE,
)
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_DISMISSED
from tests.support.deployment import Deployment
from tests.support.scene import NAMED_PLATFORMS, NANO, NOON, POOL, Scene, event, events, open_scene

OTHER: Final = "jazz"
LOG_KEY: Final = SigningKey(f"log.example/pools/{POOL}", bytes(range(32)))
REGISTRY_KEY: Final = LOG_KEY.named("log.example/registry")
WITNESS_KEY: Final = SigningKey("witness.example", bytes(range(1, 33)), SignatureType.COSIGNATURE)
_WHOSE: Final = {"tune-1": "irish", "tune-2": "scottish"}


def build(deployment: Deployment) -> Scene:
    """Usage, duplicates, scores, retractions, revenue, rounds posted and rejected, and all movements by hand."""
    scene = open_scene(
        deployment,
        policy=Policy(commons_rule=COMMONS_RULE_FUND, review_seconds=60),
        distribute=DISTRIBUTE_RECEIVED,
    )
    operator = scene.operator
    operator.create_pool(
        OTHER,
        Pool(
            display_name="Jazz",
            currency="USD",
            policy=Policy(),
            distribute=DISTRIBUTE_REPORTED,
            platforms=NAMED_PLATFORMS,
        ),
    )
    operator.create_policy(POOL, Policy(commons_rule=COMMONS_RULE_FUND, review_seconds=120))
    operator.create_membership(POOL, "items", _WHOSE)
    operator.create_membership(POOL, "items", {**_WHOSE, "tune-3": "breton"})
    scored = Method(
        display_name="influence",
        confidence_ppm=900_000,
        score_kind=SCORE_KIND_SIGNED_INFLUENCE,
        membership="items",
    )
    operator.create_method(POOL, "influence", scored)
    both = [event(1, mode=Mode.HUMAN_AI), event(2), event(3, shares={"breton": NANO // 2, "irish": NANO // 4})]
    scene.submit(both, "first")
    scene.submit([event(3), event(4), event(5)], "second")
    scene.submit([*events(range(2**90, 2**90 + 20)), *events(range(2**100, 2**100 + 20))], "in-pages")
    songbird = deployment.client("platforms/songbird")
    songbird.set_id_scheme(POOL, "ORDERED")
    scene.submit([event(1), event(6)], "first", by=songbird)
    scores = score_batches(
        np.array([[0.5, 0.25], [0.25, -0.5]]),
        items=list(_WHOSE),
        works=["urn:work:1", "urn:work:2"],
        occurred_at=NOON,
        units=1,
        mode=Mode.AI_ONLY,
        event_ids=[UUID(int=1001), UUID(int=1002)],
    )
    scene.platform.submit_scores(POOL, scores, "influence")
    pay_in(scene, 10_000, "money-1")
    rejected = operator.calculate_round(POOL, request_id="round-1")
    scene.reviewer.reject_round(POOL, rejected.number, "too soon")
    scene.platform.retract_usage(POOL, batch_id="second", reason="a test", request_id="back-1")
    suspended = Collective(display_name="irish", members=10, status=COLLECTIVE_STATUS_SUSPENDED)
    operator.update_collective("irish", suspended)
    scene.cut("round-2")
    move_by_hand(operator)
    scene.submit([event(7)], "third")
    pay_in(scene, 500, "money-2")
    cut_in_dispute(scene, "round-3")
    adjust(operator)
    operator.update_schedule(POOL, Schedule(cron="30 6 * * *", time_zone="UTC"))
    scene.submit([event(8)], "fourth")
    pay_in(scene, 500, "money-3")
    deployment.clock.advance(hours=7)
    assert deployment.running.parts.scheduler.run_once()
    take_back(operator)
    operator.close_pool(OTHER)
    propose(deployment, 3)
    sign(deployment)
    return scene


def move_by_hand(operator: Client) -> None:
    """A payment, a release and a grant."""
    operator.record_payment(POOL, "breton", 10, request_id="paid-1", reference="bank 1")
    operator.release_held(POOL, "irish", 20, request_id="released-1", reason="settled")
    operator.grant_from_commons(POOL, "irish", 30, request_id="granted-1", reason="a school")


def adjust(operator: Client) -> None:
    """Correct the round that was posted first."""
    doubted = operator.create_method(POOL, "ngram", Method(display_name="by n-grams", confidence_ppm=500_000))
    operator.adjust_round(POOL, 2, request_id="adjusted-1", reason="a bug", pool_leaves=[doubted.leaf_index])


def pay_in(scene: Scene, amount_minor: int, request_id: str) -> None:
    """Report an amount, and have it received."""
    report = scene.platform.report_revenue(POOL, amount_minor, "EUR", request_id=request_id, period="2026-01")
    reference = report.payment_reference
    scene.operator.record_receipt(POOL, amount_minor, request_id=f"in-{request_id}", payment_reference=reference)


def take_back(operator: Client) -> None:
    """A receipt of an unknown payer who is found, and reversals."""
    operator.record_receipt(POOL, 70, request_id="unknown")
    operator.reverse_receipt(POOL, "unknown", 10, request_id="back-unknown", reason="sent back")
    operator.match_receipt(POOL, "unknown", "songbird", request_id="found")
    operator.reverse_receipt(POOL, "in-money-3", 5, request_id="bank-3", reason="no cover", chargeback=True)
    operator.reverse_report(POOL, "tunesmith", "money-3", 7, request_id="less-3", reason="typing error")
    operator.waive_report(POOL, "songbird", "2026-01", reason="has no users yet")
    operator.set_tariff(POOL, "2026-01", share_ppm=20_000)
    operator.set_tariff(POOL, "2026-01", platform="songbird", rate_minor=5, rate_units=1_000)
    operator.set_tariff(POOL, "2026-02", minimum_minor=700)


def cut_in_dispute(scene: Scene, request_id: str) -> None:
    """Post a round that a collective objected to."""
    number = scene.operator.calculate_round(POOL, request_id=request_id).number
    scene.deployment.client("collectives/breton").object_to_round(POOL, number, "less than before")
    scene.reviewer.answer_objection(POOL, number, "breton", OBJECTION_ANSWER_DISMISSED, "so was the usage")
    scene.approve(number)


def propose(deployment: Deployment, times: int) -> None:
    """Proposals that wait, as where the controls ask for two."""
    with deployment.running.parts.database.transaction() as connection:
        pool = pool_ref(connection, POOL)
        for number in range(times):
            content = ProposalContent(effect="pause.v1", content={}, rests_on={}, reason=f"a test, {number}")
            (leaf,) = log.append(connection, pool, [stamped(connection, content)], deployment.clock())
            connection.execute(sa.insert(tables.proposal).values(pool_id=pool.pool_id, leaf_index=leaf.index))


def stamped(connection: sa.Connection, content: A) -> A:
    """An act as that of an operator who may."""
    people = read_people(connection)
    key = next(key for key in people.keys.values() if key.principal == people.operators()[0].name)
    return Actor(key.principal, key.key_id).stamp(content, people)


def key_of(pool: str) -> SigningKey:
    """The key of a pool's log."""
    return LOG_KEY.named(f"log.example/pools/{pool}")


def sign(deployment: Deployment, pools: Iterable[str] = (POOL,)) -> None:
    """A checkpoint of the registry's log and of pools' as they are, and a witness's cosignature of each."""
    with deployment.running.parts.database.transaction() as connection:
        of_pools = [(pool_ref(connection, pool), key_of(pool)) for pool in pools]
        for pool, key in ((REGISTRY, REGISTRY_KEY), *of_pools):
            head = log.read_head(connection, pool)
            note = sign_checkpoint(Checkpoint(key.name, head.size, head.root()), key)
            row = StoredCheckpoint(head.size, key.verifier_key, note.to_bytes(), deployment.clock())
            checkpoints.insert_checkpoint(connection, pool, row)
            cosignature = StoredCosignature(WITNESS_KEY.verifier_key, WITNESS_KEY.sign(note.text, 77), 77)
            checkpoints.insert_cosignature(connection, pool, row, cosignature)


def check(connection: sa.Connection, *names: str, every: bool = False) -> list[CheckReport]:
    """What a check says in the connection's transaction: of these pools or all of them, and of rows of none.

    Batches are weighed ahead by threads, as the command does; what is found must not depend on it.
    """
    found, history = read_registry(connection), registry_history(connection, Bodies())
    reports = []
    with SpillFolder() as spills, ThreadPoolExecutor(2) as threads:
        means = Means(spills.new, lambda work: threads.submit(work).result, ahead=3, begun_ahead=8, salt=5)
        for pool in found.pools:
            if names and pool.name not in names:
                continue
            steps = check_pool(connection, pool, found, Bodies(), means, history=history, every=every)
            reports.append(report_of(steps))
    strays = CheckReport(every=every)
    list(check_strays(connection, found, strays))
    return [*reports, strays]


def report_of(steps: Generator[Progress, None, CheckReport]) -> CheckReport:
    """What a check says at its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            report: CheckReport = end.value
            return report


def findings(connection: sa.Connection) -> list[tuple[str, str, str]]:
    """(table, key, figure) of everything that a check finds in the pool, and of rows of no pool."""
    return [
        (each.where.table, each.where.key, each.figure)
        for report in check(connection, POOL)
        for each in report.findings
    ]
