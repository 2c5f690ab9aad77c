"""Every text of the console and of mail that a translation must have, read from templates and code as by gettext."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from babel.messages.extract import extract_from_dir

SERVICES: Final = Path(__file__).parents[2] / "services"
PLACES: Final = (SERVICES / "console", SERVICES / "mail")

_METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2"), ("templates/**.txt", "jinja2")]
_OPTIONS: Final = {"templates/**.html": {"trimmed": "false", "silent": "false", "extensions": "jinja2.ext.do"}}
_KEYWORDS: Final = {"_": None, "gettext": None, "ngettext": (1, 2), "marked": None, "text": None}


def messages() -> set[str | tuple[str, ...]]:
    """The texts; one with a plural is a pair."""
    found = [each for place in PLACES for each in extract_from_dir(place, _METHODS, _OPTIONS, _KEYWORDS)]
    return {message if isinstance(message, str) else tuple(message) for _, _, message, _, _ in found if message}
