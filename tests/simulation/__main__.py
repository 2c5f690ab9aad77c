"""`python -m tests.simulation`: lives of the model, one after another, until one goes wrong or the steps are done."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

from tests.simulation.rules import Fault
from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None, help="of the first life; the next ones follow it")
    parser.add_argument("--fault", choices=[fault.name for fault in Fault], action="append", default=[])
    asked = parser.parse_args()
    first = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    began, steps, lives, problems = time.monotonic(), 0, 0, list[str]()
    while steps < asked.steps and not problems:
        world = World(first + lives, frozenset(Fault[name] for name in asked.fault))
        problems = world.live()
        steps, lives = steps + world.steps, lives + 1
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"seed": first + lives - 1, "lives": lives, "steps": steps, "s": seconds, "problems": problems}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
