"""The console's cookies: of a session, of a browser before signing in, of a language. The API takes none of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from services.access.sessions import SESSION_LASTS

SESSION: Final = "moiety_session"
VISITOR: Final = "moiety_visitor"
LANGUAGE: Final = "moiety_language"

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_YEAR: Final = 365 * 24 * 3600


def session_of(cookies: Mapping[str, str]) -> str:
    """Returns what a session's cookie has; empty where there is none."""
    return _token(cookies.get(SESSION, ""))


def visitor_of(cookies: Mapping[str, str]) -> str:
    """Returns the secret of a browser before signing in; empty where it has none yet."""
    return _token(cookies.get(VISITOR, ""))


def begin_session(response: Response, token: str) -> Response:
    """Have the browser keep a session until it ends."""
    response.set_cookie(SESSION, token, max_age=int(SESSION_LASTS.total_seconds()), httponly=True, samesite="lax")
    return response


def end_session(response: Response) -> Response:
    """Have the browser forget its session."""
    response.delete_cookie(SESSION, httponly=True, samesite="lax")
    return response


def set_visitor(response: Response, token: str, *, is_secure: bool) -> None:
    """Have the browser keep a secret for its forms."""
    response.set_cookie(VISITOR, token, httponly=True, samesite="lax", secure=is_secure)


def forget_visitor(response: Response) -> Response:
    """Have the browser forget its secret, and take another one on its next page."""
    response.delete_cookie(VISITOR, httponly=True, samesite="lax")
    return response


def keep(response: Response, name: str, value: str) -> Response:
    """Have the browser keep a choice of the reader's for a year."""
    response.set_cookie(name, value, max_age=_YEAR, httponly=True, samesite="lax")
    return response


def kept(response: Response, *, is_secure: bool) -> Response:
    """Returns the answer with its cookies kept to encrypted connections, where it goes over one."""
    if is_secure:
        response.raw_headers = [
            (name, value + b"; Secure" if name == b"set-cookie" and b"; Secure" not in value else value)
            for name, value in response.raw_headers
        ]
    return response


def _token(text: str) -> str:
    return text if _TOKEN.fullmatch(text) else ""
