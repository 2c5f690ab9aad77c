"""Who did what in the logs of a statement file, judged by the leaves of the registry that the file shows.

Every act names the last leaf about operators that it was judged by, and so does each of these, back to the founding.
So the leaves in between with their proofs are all that there is, and the rules of `audit.folds.acts` apply to a file as
they do to a whole log: no key is used that was revoked, and nobody counts as a second person who is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from audit.findings import At, at
from audit.folds.acts import ActsFold
from audit.steps import Step
from ledger.acts.act import OPERATORS
from ledger.acts.controls import TWO
from ledger.acts.entries import (
    REGISTRY_CONTENTS,
    DeploymentContent,
    KeyContent,
    KeyKind,
    KeyRevocationContent,
    PoolOpenedContent,
    PrincipalContent,
    RecoveryContent,
)
from ledger.acts.people import PEOPLE_KINDS, People
from ledger.log.leaves import Content, Leaf
from ledger.log.origins import REGISTRY_LOG
from payout.entries import CONTENTS
from payout.policy import Approval, Policy

POOL_KINDS: Final[dict[str, type[Content]]] = {
    f"{kind}.v1": CONTENTS[f"{kind}.v1"]
    for kind in (
        "pool", "policy", "method", "round", "objection", "answer", "proposal", "decision", "posting", "split",
        "payment", "release", "grant", "booking", "adjustment",
    )
}  # fmt: skip
"""The kinds of entry of a pool's log that a statement file may have."""

_OTHERS: Final = ("keychange", "collective", "poolopened", "proposal", "decision")

REGISTRY_KINDS: Final[dict[str, type[Content]]] = {
    **PEOPLE_KINDS,
    **{f"{kind}.v1": REGISTRY_CONTENTS[f"{kind}.v1"] for kind in _OTHERS},
}
"""Those of the registry's."""


@dataclass(slots=True)
class ShownRegistry:
    """The registry as of each of its sizes, as far as a file shows it. `size` is that of its checkpoint."""

    deployment: str
    size: int
    _states: list[tuple[int, People]] = field(default_factory=list)
    """(size, who may act from it on), by size."""
    _people: People = field(default_factory=People)
    _opened: dict[int, PoolOpenedContent] = field(default_factory=dict)

    def people_at(self, size: int) -> People:
        """Who may act after so many leaves, or after all that there are where these are fewer."""
        known = [people for since, people in self._states if since <= size]
        return replace(known[-1] if known else People(), size=min(size, self.size))

    def last_time(self) -> datetime | None:
        """Not known: a file need not have the leaf."""
        return None

    def next_time(self) -> datetime | None:
        """Not known: a file need not have the leaf."""
        return None

    def opened_at(self, leaf_index: int) -> PoolOpenedContent | None:
        """What opened a pool at a leaf; None if the file does not show it."""
        return self._opened.get(leaf_index)

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Take in the next leaf that is shown, which was judged.

        Raises:
            FoundError: it says what no registry can.
            ValueError: the same.
        """
        self._require_sound(leaf)
        match leaf.content:
            case PoolOpenedContent():
                self._opened[leaf.index] = leaf.content
            case content if content.type in PEOPLE_KINDS:
                self._people.take_in(leaf)
                self._states.append((leaf.index + 1, deepcopy(self._people)))

    def _require_sound(self, leaf: Leaf[Any]) -> None:
        here = _here(leaf.index)
        is_first = isinstance(leaf.content, DeploymentContent)
        here.holds(is_first == (leaf.index == 0), "type", leaf.content.type, "the founding first and only there")
        match leaf.content:
            case DeploymentContent() as content:
                _require_founded(here, content, self.deployment)
            case PrincipalContent(principal=name):
                here.holds(name.startswith(_PEOPLE), "principal", name, "an operator or an auditor")
            case KeyContent(key_id=key_id, key_kind=kind, issuer=issuer):
                here.holds(key_id not in self._people.keys, "key_id", key_id, "one that no other key has")
                here.holds(kind in set(KeyKind), "key_kind", kind, "a kind of key")
                here.holds(bool(issuer) == (kind == KeyKind.IDENTITY), "issuer", issuer, "that of an identity")
            case RecoveryContent(key_id=key_id, people_leaf=last_leaf):
                here.holds(key_id not in self._people.keys, "key_id", key_id, "one that no other key has")
                here.same("people_leaf", last_leaf, self._people.last_leaf)
            case KeyRevocationContent(key_id=key_id):
                here.holds(key_id in self._people.keys, "key_id", key_id, "a key that the file shows")


_PEOPLE: Final = (OPERATORS, "auditors/")


def _require_founded(here: At, content: DeploymentContent, deployment: str) -> None:
    here.same("origin", content.origin, deployment)
    names = [founder.operator for founder in content.founders]
    keys = {founder.key_id for founder in content.founders}
    sound = bool(names) and len(set(names)) == len(keys) == len(names)
    here.holds(sound and all(name.startswith(OPERATORS) for name in names), "founders", names, "operators, each once")
    enough = not content.controls.require_sound().ask_for_two() or len(names) >= TWO
    here.holds(enough, "founders", len(names), f"{TWO} or more, which the controls ask for")


def _here(leaf_index: int) -> At:
    return at(leaf_index, step=Step.DECISIONS, log=REGISTRY_LOG)


def read_registry(
    leaves: Iterable[Leaf[Any]], hashes: Mapping[int, bytes], deployment: str, size: int
) -> ShownRegistry:
    """Returns the registry that a file's leaves of it show, each judged by those before it.

    Args:
        leaves: what the file shows of it, by index.
        hashes: theirs, by index.
        deployment: the origin of the deployment whose key is trusted.
        size: that of the registry's checkpoint.

    Raises:
        FoundError: nobody may do what a leaf says, or a leaf about operators is missing.
        InvalidInputError, ValueError: a leaf says what no registry can.
    """
    shown = ShownRegistry(deployment, size)
    acts = ActsFold(REGISTRY_LOG, shown, _hash_in(hashes), of_registry=True)
    for leaf in leaves:
        acts.take_in(leaf)
        shown.take_in(leaf)
    acts.end()
    return shown


def judge_pool(
    leaves: Sequence[Leaf[Any]], hashes: Mapping[int, bytes], registry: ShownRegistry, policy: Policy
) -> ActsFold:
    """Judge the acts of a pool's log that a file shows; `policy` is that of its round. Returns what was done.

    Raises:
        FoundError: nobody may do what a leaf says.
    """
    silent = policy.approval is Approval.SILENCE
    # Whether the bank took back some of a pot is not in the file: only a rejection follows from it.
    acts = ActsFold(leaves[0].pool, registry, _hash_in(hashes), is_silent=lambda _: silent, is_short=lambda _: True)
    for leaf in leaves:
        acts.take_in(leaf)
    acts.end()
    return acts


def _hash_in(hashes: Mapping[int, bytes]) -> Any:
    return lambda leaf_index: hashes[leaf_index].hex() if leaf_index in hashes else ""
