"""The entries of a pool's log: small JSON documents in RFC 8785 canonical form.

A *content* says what happened; the *leaf* around it says in which pool, at which index and when. Contents that only
the ledger knows are defined here; those about distribution are defined with their nouns in `payout`.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar

import rfc8785
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints

from ledger.errors import LedgerCorruptError
from ledger.log.merkle import leaf_hash

MAX_ENTRY_BYTES: Final = 65_535
"""C2SP tlog-tiles stores entries with a 16-bit length."""

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]*")


def _decimal(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return int(value)
    raise ValueError("must be an integer in plain decimal")


DecimalInt = Annotated[int, BeforeValidator(_decimal), PlainSerializer(str, return_type=str)]
"""An integer whose range passes 2^53: always a decimal string in JSON, so that its type never depends on its size."""

Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hexadecimal."""


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(value: object) -> bool:
    return value == ""


class Content(BaseModel):
    """What happened. Frozen, strict and closed: a field that is not named is refused.

    A field that a type gained later is left out of the entry where there is nothing to say, so that there is one
    spelling of every content, and entries from before are canonical still. Older code refuses entries that have it.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    type: ClassVar[str]


class MethodContent(Content):
    """A method was declared, or its next version. One without `score_kind` is of shares, and has no field after it."""

    type: ClassVar[str] = "method.v1"

    method: str
    version: int
    display_name: str
    confidence_ppm: int
    evidence_uri: str
    covers: str = Field(default="", exclude_if=_is_empty)
    score_kind: str | None = Field(default=None, exclude_if=_is_none)
    score_order: str | None = Field(default=None, exclude_if=_is_none)
    coverage_nano: int | None = Field(default=None, exclude_if=_is_none)
    membership: str = Field(default="", exclude_if=_is_empty)


class MembershipContent(Content):
    """Which collective each source belongs to, in a body (`ledger.usage.membership`); or its next version."""

    type: ClassVar[str] = "membership.v1"

    membership: str
    version: int
    body_sha256: Sha256Hex
    body_bytes: int
    sources: int
    collectives: int


class ModeTotals(BaseModel):
    """A batch's accepted events of one mode: how many, and their weights in nano-units."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    events: int
    attributed: DecimalInt
    unattributed: DecimalInt


class UsageContent(Content):
    """A platform's batch was accepted. The body is exactly the bytes that it sent; this is what was made of it."""

    type: ClassVar[str] = "usage.v1"

    platform: str
    batch_id: str
    body_sha256: Sha256Hex
    body_bytes: int
    method: str
    method_version: int
    membership: str = Field(default="", exclude_if=_is_empty)
    """The method's; this and its version only where the body holds scores of its sources."""
    membership_version: int | None = Field(default=None, exclude_if=_is_none)
    accepted: int
    duplicates: str
    """Positions left out: `encode_positions`."""
    ai_only: ModeTotals
    human_ai: ModeTotals


class RetractionContent(Content):
    """A platform took back events of one of its batches. Their weight is subtracted in the round that this falls in."""

    type: ClassVar[str] = "retraction.v1"

    platform: str
    request_id: str
    batch_leaf: int
    positions: str
    """Which events of the batch: `encode_positions`."""
    reason: str
    ai_only: ModeTotals
    human_ai: ModeTotals


class RevenueContent(Content):
    """A platform put money into the pool."""

    type: ClassVar[str] = "revenue.v1"

    platform: str
    request_id: str
    amount_minor: DecimalInt
    currency: str
    note: str


class ReleaseContent(Content):
    """What was held for a collective was released to it, or returned to the commons fund, by an operator's decision."""

    type: ClassVar[str] = "release.v1"

    collective: str
    request_id: str
    amount_minor: DecimalInt
    to_commons: bool
    reason: str
    decided_by: str


class GrantContent(Content):
    """A collective was granted an amount from the commons fund, by an operator's decision."""

    type: ClassVar[str] = "grant.v1"

    collective: str
    request_id: str
    amount_minor: DecimalInt
    reason: str
    decided_by: str


class PaymentContent(Content):
    """A collective was paid outside the system."""

    type: ClassVar[str] = "payment.v1"

    collective: str
    request_id: str
    amount_minor: DecimalInt
    reference: str
    recorded_by: str


C_co = TypeVar("C_co", bound=Content, covariant=True)


@dataclass(frozen=True, slots=True)
class Leaf(Generic[C_co]):
    """A content at its place in a pool's log. `time` is when the service appended it; no rule reads it."""

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


def encode(leaf: Leaf[Content]) -> EncodedLeaf:
    """The leaf's entry in RFC 8785 form, with its hash.

    Raises ValueError where the entry passes MAX_ENTRY_BYTES: callers bound every free text long before.
    """
    document = {
        "type": leaf.content.type,
        "pool": leaf.pool,
        "index": leaf.index,
        "time": leaf.time.astimezone(UTC).strftime(_TIME_FORMAT),
        **leaf.content.model_dump(mode="json"),
    }
    entry = rfc8785.dumps(document)
    if len(entry) > MAX_ENTRY_BYTES:
        raise ValueError(f"a {leaf.content.type} entry of {len(entry)} bytes passes {MAX_ENTRY_BYTES}")
    return EncodedLeaf(leaf.index, entry, leaf_hash(entry))


def decode(entry: bytes, contents: Mapping[str, type[C_co]]) -> Leaf[C_co]:
    """The leaf of an entry; `contents` maps each known `type` to its class.

    Raises LedgerCorruptError where it is not canonical, lacks a field, has one too many, or has an unknown type.
    """
    envelope, content = _decode_json(entry)
    subject = f"leaf {envelope['index']!r} of {envelope['pool']!r}"
    try:
        leaf = Leaf(
            pool=str(envelope["pool"]),
            index=int(envelope["index"]),
            time=datetime.strptime(envelope["time"], _TIME_FORMAT).replace(tzinfo=UTC),
            content=contents[envelope["type"]].model_validate(content),
        )
        canonical = encode(leaf).entry
    except KeyError:
        raise LedgerCorruptError(subject, f"unknown type {envelope['type']!r}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise LedgerCorruptError(subject, f"not a {envelope['type']} entry: {error}") from None
    if canonical != entry:
        raise LedgerCorruptError(subject, "the entry is not in canonical form")
    return leaf


def _decode_json(entry: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        content = json.loads(entry)
    except (ValueError, RecursionError):
        raise LedgerCorruptError("a log entry", "is not JSON") from None
    if not isinstance(content, dict) or not content.keys() >= {"type", "pool", "index", "time"}:
        raise LedgerCorruptError("a log entry", "lacks type, pool, index or time")
    return {key: content.pop(key) for key in ("type", "pool", "index", "time")}, content


def encode_positions(positions: list[int]) -> str:
    """Positions in a batch as a base64 bitmap: position p is bit p % 8 (least significant first) of byte p // 8.

    The bitmap ends with the last set bit's byte, so none is the empty string, and 65,536 take 11 kB at the most.
    """
    bitmap = bytearray((max(positions) // 8 + 1) if positions else 0)
    for position in positions:
        bitmap[position // 8] |= 1 << position % 8
    return base64.b64encode(bitmap).decode()


def decode_positions(text: str) -> list[int]:
    """The positions of `encode_positions`, ascending. Raises LedgerCorruptError for anything else's output."""
    try:
        bitmap = base64.b64decode(text, validate=True)
    except ValueError:
        raise LedgerCorruptError("duplicates", "not base64") from None
    positions = [8 * place + bit for place, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]
    if encode_positions(positions) != text:
        raise LedgerCorruptError("duplicates", "not a canonical bitmap")
    return positions
