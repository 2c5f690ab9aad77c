"""The demo in words and tables, for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from moiety import Round
from services.demo.corpus import Corpus, Tradition
from services.demo.instability import Instability
from services.demo.months import Report, Retransmission, SettledRound
from services.demo.outcome import Earnings, Outcome, outcome_of
from services.demo.plays import TIME_ZONE, Platform
from services.demo.screen import Screen
from services.demo.service import CONFIDENCE_PPM, CURRENCY, POLICY
from services.demo.works import SHARE_TOTAL_NANO, Work

TRADITIONS_SHOWN = 5  # in a work's attribution
EARNINGS_SHOWN = 15
STATEMENT_LINES_SHOWN = 3


def tell_model(screen: Screen, corpus: Corpus, works: Sequence[Work]) -> None:
    screen.heading("1. A model learns folk melodies, and makes new ones")
    unattributed = sum(work.unattributed_nano for work in works) * 1_000 // (len(works) * SHARE_TOTAL_NANO)
    screen.say(
        f"It read {len(corpus.tunes):,} melodies of {len(corpus.traditions)} traditions from the installed music21 package "
        f"({sum(corpus.skipped.values())} passed over) and made {len(works):,} new ones. It predicts each note from "
        "the four before it, so the probability of every note splits exactly over the training notes that voted for it, "
        f"and by whose they are over traditions. {unattributed / 10:.1f} % of the average work is nobody's."
    )


def tell_work(screen: Screen, work: Work, plays: int, traditions: Sequence[Tradition]) -> None:
    names = {tradition.id: tradition.name for tradition in traditions}
    shares = sorted(work.shares, key=lambda share: (-share[1], share[0]))
    shown, others = shares[:TRADITIONS_SHOWN], shares[TRADITIONS_SHOWN:]
    parts = [f"{names[tradition]} {_percent_of_nano(nano)}" for tradition, nano in shown]
    parts.append(f"{len(others)} others {_percent_of_nano(sum(nano for _, nano in others))}")
    parts.append(f"nobody {_percent_of_nano(work.unattributed_nano)}")
    screen.gap()
    screen.say(f"The one that will be played most ({plays:,} times), in ABC notation:")
    screen.gap()
    screen.verbatim(work.abc("The most played"))
    screen.gap()
    screen.say(f"It draws on {', '.join(parts)}.")


def tell_service(screen: Screen, address: str, platforms: Sequence[Platform]) -> None:
    screen.heading("2. A service opens")
    cap = euros(POLICY.fee_cap_minor)
    screen.say(
        f"API, scheduler and Postgres run for the length of this demo; everything goes through {address}. Only the clock "
        "is a stand-in: it jumps to the first of the next month. What each collective gets follows from the pool's policy: "
        f"the operator's fee is {_percent(POLICY.fee_ppm)} of the pot, at most {cap}; {_percent(POLICY.commons_ppm)} of the "
        "rest is the commons', with all that no tradition can claim, and the commons is shared by number of melodies "
        f"collected; what a person refined counts {_percent(POLICY.human_ai_ppm)}. Attribution is trusted to "
        f"{_percent(CONFIDENCE_PPM)} (why: part 6); the weight of the others is the commons' too."
    )
    prices = " and ".join(f"{each.name} {each.price_minor} cents" for each in platforms)
    screen.say(f"Two platforms sell plays of these works; for each, {prices} go into the pool.")
    screen.heading("3. Three months go by")


def tell_month(
    screen: Screen, month: str, reports: Sequence[Report], again: Sequence[Retransmission], settled: SettledRound
) -> None:
    told = [
        f"{report.platform.name} {report.events:,} events, {report.plays:,} plays, {euros(report.revenue_minor)}"
        for report in reports
    ]
    screen.gap()
    screen.say(f"{month}: {'; '.join(told)}.")
    for each in again:
        receipts = "the same receipts" if each.same_receipts else "OTHER RECEIPTS"
        screen.say(
            f"{each.platform.name} is not sure what arrived and sends the month again: {receipts} for the same batches; "
            f"cut into other batches, {each.duplicates:,} events known and left out, {each.accepted} accepted."
        )
    found = settled.round
    screen.say(
        f"Round {found.number} is cut by the {found.calculated_by} on {_in_lisbon(found.fire_times.last)} in Lisbon "
        f"({found.fire_times.last.ToDatetime():%H:%M} UTC), approved by {found.decided_by} on "
        f"{_in_lisbon(found.decide_time)}, and posted."
    )


def tell_statement(screen: Screen, settled: SettledRound) -> None:
    header, *lines = settled.statement.decode().splitlines()
    largest = sorted(lines, key=lambda line: -int(line.rpartition(",")[2]))[:STATEMENT_LINES_SHOWN]
    screen.gap()
    screen.say(
        f"From round {settled.round.number}'s statement (CSV, {len(lines)} lines; the log holds its SHA-256, "
        f"{settled.round.statement_sha256.hex()[:16]}...), the largest amounts:"
    )
    screen.gap()
    screen.verbatim("\n".join([header, *largest]))


def tell_replay(screen: Screen, outcome: Outcome) -> None:
    screen.heading("4. An auditor replays every round from the log alone")
    last = outcome.verdicts[-1]
    columns = ["", "Events", "Pot", "Fee", "Allocated", "Commons kept", "Carried over", "Replay"]
    screen.table(
        columns,
        [
            (
                f"Round {found.number}",
                f"{found.event_count:,}",
                *map(amount, (found.pot_minor, found.fee_minor, found.allocated_minor)),
                *map(amount, (found.commons_kept_minor, found.carried_minor)),
                outcome_of(verdict),
            )
            for found, verdict in zip(_rounds(outcome), outcome.verdicts, strict=True)
        ],
    )
    held = {"fees": 0, "revenue": 0, "commons": 0, "platform": 0, "collective": 0}
    for account, balance in outcome.balances.items():
        held[account.partition("/")[0]] += balance
    screen.say(
        f"The last replay folded {last.leaves} leaves with {last.events:,} events. Balances: platforms "
        f"{amount(held['platform'])}, fees {amount(held['fees'])}, collectives {amount(held['collective'])}, commons fund "
        f"{amount(held['commons'])}, revenue {amount(held['revenue'])}; together {amount(sum(held.values()))}."
    )


def tell_earnings(screen: Screen, outcome: Outcome, *, every: bool) -> None:
    screen.heading(f"5. Who got what over the three rounds, in {CURRENCY}, and why")
    earnings = outcome.earnings()
    shown = earnings if every else earnings[:EARNINGS_SHOWN]
    rows = [_row(each.tradition.name, [each]) for each in shown]
    if hidden := earnings[len(shown) :]:
        rows.append(_row(f"and {len(hidden)} more (--all shows them)", hidden))
    rows.append(_row("All", earnings))
    screen.table(["Tradition", "Melodies", "Weight", "Attributed", "Commons", "Total"], rows)
    attributed = sum(found.attributed_minor for found in _rounds(outcome))
    commons = sum(found.commons_minor for found in _rounds(outcome))
    screen.say(
        "Weight is the part of all plays that attribution gives a tradition; each round's attributed pot is split by it "
        f"({amount(attributed)} in all). The commons ({amount(commons)} in all) is split by melodies."
    )


def tell_instability(screen: Screen, moved: Instability) -> None:
    work, kept, pooled = moved.per_work, moved.kept, moved.pooled
    screen.heading("6. How steady is attribution?")
    screen.say(
        f"The model was trained anew on {moved.resamples} bootstrap resamples of its melodies, and {moved.works} works were "
        "attributed under each. So much of an attribution moves elsewhere (total variation distance):"
    )
    screen.table(
        ["", "to single tunes", "to traditions", "to random groups"],
        [
            (name, *map(_percent_1, (each.tune_ppm, each.tradition_ppm, each.random_group_ppm)))
            for name, each in (
                ("One work", work),
                ("One work, tunes in both trainings only", kept),
                (f"All {moved.works} works together, as paid out", pooled),
            )
        ],
    )
    screen.say(
        f"Single tunes: {_percent_1(work.tune_ppm)} of a work's attribution is to other tunes once the training data are "
        "another sample of the same music, and pooling works does not help much: nobody could be paid on that."
    )
    screen.say(
        f"Traditions: {_percent_1(work.tradition_ppm)} moves for one work, and {_percent_1(pooled.tradition_ppm)} for all of "
        "them together, which is what a round pays out."
    )
    screen.say(
        "But: tunes dealt at random into groups of the same sizes are nearly as steady, so it is pooling many tunes that "
        "steadies an attribution, more than their kinship. And a resample lacks 37 % of the tunes, which cannot be "
        "attributed to at all; the middle line leaves them out, and is the fairer one to single tunes."
    )


def tell_end(screen: Screen, breaches: Sequence[str], seconds: float) -> None:
    screen.gap()
    if breaches:
        screen.say("DOES NOT HOLD: " + "; ".join(breaches))
    else:
        screen.say(f"Every replay matches and every cent is accounted for. {seconds:.0f} s.")


def amount(minor: int) -> str:
    """Minor units of a currency with two decimals, for people: `12,345.67`."""
    return f"{'-' * (minor < 0)}{abs(minor) // 100:,}.{abs(minor) % 100:02}"


def euros(minor: int) -> str:
    """The amount with its currency."""
    return f"{amount(minor)} {CURRENCY}"


def _in_lisbon(moment: Timestamp) -> str:
    local = moment.ToDatetime(UTC).astimezone(ZoneInfo(TIME_ZONE))
    return f"{local.day} {local:%B %H:%M}"


def _rounds(outcome: Outcome) -> list[Round]:
    return [settled.round for settled in outcome.rounds]


def _row(name: str, earnings: Sequence[Earnings]) -> tuple[str, ...]:
    return (
        name,
        f"{sum(each.tradition.members for each in earnings):,}",
        _percent_1(sum(each.weight_ppm for each in earnings)),
        amount(sum(each.attributed_minor for each in earnings)),
        amount(sum(each.commons_minor for each in earnings)),
        amount(sum(each.amount_minor for each in earnings)),
    )


def _percent(ppm: int) -> str:
    return f"{ppm // 10_000} %"


def _percent_1(ppm: int) -> str:
    return f"{ppm / 10_000:.1f} %"


def _percent_of_nano(nano: int) -> str:
    return f"{nano / 10_000_000:.1f} %"
