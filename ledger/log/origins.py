"""The names of a deployment's logs: a log's origin is the deployment's with the log's own name."""

from __future__ import annotations

from typing import Final

from ledger.errors import FormatError
from ledger.log.note_keys import require_key_name

REGISTRY_LOG: Final = "registry"
"""The name of the registry's log, which no pool may have."""

_POOLS: Final = "/pools/"


def require_deployment(origin: str) -> str:
    """Returns the origin, if a deployment may have it: it names a key, and is not that of another deployment's log.

    Raises:
        FormatError: it may not.
    """
    require_key_name(origin)
    if found := split_origin(origin):
        raise FormatError("origin", f"is that of the log {found[1]} of the deployment {found[0]}: {origin[:80]!r}")
    return origin


def log_origin(deployment: str, name: str) -> str:
    """The origin of a pool's log, or of the registry's, from the deployment's: the name of the key that signs it."""
    return f"{deployment}/{name}" if name == REGISTRY_LOG else f"{deployment}{_POOLS}{name}"


def split_origin(origin: str) -> tuple[str, str] | None:
    """The deployment's origin and the log's name, of the origin of a log; None if it is of none."""
    deployment, mark, name = origin.rpartition(_POOLS)
    if not mark:
        deployment, mark, name = origin.rpartition("/")
        if name != REGISTRY_LOG:
            return None
    return (deployment, name) if deployment and name and log_origin(deployment, name) == origin else None
