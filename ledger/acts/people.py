"""Who may act, as of a size of the registry's log, and the rules that keep one person from counting as two.

`People` is a fold of the registry's leaves. The service checks acts with it, and so does a verification.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from ledger.acts.act import OPERATORS, ActContent
from ledger.acts.controls import ONE, TWO, Controls
from ledger.acts.entries import (
    ControlsContent,
    DeploymentContent,
    KeyContent,
    KeyKind,
    KeyRevocationContent,
    PrincipalContent,
    PrincipalStatus,
    RecoveryContent,
    WitnessesContent,
)
from ledger.errors import Fact, Sentence, StateError
from ledger.log.leaves import Content, Leaf

A = TypeVar("A", bound=ActContent)

RECOVERY_DELAY: Final = timedelta(days=7)
"""How long other people have to notice that the database's owner issued itself a key."""

PROPOSAL_LIFETIME: Final = timedelta(days=30)
"""A proposal lapses after this time; a round does not."""

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
"""Before every leaf's time."""

PEOPLE_KINDS: Final[dict[str, type[Content]]] = {
    kind.type: kind
    for kind in (
        DeploymentContent, ControlsContent, WitnessesContent, PrincipalContent, KeyContent, KeyRevocationContent,
        RecoveryContent,
    )
}  # fmt: skip
"""The kinds of entry that `People` follows from; it ignores all others."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a principal, and the key that was used."""

    name: str
    key_id: str

    def stamp(self, content: A, people: People) -> A:
        """Returns the act as this actor's, checked against who may act."""
        return content.model_copy(
            update={
                "by": self.name,
                "by_key": self.key_id,
                "registry_size": people.size,
                "people_leaf": people.last_leaf,
            }
        )


@dataclass(frozen=True, slots=True)
class Person:
    """An operator or auditor."""

    name: str
    since: int
    """The registry's leaf that registered it."""
    alone: bool
    """Whether one person could register it; if so, it never counts as a second person. A proposal for it shows nothing:
    after the controls were relaxed, whoever made it could approve it."""
    status: PrincipalStatus = PrincipalStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Key:
    """A key of any principal."""

    key_id: str
    principal: str
    since: int
    alone: bool
    """Whether one person could issue it to somebody else, or with such a key: it approves nothing, and nobody approves
    what it proposes."""
    pools: frozenset[str] = frozenset()
    """The only pools that the key gives access to; empty for all."""
    begins: datetime | None = None
    expires: datetime | None = None
    recovered: bool = False
    revoked: int | None = None
    """The registry's leaf that revoked it."""
    bound: str = ""
    """The hash of the account or certificate that it stands for; empty for a key that is a secret."""


@dataclass(slots=True)
class People:
    """Operators, auditors, keys, controls and witnesses, after the first `size` leaves of the registry's log."""

    size: int = 0
    time: datetime = BEGINNING
    """When the last of these leaves was logged."""
    origin: str = ""
    controls: Controls = field(default_factory=Controls.of_one)
    founders: tuple[str, ...] = ()
    keys_made_together: bool = False
    persons: dict[str, Person] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    """The hashes of accounts and certificates for which a key stands that is not revoked."""
    recoveries: int = 0
    last_leaf: int = 0
    """The last of these leaves that is about operators: the founding, controls, witnesses, an operator, its keys."""
    witnesses: str = ""
    """The policy of the witnesses by whom reviews are timed; empty for none."""

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Take in the next leaf of the registry's log that is about people; others may be left out."""
        self.size, self.time = leaf.index + 1, leaf.time
        if leaf.content.type not in PEOPLE_KINDS:
            return
        if self._is_about_operators(leaf.content):
            self.last_leaf = leaf.index
        match leaf.content:
            case DeploymentContent() as content:
                self._found(content)
            case ControlsContent(controls=controls):
                self.controls = controls
            case WitnessesContent(policy=policy):
                self.witnesses = policy
            case PrincipalContent(principal=name, status=status):
                known = self.persons.get(name)
                person = known or Person(name, leaf.index, alone=self.controls.people == ONE)
                self.persons[name] = replace(person, status=PrincipalStatus(status))
            case KeyContent() as content:
                self._issue(leaf.index, content)
            case KeyRevocationContent(key_id=key_id) if key_id in self.keys:
                self.keys[key_id] = replace(self.keys[key_id], revoked=leaf.index)
                self.bound.discard(self.keys[key_id].bound)
            case RecoveryContent() as content:
                self._recover(leaf, content)

    def _is_about_operators(self, content: Content) -> bool:
        match content:
            case PrincipalContent(principal=name) | KeyContent(principal=name):
                return name.startswith(OPERATORS)
            case KeyRevocationContent(key_id=key_id):
                return key_id in self.keys and self.keys[key_id].principal.startswith(OPERATORS)
            case DeploymentContent() | ControlsContent() | WitnessesContent() | RecoveryContent():
                return True
            case _:
                return False

    def _found(self, content: DeploymentContent) -> None:
        self.origin, self.controls = content.origin, content.controls
        self.founders = tuple(founder.operator for founder in content.founders)
        self.keys_made_together = content.keys_made_together
        for founder in content.founders:
            self.persons[founder.operator] = Person(founder.operator, 0, alone=False)
            self.keys[founder.key_id] = Key(founder.key_id, founder.operator, 0, alone=False)

    def _issue(self, leaf_index: int, content: KeyContent) -> None:
        bound = "" if content.key_kind == KeyKind.SECRET else content.secret_hash
        self.keys[content.key_id] = Key(
            content.key_id,
            content.principal,
            leaf_index,
            alone=self.controls.people == ONE and (content.by != content.principal or self._was_alone(content)),
            pools=frozenset(content.pools),
            expires=datetime.fromisoformat(content.expires_at) if content.expires_at else None,
            bound=bound,
        )
        if bound:
            self.bound.add(bound)

    def _recover(self, leaf: Leaf[Any], content: RecoveryContent) -> None:
        self.recoveries += 1
        self.persons.setdefault(content.operator, Person(content.operator, leaf.index, alone=True))
        self.keys[content.key_id] = Key(
            content.key_id, content.operator, leaf.index, alone=True, begins=leaf.time + RECOVERY_DELAY, recovered=True
        )

    def operators(self) -> list[Person]:
        """Returns the operators who may act."""
        return [
            person
            for person in self.persons.values()
            if person.name.startswith(OPERATORS) and person.status is PrincipalStatus.ACTIVE
        ]

    def require_actor(self, content: ActContent, at: datetime, pool: str | None = None) -> None:
        """Check that whoever did an act may do it, with this key, at this time, in the log of `pool`.

        Raises:
            StateError: the operator is not registered or is suspended, or the act is not one of such a principal; or
                the key belongs to someone else, is revoked, is not valid yet or any more, or does not give access to
                this pool.
        """
        key = self.keys.get(content.by_key)
        if content.own_of and content.by == content.own_of:
            pass  # its own matter; that the key is its own is checked below
        elif content.done_by == OPERATORS:
            self._require_operator(content.by)
        elif not content.by.startswith(content.done_by):
            raise _refused(
                content.by, "NOT_THEIR_ACT", "may not do what only %(role)s may", role=content.done_by.rstrip("/")
            )
        if key is None or key.principal != content.by:
            raise _refused(content.by, "KEY_OF_ANOTHER", "has no key %(key)s", key=content.by_key)
        if key.revoked is not None:
            raise _refused(content.by, "KEY_REVOKED", "used key %(key)s, which was revoked", key=key.key_id)
        if (key.begins and at < key.begins) or (key.expires and at >= key.expires):
            raise _refused(
                content.by, "KEY_NOT_VALID_NOW", "used key %(key)s before or after its validity", key=key.key_id
            )
        if key.pools and (pool is None or pool not in key.pools):
            raise _refused(
                content.by, "KEY_OF_OTHER_POOLS", "used key %(key)s, which has no access to this log", key=key.key_id
            )

    def _require_operator(self, name: str) -> None:
        person = self.persons.get(name)
        if person is None or not name.startswith(OPERATORS):
            raise _refused(name, "NOT_AN_OPERATOR", "is not a registered operator")
        if person.status is not PrincipalStatus.ACTIVE:
            raise _refused(name, "SUSPENDED", "is suspended")

    def require_second(self, first: ActContent, second: ActContent) -> None:
        """Check that a decision is by another person than the one whose act is decided.

        `first` acted, and `second` decides on it; both may act (`require_actor`).

        Raises:
            StateError: it is the same operator; or the second was registered after the first acted; or one person alone
                registered either of them, or issued its key; or the key was recovered after the first acted.
        """
        person, key = self.persons[second.by], self.keys[second.by_key]
        if second.by == first.by:
            raise _refused(second.by, "PROPOSED_IT", "cannot decide what it proposed or calculated itself")
        if person.since >= first.registry_size:
            raise _refused(second.by, "REGISTERED_LATER", "was registered after what it decides was made")
        if person.alone or key.alone:
            raise _refused(second.by, "REGISTERED_ALONE", "was registered, or given this key, by one person alone")
        if self._was_alone(first):
            detail = Sentence(
                "cannot decide what %(first)s made, which was registered, or given its key, by one person alone",
                first=first.by,
            )
            raise _refused(second.by, "MADE_ALONE", detail)
        if key.recovered and key.since >= first.registry_size:
            raise _refused(second.by, "RECOVERED_LATER", "recovered this key after what it decides was made")

    def require_decidable(self, made: ActContent) -> None:
        """Check that what somebody makes, which needs a second person, may be approved by one (`require_second`).

        Raises:
            StateError: one person alone could register who makes it, or issue its key.
        """
        if self._was_alone(made):
            detail = "was registered, or given this key, by one person alone, and nobody may approve what it makes"
            raise _refused(made.by, "REGISTERED_ALONE", detail)

    def _was_alone(self, made: ActContent) -> bool:
        """Whether an operator made something whom one person alone may have made up: who approves it may be that one.

        A recovered key does not count: whoever is left after a loss approves what brings the other back.
        """
        person, key = self.persons.get(made.by), self.keys.get(made.by_key)
        return person is not None and key is not None and not key.recovered and (person.alone or key.alone)

    def require_enough_left(self, content: ActContent) -> None:
        """Check that an act leaves two operators who may act, if the controls need two people after it.

        Raises:
            StateError: it would leave fewer.
        """
        controls = content.controls if isinstance(content, ControlsContent) else self.controls
        if not controls.ask_for_two():
            return
        left = {person.name for person in self.operators() if not person.alone}
        if isinstance(content, PrincipalContent) and content.status != PrincipalStatus.ACTIVE:
            left -= {content.principal}
        if len(left) < TWO:
            detail = "would leave fewer than two operators who count as different people"
            raise _refused(content.by, "TOO_FEW_OPERATORS", detail)


def _refused(who: str, reason: str, detail: str, /, **facts: Fact) -> StateError:
    return StateError(who or "nobody", reason, detail, **facts)
