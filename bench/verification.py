"""`python -m bench.verification`: how fast `moiety verify` reads a bundle, and in how much memory.

Beside it, in the same run: the SHA-256 of the same bodies, which nobody who checks them can do without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.workload import Workload
from ledger.batch_weights import weigh
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.journal import Transfer
from ledger.leaves import Content, Leaf, MethodContent, UsageContent, encode
from ledger.merkle import Frontier
from ledger.note_keys import SigningKey
from ledger.usage import parse_batch
from payout.policy import Policy, PoolContent
from services.static_files.bundles import write_bundle

KEY = SigningKey("bench.example/pools/bench", bytes(32))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Source:
    """A log of usage alone. Bodies wait in a folder, so that this process stays small too."""

    folder: Path
    logged: list[bytes] = field(default_factory=list)
    frontier: Frontier = field(default_factory=Frontier)
    shares: int = 0

    def append(self, content: Content) -> None:
        index = len(self.logged)
        leaf = encode(Leaf("bench", index, BEGIN + timedelta(seconds=index), content))
        self.frontier.append(leaf.hash)
        self.logged.append(leaf.entry)

    def submit(self, table: pa.RecordBatch) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_batch(table)
        body = sink.getvalue().to_pybytes()
        batch = parse_batch(body)
        weights = weigh(batch, np.ones(len(batch), dtype=np.bool_))
        digest = sha256(body)
        (self.folder / digest.hexdigest()).write_bytes(body)
        self.shares += len(batch.shares)
        self.append(
            UsageContent(
                platform="acme", batch_id=f"b-{len(self.logged)}", body_sha256=digest.hexdigest(),
                body_bytes=len(body), method="bench", method_version=1, accepted=len(batch), duplicates="",
                ai_only=weights[1].totals(), human_ai=weights[2].totals(),
            )
        )  # fmt: skip

    def checkpoint(self) -> bytes:
        stated = Checkpoint(KEY.name, len(self.logged), self.frontier.root())
        return sign_checkpoint(stated, KEY).to_bytes()

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


def make(folder: Path, workload: Workload, repeat: int) -> Source:
    """A bundle of so many workloads, each with other events."""
    source = Source(folder)
    source.append(PoolContent(display_name="Bench", currency="EUR", policy=Policy()))
    source.append(
        MethodContent(method="bench", version=1, display_name="Bench", confidence_ppm=900_000, evidence_uri="")
    )
    for seed in range(repeat):
        for table in replace(workload, seed=seed).tables():
            source.submit(table)
    write_bundle(source, folder / "bench.tar")
    return source


def verify(bundle: Path, threads: int) -> tuple[float, int]:
    """Seconds and peak bytes of a process of its own."""
    command = [sys.executable, "-m", "moiety", "verify", str(bundle), "--key", str(KEY.verifier_key), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--threads", str(threads)], stdout=subprocess.PIPE)
    assert process.stdout
    told = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert told["holds"], told["finding"]
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def hashed(bundle: Path) -> float:
    """Seconds for the SHA-256 of all of it."""
    began = time.perf_counter()
    with bundle.open("rb") as file:
        digest = sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.verification", description=__doc__)
    parser.add_argument("--batches", type=int, default=125, help="batches of 10,000 events (125)")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="runs, one for each (1 2)")
    parser.add_argument("--events", type=int, default=10_000, help="events in a batch (10,000)")
    parser.add_argument("--shares", type=int, default=16, help="shares in an event (16)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(batches=min(5, asked.batches), events_per_batch=asked.events, shares_per_event=asked.shares)
        source = make(Path(folder), workload, -(-asked.batches // workload.batches))
        bundle = Path(folder) / "bench.tar"
        results = {
            "shares": source.shares,
            "bytes": bundle.stat().st_size,
            "sha256_shares_per_second": round(source.shares / hashed(bundle)),
        }
        for threads in asked.threads:
            seconds, peak = verify(bundle, threads)
            results |= {
                f"shares_per_second_{threads}": round(source.shares / seconds),
                f"peak_megabytes_{threads}": round(peak / 1e6),
            }
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
