"""Which of a platform's own records each drawn event is of.

The log has no own ids, only what is derived of them: an event's id is the platform's own where that is a UUID or ULID,
and otherwise a hash of it. So a list of records' ids shows which one an event is of, and nobody can name another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from services.cli.base.exits import InputError

if TYPE_CHECKING:
    from audit.batches.sample import SampledEvent

Place = tuple[int, int]
"""An event's leaf and its position in the batch."""

UNKNOWN: Final = "none in the list"
HASHED: Final = "hashed in the event's id"

_LINE_BYTES: Final = 64 * 1024
_TIME_BYTES: Final = 6
"""Of an ordered id, the rest of which follows from the own id alone."""

_ORDERED: Final = "ORDERED"
_HASHED_VERSION: Final = 8


def own_ids(events: Sequence[SampledEvent], lists: Sequence[Path]) -> dict[Place, str]:
    """Returns the platform's own id of each drawn event that one of the lists has; they have an id on each line.

    Raises:
        InputError: a list cannot be read, is not UTF-8, or has an id that no event can be of.
    """
    from moiety.ids import event_id_bytes, ordered_event_id_bytes

    wanted: dict[bytes, list[Place]] = {}
    for event in events:
        ordered = event.id_scheme == _ORDERED
        identity = event.event_id.bytes[_TIME_BYTES:] if ordered else event.event_id.bytes
        wanted.setdefault(identity, []).append((event.leaf_index, event.position))
    found: dict[Place, str] = {}
    for path in lists:
        for number, own_id in _lines(path):
            try:
                identities = event_id_bytes(own_id), ordered_event_id_bytes(own_id, 0)[_TIME_BYTES:]
            except ValueError as error:
                raise InputError.of("records", f"{path}: line {number} {error}") from None
            for identity in identities:
                for place in wanted.get(identity, ()):
                    found.setdefault(place, own_id)
    return found


def record_text(event: SampledEvent, known: Mapping[Place, str] | None) -> str:
    """Returns the record's id of a drawn event, or in words why there is none; `known` is None without a list."""
    if known is not None:
        return known.get((event.leaf_index, event.position), UNKNOWN)
    return HASHED if is_hashed(event) else str(event.event_id)


def is_hashed(event: SampledEvent) -> bool:
    """Whether an event's id is a hash of the platform's own; otherwise it is that id, in the form of a UUID."""
    return event.id_scheme == _ORDERED or UUID(bytes=event.event_id.bytes).version == _HASHED_VERSION


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    from audit.files.folders import open_regular

    try:
        with open_regular(path) as file:
            number = 0
            while line := file.readline(_LINE_BYTES + 1):
                number += 1
                if len(line) > _LINE_BYTES:
                    raise InputError.of("records", f"{path}: line {number} is longer than {_LINE_BYTES:,} bytes")
                if text := line.decode().rstrip("\r\n"):
                    yield number, text
    except OSError as error:
        raise InputError.of("records", f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError.of("records", f"{path}: line {number} is not UTF-8") from None
