"""Small calls, against gRPC handlers in the same process that parse the same message and do nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count, cycle
from typing import Any, cast

import grpc

from bench.figures import Figure, spread, timed
from bench.server import EMPTY_SERVICE
from bench.stage import CURRENCY, METHOD, staged
from bench.workload import Workload
from moiety import Client, Mode, UsageEvent, uuid7
from moiety.events import event_to_message
from moiety.v1 import accounts_pb2, accounts_pb2_grpc, usage_pb2, usage_pb2_grpc

WORKERS = 2
"""Servers that callers are spread over, one for each processor, as MOIETY_WORKERS spreads them over one port."""

CALLERS_EACH = 16
"""Calls under way at a time for each of them: half of the threads that a server has by default."""

FEW_CALLERS_EACH = 4
"""For the note on what so few see: the fewer come at a time, the fewer share a transaction."""

_batch_ids = count()

Call = Callable[..., Any]
Metadata = tuple[tuple[str, str], ...]


def measure(runs: int, *, submits: int, balances: int) -> list[Figure]:
    """SubmitUsage of 100 events of 8 shares, and GetBalance."""
    workload = Workload(batches=1, collectives=200)
    with staged(servers=WORKERS) as stage, ExitStack() as stack:
        pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
        payee = workload.collective_ids()[0]
        platform = _bearer(key)
        collective = _bearer(stage.operator.create_api_key(f"collectives/{payee}").secret)
        ours = [stack.enter_context(grpc.insecure_channel(address)) for address in stage.addresses]
        theirs = [stack.enter_context(grpc.insecure_channel(address)) for address in stage.empty_addresses]
        submit = [usage_pb2_grpc.UsageServiceStub(each).SubmitUsage for each in ours]
        get_balance = [accounts_pb2_grpc.AccountsServiceStub(each).GetBalance for each in ours]
        empty_submit = [_empty(each, "SubmitUsage", usage_pb2.SubmitUsageRequest, usage_pb2.Receipt) for each in theirs]
        empty_balance = [
            _empty(each, "GetBalance", accounts_pb2.GetBalanceRequest, accounts_pb2.Balance) for each in theirs
        ]

        for submit_to_one in submit:
            submit_to_one(_submit_request(pool, workload), metadata=platform)
        with Client(stage.address, key) as payer:
            payer.record_revenue(pool, 1_000_000, CURRENCY, request_id="revenue")
        stage.operator.calculate_round(pool, request_id="round")
        balance = accounts_pb2.GetBalanceRequest(name=f"pools/{pool}/accounts/collective/{payee}")
        for ask_one in get_balance:
            if not ask_one(balance, metadata=collective).amount_minor:
                raise AssertionError("nothing was paid")

        rates: dict[str, list[float]] = defaultdict(list)
        for _ in range(runs):
            requests = [_submit_request(pool, workload) for _ in range(submits)]
            rates["submit"].append(_rate(submit, requests, platform))
            rates["empty submit"].append(_rate(empty_submit, requests, platform))
            rates["balance"].append(_rate(get_balance, [balance] * balances, collective))
            rates["empty balance"].append(_rate(empty_balance, [balance] * balances, collective))
            alone = [_submit_request(pool, workload) for _ in range(submits // WORKERS)]
            rates["submit alone"].append(
                _rate(submit[:1], alone, platform) / _rate(empty_submit[:1], requests, platform)
            )
            few = [_submit_request(pool, workload) for _ in range(submits)]
            rates["submit few"].append(
                _rate(submit, few, platform, each=FEW_CALLERS_EACH)
                / _rate(empty_submit, requests, platform, each=FEW_CALLERS_EACH)
            )
    handler = "an empty handler that parses the same message"
    what = f"SubmitUsage, 100 events of 8 shares, to {WORKERS} workers"
    return [
        Figure(
            "submit", what, handler, "calls/s", rates["submit"], rates["empty submit"], 0.15, 0.3,
            notes={
                "callers": CALLERS_EACH * WORKERS,
                "ratio_of_one_worker": spread(rates["submit alone"]),
                f"ratio_with_{FEW_CALLERS_EACH * WORKERS}_callers": spread(rates["submit few"]),
            },
        ),
        Figure(
            "balance", f"GetBalance, from {WORKERS} workers", handler, "calls/s",
            rates["balance"], rates["empty balance"], 0.4, 0.7,
        ),
    ]  # fmt: skip


def _empty(channel: grpc.Channel, name: str, asked: Any, answer: Any) -> Call:
    return cast("Call", channel.unary_unary(f"/{EMPTY_SERVICE}/{name}", asked.SerializeToString, answer.FromString))


def _bearer(key: str) -> Metadata:
    return (("authorization", f"Bearer {key}"),)


def _submit_request(pool: str, workload: Workload) -> usage_pb2.SubmitUsageRequest:
    ids = workload.collective_ids()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    events = [
        UsageEvent(uuid7(), noon, 1, Mode.AI_ONLY, {ids[(8 * place + at) % len(ids)]: 100_000_000 for at in range(8)})
        for place in range(100)
    ]
    return usage_pb2.SubmitUsageRequest(
        parent=f"pools/{pool}",
        batch_id=f"rows-{next(_batch_ids)}",
        method_id=METHOD,
        events=map(event_to_message, events),
    )


def _rate(calls: Sequence[Call], requests: Sequence[Any], metadata: Metadata, *, each: int = CALLERS_EACH) -> float:
    """Calls per second, one to each in turn, `each` under way at a time. Any that fails raises."""
    asked = zip(cycle(calls), requests)  # the calls have no end
    with ThreadPoolExecutor(each * len(calls)) as callers, timed() as seconds:
        for _ in callers.map(lambda one: one[0](one[1], metadata=metadata), asked):
            pass
    return len(requests) / seconds()
