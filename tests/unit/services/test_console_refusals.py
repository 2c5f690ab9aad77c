"""Refusals as a page says them: in its language, with amounts, times and things as its reader calls them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

import pytest

from ledger.errors import (
    AlreadyExistsError,
    Fact,
    InvalidInputError,
    LedgerCorruptError,
    NotFoundError,
    QuotaError,
    Sentence,
    StateError,
    StoreUnavailableError,
    Violation,
)
from moiety import BankAccount, Collective, Pool
from services.console.refusals import speaker_of
from services.console.texts import tongue_of

SHOWN: Final = {"pool": Pool(name="pools/folk", display_name="Folk tunes", currency="EUR")}
ENGLISH, GERMAN = (speaker_of(tongue_of("", language), SHOWN, {}) for language in ("en-GB", "de"))
LOW: Final = "has %(there_minor)s, less than the %(needed_minor)s needed"
REVIEW: Final = "can be approved from %(time)s on, when its review is over"


@pytest.mark.parametrize(
    ("error", "english", "german"),
    [
        (
            StateError(
                "pools/folk/accounts/held/irish", "BALANCE_TOO_LOW", LOW, there_minor=12_345, needed_minor=10**6
            ),
            "Account held/irish: has €123.45, less than the €10,000.00 needed",
            "Konto held/irish: hat 123,45\N{NO-BREAK SPACE}€, und 10.000,00\N{NO-BREAK SPACE}€ sind nötig",
        ),
        (
            StateError("pools/folk/rounds/3", "REVIEW_RUNS", REVIEW, time=datetime(2026, 3, 1, 12, 5, tzinfo=UTC)),
            "Round 3: can be approved from 1 Mar 2026, 12:05 on, when its review is over",
            "Runde 3: kann ab 01.03.2026, 12:05 genehmigt werden, wenn die Prüfung vorbei ist",
        ),
        (
            StateError("pools/folk/rounds/3", "ROUND_DECIDED", "is %(state)s already", state="POSTED"),
            "Round 3: is Posted already",
            "Runde 3: hat schon den Stand: Gebucht",
        ),
        (
            InvalidInputError.of("report.amount_minor", "must be at most %(most)s, got %(got)s", most=5_000, got=7_000),
            "Amount: must be at most €50.00, got €70.00",
            "Betrag: darf höchstens 50,00\N{NO-BREAK SPACE}€ sein, nicht 70,00\N{NO-BREAK SPACE}€",
        ),
        (
            InvalidInputError.of("policy.fee_ppm", "must be at most %(most)s, got %(got)s", most=10**6, got=1_500_000),
            "Fee: must be at most 100%, got 150%",
            "Gebühr: darf höchstens 100\N{NO-BREAK SPACE}% sein, nicht 150\N{NO-BREAK SPACE}%",
        ),
        (
            InvalidInputError.of("pay_run.day", "must be at most %(most)s, got %(got)s", most=30, got=date(2026, 4, 1)),
            "When the bank is to pay: must be at most 30, got 1 Apr 2026",
            "Wann die Bank zahlen soll: darf höchstens 30 sein, nicht 01.04.2026",
        ),
        (NotFoundError("pools/folk"), "Folk tunes does not exist", "Folk tunes gibt es nicht"),
        (NotFoundError("collectives/irish"), "Collective irish does not exist", "Kollektiv irish gibt es nicht"),
        (
            AlreadyExistsError("webhooks/x"),
            "Webhook x exists already, with other content",
            "Webhook x gibt es schon, mit anderem Inhalt",
        ),
        (
            QuotaError("platforms/acme", "reports_a_day", 5, 7_200),
            "This was done as often as it may be. It can be done again in 2 hours.",
            "Das wurde so oft getan, wie es möglich ist. Es geht wieder in 2 Stunden.",
        ),
    ],
)
def test_a_refusal_is_said_in_the_words_of_its_reader(error: Exception, english: str, german: str) -> None:
    assert (ENGLISH.said(error), GERMAN.said(error)) == (english, german)


def test_a_sentence_in_another_is_said_in_the_same_language() -> None:
    why = Sentence("has a period that is not over")
    error = StateError("pools/folk", "NOTHING_TO_DISTRIBUTE", "%(why)s (%(told)s)", why=why, told="2026-03")
    assert GERMAN.said(error) == "Folk tunes: hat einen Zeitraum, der nicht vorbei ist (2026-03)"


def test_what_the_catalogue_lacks_is_said_to_be_the_services_own_words() -> None:
    error = InvalidInputError.of("reason", "is wrong in a way that nobody translated")
    assert ENGLISH.said(error) == "Reason: is wrong in a way that nobody translated"
    assert GERMAN.said(error) == "Grund: In den Worten des Dienstes: is wrong in a way that nobody translated"
    damaged = GERMAN.said(LedgerCorruptError("leaf 3", "has another hash"))
    assert damaged.endswith("In den Worten des Dienstes: leaf 3: has another hash")


def test_what_is_internal_is_not_said() -> None:
    for speaker in (ENGLISH, GERMAN):
        assert "db.internal" not in speaker.said(StoreUnavailableError(reason="no route to db.internal"))
        assert "secret" not in speaker.said(RuntimeError("secret"))


def test_only_the_first_fields_are_named_and_the_others_counted() -> None:
    error = InvalidInputError([Violation("reason", "is required")] * 5, total=9)
    assert GERMAN.said(error).endswith("Grund: ist nötig; und 4 weitere")


def test_a_page_calls_things_as_it_shows_them_and_counts_in_its_currency() -> None:
    def said(values: dict[str, object], form: dict[str, str], **facts: Fact) -> str:
        error = StateError("collectives/irish", "SUM_TOO_LARGE", "has %(left_minor)s left", left_minor=12_345, **facts)
        return speaker_of(tongue_of("", "en-GB"), values, form).said(error)

    irish = Collective(name="collectives/irish", display_name="Irish")
    euro, yen = (BankAccount(name=f"bankAccounts/{code}", currency=code) for code in ("EUR", "JPY"))
    assert said({"a": [irish], "b": "text", "c": None, **SHOWN}, {}) == "Irish: has €123.45 left"
    assert said({"accounts": [euro, euro]}, {}) == "Collective irish: has €123.45 left"
    assert said({"accounts": [euro, yen]}, {}) == "Collective irish: has 12,345 left"
    assert said({"accounts": [euro, yen]}, {}, currency="JPY") == "Collective irish: has JP¥12,345 left"
    assert said({}, {"currency": " jpy "}) == "Collective irish: has JP¥12,345 left"
    assert said({}, {"currency": "xxxx"}) == "Collective irish: has 12,345 left"
