"""Signing in, by a key or by a link that works once, and out again; and the language."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from services.access.keys import UnauthenticatedError
from services.access.sessions import Sessions
from services.console import cookies
from services.console.menu import home_of
from services.console.texts import LANGUAGES
from services.console.visit import Visit, go

_LONGEST_PATH: Final = 500


def home(visit: Visit) -> Response:
    """Lead on to where the visitor begins."""
    return go("/sign-in" if visit.signed_in is None else home_of(visit.role))


def show(visit: Visit, *, problem: str = "") -> Response:
    """The page at which to sign in."""
    if visit.signed_in is not None and not problem:
        return go(home_of(visit.role))
    return visit.page("sign_in.html", 403 if problem else 200, problem=problem, next=own_path(visit.query.get("next")))


def by_key(visit: Visit) -> Response:
    """Begin a session by a key."""
    try:
        token = sessions(visit).sign_in(visit.form.get("key", "").strip())
    except UnauthenticatedError:
        return show(visit, problem=visit.text("This key is unknown, revoked, or not valid now."))
    return begun(visit, token, own_path(visit.form.get("next")))


def show_link(visit: Visit) -> Response:
    """Ask whoever opened a link whether to sign in: programs that look at links beforehand use none up."""
    try:
        owner = sessions(visit).owner(visit.ids["link"])
    except UnauthenticatedError:
        return _used_up(visit)
    return visit.page("sign_in_link.html", owner=owner)


def by_link(visit: Visit) -> Response:
    """Begin a session by a link."""
    try:
        return begun(visit, sessions(visit).use(visit.ids["link"]), "/")
    except UnauthenticatedError:
        return _used_up(visit)


def sign_out(visit: Visit) -> Response:
    """End this session, or all of this person's."""
    if "everywhere" in visit.form:
        sessions(visit).sign_out_everywhere(visit.caller.principal)
    else:
        sessions(visit).sign_out(visit.session)
    return cookies.end_session(go("/sign-in"))


def speak(visit: Visit) -> Response:
    """Keep the language that the reader chose."""
    answer = go(own_path(visit.form.get("next")))
    language = visit.form.get("language", "")
    return cookies.keep(answer, cookies.LANGUAGE, language) if language in LANGUAGES else answer


def begun(visit: Visit, token: str, path: str) -> Response:
    """Returns the answer that begins a session and leads on."""
    # A session that a shared browser still had belongs to whoever was there before.
    if visit.session:
        sessions(visit).sign_out(visit.session)
    return cookies.begin_session(go(path), token)


def _used_up(visit: Visit) -> Response:
    detail = visit.text("A link signs in once, and within an hour. Ask for another one, or sign in by a key.")
    return visit.page("error.html", 403, title=visit.text("This link does not work any more"), detail=detail)


def own_path(text: str | None) -> str:
    """A path of this site, to which a form may lead on; never an address elsewhere."""
    path = text or "/"
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and len(path) <= _LONGEST_PATH
    return path if is_own and path.isprintable() and path.isascii() and "\\" not in path else "/"


def sessions(visit: Visit) -> Sessions:
    """Returns what begins and ends sessions."""
    return Sessions(visit.parts.database, visit.parts.clock)
