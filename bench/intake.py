"""AppendUsage, durable, over loopback gRPC, against other ways to keep the same usage in the same Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from typing import Final

import grpc
import psycopg
import pyarrow as pa

from bench import peers
from bench.figures import Figure, spread, timed
from bench.stage import METHOD, Stage, Stream
from bench.workload import Workload, claimed, uuid7_ids
from ledger.registry import NANO
from ledger.usage.weights import ModeWeights, unpack
from moiety import Client
from moiety.batches import encode
from moiety.v1 import usage_pb2 as pb
from moiety.v1.usage_pb2_grpc import UsageServiceStub

WARM_UP_BATCHES: Final = 4


def append_usage(streams: Sequence[Stream], batches: list[pa.RecordBatch]) -> float:
    """Events per second, the batches dealt out to the streams in turn. Every event must be accepted.

    Making the messages is not timed, as making the rows of the peers is not.
    """
    parts = [
        [_request(stream.pool, batch) for batch in part]
        for stream, part in zip(streams, dealt(batches, len(streams)), strict=True)
    ]

    def submit(stream: Stream, requests: list[pb.AppendUsageRequest]) -> int:
        with grpc.insecure_channel(stream.address) as channel:
            metadata = (("authorization", f"Bearer {stream.key}"),)
            answers = list(UsageServiceStub(channel).AppendUsage(iter(requests), metadata=metadata))
        return sum(answer.receipt.accepted_count for answer in answers)

    with ThreadPoolExecutor(len(streams)) as threads, timed() as seconds:
        accepted = sum(threads.map(submit, streams, parts))
    events = sum(map(len, batches))
    if accepted != events:
        raise AssertionError(f"{accepted} events accepted of {events}")
    return events / seconds()


def submit_usage(stream: Stream, batches: list[pa.RecordBatch]) -> float:
    """Events per second by the SDK, which makes its messages of a table while they are on their way."""
    with Client(stream.address, stream.key) as client, timed() as seconds:
        receipts = client.submit_usage(
            stream.pool, pa.Table.from_batches(batches), METHOD, events_per_batch=len(batches[0])
        )
    events = sum(map(len, batches))
    if sum(receipt.accepted_count for receipt in receipts) != events:
        raise AssertionError(f"not all of {events} events were accepted")
    return events / seconds()


def _request(pool: str, batch: pa.RecordBatch) -> pb.AppendUsageRequest:
    body = encode(batch)
    return pb.AppendUsageRequest(
        parent=f"pools/{pool}", batch_id=sha256(body).hexdigest(), method_id=METHOD, arrow_stream=body
    )


def warm_up(stage: Stage, key: str, workload: Workload) -> None:
    """A few batches to another pool by each server, so that it has its connections and knows the collectives."""
    for address in stage.addresses:
        tables = replace(workload, batches=WARM_UP_BATCHES, seed=2**32 - 1).tables()
        append_usage([Stream(address, stage.new_pool(workload), key)], tables)


def dealt(batches: list[pa.RecordBatch], hands: int) -> list[list[pa.RecordBatch]]:
    """The batches of each of so many streams."""
    return [batches[place::hands] for place in range(hands)]


def require_recorded(stage: Stage, pool: str, batches: list[pa.RecordBatch], *, claims: bool = True) -> None:
    """That a pool's events and weights in Postgres are those of these batches, and of nothing else."""
    units = sum(int(batch.column("units").to_numpy().sum()) for batch in batches)
    require_sums(
        stage, pool, events=sum(map(len, batches)), units=units, claimed=sum(map(claimed, batches)), claims=claims
    )


_CLAIMED: Final = """
SELECT (SELECT count(*) FROM event WHERE pool_id = %(pool)s)
    + (SELECT coalesce(sum(octet_length(ids) / width), 0)::bigint FROM claim_page WHERE pool_id = %(pool)s)
"""


def require_sums(stage: Stage, pool: str, *, events: int, units: int, claimed: int, claims: bool = True) -> None:
    """That a pool's events and weights in Postgres come to these sums. `claims`: whether events count once."""
    found, attributed, unattributed = 0, 0, 0
    where = "WHERE pool_id = %s"
    with psycopg.connect(stage.database_url) as connection:
        ref = [stage.ref(pool).pool_id]
        (once,) = connection.execute(_CLAIMED, {"pool": stage.ref(pool).pool_id}).fetchone() or (0,)
        cursor = connection.cursor("weights", binary=True)
        cursor.itersize = 500
        for mode_events, rest, packed in cursor.execute(
            f"SELECT events, unattributed, packed FROM batch_weights {where}", ref
        ):
            weights = ModeWeights(mode_events, *unpack(packed), int(rest))
            found, attributed = found + mode_events, attributed + weights.attributed()
            unattributed += weights.unattributed
    wanted = (events if claims else 0, events, claimed, units * NANO - claimed)
    if (once, found, attributed, unattributed) != wanted:
        raise AssertionError(f"{pool} has {(once, found, attributed, unattributed)}, not {wanted}")


def measure(stage: Stage, runs: int, *, batches: int) -> list[Figure]:
    """One stream, into an empty pool as its peers into an empty table, against each of them in turn."""
    (key,) = stage.platform_keys(1)
    warm_up(stage, key, Workload(batches=batches))
    return [
        *_measured(stage, runs, key, Workload(batches=batches, ids=uuid7_ids)),
        *_measured(stage, runs, key, Workload(batches=batches))[:1],
    ]


def _measured(stage: Stage, runs: int, key: str, base: Workload) -> list[Figure]:
    ours, by_sdk, events, scores, transfers = [], [], [], [], []
    for seed in range(runs):
        tables, pool = replace(base, seed=seed).tables(), stage.new_pool(base)
        ours.append(append_usage([Stream(stage.address, pool, key)], tables))
        require_recorded(stage, pool, tables)
        by_sdk.append(submit_usage(Stream(stage.address, stage.new_pool(base), key), tables))
        events.append(peers.copy_events(stage.database_url, tables))
        scores.append(peers.copy_scores(stage.database_url, tables[: max(1, len(tables) // 8)]))
        transfers.append(peers.plain_ledger(stage.database_url, tables[0], collectives=base.collectives, events=200))
    per_score = [rate * base.shares_per_event for rate in ours]
    ascending = base.ids is uuid7_ids
    name, kind, must, aim = (
        ("intake", "ids in order", 1.8, 2.5) if ascending else ("intake-random", "random ids", 1.3, 1.5)
    )
    what = (
        f"AppendUsage, one stream, {base.shares_per_event} shares an event, {base.events_per_batch:,} events a batch, "
        f"{kind}"
    )
    return [
        Figure(
            name, what, "COPY BINARY, a row per event, same ids", "events/s", ours, events, must, aim,
            notes={"ratio_by_the_sdk": spread([rate / limit for rate, limit in zip(by_sdk, events, strict=True)])},
        ),
        Figure("intake-scores", "the same", "COPY BINARY, a row per score", "scores/s", per_score, scores, 15, 25),
        Figure("intake-transfers", "the same", "a transfer per score", "scores/s", per_score, transfers, 300, 500),
    ]  # fmt: skip
