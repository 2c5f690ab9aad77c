"""An entry knows itself: a kind of entry that no other code names is folded, checked, exported and verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from audit.steps import Step
from ledger.journal import COMMONS, FEES, Purpose, Transfer
from ledger.log.leaves import Content, DecimalInt, Past
from ledger.store.money import movements
from ledger.store.pools.pools import pool_ref
from moiety import Client, Policy
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from payout.entries import CONTENTS
from payout.policy import Policy as StoredPolicy
from services.exports.books.beancount import Beancount
from services.exports.books.books import export_books
from services.exports.parquet.folder import export_parquet
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.deployment import Deployment
from tests.support.entries import NOTHING_BEFORE
from tests.support.exports import bundle_of, report_of
from tests.support.fsck_scene import LOG_KEY, findings, sign
from tests.support.parquet_folder import read_table
from tests.support.pool_log import PoolLog
from tests.support.scene import POOL, event, open_scene

pytestmark = pytest.mark.surface

FEE, GIFT = 50, 20


class GiftContent(Content):
    """The operator gave an amount of its fees to the commons."""

    type: ClassVar[str] = "gift.v1"

    amount_minor: DecimalInt
    given_by: str

    @property
    def actor(self) -> str:
        return self.given_by

    def transfers(self, past: Past) -> Sequence[Transfer]:  # noqa: ARG002  # follows from nothing before it
        return (Transfer(FEES, COMMONS, self.amount_minor, Purpose.GRANT),)


@pytest.fixture
def place(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> int:
    """The leaf of a gift, in a pool with a posted round before and another after it."""
    monkeypatch.setitem(CONTENTS, GiftContent.type, GiftContent)
    scene = open_scene(deployment, policy=Policy(fee_ppm=50_000))
    scene.submit([event(1)], "first")
    scene.pay_in(1_000, "money-1")
    scene.cut("round-1")
    with deployment.running.parts.database.transaction() as connection:
        pool = pool_ref(connection, POOL)
        gift = GiftContent(amount_minor=GIFT, given_by="operators/olive")
        placed = movements.append_moving(connection, pool, gift, deployment.clock())
    scene.submit([event(2)], "second")
    scene.pay_in(1_000, "money-2")
    scene.cut("round-2")
    sign(deployment)
    return placed.leaf.index


@pytest.fixture
def auditor(deployment: Deployment) -> Client:
    return deployment.client("auditors/ada")


def test_it_moves_what_it_says_and_the_database_follows_from_the_log(
    deployment: Deployment, place: int, auditor: Client
) -> None:
    balances = {each.name.rpartition("/")[2]: each.amount_minor for each in auditor.list_balances(POOL)}
    assert balances["fees"] == 2 * FEE - GIFT
    assert balances["commons"] == GIFT
    assert [each.leaf_index for each in auditor.list_transfers(POOL) if each.to_account == COMMONS] == [place]
    with deployment.running.parts.database.snapshot() as connection:
        assert findings(connection) == []


def test_rounds_around_it_replay(place: int, auditor: Client) -> None:
    for number in (1, 2):
        verdict = auditor.replay_round(POOL, number)
        assert verdict.outcome == REPLAY_OUTCOME_MATCH
        assert verdict.leaves > place


def test_it_is_verified_in_a_bundle(place: int, auditor: Client, tmp_path: Path) -> None:
    write_bundle(PoolSource(auditor, POOL), tmp_path / "folk.tar")
    report = report_of(tmp_path / "folk.tar", LOG_KEY.verifier_key)
    assert report.finding is None
    assert report.checkpoint
    assert report.checkpoint.size > place


def test_it_is_exported_to_tables_and_books(place: int, auditor: Client, tmp_path: Path) -> None:
    source = PoolSource(auditor, POOL)
    export_parquet(source, tmp_path)
    leaves = {row["leaf_index"]: row["type"] for row in read_table(tmp_path, "leaves")}
    assert leaves[place] == GiftContent.type
    (moved,) = [row for row in read_table(tmp_path, "transfers") if row["leaf_index"] == place]
    assert (moved["from_account"], moved["to_account"], moved["amount_minor"]) == (FEES, COMMONS, GIFT)
    balances = {each.name.partition("/accounts/")[2]: each.amount_minor for each in auditor.list_balances(POOL)}
    (written,) = export_books(source, balances, tmp_path, (Beancount(),))
    assert written.path.read_text().count(GiftContent.type) == 1


def test_one_that_gives_more_than_there_is_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(CONTENTS, GiftContent.type, GiftContent)
    log = PoolLog()
    log.open(StoredPolicy())
    gift = GiftContent(amount_minor=GIFT, given_by="operators/olive")
    index = log.append(gift, gift.transfers(NOTHING_BEFORE))
    finding = report_of(bundle_of(log, tmp_path / "folk.tar")).finding
    assert finding is not None
    assert (finding.step, finding.where.leaf_index) == (Step.BALANCES, index)
    assert (finding.figure, finding.claimed, finding.expected) == ("balance of fees", str(-GIFT), "zero or more")
