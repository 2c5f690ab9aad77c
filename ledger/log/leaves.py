"""The entries of a pool's log: small JSON documents in RFC 8785 canonical form.

A *content* says what happened; the *leaf* around it says in which pool, at which index and when. Contents are defined
next to what they are about: in `ledger.entries`, `ledger.income`, `ledger.usage.entries` and `payout.entries`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Generic, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints

from ledger.errors import LedgerCorruptError
from ledger.journal import Transfer
from ledger.log.canonical import canonical, parsed, parsed_with_form, require_shallow
from ledger.log.merkle import leaf_hash
from ledger.log.text import parse_integer
from ledger.money import MAX_BALANCE_MINOR

MAX_ENTRY_BYTES: Final = 65_535
"""C2SP tlog-tiles stores entries with a 16-bit length."""


def _decimal(value: object) -> int:
    if isinstance(value, str):
        return parse_integer(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be an integer in plain decimal")


DecimalInt = Annotated[int, BeforeValidator(_decimal), PlainSerializer(str, return_type=str)]
"""An integer whose range passes 2^53: always a decimal string in JSON, so that its type never depends on its size."""

AmountMinor = Annotated[DecimalInt, Field(ge=-MAX_BALANCE_MINOR, le=MAX_BALANCE_MINOR)]
"""An amount, or a sum of amounts, in minor units. It has this one range wherever it is read: what an account may have.
"""

Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hexadecimal."""


def is_none(value: object) -> bool:
    """Returns whether an optional field is left out of its entry."""
    return value is None


def is_zero(value: object) -> bool:
    """Returns whether an optional count or amount is left out of its entry."""
    return value == 0


def is_empty(value: object) -> bool:
    """Returns whether an optional text is left out of its entry."""
    return value == ""


BODY_SUFFIX: Final = "_sha256"
"""A field whose name ends like this has the SHA-256 of a body, and no other field does."""


_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def is_body_field(name: str, value: object) -> bool:
    """Whether a field of a JSON object names a body."""
    return name.endswith(BODY_SUFFIX) and isinstance(value, str) and _SHA256.fullmatch(value) is not None


class Past(Protocol):
    """What an entry may look up in the log before it, to determine what it moves."""

    def entry(self, kind: type[C], key: Hashable) -> C:
        """Returns the latest entry of a kind with this key.

        Raises:
            LedgerCorruptError: there is no such entry.
        """

    def balance(self, account: str) -> int:
        """Returns an account's balance before the entry, in minor units."""

    def parsed(self, digest: str, parse: Callable[[bytes], T]) -> T:
        """Returns what a body says, by the SHA-256 in hexadecimal that an earlier entry commits to.

        Raises:
            LedgerCorruptError: there is no such body, or `parse` refuses it.
        """


class Content(BaseModel):
    """What happened. Frozen, strict and closed: unknown fields are refused.

    A content knows itself: which bodies it commits to, what it moves, who did it, and how later entries refer to it.
    Code that folds, exports or verifies a log asks the content, and has no list of kinds.

    A field that was added to a type later is left out of the entry if it has no value. So every content has one
    spelling, and earlier entries stay canonical. Older code refuses entries that have the field.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    type: ClassVar[str]

    @property
    def key(self) -> Hashable:
        """What later entries refer to this one by, such as a round's number; None if they never do."""
        return None

    @property
    def identity(self) -> tuple[str, ...] | None:
        """What a log may contain only once, such as a batch or someone's request; None if there is no such thing."""
        return None

    @property
    def actor(self) -> str | None:
        """The principal that did it, such as `operators/alice`; None if it follows from other entries."""
        return None

    @property
    def reporter(self) -> str | None:
        """The id of the platform that reports by it, and must be admitted to the pool for it; None if none does."""
        return None

    @property
    def parties(self) -> frozenset[str]:
        """The principals, such as `collectives/irish`, whose own this is: who did it, and whom its fields name."""
        named = {f"{kind}s/{found}" for kind in ("collective", "platform") if (found := getattr(self, kind, None))}
        return frozenset(named | ({self.actor} if self.actor else set()))

    def bodies(self) -> Mapping[str, str]:
        """The bodies that it commits to: field name to SHA-256 in hexadecimal, in the order of the fields."""
        return {name: getattr(self, name) for name in type(self).model_fields if name.endswith(BODY_SUFFIX)}

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """Returns what it moves between the pool's accounts, in order.

        Raises:
            LedgerCorruptError: it refers to something that the log before it does not have.
        """
        return ()


C = TypeVar("C", bound=Content)
T = TypeVar("T")
C_co = TypeVar("C_co", bound=Content, covariant=True)


@dataclass(frozen=True, slots=True)
class Leaf(Generic[C_co]):
    """A content at its place in a pool's log. `time` is when it was appended, by the database; it never falls."""

    pool: str
    index: int
    time: datetime
    content: C_co


@dataclass(frozen=True, slots=True)
class EncodedLeaf:
    """A leaf's canonical bytes and their RFC 6962 hash."""

    index: int
    entry: bytes
    hash: bytes


class EntryTooLargeError(ValueError):
    """An entry would exceed MAX_ENTRY_BYTES."""


def encode(leaf: Leaf[Content]) -> EncodedLeaf:
    """Returns the leaf's entry in RFC 8785 form, with its hash.

    Raises:
        EntryTooLargeError: the entry exceeds MAX_ENTRY_BYTES.
        ValueError: it is nested too deep: callers limit that much earlier.
    """
    entry = canonical(_document(leaf))
    require_shallow(entry)
    if len(entry) > MAX_ENTRY_BYTES:
        text = f"a {leaf.content.type} entry has {len(entry):,} bytes, more than {MAX_ENTRY_BYTES:,}"
        raise EntryTooLargeError(text)
    return EncodedLeaf(leaf.index, entry, leaf_hash(entry))


def _document(leaf: Leaf[Content]) -> dict[str, Any]:
    return {
        "type": leaf.content.type,
        "pool": leaf.pool,
        "index": leaf.index,
        "time": leaf.time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        **leaf.content.model_dump(mode="json"),
    }


def decode(entry: bytes, contents: Mapping[str, type[C_co]]) -> Leaf[C_co]:
    """Returns the leaf of an entry; `contents` maps each known `type` to its class.

    Raises:
        LedgerCorruptError: the entry is not canonical, lacks a field, has an unknown field, or has an unknown type.
    """
    content, is_formed = _decode_json(entry)
    kind, pool, index, time = map(content.pop, _ENVELOPE)
    try:
        leaf = Leaf(str(pool), int(index), _time(time), contents[kind].model_validate(content))
        is_canonical = (is_formed and _says(leaf, pool, index, time, content, entry)) or encode(leaf).entry == entry
    except KeyError:
        raise LedgerCorruptError(_subject(pool, index), f"unknown type {kind!r}") from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LedgerCorruptError(_subject(pool, index), f"not a {kind} entry: {error}") from None
    if not is_canonical:
        raise LedgerCorruptError(_subject(pool, index), "the entry is not in canonical form")
    return leaf


def _says(leaf: Leaf[Content], pool: object, index: object, time: str, content: dict[str, Any], entry: bytes) -> bool:
    """Whether a leaf says just what its canonical entry does, so that it need not be spelled again."""
    return (
        leaf.pool == pool
        and type(index) is int
        and _TIME.fullmatch(time) is not None
        and leaf.content.model_dump(mode="json") == content
        and b"true" not in entry  # which Python takes for 1
        and b"false" not in entry
        and len(entry) <= MAX_ENTRY_BYTES
    )


_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
"""The one spelling of a time."""


def _subject(pool: object, index: object) -> str:
    return f"leaf {index!r} of {pool!r}"


_ENVELOPE: Final = ("type", "pool", "index", "time")
_NAMED: Final = frozenset(_ENVELOPE)


def time_of(entry: bytes) -> datetime | None:
    """Returns an entry's time, whatever its type; None if it has none."""
    try:
        return _time(parsed(entry)["time"])
    except (KeyError, TypeError, ValueError):
        return None


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is UTC else time.replace(tzinfo=UTC)


def _decode_json(entry: bytes) -> tuple[dict[str, Any], bool]:
    """Returns what an entry says, and whether it is known to be canonical JSON."""
    try:
        document, is_formed = parsed_with_form(entry)
    except ValueError as error:
        raise LedgerCorruptError("a log entry", f"is not JSON: {error}") from None
    if not isinstance(document, dict) or not document.keys() >= _NAMED:
        raise LedgerCorruptError("a log entry", "lacks type, pool, index or time")
    return document, is_formed
