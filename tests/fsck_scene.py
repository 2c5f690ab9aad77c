"""A pool with every kind of leaf, a second pool beside it, and what a check of their database says."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from moiety import Collective, Method, Mode, Policy, Pool
from moiety.attribution import score_batches
from moiety.v1.registry_pb2 import COLLECTIVE_STATUS_SUSPENDED, COMMONS_RULE_FUND, SCORE_KIND_SIGNED_INFLUENCE
from payout.store.fsck import CheckReport, check_pool, check_strays, read_registry
from services.static_files.archives import SpillFolder
from tests.conftest import Deployment
from tests.scene import NANO, NOON, POOL, Scene, event, open_scene

OTHER: Final = "jazz"
_WHOSE: Final = {"tune-1": "irish", "tune-2": "scottish"}


def build(deployment: Deployment) -> Scene:
    """Usage, duplicates, scores, retractions, revenue, rounds posted and rejected, and all movements by hand."""
    scene = open_scene(deployment, policy=Policy(commons_rule=COMMONS_RULE_FUND, review_seconds=60))
    operator = scene.operator
    operator.create_pool(OTHER, Pool(display_name="Jazz", currency="USD", policy=Policy()))
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
    songbird = deployment.client("platforms/songbird")
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
    scene.pay_in(10_000, "money-1")
    rejected = operator.calculate_round(POOL, request_id="round-1")
    scene.reviewer.reject_round(POOL, rejected.number, "too soon")
    scene.platform.retract_usage(POOL, batch_id="second", reason="a test", request_id="back-1")
    suspended = Collective(display_name="irish", members=10, status=COLLECTIVE_STATUS_SUSPENDED)
    operator.update_collective("irish", suspended)
    scene.cut("round-2")
    operator.record_payment(POOL, "breton", 10, request_id="paid-1", reference="bank 1")
    operator.release_held(POOL, "irish", 20, request_id="released-1", reason="settled")
    operator.grant_from_commons(POOL, "irish", 30, request_id="granted-1", reason="a school")
    scene.submit([event(7)], "third")
    scene.pay_in(500, "money-2")
    scene.cut("round-3")
    return scene


def check(connection: sa.Connection, *names: str) -> list[CheckReport]:
    """What a check says in the connection's transaction: of these pools or all of them, and of rows of none."""
    registry = read_registry(connection)
    reports = []
    with SpillFolder() as spills:
        for pool in registry.pools:
            if names and pool.name not in names:
                continue
            steps = check_pool(connection, pool, registry, spills.new)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    reports.append(end.value)
                    break
    strays = CheckReport()
    list(check_strays(connection, registry.pools, strays))
    return [*reports, strays]


def findings(connection: sa.Connection) -> list[tuple[str, str, str]]:
    """(table, key, figure) of everything that a check finds in the pool, and of rows of no pool."""
    return [(each.table, each.key, each.figure) for report in check(connection, POOL) for each in report.findings]
