"""Every page: its path, who may see it, what it shows and what its forms do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from services.access.keys import Role
from services.console.views import (
    hooks,
    inbox,
    leaving,
    log,
    money,
    openid,
    paying,
    pools,
    proposals,
    public,
    registry,
    reports,
    review,
    rounds,
    signing_in,
    verifying,
)
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
        takes_files: whether its form may send a file.
        is_bearers: whether its path says what whoever has it may do, so that a form of it may come from elsewhere.
    """

    path: str
    show: View | None = None
    act: View | None = None
    roles: frozenset[Role] = frozenset()
    is_open: bool = False
    takes_files: bool = False
    is_bearers: bool = False


_OPERATOR: Final = frozenset({Role.OPERATOR})
_READERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
_COLLECTIVE: Final = frozenset({Role.COLLECTIVE})

_LOGS: Final = tuple(
    page
    for base in ("/pools/{pool}", "/registry")
    for page in (
        Page(f"{base}/log", log.explore, roles=_READERS),
        Page(f"{base}/log/report", reports.show, reports.make, roles=_READERS),
        Page(f"{base}/log/{{leaf}}", log.leaf),
        Page(f"{base}/bodies/{{digest}}", log.body, roles=_READERS),
        Page(f"{base}/proposals", proposals.listed, roles=_READERS),
        Page(f"{base}/proposals/{{leaf}}", proposals.show, proposals.decide, roles=_READERS),
        Page(f"{base}/proposals/{{leaf}}/rounds", proposals.last_rounds, roles=_READERS),
    )
)

PAGES: Final = (
    Page("/", signing_in.home, is_open=True),
    Page("/sign-in", signing_in.show, signing_in.by_key, is_open=True),
    Page("/sign-in/link/{link}", signing_in.show_link, signing_in.by_link, is_open=True),
    Page("/sign-in/openid", openid.leave, is_open=True),
    Page(openid.RETURN, openid.come_back, is_open=True),
    Page("/sign-out", act=signing_in.sign_out),
    Page("/public/{pool}", public.show, is_open=True),
    Page("/verify", verifying.show, is_open=True),
    Page("/unsubscribe/{token}", leaving.ask, leaving.leave, is_open=True, is_bearers=True),
    Page("/language", act=signing_in.speak, is_open=True),
    Page("/inbox", inbox.show, roles=_OPERATOR),
    Page("/pools", pools.listed),
    Page("/pools/{pool}", pools.overview),
    Page("/pools/{pool}/terms", pools.terms, pools.set_tariff),
    Page("/pools/{pool}/transfers", pools.transfers),
    Page("/pools/{pool}/usage", pools.usage, roles=_READERS | {Role.PLATFORM}),
    Page("/pools/{pool}/money", money.show, money.act, roles=_READERS | {Role.PLATFORM}),
    Page("/pools/{pool}/rounds", rounds.listed, rounds.calculate),
    Page("/pools/{pool}/rounds/{number}", rounds.overview, rounds.decide),
    Page("/pools/{pool}/rounds/{number}/answer", act=rounds.answer, roles=_OPERATOR),
    Page("/pools/{pool}/rounds/{number}/object", act=rounds.object_to, roles=_COLLECTIVE),
    Page("/pools/{pool}/rounds/{number}/statement", rounds.statement),
    Page("/pools/{pool}/rounds/{number}/statement.csv", rounds.statement_csv),
    Page("/pools/{pool}/rounds/{number}/adjustments.csv", rounds.adjustments_csv),
    Page("/pools/{pool}/rounds/{number}/statement.json", rounds.statement_file),
    Page("/pools/{pool}/rounds/{number}/statement.pdf", rounds.statement_as_pdf),
    Page("/pools/{pool}/rounds/{number}/changes", review.changes, roles=_READERS),
    Page("/pools/{pool}/rounds/{number}/replay", act=review.replay, roles=_READERS),
    Page("/pools/{pool}/preview", review.preview, review.propose, roles=_READERS),
    Page("/payments", paying.own, paying.propose_own, roles=_COLLECTIVE),
    Page("/bank", paying.bank, paying.act_on_bank, roles=_READERS),
    Page("/bank/runs/{run}", paying.run, roles=_READERS),
    Page("/bank/runs/{run}/file.{form}", paying.run_file, roles=_OPERATOR),
    Page("/bank/{account}", paying.account, paying.act_on_account, roles=_READERS, takes_files=True),
    Page("/registry", registry.collectives, registry.register_collective, roles=_READERS),
    Page("/registry/collectives/{collective}", registry.collective, registry.change_collective, roles=_READERS),
    Page("/registry/platforms", registry.platforms, roles=_READERS),
    Page("/webhooks", hooks.listed, hooks.change),
    Page("/people", registry.people, registry.change_people, roles=_READERS, takes_files=True),
    *_LOGS,
)
