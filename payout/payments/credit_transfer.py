"""Payment files for banks: pain.001.001.09 of ISO 20022, and the same as CSV. The same payments give the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from xml.etree import ElementTree as ET

from ledger.money import MAX_AMOUNT_MINOR, decimal_text, minor_unit_exponent
from payout.payments.details import AccountDetails

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"

_SEPA_CURRENCY: Final = "EUR"

MAX_SEPA_MINOR: Final = 99_999_999_999
"""Of a SEPA credit transfer: 999,999,999.99 EUR, by the EPC's rulebook. A bank rejects the file of a larger one."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment: how much, to whom, and the id by which it comes back."""

    end_to_end_id: str
    amount_minor: int
    payee: AccountDetails
    text: str


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """Payments from one account, in one currency, on one day.

    Attributes:
        run: the id of the pay run, which is the message's.
        created_at: when the run was decided.
        day: when the bank is to pay.
        debtor: the account that pays.
        payments: by end-to-end id; at least one.
    """

    run: str
    created_at: datetime
    day: date
    debtor: AccountDetails
    payments: Sequence[Payment]

    @property
    def total_minor(self) -> int:
        """The amount of all payments."""
        return sum(payment.amount_minor for payment in self.payments)


def largest_minor(payee: AccountDetails) -> int:
    """Returns the most that a bank takes as one payment to an account, in minor units."""
    return MAX_SEPA_MINOR if payee.iban and payee.currency == _SEPA_CURRENCY else MAX_AMOUNT_MINOR


def render_pain001(file: PaymentFile) -> bytes:
    """Returns the file as pain.001.001.09, with structured addresses and as many decimals as the currency has."""
    exponent = minor_unit_exponent(file.debtor.currency)
    root = ET.Element("Document", xmlns=NAMESPACE)
    message = ET.SubElement(root, "CstmrCdtTrfInitn")
    count, total = str(len(file.payments)), decimal_text(file.total_minor, exponent)
    header = ET.SubElement(message, "GrpHdr")
    _texts(header, MsgId=file.run, CreDtTm=file.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"), NbOfTxs=count, CtrlSum=total)
    _texts(ET.SubElement(header, "InitgPty"), Nm=file.debtor.holder)
    payments = ET.SubElement(message, "PmtInf")
    # Not booked as a batch: a statement then has a line for each payment.
    _texts(payments, PmtInfId=file.run, PmtMtd="TRF", BtchBookg="false", NbOfTxs=count, CtrlSum=total)
    if _is_sepa(file):
        level = ET.SubElement(ET.SubElement(payments, "PmtTpInf"), "SvcLvl")
        _texts(level, Cd="SEPA")
    _texts(ET.SubElement(payments, "ReqdExctnDt"), Dt=file.day.isoformat())
    _party(payments, "Dbtr", file.debtor)
    _account(payments, "DbtrAcct", file.debtor)
    _agent(payments, "DbtrAgt", file.debtor, required=True)
    _texts(payments, ChrgBr="SLEV" if _is_sepa(file) else "SHAR")
    for payment in file.payments:
        _transfer(payments, payment, file.debtor.currency, exponent)
    ET.indent(root, " ")
    written: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written + b"\n"


def render_csv(file: PaymentFile) -> bytes:
    """Returns the file as CSV, for banks that take no pain.001: a header, then a line for each payment."""
    exponent = minor_unit_exponent(file.debtor.currency)
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\r\n")
    lines.writerow(_COLUMNS)
    for payment in file.payments:
        payee = payment.payee
        row = (
            payment.end_to_end_id, decimal_text(payment.amount_minor, exponent), file.debtor.currency,
            file.day.isoformat(), payee.holder, payee.street, payee.building, payee.postcode, payee.town, payee.country,
            payee.iban, payee.account, payee.bic, payment.text,
        )  # fmt: skip
        lines.writerow([_unlike_a_formula(text) for text in row])
    return written.getvalue().encode()


_COLUMNS: Final = (
    "end_to_end_id", "amount", "currency", "day", "holder", "street", "building", "postcode", "town", "country", "iban",
    "account", "bic", "text",
)  # fmt: skip


def _unlike_a_formula(text: str) -> str:
    """A holder may choose any name, and a spreadsheet would carry out one that begins like a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _is_sepa(file: PaymentFile) -> bool:
    accounts = [file.debtor, *(payment.payee for payment in file.payments)]
    return file.debtor.currency == _SEPA_CURRENCY and all(account.iban for account in accounts)


def _transfer(parent: ET.Element, payment: Payment, currency: str, exponent: int) -> None:
    transfer = ET.SubElement(parent, "CdtTrfTxInf")
    _texts(ET.SubElement(transfer, "PmtId"), EndToEndId=payment.end_to_end_id)
    amount = ET.SubElement(ET.SubElement(transfer, "Amt"), "InstdAmt", Ccy=currency)
    amount.text = decimal_text(payment.amount_minor, exponent)
    _agent(transfer, "CdtrAgt", payment.payee)
    _party(transfer, "Cdtr", payment.payee)
    _account(transfer, "CdtrAcct", payment.payee)
    _texts(ET.SubElement(transfer, "RmtInf"), Ustrd=payment.text)


def _party(parent: ET.Element, tag: str, details: AccountDetails) -> None:
    party = ET.SubElement(parent, tag)
    _texts(party, Nm=details.holder)
    address = ET.SubElement(party, "PstlAdr")
    parts = {
        "StrtNm": details.street, "BldgNb": details.building, "PstCd": details.postcode, "TwnNm": details.town,
        "Ctry": details.country,
    }  # fmt: skip
    _texts(address, **{name: text for name, text in parts.items() if text})


def _account(parent: ET.Element, tag: str, details: AccountDetails) -> None:
    account = ET.SubElement(ET.SubElement(parent, tag), "Id")
    if details.iban:
        _texts(account, IBAN=details.iban)
    else:
        _texts(ET.SubElement(account, "Othr"), Id=details.account)


def _agent(parent: ET.Element, tag: str, details: AccountDetails, *, required: bool = False) -> None:
    if not (details.bic or required):
        return
    bank = ET.SubElement(ET.SubElement(parent, tag), "FinInstnId")
    if details.bic:
        _texts(bank, BICFI=details.bic)
    else:
        _texts(ET.SubElement(bank, "Othr"), Id="NOTPROVIDED")


def _texts(parent: ET.Element, **texts: str) -> None:
    for tag, text in texts.items():
        ET.SubElement(parent, tag).text = text
