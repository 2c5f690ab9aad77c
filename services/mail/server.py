"""A connection to the mail server, which ends in time however slowly the server speaks."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import Any, Final

from services.cutoff import cut_off_after
from services.settings import Settings

SILENCE_SECONDS: Final = 30.0
"""How long the server may say nothing at all."""

EXCHANGE_SECONDS: Final = 120.0
"""How long signing in may take, or a message, to the last byte of the answer. The silence is of each read: a server
that sends a byte now and then would never meet it."""


class MailServer(smtplib.SMTP):
    """A mail server that is cut off where an exchange takes too long, which is then an `OSError` or `SMTPException`."""

    _held: socket.socket | None = None
    _cut: Timer | None = None

    def begin(self) -> None:
        """Begin an exchange: the one before is over, and this one has its own time."""
        self._end()
        if self._held is not None:
            self._cut = cut_off_after(EXCHANGE_SECONDS, self._held)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._end()
        if self._held is not None:
            self._held.close()
            self._held = None

    def _get_socket(self, *args: Any, **named: Any) -> socket.socket:
        connected: socket.socket = super()._get_socket(*args, **named)  # type: ignore[misc]  # where smtplib connects
        self._held = connected.dup()  # TLS takes the descriptor over, and is not there before its handshake is done
        self.begin()
        return connected

    def _end(self) -> None:
        if self._cut is not None:
            self._cut.cancel()


class TlsMailServer(smtplib.SMTP_SSL, MailServer):
    """One that speaks TLS from the first byte."""

    def _get_socket(self, *args: Any, **named: Any) -> socket.socket:
        try:
            return super()._get_socket(*args, **named)
        except BaseException:  # in the handshake, of which smtplib closes nothing
            self.close()
            raise


@contextmanager
def connected(settings: Settings) -> Iterator[MailServer]:
    """The mail server of the settings, signed in to.

    Raises:
        OSError, smtplib.SMTPException: it cannot be used.
    """
    host, _, port = settings.smtp_server.rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context(cafile=settings.smtp_ca_file)
    if settings.smtp_security == "tls":
        server: MailServer = TlsMailServer(host, int(port), timeout=SILENCE_SECONDS, context=context)
    else:
        server = MailServer(host, int(port), timeout=SILENCE_SECONDS)
    try:
        if settings.smtp_security == "starttls":
            server.starttls(context=context)
        if settings.smtp_user and settings.smtp_password_file:
            server.login(settings.smtp_user, settings.smtp_password_file.read_text().strip())
        yield server
    finally:
        with suppress(OSError, smtplib.SMTPException):
            server.begin()
            server.quit()
        server.close()
