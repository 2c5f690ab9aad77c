"""What changed from one round to the next: collectives, people and controls, policy, methods and memberships."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from audit.folds.registry import RegistryFold
from ledger.acts.entries import CollectiveContent, ControlsContent, PrincipalContent
from ledger.log.leaves import Leaf
from ledger.registry import Collective
from ledger.usage.entries import ClosingContent, MembershipContent, MethodContent
from payout.policy import Policy

LISTED_MAX: Final = 200
"""Changes that are listed of a round; the others are counted."""

_COLLECTIVE: Final = ("display_name", "members", "equity_ppm", "status")


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that is not what it was in the round before. What was not there, or is not any more, is empty."""

    subject: str
    figure: str
    before: str
    after: str


@dataclass(slots=True)
class Changes:
    """The first changes of a round, and how many there are."""

    listed: list[Change] = field(default_factory=list)
    count: int = 0

    def compare(self, subject: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Take in each figure of a subject that differs."""
        for figure in dict.fromkeys([*before, *after]):
            one, other = _text(before.get(figure)), _text(after.get(figure))
            if one != other:
                self.count += 1
                if len(self.listed) < LISTED_MAX:
                    self.listed.append(Change(subject, figure, one, other))


@dataclass(slots=True)
class History:
    """Sees both logs' leaves, and gives what changed at each round."""

    registry: RegistryFold
    _collectives: dict[str, Collective] = field(default_factory=dict)
    _controls: dict[str, Any] = field(default_factory=dict)
    _persons: dict[str, str] = field(default_factory=dict)
    """As of the last round."""
    _policy: dict[str, Any] = field(default_factory=dict)
    _declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of methods and memberships, and whether the pool is closed, the latest."""
    _declared_before: dict[str, dict[str, Any]] = field(default_factory=dict)
    _touched: dict[str, None] = field(default_factory=dict)
    """Of both logs, what was said since the last round, in that order."""

    def see_registered(self, leaf: Leaf[Any]) -> None:
        """Note what a leaf of the registry is about."""
        match leaf.content:
            case CollectiveContent(collective=name):
                self._touched[f"collectives/{name}"] = None
            case PrincipalContent(principal=name):
                self._touched[name] = None
            case ControlsContent():
                self._touched["controls"] = None

    def see(self, leaf: Leaf[Any]) -> None:
        """Note what a leaf of the pool declares."""
        match leaf.content:
            case MethodContent(method=name):
                said = leaf.content.said()
                self._declare(f"methods/{name}", {key: value for key, value in said.items() if key != "method"})
            case MembershipContent(membership=name):
                said = leaf.content.said()
                self._declare(f"memberships/{name}", {key: value for key, value in said.items() if key != "membership"})
            case ClosingContent():
                self._declare("usage", {"closed": "yes"})

    def at_round(self, policy: Policy, version: int) -> Changes:
        """Returns what changed since the last round, now that the registry is as this round has it."""
        found = Changes()
        terms = {"version": version, **policy.model_dump(mode="json")}
        found.compare("policy", self._policy, terms)
        self._policy = terms
        people = self.registry.people
        controls = people.controls.model_dump(mode="json")
        found.compare("controls", self._controls, controls)
        self._controls = controls
        if not self._persons:
            self._touched |= dict.fromkeys(people.persons)
        for name in self._touched:
            if name in self._declared:
                found.compare(name, self._declared_before.get(name, {}), self._declared[name])
                self._declared_before[name] = self._declared[name]
            elif name in people.persons:
                status = people.persons[name].status.value
                found.compare(name, {"status": self._persons.get(name)}, {"status": status})
                self._persons[name] = status
            elif (collective := self.registry.collectives.get(name.removeprefix("collectives/"))) is not None:
                before = self._collectives.get(collective.name)
                found.compare(name, _figures(before), _figures(collective))
                self._collectives[collective.name] = collective
        self._touched = {}
        return found

    def _declare(self, subject: str, said: dict[str, Any]) -> None:
        self._declared[subject] = said
        self._touched[subject] = None


def _figures(collective: Collective | None) -> dict[str, Any]:
    if collective is None:
        return {}
    known = {each.name: getattr(collective, each.name) for each in fields(collective)}
    return {**{name: known[name] for name in _COLLECTIVE}, "domains": " ".join(collective.domains)}


def _text(value: object) -> str:
    return "" if value is None else str(value)
