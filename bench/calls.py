"""Small calls, against gRPC handlers in the same process that parse the same message and do nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final, cast

import grpc

from bench.figures import Figure, spread, timed
from bench.server import EMPTY_SERVICE
from bench.stage import CURRENCY, METHOD, staged
from bench.workload import Workload
from moiety import Client, Mode, UsageEvent, uuid7
from moiety.events import event_to_message
from moiety.keys import make_key
from moiety.v1 import accounts_pb2, accounts_pb2_grpc, usage_pb2, usage_pb2_grpc

WORKERS: Final = 2
"""Servers that callers are spread over, one for each processor, as MOIETY_WORKERS spreads them over one port."""

CALLERS_EACH: Final = 16
"""Calls under way at a time for each of them: half of the threads that a server has by default."""

FEW_CALLERS_EACH: Final = 4
"""For the note on what so few see: the fewer come at a time, the fewer share a transaction."""

TURNS: Final = 8
"""In which a handler and its peer are called by turns, for the machine is not the same from one second to the next."""

EMPTY_AGAIN: Final = 4
"""How often the empty handler gets a batch of ours: so both are called for about as long."""

Call = Callable[..., Any]
Metadata = tuple[tuple[str, str], ...]


def measure(runs: int, *, submits: int, balances: int) -> list[Figure]:
    """SubmitUsage of 100 events of 8 shares, and GetBalance."""
    workload = Workload(batches=1, collectives=200)
    with staged(servers=WORKERS) as stage, ExitStack() as stack:
        pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
        payee = workload.collective_ids()[0]
        platform = bearer(key)
        made = make_key()
        stage.operator.create_api_key(f"collectives/{payee}", made.hash)
        collective = bearer(made.text)
        ours = [stack.enter_context(grpc.insecure_channel(address)) for address in stage.addresses]
        theirs = [stack.enter_context(grpc.insecure_channel(address)) for address in stage.empty_addresses]
        submit = [usage_pb2_grpc.UsageServiceStub(each).SubmitUsage for each in ours]
        get_balance = [accounts_pb2_grpc.AccountsServiceStub(each).GetBalance for each in ours]
        empty_submit = [_empty(each, "SubmitUsage", usage_pb2.SubmitUsageRequest, usage_pb2.Receipt) for each in theirs]
        empty_balance = [
            _empty(each, "GetBalance", accounts_pb2.GetBalanceRequest, accounts_pb2.Balance) for each in theirs
        ]

        for submit_to_one in submit:
            submit_to_one(submit_request(pool, workload), metadata=platform)
        with Client(stage.address, key) as payer:
            payer.report_revenue(pool, 1_000_000, CURRENCY, request_id="revenue")
        stage.operator.calculate_round(pool, request_id="round")
        balance = accounts_pb2.GetBalanceRequest(name=f"pools/{pool}/accounts/collective/{payee}")
        for ask_one in get_balance:
            if not ask_one(balance, metadata=collective).amount_minor:
                raise AssertionError("nothing was paid")

        measured: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        warming = [submit_request(pool, workload) for _ in range(submits)]
        _rates(submit, empty_submit, warming, platform, CALLERS_EACH, again=EMPTY_AGAIN)
        for _ in range(runs):
            for name, workers, callers in (
                ("submit", WORKERS, CALLERS_EACH),
                ("alone", 1, CALLERS_EACH),
                ("few", WORKERS, FEW_CALLERS_EACH),
            ):
                requests = [submit_request(pool, workload) for _ in range(submits * workers // WORKERS)]
                measured[name].append(
                    _rates(submit[:workers], empty_submit[:workers], requests, platform, callers, again=EMPTY_AGAIN)
                )
            measured["balance"].append(
                _rates(get_balance, empty_balance, [balance] * balances, collective, CALLERS_EACH)
            )
    handler = "an empty handler that parses the same message"
    return [
        Figure(
            "submit", f"SubmitUsage, 100 events of 8 shares, to {WORKERS} workers", handler, "calls/s",
            *_apart(measured["submit"]), 0.35, 0.5,
            notes={
                "callers": CALLERS_EACH * WORKERS,
                "ratio_of_one_worker": _ratios(measured["alone"]),
                f"ratio_with_{FEW_CALLERS_EACH * WORKERS}_callers": _ratios(measured["few"]),
            },
        ),
        Figure(
            "balance", f"GetBalance, from {WORKERS} workers", handler, "calls/s",
            *_apart(measured["balance"]), 0.75, 0.9,
        ),
    ]  # fmt: skip


def _apart(rates: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [rate for rate, _ in rates], [limit for _, limit in rates]


def _ratios(rates: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return spread([rate / limit for rate, limit in rates])


def _empty(channel: grpc.Channel, name: str, asked: Any, answer: Any) -> Call:
    return cast("Call", channel.unary_unary(f"/{EMPTY_SERVICE}/{name}", asked.SerializeToString, answer.FromString))


def bearer(key: str) -> Metadata:
    """The header with a key."""
    return (("authorization", f"Bearer {key}"),)


def submit_request(pool: str, workload: Workload) -> usage_pb2.SubmitUsageRequest:
    """A new batch of 100 events of 8 shares."""
    ids = workload.collective_ids()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    events = [
        UsageEvent(uuid7(), noon, 1, Mode.AI_ONLY, {ids[(8 * place + at) % len(ids)]: 100_000_000 for at in range(8)})
        for place in range(100)
    ]
    return usage_pb2.SubmitUsageRequest(
        parent=f"pools/{pool}",
        batch_id=f"rows-{uuid7()}",
        method_id=METHOD,
        events=map(event_to_message, events),
    )


def _rates(
    ours: Sequence[Call],
    empty: Sequence[Call],
    requests: Sequence[Any],
    metadata: Metadata,
    each: int,
    *,
    again: int = 1,
) -> tuple[float, float]:
    """Calls per second of both, by turns. The empty ones get each request `again` times."""
    ours_took = empty_took = 0.0
    for turn in range(TURNS):
        asked = requests[turn::TURNS]
        ours_took += _seconds(ours, asked, metadata, each)
        empty_took += _seconds(empty, [*asked] * again, metadata, each)
    return len(requests) / ours_took, again * len(requests) / empty_took


def _seconds(calls: Sequence[Call], requests: Sequence[Any], metadata: Metadata, each: int) -> float:
    """For one call with each request, `each` of each of `calls` under way at a time. Any that fails raises."""
    asked = iter(requests)

    def take_turns(call: Call) -> None:
        for request in asked:
            call(request, metadata=metadata)

    with ThreadPoolExecutor(each * len(calls)) as callers, timed() as seconds:
        for _ in callers.map(take_turns, [*calls] * each):
            pass
    return seconds()
