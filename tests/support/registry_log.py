"""A registry's log in memory: built leaf by leaf as the service would, and read as an audit reads one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, TypeVar

from ledger.acts.act import ActContent
from ledger.acts.collectives import collective_content, render_domains
from ledger.acts.controls import Controls
from ledger.acts.entries import (
    REGISTRY_CONTENTS,
    CollectiveContent,
    DecisionContent,
    DeploymentContent,
    Founder,
    KeyContent,
    PlatformContent,
    PoolOpenedContent,
    PrincipalContent,
    ProposalContent,
    RecoveryContent,
)
from ledger.acts.people import PEOPLE_KINDS, Actor, People
from ledger.errors import NotFoundError
from ledger.files.layout import MAX_FILE_BYTES, body_path, bounded
from ledger.journal import Transfer
from ledger.log.leaves import Content, EncodedLeaf, Leaf, decode, encode
from ledger.log.merkle import root
from ledger.log.origins import REGISTRY_LOG
from ledger.registry import Collective
from payout.policy import Policy

FOUNDED: Final = datetime(2025, 12, 31, tzinfo=UTC)
DEPLOYMENT: Final = "moiety.example"
OLIVE: Final = "operators/olive"
OSCAR: Final = "operators/oscar"

A = TypeVar("A", bound=ActContent)


def key_of(principal: str) -> str:
    """The id of a principal's key."""
    return sha256(principal.encode()).hexdigest()[:16]


def actor_of(principal: str) -> Actor:
    """A principal with its key."""
    return Actor(principal, key_of(principal))


def founder(operator: str) -> Founder:
    return Founder(operator=operator, key_id=key_of(operator), secret_hash=sha256(operator.encode()).hexdigest())


@dataclass
class RegistryLog:
    """The log and its bodies."""

    pool: str = REGISTRY_LOG
    entries: list[EncodedLeaf] = field(default_factory=list)
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    now: datetime = FOUNDED
    """Of the next leaf."""
    _people: People = field(default_factory=People)
    about_operators: list[int] = field(default_factory=list)

    @classmethod
    def founded(cls, *operators: str, controls: Controls | None = None) -> RegistryLog:
        """The registry of a deployment with these founders; olive and oscar, who may each do all alone, by default."""
        log = cls()
        log.append(
            DeploymentContent(
                origin=DEPLOYMENT,
                controls=controls or Controls.of_one(),
                founders=[founder(name) for name in operators or (OLIVE, OSCAR)],
                keys_made_together=False,
            )
        )
        return log

    # What an audit reads.

    def size(self) -> int:
        return len(self.entries)

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        yield from self.entries[start:end]

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        if sha256 not in self.bodies:
            raise NotFoundError(f"registry/bodies/{sha256.hex()}")
        return bounded(self.bodies[sha256], body_path(sha256), bytes_max)

    def transfers(self, leaf_index: int, most: int) -> list[Transfer]:  # noqa: ARG002 - the protocol's
        return []

    def root_at(self, size: int) -> str:
        return root([leaf.hash for leaf in self.entries[:size]]).hex()

    def content(self, index: int) -> Any:
        return decode(self.entries[index].entry, REGISTRY_CONTENTS).content

    # What happens.

    def append(self, content: Content) -> int:
        index = self.size()
        if isinstance(content, RecoveryContent):
            content = content.model_copy(update={"people_leaf": self.people().last_leaf})
        leaf = Leaf(REGISTRY_LOG, index, self.now, content)
        self.entries.append(encode(leaf))
        if content.type in PEOPLE_KINDS:
            with suppress(ValueError):  # of what no registry can say
                self._people.take_in(leaf)
            if self._people.last_leaf == index:
                self.about_operators.append(index)
        return index

    def people(self, size: int | None = None) -> People:
        """What acts name of who may act, after so many leaves or all."""
        size = self.size() if size is None else size
        before = [index for index in self.about_operators if index < size]
        return People(size=size, last_leaf=before[-1] if before else 0)

    def put(self, body: bytes) -> str:
        digest = sha256(body)
        self.bodies[digest.digest()] = body
        return digest.hexdigest()

    def rewrite(self, index: int, content: Content) -> None:
        """Put another content in the place of one, with the right hash."""
        time = decode(self.entries[index].entry, REGISTRY_CONTENTS).time
        self.entries[index] = encode(Leaf(REGISTRY_LOG, index, time, content))

    def act(self, content: ActContent, by: str = OLIVE) -> int:
        """Something that one person does."""
        return self.append(actor_of(by).stamp(content, self.people()))

    def together(self, content: A, by: str = OLIVE, second: str = OSCAR) -> int:
        """Something that one person proposes and another approves."""
        proposed = self.propose(content, by)
        self.decide(proposed, second)
        effect = actor_of(by).stamp(content, self.people(self.size() - 1))
        return self.append(effect.model_copy(update={"proposal": proposed}))

    def propose(self, content: ActContent, by: str = OLIVE) -> int:
        proposal = ProposalContent(effect=content.type, content=content.said(), rests_on={}, reason="")
        return self.act(proposal, by)

    def decide(self, subject: int, by: str = OSCAR, decision: str = "APPROVED") -> int:
        digest = self.entries[subject].hash.hex()
        reason = "" if decision == "APPROVED" else "no"
        return self.act(DecisionContent(subject=subject, subject_hash=digest, decision=decision, reason=reason), by)

    def collective(self, collective: Collective, by: str = OLIVE) -> int:
        """Registers a collective, or changes what is said of it."""
        body = render_domains(collective.domains)
        self.bodies[sha256(body).digest()] = body
        return self.act(collective_content(collective), by)

    def collectives(self, wanted: Sequence[Collective]) -> None:
        """Bring what is said of collectives up to date."""
        said = {}
        for index in range(self.size()):
            content = self.content(index)
            if isinstance(content, CollectiveContent):
                said[content.collective] = content.said()
        for collective in wanted:
            if said.get(collective.name) != collective_content(collective).said():
                self.collective(collective)

    def key(self, principal: str) -> None:
        """Issues a principal's key, unless it has one."""
        said = KeyContent(key_id=key_of(principal), principal=principal, secret_hash=founder(principal).secret_hash)
        issued = (self.content(index) for index in range(self.size()))
        if not any(isinstance(content, KeyContent) and content.principal == principal for content in issued):
            self.act(said)

    def platform(self, name: str) -> int:
        return self.act(PlatformContent(platform=name, display_name=name))

    def operator(self, name: str, by: str = OLIVE, second: str | None = None) -> None:
        """Registers an operator and issues its key, alone or with a second person."""
        for content in (
            PrincipalContent(principal=name, status="ACTIVE"),
            KeyContent(key_id=key_of(name), principal=name, secret_hash=founder(name).secret_hash),
        ):
            if second is None:
                self.act(content, by)
            else:
                self.together(content, by, second)

    def platforms(self, names: Iterable[str]) -> None:
        """Registers platforms that are not yet."""
        known = {getattr(self.content(index), "platform", None) for index in range(self.size())}
        for name in names:
            if name not in known:
                self.platform(name)

    def open_pool(
        self, pool: str, policy: Policy, by: str = OLIVE, *, platforms: Iterable[str] = (), distribute: str = "REPORTED"
    ) -> PoolOpenedContent:
        """Opens a pool; gives what the log says of it."""
        said = policy.model_dump(mode="json")
        content = PoolOpenedContent(
            pool_id=pool,
            display_name="Folk",
            currency="EUR",
            distribute=distribute,
            policy=said,
            platforms=sorted(platforms),
        )
        index = self.act(content, by)
        found: PoolOpenedContent = self.content(index)
        return found
