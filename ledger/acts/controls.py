"""Controls: whether each kind of act needs one person or two."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from ledger.errors import InvalidInputError

ONE: Final = 1
TWO: Final = 2


class Kind(StrEnum):
    """The subject of an act, which decides how many people it needs."""

    PEOPLE = "PEOPLE"
    """Operators and auditors, their keys, and the controls themselves."""
    TERMS = "TERMS"
    """Pools and their policies, methods, memberships and schedules; the witnesses by whom reviews are timed."""
    WEIGHTS = "WEIGHTS"
    """Platforms and collectives: who they are, their keys, members, equity, status and domains; admission to pools."""
    MONEY = "MONEY"
    """Payments, releases and grants."""
    ROUNDS = "ROUNDS"
    """Posting a round."""
    REGISTRY = "REGISTRY"
    """Display names, contacts, and webhooks, which tell their owners what they may see anyway."""


_FIELDS: Final = {kind: kind.value.lower() for kind in Kind}
"""Where the controls have the count of each."""


class Controls(BaseModel):
    """How many people each kind of act needs: one or two."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    people: int
    terms: int
    weights: int
    money: int
    rounds: int
    registry: int

    @classmethod
    def of_one(cls) -> Controls:
        """One person may do everything alone."""
        return cls(people=ONE, terms=ONE, weights=ONE, money=ONE, rounds=ONE, registry=ONE)

    @classmethod
    def of_two(cls) -> Controls:
        """Everything but display names and contacts needs two people."""
        return cls(people=TWO, terms=TWO, weights=TWO, money=TWO, rounds=TWO, registry=ONE)

    def needed(self, kind: Kind) -> int:
        """Returns how many people an act of this kind needs."""
        count: int = getattr(self, _FIELDS[kind])
        return count

    def ask_for_two(self) -> bool:
        """Returns whether any kind of act needs a second person."""
        return TWO in (self.people, self.terms, self.weights, self.money, self.rounds, self.registry)

    def require_sound(self) -> Controls:
        """Returns these controls, if one person cannot get around them.

        Raises:
            InvalidInputError: a count is neither 1 nor 2, or a kind is stricter than PEOPLE: whoever may add operators
                alone could always add the second person.
        """
        for kind in Kind:
            field = f"controls.{_FIELDS[kind]}"
            if self.needed(kind) not in (ONE, TWO):
                raise InvalidInputError.of(field, "must be 1 or 2, got %(got)s", got=self.needed(kind))
            if self.needed(kind) > self.people:
                raise InvalidInputError.of(field, "must be at most %(most)s, as many as for people", most=self.people)
        return self
