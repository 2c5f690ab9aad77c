"""One request to the console: who makes it, what they sent, and the page that they get."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from google.protobuf.message import Message
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ledger.errors import LedgerError
from services.access.keys import Caller, Role
from services.console.calls import Calls
from services.console.menu import menu
from services.console.pages import render
from services.console.refusals import Speaker, speaker_of
from services.console.texts import Tongue
from services.parts import Parts

if TYPE_CHECKING:
    from services.access.openid_provider import OpenIdProvider


Problem = LedgerError | str
"""What a page says is wrong: what a handler says against it, or a text in the reader's language; empty for nothing."""


class PageMissingError(Exception):
    """There is no such page for whoever asks."""


class FormStaleError(Exception):
    """A form that was not sent from a page of ours, or from one of another session."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that a form sent."""

    filename: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Visit:
    """A request.

    Attributes:
        parts: the deployment's parts.
        calls: the way to the handlers.
        tongue: how the visitor is spoken to.
        path: the path, with ids in `ids`.
        query: parameters of the address.
        form: what a form sent.
        files: files that it sent, on pages that take some.
        cookies: the visitor's cookies.
        session: what the session's cookie has; empty for strangers.
        signed_in: who that is.
        openid: the provider by which people sign in; None where there is none.
        origin: how browsers reach this console, `https://moiety.example`.
        visitor: a secret of this browser, from which forms before signing in have their token.
        request_id: what logs name the visit by.
    """

    parts: Parts
    calls: Calls
    tongue: Tongue
    path: str
    ids: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    files: Mapping[str, SentFile]
    cookies: Mapping[str, str]
    session: str
    signed_in: Caller | None
    openid: OpenIdProvider | None
    origin: str
    visitor: str
    request_id: str
    is_fragment: bool = False
    """Whether htmx asks for a part of a page."""
    shown: dict[str, Any] = field(default_factory=dict)
    """What every template of this visit may use, besides what its view gives."""

    @property
    def caller(self) -> Caller:
        """Whoever is signed in.

        Raises:
            PageMissingError: nobody is.
        """
        if self.signed_in is None:
            raise PageMissingError
        return self.signed_in

    @property
    def here(self) -> str:
        """Where the page is opened again, with what its address asks for; without what was just done."""
        asked = urlencode([(name, value) for name, value in self.query.items() if name != "done"])
        return f"{self.path}?{asked}" if asked else self.path

    @property
    def role(self) -> Role:
        """The role of whoever is signed in."""
        return self.caller.principal.role

    def is_reader(self) -> bool:
        """Whether they may read everything, as operators and auditors may."""
        return self.role in (Role.OPERATOR, Role.AUDITOR)

    def call(self, method: str, request: Message) -> Any:
        """Call a handler with the rights of whoever is signed in.

        Raises:
            LedgerError: what it says against it.
        """
        return self.calls.make(self.caller, method, request, self.request_id)

    def page(self, template: str, /, status: int = 200, **values: Any) -> Response:
        """Returns a page made by a template. A `problem` is said as the page calls things."""
        values = {**self.shown, **values}
        if isinstance(problem := values.get("problem"), Exception):
            values["problem"] = self.said(problem, values)
        shown = {
            "visit": self,
            "tongue": self.tongue,
            "menu": menu(self.role, self.path) if self.signed_in else [],
            "done": self.query.get("done", ""),
        }
        return HTMLResponse(render(self.tongue.language, template, {**shown, **values}), status)

    def said(self, error: Exception, values: Mapping[str, Any] | None = None) -> str:
        """Returns what an error says, on a page that shows these values."""
        on_it = {**self.shown, **(values or {})}
        return speaker_of(self.tongue, on_it, self.form).said(error)

    def typed(self, field: str, stored: object = "", /, **marks: str | None) -> object:
        """Returns what the form that this page refuses had in a field, so that nobody types it again.

        Args:
            field: the field.
            stored: what it has on a page that refuses nothing, or another form.
            marks: other fields of that form, where forms of the page share the field; None is one that it lacks.
        """
        is_it = all(self.form.get(name) == value for name, value in marks.items())
        return self.form.get(field, stored) if is_it else stored

    def sentence(self, said: str) -> str:
        """Returns a sentence of the service's, such as one that was stored, in the visitor's language."""
        return Speaker(self.tongue).sentence(said)

    def text(self, message: str) -> str:
        """Returns a text in the visitor's language."""
        return self.tongue.text(message)

    def form_token(self) -> str:
        """What every form of this visitor has, which a page from elsewhere cannot know."""
        return token_of(self.session or self.visitor)


def token_of(secret: str) -> str:
    """Returns the token of forms that a session, or a visitor before signing in, has."""
    return hmac.new(secret.encode(), b"moiety console form", sha256).hexdigest()


def go(path: str, *, done: str = "") -> Response:
    """Returns the answer that leads on to another page; `done` says there what was done."""
    mark = "&" if "?" in path else "?"
    return RedirectResponse(path + (f"{mark}done={quote(done)}" if done else ""), 303)
