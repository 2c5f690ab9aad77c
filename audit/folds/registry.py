"""The registry as its own log has it: who may act, and the collectives that rounds are of, as of any of its sizes.

Sizes are asked for in ascending order, so that one pass over the registry's log serves one pass over a pool's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final

from audit.findings import UNSOUND, At, Finding, FoundError, at, raise_finding
from audit.folds.acts import ActsFold, DoneAct
from audit.folds.payments import PaymentsFold
from audit.reader import BodyReader, LogReader, checked_body
from audit.steps import Step
from ledger.acts.collectives import collective_of
from ledger.acts.controls import TWO
from ledger.acts.entries import (
    REGISTRY_CONTENTS,
    CollectiveContent,
    ContactContent,
    DeploymentContent,
    KeyChangeContent,
    KeyContent,
    KeyKind,
    KeyRevocationContent,
    PlatformContent,
    PoolOpenedContent,
    PrincipalContent,
    PrincipalStatus,
    ProposalContent,
    RecoveryContent,
    WebhookContent,
    WebhookState,
    WitnessesContent,
)
from ledger.acts.people import People
from ledger.errors import FormatError, LedgerCorruptError, SignatureError
from ledger.log.key_changes import MAX_CHANGES, MAX_LISTED_BYTES, KeyChange
from ledger.log.leaves import EncodedLeaf, Leaf, decode
from ledger.log.merkle import HASH_BYTES, Frontier, leaf_hash
from ledger.log.merkle import root as root_of
from ledger.log.note_keys import VerifierKey
from ledger.log.origins import REGISTRY_LOG, log_origin
from ledger.log.witnessed import timing_policy
from ledger.registry import Collective, require_resource_id

EMPTY_BODY: Final = sha256(b"").hexdigest()


def _nobody(leaf: Leaf[Any]) -> None:
    """Look at nothing."""


_FIRST: Final = f"{DeploymentContent.type} first and only there"


@dataclass(slots=True)
class RegistryFold:
    """The registry so far. `observe` sees each leaf that was taken in."""

    log: LogReader
    observe: Callable[[Leaf[Any]], None] = _nobody
    refuse: Callable[[Finding], None] = raise_finding
    """Called with findings about who acted, which change nothing of what follows from a leaf."""
    note: Callable[[Finding], None] = raise_finding
    """Called with all other findings. If it returns, the fold goes on without the leaf."""
    size: int = 0
    """Leaves so far."""
    people: People = field(default_factory=People)
    collectives: dict[str, Collective] = field(default_factory=dict)
    collective_leaf: dict[str, int] = field(default_factory=dict)
    """The latest leaf of each collective."""
    said_of_collectives: dict[int, CollectiveContent] = field(default_factory=dict)
    """All that was said of collectives, by leaf."""
    platforms: dict[str, int] = field(default_factory=dict)
    """The leaf of each platform."""
    pools: dict[str, tuple[int, PoolOpenedContent]] = field(default_factory=dict)
    """The leaf that opened each pool, and what it says."""
    domains: dict[str, str] = field(default_factory=dict)
    """Whose each domain is."""
    hashes: bytearray = field(default_factory=bytearray)
    """Of all leaves, one after the other."""
    signing_keys: list[VerifierKey] = field(default_factory=list)
    """The deployment's keys that signed, one after the other; none before the first change."""
    listed_bytes: int = 0
    """Of the lists of all changes of the key."""
    payments: PaymentsFold = field(default_factory=PaymentsFold)
    webhooks: dict[str, WebhookContent] = field(default_factory=dict)
    """The latest leaf of each webhook."""
    acts: ActsFold = field(init=False)
    _frontier: Frontier = field(default_factory=Frontier)
    _last_time: datetime | None = None
    _read_empty: bool = False
    """Whether the body of no domains was read, which almost all collectives have."""
    _waiting: EncodedLeaf | None = None
    """A leaf that was read and not taken in."""
    _leaves: Iterator[EncodedLeaf] | None = None

    def __post_init__(self) -> None:
        self.acts = ActsFold(REGISTRY_LOG, self, self._hash_at, of_registry=True)

    # As of a size.

    def people_at(self, size: int) -> People:
        """Who may act after so many leaves, or after all that there are where these are fewer."""
        self.advance(size)
        return self.people

    def last_time(self) -> datetime | None:
        """When the last leaf was logged that was taken in."""
        return self._last_time

    def next_time(self) -> datetime | None:
        """When the leaf after it was logged; None if there is none."""
        following = self._peek()
        return self._read(following, self._here(following.index)).time if following else None

    def opened_at(self, leaf_index: int) -> PoolOpenedContent | None:
        """What opened a pool at a leaf; None if nothing did."""
        return next((content for index, content in self.pools.values() if index == leaf_index), None)

    @property
    def frontier(self) -> Frontier:
        """The tree of the leaves so far."""
        self._hash_tree()
        return self._frontier

    def _hash_tree(self) -> None:
        """Hash what was added to the tree, all at once."""
        begin, end = HASH_BYTES * self._frontier.size, HASH_BYTES * self.size
        self._frontier.extend(bytes(self.hashes[at : at + HASH_BYTES]) for at in range(begin, end, HASH_BYTES))

    def root(self) -> bytes:
        """The root of the leaves so far."""
        return self.frontier.root()

    def has_platform(self, name: str) -> bool:
        """Whether a platform is registered."""
        return name in self.platforms

    def collective_at(self, leaf_index: int) -> CollectiveContent | None:
        """What a leaf says of a collective; None if it says nothing of one."""
        return self.said_of_collectives.get(leaf_index)

    def snapshot(self) -> list[Collective]:
        """The collectives, by the bytes of their names."""
        return [self.collectives[name] for name in sorted(self.collectives)]

    def done(self) -> list[DoneAct]:
        """What was done so far."""
        return self.acts.done

    def advance(self, size: int) -> None:
        """Take in the leaves below a size, as far as there are so many.

        Raises:
            FoundError: something does not hold.
        """
        if self.size >= size:
            return
        while self.size < size and (following := self._peek()) is not None:
            self._waiting = None
            try:
                self.fold(following)
            except FoundError as found:
                self.note(found.finding)
                if self.size == following.index:
                    self._append(following)
        self._hash_tree()

    def finish(self) -> None:
        """Take in all leaves that are left.

        Raises:
            FoundError: something does not hold.
        """
        self.advance(self.log.size())
        try:
            self.acts.end()
        except FoundError as found:
            self.note(found.finding)

    # Leaf by leaf.

    def fold(self, encoded: EncodedLeaf) -> Leaf[Any]:
        """Take in the next leaf, and give it.

        Raises:
            FoundError: something does not hold.
        """
        here = self._here(encoded.index)
        leaf = self._read(encoded, here)
        here.same("index", encoded.index, self.size)
        kind = leaf.content.type
        here.holds((leaf.index == 0) == (kind == DeploymentContent.type), "type", kind, _FIRST)
        try:
            self._judge(leaf)
            self._take_in(leaf, here)
            if isinstance(leaf.content, WebhookContent):
                self._put_webhook(here, leaf.content)
            self.payments.take_in(leaf, here, partial(_registry_body, self.log, leaf.index), self.collectives)
            self.people.take_in(leaf)
        except UNSOUND as error:
            raise here.error(kind, error, "a sound entry") from None
        self._append(encoded)
        self._last_time = leaf.time
        self.observe(leaf)
        return leaf

    def _append(self, encoded: EncodedLeaf) -> None:
        if len(encoded.hash) != HASH_BYTES:
            raise ValueError(f"the hash of leaf {encoded.index} has {len(encoded.hash)} bytes")
        self.hashes += encoded.hash
        self.size = self.people.size = self.size + 1

    def _judge(self, leaf: Leaf[Any]) -> None:
        try:
            self.acts.take_in(leaf)
        except FoundError as found:
            self.refuse(found.finding)

    def _take_in(self, leaf: Leaf[Any], here: At) -> None:
        match leaf.content:
            case CollectiveContent() as content:  # first, for almost every leaf is one
                self._put_collective(leaf.index, content, here)
            case DeploymentContent() as content:
                _require_founded(here, content)
            case PrincipalContent(principal=name, status=status):
                here.holds(status in set(PrincipalStatus), "status", status, "ACTIVE or SUSPENDED")
                here.holds(_is_person(name), "principal", name, "an operator or an auditor")
            case WitnessesContent(policy=policy):
                try:
                    timing_policy(policy)
                except FormatError as error:
                    raise here.error("policy", error, "a witness policy, or nothing") from None
            case KeyContent() | KeyRevocationContent() | RecoveryContent() | ContactContent():
                self._require_principal(here, leaf.content)
            case KeyChangeContent() as content:
                self._change_key(leaf.index, content, here)
            case PlatformContent(platform=name):
                require_resource_id(name, "platform")
                here.holds(name not in self.platforms, "platform", name, "one that is not registered yet")
                self.platforms[name] = leaf.index
            case ProposalContent():
                for figure, digest in leaf.content.bodies().items():
                    _registry_body(self.log, leaf.index, figure, digest)
            case PoolOpenedContent(pool_id=name):
                require_resource_id(name, "pool_id")
                admitted = leaf.content.platforms
                here.same("platforms", admitted, sorted(set(admitted) & set(self.platforms)))
                here.holds(name not in self.pools and name != REGISTRY_LOG, "pool_id", name, "one that is free")
                self.pools[name] = (leaf.index, leaf.content)

    def _require_principal(
        self, here: At, content: KeyContent | KeyRevocationContent | RecoveryContent | ContactContent
    ) -> None:
        """Check what is said of a principal, its contact or its keys."""
        issued = self.people.keys
        match content:
            case ContactContent(principal=name):
                here.holds(self._is_registered(name), "principal", name, "one that is registered")
            case KeyContent(principal=name, key_id=key_id):
                here.holds(key_id not in issued, "key_id", key_id, "one that no other key has")
                here.holds(self._is_registered(name), "principal", name, "one that is registered")
                self._require_one_owner(here, content)
            case KeyRevocationContent(key_id=key_id):
                here.holds(key_id in issued, "key_id", key_id, "the id of a key that was issued")
            case RecoveryContent(people_leaf=last_leaf, key_id=key_id):
                here.holds(key_id not in issued, "key_id", key_id, "one that no other key has")
                here.same("people_leaf", last_leaf, self.people.last_leaf)

    def _require_one_owner(self, here: At, content: KeyContent) -> None:
        """Check that an account or a certificate does not stand for two principals at a time."""
        kind, is_identity = content.key_kind, content.key_kind == KeyKind.IDENTITY
        here.holds(kind in set(KeyKind), "key_kind", kind, "a kind of key")
        wanted = "that of an identity, and of no other"
        here.holds(bool(content.issuer) == is_identity, "issuer", content.issuer, wanted)
        if kind != KeyKind.SECRET:
            is_free = content.secret_hash not in self.people.bound
            here.holds(is_free, "secret_hash", content.secret_hash, "one that no key has that holds")

    def _change_key(self, leaf_index: int, content: KeyChangeContent, here: At) -> None:
        """Take in a change of the key that signs: of the last one, to one that never signed."""
        count = len(self.signing_keys)
        here.holds(count <= MAX_CHANGES, "keychange.v1", count, f"at most {MAX_CHANGES:,}")
        listed = _registry_body(self.log, leaf_index, "logs_sha256", content.logs_sha256)
        self.listed_bytes += len(listed)
        wanted = f"lists of at most {MAX_LISTED_BYTES:,} bytes together"
        here.holds(self.listed_bytes <= MAX_LISTED_BYTES, "logs_sha256", self.listed_bytes, wanted)
        try:
            change = KeyChange.read(content.note.encode(), listed)
        except (FormatError, SignatureError) as error:
            raise here.error("note", error, "a change of the key that its keys signed") from None
        here.same("origin", change.old.name, self.people.origin)
        here.same("old key", str(change.old), str(self.signing_keys[-1] if self.signing_keys else change.old))
        fresh = change.new not in self.signing_keys
        here.holds(fresh, "new key", str(change.new), "one that was not replaced before")
        last = change.last(log_origin(change.old.name, REGISTRY_LOG))
        here.holds(last is not None and last.size <= leaf_index, "registry", last and last.size, f"1 to {leaf_index}")
        assert last is not None  # noqa: S101 - held above
        prefix = [self.hashes[at : at + HASH_BYTES] for at in range(0, HASH_BYTES * last.size, HASH_BYTES)]
        here.same("registry root", last.root.hex(), root_of([bytes(each) for each in prefix]).hex())
        self.signing_keys += [change.new] if self.signing_keys else [change.old, change.new]

    def _is_registered(self, principal: str) -> bool:
        collection, _, name = principal.partition("/")
        match collection:
            case "platforms":
                return name in self.platforms
            case "collectives":
                return name in self.collectives
            case _:
                return principal in self.people.persons

    def _put_collective(self, leaf_index: int, content: CollectiveContent, here: At) -> None:
        collective = collective_of(content, self._body_of_domains(leaf_index, content.domains_sha256))
        before = self.collectives.get(collective.name)
        for domain in before.domains if before else ():
            self.domains.pop(domain)
        for domain in collective.domains:
            owner = self.domains.setdefault(domain, collective.name)
            expected = f"one that is not of collectives/{owner}"
            here.holds(owner == collective.name, "domains", domain, expected)
        self.collectives[collective.name] = collective
        self.collective_leaf[collective.name] = leaf_index
        self.said_of_collectives[leaf_index] = content

    def _body_of_domains(self, leaf_index: int, digest: str) -> bytes:
        """Returns the body. That of no domains is read once."""
        if digest == EMPTY_BODY and self._read_empty:
            return b""
        body = _registry_body(self.log, leaf_index, "domains_sha256", digest)
        self._read_empty |= not body
        return body

    def _put_webhook(self, here: At, content: WebhookContent) -> None:
        """Take in a webhook: of a log and an owner that there are; later only its state and its details change."""
        require_resource_id(content.webhook, "webhook")
        state, owner, log = content.state, content.owner, content.log
        here.holds(state in set(WebhookState), "state", state, "ACTIVE, PAUSED or REMOVED")
        here.holds(self._is_registered(owner), "owner", owner, "one that is registered")
        is_seen = log != REGISTRY_LOG or _is_of(owner, "operators", "auditors")
        is_known = log == REGISTRY_LOG or log.removeprefix("pools/") in self.pools
        here.holds(is_seen and is_known, "log", log, "one that there is, and that its owner sees")
        here.same("types", content.types, sorted(set(content.types)))
        here.holds(content.start >= 0, "start", content.start, "0 or more")
        before = self.webhooks.get(content.webhook)
        if before is None:
            here.same("state", state, WebhookState.ACTIVE.value)
        else:
            here.holds(before.state != WebhookState.REMOVED, "webhook", content.webhook, "one that was not removed")
            later = before.model_copy(update={"state": state, "details_hash": content.details_hash})
            here.same("webhook", content.said(), later.said())
        self.webhooks[content.webhook] = content

    def _peek(self) -> EncodedLeaf | None:
        if self._leaves is None:
            self._leaves = iter(self.log.leaves(self.size, self.log.size()))
        if self._waiting is None:
            self._waiting = next(self._leaves, None)
        return self._waiting

    def _read(self, encoded: EncodedLeaf, here: At) -> Leaf[Any]:
        hashed = leaf_hash(encoded.entry)
        if encoded.hash != hashed:
            raise here.error("leaf_hash", encoded.hash.hex(), hashed.hex())
        try:
            leaf = decode(encoded.entry, REGISTRY_CONTENTS)
        except LedgerCorruptError as error:
            raise here.error("entry", error, "a canonical entry") from None
        here.same("index", leaf.index, encoded.index)
        here.same("pool", leaf.pool, REGISTRY_LOG)
        return leaf

    def _hash_at(self, leaf_index: int) -> str:
        return self.hashes[HASH_BYTES * leaf_index : HASH_BYTES * (leaf_index + 1)].hex()

    @staticmethod
    def _here(leaf_index: int) -> At:
        return at(leaf_index, step=Step.FORMS, log=REGISTRY_LOG)


def _registry_body(log: BodyReader, leaf_index: int, figure: str, digest: str) -> bytes:
    try:
        return checked_body(log, leaf_index, figure, digest)
    except FoundError as found:
        finding = found.finding
        here = at(leaf_index, step=Step.BODIES, log=REGISTRY_LOG)
        raise here.error(finding.figure, finding.claimed, finding.expected) from None


def _is_of(principal: str, *collections: str) -> bool:
    return principal.partition("/")[0] in collections


def _is_person(name: str, *collections: str) -> bool:
    collection, _, identity = name.partition("/")
    require_resource_id(identity, "principal")
    return collection in (collections or ("operators", "auditors"))


def _require_founded(here: At, content: DeploymentContent) -> None:
    names = [founder.operator for founder in content.founders]
    sound = len(set(names)) == len(names) and all(_is_person(name, "operators") for name in names)
    here.holds(sound and bool(names), "founders", ", ".join(names), "operators, each once")
    enough = not content.controls.require_sound().ask_for_two() or len(names) >= TWO
    here.holds(enough, "founders", len(names), f"{TWO} or more, which the controls ask for")
