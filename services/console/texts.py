"""What pages say, by gettext: English is in the templates, other languages are in `locales`."""

from __future__ import annotations

import gettext
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from babel import Locale, UnknownLocaleError
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES: Final = {"en": "English", "de": "Deutsch"}
"""Languages that the console has, each by its own name."""

LOCALES: Final = Path(__file__).parent / "locales"


def marked(text: str) -> str:
    """Mark a text for translation where it is written; it is translated where it is shown."""
    return text


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Returns the texts of a language, from its file as translators write it."""
    path = LOCALES / f"{language}.po"
    if language == "en":
        return gettext.NullTranslations()
    with path.open("rb") as file:
        catalog = read_po(file, locale=language, abort_invalid=True)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


@dataclass(frozen=True, slots=True)
class Tongue:
    """How a reader is spoken to.

    Attributes:
        language: one of LANGUAGES.
        locale: how dates and numbers are written: the reader's own, where it is one of that language.
    """

    language: str
    locale: Locale

    def text(self, message: str) -> str:
        """Returns a text in the language."""
        return translations(self.language).gettext(message)

    def has(self, message: str) -> bool:
        """Whether the language says a text in its own words."""
        return self.language == "en" or self.text(message) is not message


@cache
def tongue_of(chosen: str, accepted: str) -> Tongue:
    """Returns how to speak to a reader.

    Args:
        chosen: the language that they chose, or nothing.
        accepted: their browser's `Accept-Language`.
    """
    asked = _by_preference(accepted)
    language = chosen if chosen in LANGUAGES else next((tag[:2] for tag in asked if tag[:2] in LANGUAGES), "en")
    for tag in asked:
        if tag[:2] == language:
            try:
                return Tongue(language, Locale.parse(tag, sep="-"))
            except (ValueError, UnknownLocaleError):
                continue
    return Tongue(language, Locale.parse("en_GB" if language == "en" else language))


_MOST_TAGS: Final = 10


def _by_preference(accepted: str) -> list[str]:
    weighed = []
    for part in accepted[:200].split(",")[:_MOST_TAGS]:
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        if tag.replace("-", "").isalnum() and tag.isascii():
            head, _, rest = tag.partition("-")
            weighed.append((-weight, f"{head.lower()}-{rest}" if rest else head.lower()))
    return [tag for _, tag in sorted(weighed, key=lambda each: each[0])]
