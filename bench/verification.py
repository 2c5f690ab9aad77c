"""How fast `moiety verify` reads a bundle, and in how much memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from bench.figures import Figure, timed
from bench.workload import Workload
from ledger.acts.controls import Controls
from ledger.acts.entries import DeploymentContent, Founder, PlatformContent, PoolOpenedContent
from ledger.acts.people import Actor, People
from ledger.journal import Transfer
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.leaves import Content, Leaf, encode
from ledger.log.merkle import Frontier
from ledger.log.note_keys import SigningKey
from ledger.log.origins import REGISTRY_LOG, log_origin
from ledger.usage.entries import MethodContent, UsageContent
from ledger.usage.shares import parse_batch
from ledger.usage.weights import weigh
from moiety import batches as sdk
from payout.entries import PoolContent
from payout.policy import Policy
from services.exports.tiles.bundles import write_bundle

KEPT_BATCHES: Final = 5
"""Of which the bundle is made, over and over with new ids."""

THREADS: Final = 2
"""As `moiety verify` has by default."""

MEMORY_FREE_BYTES: Final = 4 * 2**30
"""A bundle of 10^8 shares and the bodies that it is made of are 1.4 GB."""

ORIGIN: Final = "bench.example"
KEY: Final = SigningKey(log_origin(ORIGIN, "bench"), bytes(32))
FOUNDER: Final = Founder(operator="operators/bench", key_id="0" * 16, secret_hash="0" * 64)
BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Source:
    """A log of usage alone, or the registry's. Bodies wait in a folder, so that this process stays small too."""

    folder: Path
    name: str = "bench"
    begin: datetime = BEGIN
    registry_source: Source | None = None
    logged: list[bytes] = field(default_factory=list)
    frontier: Frontier = field(default_factory=Frontier)
    shares: int = 0

    def append(self, content: Content) -> None:
        index = len(self.logged)
        leaf = encode(Leaf(self.name, index, self.begin + timedelta(seconds=index), content))
        self.frontier.append(leaf.hash)
        self.logged.append(leaf.entry)

    def submit(self, table: pa.RecordBatch) -> None:
        body = sdk.encode(table)
        batch = parse_batch(body)
        weights = weigh(batch, np.ones(len(batch), dtype=np.bool_))
        digest = sha256(body)
        (self.folder / digest.hexdigest()).write_bytes(body)
        self.shares += len(batch.amounts)
        self.append(
            UsageContent(
                platform="acme", batch_id=f"b-{len(self.logged)}", body_sha256=digest.hexdigest(),
                body_bytes=len(body), method="bench", method_version=1, accepted=len(batch), duplicates="",
                ai_only=weights[1].totals(), human_ai=weights[2].totals(),
            )
        )  # fmt: skip

    def registry(self) -> Source | None:
        return self.registry_source

    def checkpoint(self) -> bytes:
        key = KEY.named(log_origin(ORIGIN, self.name))
        return sign_checkpoint(Checkpoint(key.name, len(self.logged), self.frontier.root()), key).to_bytes()

    def entries(self, start: int, end: int) -> list[bytes]:
        return self.logged[start:end]

    def body(self, digest: bytes) -> bytes:
        return (self.folder / digest.hex()).read_bytes()

    def transfers(self, start: int, end: int) -> Iterator[tuple[int, int, Transfer]]:
        del start, end
        return iter(())

    def balances(self, size: int) -> dict[str, int]:
        del size
        return {}


def make(folder: Path, workload: Workload, batches: int) -> Source:
    """A bundle of so many batches of a workload, each with other events."""
    registry, actor, policy = Source(folder, REGISTRY_LOG), Actor(FOUNDER.operator, FOUNDER.key_id), Policy()
    registry.append(
        DeploymentContent(origin=ORIGIN, controls=Controls.of_one(), founders=[FOUNDER], keys_made_together=False)
    )
    said = policy.model_dump(mode="json")
    opened = PoolOpenedContent(
        pool_id="bench", display_name="Bench", currency="EUR", distribute="REPORTED", policy=said, platforms=["acme"]
    )
    registry.append(actor.stamp(PlatformContent(platform="acme", display_name="Acme"), People(1)))
    registry.append(actor.stamp(opened, People(2)))
    # After the registry, by which its entries are judged.
    source = Source(folder, begin=BEGIN + timedelta(seconds=len(registry.logged)), registry_source=registry)
    source.append(
        actor.stamp(
            PoolContent(
                opened_at=2,
                display_name="Bench",
                currency="EUR",
                distribute="REPORTED",
                policy=policy,
                platforms=["acme"],
            ),
            People(3),
        )
    )
    method = MethodContent(method="bench", version=1, display_name="Bench", confidence_ppm=900_000, evidence_uri="")
    source.append(actor.stamp(method, People(3)))
    for table in sdk.record_batches(pa.RecordBatchReader.from_batches(sdk.USAGE_SCHEMA, workload.repeated(batches))):
        source.submit(table)
    write_bundle(source, folder / "bench.tar")
    return source


_TOLD: Final = """
import resource, subprocess, sys
ended = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(ended)
"""
"""Run in a small process between: a process begins with the peak memory of the one that started it."""


def verify(bundle: Path) -> tuple[float, int]:
    """Seconds and peak bytes of a process of its own, as anyone would start it. It must find that all holds."""
    command = [
        sys.executable, "-m", "services.cli", "verify", str(bundle), "--key", str(KEY.verifier_key), "--json",
        "--threads", str(THREADS),
    ]  # fmt: skip
    with timed() as seconds:
        ended = subprocess.run([sys.executable, "-c", _TOLD, *command], capture_output=True, text=True, check=True)
    told = json.loads(ended.stdout)
    assert told["holds"], told["findings"]
    return seconds(), int(ended.stderr.split()[-1]) * 1024


def read(bundle: Path, bodies: int) -> float:
    """Seconds of a process that only reads, hashes and decompresses the bodies, by as many threads."""
    command = [sys.executable, "-m", "bench.reading", str(bundle), str(THREADS)]
    with timed() as seconds:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == bodies
    return seconds()


def _memory_folder() -> str | None:
    """Where files are kept in memory, if that is anywhere: a bundle is read from there in any case once it is written,
    and writing it back to a disk would go on while it is verified.
    """
    folder = Path("/dev/shm")  # a folder with a random name is made in it
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > MEMORY_FREE_BYTES else None


def measure(runs: int, *, shares: int) -> list[Figure]:
    """A bundle of about so many shares, in the batches that the SDK makes."""
    workload = Workload(batches=KEPT_BATCHES)
    batches = -(-shares // (workload.events_per_batch * workload.shares_per_event))
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
        source = make(Path(folder), workload, batches)
        bundle = Path(folder) / "bench.tar"
        rates, limits, megabytes = [], [], []
        for _ in range(runs):
            seconds, peak = verify(bundle)
            rates.append(source.shares / seconds)
            limits.append(source.shares / read(bundle, batches))
            megabytes.append(peak / 10**6)
    what = f"verify a bundle of {source.shares:,} shares"
    against = f"only reading, hashing and decompressing the same bodies, {THREADS} threads"
    return [
        Figure("verify", what, against, "shares/s", rates, limits, 0.4, 0.6),
        Figure("verify-memory", "its most memory", "", "MB", megabytes, [], 500, 250, lower=True),
    ]
