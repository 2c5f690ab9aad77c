"""The demo's service: the real one, on a Postgres and a socket of its own, set up through the public API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from demo.clock import DemoClock
from demo.corpus import Tradition
from demo.interruptions import Interruptions
from demo.plays import TIME_ZONE, Platform
from moiety import Client, Collective, Method, Policy, Pool, Schedule, make_key
from moiety import Platform as PlatformMessage
from moiety.v1 import registry_pb2
from services.process.host import FIRST_OPERATOR, Running, everything
from services.process.logs import configure_logs
from services.settings import load_settings

POOL: Final = "folk"
CURRENCY: Final = "EUR"
METHOD: Final = "melody-ngram"
CRON: Final = "0 6 1 * *"
REVIEWER: Final = "operators/second"
REVIEW_TIME: Final = timedelta(days=3)
"""How long the reviewer takes."""

CONFIDENCE_PPM: Final = 880_000
"""What the pool grants the method: the last part of the demo finds that retraining moves an eighth of a work's
attribution between traditions, so that eighth moves no money by attribution."""

POLICY: Final = Policy(
    fee_ppm=50_000,
    fee_cap_minor=100_000,
    commons_ppm=100_000,
    unattributed=registry_pb2.UNATTRIBUTED_RULE_COMMONS,
    commons_rule=registry_pb2.COMMONS_RULE_PER_CAPITA,
    tempering=registry_pb2.TEMPERING_PROPORTIONAL,
    human_ai_ppm=700_000,
    review_seconds=int(REVIEW_TIME.total_seconds()),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who acts, each with a key of their own: two operators, an auditor, and the platforms by id."""

    operator: Client
    reviewer: Client
    auditor: Client
    platforms: Mapping[str, Client]


@contextmanager
def service(clock: DemoClock, interruptions: Interruptions) -> Iterator[Running]:
    """API, scheduler and Postgres with their data in a temporary folder; at the end all of it is gone."""
    settings = load_settings(
        listen="127.0.0.1:0",
        http_listen="127.0.0.1:0",
        schedule_poll_seconds=0.1,
        drain_seconds=2.0,
        log_level="WARNING",
        log_format="text",
        tls_certificate_file=None,
        tls_key_file=None,
    )
    configure_logs(settings)
    with ExitStack() as stack:
        try:
            with interruptions.held():
                folder = stack.enter_context(TemporaryDirectory(prefix="moiety-demo-"))
                running = stack.enter_context(everything(settings, Path(folder), clock=clock))
            interruptions.let_through()
            yield running
        finally:
            with interruptions.held():
                stack.close()


@contextmanager
def cast(running: Running, traditions: Iterable[Tradition], platforms: Sequence[Platform]) -> Iterator[Cast]:
    """Register everyone and everything with the first operator's key, and give each their own."""
    with ExitStack() as stack:

        def client(key: str) -> Client:
            return stack.enter_context(Client(running.address, key))

        def issued(principal: str) -> Client:
            made = make_key()
            if principal.startswith(("operators/", "auditors/")):
                operator.update_principal(principal)
            operator.create_api_key(principal, made.hash)
            return client(made.text)

        operator = client(running.founders_keys[FIRST_OPERATOR])
        _register(operator, traditions, platforms)
        yield Cast(
            operator=operator,
            reviewer=issued(REVIEWER),
            auditor=issued("auditors/demo"),
            platforms={each.id: issued(f"platforms/{each.id}") for each in platforms},
        )


def _register(operator: Client, traditions: Iterable[Tradition], platforms: Sequence[Platform]) -> None:
    for platform in platforms:
        operator.create_platform(platform.id, PlatformMessage(display_name=platform.name))
    for tradition in traditions:
        operator.create_collective(tradition.id, Collective(display_name=tradition.name, members=tradition.members))
    operator.create_pool(POOL, Pool(display_name="Folk melodies", currency=CURRENCY, policy=POLICY))
    method = Method(display_name="Interpolated n-gram model of melody", confidence_ppm=CONFIDENCE_PPM)
    operator.create_method(POOL, METHOD, method)
    operator.update_schedule(POOL, Schedule(cron=CRON, time_zone=TIME_ZONE))
