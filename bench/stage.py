"""Where it is measured: the service in a process of its own, on an embedded Postgres that the peers use too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

import moiety
from bench.workload import Workload
from ledger.store.log import PoolRef
from moiety import Client
from services import keys
from services.api.registry import pool_of
from services.embedded import embedded_postgres
from services.host import FIRST_OPERATOR
from services.memory import keep_freed_memory
from services.schema import upgrade
from services.settings import load_settings
from services.wiring import Parts, system_clock, wire

METHOD = "bench"
CURRENCY = "EUR"

_pools = count()


@dataclass(frozen=True, slots=True)
class Stage:
    """The service, its Postgres, and what a measurement needs of both; `parts` is another set, in this process."""

    address: str
    empty_address: str
    server_id: int
    database_url: str
    operator_key: str
    operator: Client
    parts: Parts

    def new_pool(self, workload: Workload) -> str:
        """A new pool with the method and the collectives of a workload."""
        pool = f"bench-{next(_pools)}"
        known = {found.name.removeprefix("collectives/") for found in self.operator.list_collectives()}
        for collective_id in workload.collective_ids():
            if collective_id not in known:
                self.operator.create_collective(collective_id, moiety.Collective(display_name=collective_id))
        policy = moiety.Policy(fee_ppm=50_000)
        self.operator.create_pool(pool, moiety.Pool(display_name=pool, currency=CURRENCY, policy=policy))
        self.operator.create_method(pool, METHOD, moiety.Method(display_name="Bench", confidence_ppm=900_000))
        return pool

    def platform_keys(self, platforms: int) -> list[str]:
        """A key for each of so many platforms."""
        made = []
        for number in range(platforms):
            name = f"platform-{number}"
            self.operator.create_platform(name, moiety.Platform(display_name=name))
            made.append(self.operator.create_api_key(f"platforms/{name}").secret)
        return made

    def ref(self, pool: str) -> PoolRef:
        """The pool as the store knows it."""
        with self.parts.database.transaction() as connection:
            return pool_of(connection, f"pools/{pool}", "pool")

    def bytes_on_disk(self) -> int:
        """What all tables of the service take, with their indexes and what is stored apart."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("VACUUM")
            query = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_user_tables"
            (size,) = connection.execute(query).fetchone() or (0,)
        return int(size)

    def server_memory_bytes_max(self) -> int:
        """The most memory that the server's process has held at once."""
        status = Path(f"/proc/{self.server_id}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@contextmanager
def staged() -> Iterator[Stage]:
    """Start all of it, and stop it at the end. Postgres runs with its defaults: fsync and synchronous_commit are on."""
    with tempfile.TemporaryDirectory() as folder, embedded_postgres(Path(folder) / "data") as url:
        upgrade(url)
        chosen = {"MOIETY_DATABASE_URL": url, "MOIETY_LISTEN": "127.0.0.1:0", "MOIETY_LOG_LEVEL": "WARNING"}
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.server"], stdout=subprocess.PIPE, text=True, env={**os.environ, **chosen}
        )
        keep_freed_memory()
        parts = wire(load_settings(database_url=url))
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            with parts.database.transaction() as connection:
                operator_key = keys.issue_key(connection, FIRST_OPERATOR, system_clock())[1]
            with Client(said["address"], operator_key) as operator:
                yield Stage(said["address"], said["empty_address"], process.pid, url, operator_key, operator, parts)
        finally:
            parts.close()
            process.terminate()
            process.wait()
