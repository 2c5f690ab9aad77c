"""A past round compared with the same round under another policy, or as a proposal would have had it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Final

from moiety import Client, Policy, Round
from services.cli.base.documents import document
from services.cli.base.money import major
from services.cli.base.output import table

_TOTALS: Final = ("pot", "fee", "attributed", "commons", "commons_kept", "carried", "rounding")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One round as posted, and as it would have been; amounts by collective, in minor units."""

    pool: str
    posted: Round
    other: Round
    amounts: dict[str, int]
    other_amounts: dict[str, int]

    def document(self) -> dict[str, Any]:
        """For machines."""
        collectives = [
            {"collective": name, "amount_minor": amount, "other_amount_minor": other}
            for name, amount, other in self._both()
        ]
        return {
            "pool": self.pool,
            "round": document(self.posted),
            "other": document(self.other),
            "collectives": collectives,
        }

    def differs(self) -> bool:
        """Whether any amount is another one."""
        return any(amount != other for _, amount, other in self._both())

    def _both(self) -> list[tuple[str, int, int]]:
        """Each collective's two amounts; 0 where a round has no line of it."""
        names = sorted(self.amounts.keys() | self.other_amounts.keys(), key=str.encode)
        return [(name, self.amounts.get(name, 0), self.other_amounts.get(name, 0)) for name in names]

    def shown(self, other: str = "Other policy") -> tuple[object, ...]:
        """For people: totals, then collectives, each with the difference; `other` says what the other round is."""
        totals = [
            (name.replace("_", " "), self._total(self.posted, name), self._total(self.other, name)) for name in _TOTALS
        ]
        currency = self.posted.currency
        rows = [
            (name, major(a, currency), major(b, currency), major(b - a, currency))
            for name, a, b in totals + self._both()
        ]
        columns = [f"Round {self.posted.number} of {self.pool}", "Posted", other, "Difference"]
        return (table(columns, rows, right=columns[1:]),)

    @staticmethod
    def _total(found: Round, name: str) -> int:
        return int(getattr(found, f"{name}_minor"))


def compare(
    client: Client, pool: str, posted: Round, *, policy: Policy | None = None, proposal: str = ""
) -> Comparison:
    """The posted round beside the same round under a policy, or as a proposal would have had it."""
    other = client.preview_round(pool, number=posted.number, policy=policy, proposal=proposal)
    return Comparison(
        pool, posted, other.round, _amounts(client.get_statement(pool, posted.number)), _amounts(other.statement)
    )


def _amounts(statement: bytes) -> dict[str, int]:
    lines = csv.DictReader(io.StringIO(statement.decode()))
    return {line["collective"]: int(line["amount_minor"]) for line in lines}
