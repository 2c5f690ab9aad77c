"""Payment files: valid against the schema, with the currency's decimals, and the same bytes each time."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from sepaxml.validation import try_valid_xml

from payout.payments.credit_transfer import Payment, PaymentFile, render_csv, render_pain001
from payout.payments.details import AccountDetails

SCHEMA: Final = "pain.001.001.09"
OURS: Final = AccountDetails(
    holder="Moiety & Søn <e.V.>", street="Gate", building="3", postcode="0150", town="Oslo", country="NO",
    currency="EUR", iban="DE89370400440532013000", bic="COBADEFFXXX",
)  # fmt: skip
IRISH: Final = AccountDetails(
    holder="=cmd()", town="Dublin", country="IE", currency="EUR", iban="IE29AIBK93115212345678"
)


def file_of(*amounts: int, debtor: AccountDetails = OURS, payee: AccountDetails = IRISH) -> PaymentFile:
    payments = [
        Payment(f"jan-{place:07d}", amount, payee, f"Moiety jan-{place:07d}") for place, amount in enumerate(amounts, 1)
    ]
    return PaymentFile("jan", datetime(2026, 1, 4, 5, 6, 7, tzinfo=UTC), date(2026, 1, 5), debtor, payments)


def test_a_file_is_valid_and_says_what_it_should() -> None:
    written = render_pain001(file_of(1234, 1))
    try_valid_xml(written, SCHEMA)
    root = ET.fromstring(written)
    texts = {element.tag.rpartition("}")[2]: element.text for element in root.iter()}
    assert (texts["NbOfTxs"], texts["CtrlSum"], texts["BtchBookg"]) == ("2", "12.35", "false")
    assert [element.text for element in root.iter() if element.tag.endswith("InstdAmt")] == ["12.34", "0.01"]
    assert (texts["TwnNm"], texts["Ctry"], texts["Dt"]) == ("Dublin", "IE", "2026-01-05")


def test_the_same_payments_give_the_same_bytes() -> None:
    assert render_pain001(file_of(1, 2, 3)) == render_pain001(file_of(1, 2, 3))
    assert render_csv(file_of(1, 2, 3)) == render_csv(file_of(1, 2, 3))


@pytest.mark.parametrize(("currency", "text"), [("JPY", "1234"), ("KWD", "1.234"), ("CLF", "0.1234")])
def test_amounts_have_the_decimals_of_their_currency(currency: str, text: str) -> None:
    account = replace(OURS, iban="", account="0012345", bic="BOTKJPJT", currency=currency)
    file = file_of(1234, debtor=account, payee=account)
    written = render_pain001(file)
    try_valid_xml(written, SCHEMA)
    assert f'Ccy="{currency}">{text}<'.encode() in written
    (line,) = csv.DictReader(io.StringIO(render_csv(file).decode()))
    assert (line["amount"], line["currency"], line["account"]) == (text, currency, "0012345")


def test_a_holder_s_name_is_no_formula_in_a_spreadsheet() -> None:
    (line,) = csv.DictReader(io.StringIO(render_csv(file_of(5)).decode()))
    assert line["holder"] == "'=cmd()"


def test_only_ibans_in_euros_go_by_sepa() -> None:
    assert b"<Cd>SEPA</Cd>" in render_pain001(file_of(1))
    other = replace(IRISH, iban="", account="12", bic="BOTKJPJT")
    assert b"SEPA" not in render_pain001(file_of(1, payee=other))
