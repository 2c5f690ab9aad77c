"""A database with rows in every table, and what a check of all of it says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from audit.fsck import CheckReport, check_registry_log, read_registry
from demo.bank import Bank
from ledger.log.key_changes import KeyChange, LastSigned, Reason
from ledger.log.note_keys import SigningKey
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import REGISTRY
from ledger.store.registry.key_changes import append_change
from moiety import BankLinePart, Collective, Schedule
from moiety.keys import make_key
from moiety.v1.limits_pb2 import PlatformLimits, PoolLimits
from tests.support.deployment import Deployment
from tests.support.fsck_scene import build, check, report_of, sign
from tests.support.paying import OURS, owe
from tests.support.scene import POOL, event

DAY: Final = "2026-01-05"
PAID: Final = "soul"


def build_everything(deployment: Deployment) -> None:
    """What `fsck_scene.build` has, a pool that pays and is paid by a bank, and what the operator sets."""
    scene = build(deployment)
    owe(scene, [PAID])
    pay(deployment)
    operator = scene.operator
    operator.create_webhook("hook", f"pools/{POOL}", "http://127.0.0.1:9/hook", start=0)
    operator.update_schedule(PAID, Schedule(cron="* * * * *", time_zone="UTC"))
    deployment.clock.advance(minutes=2)
    deployment.running.parts.scheduler.run_once()  # which skips it: there is nothing to distribute
    operator.update_schedule(PAID, Schedule(cron="* * * * *", time_zone="UTC", paused=True))
    for domains in (["tunes.example", "reels.example"], ["tunes.example"]):
        operator.update_collective("irish", Collective(display_name="irish", members=7, domains=domains))
    ended = operator.create_api_key(
        "platforms/tunesmith", make_key().hash, expire_time=datetime(2030, 1, 1, tzinfo=UTC), pools=[POOL]
    )
    operator.revoke_api_key(ended.name.rpartition("/")[2])
    sign(deployment)
    change_the_key(deployment)
    set_what_no_log_has(deployment)


def pay(deployment: Deployment) -> None:
    """A run that a bank pays, a payment that comes back, and money of a payer who is found."""
    operator = deployment.client("operators/olive")
    bank = Bank(OURS, "EUR", balance=1000)
    operator.create_pay_run("jan", "main", DAY)
    bank.take(operator.create_pay_run_file("jan").content)
    operator.import_bank_file("main", bank.statement(DAY))
    bank.give_back("jan-0000001", DAY, kept=5)
    bank.receive(50, DAY)
    operator.import_bank_file("main", bank.statement(DAY))
    lines = [each.name.rpartition("/")[2] for each in operator.list_bank_lines("main", only_open=True)]
    whose = BankLinePart(pool=f"pools/{PAID}", platform="platforms/tunesmith", amount_minor=50)
    operator.match_bank_line("main", lines[0], [whose])
    irish = deployment.client("collectives/irish")
    irish.log_split(PAID, 1, amount_minor=600, line_count=2, split_root=bytes(32), rule="by plays")


def change_the_key(deployment: Deployment) -> None:
    """Have another key sign the logs from now on."""
    old, new = (SigningKey("log.example", seed) for seed in (bytes(range(32)), bytes([7] * 32)))
    with deployment.running.parts.database.transaction() as connection:
        head = log.read_head(connection, REGISTRY)
        last = LastSigned(REGISTRY.name, head.size, head.root())
        change = KeyChange(Reason.ROTATED, old.verifier_key, new.verifier_key, (last,))
        append_change(connection, change.sign(new, old))


def set_what_no_log_has(deployment: Deployment) -> None:
    """Limits, the usage that is counted for them, and what the signer and the store of bodies note."""
    operator, platform = deployment.client("operators/olive"), deployment.client("platforms/tunesmith")
    operator.update_pool_limits(POOL, PoolLimits(lead_seconds_max=60, age_seconds_max=10**9))
    operator.update_platform_limits(
        "tunesmith", PlatformLimits(events_per_day=10**6, bytes_per_day=10**9, open_streams=5)
    )
    platform.submit_events(PAID, [event(50)], "ngram", batch_id="counted")
    with deployment.running.parts.database.transaction() as connection:
        noted = {"pool_id": 1, "database": "here", "refusal": ""}
        connection.execute(sa.insert(lt.signing).values(noted))
        digest = connection.execute(sa.select(lt.body.c.sha256).where(lt.body.c.pool_id == 1).limit(1)).scalar_one()
        lies = {"pool_id": 1, "sha256": digest, "is_named": True, "intended_at": deployment.clock()}
        connection.execute(sa.insert(lt.body_object).values(lies))


def check_everything(connection: sa.Connection) -> list[CheckReport]:
    """What a check says of the registry, of every pool, and of rows of none."""
    registry = report_of(check_registry_log(connection, read_registry(connection), Bodies()))
    return [registry, *check(connection)]
