"""Small calls, against gRPC handlers in the same process that parse the same message and do nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from typing import Any

import grpc

from bench.figures import Figure, timed
from bench.server import EMPTY_SERVICE
from bench.stage import CURRENCY, METHOD, Stage
from bench.workload import Workload
from moiety import Client, Mode, UsageEvent, uuid7
from moiety.events import event_to_message
from moiety.v1 import accounts_pb2, accounts_pb2_grpc, usage_pb2, usage_pb2_grpc

CALLERS = 4
"""Calls under way at a time."""

_batch_ids = count()


def measure(stage: Stage, runs: int, *, submits: int, balances: int) -> list[Figure]:
    """SubmitUsage of 100 events of 8 shares, and GetBalance."""
    workload = Workload(batches=1, collectives=200)
    pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
    payee = workload.collective_ids()[0]
    platform = _bearer(key)
    collective = _bearer(stage.operator.create_api_key(f"collectives/{payee}").secret)
    submit, get_balance = [], []
    empty_submit, empty_balance = [], []
    with grpc.insecure_channel(stage.address) as ours, grpc.insecure_channel(stage.empty_address) as theirs:
        usage, accounts = usage_pb2_grpc.UsageServiceStub(ours), accounts_pb2_grpc.AccountsServiceStub(ours)
        empty = {
            name: theirs.unary_unary(f"/{EMPTY_SERVICE}/{name}", asked.SerializeToString, answer.FromString)
            for name, asked, answer in (
                ("SubmitUsage", usage_pb2.SubmitUsageRequest, usage_pb2.Receipt),
                ("GetBalance", accounts_pb2.GetBalanceRequest, accounts_pb2.Balance),
            )
        }
        usage.SubmitUsage(_submit_request(pool, workload), metadata=platform)
        with Client(stage.address, key) as payer:
            payer.record_revenue(pool, 1_000_000, CURRENCY, request_id="revenue")
        stage.operator.calculate_round(pool, request_id="round")
        balance = accounts_pb2.GetBalanceRequest(name=f"pools/{pool}/accounts/collective/{payee}")
        if not accounts.GetBalance(balance, metadata=collective).amount_minor:
            raise AssertionError("nothing was paid")
        for _ in range(runs):
            requests = [_submit_request(pool, workload) for _ in range(submits)]
            submit.append(_rate(usage.SubmitUsage, requests, platform))
            empty_submit.append(_rate(empty["SubmitUsage"], requests, platform))
            get_balance.append(_rate(accounts.GetBalance, [balance] * balances, collective))
            empty_balance.append(_rate(empty["GetBalance"], [balance] * balances, collective))
    handler = "an empty handler that parses the same message"
    return [
        Figure("submit", "SubmitUsage, 100 events of 8 shares", handler, "calls/s", submit, empty_submit, 0.15, 0.3),
        Figure("balance", "GetBalance", handler, "calls/s", get_balance, empty_balance, 0.4, 0.7),
    ]


def _bearer(key: str) -> tuple[tuple[str, str], ...]:
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


def _rate(call: Callable[..., Any], requests: list[Any], metadata: tuple[tuple[str, str], ...]) -> float:
    """Calls per second. Any that fails raises."""
    with ThreadPoolExecutor(CALLERS) as callers, timed() as seconds:
        for _ in callers.map(lambda request: call(request, metadata=metadata), requests):
            pass
    return len(requests) / seconds()
