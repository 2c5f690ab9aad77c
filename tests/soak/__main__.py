"""`make soak`: steady traffic for an hour, and what a server and the schedulers take meanwhile.

Prints a JSON line every half minute, and at the end by how much each process grew per hour once it was warm. Ends with
1 where one grew by more than the bound, or a caller was told something that it should not be told.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.faults.checks import as_line, check, settle
from tests.faults.traffic import Traffic
from tests.faults.world import World
from tests.support.programs import Size, size_of

LOOK_SECONDS: Final = 5.0
LINE_SECONDS: Final = 30.0

GROWTH_MIB: Final = 24.0
"""By how much a warm process may grow in the whole run: what its allocator keeps of a larger answer than before."""

WARM_SHARE: Final = 0.25
"""Of the run, after which a process counts as warm: it has then met all that the traffic asks of it."""


@dataclass(frozen=True)
class Look:
    """What a process took at a time."""

    second: float
    size: Size


def growth_mib(looks: list[Look]) -> float:
    """By how much the memory grew from the first look to the last, by the straight line that fits best.

    One look may fall into a large answer; the line does not depend on any single one.
    """
    if len(looks) < 2:  # a line needs two
        return 0.0
    seconds = np.array([look.second for look in looks])
    slope = float(np.polyfit(seconds - seconds[0], [look.size.memory_mib for look in looks], 1)[0])
    return slope * float(seconds[-1] - seconds[0])


def run(minutes: float, seed: int) -> list[str]:
    """Let traffic go on for so long, and return what was beyond its bounds."""
    with tempfile.TemporaryDirectory(prefix="moiety-soak-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        world = World(folder, stack)
        traffic = Traffic(world, seed)
        stack.callback(traffic.stop)
        pids = {"server": world.server.pid, "first": world.schedulers[0].pid, "second": world.schedulers[1].pid}
        looks = _watched(pids, traffic, 60 * minutes)
        traffic.pause()
        settle(world, traffic)
        found = check(world, traffic, folder)
        problems = list(traffic.book.problems)
        if "Traceback" in (said := world.log.read_text(errors="replace")):
            problems.append(f"a process logged a traceback: {said[said.index('Traceback') :][:2000]}")
        warm = {process: each[int(len(each) * WARM_SHARE) :] for process, each in looks.items()}
        grew = {process: growth_mib(each) for process, each in warm.items()}
        problems += [f"{process} grew by {by:.1f} MiB" for process, by in grew.items() if by > GROWTH_MIB]
        hours = 60 * minutes * (1 - WARM_SHARE) / 3600
        slopes = {process: round(by / hours, 1) for process, by in grew.items()}
        calls = Counter[str](traffic.book.calls)
        print(as_line(seed=seed, minutes=minutes, mib_per_hour=slopes, **found, calls=calls, problems=problems))
        return problems


def _watched(pids: dict[str, int], traffic: Traffic, seconds: float) -> dict[str, list[Look]]:
    began, said = time.monotonic(), 0.0
    looks: dict[str, list[Look]] = {process: [] for process in pids}
    while (now := time.monotonic() - began) < seconds:
        for process, pid in pids.items():
            looks[process].append(Look(now, size_of(pid)))
        if now - said >= LINE_SECONDS:
            said = now
            sizes = {process: vars(each[-1].size) for process, each in looks.items()}
            print(as_line(minute=round(now / 60, 1), **sizes, calls=traffic.book.calls.total()), flush=True)
        time.sleep(LOOK_SECONDS)
    return looks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=18)
    asked = parser.parse_args()
    problems = run(asked.minutes, asked.seed)
    print("\n".join(problems) or "No process grew, and nothing was lost.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
