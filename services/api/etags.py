"""Etags (AIP-154): an update that names what it replaces does not replace what somebody else has changed meanwhile."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final

from ledger.errors import StateError

_DIGITS: Final = 16


def etag_of(*content: object) -> str:
    """Returns the etag of a resource with this content, as JSON has it: the same as long as nobody changes it."""
    return sha256(json.dumps(content).encode()).hexdigest()[:_DIGITS]


def require_unchanged(subject: str, seen: str, found: str, wanted: str) -> None:
    """Check that a resource is what its updater has read. Whoever calls has locked what it may be changed under.

    Args:
        subject: its name.
        seen: the etag in the update; if empty nothing is checked.
        found: the etag of what is there.
        wanted: the etag of what it becomes. If it is that already, the update may be a repetition.

    Raises:
        StateError: it was changed.
    """
    if seen and found not in (seen, wanted):
        raise StateError(subject, "CHANGED_MEANWHILE", "was changed after it was read; read it again")
