"""The entries of a pool's log about usage: methods, memberships, batches and retractions."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ledger.acts.act import ActContent
from ledger.acts.controls import Kind
from ledger.errors import LedgerCorruptError
from ledger.log.leaves import (
    Content,
    DecimalInt,
    Sha256Hex,
    is_empty,
    is_none,
)
from ledger.usage.batch import Int64Array
from ledger.usage.ids import IdScheme


def is_false(value: object) -> bool:
    """Returns whether a mark is left out of its entry."""
    return value is False


def is_own(value: object) -> bool:
    """Returns whether a scheme is the one that entries leave out."""
    return value == IdScheme.OWN.value


class MethodContent(ActContent):
    """A method or its next version was declared. One without `score_kind` is of shares, and has no field after it."""

    type: ClassVar[str] = "method.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    method: str
    version: int
    display_name: str
    confidence_ppm: int
    evidence_uri: str
    covers: str = Field(default="", exclude_if=is_empty)
    score_kind: str | None = Field(default=None, exclude_if=is_none)
    score_order: str | None = Field(default=None, exclude_if=is_none)
    coverage_nano: int | None = Field(default=None, exclude_if=is_none)
    sum_repeats: bool = Field(default=False, exclude_if=is_false)
    tolerance_nano: int | None = Field(default=None, exclude_if=is_none)
    membership: str = Field(default="", exclude_if=is_empty)

    @property
    def key(self) -> Hashable:
        """Its name and version."""
        return self.method, self.version


class MembershipContent(ActContent):
    """A membership or its next version was declared: a body with each source's collective."""

    type: ClassVar[str] = "membership.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    membership: str
    version: int
    body_sha256: Sha256Hex
    body_bytes: int
    sources: int
    collectives: int

    @property
    def key(self) -> Hashable:
        """Its name and version."""
        return self.membership, self.version


class ClosingContent(ActContent):
    """A pool was closed to usage, for ever. Rounds over the usage that it has go on."""

    type: ClassVar[str] = "closing.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS


class AdmissionContent(ActContent):
    """A platform was admitted to a pool, to which it may report from here on; or its admission ended."""

    type: ClassVar[str] = "admission.v1"
    kind: ClassVar[Kind | None] = Kind.WEIGHTS

    platform: str
    admitted: bool


class ModeTotals(BaseModel):
    """A batch's accepted events of one mode: how many, and their weights in nano-units."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    events: int
    attributed: DecimalInt
    unattributed: DecimalInt


class IdSchemeContent(Content):
    """A platform declared how the ids of its events in this pool are made, before its first batch and for ever."""

    type: ClassVar[str] = "id_scheme.v1"

    platform: str
    scheme: str

    @property
    def actor(self) -> str:
        """The platform."""
        return f"platforms/{self.platform}"

    @property
    def reporter(self) -> str | None:
        """The platform."""
        return self.platform


class UsageContent(Content):
    """A platform's batch was accepted. The body is exactly the bytes that it sent; this is the result."""

    type: ClassVar[str] = "usage.v1"

    platform: str
    batch_id: str
    body_sha256: Sha256Hex
    body_bytes: int
    method: str
    method_version: int
    membership: str = Field(default="", exclude_if=is_empty)
    """The method's; this and its version are set only if the body has scores of its sources."""
    membership_version: int | None = Field(default=None, exclude_if=is_none)
    id_scheme: str = Field(default=IdScheme.OWN.value, exclude_if=is_own)
    """How the ids of its events are made; left out if they are the platform's own."""
    accepted: int
    duplicates: str
    """Positions left out: `encode_positions`."""
    ai_only: ModeTotals
    human_ai: ModeTotals

    @property
    def identity(self) -> tuple[str, ...]:
        """The platform's id of the batch."""
        return "batch_id", self.platform, self.batch_id

    @property
    def actor(self) -> str:
        """The platform."""
        return f"platforms/{self.platform}"

    @property
    def reporter(self) -> str | None:
        """The platform."""
        return self.platform


class RetractionContent(Content):
    """A platform retracted events of one of its batches. Their weight is subtracted in the round of this leaf."""

    type: ClassVar[str] = "retraction.v1"

    platform: str
    request_id: str
    batch_leaf: int
    positions: str
    """Which events of the batch: `encode_positions`."""
    reason: str
    ai_only: ModeTotals
    human_ai: ModeTotals

    @property
    def identity(self) -> tuple[str, ...]:
        """The platform's id of the request, which may be about several batches."""
        return "request_id", self.type, self.platform, str(self.batch_leaf), self.request_id

    @property
    def actor(self) -> str:
        """The platform."""
        return f"platforms/{self.platform}"

    @property
    def reporter(self) -> str | None:
        """The platform."""
        return self.platform


def encode_positions(positions: Sequence[int] | Int64Array) -> str:
    """Positions in a batch as a base64 bitmap: position p is bit p % 8 (least significant first) of byte p // 8.

    The bitmap ends with the last set bit's byte, so no positions are the empty string, and 65,536 take 11 kB at most.
    """
    if not len(positions):
        return ""
    places = np.asarray(positions, dtype=np.int64)
    bits = np.zeros(int(places.max()) + 1, dtype=np.uint8)
    bits[places] = 1
    return base64.b64encode(np.packbits(bits, bitorder="little").tobytes()).decode()


def decode_positions(text: str) -> list[int]:
    """Returns the positions of `encode_positions`, ascending.

    Raises:
        LedgerCorruptError: `encode_positions` does not write this.
    """
    found: list[int] = positions_in(text).tolist()
    return found


def positions_in(text: str) -> Int64Array:
    """Returns the same as an array. Raises as `decode_positions` does."""
    bits = np.unpackbits(np.frombuffer(_bitmap(text), dtype=np.uint8), bitorder="little")
    return np.flatnonzero(bits)


def count_positions(text: str) -> int:
    """Returns how many there are, without listing them. Raises as `decode_positions` does."""
    return int.from_bytes(_bitmap(text), "little").bit_count()


def _bitmap(text: str) -> bytes:
    if not text:  # as almost every batch has it
        return b""
    try:
        bitmap = base64.b64decode(text, validate=True)
    except ValueError:
        raise LedgerCorruptError("duplicates", "not base64") from None
    if base64.b64encode(bitmap).decode() != text or bitmap[-1:] == b"\x00":
        raise LedgerCorruptError("duplicates", "not a canonical bitmap")
    return bitmap
