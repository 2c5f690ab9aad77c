"""What mail says: for each topic a subject and a few sentences, in the reader's language, as text and as HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from babel.dates import format_date, format_time

from services.console.texts import LANGUAGES, Tongue, marked, tongue_of

TEMPLATES: Final = Path(__file__).parent / "templates"

SUBJECT_MAX: Final = 150
"""Longer subjects are cut: a hostile name must not push what matters out of sight, nor a header over its limits."""

_NO_TEXT: Final = re.compile(r"[^\S ]|[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069]+")
"""What ends lines, or makes text read otherwise than it is written."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What mail about a topic says; `path` is the page of the console that has more."""

    subject: str
    sentences: tuple[str, ...]
    path: str
    is_required: bool = False
    """Whether nobody can unsubscribe from it."""


ROUND: Final = "round"
ANSWER: Final = "answer"
PAID: Final = "paid"
NOT_PAID: Final = "not_paid"
RETURNED: Final = "returned"
PAYEE: Final = "payee"
CONTACT: Final = "contact"
INBOX: Final = "inbox"
LATE: Final = "late"

_UNEXPECTED: Final = marked(
    "If you did not expect this, tell the operators now, in another way than by answering this message."
)

LETTERS: Final[Mapping[str, Letter]] = {
    ROUND: Letter(
        marked("Round %(round)s of %(pool)s is in review"),
        (
            marked("Round %(round)s of %(pool)s was calculated, and you are in it."),
            marked("Until %(until)s you can look at your statement, and object to it."),
        ),
        "/pools/%(id)s/rounds/%(round)s",
    ),
    ANSWER: Letter(
        marked("Your objection to round %(round)s of %(pool)s was answered"),
        (marked("An operator answered your objection. The answer and its reason are on the round's page."),),
        "/pools/%(id)s/rounds/%(round)s",
    ),
    PAID: Letter(
        marked("You were paid"),
        (marked("A payment to you was made. The amount is on your page of payments."),),
        "/payments",
    ),
    NOT_PAID: Letter(
        marked("A payment to you was not made"),
        (
            marked("The bank did not make a payment to you. The amount is owed to you as before."),
            marked("Please check the account that you are paid to."),
        ),
        "/payments",
    ),
    RETURNED: Letter(
        marked("A payment to you came back"),
        (
            marked("The bank sent a payment to you back. The amount is owed to you again."),
            marked("Please check the account that you are paid to."),
        ),
        "/payments",
    ),
    PAYEE: Letter(
        marked("The account that you are paid to was changed"),
        (
            marked("%(by)s changed the account to which %(principal)s is paid."),
            marked("Nothing is paid to the new account for %(days)s days."),
            _UNEXPECTED,
        ),
        "/payments",
        is_required=True,
    ),
    CONTACT: Letter(
        marked("The address for messages to you was changed"),
        (
            marked("%(by)s changed the address at which %(principal)s gets messages like this one."),
            _UNEXPECTED,
        ),
        "/",
        is_required=True,
    ),
    INBOX: Letter(
        marked("Something waits for you"),
        (
            marked(
                "A proposal, a round, an objection or money of which nobody knows whose it is waits for an operator. "
                "Your inbox lists what waits."
            ),
        ),
        "/inbox",
    ),
    LATE: Letter(
        marked("A round of %(pool)s is late"),
        (
            marked("By its schedule a round was due on %(until)s, and it was not calculated."),
            marked("The log of `moiety schedule` says what kept it."),
        ),
        "/pools/%(id)s/terms",
    ),
}  # fmt: skip
"""By topic. Amounts are in none of them: whoever carries mail can read it."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who writes: an address, and how browsers reach the console (empty if nobody said)."""

    address: Address
    console: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is written to: an address, a language, and what their link to unsubscribe has."""

    email: str
    language: str
    token: str


def write(
    topic: str, facts: Mapping[str, Any], sender: Sender, recipient: Recipient, message_id: str, at: datetime
) -> EmailMessage:
    """Returns a message: multipart/alternative of text and HTML, with a one-click link to unsubscribe (RFC 8058).

    Nothing in `facts` can add a header, a recipient or markup: no header keeps a line break, addresses are checked
    where they are set, and HTML is escaped.

    Raises:
        KeyError: there is no such topic, or a fact that its text names is missing.
    """
    letter = LETTERS[topic]
    tongue = tongue_of(recipient.language if recipient.language in LANGUAGES else "en", "")
    named = _named(facts, tongue)
    subject = _line(tongue.text(letter.subject) % named)[:SUBJECT_MAX]
    leave = f"{sender.console}/unsubscribe/{recipient.token}" if sender.console and not letter.is_required else ""
    shown = {
        "language": tongue.language,
        "subject": subject,
        "sentences": [_line(tongue.text(sentence) % named) for sentence in letter.sentences],
        "link": sender.console + letter.path % named if sender.console else "",
        "leave": leave,
        "is_required": letter.is_required,
        "text": tongue.text,
    }
    message = EmailMessage()
    message["From"] = sender.address
    message["To"] = Address(addr_spec=recipient.email)
    message["Subject"] = subject
    message["Date"] = format_datetime(at.astimezone(UTC))
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # no mailbox answers it that it is away (RFC 3834)
    if leave:
        message["List-Unsubscribe"] = f"<{leave}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(_templates().get_template("letter.txt").render(shown))
    message.add_alternative(_templates().get_template("letter.html").render(shown), subtype="html")
    message["Content-Language"] = tongue.language  # set before, it would be the first part's
    return message


def _named(facts: Mapping[str, Any], tongue: Tongue) -> dict[str, Any]:
    """Returns facts as people read them: `until`, a time in ISO 8601, in the reader's language."""
    named = dict(facts)
    if "until" in named:
        until = datetime.fromisoformat(named["until"])
        day, time = format_date(until, "long", locale=tongue.locale), format_time(until, "short", locale=tongue.locale)
        named["until"] = f"{day}, {time} UTC"
    return named


def _line(text: str) -> str:
    """Returns a text as one line, without anything that turns it into more or into another."""
    return " ".join(_NO_TEXT.sub(" ", text).split())


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
