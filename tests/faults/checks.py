"""What must hold after every cycle, whatever was done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg

from tests.faults.traffic import Traffic
from tests.faults.world import PLATFORMS, POOL, World

SIGNED_SECONDS: Final = 300.0
"""How long the signer may take until everything is signed."""


def settle(world: World, traffic: Traffic) -> None:
    """Send everything again that has no receipt, until all of it has one."""
    book = traffic.book
    for number, platform in enumerate(world.platforms):
        for batch in book.unanswered(number):
            book.received(number, batch, _submitted(platform, book.sent[number, batch], batch))
        for by, request in [key for key in book.revenue if key[0] == number and key not in book.leaves_of_revenue]:
            amount = book.revenue[by, request]
            platform.report_revenue(POOL, amount, "EUR", request_id=request)
            book.leaves_of_revenue[by, request] = amount


def _submitted(platform: Any, usage: Any, batch: str) -> Any:
    return platform.submit_events(POOL, usage, "ngram", batch_id=batch)


def check(world: World, traffic: Traffic, folder: Path) -> dict[str, int]:
    """Compare all that was acknowledged with what is there; problems go into the book.

    Returns what was compared, in numbers.
    """
    book, problems = traffic.book, traffic.book.problems
    found = {batch.name: batch for batch in world.olive.list_batches(POOL)}
    counted: set[tuple[int, UUID]] = set()
    for (number, batch), receipt in book.receipts.items():
        kept = found.get(receipt.name)
        if kept is None or (kept.leaf_index, kept.leaf_hash) != (receipt.leaf_index, receipt.leaf_hash):
            problems.append(f"{PLATFORMS[number]}'s {batch} was acknowledged and is not there")
        counted |= {(number, event.event_id) for event in book.sent[number, batch]}
    if len(found) != len(book.receipts):
        problems.append(f"{len(found)} batches are there, and {len(book.receipts)} were sent")
    accepted = sum(batch.accepted_count for batch in found.values())
    if accepted != len(counted):
        problems.append(f"{accepted} events were counted, of {len(counted)} that were sent")
    balances = {each.name.rpartition("accounts/")[2]: each.amount_minor for each in world.olive.list_balances(POOL)}
    paid_in = -sum(amount for name, amount in balances.items() if name.startswith("platform/"))
    if paid_in != sum(book.leaves_of_revenue.values()):
        problems.append(f"{paid_in} was paid in, and {sum(book.leaves_of_revenue.values())} acknowledged")
    if total := sum(balances.values()):
        problems.append(f"balances sum to {total}")
    problems += traffic.banking.problems()
    fsck = _moiety(world, "db", "fsck")
    if fsck.returncode:
        problems.append(f"fsck: {fsck.stdout[-500:]}{fsck.stderr[-500:]}")
    _verify(world, traffic, folder)
    problems += _stuck(world)
    return {
        "batches": len(found),
        "events": accepted,
        "rounds": len(list(world.olive.list_rounds(POOL))),
        "pay_runs": traffic.banking.runs,
    }


def _verify(world: World, traffic: Traffic, folder: Path) -> None:
    """Verify a bundle against the checkpoint that was kept after the last cycle."""
    size = world.olive.get_log_head(POOL).size
    deadline = time.monotonic() + SIGNED_SECONDS
    while world.olive.get_checkpoint(POOL).size < size:
        if time.monotonic() > deadline:
            traffic.book.problems.append(f"{size} leaves are not signed after {SIGNED_SECONDS:g} s")
            return
        world.keep_up()  # a scheduler that started before Postgres did has ended
        time.sleep(0.2)
    bundle = folder / "bundle.tar"
    kept = folder / "kept"
    since = ("--since", str(kept)) if kept.exists() else ()
    for command in (("bundle", POOL, str(bundle)), ("verify", str(bundle), "--key", world.vkey, *since)):
        ran = _moiety(world, *command)
        if ran.returncode:
            traffic.book.problems.append(f"{command[0]}: {ran.stdout[-800:]}{ran.stderr[-500:]}")
            return
    kept.write_bytes(world.olive.get_checkpoint(POOL).note)


def _stuck(world: World) -> list[str]:
    query = """
        SELECT pid || ': ' || state || ' ' || left(query, 80) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND xact_start < now() - interval '60 seconds'
    """
    with psycopg.connect(world.url) as connection:
        return [f"a transaction is stuck: {row[0]}" for row in connection.execute(query)]


def _moiety(world: World, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "MOIETY_DATABASE_URL": world.url,
        "MOIETY_ADDRESS": world.address,
        "MOIETY_API_KEY": _operator_key(),
    }
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *command], env=environment, capture_output=True, text=True, check=False
    )


def _operator_key() -> str:
    from tests.support.deployment import FOUNDERS  # noqa: PLC0415

    return FOUNDERS[0].key.text


def as_line(**values: Any) -> str:
    """One line of the campaign's journal."""
    return json.dumps(values)
