"""Sentences of errors: what they say, and their facts apart."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime

from ledger.errors import InvalidInputError, Sentence, StateError


def test_a_sentence_says_its_facts_and_has_them_apart() -> None:
    said = Sentence("has %(left_minor)s of %(got)r", left_minor=12_345, got="x'y")
    assert said == 'has 12,345 minor units of "x\'y"'
    assert (said.text, said.facts) == ("has %(left_minor)s of %(got)r", {"left_minor": 12_345, "got": "x'y"})
    when = Sentence("from %(time)s, %(day)s", time=datetime(2026, 3, 1, 12, tzinfo=UTC), day=date(2026, 4, 1))
    assert when == "from 2026-03-01 12:00:00 UTC, 2026-04-01"


def test_a_sentence_without_facts_is_as_it_is_written() -> None:
    assert Sentence("is 100% wrong, %(so)s") == "is 100% wrong, %(so)s"
    assert Sentence(Sentence("is %(most)s", most=1_000)).facts == {"most": 1_000}


def test_errors_keep_the_facts_of_their_sentences_between_processes() -> None:
    state: StateError = pickle.loads(pickle.dumps(StateError("pools/folk", "OPEN", "has %(more)s more", more=3)))
    assert (str(state), state.detail.facts) == ("pools/folk: has 3 more", {"more": 3})


def test_a_violation_says_its_facts() -> None:
    refused = InvalidInputError.of("amount_minor", "must be at most %(most)s, got %(got)s", most=5, got=7)
    assert str(refused) == "amount_minor: must be at most 5, got 7"
    assert Sentence(refused.violations[0].reason).facts == {"most": 5, "got": 7}
