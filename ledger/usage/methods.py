"""Methods: declared, versioned ways of computing attribution, and how a method's scores become shares."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.registry import (
    MAX_DISPLAY_NAME,
    MAX_NOTE,
    MAX_URI,
    NANO,
    PPM,
    require_range,
    require_resource_id,
    require_text,
)
from ledger.usage.entries import MethodContent

MAX_TOLERANCE_NANO: Final = 10**7
"""A hundredth: more than that is not rounding but an error."""

TOLERANCE_NANO: Final = 1_000
"""The default: fractions in single precision sum to at most a millionth more than a whole."""


class ScoreKind(StrEnum):
    """What a method's scores are. Only SIGNED_INFLUENCE may be negative; only SHARE is not normalised."""

    SIGNED_INFLUENCE = "SIGNED_INFLUENCE"
    SIMILARITY = "SIMILARITY"
    COUNT = "COUNT"
    SHARE = "SHARE"


class ScoreOrder(StrEnum):
    """Whether negative scores are cut off after they are summed per collective, or before."""

    SUM_THEN_CLIP = "SUM_THEN_CLIP"
    CLIP_THEN_SUM = "CLIP_THEN_SUM"


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How a method's scores become shares.

    Attributes:
        kind: what the scores are.
        order: when negative scores are cut off.
        coverage_nano: the part of a work that the method claims to explain, 1 to 10^9.
        sum_repeats: whether a source may occur in an event several times, as chunks of a document do; its scores are
            then summed. COUNT always sums them, and so has no such field.
        tolerance_nano: by how much the fractions of a SHARE may exceed a whole because of rounding, in billionths, 0 to
            10^7. They then count as parts of their sum.
    """

    kind: ScoreKind
    order: ScoreOrder = ScoreOrder.SUM_THEN_CLIP
    coverage_nano: int = NANO
    sum_repeats: bool = False
    tolerance_nano: int = 0

    def __post_init__(self) -> None:
        require_range(self.coverage_nano, "method.coverage_nano", 1, NANO)
        require_range(self.tolerance_nano, "method.tolerance_nano", 0, MAX_TOLERANCE_NANO)
        if self.sum_repeats and self.kind is ScoreKind.COUNT:
            raise InvalidInputError.of("method.sum_repeats", "is not allowed with COUNT, which always sums repeats")
        if self.tolerance_nano and self.kind is not ScoreKind.SHARE:
            raise InvalidInputError.of("method.tolerance_nano", "is allowed with SHARE only")

    @property
    def sums_repeats(self) -> bool:
        """Whether a source may occur in an event several times."""
        return self.sum_repeats or self.kind is ScoreKind.COUNT


@dataclass(frozen=True, slots=True)
class Method:
    """A declared way of computing attribution; `version` and `leaf_index` are 0 until it is logged.

    Its batches have shares; with a `score_rule` they have raw scores, of the sources that `membership` assigns to
    collectives, or of collectives themselves if it is empty.
    """

    name: str
    display_name: str
    confidence_ppm: int
    evidence_uri: str = ""
    covers: str = ""
    score_rule: ScoreRule | None = None
    membership: str = ""
    version: int = 0
    leaf_index: int = 0

    def __post_init__(self) -> None:
        require_resource_id(self.name, "method_id")
        require_text(self.display_name, "method.display_name", least=1, most=MAX_DISPLAY_NAME)
        require_range(self.confidence_ppm, "method.confidence_ppm", 0, PPM)
        require_text(self.evidence_uri, "method.evidence_uri", most=MAX_URI)
        if self.evidence_uri and not self.evidence_uri.startswith(("http://", "https://")):
            raise InvalidInputError.of("method.evidence_uri", "must be an http or https address")
        require_text(self.covers, "method.covers", most=MAX_NOTE)
        if self.membership:
            require_resource_id(self.membership, "method.membership")
            if self.score_rule is None:
                raise InvalidInputError.of("method.membership", "is allowed only with a score_kind")


def content_of(method: Method) -> MethodContent:
    """What the log says of a method."""
    rule = method.score_rule
    return MethodContent(
        method=method.name,
        version=method.version,
        display_name=method.display_name,
        confidence_ppm=method.confidence_ppm,
        evidence_uri=method.evidence_uri,
        covers=method.covers,
        score_kind=rule.kind.value if rule else None,
        score_order=rule.order.value if rule else None,
        coverage_nano=rule.coverage_nano if rule else None,
        sum_repeats=bool(rule and rule.sum_repeats),
        tolerance_nano=rule.tolerance_nano if rule and rule.kind is ScoreKind.SHARE else None,
        membership=method.membership,
    )


def method_of(content: MethodContent, leaf_index: int) -> Method:
    """The method of which the log says this.

    Raises:
        InvalidInputError: a field is out of bounds.
        LedgerCorruptError: the name of a kind or an order is unknown.
    """
    return Method(
        content.method,
        content.display_name,
        content.confidence_ppm,
        content.evidence_uri,
        content.covers,
        _score_rule(content),
        content.membership,
        content.version,
        leaf_index,
    )


def _score_rule(content: MethodContent) -> ScoreRule | None:
    """Either all of a rule's fields are in an entry, or none; the tolerance only if the kind is SHARE."""
    kind, order, coverage_nano = content.score_kind, content.score_order, content.coverage_nano
    tolerance_nano, sum_repeats = content.tolerance_nano, content.sum_repeats
    if kind is None and order is None and coverage_nano is None and tolerance_nano is None and not sum_repeats:
        return None
    if kind not in set(ScoreKind) or order not in set(ScoreOrder) or coverage_nano is None:
        raise _no_rule(content)
    if (tolerance_nano is None) == (kind == ScoreKind.SHARE):
        raise _no_rule(content)
    return ScoreRule(ScoreKind(kind), ScoreOrder(order), coverage_nano, sum_repeats, tolerance_nano or 0)


def _no_rule(content: MethodContent) -> LedgerCorruptError:
    return LedgerCorruptError(f"method {content.method} version {content.version}", "its score rule is not one")
