"""The demo: the service's main job, end to end, on real input. `run` is all of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from demo import report as words
from demo.clock import DemoClock
from demo.corpus import read_corpus
from demo.instability import Instability, measure_instability
from demo.interruptions import Interruptions
from demo.melody_model import MelodyModel, train
from demo.months import (
    Report,
    Retransmission,
    SettledRound,
    balances,
    report_in_bulk,
    report_in_rows,
    send_again,
    settle,
    wait_for_money,
)
from demo.outcome import Outcome
from demo.payments import Till
from demo.plays import MONTHS, Month, Platform, most_played, platforms_of, usage_table
from demo.screen import Screen
from demo.service import POOL, Cast, cast, service
from demo.works import Work
from moiety import ReplayVerdict
from services.process.host import sign_in_links

WORKS: Final = 4_000
WORKS_MEASURED: Final = 200
RESAMPLES: Final = 8
GENERATION_SEED: Final = 2025
USAGE_SEED: Final = 2026
RESAMPLING_SEED: Final = 7
SENT_AGAIN: Final = MONTHS[1]

Tables = Mapping[tuple[str, str], pa.Table]  # usage by platform and month


def run(screen: Screen, *, works: int = WORKS, every: bool = False, stay: bool = False) -> tuple[Outcome, Instability]:
    """Run the demo and tell it on the screen; the same number of works gives the same figures on every run.

    It gives what came of it, of which `Outcome.breaches` says what does not hold, and how far the works' attribution
    moves under other training data.

    Args:
        screen: where it is told.
        works: how many to generate, at least 10.
        every: whether to list all traditions.
        stay: whether to keep the service up at the end, until Ctrl-C.

    Raises:
        CorpusMissingError: music21 or its corpus is not installed.
        RoundMissingError: a month's round was not cut.
        ServiceError: the service refused a call.
    """
    began = time.monotonic()
    model, made = _made(screen, works)
    platforms = platforms_of(made)
    tables = {(each.id, month.name): usage_table(each, month, USAGE_SEED) for each in platforms for month in MONTHS}
    _tell_most_played(screen, model, made, tables)
    clock = DemoClock(MONTHS[0].start)
    traditions = model.corpus.traditions
    with Interruptions() as interruptions, ExitStack() as stack:
        with screen.progress("starting Postgres and the service"):
            running = stack.enter_context(service(clock, interruptions))
            players = stack.enter_context(cast(running, traditions, platforms))
        words.tell_service(screen, running.address, platforms)
        quarter = _Quarter(screen, players, clock, interruptions, Till(players))
        for month in MONTHS:
            quarter.live(month, platforms, tables)
        words.tell_statement(screen, quarter.rounds[-1], traditions)
        outcome = Outcome(
            traditions=traditions,
            works=len(made),
            months=tuple(quarter.reports),
            retransmissions=tuple(quarter.retransmissions),
            rounds=tuple(quarter.rounds),
            verdicts=tuple(_replayed(screen, players, settled.round.number) for settled in quarter.rounds),
            balances=balances(players.auditor),
            banking=quarter.till.reconciled(),
        )
        words.tell_replay(screen, outcome)
        words.tell_banking(screen, outcome.banking)
        words.tell_earnings(screen, outcome, every=every)
        instability = _measured(screen, model, made)
        words.tell_instability(screen, instability)
        words.tell_end(screen, outcome.breaches(), time.monotonic() - began)
        if stay:
            words.tell_console(screen, sign_in_links(running))
            interruptions.wait()
    if not stay:
        words.tell_how_to_stay(screen)
    return outcome, instability


@dataclass(slots=True)
class _Quarter:
    """The months so far, and what it takes to live another."""

    screen: Screen
    players: Cast
    clock: DemoClock
    interruptions: Interruptions
    till: Till
    reports: list[tuple[Report, ...]] = field(default_factory=list)
    retransmissions: list[Retransmission] = field(default_factory=list)
    rounds: list[SettledRound] = field(default_factory=list)

    def live(self, month: Month, platforms: Sequence[Platform], tables: Tables) -> None:
        """Let a month pass: usage and revenue in, a round out."""
        let_through = self.interruptions.let_through
        let_through()
        self.clock.move_to(month.end)
        used = [tables[platform.id, month.name] for platform in platforms]
        senders = [self.players.platforms[platform.id] for platform in platforms]
        with self.screen.progress(f"{month.name}'s usage", "events", sum(table.num_rows for table in used)) as bar:
            reports = tuple(
                send(sender, platform, month, table, bar.by)
                for send, sender, platform, table in zip(
                    (report_in_bulk, report_in_rows), senders, platforms, used, strict=True
                )
            )
        paid_in = [(report.payment_reference, report.revenue_minor) for report in reports]
        again = [send_again(senders[0], reports[0], used[0])] if month is SENT_AGAIN else []
        if month.days_late:
            self.till.receive(paid_in[:1], month.end.date())
            wait_for_money(self.players, self.clock, month, let_through)
            self.till.receive(paid_in[1:], month.paid_at.date())
        else:
            self.till.receive(paid_in, month.end.date())
        settled = settle(self.players, self.clock, month, len(self.rounds) + 1, let_through)
        run = self.till.pay(month.name.lower(), self.clock())
        words.tell_month(self.screen, month, reports, again, settled)
        words.tell_paid(self.screen, run)
        self.reports.append(reports)
        self.retransmissions += again
        self.rounds.append(settled)


def _made(screen: Screen, works: int) -> tuple[MelodyModel, list[Work]]:
    with screen.progress("reading melodies", "files") as bar:
        corpus = read_corpus(bar.to)
    model = train(corpus)
    with screen.progress("making melodies", "works", works) as bar:
        made = model.generate(works, GENERATION_SEED, bar.to)
    words.tell_model(screen, corpus, made)
    return model, made


def _tell_most_played(screen: Screen, model: MelodyModel, made: Sequence[Work], tables: Tables) -> None:
    work_id, plays = most_played(list(tables.values()))
    work = next(work for work in made if work.work_id == work_id)
    words.tell_work(screen, work, plays, model.corpus.traditions)


def _replayed(screen: Screen, players: Cast, number: int) -> ReplayVerdict:
    with screen.progress(f"replaying round {number}", "leaves") as bar:
        return players.auditor.replay_round(POOL, number, progress=lambda step: bar.to(step.leaves, step.leaf_total))


def _measured(screen: Screen, model: MelodyModel, made: Sequence[Work]) -> Instability:
    with screen.progress("retraining on resamples", "resamples", RESAMPLES) as bar:
        return measure_instability(model, made[:WORKS_MEASURED], RESAMPLING_SEED, RESAMPLES, bar.to)
