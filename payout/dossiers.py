"""Dossiers: all that one collective's amount in a round follows from, as one canonical document.

A round commits to its dossiers by the root of an RFC 6962 tree: one leaf for each line of its statement, in its order.
A leaf is the line's salt and its dossier. The salt is `HMAC-SHA256(the round's salt, the collective's id)`, so a proof
of one line, which shows hashes of others, does not let anyone try out what another might have got.

Dossiers are derived from the round's statement, weights and registry, and never stored.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from ledger.errors import LedgerCorruptError
from ledger.log.canonical import canonical, parsed
from ledger.log.leaves import AmountMinor, DecimalInt
from ledger.log.merkle import leaf_hash
from ledger.log.text import parse_integer
from ledger.registry import Collective, CollectiveStatus
from payout.amounts import Proportions, proportions
from payout.entries import RoundContent
from payout.policy import Policy
from payout.rounds import Line
from payout.statement import WEIGHTS_COLUMNS

SALT_BYTES: Final = 32
"""As long as the hash that it keeps from being guessed."""


def _fraction(value: object) -> object:
    if not isinstance(value, str):
        return value
    above, _, below = value.partition("/")
    return Fraction(parse_integer(above), parse_integer(below))


def fraction_text(value: Fraction) -> str:
    """Returns a fraction in lowest terms, as `numerator/denominator`."""
    return f"{value.numerator}/{value.denominator}"


FractionText = Annotated[Fraction, BeforeValidator(_fraction), PlainSerializer(fraction_text, return_type=str)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True)


class DossierLine(_Part):
    """The statement's line, as `payout.rounds.Line` has it."""

    collective: str
    status: Annotated[CollectiveStatus, Field(strict=False)]
    events: DecimalInt
    weight_ai_only: DecimalInt
    weight_human_ai: DecimalInt
    deficit_before: DecimalInt
    weight: DecimalInt
    deficit_after: DecimalInt
    attributed_minor: AmountMinor
    commons_minor: AmountMinor
    amount_minor: AmountMinor
    attributed_before_nano: int
    attributed_after_nano: int
    commons_before_nano: int
    commons_after_nano: int


class DossierRegistry(_Part):
    """What else the registry says of the collective."""

    equity_ppm: int
    members: int


class DossierTerms(_Part):
    """The policy that the round was calculated under."""

    policy: Policy
    policy_version: int


class DossierTotals(_Part):
    """What the round says of all lines together.

    `attributed_k` and `commons_k` are what a unit of claim and of commons weight came to: in minor units, or in
    nano-minor units where the policy carries fractions. `attributed_k` is None where the pot cannot cover the floors.
    """

    round: int
    lines: int
    pot_minor: AmountMinor
    fee_minor: AmountMinor
    weight: DecimalInt
    weight_unattributed: DecimalInt
    attributed_k: FractionText | None
    commons_k: FractionText


class DossierWeight(_Part):
    """The collective's usage under one method version and mode, with the method's confidence."""

    method: str
    method_version: int
    mode: int
    confidence_ppm: int
    events: DecimalInt
    weight: DecimalInt


class Dossier(_Part):
    """All that a line follows from. `position` is that of its leaf, from 0."""

    position: int
    line: DossierLine
    registry: DossierRegistry
    terms: DossierTerms
    totals: DossierTotals
    weights: list[DossierWeight]

    @classmethod
    def parse(cls, document: bytes) -> Dossier:
        """Reads a dossier.

        Raises:
            LedgerCorruptError: it is not one, or not in canonical form.
        """
        try:
            dossier = cls.model_validate(parsed(document))
            spelled = canonical(dossier.model_dump(mode="json"))
        except (ValueError, ZeroDivisionError) as error:
            raise LedgerCorruptError("dossier", str(error)) from None
        if spelled != document:
            raise LedgerCorruptError("dossier", "is not in canonical form")
        return dossier


@dataclass(frozen=True, slots=True)
class Figures:
    """What the dossiers of a round share, but for what follows from it."""

    number: int
    policy: Policy
    policy_version: int
    confidence_ppm: Mapping[tuple[str, int], int]
    pot_minor: int
    fee_minor: int
    weight: int
    weight_unattributed: int

    @classmethod
    def of(cls, content: RoundContent, policy: Policy, confidence_ppm: Mapping[tuple[str, int], int]) -> Figures:
        """Returns those of a round that is logged."""
        return cls(
            content.number,
            policy,
            content.policy_version,
            confidence_ppm,
            content.pot_minor,
            content.fee_minor,
            content.weight,
            content.weight_unattributed,
        )

    def proportions(self, lines: Sequence[Line], collectives: Sequence[Collective]) -> Proportions:
        """Returns what a unit of claim and of commons weight came to."""
        weights = [line.weight for line in lines]
        return proportions(self.policy, self.pot_minor, weights, self.weight_unattributed, collectives)


def render_dossiers(
    figures: Figures, lines: Sequence[Line], collectives: Sequence[Collective], weights: bytes
) -> Iterator[bytes]:
    """Yields the dossier of each line of a statement, in its order.

    A round may have a million lines, so each is put together as text around what they share. Ids and names of methods
    need no escapes.

    Args:
        figures: what they share.
        lines: those of the statement.
        collectives: those of the registry snapshot, which has one for each line.
        weights: the table of weights of the round, by collective.
    """
    shared = shared_part(figures, lines, collectives)
    rows = weights_by_collective(weights, figures.confidence_ppm)
    for position, (line, collective) in enumerate(zip(lines, collectives, strict=True)):
        yield render_dossier(shared, position, line, collective, rows.get(line.collective, ()))


def render_dossier(shared: str, position: int, line: Line, collective: Collective, weights: Iterable[str]) -> bytes:
    """Returns one dossier, from what all of a round share and the collective's own weights."""
    return (
        f'{{"line":{_line(line)},"position":{position},"registry":{{"equity_ppm":{collective.equity_ppm},'
        f'"members":{collective.members}}},{shared},"weights":[{",".join(weights)}]}}'
    ).encode()


def line_salt(round_salt: bytes, collective: str) -> bytes:
    """Returns the salt of a collective's leaf."""
    return hmac.digest(round_salt, collective.encode(), "sha256")


def statement_leaf(salt: bytes, dossier: bytes) -> bytes:
    """Returns the hash of a leaf of the statement tree."""
    return leaf_hash(salt + dossier)


def statement_leaves(round_salt: bytes, lines: Sequence[Line], dossiers: Iterable[bytes]) -> list[bytes]:
    """Returns the hashes of all leaves of a statement tree, in order."""
    salts = _line_salts(round_salt, lines)
    return [statement_leaf(salt, dossier) for salt, dossier in zip(salts, dossiers, strict=True)]


def _line_salts(round_salt: bytes, lines: Iterable[Line]) -> Iterator[bytes]:
    """Yields the salt of each line, in less than half of the time: what all of them begin with is hashed once.

    Source: RFC 2104, section 2 and, for this use of it, section 4.
    """
    size = sha256().block_size
    key = (sha256(round_salt).digest() if len(round_salt) > size else round_salt).ljust(size, b"\0")
    inner, outer = (sha256(bytes(byte ^ pad for byte in key)) for pad in (0x36, 0x5C))
    for line in lines:
        first, second = inner.copy(), outer.copy()
        first.update(line.collective.encode())
        second.update(first.digest())
        yield second.digest()


_LINE: Final = (
    '{"amount_minor":"%d","attributed_after_nano":%d,"attributed_before_nano":%d,"attributed_minor":"%d",'
    '"collective":"%s","commons_after_nano":%d,"commons_before_nano":%d,"commons_minor":"%d","deficit_after":"%d",'
    '"deficit_before":"%d","events":"%d","status":"%s","weight":"%d","weight_ai_only":"%d","weight_human_ai":"%d"}'
)


def _line(line: Line) -> str:
    (
        name, status, events, ai_only, human_ai, deficit_before, weight, deficit_after, attributed, commons,
        attributed_before, attributed_after, commons_before, commons_after,
    ) = line  # fmt: skip  # at once, which is faster than field by field
    return _LINE % (
        attributed + commons, attributed_after, attributed_before, attributed, name, commons_after, commons_before,
        commons, deficit_after, deficit_before, events, status.value, weight, ai_only, human_ai,
    )  # fmt: skip


def shared_part(figures: Figures, lines: Sequence[Line], collectives: Sequence[Collective]) -> str:
    """Returns what all dossiers of a round say alike: its terms and its totals."""
    k = figures.proportions(lines, collectives)
    terms = DossierTerms(policy=figures.policy, policy_version=figures.policy_version)
    totals = DossierTotals(
        round=figures.number,
        lines=len(lines),
        pot_minor=figures.pot_minor,
        fee_minor=figures.fee_minor,
        weight=figures.weight,
        weight_unattributed=figures.weight_unattributed,
        attributed_k=k.attributed,
        commons_k=k.commons,
    )
    return f'"terms":{_canonical(terms)},"totals":{_canonical(totals)}'


def _canonical(part: BaseModel) -> str:
    said: dict[str, Any] = part.model_dump(mode="json")
    return canonical(said).decode()


def weights_by_collective(table: bytes, confidence_ppm: Mapping[tuple[str, int], int]) -> dict[str, list[str]]:
    """Returns the rows of a round's table of weights as documents, by collective."""
    header, *rows = table.decode().splitlines()
    if header != ",".join(WEIGHTS_COLUMNS):
        raise LedgerCorruptError("weights", f"do not have the columns {','.join(WEIGHTS_COLUMNS)}")
    found: dict[str, list[str]] = {}
    alike: dict[str, tuple[str, str]] = {}
    """What the rows of a method version and mode have before the events and before the weight."""
    for row in rows:
        collective, rest = row.split(",", 1)
        key, events, weight = rest.rsplit(",", 2)
        if not collective:
            _, _, _ = key.split(",")  # as many as in all other rows
            continue
        if key not in alike:
            method, version, mode = key.split(",")
            alike[key] = (
                f'{{"confidence_ppm":{confidence_ppm[method, int(version)]},"events":"',
                f'","method":"{method}","method_version":{version},"mode":{mode},"weight":"',
            )
        before_events, before_weight = alike[key]
        document = f'{before_events}{events}{before_weight}{weight}"}}'
        if collective in found:
            found[collective].append(document)
        else:
            found[collective] = [document]
    return found
