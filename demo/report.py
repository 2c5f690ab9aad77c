"""The demo in words and tables, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Final
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from demo.corpus import Corpus, Tradition
from demo.instability import Instability, Movement
from demo.months import Report, Retransmission, SettledRound
from demo.outcome import Earnings, Outcome, outcome_of
from demo.payments import Banking
from demo.plays import HUMAN_EVERY, TIME_ZONE, Month, Platform
from demo.screen import Screen
from demo.service import CONFIDENCE_PPM, CURRENCY, POLICY
from demo.works import SHARE_TOTAL_NANO, Work
from moiety import PayRun, Round
from moiety.v1.payments_pb2 import PAYMENT_STATE_PAID

TRADITIONS_SHOWN: Final = 5  # in a work's attribution
EARNINGS_SHOWN: Final = 15
STATEMENT_LINES_SHOWN: Final = 3


def tell_model(screen: Screen, corpus: Corpus, works: Sequence[Work]) -> None:
    screen.heading("1. A model learns folk melodies, and makes new ones")
    nobodys_nano = sum(work.unattributed_nano for work in works) // len(works)
    screen.say(
        f"It read {len(corpus.tunes):,} melodies of {len(corpus.traditions)} traditions from the installed music21 "
        f"package ({sum(corpus.skipped.values())} passed over) and made {len(works):,} new ones. It predicts a note "
        "from the four before it, so the probability of each note splits exactly over the training notes that voted "
        f"for it, and so over traditions. Of the average work, {_of_one(nobodys_nano)} is nobody's."
    )


def tell_work(screen: Screen, work: Work, plays: int, traditions: Sequence[Tradition]) -> None:
    names = {tradition.id: tradition.name for tradition in traditions}
    shares = sorted(work.shares, key=lambda share: (-share[1], share[0]))
    shown, others = shares[:TRADITIONS_SHOWN], shares[TRADITIONS_SHOWN:]
    parts = [f"{names[tradition]} {_of_one(nano)}" for tradition, nano in shown]
    if others:
        parts.append(f"{len(others)} others {_of_one(sum(nano for _, nano in others))}")
    screen.say(f"The one that will be played most, {plays:,} times, in ABC notation:")
    screen.verbatim(work.abc("The most played"))
    screen.say(f"It draws on {'; '.join(parts)}; nobody {_of_one(work.unattributed_nano)}.")


def tell_service(screen: Screen, address: str, platforms: Sequence[Platform]) -> None:
    bulk, rows = platforms
    screen.heading("2. A service opens")
    screen.say(
        f"API, scheduler and Postgres run for the length of this demo. Everything from here on goes through {address}, "
        "each caller with a key of its own. Alice and Bob founded it: what Alice registers holds once Bob approves it. "
        f"{bulk.name} sends its usage as Arrow tables, {rows.name} row by row. Only "
        "the clock is a stand-in: it jumps to the end of the month."
    )
    prices = ", ".join(f"{each.name} {each.price_minor} cents" for each in platforms)
    screen.say(
        f"Each play pays into a pool ({prices}). The pool's policy: a fee of {_percent(POLICY.fee_ppm)}, at most "
        f"{_money(POLICY.fee_cap_minor)} a round; {_percent(POLICY.commons_ppm)} of the rest for the commons, which "
        "also gets what no tradition can claim, and is shared by the number of melodies collected; a play counts "
        f"{_percent(POLICY.human_ai_ppm)} where a person refined the work, as with one in {HUMAN_EVERY}. The method "
        f"of attribution is trusted to {_percent(CONFIDENCE_PPM)} (part 6 says why); the rest of its weight is the "
        "commons' too."
    )
    screen.heading("3. Three months go by")


def tell_month(
    screen: Screen, month: Month, reports: Sequence[Report], again: Sequence[Retransmission], settled: SettledRound
) -> None:
    told = [
        f"{month.name}: "
        + "; ".join(
            f"{report.platform.name} {report.events:,} events, {report.plays:,} plays, {_money(report.revenue_minor)}"
            for report in reports
        )
        + "."
    ]
    for each in again:
        receipts = "the same receipts" if each.same_receipts else "OTHER RECEIPTS"
        told.append(
            f"{each.platform.name} is not sure what arrived and sends its events twice more: the same batches get "
            f"{receipts}; cut into other batches, {each.accepted} events are accepted, {each.duplicates:,} left out "
            "as duplicates."
        )
    found = settled.round
    if month.days_late:
        told.append(
            f"{reports[-1].platform.name} pays {month.days_late} days late. So the schedule cuts nothing on the first: "
            "a month's usage waits for its money, and none of it is used up."
        )
    told.append(
        f"Round {found.number} is cut by the {found.calculated_by} for {found.period} on "
        f"{_in_lisbon(found.fire_times.last)} in Lisbon "
        f"({found.fire_times.last.ToDatetime():%H:%M} UTC) and posted when {found.decided_by} approves it at "
        f"{_in_lisbon(found.decide_time).rpartition(' ')[2]}."
    )
    if objection := settled.objection:
        told.append(
            f'In the review {objection.collective} objects: "{objection.reason}". {objection.answered_by} sets its '
            "amount aside, so that the others are paid; once the matter is settled both operators release it."
        )
    screen.say(" ".join(told))


def tell_statement(screen: Screen, settled: SettledRound, traditions: Sequence[Tradition]) -> None:
    found = settled.round
    header, *lines = settled.statement.decode().splitlines()
    largest = sorted(lines, key=lambda line: -int(line.rpartition(",")[2]))[:STATEMENT_LINES_SHOWN]
    screen.say(
        f"The largest of the {len(lines)} lines of round {found.number}'s statement, whose SHA-256 is in the log "
        f"({found.statement_sha256.hex()[:16]}...):"
    )
    screen.verbatim("\n".join([header, *largest]))
    first = max(settled.allocations, key=lambda allocation: allocation.amount_minor)
    tradition = next(each for each in traditions if first.collective == f"collectives/{each.id}")
    weight = int(first.weight) * 1_000_000 // (sum(int(each.weight) for each in settled.allocations) or 1)
    melodies = sum(each.members for each in traditions)
    screen.say(
        f"So {tradition.name} has {_percent_1(weight)} of the attributed weight, and gets that part of the attributed "
        f"{_money(found.attributed_minor)}: {_amount(first.attributed_minor)}. It has {tradition.members:,} of "
        f"{melodies:,} melodies, and gets that part of the commons' {_money(found.commons_minor)}: "
        f"{_amount(first.commons_minor)}."
    )


def tell_replay(screen: Screen, outcome: Outcome) -> None:
    screen.heading("4. An auditor has every round replayed from the log alone")
    screen.table(
        ["", "Events", "Pot", "Fee", "Allocated", "Commons\nkept", "Carried\nover", "Rounding", "Replay"],
        [
            (
                f"Round {found.number}",
                f"{found.event_count:,}",
                *map(_amount, (found.pot_minor, found.fee_minor, found.allocated_minor)),
                *map(_amount, (found.commons_kept_minor, found.carried_minor, found.rounding_minor)),
                outcome_of(verdict),
            )
            for found, verdict in zip(_rounds(outcome), outcome.verdicts, strict=True)
        ],
    )
    held: Counter[str] = Counter()
    for account, balance in outcome.balances.items():
        held[account.partition("/")[0]] += balance
    screen.say(
        f"Balances in {CURRENCY}: platforms {_amount(held['platform'])} (paid in), fees {_amount(held['fees'])}, "
        f"collectives {_amount(held['collective'])} (owed) and {_amount(held['paid'])} (paid), commons fund "
        f"{_amount(held['commons'])}, revenue {_amount(held['revenue'])}, rounding "
        f"{_amount(held['rounding'])}; together {_amount(sum(held.values()))}."
    )


def tell_paid(screen: Screen, run: PayRun) -> None:
    paid = [each.amount_minor for each in run.payments if each.state == PAYMENT_STATE_PAID]
    screen.say(
        f"A pay run of {len(run.payments)} payments goes to the bank as pain.001: {len(paid)} are paid, "
        f"{_money(sum(paid))}; the others it rejects or gives back, and they are owed again."
    )


def tell_banking(screen: Screen, banking: Banking) -> None:
    screen.say(
        f"At the bank: {banking.payments} payments, of which {banking.paid} were paid ({_money(banking.paid_minor)}), "
        f"{banking.rejected} rejected and {banking.returned} returned. Its last statement says "
        f"{_money(banking.balance_minor)}, and the books differ from it by {_money(banking.difference_minor)}."
    )


def tell_earnings(screen: Screen, outcome: Outcome, *, every: bool) -> None:
    screen.heading(f"5. Who got what in the three rounds, in {CURRENCY}, and why")
    earnings = outcome.earnings()
    shown = earnings if every else earnings[:EARNINGS_SHOWN]
    rows = [_row(each.tradition.name, [each]) for each in shown]
    if hidden := earnings[len(shown) :]:
        rows.append(_row(f"and {len(hidden)} more (--all)", hidden))
    rows.append(_row("All", earnings))
    screen.table(["Tradition", "Melodies", "Weight", "Attributed", "Commons", "Total"], rows)
    screen.say(
        "Attributed follows weight, round by round: what the works played drew on, by the model's own count. Commons "
        "follows melodies."
    )


def tell_instability(screen: Screen, moved: Instability) -> None:
    screen.heading("6. How steady is attribution?")
    screen.say(
        f"The model is trained anew on {moved.resamples} bootstrap resamples of its melodies, and {moved.works} works "
        "are attributed again. This much of their attribution has then gone elsewhere (total variation distance):"
    )
    rows = (
        ("one work", moved.per_work),
        ("one work, tunes in both trainings only", moved.kept),
        (f"all {moved.works} works together, as paid out", moved.pooled),
    )
    screen.table(["", "Single tunes", "Traditions", "Random groups"], [_moved_row(*row) for row in rows])
    work, pooled = moved.per_work, moved.pooled
    screen.say(
        f"Single tunes: {_percent_1(work.tune_ppm)} of a work's attribution goes to other tunes, and still "
        f"{_percent_1(pooled.tune_ppm)} when all the works are paid out together."
    )
    screen.say(
        f"Traditions: {_percent_1(work.tradition_ppm)} of a work's attribution goes to other traditions, and "
        f"{_percent_1(pooled.tradition_ppm)} when all the works are paid out together. That is why collectives are "
        f"paid and not tunes, and why the pool trusts the method to {_percent(CONFIDENCE_PPM)} and no more."
    )
    screen.say(
        "Before you quote this: tunes dealt at random into groups of the same sizes are nearly as steady as "
        "traditions, so most of the steadiness is that of any large group and not of kinship. And a resample lacks "
        "37% of the tunes, to which nothing can then be attributed; the second line, which counts only tunes in both "
        "trainings, is the fairer one to single tunes."
    )


def tell_end(screen: Screen, breaches: Sequence[str], seconds: float) -> None:
    if breaches:
        screen.say(f"DOES NOT HOLD: {'; '.join(breaches)}.")
    else:
        screen.say(f"Every replay matches, and every cent is accounted for. That took {seconds:.0f} s.")


def tell_how_to_stay(screen: Screen) -> None:
    screen.say("To look at it in a browser, run `make demo ARGS=--stay`.")


def tell_console(screen: Screen, links: Mapping[str, str]) -> None:
    screen.say("The service stays up until Ctrl-C. Look at it as one of its operators; each link signs in once:")
    screen.verbatim("\n".join(f"{name}  {link}" for name, link in links.items()))


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
        _amount(sum(each.attributed_minor for each in earnings)),
        _amount(sum(each.commons_minor for each in earnings)),
        _amount(sum(each.amount_minor for each in earnings)),
    )


def _moved_row(name: str, moved: Movement) -> tuple[str, ...]:
    return (name, *map(_percent_1, (moved.tune_ppm, moved.tradition_ppm, moved.random_group_ppm)))


def _amount(minor: int) -> str:
    """Minor units of a currency with two decimals, for people: `12,345.67`."""
    return f"{'-' * (minor < 0)}{abs(minor) // 100:,}.{abs(minor) % 100:02}"


def _money(minor: int) -> str:
    return f"{_amount(minor)} {CURRENCY}"


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:.0f}%"


def _percent_1(ppm: int) -> str:
    return f"{ppm / 10_000:.1f}%"


def _of_one(nano: int) -> str:
    return _percent_1(nano * 1_000_000 // SHARE_TOTAL_NANO)
