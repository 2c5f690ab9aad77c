"""Controls: for each kind of act, whether one person or two are needed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from ledger.errors import InvalidInputError

ONE: Final = 1
TWO: Final = 2


class Kind(StrEnum):
    """What an act is about, which decides how many people it needs."""

    PEOPLE = "PEOPLE"
    """Operators and auditors, their keys, and the controls themselves."""
    TERMS = "TERMS"
    """A pool's policy, methods, memberships and schedule."""
    WEIGHTS = "WEIGHTS"
    """Platforms and collectives: who they are, their keys, members, equity, status and domains; admission to pools."""
    MONEY = "MONEY"
    """Payments, releases and grants."""
    ROUNDS = "ROUNDS"
    """Posting a round."""
    REGISTRY = "REGISTRY"
    """Names that only people read."""


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
        """One person suffices for everything."""
        return cls(people=ONE, terms=ONE, weights=ONE, money=ONE, rounds=ONE, registry=ONE)

    @classmethod
    def of_two(cls) -> Controls:
        """Two people for everything but names."""
        return cls(people=TWO, terms=TWO, weights=TWO, money=TWO, rounds=TWO, registry=ONE)

    def needed(self, kind: Kind) -> int:
        """How many people an act of this kind needs."""
        count: int = getattr(self, kind.value.lower())
        return count

    def ask_for_two(self) -> bool:
        """Whether any kind of act needs a second person."""
        return any(self.needed(kind) == TWO for kind in Kind)

    def require_sound(self) -> Controls:
        """These controls, if they hold against one person.

        Raises:
            InvalidInputError: a count is neither one nor two, or a kind is stricter than PEOPLE. Whoever alone may make
                operators is two people whenever that is needed.
        """
        for kind in Kind:
            field = f"controls.{kind.value.lower()}"
            if self.needed(kind) not in (ONE, TWO):
                raise InvalidInputError.of(field, f"must be 1 or 2, got {self.needed(kind)}")
            if self.needed(kind) > self.people:
                raise InvalidInputError.of(field, f"must be at most {self.people}, which is controls.people")
        return self
