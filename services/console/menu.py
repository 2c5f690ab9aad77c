"""Where each role finds what: the links on every page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.access.keys import Role
from services.console.texts import marked


@dataclass(frozen=True, slots=True)
class Entry:
    """A link of the menu."""

    text: str
    path: str


_POOLS: Final = Entry(marked("Pools"), "/pools")
_BANK: Final = Entry(marked("Bank"), "/bank")
_WEBHOOKS: Final = Entry(marked("Webhooks"), "/webhooks")
_REGISTRY: Final = (
    Entry(marked("Registry"), "/registry"),
    Entry(marked("People"), "/people"),
    Entry(marked("Who did what"), "/registry/log"),
)
_MENUS: Final = {
    Role.OPERATOR: (Entry(marked("Inbox"), "/inbox"), _POOLS, _BANK, *_REGISTRY, _WEBHOOKS),
    Role.AUDITOR: (_POOLS, _BANK, *_REGISTRY, _WEBHOOKS),
    Role.COLLECTIVE: (_POOLS, Entry(marked("Payments"), "/payments"), _WEBHOOKS),
    Role.PLATFORM: (_POOLS, _WEBHOOKS),
}


def menu(role: Role, path: str) -> list[tuple[str, str, bool]]:
    """A role's links: text, path, and whether the reader at `path` is there."""
    here = max((each.path for each in _MENUS[role] if path.startswith(each.path)), key=len, default="")
    return [(each.text, each.path, each.path == here) for each in _MENUS[role]]


def home_of(role: Role) -> str:
    """Where a role begins."""
    return _MENUS[role][0].path
