"""What handlers say against something, said to a reader: in their language, by what forms and pages call things.

An error has its sentence and what that names (`ledger.errors.Sentence`); the catalogue has the sentence in other
languages, as it has every text. What has none there is said in the service's own words, and said to be that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from babel.dates import format_date
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from ledger.errors import (
    AlreadyExistsError,
    Fact,
    InvalidInputError,
    NotFoundError,
    QuotaError,
    Sentence,
    StateError,
)
from ledger.money import is_currency
from services.api.calls.errors import status_of
from services.console.formats import count_text, duration_text, factor_text, moment_text, money_text, percent_text
from services.console.labels import LABELS, STATES
from services.console.naming import FACTORS, THINGS, field_label
from services.console.texts import Tongue, marked

SHOWN: Final = 5
"""Fields that are named of those that a form has wrong."""

_DAMAGED: Final = marked("What is stored here is damaged, and an operator has to look into it.")
_LATER: Final = marked("Too much is asked of the service at the moment. Please try again.")

SAID: Final[Mapping[str, str]] = {
    "NOT_FOUND": marked("%(what)s does not exist"),
    "ALREADY_EXISTS": marked("%(what)s exists already, with other content"),
    "LOST_RACE": marked("Somebody else changed this at the same time. Please try again."),
    "BUSY": marked("Somebody else is changing this at the moment. Please try again."),
    "LEDGER_CORRUPT": _DAMAGED,
    "PROOF_REFUSED": _DAMAGED,
    "FORMAT_REFUSED": _DAMAGED,
    "SIGNATURE_REFUSED": _DAMAGED,
    "DATABASE_UNFIT": marked("The database lacks something that the service needs, and an operator has to mend it."),
    "DATABASE_AWAY": marked("The database cannot be reached at the moment. Please try again."),
    "QUOTA_USED_UP": marked("This was done as often as it may be. It can be done again in %(time)s."),
    "MESSAGE_TOO_LARGE": marked("What was sent is too large."),
    "STOPPING": _LATER,
    "STREAM_SHED": _LATER,
    "OVERLOADED": _LATER,
    "NO_ROOM": _LATER,
    "TOO_MANY_STREAMS": _LATER,
    "UNAUTHENTICATED": marked("The key by which you signed in holds no longer. Please sign in again."),
    "PERMISSION_DENIED": marked("This is not for you to see or to do."),
    "INTERNAL": marked("Something went wrong here."),
}
"""By the reason of an error that has no sentence with facts."""

_IN_DETAIL: Final = frozenset({_DAMAGED, SAID["DATABASE_UNFIT"]})
"""What whoever looks into it needs the service's own words about."""


_AS_IT_IS: Final = frozenset({"got", "choices", "known", "pattern"})
"""Facts that name no things: what was sent, and what may be."""

_PARTS: Final = re.compile("[/ ]")
"""What is between the parts of a name: `pools/folk/rounds/3`, and of a bank's, `statement 17`."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says refusals to a reader.

    Attributes:
        tongue: how the reader is spoken to.
        names: what the page calls things, by their resource names.
        currency: of the amounts on the page; empty where it has none, or several.
    """

    tongue: Tongue
    names: Mapping[str, str] = field(default_factory=dict)
    currency: str = ""

    def said(self, error: Exception) -> str:
        """Returns what an error says, without anything internal."""
        if isinstance(error, InvalidInputError):
            return self._violations(error)
        if isinstance(error, StateError):
            return f"{self._thing(error.subject)}: {self.sentence(error.detail)}"
        status, info = status_of(error, ""), error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        facts: dict[str, str] = {}
        if isinstance(error, NotFoundError | AlreadyExistsError):
            facts = {"what": self._thing(error.resource)}
        elif isinstance(error, QuotaError):
            facts = {"time": duration_text(error.wait_seconds, self.tongue.locale)}
        text = SAID[info.reason]
        told = self.tongue.text(text) % facts
        return f"{told} {self._own_words(status.message)}" if text in _IN_DETAIL else told

    def _violations(self, error: InvalidInputError) -> str:
        shown = [
            f"{field_label(self.tongue, each.field)}: {self.sentence(each.reason, each.field)}"
            for each in error.violations[:SHOWN]
        ]
        if error.total > len(shown):
            shown.append(self.tongue.text("and %(more)s more") % {"more": error.total - len(shown)})
        return "; ".join(shown)

    def sentence(self, said: str, of: str = "") -> str:
        """Returns a sentence, said of a field or of something else, in the reader's language."""
        sentence = Sentence(said)
        if not self.tongue.has(sentence.text):
            return self._own_words(said)
        currency = str(sentence.facts.get("currency", self.currency))
        facts = {name: self._fact(name, fact, of, currency) for name, fact in sentence.facts.items()}
        text = self.tongue.text(sentence.text)
        return text % facts if facts else text

    def _own_words(self, said: str) -> str:
        return self.tongue.text("In the service's own words: %(words)s") % {"words": said}

    def _fact(self, name: str, fact: Fact, of: str, currency: str) -> str:
        """A fact, said of a field or of something else."""
        match fact:
            case Sentence():
                return self.sentence(fact)
            case str():
                return fact if name in _AS_IT_IS else ", ".join(map(self._thing, fact.split(", ")))
            case datetime():
                return moment_text(fact, self.tongue.locale)
            case date():
                return str(format_date(fact, "medium", locale=self.tongue.locale))
        return self._number(fact, name if name.endswith("_minor") else of.rpartition(".")[2], currency)

    def _number(self, fact: int, unit: str, currency: str) -> str:
        """A number, in the unit that a name of it says."""
        locale = self.tongue.locale
        if unit.endswith("_minor") and currency:
            return money_text(fact, currency, locale)
        if unit in FACTORS:
            return factor_text(fact, locale)
        return percent_text(fact, locale) if unit.endswith("_ppm") else count_text(fact, locale)

    def _thing(self, name: str) -> str:
        """What a thing is called: as the page calls it, or what it is, with its id; any other text as it is."""
        if name in self.names:
            return self.names[name]
        known = next((LABELS[each] for each in (name, *(f"{kind}_{name}" for kind in STATES)) if each in LABELS), "")
        if known or name in THINGS:
            return self.tongue.text(known or THINGS[name])
        _, is_account, account = name.partition("/accounts/")
        kind, identity = ("accounts", account) if is_account else ("", *_PARTS.split(name))[-2:]
        if identity in THINGS:  # of which each has one, such as a schedule
            return self.tongue.text(THINGS[identity])
        return f"{self.tongue.text(THINGS[kind])} {identity}" if kind in THINGS and identity != "*" else name


def speaker_of(tongue: Tongue, values: Mapping[str, Any], form: Mapping[str, str]) -> Speaker:
    """Returns who speaks to a reader of a page: it knows what the page calls things, and what its amounts are in.

    Args:
        tongue: how the reader is spoken to.
        values: what the page shows: messages, lists of them and anything else.
        form: what its form was sent with.
    """
    names, currencies = {}, set()
    for each in _messages_in(values):
        if getattr(each, "display_name", ""):
            names[each.name] = each.display_name
        currencies.add(getattr(each, "currency", ""))
    typed = form.get("currency", "").strip().upper()
    found = currencies - {""} or {typed} & {typed if is_currency(typed) else ""}
    return Speaker(tongue, names, found.pop() if len(found) == 1 else "")


def _messages_in(values: Mapping[str, Any]) -> Iterator[Any]:
    for value in values.values():
        for each in value if isinstance(value, Sequence) and not isinstance(value, str) else (value,):
            if isinstance(each, Message):
                yield each
