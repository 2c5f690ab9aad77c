"""Every page: its path, who may see it, what it shows and what its forms do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from services.access.keys import Role
from services.console.views import log, pools, rounds, signing_in
from services.console.visit import Visit

View = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        path: as Starlette writes paths.
        show: answers GET.
        act: answers a form.
        roles: who may see it; empty for all who are signed in.
        is_open: whether strangers may see it too.
    """

    path: str
    show: View | None = None
    act: View | None = None
    roles: frozenset[Role] = frozenset()
    is_open: bool = False


_OPERATOR: Final = frozenset({Role.OPERATOR})
_READERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
_COLLECTIVE: Final = frozenset({Role.COLLECTIVE})

PAGES: Final = (
    Page("/", signing_in.home, is_open=True),
    Page("/sign-in", signing_in.show, signing_in.by_key, is_open=True),
    Page("/sign-in/link/{link}", signing_in.show_link, signing_in.by_link, is_open=True),
    Page("/sign-out", act=signing_in.sign_out),
    Page("/language", act=signing_in.speak, is_open=True),
    Page("/pools", pools.listed),
    Page("/pools/{pool}", pools.overview),
    Page("/pools/{pool}/terms", pools.terms),
    Page("/pools/{pool}/transfers", pools.transfers),
    Page("/pools/{pool}/rounds", rounds.listed),
    Page("/pools/{pool}/rounds/{number}", rounds.overview),
    Page("/pools/{pool}/rounds/{number}/object", act=rounds.object_to, roles=_COLLECTIVE),
    Page("/pools/{pool}/rounds/{number}/statement", rounds.statement),
    Page("/pools/{pool}/log/{leaf}", log.leaf),
)
