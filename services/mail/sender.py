"""Sends notices by SMTP: each at least once, in turns with whoever else does, until it is too old to be news."""

from __future__ import annotations

import re
import smtplib
import time
from datetime import datetime, timedelta
from email.headerregistry import Address
from typing import Final

import sqlalchemy as sa
import structlog

from ledger.store.desk import notices
from ledger.store.desk.notices import DueNotice
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from services.mail.letters import LETTERS, Recipient, Sender, write
from services.mail.server import MailServer, connected
from services.settings import Settings

logger: Final = structlog.get_logger("moiety.mail")

GIVEN_UP_AFTER: Final = timedelta(days=3)
"""How long a message is tried: longer than a weekend on which nobody mends a mail server."""

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=6)
"""A message that the server does not take is tried again after a pause, which doubles each time."""

LONGEST_SILENCE_SECONDS: Final = 300.0
"""How long nothing is tried at most, after the server could not be reached."""

IN_A_RUN: Final = 1_000
"""Messages that are sent before connecting again; servers close connections that last."""

REASON_MAX: Final = 300
"""How much of what a server says is kept."""

_ADDRESS: Final = re.compile(r"(?<![^\s<>])[^\s<>]+@[^\s<>:;,]+")
"""From the start of a word alone: from each of its characters on, a long reply would keep the interpreter for long."""

_PERMANENT: Final = 500
"""Replies from here on say that trying again changes nothing (RFC 5321, section 4.2.1)."""


class Post:
    """Sends what is due, by the mail server of the settings."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._sender = Sender(Address(addr_spec=settings.mail_from), settings.public_url)
        self._silent_until = 0.0
        self._pause_seconds = 1.0

    def run_once(self) -> None:
        """Send what is due. Where the server cannot be reached, pause before the next try, for longer each time."""
        if time.monotonic() < self._silent_until or not self._is_due():
            return
        try:
            with connected(self._settings) as server:
                for _ in range(IN_A_RUN):
                    if not self._send_next(server):
                        break
        except (OSError, smtplib.SMTPException) as error:
            self._silent_until = time.monotonic() + self._pause_seconds
            logger.warning("the mail server cannot be used", pause_seconds=self._pause_seconds, reason=_why(error))
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_SILENCE_SECONDS)
            self._give_up_old(_why(error))
        else:
            self._pause_seconds = 1.0

    def _is_due(self) -> bool:
        with self._database.transaction() as connection:
            return notices.is_any_due(connection, read_time(connection))

    def _give_up_old(self, reason: str) -> None:
        with self._database.transaction() as connection:
            now = read_time(connection)
            count = notices.give_up_before(connection, now - GIVEN_UP_AFTER, now, reason)
        if count:
            logger.error("mail was given up", messages=count, reason=reason)

    def _send_next(self, server: MailServer) -> bool:
        """Send a message. Returns whether there was one.

        The notice is locked meanwhile, and marked in the same transaction: whoever is killed between the server's
        answer and the mark has it sent again, with the same Message-ID.

        Raises:
            OSError, smtplib.SMTPException: the server cannot be used any more; the message waits for another try.
        """
        broken: Exception | None = None
        with self._database.transaction() as connection:
            now = read_time(connection)
            due = notices.lock_due(connection, now)
            if due is None:
                return False
            try:
                problem = _not_to_be_sent(due, now) or self._send(server, due)
            except (OSError, smtplib.SMTPException) as error:
                problem, code = _why(error), _recipients_code(error)
                if code < _PERMANENT:
                    # One message that the server always breaks off at must not keep all others waiting behind it.
                    _try_again(connection, due, now, problem)
                    broken = error if _is_over(server) else None
                    problem = ""
            else:
                if not problem:
                    notices.mark_delivered(connection, due.notice_id, now)
            if problem:
                notices.mark_given_up(connection, due.notice_id, now, problem)
                logger.error("mail was given up", messages=1, notice=due.notice_id, topic=due.topic, reason=problem)
        if broken is not None:
            raise broken
        return True

    def _send(self, server: MailServer, due: DueNotice) -> str:
        """Send a message. Returns why that can never be, or nothing.

        Raises:
            OSError, smtplib.SMTPException: the server did not take it.
        """
        assert due.contact is not None  # noqa: S101 - asked before
        recipient = Recipient(due.contact.email, due.contact.language, due.token)
        # By the notice and its time: another try has the same id, and a database that was restored has others.
        message_id = f"<{due.notice_id}.{due.created_at.timestamp():.6f}@{self._sender.address.domain}>"
        try:
            message = write(due.topic, due.facts, self._sender, recipient, message_id, due.created_at)
        except (KeyError, TypeError, ValueError) as error:
            return f"it cannot be written: {type(error).__name__}"
        server.begin()
        server.send_message(message, self._sender.address.addr_spec, [due.contact.email])
        return ""


def _not_to_be_sent(due: DueNotice, now: datetime) -> str:
    """Returns why a message is not sent any more; empty if it is."""
    letter = LETTERS.get(due.topic)
    if letter is None:
        return "nothing says what it is about"
    if due.contact is None:
        return "its contact was erased, or is not the one that the registry's log has"
    if due.is_unsubscribed and not letter.is_required:
        return "unsubscribed"
    if due.created_at < now - GIVEN_UP_AFTER:
        return f"it could not be sent in {GIVEN_UP_AFTER.days} days"
    return ""


def _try_again(connection: sa.Connection, due: DueNotice, now: datetime, problem: str) -> None:
    pause = min(FIRST_PAUSE * 2 ** min(due.attempts, 20), LONGEST_PAUSE)
    notices.mark_failed(connection, due.notice_id, due.attempts + 1, now + pause, problem)
    logger.warning("mail was not taken", notice=due.notice_id, attempts=due.attempts + 1, reason=problem)


def _recipients_code(error: Exception) -> int:
    """Returns what the server answered to the recipient; 0 if it was something else that it did not take.

    What it says to a sender or a message may be about how it is set up, and so is never the end of a message.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return int(next(iter(error.recipients.values()))[0])
    return 0


def _is_over(server: smtplib.SMTP) -> bool:
    """Returns whether the connection is closed, as after a reply 421."""
    return server.sock is None


def _why(error: Exception) -> str:
    """What went wrong, without what was sent: an error of signing in may quote it."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
        return f"{code} {_text(said)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{type(error).__name__}: {error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {_text(str(error))}"


def _text(said: bytes | str) -> str:
    """What a server said, as a line, without the addresses that it named: logs keep what the desk may have erased."""
    text = _ADDRESS.sub("...", said.decode(errors="replace") if isinstance(said, bytes) else said)
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:REASON_MAX]
