"""Bank accounts: what is no account is refused, and no error quotes a number."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from ledger.errors import InvalidInputError, LedgerCorruptError
from payout.payments.details import AccountDetails, SaltedDetails

SOUND: Final = AccountDetails(
    holder="An Irish Collective", town="Dublin", country="IE", currency="EUR", iban="IE29AIBK93115212345678"
)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"holder": ""}, "details.holder"),
        ({"holder": "x" * 71}, "details.holder"),
        ({"holder": "a\nb"}, "details.holder"),
        ({"town": ""}, "details.town"),
        ({"country": "ie"}, "details.country"),
        ({"country": "IRL"}, "details.country"),
        ({"currency": "XXX"}, "details.currency"),
        ({"currency": "euro"}, "details.currency"),
        ({"iban": ""}, "details.iban"),
        ({"iban": "IE29AIBK93115212345679"}, "details.iban"),
        ({"iban": "IE29 AIBK 9311 5212 3456 78"}, "details.iban"),
        ({"iban": "ie29aibk93115212345678"}, "details.iban"),
        ({"iban": "IE29"}, "details.iban"),
        ({"iban": "%00" * 5}, "details.iban"),
        ({"account": "123"}, "details.iban"),
        ({"iban": "", "account": "123"}, "details.bic"),
        ({"bic": "NOBIC"}, "details.bic"),
        ({"smallest_minor": 0}, "details.smallest_minor"),
        ({"street": "x" * 71}, "details.street"),
    ],
)
def test_what_is_no_account_is_refused(changed: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        replace(SOUND, **changed)  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [field]
    said = [changed.get("iban"), changed.get("bic")]
    assert not any(each and each in str(caught.value) for each in said)  # logs have what errors say


def test_an_account_without_an_iban_names_its_bank() -> None:
    japanese = replace(SOUND, iban="", account="0012345", bic="BOTKJPJT", currency="JPY")
    assert japanese.number == "0012345"


def test_a_hash_says_nothing_without_its_salt() -> None:
    one, other = SaltedDetails(b"1" * 32, SOUND), SaltedDetails(b"2" * 32, SOUND)
    assert one.hash() != other.hash()
    assert SaltedDetails.from_bytes(one.to_bytes()) == one


@pytest.mark.parametrize("document", [b"", b"[]", b'{"salt":"00"}', b'{"salt":"00","details":{"holder":"x"}}', b"\xff"])
def test_what_was_not_put_there_is_not_read(document: bytes) -> None:
    with pytest.raises(LedgerCorruptError):
        SaltedDetails.from_bytes(document)


def test_people_see_enough_of_a_number_to_recognise_it() -> None:
    assert SOUND.masked() == "IE29…5678"
    assert replace(SOUND, iban="", account="12345678", bic="BOTKJPJT").masked() == "…"
