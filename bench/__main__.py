"""`make bench`: measures what the service exists for, each figure against a peer or a limit in the same run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

from bench import (
    calls,
    checks,
    footprint,
    intake,
    large,
    overload,
    pages,
    places,
    proofs,
    report,
    rounds,
    schedules,
    starting,
    statements,
    verification,
)
from bench.figures import Figure, Series
from bench.growth import proofs as growing_proofs
from bench.growth import recording, streams
from bench.growth import rounds as growing_rounds
from bench.stage import REST_SECONDS, Stage, staged

Part = Callable[[Stage, int, bool], Sequence[Figure | Series]]

PARTS: Final[dict[str, Part]] = {
    "footprint": lambda stage, runs, quick: footprint.measure(stage, runs, batches=8 if quick else 40),
    "intake": lambda stage, runs, quick: intake.measure(stage, runs, batches=4 if quick else 40),
    "places": lambda stage, runs, quick: places.measure(stage, runs, batches=4 if quick else 40),
    "calls": lambda _, runs, quick: calls.measure(
        runs, submits=20 if quick else 4_000, balances=50 if quick else 16_000
    ),
    "overload": lambda stage, runs, quick: overload.measure(stage, runs, seconds=1 if quick else 10),
    "calculation": lambda stage, runs, quick: rounds.measure_calculation(stage, runs, batches=20 if quick else 10_000),
    "start": lambda _, runs, __: starting.measure(runs),
    "proofs": lambda stage, runs, quick: proofs.measure(stage, runs, leaves=3_000 if quick else 300_000),
    "statements": lambda stage, runs, quick: statements.measure(stage, runs, collectives=200 if quick else 10_000),
    "pages": lambda stage, runs, quick: pages.measure(stage, runs, collectives=200 if quick else 10_000),
    "large": lambda stage, _, quick: large.measure(stage, collectives=200 if quick else 10**6),
    "schedules": lambda stage, _, quick: schedules.measure(stage, pools=3 if quick else 10_000),
    "replay": lambda stage, runs, quick: rounds.measure_replay(stage, runs, batches=4 if quick else 200),
    "verification": lambda _, runs, quick: verification.measure(runs, shares=10**6 if quick else 10**8),
    "fsck": lambda stage, runs, quick: checks.measure(stage, runs, batches=4 if quick else 200),
    "growth-intake": lambda _, __, quick: recording.measure(
        _marks(10**4, 10**5) if quick else _marks(10**5, 5 * 10**7)
    ),
    "growth-claims": lambda stage, runs, quick: recording.measure_claims(
        stage, runs, marks=_marks(10**4, 10**5) if quick else _marks(10**5, 10**6)
    ),
    "growth-rounds": lambda stage, runs, quick: growing_rounds.measure(
        stage,
        runs,
        batches=(10, 20) if quick else (100, 300, 1_000, 3_000, 10_000),
        collectives=(100, 1_000) if quick else (10**2, 10**3, 10**4, 10**5, 10**6),
    ),
    "growth-proofs": lambda stage, runs, quick: growing_proofs.measure(
        stage, runs, leaves=(100, 1_000) if quick else (10**3, 10**4, 10**5, 10**6)
    ),
    "growth-streams": lambda stage, runs, quick: streams.measure(
        stage, runs, streams=(1, 2) if quick else (1, 2, 4, 8), batches=4 if quick else 40
    ),
}
"""Each begins with a service and a Postgres of its own, so that none measures what another left behind."""


def _marks(first: int, last: int) -> list[int]:
    """Three numbers of events for each power of ten."""
    return [each for power in range(9) for each in (10**power, 2 * 10**power, 5 * 10**power) if first <= each <= last]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which parts to run: {', '.join(PARTS)}; all if none")
    parser.add_argument("--runs", type=int, help="runs of each figure (5, or 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="small and short: shows that it works, keeps nothing")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    runs = asked.runs or (1 if asked.quick else 5)
    for name in asked.parts or PARTS:
        began = perf_counter()
        with staged(rest_seconds=0 if asked.quick else REST_SECONDS) as stage:
            measured = PARTS[name](stage, runs, asked.quick)
            found = report.section(measured, report.machine(stage.database_url))
        for one in measured:
            print(f"{name}: {one.summary()}", file=sys.stderr)
        print(f"{name}: took {perf_counter() - began:.0f} s", file=sys.stderr)
        if asked.quick:
            print(json.dumps({name: found}, indent=2))
        else:
            report.keep(name, found, PARTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
