"""The entries of the registry's log; proposals and decisions, which any log may have."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ledger.acts.act import COLLECTIVES, PLATFORMS, ActContent
from ledger.acts.controls import ONE, TWO, Controls, Kind
from ledger.log.leaves import AmountMinor, Content, Sha256Hex, is_body_field, is_empty, is_zero

_UTC: Final = r"^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{6})?Z)?$"


class ProposalContent(ActContent):
    """An act that waits for a second person: the type and content of its effect, and what it is based on."""

    type: ClassVar[str] = "proposal.v1"
    kind: ClassVar[Kind | None] = None

    effect: str
    content: dict[str, Any]
    rests_on: dict[str, str]
    """The version of each resource that the proposer saw; approving compares them again."""
    reason: str

    @property
    def own_of(self) -> str:
        """The collective whose account is proposed, or whoever a webhook would send to."""
        match self.effect:
            case PayeeContent.type:
                return f"{COLLECTIVES}{self.content.get('collective')}"
            case WebhookContent.type:
                return _own(str(self.content.get("owner")))
            case _:
                return ""

    def bodies(self) -> Mapping[str, str]:
        """The bodies that its effect would commit to, which whoever decides it must be able to read."""
        return {name: said for name, said in self.content.items() if is_body_field(name, said)}


class Decision(StrEnum):
    """The decision on a proposal or a round."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


class DecisionContent(ActContent):
    """A proposal or a round, the subject, was decided; the subject is named by its leaf and that leaf's hash."""

    type: ClassVar[str] = "decision.v1"
    kind: ClassVar[Kind | None] = None

    subject: int
    subject_hash: str
    decision: str
    reason: str


class Founder(BaseModel):
    """One of the first operators, with the operator's key."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    operator: str
    key_id: str
    secret_hash: str


class DeploymentContent(Content):
    """A deployment was founded: the first leaf of the registry's log."""

    type: ClassVar[str] = "deployment.v1"

    origin: str
    controls: Controls
    founders: list[Founder]
    keys_made_together: bool
    """Whether one command made all founders' keys, so that one person may have seen them all."""


class ControlsContent(ActContent):
    """The number of people that acts need was changed."""

    type: ClassVar[str] = "controls.v1"
    kind: ClassVar[Kind | None] = Kind.PEOPLE

    controls: Controls

    def needed(self, controls: Controls) -> int:
        """Relaxing controls needs the stricter of the old and the new number."""
        return max(controls.people, self.controls.people)


class WitnessesContent(ActContent):
    """The witnesses by whom reviews of rounds are timed were named, or taken away.

    It is in force for the rounds that are calculated after it.
    """

    type: ClassVar[str] = "witnesses.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    policy: str
    """A witness policy in the form of C2SP's tlog-policy; empty for none, where the database's clock alone counts."""


class PrincipalStatus(StrEnum):
    """Whether an operator or auditor may act."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class PrincipalContent(ActContent):
    """An operator or auditor was registered, or its status was changed."""

    type: ClassVar[str] = "principal.v1"
    kind: ClassVar[Kind | None] = Kind.PEOPLE

    principal: str
    status: str

    @property
    def key(self) -> Hashable:
        """Its name."""
        return self.principal


class KeyKind(StrEnum):
    """By what whoever has a key shows that it is theirs."""

    SECRET = "SECRET"  # noqa: S105  # a name, and none
    """A secret that only they know."""
    IDENTITY = "IDENTITY"
    """An account at an OpenID provider, by which people sign in."""
    CERTIFICATE = "CERTIFICATE"
    """The private key of a TLS client certificate."""


class KeyContent(ActContent):
    """A key was issued: its id and the hash of its secret. Only its owner ever needs to see the secret.

    A key of another kind has the hash of an account (`moiety.keys`) or of a certificate's public key in its place.
    """

    type: ClassVar[str] = "key.v1"
    kind: ClassVar[Kind | None] = Kind.PEOPLE

    key_id: str
    principal: str
    secret_hash: str
    expires_at: Annotated[str, StringConstraints(pattern=_UTC)] = Field(default="", exclude_if=is_empty)
    """In RFC 3339 and UTC; empty for a key that does not expire."""
    pools: list[str] = Field(default=[], exclude_if=lambda pools: not pools)
    """The only pools that the key gives access to; empty for all."""
    key_kind: str = Field(default=KeyKind.SECRET.value, exclude_if=lambda kind: kind == KeyKind.SECRET.value)
    issuer: str = Field(default="", exclude_if=is_empty)
    """The OpenID provider of an identity; empty for other keys."""

    @property
    def key(self) -> Hashable:
        """The key's id."""
        return self.key_id

    def needed(self, controls: Controls) -> int:
        """A key of an operator or auditor is an act of kind PEOPLE, one of a platform or collective of kind WEIGHTS."""
        about_people = self.principal.startswith(("operators/", "auditors/"))
        return controls.needed(Kind.PEOPLE if about_people else Kind.WEIGHTS)


class KeyRevocationContent(ActContent):
    """A key was revoked."""

    type: ClassVar[str] = "keyrevocation.v1"
    kind: ClassVar[Kind | None] = None

    key_id: str


class RecoveryContent(Content):
    """The database's owner gave an operator a key, because all keys were lost. It is valid seven days later."""

    type: ClassVar[str] = "recovery.v1"

    operator: str
    key_id: str
    secret_hash: str
    people_leaf: int = Field(default=0, exclude_if=is_zero)
    """The leaf before it about operators, as acts name it."""


class KeyChangeContent(Content):
    """The key that signs the deployment's logs was replaced: no act of a person's, but of whoever has the keys.

    Nothing counts that the new key signed before, nor that the old one signed of a log beyond what the list says.
    """

    type: ClassVar[str] = "keychange.v1"

    note: str
    """A signed note (`ledger.log.key_changes`)."""
    logs_sha256: Sha256Hex
    """What the old key signed last of each log: a body, because thousands of them do not fit in an entry."""


class PlatformContent(ActContent):
    """A platform was registered."""

    type: ClassVar[str] = "platform.v1"
    kind: ClassVar[Kind | None] = Kind.WEIGHTS

    platform: str
    display_name: str

    @property
    def key(self) -> Hashable:
        """Its id."""
        return self.platform


class CollectiveContent(ActContent):
    """A collective was registered or changed; the entry always has all of its fields."""

    type: ClassVar[str] = "collective.v1"
    kind: ClassVar[Kind | None] = Kind.WEIGHTS

    collective: str
    display_name: str
    members: int
    equity_ppm: int
    status: str
    domains_sha256: Sha256Hex
    """Its domains: a body with one domain a line, sorted, because a thousand of them do not fit in an entry."""

    @property
    def key(self) -> Hashable:
        """Its id."""
        return self.collective


class PayeeContent(ActContent):
    """Where a collective's money goes was set: a salted hash of the account, whose details lie where they can be
    deleted. A collective may propose its own, which an operator then decides.
    """

    type: ClassVar[str] = "payee.v1"
    kind: ClassVar[Kind | None] = Kind.WEIGHTS

    collective: str
    details_hash: Sha256Hex

    @property
    def key(self) -> Hashable:
        """Its collective."""
        return self.collective

    @property
    def own_of(self) -> str:
        """Its collective."""
        return f"{COLLECTIVES}{self.collective}"

    def needed(self, controls: Controls) -> int:
        """What a collective proposes needs an operator besides, whatever the controls say."""
        return TWO if self.by.startswith(COLLECTIVES) else super().needed(controls)


class ContactContent(ActContent):
    """By which address a principal is told what it must know: a salted hash of it, whose text lies where it can be
    deleted. Collectives and operators may set their own.
    """

    type: ClassVar[str] = "contact.v1"
    kind: ClassVar[Kind | None] = Kind.REGISTRY

    principal: str
    contact_hash: Sha256Hex

    @property
    def key(self) -> Hashable:
        """Its principal."""
        return self.principal

    @property
    def own_of(self) -> str:
        """The collective that it is of; operators are in no need of it."""
        return self.principal if self.principal.startswith(COLLECTIVES) else ""

    def needed(self, controls: Controls) -> int:
        """A collective says alone where it is written to."""
        return ONE if self.by.startswith(COLLECTIVES) else super().needed(controls)


class BankAccountContent(ActContent):
    """A bank account of the operator's was registered or changed: what it pays for, and a salted hash of its details.

    `opening_minor` is what is on it before its first statement.
    """

    type: ClassVar[str] = "bankaccount.v1"
    kind: ClassVar[Kind | None] = Kind.MONEY

    bank_account: str
    display_name: str
    currency: str
    pools: list[str]
    """The pools whose money it holds, sorted; none is another account's."""
    opening_minor: AmountMinor
    details_hash: Sha256Hex

    @property
    def key(self) -> Hashable:
        """Its id."""
        return self.bank_account


class PayRunContent(ActContent):
    """What a bank account is to pay on a day; its plan, a body, says to whom and from which pools.

    Each pool then pays its part with an entry of its own, as far as it still owes it.
    """

    type: ClassVar[str] = "payrun.v1"
    kind: ClassVar[Kind | None] = Kind.MONEY

    pay_run: str
    bank_account: str
    currency: str
    day: str
    payments: int
    amount_minor: AmountMinor
    plan_sha256: Sha256Hex

    @property
    def key(self) -> Hashable:
        """Its id."""
        return self.pay_run


class BankFileContent(ActContent):
    """A bank's file was taken in: a salted hash of it, and a body that says what each of its lines means.

    A statement has its balances and its last day; each pool of its account then books its part with an entry of its
    own. A status report has neither, and moves nothing.
    """

    type: ClassVar[str] = "bankfile.v1"
    kind: ClassVar[Kind | None] = Kind.MONEY

    bank_account: str
    message: str
    message_id: str
    file_hash: Sha256Hex
    day: str
    opening_minor: AmountMinor | None
    closing_minor: AmountMinor | None
    bookings_sha256: Sha256Hex

    @property
    def is_statement(self) -> bool:
        """Whether it has balances, and pools book it."""
        return self.closing_minor is not None


class BankMatchContent(ActContent):
    """An operator said what a line of a bank's file is of. A body says what that undoes and what each pool books.

    `line` is the leaf of the file and the line's place among its bookings.
    """

    type: ClassVar[str] = "bankmatch.v1"
    kind: ClassVar[Kind | None] = Kind.MONEY

    bank_account: str
    line: str
    bookings_sha256: Sha256Hex


class PoolOpenedContent(ActContent):
    """A pool was opened. The first leaf of the pool's own log says the same, and names this leaf."""

    type: ClassVar[str] = "poolopened.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    pool_id: str
    display_name: str
    currency: str
    distribute: str
    policy: dict[str, Any]
    platforms: list[str]
    """The ids of the platforms that are admitted from the start, sorted."""

    @property
    def key(self) -> Hashable:
        """Its id."""
        return self.pool_id

    def needed(self, controls: Controls) -> int:
        """Opening a pool is an act of kind TERMS, and of kind WEIGHTS too if it admits platforms."""
        terms = controls.needed(Kind.TERMS)
        return max(terms, controls.needed(Kind.WEIGHTS)) if self.platforms else terms


class WebhookState(StrEnum):
    """Whether events are sent to a webhook."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    REMOVED = "REMOVED"
    """For ever; its id is not used again."""


class WebhookContent(ActContent):
    """An address that a log's entries are sent to was registered, or its state or its secret was changed.

    Its owner is sent what it may see. `details_hash` is of the address and of the secret that signs, which lie where
    they can be deleted: the secret is its salt. The log has only the address's origin, so that all can see where a
    deployment sends what.
    """

    type: ClassVar[str] = "webhook.v1"
    kind: ClassVar[Kind | None] = Kind.REGISTRY

    webhook: str
    owner: str
    log: str
    """`pools/<id>`, or `registry`."""
    origin: str
    """`https://host`, with the port where it is not the scheme's own."""
    types: list[str]
    """The only types of entries that are sent, sorted; empty for all."""
    start: int
    """The first leaf that is sent."""
    state: str
    details_hash: Sha256Hex

    @property
    def key(self) -> Hashable:
        """Its id."""
        return self.webhook

    @property
    def own_of(self) -> str:
        """Its owner, if that is a platform or a collective."""
        return _own(self.owner)

    def needed(self, controls: Controls) -> int:
        """One person may always stop it."""
        return super().needed(controls) if self.state == WebhookState.ACTIVE else ONE


def _own(owner: str) -> str:
    """The owner, if it is none of the principals who can be suspended: what those do is checked in any case."""
    return owner if owner.startswith((COLLECTIVES, PLATFORMS)) else ""


_REGISTRY_KINDS: Final[tuple[type[Content], ...]] = (
    DeploymentContent, ControlsContent, WitnessesContent, PrincipalContent, KeyContent, KeyRevocationContent,
    RecoveryContent, KeyChangeContent, PlatformContent, CollectiveContent, PayeeContent, ContactContent,
    BankAccountContent, PayRunContent, BankFileContent, BankMatchContent, PoolOpenedContent, WebhookContent,
    ProposalContent, DecisionContent,
)  # fmt: skip
REGISTRY_CONTENTS: Final[dict[str, type[Content]]] = {kind.type: kind for kind in _REGISTRY_KINDS}
"""Every type of entry that the registry's log may hold."""
