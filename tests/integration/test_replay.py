"""Replay over the contract: it matches what was logged, and names the first thing that was changed behind its back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final

import pytest
import rfc8785
import sqlalchemy as sa

from ledger.log.merkle import Frontier, leaf_hash, root
from ledger.store import tables as t
from moiety import Client, DataLossError, Mode, Policy, ReplayProgress, ReplayVerdict, ServiceError, batch_of
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_DIVERGED, REPLAY_OUTCOME_MATCH
from payout.store.tables import round_
from services.api.audit import service
from tests.support.books import execute
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene

POOL_LEAF, METHOD_LEAF, REVENUE_LEAF, USAGE_LEAF, ROUND_LEAF, DECISION_LEAF, POSTING_LEAF = range(7)
"""The log of `settled`: a round over the first four leaves, then two more batches and a second round."""


def settle(deployment: Deployment) -> Scene:
    scene = open_scene(deployment, policy=Policy(fee_ppm=100_000, review_seconds=60))
    scene.pay_in(1000, "r-1")
    scene.submit([*events(range(10)), event(3), event(20, mode=Mode.HUMAN_AI, shares={"breton": 5})], "b-1")
    scene.cut("q-1")
    scene.pay_in(500, "r-2")
    scene.platform.submit_usage(POOL, batch_of(events(range(30, 50))), METHOD)
    scene.operator.record_payment(POOL, "irish", 10, request_id="p")
    scene.cut("q-2")
    return scene


@pytest.fixture
def settled(deployment: Deployment) -> Scene:
    return settle(deployment)


@pytest.fixture(scope="module")
def standing(shared_deployment: Deployment) -> Scene:
    """One for all tests that only change what its owner may change, and is put right again."""
    return settle(shared_deployment)


@pytest.fixture(scope="module")
def auditor(standing: Scene) -> Client:
    return standing.deployment.client("auditors/ada")


@pytest.fixture
def intruder(shared_owner: sa.Engine) -> Iterator[sa.Engine]:
    """The owner of the standing database, after whom everything is put back."""
    tables = (t.leaf, t.body, t.transfer, t.head, round_)
    with shared_owner.begin() as connection:
        kept = {table: connection.execute(sa.select(table)).mappings().all() for table in tables}
    yield shared_owner
    with shared_owner.begin() as connection:
        for table, rows in kept.items():
            connection.execute(sa.delete(table))
            connection.execute(sa.insert(table), [dict(row) for row in rows])


def require_diverged(verdict: ReplayVerdict, leaf_index: int, figure: str, *, line: int = 0) -> None:
    assert verdict.outcome == REPLAY_OUTCOME_DIVERGED
    assert (verdict.leaf_index, verdict.figure, verdict.line) == (leaf_index, figure, line)
    assert verdict.claimed != verdict.expected


def test_every_round_replays_to_a_match_with_what_it_was_recomputed_from(standing: Scene, auditor: Client) -> None:
    first, second = (auditor.replay_round(POOL, number) for number in (1, 2))
    assert first.outcome == second.outcome == REPLAY_OUTCOME_MATCH
    assert (first.events, first.shares) == (11, 12)
    assert (second.events, second.shares) == (20, 20)
    assert first.leaves == second.leaves == standing.operator.get_log_head(POOL).size


def test_a_replay_tells_how_far_it_has_come(auditor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PROGRESS_SECONDS", 0)
    steps: list[ReplayProgress] = []
    verdict = auditor.replay_round(POOL, 2, progress=steps.append)
    assert [step.leaves for step in steps] == list(range(1, verdict.leaves + 1))
    assert {step.leaf_total for step in steps} == {verdict.leaves}
    assert [step.shares for step in steps] == sorted(step.shares for step in steps)


def test_a_rejected_round_and_one_that_waits_replay_too(settled: Scene) -> None:
    settled.submit([event(77)], "late")
    settled.fill()
    settled.operator.calculate_round(POOL, request_id="q-3")
    assert settled.operator.replay_round(POOL, 3).outcome == REPLAY_OUTCOME_MATCH
    settled.reviewer.reject_round(POOL, 3, "no")
    assert settled.operator.replay_round(POOL, 3).outcome == REPLAY_OUTCOME_MATCH


STATEMENT, SNAPSHOT = "bytes LIKE 'collective,status,events%'", "bytes LIKE 'collective,status,members%'"

TAMPERED: Final[list[tuple[str, int, str]]] = [
    # An entry, with its hash as it was and with one that fits.
    ("UPDATE leaf SET entry = set_byte(entry, 20, 0) WHERE leaf_index = 2 AND pool_id = 1", REVENUE_LEAF, "leaf_hash"),
    ("UPDATE leaf SET entry = set_byte(entry, 20, 0) WHERE leaf_index = 4 AND pool_id = 1", ROUND_LEAF, "leaf_hash"),
    ("UPDATE leaf SET hash = sha256(hash) WHERE leaf_index = 3 AND pool_id = 1", USAGE_LEAF, "leaf_hash"),
    ("UPDATE leaf SET hash = '' WHERE leaf_index = 3 AND pool_id = 1", USAGE_LEAF, "leaf_hash"),
    (
        "UPDATE leaf SET entry = '', hash = sha256('\\x00'::bytea) WHERE leaf_index = 2 AND pool_id = 1",
        REVENUE_LEAF,
        "entry",
    ),
    ("DELETE FROM leaf WHERE leaf_index = 1 AND pool_id = 1", METHOD_LEAF, "leaf"),
    ("DELETE FROM leaf WHERE leaf_index = 0 AND pool_id = 1", POOL_LEAF, "leaf"),
    ("DELETE FROM leaf WHERE leaf_index = 4 AND pool_id = 1", ROUND_LEAF, "leaf"),
    ("DELETE FROM leaf WHERE leaf_index = 6 AND pool_id = 1", POSTING_LEAF, "leaf"),
    ("DELETE FROM leaf WHERE leaf_index = 12 AND pool_id = 1", 12, "leaf"),
    # The bodies that entries commit to.
    (
        "UPDATE body SET bytes = set_byte(bytes, 300, 77) FROM batch WHERE sha256 = body_sha256",
        USAGE_LEAF,
        "body_sha256",
    ),
    ("DELETE FROM body USING batch WHERE sha256 = body_sha256", USAGE_LEAF, "body_sha256"),
    (f"UPDATE body SET bytes = bytes || '\\x0a'::bytea WHERE {SNAPSHOT}", ROUND_LEAF, "registry_sha256"),
    (f"DELETE FROM body WHERE {SNAPSHOT}", ROUND_LEAF, "registry_sha256"),
    (f"UPDATE body SET bytes = bytes || '\\x0a'::bytea WHERE {STATEMENT}", ROUND_LEAF, "statement_sha256"),
    (f"DELETE FROM body WHERE {STATEMENT}", ROUND_LEAF, "statement_sha256"),
    # The journal.
    ("UPDATE transfer SET amount_minor = amount_minor + 1 WHERE leaf_index = 2", REVENUE_LEAF, "transfer"),
    (
        "UPDATE transfer SET to_account = 'collective/breton' WHERE leaf_index = 6 AND to_account = 'collective/irish'",
        POSTING_LEAF,
        "transfer",
    ),
    ("UPDATE transfer SET purpose = 'GIFT' WHERE leaf_index = 6 AND ordinal = 0", POSTING_LEAF, "posting.v1"),
    ("UPDATE transfer SET from_account = to_account WHERE leaf_index = 2", REVENUE_LEAF, "report.v1"),
    ("DELETE FROM transfer WHERE leaf_index = 6 AND ordinal = 1", POSTING_LEAF, "transfers"),
    (
        "INSERT INTO transfer SELECT pool_id, 6, 99, 'revenue', 'collective/irish', 5, 'ATTRIBUTED' FROM pool",
        POSTING_LEAF,
        "transfers",
    ),
    # The projection that says where the round stands.
    ("UPDATE round SET leaf_index = 3 WHERE number = 1", USAGE_LEAF, "type"),
    ("UPDATE round SET leaf_index = 999 WHERE number = 1", 999, "leaf"),
]


@pytest.mark.surface
@pytest.mark.parametrize(("statement", "leaf_index", "figure"), TAMPERED)
def test_what_was_changed_behind_the_log_s_back_is_named(
    auditor: Client, intruder: sa.Engine, statement: str, leaf_index: int, figure: str
) -> None:
    assert execute(intruder, statement)
    require_diverged(auditor.replay_round(POOL, 1), leaf_index, figure)


def forge(owner: sa.Engine, changes: dict[int, Callable[[dict[str, Any]], None]]) -> None:
    """Rewrite entries as an operator with the database's password would: canonical, with hashes and roots that fit."""
    with owner.begin() as connection:
        leaves = connection.execute(sa.select(t.leaf).where(t.leaf.c.pool_id == 1).order_by(t.leaf.c.leaf_index)).all()
        entries = {leaf.leaf_index: json.loads(leaf.entry) for leaf in leaves}
        for leaf_index, change in changes.items():
            change(entries[leaf_index])
        hashes: list[bytes] = []
        for leaf_index, document in entries.items():
            if document["type"] == "round.v1" and leaf_index not in changes:
                document["root"] = root(hashes[: document["end"]]).hex()
            if document["type"] == "decision.v1" and leaf_index not in changes:
                document["subject_hash"] = hashes[document["subject"]].hex()
            entry = rfc8785.dumps(document)
            hashes.append(leaf_hash(entry))
            place = (t.leaf.c.pool_id == 1) & (t.leaf.c.leaf_index == leaf_index)
            connection.execute(sa.update(t.leaf).where(place).values(entry=entry, hash=hashes[-1]))


def setting(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry.update(values)


def in_policy(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry["policy"].update(values)


FORGED: Final[list[tuple[dict[int, Callable[[dict[str, Any]], None]], int, str, int]]] = [
    ({REVENUE_LEAF: setting(amount_minor="2000")}, REVENUE_LEAF, "transfer", 0),
    ({REVENUE_LEAF: setting(amount_minor="-2000")}, REVENUE_LEAF, "report.v1", 0),
    ({REVENUE_LEAF: setting(index=7)}, REVENUE_LEAF, "index", 0),
    ({REVENUE_LEAF: setting(index=2**53 - 1)}, REVENUE_LEAF, "index", 0),
    ({REVENUE_LEAF: setting(pool="sea")}, REVENUE_LEAF, "pool", 0),
    ({REVENUE_LEAF: setting(type="gift.v1")}, REVENUE_LEAF, "entry", 0),
    ({REVENUE_LEAF: setting(time="yesterday")}, REVENUE_LEAF, "entry", 0),
    ({POOL_LEAF: in_policy(fee_ppm=200_000)}, POOL_LEAF, "policy", 0),
    ({POOL_LEAF: setting(by="operators/oscar")}, POOL_LEAF, "by", 0),
    ({POOL_LEAF: setting(opened_at=0)}, POOL_LEAF, "opened_at", 0),
    ({METHOD_LEAF: setting(by_key="00")}, METHOD_LEAF, "by", 0),
    ({METHOD_LEAF: setting(registry_size=99)}, METHOD_LEAF, "registry_size", 0),
    ({ROUND_LEAF: setting(registry_root="00" * 32)}, ROUND_LEAF, "registry_root", 0),
    ({ROUND_LEAF: setting(registry_size=2)}, ROUND_LEAF, "registry_size", 0),
    ({METHOD_LEAF: setting(confidence_ppm=500_000)}, ROUND_LEAF, "weight", 2),
    ({METHOD_LEAF: setting(confidence_ppm=-1)}, METHOD_LEAF, "method.v1", 0),
    ({METHOD_LEAF: setting(version=2)}, METHOD_LEAF, "version", 0),
    ({USAGE_LEAF: setting(method="tarot")}, USAGE_LEAF, "method_version", 0),
    ({USAGE_LEAF: setting(duplicates="")}, USAGE_LEAF, "duplicates", 0),
    ({USAGE_LEAF: setting(duplicates="//8=")}, USAGE_LEAF, "duplicates", 0),
    ({USAGE_LEAF: setting(duplicates="?")}, USAGE_LEAF, "duplicates", 0),
    ({USAGE_LEAF: setting(accepted=12)}, USAGE_LEAF, "accepted", 0),
    ({USAGE_LEAF: setting(body_bytes=1)}, USAGE_LEAF, "body_bytes", 0),
    ({USAGE_LEAF: setting(body_sha256="00" * 32)}, USAGE_LEAF, "body_sha256", 0),
    ({USAGE_LEAF: lambda entry: entry["ai_only"].update(attributed="1")}, USAGE_LEAF, "mode 1 attributed", 0),
    ({USAGE_LEAF: lambda entry: entry["human_ai"].update(events=7)}, USAGE_LEAF, "mode 2 events", 0),
    ({ROUND_LEAF: setting(start=1)}, ROUND_LEAF, "start", 0),
    ({ROUND_LEAF: setting(end=0)}, ROUND_LEAF, "end", 0),
    ({ROUND_LEAF: setting(end=-3)}, ROUND_LEAF, "end", 0),
    ({ROUND_LEAF: setting(end=2**40)}, ROUND_LEAF, "end", 0),
    ({ROUND_LEAF: setting(end=3)}, ROUND_LEAF, "root", 0),
    ({ROUND_LEAF: setting(root="00" * 32)}, ROUND_LEAF, "root", 0),
    ({ROUND_LEAF: setting(previous=1)}, ROUND_LEAF, "previous", 0),
    ({ROUND_LEAF: setting(policy_version=2)}, ROUND_LEAF, "policy_version", 0),
    ({ROUND_LEAF: setting(policy_leaf=1)}, ROUND_LEAF, "policy_leaf", 0),
    ({ROUND_LEAF: setting(number=2)}, ROUND_LEAF, "number", 0),
    ({ROUND_LEAF: setting(pot_minor="1001")}, ROUND_LEAF, "pot_minor", 0),
    ({ROUND_LEAF: setting(fee_minor="99")}, ROUND_LEAF, "fee_minor", 0),
    ({ROUND_LEAF: setting(carried_minor="-1")}, ROUND_LEAF, "carried_minor", 0),
    ({DECISION_LEAF: setting(by="collectives/irish")}, DECISION_LEAF, "by", 0),
    ({DECISION_LEAF: setting(by="policy")}, DECISION_LEAF, "by", 0),
    ({DECISION_LEAF: setting(decision="REJECTED")}, POSTING_LEAF, "decision", 0),
    ({DECISION_LEAF: setting(subject=2)}, DECISION_LEAF, "subject", 0),
    ({DECISION_LEAF: setting(subject_hash="00" * 32)}, DECISION_LEAF, "subject_hash", 0),
    ({POSTING_LEAF: setting(round=2)}, POSTING_LEAF, "round", 0),
    ({POSTING_LEAF: setting(transfer_count=1)}, POSTING_LEAF, "transfer_count", 0),
    ({POSTING_LEAF: setting(amount_minor="1")}, POSTING_LEAF, "amount_minor", 0),
]  # fmt: skip


@pytest.mark.surface
@pytest.mark.parametrize(("changes", "leaf_index", "figure", "line"), FORGED)
def test_a_forged_entry_whose_hashes_fit_is_named_all_the_same(
    auditor: Client,
    intruder: sa.Engine,
    changes: dict[int, Callable[[dict[str, Any]], None]],
    leaf_index: int,
    figure: str,
    line: int,
) -> None:
    forge(intruder, changes)
    require_diverged(auditor.replay_round(POOL, 1), leaf_index, figure, line=line)


def test_a_statement_that_was_forged_with_its_round_is_named_by_line_and_figure(
    standing: Scene, auditor: Client, intruder: sa.Engine
) -> None:
    lines = [line.split(",") for line in standing.operator.get_statement(POOL, 1).decode().split("\n")]
    at = lines[0].index("attributed_minor")
    lines[2][at], lines[3][at] = str(int(lines[2][at]) + 1), str(int(lines[3][at]) - 1)
    forged = "\n".join(map(",".join, lines)).encode()
    execute(intruder, "INSERT INTO body VALUES (1, sha256(:forged), :forged)", forged=forged)
    forge(intruder, {ROUND_LEAF: setting(statement_sha256=sha256(forged).hexdigest())})
    require_diverged(auditor.replay_round(POOL, 1), ROUND_LEAF, "attributed_minor", line=3)


def test_a_second_posting_of_a_round_is_named(auditor: Client, intruder: sa.Engine) -> None:
    with intruder.begin() as connection:
        head = connection.execute(sa.select(t.head).where(t.head.c.pool_id == 1)).one()
        posting = connection.execute(
            sa.select(t.leaf.c.entry).where(t.leaf.c.pool_id == 1, t.leaf.c.leaf_index == POSTING_LEAF)
        ).scalar_one()
        entry = rfc8785.dumps({**json.loads(posting), "index": head.size, "time": "2030-01-01T00:00:00.000000Z"})
        growing = Frontier.from_bytes(head.size, head.frontier)
        growing.append(leaf_hash(entry))
        leaf = {"pool_id": 1, "leaf_index": head.size, "entry": entry, "hash": leaf_hash(entry)}
        connection.execute(sa.insert(t.leaf).values(leaf))
        moved = sa.update(t.head).where(t.head.c.pool_id == 1)
        connection.execute(moved.values(size=growing.size, frontier=growing.to_bytes()))
        connection.execute(
            sa.text(
                "INSERT INTO transfer SELECT pool_id, :size, ordinal, from_account, to_account, amount_minor, purpose "
                "FROM transfer WHERE leaf_index = :posting"
            ),
            {"size": head.size, "posting": POSTING_LEAF},
        )
    require_diverged(auditor.replay_round(POOL, 1), head.size, "round")


def test_a_service_that_finds_its_books_changed_says_so_and_pays_nothing_by_them(
    settled: Scene, owner: sa.Engine
) -> None:
    settled.pay_in(100, "r-3")
    settled.submit([event(99)], "b-3")
    waiting = settled.operator.calculate_round(POOL, request_id="q-3")
    before = settled.balances()
    assert execute(
        owner,
        "UPDATE body SET bytes = replace(convert_from(bytes, 'UTF8'), 'irish,ACTIVE', 'irish,SUSPENDED')::bytea "
        "WHERE sha256 = :digest",
        digest=waiting.statement_sha256,
    )
    calls: list[Callable[[], object]] = [
        lambda: settled.approve(3),
        lambda: settled.operator.get_statement(POOL, 3),
        lambda: list(settled.operator.list_allocations(POOL, 3)),
        lambda: settled.operator.get_body(POOL, waiting.statement_sha256),
    ]
    for call in calls:
        with pytest.raises(DataLossError):
            call()
    assert settled.balances() == before


def test_reading_what_was_changed_is_data_loss_and_not_a_defect(standing: Scene, intruder: sa.Engine) -> None:
    execute(intruder, "UPDATE leaf SET entry = set_byte(entry, 20, 0)")
    execute(intruder, "UPDATE transfer SET purpose = 'GIFT'")
    execute(intruder, "UPDATE head SET frontier = ''")
    calls: list[Callable[[], object]] = [
        lambda: standing.operator.get_round(POOL, 1),
        lambda: list(standing.operator.list_batches(POOL)),
        lambda: list(standing.operator.list_reports(POOL)),
        lambda: list(standing.operator.list_methods(POOL)),
        lambda: list(standing.operator.list_policies(POOL)),
        lambda: list(standing.operator.list_transfers(POOL)),
        lambda: standing.operator.get_log_head(POOL),
        lambda: standing.operator.preview_round(POOL),
        lambda: standing.operator.calculate_round(POOL, request_id="q-9"),
        lambda: standing.submit([event(1)], "b-9"),
        lambda: standing.pay_in(1, "r-9"),
    ]
    for call in calls:
        with pytest.raises(ServiceError) as caught:
            call()
        assert isinstance(caught.value, DataLossError), caught.value
        assert caught.value.reason == "LEDGER_CORRUPT"
