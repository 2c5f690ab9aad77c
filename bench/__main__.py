"""`make bench`: measures intake against its peer, and prints one JSON document."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from bench.intake import compare, declare
from bench.service import service
from bench.workload import Workload
from moiety import Client

RUNS = 5


def main() -> int:
    workload = Workload(batches=20)
    with service() as measured:
        with Client(measured.address, measured.operator_key) as operator:
            keys = declare(operator, workload, platforms=1)
        runs = [replace(workload, seed=seed) for seed in range(RUNS)]
        intake = compare(measured.database_url, measured.address, keys, runs)
    document = {"runs": RUNS, "events_per_run": workload.events, "intake": intake}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
