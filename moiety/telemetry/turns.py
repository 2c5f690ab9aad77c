"""From sessions to usage: one usage event for each completed turn.

**What applies to a turn.** Grounding of scope `session` informs every turn that is completed after it (section 6.4 of
the standard); so does grounding that states neither scope nor turn (section 5.2.1). Grounding of scope `turn`, and a
citation, belongs to the turn that its `turn_id` names, or without one to the turn under way: the next to be
completed. Order is that of the timestamps, and of the document where these are equal.

**Shares.** An owner's share is its part of everything that applies to the turn, floor(10^9 * part / whole), in exact
integers. What maps to no collective stays in the whole, and so does a citation that contradicts its source, which is
not to be credited (section 6.5): both end up unattributed. The two bases are two methods, to be declared as such:

- `grounded-tokens`: tokens ingested. Where a turn's grounding is not all counted in tokens but all in characters
  (the later drafts prefer these), characters; where neither is complete, tokens, or else characters, and what was
  not counted weighs nothing. The two are never mixed within a turn.
- `citations`: each citation event weighs one.

**The event.** Its id comes from session, turn and time of completion, so a session submitted again, perhaps grown,
gives the same events again, and these are duplicates. A turn counts once, at its first completion. Units are 1: the
standard counts turns (section 10.1) and has no other measure that two reporters have in common. The mode is AI_ONLY:
a turn is what an agent answers, and the standard has no way to say that a person refined it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from moiety.events import Mode, UsageEvent
from moiety.ids import event_id_of
from moiety.telemetry.domains import DomainMap
from moiety.telemetry.sessions import CITED, GROUNDED, TURN_COMPLETED, TelemetryEvent, TelemetrySession

_WHOLE_NANO: Final = 1_000_000_000
_WORK_ID_BYTES_MAX: Final = 256

_Measure = Callable[[TelemetryEvent], int | None]


class ShareBasis(StrEnum):
    """What shares are computed from."""

    GROUNDED_TOKENS = "grounded-tokens"
    CITATIONS = "citations"


_EVIDENCE: Final[Mapping[ShareBasis, tuple[str, Sequence[_Measure]]]] = {
    ShareBasis.GROUNDED_TOKENS: (GROUNDED, (lambda event: event.tokens, lambda event: event.characters)),
    ShareBasis.CITATIONS: (CITED, (lambda _: 1,)),
}
"""Which events count, and in what measures, the preferred one first."""


class _Tally:
    """What applies to a turn, by owner, in one measure. None owns what is nobody's."""

    def __init__(self, measure: _Measure) -> None:
        self.measure = measure
        self.amounts: dict[str | None, int] = {}
        self.counted = 0
        self.uncounted = 0

    def add(self, event: TelemetryEvent, owner: str | None) -> None:
        amount = self.measure(event)
        if amount is None:
            self.uncounted += 1
            return
        self.counted += 1
        self.amounts[owner] = self.amounts.get(owner, 0) + amount


class _Evidence:
    """What applies to a turn, in every measure."""

    def __init__(self, measures: Sequence[_Measure]) -> None:
        self.tallies = [_Tally(measure) for measure in measures]

    def add(self, event: TelemetryEvent, owner: str | None) -> None:
        for tally in self.tallies:
            tally.add(event, owner)


def usage_events_of(session: TelemetrySession, *, by: ShareBasis | str, domains: DomainMap) -> list[UsageEvent]:
    """Give the usage events of a session, one for each completed turn, in the order of completion.

    Raises:
        ValueError: `by` is no share basis.
    """
    kind, measures = _EVIDENCE[ShareBasis(by)]
    in_order = sorted(session.events, key=lambda event: event.timestamp)
    lasting = _Evidence(measures)
    under_way = _Evidence(measures)
    by_turn: dict[str, _Evidence] = {}
    for event in in_order:
        if event.type == kind and event.turn_id is not None and not _lasts(event):
            by_turn.setdefault(event.turn_id, _Evidence(measures)).add(event, _owner(event, domains))

    found: list[UsageEvent] = []
    completed: set[str] = set()
    unnamed_count = 0
    for event in in_order:
        if event.type == kind and _lasts(event):
            lasting.add(event, _owner(event, domains))
        elif event.type == kind and event.turn_id is None:
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
            found.append(_usage_event(name, event, _shares(parts)))
            under_way = _Evidence(measures)
    return found


def _lasts(event: TelemetryEvent) -> bool:
    """Whether something informs every turn from now on."""
    if event.type != GROUNDED:
        return False
    return event.scope == "session" or (event.scope is None and event.turn_id is None)


def _owner(event: TelemetryEvent, domains: DomainMap) -> str | None:
    return None if event.citation_type == "contradiction" else domains.collective_of(event.content_url)


def _shares(parts: Sequence[_Evidence]) -> dict[str, int]:
    """Billionths by collective, in the order of their ids."""
    measures = list(zip(*(part.tallies for part in parts), strict=True))
    complete = [tallies for tallies in measures if not any(tally.uncounted for tally in tallies)]
    begun = [tallies for tallies in measures if any(tally.counted for tally in tallies)]
    whole = 0
    amounts: dict[str, int] = {}
    for tally in next(iter(complete or begun), ()):
        for owner, amount in tally.amounts.items():
            whole += amount
            if owner is not None:
                amounts[owner] = amounts.get(owner, 0) + amount
    shares = {owner: _WHOLE_NANO * amount // whole for owner, amount in sorted(amounts.items()) if amount}
    return {owner: share for owner, share in shares.items() if share}


def _usage_event(name: str, completion: TelemetryEvent, shares: Mapping[str, int]) -> UsageEvent:
    own_id = f"urn:content-telemetry:{name}"
    return UsageEvent(
        event_id=event_id_of(own_id, completion.timestamp),
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
