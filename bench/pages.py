"""The console's pages: how long a reader waits for the first byte, where a round has many collectives."""

from __future__ import annotations

import http.client
from dataclasses import replace
from statistics import median
from typing import Final

import moiety
from bench.figures import Figure, timed
from bench.intake import append_usage
from bench.stage import CURRENCY, Stage, Stream
from bench.workload import Workload
from moiety import Client
from services.access.sessions import Sessions

SECONDS_MAX: Final = 0.1
BYTES_MAX: Final = 100_000
OWN: Final = "collective-00002"
READERS: Final = {
    "operator": (
        "/inbox", "/pools", "/pools/{pool}", "/pools/{pool}/terms", "/pools/{pool}/transfers", "/pools/{pool}/usage",
        "/pools/{pool}/money", "/pools/{pool}/rounds", "/pools/{pool}/rounds/2", "/pools/{pool}/rounds/2/statement",
        "/pools/{pool}/log", "/pools/{pool}/log/report", "/pools/{pool}/preview", "/registry", "/registry/log",
        "/people", "/bank",
    ),
    "collective": (
        "/pools", "/pools/{pool}", "/pools/{pool}/transfers", "/pools/{pool}/rounds", "/pools/{pool}/rounds/2",
        "/pools/{pool}/rounds/2/statement", "/payments",
    ),
    "stranger": ("/public/{pool}", "/sign-in"),
}  # fmt: skip
"""Who reads, and what. What the simulator's form asks for, and what changed between two rounds, takes as long as a
round is large: the page of a round fetches the second when it is there."""


def measure(stage: Stage, runs: int, *, collectives: int) -> list[Figure]:
    """For each kind of reader the slowest page, each run the first byte of every page once."""
    pool = _rounds_of(stage, collectives)
    sessions = Sessions(stage.parts.database, stage.parts.clock)
    keys = {"operator": stage.operator_key, "collective": stage.new_key(f"collectives/{OWN}")}
    cookies = {reader: f"moiety_session={sessions.sign_in(key)}" for reader, key in keys.items()}
    stage.settle()
    figures = []
    with stage.web() as address:
        for reader, paths in READERS.items():
            cookie = cookies.get(reader, "")
            seconds = {}
            for path in paths:
                page = path.replace("{pool}", pool)
                _first_byte(address, page, cookie)  # loads the template
                seconds[path] = [_first_byte(address, page, cookie) for _ in range(runs)]
            figures.append(_figure(reader, seconds, collectives))
    return figures


def _rounds_of(stage: Stage, collectives: int) -> str:
    """A pool with two posted rounds that pay so many."""
    shares = min(1_000, collectives)
    workload = Workload(2, collectives // shares, shares, collectives, covering=True)
    pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
    stage.operator.create_policy(pool, moiety.Policy(fee_ppm=50_000, public=True))
    for number in (1, 2):
        append_usage([Stream(stage.address, pool, key)], replace(workload, seed=number).tables())
        with Client(stage.address, key) as platform:
            platform.report_revenue(pool, 100_000_000, CURRENCY, request_id=f"revenue-{number}")
        stage.operator.calculate_round(pool, request_id=f"round-{number}")
    return pool


def _figure(reader: str, seconds: dict[str, list[float]], collectives: int) -> Figure:
    slowest = [max(each) for each in zip(*seconds.values(), strict=True)]
    what = f"first byte of the slowest page that {_WHO[reader]} reads, of {len(seconds)}, {collectives:,} collectives"
    notes = {path: median(each) for path, each in seconds.items()}
    return Figure(f"pages-{reader}", what, "", "s", slowest, [], SECONDS_MAX, SECONDS_MAX / 2, lower=True, notes=notes)


_WHO: Final = {"operator": "an operator", "collective": "a collective", "stranger": "a stranger"}


def _first_byte(address: str, path: str, cookie: str) -> float:
    """How long it takes to the first byte of a page, on a connection that is open."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.connect()
        with timed() as seconds:
            connection.request("GET", path, headers={"cookie": cookie} if cookie else {})
            answer = connection.getresponse()
        size = len(answer.read())
    finally:
        connection.close()
    if answer.status != http.client.OK or size > BYTES_MAX:
        raise AssertionError(f"{path}: status {answer.status}, {size} bytes")
    return seconds()
