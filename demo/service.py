"""The demo's service: the real one, on a Postgres and a socket of its own, set up through the public API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

from schwifty import IBAN

from demo.clock import DemoClock
from demo.corpus import Tradition
from demo.interruptions import Interruptions
from demo.plays import TIME_ZONE, Platform
from ledger.store.desk.vault import add_key
from moiety import AccountDetails, BankAccount, Client, Collective, Method, Policy, Pool, Schedule, make_key
from moiety import Platform as PlatformMessage
from moiety.v1 import registry_pb2
from moiety.v1.registry_pb2 import DISTRIBUTE_RECEIVED
from services.process.embedded import embedded_postgres
from services.process.host import Running, everything
from services.process.logs import configure_logs
from services.settings import Settings, load_settings

POOL: Final = "folk"
CURRENCY: Final = "EUR"
METHOD: Final = "melody-ngram"
CRON: Final = "0 6 1-4 * *"
"""The first mornings of a month: what it lacks on the first may be there on another."""
FOUNDERS: Final = ("operators/alice", "operators/bob")
"""Everything but names takes both: the first proposes, the second approves."""

BANK_ACCOUNT: Final = "main"
ACCOUNT: Final = "DE89370400440532013000"
BANK: Final = "37040044"
"""The bank of the pool's account and, in this demo, of everyone's."""

REVIEW_TIME: Final = timedelta(days=3)
"""How long collectives have to object to a round."""

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
    period=registry_pb2.PERIODS_MONTH,
    period_from="2026-01",
)


class Proposed(Protocol):
    """What a call that acts returns: it names the proposal that waits."""

    @property
    def proposal(self) -> str:
        """The proposal's name."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who acts, each with a key of their own: two operators, an auditor, a collective, and the platforms by id."""

    operator: Client
    reviewer: Client
    auditor: Client
    objector: Client
    """The collective that will object to a round, of which this is the tradition."""
    objecting: Tradition
    platforms: Mapping[str, Client]


@contextmanager
def service(clock: DemoClock, interruptions: Interruptions) -> Iterator[Running]:
    """API, scheduler and Postgres with their data in a temporary folder; at the end all of it is gone."""
    with ExitStack() as stack:
        try:
            with interruptions.held():
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="moiety-demo-")))
                settings = _settings(folder / "payee-key")
                url = stack.enter_context(embedded_postgres(folder))
                running = stack.enter_context(everything(settings, folder, url, operators=FOUNDERS, clock=clock))
            interruptions.let_through()
            yield running
        finally:
            with interruptions.held():
                stack.close()


def _settings(payee_key: Path) -> Settings:
    add_key(payee_key)
    settings = load_settings(
        listen="127.0.0.1:0",
        http_listen="127.0.0.1:0",
        schedule_poll_seconds=0.1,
        drain_seconds=2.0,
        log_level="WARNING",
        log_format="text",
        tls_certificate_file=None,
        tls_key_file=None,
        payee_key_file=payee_key,
    )
    configure_logs(settings)
    return settings


@contextmanager
def cast(running: Running, traditions: Sequence[Tradition], platforms: Sequence[Platform]) -> Iterator[Cast]:
    """Register everyone and everything, which takes both operators, and give each a key of their own."""
    with ExitStack() as stack:

        def client(key: str) -> Client:
            return stack.enter_context(Client(running.address, key))

        def issued(principal: str) -> Client:
            made = make_key()
            if principal.startswith("auditors/"):
                together(operator.update_principal(principal))
            together(operator.create_api_key(principal, made.hash))
            return client(made.text)

        def together(proposed: Proposed) -> None:
            reviewer.approve_proposal(proposed.proposal)

        operator, reviewer = (client(running.founders_keys[each]) for each in FOUNDERS)
        for proposed in _registered(operator, traditions, platforms):
            together(proposed)
        yield Cast(
            operator=operator,
            reviewer=reviewer,
            auditor=issued("auditors/demo"),
            objector=issued(f"collectives/{traditions[0].id}"),
            objecting=traditions[0],
            platforms={each.id: issued(f"platforms/{each.id}") for each in platforms},
        )


def _registered(operator: Client, traditions: Sequence[Tradition], platforms: Sequence[Platform]) -> Iterator[Proposed]:
    """What the first operator proposes, each once what it needs is there."""
    for platform in platforms:
        yield operator.create_platform(platform.id, PlatformMessage(display_name=platform.name))
    for tradition in traditions:
        collective = Collective(display_name=tradition.name, members=tradition.members)
        yield operator.create_collective(tradition.id, collective)
    opened = Pool(
        display_name="Folk melodies",
        currency=CURRENCY,
        distribute=DISTRIBUTE_RECEIVED,
        policy=POLICY,
        platforms=[f"platforms/{platform.id}" for platform in platforms],
    )
    yield operator.create_pool(POOL, opened)
    method = Method(display_name="Interpolated n-gram model of melody", confidence_ppm=CONFIDENCE_PPM)
    yield operator.create_method(POOL, METHOD, method)
    yield operator.update_schedule(POOL, Schedule(cron=CRON, time_zone=TIME_ZONE))
    details = _details("The pool", ACCOUNT)
    yield operator.set_bank_account(
        BANK_ACCOUNT, BankAccount(display_name="Moiety", details=details, pools=[f"pools/{POOL}"])
    )
    for number, tradition in enumerate(traditions, 1):
        iban = str(IBAN.generate("DE", bank_code=BANK, account_code=f"{number:010d}"))
        yield operator.set_payee(tradition.id, _details(f"Collectors of {tradition.name}"[:70], iban))


def _details(holder: str, iban: str) -> AccountDetails:
    return AccountDetails(holder=holder, town="Lisbon", country="PT", currency=CURRENCY, iban=iban)
