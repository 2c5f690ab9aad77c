"""A past round compared with the same round under another policy."""

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

    posted: Round
    other: Round
    amounts: dict[str, int]
    other_amounts: dict[str, int]

    def document(self) -> dict[str, Any]:
        """For machines."""
        collectives = [
            {"collective": name, "amount_minor": amount, "other_amount_minor": self.other_amounts[name]}
            for name, amount in self.amounts.items()
        ]
        return {"round": document(self.posted), "other": document(self.other), "collectives": collectives}

    def shown(self) -> tuple[object, ...]:
        """For people: totals, then collectives, each with the difference."""
        totals = [
            (name.replace("_", " "), self._total(self.posted, name), self._total(self.other, name)) for name in _TOTALS
        ]
        amounts = [(name, amount, self.other_amounts[name]) for name, amount in self.amounts.items()]
        currency = self.posted.currency
        rows = [
            (name, major(a, currency), major(b, currency), major(b - a, currency)) for name, a, b in totals + amounts
        ]
        columns = [f"Round {self.posted.number}", "Posted", "Other policy", "Difference"]
        return (table(columns, rows, right=columns[1:]),)

    @staticmethod
    def _total(found: Round, name: str) -> int:
        return int(getattr(found, f"{name}_minor"))


def compare(client: Client, pool: str, posted: Round, policy: Policy) -> Comparison:
    """The posted round beside the same round under the policy."""
    other = client.preview_round(pool, number=posted.number, policy=policy)
    return Comparison(
        posted, other.round, _amounts(client.get_statement(pool, posted.number)), _amounts(other.statement)
    )


def _amounts(statement: bytes) -> dict[str, int]:
    lines = csv.DictReader(io.StringIO(statement.decode()))
    return {line["collective"]: int(line["amount_minor"]) for line in lines}
