"""The console as an ASGI application: routes, who may see what, and the headers that keep a page to itself."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import structlog
from google.rpc import code_pb2
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from ledger.errors import InvalidInputError, UnreadableError
from ledger.store.postgres.faults import FAILED_READING
from services.access.keyring import ANYONE, MAX_REMEMBERED
from services.access.keys import Caller, UnauthenticatedError
from services.access.sessions import Sessions
from services.api.calls.door import MessageTooLargeError
from services.api.calls.errors import is_expected, status_of
from services.api.calls.queues import FairThreads, OverloadedError
from services.api.contract import Services
from services.api.http.connect import HTTP_STATUS
from services.api.http.exchange import Receive, Scope, Send
from services.console import cookies
from services.console.assets import assets
from services.console.calls import Calls
from services.console.reading import FORM_BYTES, Sent, read_form, throw_away
from services.console.refusals import Speaker
from services.console.routes import PAGES, Page
from services.console.texts import Tongue, tongue_of
from services.console.visit import FormStaleError, PageMissingError, Visit, go, token_of
from services.parts import Parts
from services.settings import Settings

if TYPE_CHECKING:
    from services.access.openid_provider import OpenIdProvider

logger: Final = structlog.get_logger("moiety.console")

STRANGERS_FORM_BYTES: Final = 8 * 1024
"""Of a form of whoever is not signed in: a key and where it leads on. Any connection may have one in memory."""

FILE_BYTES: Final = 4 * 1024 * 1024 + FORM_BYTES
"""Of a form with a file: what the contract takes of a bank's file, and the form around it."""

FORMS_EACH: Final = 16
"""Forms of one principal that may come in at a time."""

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""Of every answer. Nothing inline runs, nothing is fetched from elsewhere, and no other page may frame one of these."""

_STATUS: Final = {**HTTP_STATUS, code_pb2.FAILED_PRECONDITION: 409}
"""Of pages. What the state refuses is a conflict, as beside a form: nothing is wrong with what the reader asked for."""

T = TypeVar("T")

Endpoint = Callable[[Request], Awaitable[Response]]


class Console:
    """The ASGI application."""

    def __init__(self, parts: Parts, services: Services) -> None:
        self._parts = parts
        self._public_url = parts.settings.public_url
        self._sessions = Sessions(parts.database, parts.clock)
        self._openid = _provider(parts.settings) if parts.settings.openid_issuer else None
        self._calls = Calls(services, parts.keyring)
        self._threads = FairThreads(max(2, parts.settings.threads // 4), "console")
        self._holders: dict[str, str] = {}
        """Whose a session was when it was last looked up: that says in whose queue a page waits, and no more."""
        self._forms: Counter[str] = Counter()
        routes = [Route(page.path, self._endpoint(page), methods=["GET", "POST"]) for page in PAGES]
        self._router = Router([Route("/static/{version}/{name}", _asset, methods=["GET"]), *routes])
        self._router.default = self._missing

    def close(self) -> None:
        """Finish what the threads do."""
        self._threads.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def guarded(message: Scope) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(each for each in more if each[0] not in given)]
                if b"cache-control" not in given:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        await self._router(scope, receive, guarded)

    async def _missing(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._endpoint(_NOWHERE)(Request(scope, receive))
        await answer(scope, receive, send)

    def _endpoint(self, page: Page) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            try:
                sent = await self._sent(page, request) if request.method == "POST" else Sent()
                return await self._run(request, self._answer, page, request, sent)
            except (InvalidInputError, MessageTooLargeError) as error:
                return PlainTextResponse(_plainly(request, error), 400, {"connection": "close"})
            except OverloadedError as error:
                headers = {"retry-after": "1", "connection": "close"}
                return PlainTextResponse(_plainly(request, error), 503, headers)

        return endpoint

    async def _sent(self, page: Page, request: Request) -> Sent:
        """What a form sent. Before anything is kept of it, whoever sends it is known, or it is small.

        Raises:
            InvalidInputError, MessageTooLargeError: as `read_form` does.
            OverloadedError: too many pages wait to be made.
        """
        caller = await self._run(request, self._asking, request)
        if caller is not None:
            may_send_files = page.takes_files and caller.principal.role in page.roles
            with self._one_form(caller.principal.name):
                return await read_form(request, FILE_BYTES if may_send_files else FORM_BYTES)
        if page.is_open:
            return await read_form(request, STRANGERS_FORM_BYTES)
        await throw_away(request, FILE_BYTES if page.takes_files else FORM_BYTES)
        return Sent()

    @contextmanager
    def _one_form(self, holder: str) -> Iterator[None]:
        """Count a form that is read as its sender's. It is called in the server's loop alone.

        Raises:
            OverloadedError: they send as many as may be in memory.
        """
        if self._forms[holder] >= FORMS_EACH:
            raise OverloadedError(holder)
        self._forms[holder] += 1
        try:
            yield
        finally:
            self._forms[holder] -= 1
            if not self._forms[holder]:
                del self._forms[holder]

    async def _run(self, request: Request, work: Callable[..., T], *args: Any) -> T:
        """Do it on a thread when it is the turn of whoever asks: strangers are one, and leave threads to the others.

        Raises:
            OverloadedError: as many of theirs wait as may.
        """
        holder = self._holders.get(cookies.session_of(request.cookies), ANYONE)
        if not self._threads.has_room(holder):
            raise OverloadedError(holder)
        context = copy_context()
        return await asyncio.wrap_future(self._threads.submit(holder, lambda: context.run(work, *args)))

    def _asking(self, request: Request) -> Caller | None:
        try:
            return self._caller(cookies.session_of(request.cookies))
        except Exception:  # noqa: BLE001  # whatever it is, the page that follows meets it again, and says so
            return None

    def _caller(self, token: str) -> Caller | None:
        """Whose session a cookie has; None where there is none that holds. It is remembered for whose turn it is."""
        if not token:
            return None
        try:
            caller = self._sessions.caller(token)
        except UnauthenticatedError:
            self._holders.pop(token, None)
            return None
        if len(self._holders) >= MAX_REMEMBERED:
            self._holders = {}
        self._holders[token] = caller.principal.name
        return caller

    def _answer(self, page: Page, request: Request, sent: Sent) -> Response:
        visit = self._visit(request, sent)
        try:
            visit = self._known(visit)
            if request.method == "POST" and not page.is_bearers:
                _require_own_form(request, visit)
            answer = self._shown(page, request, visit)
        except PageMissingError:
            answer = visit.page("error.html", 404, title=visit.text("There is no such page"), detail="")
        except FormStaleError:
            answer = _stale(visit, page)
        except Exception as error:  # noqa: BLE001  # whatever it is, the reader gets a page
            answer = _failed(visit, page, error)
        if answer.headers.get("cache-control", "").startswith("public"):
            return answer  # what others get again must give nobody a cookie
        if visit.visitor != request.cookies.get(cookies.VISITOR):
            cookies.set_visitor(answer, visit.visitor, is_secure=_is_secure(request, self._public_url))
        return answer

    def _shown(self, page: Page, request: Request, visit: Visit) -> Response:
        if visit.signed_in is None and not page.is_open:
            return go(f"/sign-in?next={quote(_next_of(request))}")
        if page.roles and (visit.signed_in is None or visit.role not in page.roles):
            raise PageMissingError
        if request.method == "POST" and page.act is None:
            raise PageMissingError
        if request.method == "POST" and page.act is not None:
            answer = page.act(visit)
        elif page.show is not None:
            answer = page.show(visit)
        elif page.act is not None:  # the address of a form, opened again: what the form is about
            answer = go(visit.path.rpartition("/")[0] or "/")
        else:
            raise PageMissingError
        return cookies.kept(answer, is_secure=_is_secure(request, self._public_url))

    def _visit(self, request: Request, sent: Sent) -> Visit:
        return Visit(
            parts=self._parts,
            calls=self._calls,
            tongue=_tongue(request),
            path=request.url.path,
            ids=request.path_params,
            query=request.query_params,
            form=sent.fields,
            files=sent.files,
            cookies=request.cookies,
            session="",
            signed_in=None,
            openid=self._openid,
            origin=self._public_url or f"{request.url.scheme}://{request.headers.get('host', '')}",
            visitor=cookies.visitor_of(request.cookies) or secrets.token_urlsafe(32),
            request_id=secrets.token_hex(8),
            is_fragment="hx-request" in request.headers,
        )

    def _known(self, visit: Visit) -> Visit:
        token = cookies.session_of(visit.cookies)
        caller = self._caller(token)
        return replace(visit, session=token, signed_in=caller) if caller else visit


def _stale(visit: Visit, page: Page) -> Response:
    """The page that says that a form did nothing. Browsers keep what was typed for whoever goes back to it."""
    detail = visit.text("The form was not sent from a page of this session. Open the page again, and try again.")
    if visit.signed_in is None and not page.is_open:
        detail = visit.text(
            "You are no longer signed in. Sign in in another tab, go back to the form in this one, and send it again."
        )
    return visit.page("error.html", 403, title=visit.text("Please try again"), detail=detail)


def _failed(visit: Visit, page: Page, error: Exception) -> Response:
    """The page that says what a handler said; of what nobody expected it says nothing but an id.

    Logs have the path of pages that take a session, and of the others their pattern: a path that signs in, or that
    unsubscribes, is a secret.

    What a page fails over, rather than a handler, is taken for something stored, as in a transaction: what forms send
    was checked when it was read.
    """
    said = UnreadableError() if isinstance(error, FAILED_READING) else error
    status = status_of(said, visit.request_id)
    detail = visit.said(said)
    if not is_expected(said):
        path = page.path if page.is_open else visit.path[:200]
        logger.error("page failed", path=path, request_id=visit.request_id, exc_info=error)
        detail = " ".join((detail, visit.text("The log names it by:"), visit.request_id))
    return visit.page("error.html", _STATUS[status.code], title=visit.text("This did not work"), detail=detail)


def _require_own_form(request: Request, visit: Visit) -> None:
    """Check that a form comes from a page of ours in the same session, by its token and by what browsers say.

    Raises:
        FormStaleError: it does not.
    """
    secret = visit.session or cookies.visitor_of(visit.cookies)
    origin = request.headers.get("origin", "")
    ours = {request.headers.get("host", ""), urlsplit(visit.parts.settings.public_url).netloc}
    is_elsewhere = origin and urlsplit(origin).netloc not in ours
    if not secret or is_elsewhere or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise FormStaleError
    if not hmac.compare_digest(visit.form.get("token", "").encode(), token_of(secret).encode()):
        raise FormStaleError


def _tongue(request: Request) -> Tongue:
    return tongue_of(request.cookies.get(cookies.LANGUAGE, ""), request.headers.get("accept-language", ""))


def _plainly(request: Request, error: Exception) -> str:
    """What is wrong with a request of which no page can be made."""
    return f"{Speaker(_tongue(request)).said(error)}\n"


def _is_secure(request: Request, public_url: str) -> bool:
    return request.url.scheme == "https" or public_url.startswith("https://")


def _next_of(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "") if request.method == "GET" else "/"


async def _asset(request: Request) -> Response:
    found = assets().get(request.url.path)
    if found is None:
        return PlainTextResponse("nothing is here\n", 404)
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    if found.compressed and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, 200, {**headers, "content-encoding": "gzip"}, found.content_type)
    return Response(found.body, 200, headers, found.content_type)


_NOWHERE: Final = Page("/", is_open=True)


def _provider(settings: Settings) -> OpenIdProvider:
    from services.access.openid_provider import OpenIdProvider  # noqa: PLC0415  # what needs it is seldom there

    return OpenIdProvider(settings)
