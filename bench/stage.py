"""Where it is measured: the service in a process of its own, on an embedded Postgres that the peers use too."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa

import moiety
from bench.workload import Workload
from ledger.acts.collectives import collective_content, render_domains
from ledger.acts.people import Actor
from ledger.registry import Collective
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.transactions import driver_connection
from ledger.store.registry.people import read_people
from moiety import Client
from moiety.keys import make_key
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED
from services.access.founding import found_with_new_keys
from services.parts import Parts
from services.process.embedded import embedded_postgres
from services.process.host import FIRST_OPERATOR
from services.process.memory import keep_freed_memory
from services.schema import distribute, upgrade
from services.settings import load_settings
from services.wiring import system_clock, wire

METHOD: Final = "bench"
CURRENCY: Final = "EUR"
PLATFORM_IDS: Final = tuple(f"platform-{number}" for number in range(8))
"""Registered in every stage, and admitted to all of its pools."""

REST_SECONDS: Final = 5
"""After the last write: a disk that is shared or has a cache is busy for a while after it said that it is done."""

REGISTERED_AT_ONCE: Final = 20_000
"""Collectives in one transaction: it takes a second or two."""

_BLOCK: Final = 512
"""What `st_blocks` counts, whatever the file system's own blocks are."""

_pools = count()


class Stream(NamedTuple):
    """Where a stream of usage goes, and whose it is."""

    address: str
    pool: str
    key: str


@dataclass(frozen=True, slots=True)
class Stage:
    """The service, its Postgres, and what a measurement needs of both; `parts` is another set, in this process.

    address: of the one server, or the first; addresses: of all of them; empty_addresses: of the handlers in each of
    them that do nothing.
    """

    address: str
    addresses: tuple[str, ...]
    empty_addresses: tuple[str, ...]
    server_id: int
    database_url: str
    operator_key: str
    operator: Client
    parts: Parts
    rest_seconds: float
    bodies_folder: Path | None

    def new_pool(self, workload: Workload) -> str:
        """A new pool with the method and the collectives of a workload."""
        pool = f"bench-{next(_pools)}"
        self._register(workload.collective_ids())
        policy = moiety.Policy(fee_ppm=50_000)
        names = [f"platforms/{name}" for name in PLATFORM_IDS]
        opened = moiety.Pool(
            display_name=pool, currency=CURRENCY, policy=policy, platforms=names, distribute=DISTRIBUTE_REPORTED
        )
        self.operator.create_pool(pool, opened)
        self.operator.create_method(pool, METHOD, moiety.Method(display_name="Bench", confidence_ppm=900_000))
        return pool

    def _register(self, collective_ids: list[str]) -> None:
        """In bulk: the same leaves and rows that the service writes one by one."""
        with self.parts.database.transaction() as connection:
            known = set(connection.execute(sa.select(t.collective.c.name)).scalars())
            log.put_body(connection, REGISTRY, render_domains(()))
        new = [Collective(name, name, 1) for name in collective_ids if name not in known]
        for at in range(0, len(new), REGISTERED_AT_ONCE):
            self._register_some(new[at : at + REGISTERED_AT_ONCE])

    def _register_some(self, new: list[Collective]) -> None:
        now, actor = system_clock(), Actor(FIRST_OPERATOR, self.operator_key.split("_")[1])
        with self.parts.database.transaction() as connection:
            people = read_people(connection)
            leaves = log.append(
                connection,
                REGISTRY,
                [
                    actor.stamp(collective_content(each), replace(people, size=people.size + place))
                    for place, each in enumerate(new)
                ],
                now,
            )
            columns = "name, display_name, members, equity_ppm, status, leaf_index, created_at"
            into = f"COPY collective ({columns}) FROM STDIN"
            with driver_connection(connection).cursor() as cursor, cursor.copy(into) as copy:
                for each, leaf in zip(new, leaves, strict=True):
                    row = (each.name, each.display_name, each.members, each.equity_ppm, each.status.value)
                    copy.write_row((*row, leaf.index, now))

    def platform_keys(self, platforms: int) -> list[str]:
        """A key for each of so many platforms, which all pools admit."""
        return [self.new_key(f"platforms/{name}") for name in PLATFORM_IDS[:platforms]]

    def new_key(self, principal: str) -> str:
        """A new key of a platform or collective."""
        key = make_key()
        self.operator.create_api_key(principal, key.hash)
        return key.text

    def ref(self, pool: str) -> PoolRef:
        """The pool as the store knows it."""
        with self.parts.database.transaction() as connection:
            return pool_ref(connection, pool)

    def bytes_on_disk(self) -> int:
        """What Postgres and the files of bodies take."""
        files = self.bodies_folder.rglob("*") if self.bodies_folder else ()
        return self.bytes_of_postgres() + sum(_BLOCK * file.stat().st_blocks for file in files)

    def bytes_of_postgres(self) -> int:
        """What all tables of the service take, with their indexes and what is stored apart."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("VACUUM")
            query = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_user_tables"
            (size,) = connection.execute(query).fetchone() or (0,)
        return int(size)

    def settle(self) -> None:
        """Have written to disk what was filled in, so that writing it does not go on while something is measured."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        os.sync()
        sleep(self.rest_seconds)

    @contextmanager
    def web(self) -> Iterator[str]:
        """The address of the console, of another server on the same database: the first one has none."""
        with _server(self.database_url, "", claims=True, http_listen="127.0.0.1:0") as (_, said):
            yield said["http_address"]

    def server_memory_bytes_max(self) -> int:
        """The most memory that the server's process has held at once."""
        status = Path(f"/proc/{self.server_id}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@contextmanager
def staged(
    *,
    servers: int = 1,
    claims: bool = True,
    partitions: int = 0,
    bodies_in_files: bool = True,
    rest_seconds: float = REST_SECONDS,
) -> Iterator[Stage]:
    """Start all of it, and stop it at the end. Postgres runs as under `moiety up`: fsync and synchronous_commit are on.

    claims: False is for the one measurement of what a row per event costs; events then count as often as they come.
    partitions: how many the tables lie in; 0 for whole tables.
    bodies_in_files: whether large bodies lie in a folder beside Postgres, as under `moiety up`.
    rest_seconds: for how long nothing is done once what was filled in is on its way to the disk.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        subprocess.run(["cp", "-a", _migrated(), f"{folder}/data"], check=True)
        url = stack.enter_context(embedded_postgres(Path(folder) / "data"))
        if partitions:
            distribute(url, partitions=partitions)
        bodies_folder = Path(folder) / "bodies" if bodies_in_files else None
        bodies_url = bodies_folder.as_uri() if bodies_folder else ""
        keep_freed_memory()
        parts = wire(load_settings(database_url=url, bodies_url=bodies_url))
        stack.callback(parts.close)
        with parts.database.transaction() as connection:
            founded = found_with_new_keys(connection, "localhost/bench", [FIRST_OPERATOR])
            operator_key = founded[FIRST_OPERATOR]
        started = [
            stack.enter_context(_server(url, bodies_url, place, servers, claims=claims)) for place in range(servers)
        ]
        process, said = started[0]
        operator = stack.enter_context(Client(said["address"], operator_key))
        for name in PLATFORM_IDS:
            operator.create_platform(name, moiety.Platform(display_name=name))
        addresses = tuple(found["address"] for _, found in started)
        empty = tuple(found["empty_address"] for _, found in started)
        address, server_id = said["address"], process.pid
        yield Stage(
            address, addresses, empty, server_id, url, operator_key, operator, parts, rest_seconds, bodies_folder
        )


@cache
def _migrated() -> Path:
    """The files of a Postgres whose schema is up to date and holds nothing, made once: it takes longer than to copy."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    with embedded_postgres(folder / "data") as url:
        upgrade(url)
    return folder / "data"


@contextmanager
def _server(
    url: str, bodies_url: str, place: int = 0, servers: int = 1, *, claims: bool, http_listen: str = ""
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The process of one of so many servers, and the line that it says.

    It logs to a file; at the end warnings and errors are shown.
    """
    chosen = {
        "MOIETY_DATABASE_URL": url,
        "MOIETY_BODIES_URL": bodies_url,
        "MOIETY_LISTEN": "127.0.0.1:0",
        "MOIETY_HTTP_LISTEN": http_listen,
        "MOIETY_LOG_FORMAT": "json",
    }
    options = [str(place), str(servers), *([] if claims else ["--no-claims"])]
    command = [sys.executable, "-m", "bench.server", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **chosen})
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait()
            log.seek(0)
            sys.stderr.writelines(line for line in log if '"level": "info"' not in line)
