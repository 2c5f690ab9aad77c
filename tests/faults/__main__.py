"""`make faults`: kills, stops and cuts off everything under traffic, and checks that nothing is lost or doubled.

Prints a JSON line for each cycle, and ends with 1 where anything was lost, doubled, stuck or answered wrongly.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.faults.checks import as_line, check, settle
from tests.faults.traffic import Traffic
from tests.faults.world import World


@dataclass(frozen=True)
class Campaign:
    """What a campaign did."""

    seed: int
    faults: Counter[str]
    calls: Counter[str]
    problems: list[str]


def run(minutes: float, seed: int, *, most_faults: int = 0, faults_each: int = 4) -> Campaign:
    """Break things for so long, or so often, and check everything after every few faults."""
    chance, done = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="moiety-faults-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        world = World(folder, stack)
        traffic = Traffic(world, seed)
        stack.callback(traffic.stop)
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until and (not most_faults or done.total() < most_faults):
            for _ in range(faults_each):
                time.sleep(chance.uniform(0.2, 3))
                fault = chance.choice(world.faults())
                try:
                    fault(chance)
                except (psycopg.OperationalError, subprocess.CalledProcessError):
                    continue  # Postgres was away already
                done[fault.__name__] += 1
                if chance.random() < 0.7:
                    world.wait_until_served()
            world.wait_until_served()
            traffic.pause()
            settle(world, traffic)
            found = check(world, traffic, folder)
            print(as_line(seed=seed, faults=done.total(), **found, problems=traffic.book.problems), flush=True)
            (folder / "bundle.tar").unlink(missing_ok=True)
            traffic.go_on()
        traffic.stop()
        if "Traceback" in (said := world.log.read_text(errors="replace")):
            traffic.book.problems.append(f"a process logged a traceback: {said[said.index('Traceback') :][:2000]}")
        return Campaign(seed, done, traffic.book.calls, traffic.book.problems)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="the same seed chooses the same faults")
    parser.add_argument("--each", type=int, default=4, help="how many faults come between two checks")
    asked = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    did = run(asked.minutes, seed, faults_each=asked.each)
    print(as_line(seed=seed, faults=dict(did.faults), calls=dict(did.calls), problems=did.problems))
    return 1 if did.problems else 0


if __name__ == "__main__":
    sys.exit(main())
