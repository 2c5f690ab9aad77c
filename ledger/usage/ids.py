"""How a platform makes the ids of its events: what makes two reports of one use the same event."""

from __future__ import annotations

from enum import StrEnum


class IdScheme(StrEnum):
    """What an event's id is made from. Fixed once for a platform in a pool: a change would count events twice.

    OWN: the platform's own id alone. The same id with another time is the same event, which is safe for everyone.
    ORDERED: the platform's own id and, before it, the time. Such ids are close together, which keeps what the service
    has to remember of them small; the platform promises that an id always comes with the same time.
    """

    OWN = "OWN"
    ORDERED = "ORDERED"
