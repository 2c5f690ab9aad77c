"""The provider that people sign in at by OpenID Connect, and what its answers say.

Loaded only where the settings name one: its libraries take 10 MB and half a second of a server's start.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock, Timer
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from requests.adapters import HTTPAdapter

from services.access.openid import Attempt, Identity, SignInError
from services.cutoff import cut_off_after
from services.settings import Settings

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""By which a provider may sign: with a key of its own, never with the client's secret, and never not at all."""

LEEWAY_SECONDS: Final = 60
"""By how much the provider's clock may differ."""

PROVIDER_SECONDS: Final = 10.0
"""How long a connection may take to come about, and then an answer to be there whole, however slowly it comes."""

REMEMBERED_SECONDS: Final = 3600.0
FETCHED_AGAIN_SECONDS: Final = 30.0
"""Tokens with a key that nobody knows make us ask for the provider's keys again, but no more often than this."""

ANSWER_BYTES_MAX: Final = 1_000_000
"""What an answer may unpack to. Of a longer one the end is missing, so it is no JSON."""


class OpenIdProvider:
    """The provider that the settings name."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.issuer = settings.openid_issuer
        self._client_id = settings.openid_client_id
        secret = settings.openid_client_secret_file
        self._client_secret = secret.read_text(encoding="utf-8").strip() if secret else None
        self._monotonic = monotonic
        self._shown_by = "client_secret_basic"
        self._lock = Lock()
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    @property
    def name(self) -> str:
        """What people know it by: its host."""
        return urlsplit(self.issuer).hostname or self.issuer

    def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """Returns where a browser goes to sign in.

        Raises:
            SignInError: the provider cannot be reached, or is not what it should be.
        """
        endpoint = self._endpoint("authorization_endpoint")
        with self._session(redirect_uri) as session:
            address, _ = session.create_authorization_url(
                endpoint, state=attempt.state, nonce=attempt.nonce, code_verifier=attempt.verifier
            )
        return str(address)

    def identity(self, attempt: Attempt, redirect_uri: str, answer: Mapping[str, str], now: datetime) -> Identity:
        """Returns who signed in, by what the provider's answer says: a code, which it exchanges for a signed token.

        Raises:
            SignInError: the provider refused, cannot be reached, or gave a token that does not hold.
        """
        if "error" in answer:
            raise SignInError(f"the provider said {answer['error'][:100]!r}")
        if answer.get("iss", self.issuer) != self.issuer:
            raise SignInError("the answer is another provider's")  # RFC 9207: a code for one is not shown to another
        endpoint = self._endpoint("token_endpoint")
        try:
            with self._session(redirect_uri) as session:
                token: Any = session.fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=answer.get("code", "")[:4096],
                    code_verifier=attempt.verifier,
                    timeout=PROVIDER_SECONDS,
                    allow_redirects=False,
                )
        except AuthlibBaseError as error:
            raise SignInError(f"the provider gave no token: {error}"[:200]) from None
        except (requests.RequestException, ValueError) as error:
            raise SignInError(f"the provider gave no token: {type(error).__name__}") from None
        return self._identity(attempt, token, now)

    def _identity(self, attempt: Attempt, token: Any, now: datetime) -> Identity:
        try:
            decoded = self._decoded(str(token["id_token"]))
            options = {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self._client_id},
            }
            params = {"nonce": attempt.nonce, "client_id": self._client_id, "access_token": token.get("access_token")}
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(int(now.timestamp()), LEEWAY_SECONDS)
        except (JoseError, AuthlibBaseError, KeyError, TypeError, ValueError) as error:
            raise SignInError(f"the provider's token does not hold: {type(error).__name__} {error}"[:200]) from None
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:  # noqa: PLR2004  # as OpenID Connect Core has it
            raise SignInError("the provider's token names nobody")
        return Identity(self.issuer, subject)

    def _decoded(self, token: str) -> jwt.Token:
        """Returns a token whose signature is the provider's; its keys are asked for again where none of them fits."""
        try:
            return jwt.decode(token, self._key_set(), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            return jwt.decode(token, self._key_set(is_new=True), algorithms=list(ALGORITHMS))

    def _key_set(self, *, is_new: bool = False) -> KeySet:
        with self._lock:
            oldest = FETCHED_AGAIN_SECONDS if is_new else REMEMBERED_SECONDS
            if self._keys is None or self._monotonic() - self._keys[0] > oldest:
                keys = KeySet.import_key_set(_fetched(self._endpoint("jwks_uri")))
                self._keys = self._monotonic(), keys
            return self._keys[1]

    def _endpoint(self, name: str) -> str:
        known = self._metadata
        if known is None or self._monotonic() - known[0] > REMEMBERED_SECONDS:
            found = _fetched(get_well_known_url(self.issuer, external=True))
            if found.get("issuer") != self.issuer:
                raise SignInError("the provider calls itself by another name")
            known = self._metadata = self._monotonic(), found
        offered = known[1].get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        self._shown_by = "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"
        address = str(known[1].get(name, ""))
        if not address.startswith("https://") and urlsplit(self.issuer).scheme == "https":
            raise SignInError(f"the provider's {name} is not https")
        return address

    def _session(self, redirect_uri: str) -> OAuth2Session:
        session = OAuth2Session(
            self._client_id,
            self._client_secret,
            token_endpoint_auth_method=self._shown_by if self._client_secret else "none",
            scope="openid",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )
        return _bounded(session)


def _fetched(address: str) -> Any:
    try:
        with _bounded(requests.Session()) as session:
            answer = session.get(address, timeout=PROVIDER_SECONDS, allow_redirects=False)
            answer.raise_for_status()
            return answer.json()
    except (requests.RequestException, ValueError) as error:
        raise SignInError(f"the provider cannot be asked: {type(error).__name__}") from None


class _BoundedAnswers(HTTPAdapter):
    """Waits no longer for an answer, and reads no more of it, than it may have."""

    def __init__(self) -> None:
        super().__init__()
        self._cuts: list[Timer] = []

    def get_connection_with_tls_context(self, *args: Any, **named: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **named)
        pool.ConnectionCls = _cut_in_time(pool.ConnectionCls, self._cuts)
        return pool

    def send(self, *args: Any, **named: Any) -> requests.Response:
        try:
            answer = super().send(*args, **named)
            try:
                content = answer.raw.read(ANSWER_BYTES_MAX, decode_content=True)
            finally:
                answer.raw.close()
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from None
        finally:
            for cut in self._cuts:
                cut.cancel()
        answer.raw = io.BytesIO(content)
        return answer


def _cut_in_time(kind: type[Any], cuts: list[Timer]) -> type[Any]:
    """The connections of a kind, cut off some time after they came about by a timer that is added to `cuts`."""

    class CutInTime(kind):  # type: ignore[misc]  # urllib3's, with or without TLS
        def connect(self) -> None:
            super().connect()
            cuts.append(cut_off_after(PROVIDER_SECONDS, self.sock))

    return CutInTime


_Session = TypeVar("_Session", bound=requests.Session)


def _bounded(session: _Session) -> _Session:
    for scheme in ("https://", "http://"):
        session.mount(scheme, _BoundedAnswers())
    return session
