"""Sign-in by OpenID Connect: the code flow with PKCE, of which nothing is kept between leaving and coming back.

What a browser must show again is derived from a secret that only this browser has, in its cookie: so a stranger who
begins many sign-ins fills nothing, and an answer that was meant for another browser is worth nothing in this one.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from moiety.keys import identity_hash

ATTEMPT_SECONDS: Final = 600
"""How long somebody may take at the provider."""

SKEW_SECONDS: Final = 60
"""By how much the clocks of two servers may differ: one leads to the provider, and another may get the answer."""


class SignInError(Exception):
    """A sign-in by OpenID Connect did not work. `reason` is for the log, and says nothing secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the sign-in did not work: {self.reason}"


@dataclass(frozen=True, slots=True)
class Identity:
    """An account at a provider."""

    issuer: str
    subject: str

    @property
    def hash(self) -> str:
        """By what a key stands for it."""
        return identity_hash(self.issuer, self.subject)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in under way: what goes to the provider, and must come back.

    Attributes:
        visitor: the secret of the browser.
        began: when, in whole seconds since 1970.
        mark: what makes this attempt another one than the last.
        next: the path to which it leads on.
    """

    visitor: str
    began: int
    mark: str
    next: str

    @classmethod
    def begin(cls, visitor: str, next_: str, now: datetime) -> Attempt:
        """Returns a new one."""
        return cls(visitor, int(now.timestamp()), secrets.token_urlsafe(16), next_)

    @classmethod
    def of(cls, visitor: str, state: str, now: datetime) -> Attempt:
        """Returns the attempt that a state was given for.

        Raises:
            SignInError: it was given to another browser or by somebody else, or too long ago.
        """
        text, _, given = state.rpartition(".")
        try:
            began, mark, next_ = json.loads(_decoded(text))
            attempt = cls(visitor, int(began), str(mark), str(next_))
        except (ValueError, TypeError):
            raise SignInError("the answer has no state of ours") from None
        if not visitor or not hmac.compare_digest(attempt.state.encode(), f"{text}.{given}".encode()):
            raise SignInError("the answer is for another browser")
        if not -SKEW_SECONDS <= now.timestamp() - attempt.began <= ATTEMPT_SECONDS + SKEW_SECONDS:
            raise SignInError("it took too long, or the clocks of two servers differ")
        return attempt

    @property
    def state(self) -> str:
        """What comes back with the answer."""
        text = _encoded(json.dumps([self.began, self.mark, self.next]).encode())
        return f"{text}.{self._derived('state', text)}"

    @property
    def nonce(self) -> str:
        """What the token must have."""
        return self._derived("nonce", self.mark)

    @property
    def verifier(self) -> str:
        """What the code is good with alone (PKCE, RFC 7636): nobody who sees the code in an address can use it."""
        return self._derived("verifier", self.mark)

    def _derived(self, what: str, of: str) -> str:
        message = f"moiety sign-in {what} {self.began} {of}"
        return _encoded(hmac.new(self.visitor.encode(), message.encode(), sha256).digest())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
