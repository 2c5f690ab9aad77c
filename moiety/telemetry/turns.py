"""From sessions to usage: one usage event for each completed turn.

**What applies to a turn.** Grounding of scope `session` informs every turn that is completed after it (section 6.4 of
the standard). Grounding of scope `turn`, a citation and a presentation belong to the turn that their `turn_id` names,
or without one to the turn under way: the next to be completed. Order is that of the timestamps, and of the document
where these are equal.

**What counts.** Occurrences, as section 4.3 draws them, however many events report one:

- grounding: a content item, in one version, in its scope. A content item is its `content_id`, or without one its
  `content_url`. Pieces of it are told apart by `content_hash`; of what has none the largest report counts.
- a citation: a content item and an element of an output.
- a presentation: an event id.

**Shares.** An owner's share is its part of everything that applies to the turn, floor(10^9 * part / whole), in exact
integers. What is nobody's stays in the whole, and so does a citation that contradicts its source, which is not to be
credited (section 6.5): both end up unattributed. The bases are methods of their own, to be declared as such:

- `grounded-characters`: characters ingested, the measure that reporters have in common. Where a turn's grounding is not
  all counted in characters but all in tokens, tokens; where neither is complete, characters, or else tokens, and what
  was not counted weighs nothing. The two are never mixed within a turn.
- `citations`: each citation weighs one.
- `presentations`: each presentation weighs one.

**The event.** Its id comes from session, turn and time of completion, so a session submitted again, perhaps grown,
gives the same events again, and these are duplicates. A turn counts once, at its first completion. Units are 1: the
standard counts turns (section 10.1) and has no other measure that two reporters have in common. The mode is AI_ONLY:
a turn is what an agent answers, and the standard has no way to say that a person refined it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from moiety.events import Mode, UsageEvent
from moiety.ids import IdScheme, event_id_of, ordered_event_id_of
from moiety.telemetry.domains import DomainMap
from moiety.telemetry.sessions import (
    CITED,
    GROUNDED,
    PRESENTED,
    TURN_COMPLETED,
    TelemetryEvent,
    TelemetrySession,
)

_WHOLE_NANO: Final = 1_000_000_000
_WORK_ID_BYTES_MAX: Final = 256
_NOBODY: Final = ""
"""The owner of what may be credited to nobody; no collective's id is empty."""

_Key = tuple[str | None, ...]
_Measure = Callable[[TelemetryEvent], int | None]


class ShareBasis(StrEnum):
    """What shares are computed from."""

    GROUNDED_CHARACTERS = "grounded-characters"
    CITATIONS = "citations"
    PRESENTATIONS = "presentations"


class Attribution(StrEnum):
    """How much of a turn is some collective's."""

    WHOLLY = "wholly"
    PARTLY = "partly"
    NOT = "not"


@dataclass(frozen=True, slots=True)
class Turn:
    """A completed turn as a usage event, and how much of it is attributed."""

    event: UsageEvent
    attribution: Attribution


@dataclass(frozen=True, slots=True)
class _Basis:
    """Which events count; what occurrence one reports, and what piece of it; in what measures, the preferred first."""

    kind: str
    occurrence: Callable[[TelemetryEvent], _Key]
    piece: Callable[[TelemetryEvent], str | None]
    measures: Sequence[_Measure]


def _content(event: TelemetryEvent) -> _Key:
    return ("id", event.content_id) if event.content_id else ("url", event.content_url)


_BASES: Final[Mapping[ShareBasis, _Basis]] = {
    ShareBasis.GROUNDED_CHARACTERS: _Basis(
        GROUNDED,
        lambda event: (*_content(event), event.content_version),
        lambda event: event.content_hash,
        (lambda event: event.characters, lambda event: event.tokens),
    ),
    ShareBasis.CITATIONS: _Basis(
        CITED,
        lambda event: (*_content(event), event.output_id, event.output_element_id),
        lambda _: None,
        (lambda _: 1,),
    ),
    ShareBasis.PRESENTATIONS: _Basis(PRESENTED, lambda event: (event.id,), lambda _: None, (lambda _: 1,)),
}


class _Occurrence:
    """What was reported of one occurrence: whose it is, and how much by piece and measure."""

    __slots__ = ("_owners", "_pieces", "_totals", "_uncounted")

    def __init__(self, measure_count: int) -> None:
        self._owners: set[str] = set()
        self._pieces: dict[str | None, list[int | None]] = {}
        self._totals = [0] * measure_count
        self._uncounted = [0] * measure_count

    @property
    def owner(self) -> str | None:
        """The one collective that every report of it names or leaves open; None if it belongs to nobody."""
        (owner,) = self._owners if len(self._owners) == 1 else (_NOBODY,)
        return owner or None

    def add(self, piece: str | None, amounts: Sequence[int | None], owner: str | None) -> None:
        """Take a report: of a piece that was reported before, the larger amounts count."""
        if owner is not None:
            self._owners.add(owner)
        known = self._pieces.get(piece)
        new = list(amounts) if known is None else [_larger(*pair) for pair in zip(known, amounts, strict=True)]
        self._pieces[piece] = new
        for measure, (before, after) in enumerate(zip(known or [0] * len(new), new, strict=True)):
            self._uncounted[measure] += (after is None) - (before is None)
            self._totals[measure] += (after or 0) - (before or 0)

    def amount(self, measure: int) -> int | None:
        """How much of it there is; None if a piece of it was not counted."""
        return None if self._uncounted[measure] else self._totals[measure]


def _larger(one: int | None, other: int | None) -> int | None:
    return max((amount for amount in (one, other) if amount is not None), default=None)


class _Tally:
    """Occurrences summed by owner in one measure. None owns what is nobody's."""

    def __init__(self) -> None:
        self.amounts: dict[str | None, int] = {}
        self.counted = 0
        self.uncounted = 0

    def change(self, owner: str | None, amount: int | None, times: int) -> None:
        """Add an occurrence, or with -1 take one away."""
        if amount is None:
            self.uncounted += times
            return
        self.counted += times
        self.amounts[owner] = self.amounts.get(owner, 0) + times * amount


class _Evidence:
    """The occurrences that apply to a turn, or to all turns from some time on; a tally of them in every measure."""

    def __init__(self, basis: _Basis) -> None:
        self._basis = basis
        self._occurrences: dict[_Key, _Occurrence] = {}
        self.tallies = [_Tally() for _ in basis.measures]

    def add(self, event: TelemetryEvent, owner: str | None) -> None:
        key = self._basis.occurrence(event)
        if key in self._occurrences:
            self._change(self._occurrences[key], -1)
        found = self._occurrences.setdefault(key, _Occurrence(len(self.tallies)))
        found.add(self._basis.piece(event), [measure(event) for measure in self._basis.measures], owner)
        self._change(found, 1)

    def _change(self, occurrence: _Occurrence, times: int) -> None:
        for measure, tally in enumerate(self.tallies):
            tally.change(occurrence.owner, occurrence.amount(measure), times)


def usage_events_of(
    session: TelemetrySession, *, by: ShareBasis | str, domains: DomainMap, id_scheme: IdScheme = IdScheme.OWN
) -> list[UsageEvent]:
    """Return the usage events of a session, one for each completed turn, in the order of completion.

    Raises:
        ValueError: `by` is not a share basis.
    """
    return [turn.event for turn in turns_of(session, by=by, domains=domains, id_scheme=id_scheme)]


def turns_of(
    session: TelemetrySession, *, by: ShareBasis | str, domains: DomainMap, id_scheme: IdScheme = IdScheme.OWN
) -> list[Turn]:
    """Return the completed turns of a session, in the order of completion.

    `id_scheme` is how the ids of the platform's events are made; a turn's own id is that of its session and its name.

    Raises:
        ValueError: `by` is not a share basis.
    """
    basis = _BASES[ShareBasis(by)]
    in_order = sorted(session.events, key=lambda event: event.timestamp)
    lasting = _Evidence(basis)
    under_way = _Evidence(basis)
    by_turn: dict[str, _Evidence] = {}
    for event in in_order:
        if event.type == basis.kind and event.turn_id is not None and event.scope != "session":
            by_turn.setdefault(event.turn_id, _Evidence(basis)).add(event, _owner(event, domains))

    found: list[Turn] = []
    completed: set[str] = set()
    unnamed_count = 0
    for event in in_order:
        if event.type == basis.kind and event.scope == "session":
            lasting.add(event, _owner(event, domains))
        elif event.type == basis.kind and event.turn_id is None:
            under_way.add(event, _owner(event, domains))
        elif event.type == TURN_COMPLETED and event.turn_id not in completed:
            parts = [lasting, under_way]
            if event.turn_id is None:
                unnamed_count += 1
                name = f"{session.session_id}::{unnamed_count}"
            else:
                completed.add(event.turn_id)
                parts += [by_turn[event.turn_id]] if event.turn_id in by_turn else []
                name = f"{session.session_id}:{quote(event.turn_id, safe='', errors='surrogatepass')}"
            found.append(_turn(name, event, parts, id_scheme))
            under_way = _Evidence(basis)
    return found


def _owner(event: TelemetryEvent, domains: DomainMap) -> str | None:
    """Whose the content is, `_NOBODY` where it must not be credited, None if it is not known."""
    if event.citation_type == "contradiction":
        return _NOBODY
    owner = domains.owner_of(event.content_url, event.content_id)
    return _NOBODY if owner.is_contested else owner.collective


def _turn(name: str, completion: TelemetryEvent, parts: Sequence[_Evidence], id_scheme: IdScheme) -> Turn:
    amounts = _amounts(parts)
    whole = sum(amounts.values())
    owned = sorted((owner, amount) for owner, amount in amounts.items() if owner is not None)
    floors = {owner: _WHOLE_NANO * amount // whole for owner, amount in owned if amount}
    shares = {owner: share for owner, share in floors.items() if share}
    owned_at_all = Attribution.PARTLY if amounts.get(None) else Attribution.WHOLLY
    return Turn(_usage_event(name, completion, shares, id_scheme), owned_at_all if shares else Attribution.NOT)


def _amounts(parts: Sequence[_Evidence]) -> dict[str | None, int]:
    """What applies to a turn by owner, in the first measure that has all of it, or else the first that has any."""
    measures = list(zip(*(part.tallies for part in parts), strict=True))
    complete = [tallies for tallies in measures if not any(tally.uncounted for tally in tallies)]
    begun = [tallies for tallies in measures if any(tally.counted for tally in tallies)]
    amounts: dict[str | None, int] = {}
    for tally in next(iter(complete or begun), ()):
        for owner, amount in tally.amounts.items():
            amounts[owner] = amounts.get(owner, 0) + amount
    return amounts


def _usage_event(name: str, completion: TelemetryEvent, shares: Mapping[str, int], id_scheme: IdScheme) -> UsageEvent:
    own_id = f"urn:content-telemetry:{name}"
    # A turn without a name is told from the others of its session by its time: their count changes as it grows.
    event_name = own_id if completion.turn_id is not None else f"{own_id}@{completion.timestamp.isoformat()}"
    ordered = id_scheme is IdScheme.ORDERED
    return UsageEvent(
        event_id=ordered_event_id_of(own_id, completion.timestamp) if ordered else event_id_of(event_name),
        occurred_at=completion.timestamp,
        units=1,
        mode=Mode.AI_ONLY,
        shares=shares,
        work_id=own_id if len(own_id) <= _WORK_ID_BYTES_MAX else _shortened(own_id),
    )


def _shortened(own_id: str) -> str:
    """An id whose turn is too long to be in it: the turn is named by its hash."""
    head, _, turn = own_id.rpartition(":")
    return f"{head}:sha256-{sha256(turn.encode()).hexdigest()}"
