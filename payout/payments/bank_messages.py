"""What banks send: pain.002.001.10 (status), camt.053.001.08 (statement) and camt.054.001.08 (notification).

A file is bounded in bytes and in depth, and one with a DTD or an entity is refused before it is read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as Defused

from ledger.errors import Fact, InvalidInputError, Sentence
from ledger.money import MAX_AMOUNT_MINOR, minor_unit_exponent
from payout.payments.reasons import in_words

MAX_BYTES: Final = 4 * 2**20
"""As in a message of the API. A line of a statement takes half a kilobyte to two."""

MAX_DEPTH: Final = 40
"""The deepest of these messages are some 15 levels deep."""

MAX_MARKS: Final = 300_000
"""Tags and attributes. Banks need some 17 bytes for each; an element in four bytes takes a hundred to hold."""

MAX_LINES: Final = 100_000
"""Entries of a statement."""

MAX_MOVED_MINOR: Final = 100 * MAX_AMOUNT_MINOR
"""Credits of a file, and its debits: a pool books all of a statement or nothing, and its accounts have an end."""

MAX_TEXT: Final = 140
"""Of what banks and payers write."""

FIELD: Final = "content"
"""Errors name it."""

_NAMESPACE: Final = re.compile(r"\{urn:iso:std:iso:20022:tech:xsd:([a-z]{4}\.\d{3}\.\d{3}\.\d{2})\}Document")
_AMOUNT: Final = re.compile(r"(\d{1,18})(?:\.(\d{1,6}))?")


class Message(StrEnum):
    """The kinds of message that are read."""

    STATUS = "pain.002.001.10"
    STATEMENT = "camt.053.001.08"
    NOTIFICATION = "camt.054.001.08"


@dataclass(frozen=True, slots=True)
class Status:
    """What a bank says of one payment; `end_to_end_id` is empty if it is of all payments of the message."""

    end_to_end_id: str
    rejected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What a bank says of a payment file. `original` is the id of that file's message."""

    message_id: str
    original: str
    day: date
    statuses: tuple[Status, ...]

    @property
    def kind(self) -> str:
        """The message that it is."""
        return Message.STATUS.value


@dataclass(frozen=True, slots=True)
class Line:
    """One movement of an account: a transaction of an entry, or an entry without any.

    Attributes:
        amount_minor: above zero for a credit, below zero for a debit.
        end_to_end_id: as it came; empty or NOTPROVIDED for none.
        batch: the id of the payment file of which this is the whole, where the bank booked it as one.
        references: what the payer wrote, structured and free, in capitals and without spaces.
        reason: of a return, in words; empty if it is none.
        is_charge: whether it is a charge of the bank's own.
        bank_reference: what the bank calls it.
        entry: what the bank calls the entry that it is of, in statements and notifications alike; empty for none.
    """

    amount_minor: int
    day: date
    end_to_end_id: str = ""
    batch: str = ""
    references: tuple[str, ...] = ()
    reason: str = ""
    is_return: bool = False
    is_charge: bool = False
    bank_reference: str = ""
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """An account's movements between two balances, all booked."""

    message_id: str
    account: str
    currency: str
    opening_minor: int
    closing_minor: int
    from_day: date
    day: date
    lines: tuple[Line, ...]

    @property
    def kind(self) -> str:
        """The message that it is."""
        return Message.STATEMENT.value


@dataclass(frozen=True, slots=True)
class Notification:
    """Movements that a bank tells of before its statement, or beside it, since a statement may only sum them up."""

    message_id: str
    account: str
    currency: str
    day: date
    lines: tuple[Line, ...]

    @property
    def kind(self) -> str:
        """The message that it is."""
        return Message.NOTIFICATION.value


BankMessage = StatusReport | Statement | Notification


def read_message(content: bytes) -> BankMessage:
    """Returns what a bank's file says.

    Raises:
        InvalidInputError: it is too large or too deep, not XML, has a DTD or an entity, is another message, or says
            something that cannot be, such as bookings that do not sum to the difference of the balances.
    """
    if len(content) > MAX_BYTES:
        raise _refused("must have at most %(most)s bytes, got %(got)s", most=MAX_BYTES, got=len(content))
    marks = content.count(b"<") + content.count(b"=")
    if marks > MAX_MARKS:
        raise _refused("must have at most %(most)s tags and attributes, got %(got)s", most=MAX_MARKS, got=marks)
    kind, root = _parsed(content)
    return _READERS[kind](root)


def _parsed(content: bytes) -> tuple[Message, Element]:
    try:
        _require_shallow(content)
        root: Element = Defused.fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise _refused("has a DTD or an entity, which no bank sends") from None
    except (ParseError, ValueError, LookupError):
        raise _refused("is not XML") from None
    found = _NAMESPACE.fullmatch(root.tag)
    if not found or found[1] not in set(Message):
        got = (found[1] if found else root.tag)[:60]
        raise _refused("is none of %(known)s, but %(got)r", known=", ".join(Message), got=got)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return Message(found[1]), root


def _require_shallow(content: bytes) -> None:
    depth = 0
    for event, element in Defused.iterparse(io.BytesIO(content), events=("start", "end"), forbid_dtd=True):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            raise _refused("is nested more than %(most)s levels deep", most=MAX_DEPTH)
        if event == "end":
            element.clear()


def _read_status(root: Element) -> StatusReport:
    report = _one(root, "CstmrPmtStsRpt")
    header, group = _one(report, "GrpHdr"), _one(report, "OrgnlGrpInfAndSts")
    original = _required(group, "OrgnlMsgId")
    statuses = list(_statuses(report, group))
    return StatusReport(_required(header, "MsgId"), original, _day(header, "CreDtTm"), tuple(statuses))


def _statuses(report: Element, group: Element) -> Iterator[Status]:
    for payments in report.findall("OrgnlPmtInfAndSts"):
        for transaction in payments.findall("TxInfAndSts"):
            found = _text(transaction, "OrgnlEndToEndId")
            if found:
                yield Status(found, _text(transaction, "TxSts") == _REJECTED, _reason(transaction, "StsRsnInf"))
        if _text(payments, "PmtInfSts") == _REJECTED and payments.find("TxInfAndSts") is None:
            yield Status("", True, _reason(payments, "StsRsnInf"))
    if _text(group, "GrpSts") == _REJECTED:
        yield Status("", True, _reason(group, "StsRsnInf"))


def _read_statement(root: Element) -> Statement:
    message = _one(root, "BkToCstmrStmt")
    statement = _one(message, "Stmt")
    account, currency = _account_of(statement)
    opening, closing = _balance(statement, "OPBD", "PRCD"), _balance(statement, "CLBD")
    if {opening[1], closing[1], currency} != {currency}:
        raise _refused("has balances in another currency than its account")
    lines = _lines([statement], currency)
    moved = sum(line.amount_minor for line in lines)
    if opening[0] + moved != closing[0]:
        raise _refused(
            "opens at %(opening_minor)s, books %(moved_minor)s and closes at %(closing_minor)s: the bookings do not "
            "sum to the difference",
            opening_minor=opening[0],
            moved_minor=moved,
            closing_minor=closing[0],
            currency=currency,
        )
    identity = _required(_one(message, "GrpHdr"), "MsgId")
    return Statement(identity, account, currency, opening[0], closing[0], opening[2], closing[2], lines)


def _read_notification(root: Element) -> Notification:
    message = _one(root, "BkToCstmrDbtCdtNtfctn")
    header, parts = _one(message, "GrpHdr"), message.findall("Ntfctn")
    accounts = {_account_of(part) for part in parts}
    if len(accounts) != 1:
        raise _refused("must be of one account, got %(got)s", got=len(accounts))
    ((account, currency),) = accounts
    lines = _lines(parts, currency)
    return Notification(_required(header, "MsgId"), account, currency, _day(header, "CreDtTm"), lines)


_READERS: Final[dict[Message, Callable[[Element], BankMessage]]] = {
    Message.STATUS: _read_status,
    Message.STATEMENT: _read_statement,
    Message.NOTIFICATION: _read_notification,
}

_REJECTED: Final = "RJCT"
_CHARGES: Final = ("CHRG", "COMM", "FEES")


def _account_of(statement: Element) -> tuple[str, str]:
    """The account's number and its currency."""
    account = _one(statement, "Acct")
    number = _text(account, "Id/IBAN") or _text(account, "Id/Othr/Id")
    if not number:
        raise _refused("does not say which account it is of")
    currency = _text(account, "Ccy") or next((found.get("Ccy", "") for found in statement.iter("Amt")), "")
    minor_unit_exponent(currency, FIELD)
    return number, currency


def _balance(statement: Element, *codes: str) -> tuple[int, str, date]:
    """The first balance with one of these codes: its amount, currency and day."""
    for code in codes:
        for balance in statement.findall("Bal"):
            if _text(balance, "Tp/CdOrPrtry/Cd") == code:
                amount = _one(balance, "Amt")
                day = _day(balance, "Dt/Dt") if balance.find("Dt/Dt") is not None else _day(balance, "Dt/DtTm")
                return _signed(balance, amount, amount.get("Ccy", "")), amount.get("Ccy", ""), day
    raise _refused("has no %(codes)s balance", codes="/".join(codes))


def _lines(parts: Sequence[Element], currency: str) -> tuple[Line, ...]:
    lines = tuple(_booked(parts, currency))
    for reason, sign in (
        (Sentence("has credits of %(moved_minor)s in total, and %(most_minor)s is the most"), 1),
        (Sentence("has debits of %(moved_minor)s in total, and %(most_minor)s is the most"), -1),
    ):
        moved = sum(max(0, sign * line.amount_minor) for line in lines)
        if moved > MAX_MOVED_MINOR:
            raise _refused(reason, moved_minor=moved, most_minor=MAX_MOVED_MINOR, currency=currency)
    return lines


def _booked(parts: Sequence[Element], currency: str) -> Iterator[Line]:
    entries = [entry for part in parts for entry in part.findall("Ntry")]
    if len(entries) > MAX_LINES:
        raise _refused("must have at most %(most)s entries, got %(got)s", most=MAX_LINES, got=len(entries))
    seen: set[str] = set()
    for entry in entries:
        if (_text(entry, "Sts/Cd") or _text(entry, "Sts")) == "BOOK":
            _require_once(entry, seen)
            yield from _lines_of(entry, currency)


def _require_once(entry: Element, seen: set[str]) -> None:
    """Refuse two entries with one reference: an entry is then there twice."""
    for path in ("NtryRef", "AcctSvcrRef"):
        reference = f"{path} {_text(entry, path)}"
        if _text(entry, path).upper() in _NO_REFERENCE:
            continue
        if reference in seen:
            raise _refused("has two entries with the %(got)r", got=reference[:60])
        seen.add(reference)


_NO_REFERENCE: Final = ("", "NONREF", "NOTPROVIDED")
"""What banks write where they have no reference."""


def _lines_of(entry: Element, currency: str) -> Iterator[Line]:
    amount = _one(entry, "Amt")
    if amount.get("Ccy") != currency:
        raise _refused("has an entry in another currency than its account")
    whole = _signed(entry, amount, currency)
    day = _day(entry, "BookgDt/Dt") if entry.find("BookgDt/Dt") is not None else _day(entry, "BookgDt/DtTm")
    is_charge = _text(entry, "BkTxCd/Domn/Fmly/SubFmlyCd") in _CHARGES
    bank_reference = _plain(_text(entry, "AcctSvcrRef"))
    name = "" if bank_reference.upper() in _NO_REFERENCE else bank_reference
    is_back = _text(entry, "RvslInd") in ("true", "1")
    line = partial(_line, day=day, bank_reference=bank_reference, entry=name, is_charge=is_charge, is_back=is_back)
    transactions = entry.findall("NtryDtls/TxDtls")
    batch = _text(entry, "NtryDtls/Btch/PmtInfId")
    if not transactions:
        yield line(entry, whole, batch=batch)
        return
    found = [_amount_of(each, entry, currency) for each in transactions]
    if None in found and len(found) > 1:
        raise _refused("has an entry with several transactions, and one of them without an amount")
    amounts = [amount for amount in found if amount is not None]
    charges = _charges(entry, currency) if amounts and sum(amounts) != whole else 0
    if not amounts or sum(amounts) - charges != whole:
        if len(transactions) > 1:
            raise _refused("has an entry whose transactions do not sum to it")
        amounts, charges = [whole], 0  # what it was before an exchange, or before what is nowhere said
    for transaction, moved in zip(transactions, amounts, strict=True):
        yield line(transaction, moved)
    if charges:
        yield Line(-charges, day, is_charge=True, bank_reference=bank_reference, entry=name)


def _amount_of(transaction: Element, entry: Element, currency: str) -> int | None:
    """What a transaction of an entry moves; None if it does not say. Its sign is the entry's where it has none."""
    for path in ("Amt", "AmtDtls/TxAmt/Amt"):
        amount = transaction.find(path)
        if amount is not None and amount.get("Ccy") == currency:
            return _signed(transaction if transaction.find("CdtDbtInd") is not None else entry, amount, currency)
    return None


def _charges(entry: Element, currency: str) -> int:
    """What the bank kept of an entry, at the entry or at its transactions; below zero for what it gave back."""
    records = [*entry.findall("Chrgs/Rcrd"), *entry.findall("NtryDtls/TxDtls/Chrgs/Rcrd")]
    if any(_one(record, "Amt").get("Ccy") != currency for record in records):
        raise _refused("has a charge in another currency than its account")
    return -sum(_signed(record, _one(record, "Amt"), currency) for record in records)


def _line(
    found: Element,
    amount_minor: int,
    *,
    day: date,
    bank_reference: str,
    entry: str,
    is_charge: bool,
    is_back: bool,
    batch: str = "",
) -> Line:
    returned = found.find("RtrInf")
    texts = [*found.findall("RmtInf/Strd/CdtrRefInf/Ref"), *found.findall("RmtInf/Ustrd")]
    written = (re.sub(r"\s", "", text.text or "").upper()[:MAX_TEXT] for text in texts)
    end_to_end = _text(found, "Refs/EndToEndId")
    return Line(
        amount_minor=amount_minor,
        day=day,
        end_to_end_id="" if end_to_end == "NOTPROVIDED" else end_to_end[:MAX_TEXT],
        batch=batch[:MAX_TEXT],
        references=tuple(filter(None, [*written, re.sub(r"\s", "", end_to_end).upper()[:MAX_TEXT]])),
        reason="" if returned is None else _reason(found, "RtrInf"),
        is_return=returned is not None or is_back,
        is_charge=is_charge,
        bank_reference=_plain(_text(found, "Refs/AcctSvcrRef")) or bank_reference,
        entry=entry,
    )


def _reason(parent: Element, path: str) -> str:
    code = _text(parent, f"{path}/Rsn/Cd") or _text(parent, f"{path}/Rsn/Prtry")
    return in_words(_plain(code)[:35], _plain(_text(parent, f"{path}/AddtlInf")))


def _plain(text: str) -> str:
    """A bank's text as it may be shown and logged: one line, of bounded length."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:MAX_TEXT]


def _signed(parent: Element, amount: Element, currency: str) -> int:
    """An amount in minor units, below zero for a debit."""
    exponent = minor_unit_exponent(currency, FIELD)
    found = _AMOUNT.fullmatch((amount.text or "").strip())
    fraction = (found[2] or "").rstrip("0") if found else ""
    if not found or len(fraction) > exponent:
        raise _refused(
            "has an amount that %(currency)s cannot have: %(got)r", currency=currency, got=(amount.text or "")[:30]
        )
    minor = int(found[1] + fraction.ljust(exponent, "0"))
    if minor > MAX_AMOUNT_MINOR:
        raise _refused("has an amount above %(most_minor)s", most_minor=MAX_AMOUNT_MINOR, currency=currency)
    match _text(parent, "CdtDbtInd"):
        case "CRDT":
            return minor
        case "DBIT":
            return -minor
        case other:
            raise _refused("has an amount that is neither a credit nor a debit: %(got)r", got=other[:20])


def _day(parent: Element, path: str) -> date:
    try:
        return date.fromisoformat(_required(parent, path)[:10])
    except ValueError:
        raise _refused("has no date in %(path)s", path=path) from None


def _one(parent: Element, tag: str) -> Element:
    found = parent.findall(tag)
    if len(found) != 1:
        raise _refused("must have one %(tag)s, got %(got)s", tag=tag, got=len(found))
    return found[0]


def _text(parent: Element, path: str) -> str:
    return (parent.findtext(path) or "").strip()


def _required(parent: Element, path: str) -> str:
    found = _text(parent, path)
    if not found or len(found) > MAX_TEXT or not found.isprintable():
        raise _refused("has no %(path)s", path=path)
    return found


def _refused(reason: str, /, **facts: Fact) -> InvalidInputError:
    return InvalidInputError.of(FIELD, reason, **facts)
