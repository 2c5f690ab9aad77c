"""What the verbs of all services have in common."""

from __future__ import annotations

from moiety.connection import Connection


class Verbs:
    """Verbs over a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


def pool_name(pool: str) -> str:
    """The resource name of a pool, from its id."""
    return f"pools/{pool}"


def round_name(pool: str, number: int) -> str:
    """The resource name of a round, from its pool's id and its number."""
    return f"pools/{pool}/rounds/{number}"
