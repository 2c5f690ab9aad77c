"""Signing in by an account at the operator's OpenID provider."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import structlog
from starlette.responses import RedirectResponse, Response

from services.access.keys import UnauthenticatedError
from services.access.openid import Attempt, Identity, SignInError
from services.console import cookies
from services.console.views.signing_in import begun, own_path, sessions
from services.console.visit import PageMissingError, Visit

if TYPE_CHECKING:
    from services.access.openid_provider import OpenIdProvider

logger: Final = structlog.get_logger("moiety.console")

RETURN: Final = "/sign-in/openid/return"


def leave(visit: Visit) -> Response:
    """Lead on to the provider."""
    provider = _provider(visit)
    attempt = Attempt.begin(visit.visitor, own_path(visit.query.get("next")), visit.parts.clock())
    try:
        return RedirectResponse(provider.address(attempt, visit.origin + RETURN), 303)
    except SignInError as error:
        return _failed(visit, error)


def come_back(visit: Visit) -> Response:
    """Begin a session for whoever the provider says it is."""
    provider, now = _provider(visit), visit.parts.clock()
    try:
        attempt = Attempt.of(cookies.visitor_of(visit.cookies), visit.query.get("state", ""), now)
        identity = provider.identity(attempt, visit.origin + RETURN, visit.query, now)
    except SignInError as error:
        return _failed(visit, error)
    try:
        token = sessions(visit).sign_in_as(identity)
    except UnauthenticatedError:
        return _unknown(visit, identity)
    # The browser's secret has done its work: the same answer, shown again, is worth nothing.
    return cookies.forget_visitor(begun(visit, token, own_path(attempt.next)))


def _provider(visit: Visit) -> OpenIdProvider:
    if visit.openid is None:
        raise PageMissingError
    return visit.openid


def _unknown(visit: Visit, identity: Identity) -> Response:
    """Say what an operator needs to register the account."""
    line = f"{secrets.token_hex(8)}:{identity.hash}"
    return visit.page("sign_in_unknown.html", 403, identity=identity, line=line)


def _failed(visit: Visit, error: SignInError) -> Response:
    logger.warning("sign-in failed", reason=error.reason, request_id=visit.request_id)
    detail = visit.text("Try again. If it goes on, tell an operator; the log names it by:") + f" {visit.request_id}"
    return visit.page("error.html", 403, title=visit.text("You could not be signed in"), detail=detail)
