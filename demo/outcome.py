"""What the demo ended with: its figures, whether they hold, and all of it as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from demo.corpus import Tradition
from demo.instability import Instability
from demo.months import Report, Retransmission, SettledRound
from demo.payments import Banking
from demo.service import CURRENCY
from moiety import ReplayVerdict
from moiety.v1 import audit_pb2, rounds_pb2

PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Earnings:
    """What a tradition got over all rounds, minor units, and its part of all attributed weight, ppm."""

    tradition: Tradition
    weight_ppm: int
    attributed_minor: int
    commons_minor: int

    @property
    def amount_minor(self) -> int:
        """Both parts together."""
        return self.attributed_minor + self.commons_minor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the three months. Months, rounds and verdicts are in the same order."""

    traditions: tuple[Tradition, ...]
    works: int
    months: tuple[tuple[Report, ...], ...]
    retransmissions: tuple[Retransmission, ...]
    rounds: tuple[SettledRound, ...]
    verdicts: tuple[ReplayVerdict, ...]
    balances: Mapping[str, int]
    banking: Banking

    @property
    def events(self) -> int:
        """Usage events recorded."""
        return sum(report.events for month in self.months for report in month)

    @property
    def shares(self) -> int:
        """Shares in these events."""
        return sum(report.shares for month in self.months for report in month)

    def earnings(self) -> list[Earnings]:
        """Who got what over all rounds: most first, then by id."""
        weights = {tradition.id: 0 for tradition in self.traditions}
        attributed, commons = dict(weights), dict(weights)
        for settled in self.rounds:
            for allocation in settled.allocations:
                collective = allocation.collective.removeprefix("collectives/")
                weights[collective] += int(allocation.weight)
                attributed[collective] += allocation.attributed_minor
                commons[collective] += allocation.commons_minor
        whole = sum(weights.values()) or 1
        found = [Earnings(t, weights[t.id] * PPM // whole, attributed[t.id], commons[t.id]) for t in self.traditions]
        return sorted(found, key=lambda each: (-each.amount_minor, each.tradition.id))

    def breaches(self) -> list[str]:
        """What should hold and does not, in words; empty where all is well."""
        return [*self._breaches_of_rounds(), *self._breaches_of_the_whole()]

    def document(self, moved: Instability) -> dict[str, Any]:
        """Return all of it as data, with how far the works' attribution moved."""
        return {
            "works": self.works,
            "traditions": len(self.traditions),
            "events": self.events,
            "shares": self.shares,
            "duplicates": sum(again.duplicates for again in self.retransmissions),
            "currency": CURRENCY,
            "rounds": [_round(*pair) for pair in zip(self.rounds, self.verdicts, strict=True)],
            "bank": asdict(self.banking),
            "earnings": [_earnings(each) for each in self.earnings()],
            "balances_sum_minor": sum(self.balances.values()),
            "tune_instability_ppm": moved.per_work.tune_ppm,
            "tradition_instability_ppm": moved.per_work.tradition_ppm,
            "instability": asdict(moved),
            "breaches": self.breaches(),
        }

    def _breaches_of_rounds(self) -> Iterator[str]:
        recorded = 0
        for settled, verdict, month in zip(self.rounds, self.verdicts, self.months, strict=True):
            found = settled.round
            recorded += sum(report.events for report in month)
            name = f"round {found.number}"
            kept_minor = found.commons_kept_minor + found.carried_minor + found.rounding_minor
            if found.pot_minor != found.fee_minor + found.allocated_minor + kept_minor:
                yield f"{name}: the pot is not what was made of it"
            if found.allocated_minor != sum(each.amount_minor for each in settled.allocations):
                yield f"{name}: the allocations do not sum to what was allocated"
            if (found.late_event_count, found.late_minor) != (0, 0):
                yield f"{name}: took usage or money of another month"
            if found.event_count != sum(report.events for report in month):
                yield f"{name}: {found.event_count} events, and the receipts say otherwise"
            if sha256(settled.statement).digest() != found.statement_sha256:
                yield f"{name}: the statement has another hash"
            if settled.objection and settled.objection.answer != rounds_pb2.OBJECTION_ANSWER_SET_ASIDE:
                yield f"{name}: the objection was not set aside"
            if found.state != rounds_pb2.ROUND_STATE_POSTED:
                yield f"{name}: not posted"
            if verdict.outcome != audit_pb2.REPLAY_OUTCOME_MATCH:
                yield f"{name}: the replay diverged at leaf {verdict.leaf_index}, {verdict.figure}"
            elif verdict.events != recorded:  # those of earlier months too: it is for the round to leave them out
                yield f"{name}: the replay saw {verdict.events} events, and {recorded} were recorded"

    def _breaches_of_the_whole(self) -> Iterator[str]:
        if sum(self.balances.values()):
            yield "the balances do not sum to zero"
        for each in self.earnings():
            of_it = (self.balances.get(f"{kind}/{each.tradition.id}", 0) for kind in ("collective", "paid"))
            if sum(of_it) != each.amount_minor:
                yield f"{each.tradition.id}: what it is owed and was paid is not what the rounds allocated"
        if any(amount for account, amount in self.balances.items() if account.startswith("held/")):
            yield "what was set aside is held still"
        if self.banking.difference_minor:
            yield f"the bank has {self.banking.difference_minor} minor units more than the books"
        if any(amount for account, amount in self.balances.items() if account.startswith(("paying/", "due/"))):
            yield "something is still on its way"
        if self.banking.paid + self.banking.rejected + self.banking.returned != self.banking.payments:
            yield "the bank has not answered for every payment"
        if any(again.accepted or not again.same_receipts for again in self.retransmissions):
            yield "usage sent again was recorded again"


def outcome_of(verdict: ReplayVerdict) -> str:
    """Return the outcome in a word: `MATCH` or `DIVERGED`."""
    return audit_pb2.ReplayOutcome.Name(verdict.outcome).removeprefix("REPLAY_OUTCOME_")


def _round(settled: SettledRound, verdict: ReplayVerdict) -> dict[str, Any]:
    found = settled.round
    return {
        "number": found.number,
        "period": found.period,
        "events": found.event_count,
        "pot_minor": found.pot_minor,
        "fee_minor": found.fee_minor,
        "allocated_minor": found.allocated_minor,
        "attributed_minor": found.attributed_minor,
        "commons_minor": found.commons_minor,
        "commons_kept_minor": found.commons_kept_minor,
        "carried_minor": found.carried_minor,
        "rounding_minor": found.rounding_minor,
        "calculated_by": found.calculated_by,
        "decided_by": found.decided_by,
        "objected_by": settled.objection.collective if settled.objection else None,
        "statement_sha256": found.statement_sha256.hex(),
        "replay": outcome_of(verdict),
    }


def _earnings(each: Earnings) -> dict[str, Any]:
    return {
        "collective": each.tradition.id,
        "name": each.tradition.name,
        "members": each.tradition.members,
        "weight_ppm": each.weight_ppm,
        "attributed_minor": each.attributed_minor,
        "commons_minor": each.commons_minor,
        "amount_minor": each.amount_minor,
    }
