"""`make attack`: hostile clients against a running service, and what they cost it and others.

Prints a JSON line for each, and ends with 1 where memory, threads, or what another client waited is beyond its bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moiety import MoietyError
from moiety.keys import make_key
from tests.attack.clients import ATTACKS, PLATFORM, Target
from tests.faults.world import POOL, World
from tests.support.programs import size_of

MEMORY_MIB: Final = 400
"""By how much a server may grow under one attack; one bomb took 1,400 before messages were bounded."""

THREADS: Final = 64
"""By how many threads it may grow."""

WAIT_SECONDS: Final = 5.0
"""How long one call of another client may take: what its deadline would allow, on a machine that is busy anyway."""


@dataclass
class Cost:
    """What an attack cost."""

    calls: int = 0
    failed: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    memory_mib: int = 0
    threads: int = 0

    def problems(self, before: Cost) -> list[str]:
        """What is beyond its bound."""
        found = [f"another client was told {told}" for told in self.failed[:3]]
        if not self.calls:
            found.append("another client was not answered once")
        if self.longest_s > WAIT_SECONDS:
            found.append(f"another client waited {self.longest_s:.1f} s")
        if self.memory_mib - before.memory_mib > MEMORY_MIB:
            found.append(f"memory grew from {before.memory_mib} to {self.memory_mib} MiB")
        if self.threads - before.threads > THREADS:
            found.append(f"threads grew from {before.threads} to {self.threads}")
        return found


@contextmanager
def measured(world: World) -> Iterator[Cost]:
    """What another client waits meanwhile, and what the server takes."""
    cost, over = Cost(), threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            size = size_of(world.server.pid)
            cost.memory_mib = max(cost.memory_mib, size.memory_mib)
            cost.threads = max(cost.threads, size.threads)

    def call() -> None:
        with grpc.insecure_channel(world.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            asks: tuple[Callable[[], object], ...] = (
                lambda: world.platforms[0].get_pool(POOL),
                lambda: world.olive.get_log_head(POOL),
                lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=10),  # type: ignore[attr-defined]
            )
            while not over.wait(0.02):
                for ask in asks:
                    began = time.monotonic()
                    try:
                        ask()
                    except (MoietyError, grpc.RpcError) as error:
                        cost.failed.append(str(error))
                    cost.calls += 1
                    cost.longest_s = max(cost.longest_s, time.monotonic() - began)

    threads = [threading.Thread(target=each, daemon=True) for each in (look, call)]
    for each in threads:
        each.start()
    try:
        yield cost
    finally:
        over.set()
        for each in threads:
            each.join()


def run(seconds: float, chosen: str = "") -> list[str]:
    """Attack in each way for so long, and return what was beyond its bounds."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="moiety-attack-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        world = World(folder, stack, http=True)
        made, other = make_key(), make_key()
        world.olive.create_api_key(f"platforms/{PLATFORM}", made.hash)
        world.olive.create_api_key("collectives/irish", other.hash)
        target = Target(world.address, world.http_address, made.text, other.text, seconds)
        for attack in ATTACKS:
            if chosen and attack.__name__ != chosen:
                continue
            with measured(world) as rest:
                time.sleep(min(seconds, 1.0))
            with measured(world) as cost:
                attack(target)
            found = [f"{attack.__name__}: {each}" for each in cost.problems(rest)]
            print(json.dumps({"attack": attack.__name__, **vars(cost), "failed": len(cost.failed), "problems": found}))
            problems += found
        if "Traceback" in (said := world.log.read_text(errors="replace")):
            problems.append(f"the server logged a traceback: {said[said.index('Traceback') :][:2000]}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="how long each attack lasts")
    parser.add_argument("--attack", default="", choices=["", *(each.__name__ for each in ATTACKS)])
    asked = parser.parse_args()
    problems = run(asked.seconds, asked.attack)
    print("\n".join(problems) or "Nobody else was held up, and the service stayed within its bounds.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
