"""A round of many collectives: its rows follow from the log, and a page of it costs what a page holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest
import sqlalchemy as sa

import payout.store.calculation
import services.api.rounds.service
from audit.statements.check import check_statement
from ledger.errors import LedgerCorruptError
from ledger.log.note_keys import SigningKey
from ledger.store.kept import Kept
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from moiety import Collective, NotFoundError, Policy
from moiety.v1 import rounds_pb2 as pb
from payout.calculation import calculate
from payout.periods import Taken
from payout.statement import lines_of, parse_statement
from payout.store import round_tables
from payout.store.rounds import usage_sums
from services.console.views.pools import PAGE
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.browsing import signed_in
from tests.support.deployment import Deployment, SteppedClock, deployed
from tests.support.fsck_scene import findings
from tests.support.scene import NANO, POOL, Scene, event, open_scene
from tests.support.wire import Wire

MANY: Final = 120
KEY: Final = SigningKey("log.example", bytes(range(32)))
PARTS: Final = (pb.STATEMENT_PART_LINES, pb.STATEMENT_PART_WEIGHTS, pb.STATEMENT_PART_REGISTRY)


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    scene = open_scene(deployment, policy=Policy())
    names = [f"c{number:03d}" for number in range(MANY)]
    for name in names:
        scene.operator.create_collective(name, Collective(display_name=name, members=1))
    scene.submit([event(1, shares=dict.fromkeys(names, NANO // MANY))], "b")
    scene.pay_in(1_000_000, "r")
    scene.cut("q")
    return scene


@pytest.fixture
def wire(scene: Scene) -> Iterator[Wire]:
    with Wire(scene.deployment.address, scene.deployment.key("operators/olive")) as wire:
        yield wire


def test_all_that_is_posted_follows_from_the_log(scene: Scene, owner: sa.Engine) -> None:
    assert len(list(scene.operator.list_transfers(POOL))) > MANY
    assert sum(scene.balances().values()) == 0
    with owner.connect() as connection:
        assert findings(connection) == []


def test_a_page_shows_a_page_of_them_however_many_there_are(scene: Scene) -> None:
    """Its size would grow with their number otherwise: with 10,000 it would be megabytes."""
    scene.operator.create_policy(POOL, Policy(public=True))
    scene.submit([event(2, shares={f"c{number:03d}": NANO // MANY for number in range(MANY)})], "c")
    scene.pay_in(500_000, "s")
    scene.cut("s")
    browser = signed_in(scene.deployment, "operators/olive")
    round_ = f"/pools/{POOL}/rounds/2"
    for path in (
        "/inbox", "/registry", "/registry/log", "/people", "/bank", "/pools", f"/pools/{POOL}", f"/pools/{POOL}/rounds",
        f"/pools/{POOL}/transfers", f"/pools/{POOL}/log", f"/pools/{POOL}/money", f"/pools/{POOL}/usage", round_,
        f"/pools/{POOL}/preview?number=2&tempering=TEMPERING_SQRT", f"{round_}/statement", f"{round_}/changes",
        f"/public/{POOL}",
    ):  # fmt: skip
        shown = browser.open(path)
        assert (path, shown.status) == (path, 200)
        assert len(set(re.findall(r"\bc\d{3}\b", shown.html))) <= PAGE, path
        assert len(shown.html.encode()) < 100_000, path


def test_no_more_of_a_statement_is_parsed_than_a_page_asks_for(
    scene: Scene, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scene.allocations(1)
    parsed: list[int] = []

    def counting(statement: bytes) -> object:
        lines = parse_statement(statement)
        parsed.append(len(lines))
        return lines

    monkeypatch.setattr(services.api.rounds.service, "parse_statement", counting)
    listed: dict[str, int] = {}
    token = ""
    while True:
        page = wire.call(
            "RoundsService/ListAllocations", parent=f"pools/{POOL}/rounds/1", page_size=50, page_token=token
        )
        listed |= {each.collective.removeprefix("collectives/"): each.amount_minor for each in page.allocations}
        token = page.next_page_token
        if not token:
            break
    assert listed == whole
    assert max(parsed) <= 51
    assert len(parsed) > 2


def test_a_collective_sees_its_own_lines_alone_of_tables_with_many_blocks(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_tables, "BLOCK_BYTES", 512)
    monkeypatch.setattr(round_tables, "_INDEXES", Kept[round_tables._Index](9))
    parts = scene.deployment.running.parts
    Signer(parts.database, parts.clock, KEY, CheckpointFolder(tmp_path)).run_once()
    whole, tables = scene.allocations(1), [scene.operator.get_statement(POOL, 1, part=part) for part in PARTS]
    for name in ("c000", "c007", f"c{MANY - 1}"):
        own = scene.deployment.client(f"collectives/{name}")
        (allocation,) = own.list_allocations(POOL, 1)
        assert (allocation.collective, allocation.amount_minor) == (f"collectives/{name}", whole[name])
        for part, table in zip(PARTS, tables, strict=True):
            stated = own.get_statement(POOL, 1, part=part)
            assert stated == lines_of(table, name) == scene.operator.get_statement(POOL, 1, part=part, collective=name)
            assert stated.count(b"\n") == 2
        report = check_statement(own.get_statement_file(POOL, 1), KEY.verifier_key)
        assert (report.holds, report.facts["amount_minor"]) == (True, str(whole[name]))
    # Registered, and without a line in this round.
    scene.operator.create_collective("c0075", Collective(display_name="later", members=1))
    later = scene.deployment.client("collectives/c0075")
    assert list(later.list_allocations(POOL, 1)) == []
    assert later.get_statement(POOL, 1) == tables[0].splitlines(keepends=True)[0]
    with pytest.raises(NotFoundError):
        later.get_statement_file(POOL, 1)


def test_a_round_may_be_calculated_for_longer_than_a_transaction_may_be_idle(
    clock: SteppedClock, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of a million took more than the minute on a busy machine: Postgres ended it, and it began anew."""
    limited = sa.engine.make_url(database_url).update_query_dict(
        {"options": "-c idle_in_transaction_session_timeout=500"}
    )
    begun: list[int] = []

    def slow(*given: Any, **named: Any) -> object:
        begun.append(1)
        Event().wait(1.0)
        return calculate(*given, **named)

    monkeypatch.setattr(payout.store.calculation, "calculate", slow)
    with deployed(limited.render_as_string(hide_password=False), clock) as deployment:
        scene = open_scene(deployment)
        scene.submit([event(1)], "b")
        scene.pay_in(1000, "r")
        assert scene.cut("q").number == 1
    assert begun == [1]


@pytest.mark.usefixtures("scene")
def test_usage_of_a_collective_that_the_database_lost_is_a_corrupt_ledger(owner: sa.Engine, database: Database) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("DELETE FROM collective WHERE name = 'c007'")
    with database.transaction() as connection, pytest.raises(LedgerCorruptError, match="not registered"):
        usage_sums(connection, pool_ref(connection, POOL), Taken(), 2**40)
