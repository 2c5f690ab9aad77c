"""An OpenID provider in a process of its own: oidc-provider-mock, held to PKCE (RFC 7636), which it does not know."""

from __future__ import annotations

import subprocess
import sys
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import requests

CLIENT: Final = "moiety-console"
_Start = Callable[..., Any]


class PkceRequired:
    """Refuses what begins without a challenge, and codes that come without its verifier; around a WSGI application."""

    def __init__(self, app: Callable[[dict[str, Any], _Start], Iterable[bytes]]) -> None:
        self._app = app
        self._challenges: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        if environ["PATH_INFO"] == "/oauth2/authorize":
            challenge = query.get("code_challenge", [""])[0]
            if query.get("code_challenge_method") != ["S256"] or len(challenge) != 43:  # SHA-256
                return _refused(start)
            return self._app(environ, self._remembering(start, challenge))
        if environ["PATH_INFO"] == "/oauth2/token" and not self._is_proven(environ):
            return _refused(start)
        return self._app(environ, start)

    def _remembering(self, start: _Start, challenge: str) -> _Start:
        def started(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            location = {name.lower(): value for name, value in headers}.get("location", "")
            for code in parse_qs(urlsplit(location).query).get("code", []):
                self._challenges[code] = challenge
            return start(status, headers, *rest)

        return started

    def _is_proven(self, environ: dict[str, Any]) -> bool:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        sent = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        challenge = self._challenges.pop(sent.get("code", ""), None)
        digest = sha256(sent.get("code_verifier", "").encode()).digest()
        return challenge == urlsafe_b64encode(digest).rstrip(b"=").decode()


def _refused(start: _Start) -> Iterable[bytes]:
    start("400 Bad Request", [("content-type", "application/json")])
    return [b'{"error": "invalid_grant"}']


@contextmanager
def openid_provider() -> Iterator[str]:
    """Run a provider; its issuer."""
    command = [sys.executable, "-m", "tests.support.openid_provider"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def sign_in_at(http: requests.Session, address: str, subject: str) -> str:
    """Sign in at the provider as somebody, as its page's form does; the address that leads back."""
    answer = http.post(address, {"sub": subject}, allow_redirects=False, timeout=60)
    assert answer.status_code == 302, answer.text  # found
    return answer.headers["location"]


def main() -> None:
    """Listen on a free port, and print the issuer."""
    warnings.simplefilter("ignore")
    import oidc_provider_mock  # type: ignore[import-untyped]  # noqa: PLC0415  # it warns of its own parts
    from werkzeug.serving import make_server  # noqa: PLC0415  # comes with it

    server = make_server("127.0.0.1", 0, PkceRequired(oidc_provider_mock.app(require_nonce=True)), threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
