"""The console's languages: no text is missing, none is left over, and each names what its English names."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from ledger.errors import InvalidInputError, StateError
from moiety import Checkpoint
from services.api.calls.errors import _TABLE
from services.console.pages import environment
from services.console.refusals import SAID
from services.console.texts import LANGUAGES, LOCALES, tongue_of, translations
from tests.support.texts import messages, sentences

TRANSLATED: Final = sorted(LANGUAGES.keys() - {"en"})
_NAMED: Final = re.compile(r"%\([a-z_]+\)[rs]")


def catalog_of(language: str) -> Catalog:
    with (LOCALES / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_is_missing_and_none_is_left_over(language: str) -> None:
    wanted = messages()
    assert len(wanted) > 300
    assert {each.id for each in catalog_of(language) if each.id} == wanted


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_said_and_names_what_its_english_names(language: str) -> None:
    for each in catalog_of(language):
        if not each.id:
            continue
        originals = [each.id] if isinstance(each.id, str) else list(each.id)
        said = [each.string] if isinstance(each.string, str) else list(each.string or ())
        assert not each.fuzzy, each.id
        assert all(said), each.id
        assert {tuple(sorted(_NAMED.findall(text))) for text in said} == {
            tuple(sorted(_NAMED.findall(text))) for text in originals
        }, each.id


def test_what_a_form_is_refused_by_is_written_so_that_catalogues_can_have_it() -> None:
    """A sentence that is put together where it is said is one that no translation has: its facts are to be apart."""
    found = list(sentences())
    assert len(found) > 200
    assert [place for place, text in found if text is None] == []


def test_every_reason_without_a_sentence_of_its_own_is_said() -> None:
    reasons = {reason for kind, _, reason, _ in _TABLE if not issubclass(kind, InvalidInputError | StateError)}
    assert SAID.keys() == reasons | {"INTERNAL"}


@pytest.mark.parametrize(
    ("accepted", "language", "locale"),
    [
        ("", "en", "en_GB"),
        ("de", "de", "de"),
        ("de-CH,de;q=0.9,en;q=0.8", "de", "de_CH"),
        ("fr-FR,fr;q=0.9,de;q=0.2", "de", "de"),
        ("fr", "en", "en_GB"),
        ("en-US,de;q=0.5", "en", "en_US"),
        ("de;q=0.1,en-US;q=0.9", "en", "en_US"),
        ("de;q=x, */*, <script>", "en", "en_GB"),
        ("de-" + "x" * 5_000, "de", "de"),
    ],
)
def test_a_reader_is_spoken_to_as_their_browser_asks(accepted: str, language: str, locale: str) -> None:
    tongue = tongue_of("", accepted)
    assert (tongue.language, str(tongue.locale)) == (language, locale)


def test_what_a_reader_chose_counts_more() -> None:
    assert tongue_of("de", "en-US,en").language == "de"
    assert tongue_of("xx", "de").language == "de"


def test_a_plural_is_said_as_its_language_says_it() -> None:
    german = translations("de")
    assert german.ngettext("One thing waits.", "%(num)s things wait.", 1) == "Eines wartet."
    assert german.ngettext("One thing waits.", "%(num)s things wait.", 2) % {"num": 2} == "2 warten."


@pytest.mark.parametrize(
    ("language", "one", "many"),
    [
        ("en-GB", "The log's first entry was signed on", "The log's first 1,001 entries were signed on"),
        ("de-DE", "Der erste Eintrag des Logs wurde am", "Die ersten 1.001 Einträge des Logs wurden am"),
    ],
)
def test_one_is_one_and_many_are_grouped(language: str, one: str, many: str) -> None:
    tongue = tongue_of("", language)
    template = "{% import 'parts.html' as p with context %}{{ p.evidence(checkpoint, '') }}"
    for size, told in ((1, one), (1_001, many)):
        shown = environment(tongue.language).from_string(template)
        assert told in unescape(shown.render(tongue=tongue, checkpoint=Checkpoint(size=size)))
