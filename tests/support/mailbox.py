"""A real mail server on this machine, which keeps what it takes and can be told to refuse."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

TAKEN: Final = "250 OK"

READY_SECONDS: Final = 60.0
"""How long a busy machine may take to start it."""


@dataclass
class Mailbox:
    """What the server took, by envelope and message; and what it says to each recipient and each message."""

    address: str = ""
    to: list[str] = field(default_factory=list)
    messages: list[EmailMessage] = field(default_factory=list)
    says_to: dict[str, str] = field(default_factory=dict)
    """What it answers to a recipient instead of taking it."""
    says: str = TAKEN
    """What it answers to a message."""
    signed_in: list[str] = field(default_factory=list)
    user: str = ""
    password: str = ""

    async def handle_RCPT(  # noqa: N802  # as aiosmtpd calls it
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address in self.says_to:
            return self.says_to[address]
        envelope.rcpt_tos.append(address)
        return TAKEN

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802  # the same
        if self.says == TAKEN:
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(message, EmailMessage)
            self.to += envelope.rcpt_tos
            self.messages.append(message)
        return self.says

    def authenticated(self, _: SMTP, __: Session, ___: Envelope, ____: str, sent: Any) -> AuthResult:
        assert isinstance(sent, LoginPassword)
        self.signed_in.append(sent.login.decode())
        return AuthResult(
            handled=False, success=(sent.login.decode(), sent.password.decode()) == (self.user, self.password)
        )

    def subjects(self, to: str) -> list[str]:
        """The subjects of what somebody got, oldest first."""
        return [
            message["Subject"] for recipient, message in zip(self.to, self.messages, strict=True) if recipient == to
        ]


class _Server(Controller):
    """Listens on a port that it holds from the start, so that nobody else takes it in between."""

    def __init__(self, box: Mailbox, **asked: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(box, hostname="127.0.0.1", port=self._socket.getsockname()[1], **asked)

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._socket, ssl=self.ssl_context)


@contextmanager
def mail_server(
    context: ssl.SSLContext | None = None, user: str = "", password: str = "", *, direct: bool = False
) -> Iterator[Mailbox]:
    """A mail server; with a context it insists on STARTTLS, or speaks TLS alone, and with a user on signing in."""
    box = Mailbox(user=user, password=password)
    asked: dict[str, Any] = {"ready_timeout": READY_SECONDS}
    if direct:
        asked |= {"ssl_context": context, "auth_require_tls": False}
    elif context:
        asked |= {"tls_context": context, "require_starttls": True}
    if user:
        # Over TLS alone it may not insist: it would warn that it does so without STARTTLS.
        asked |= {"authenticator": box.authenticated, "auth_required": not direct}
    controller = _Server(box, **asked)
    controller.start()
    box.address = f"127.0.0.1:{controller.port}"
    try:
        yield box
    finally:
        controller.stop()
