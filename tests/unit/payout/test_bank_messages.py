"""What banks send: read where it is sound, and refused where it is hostile or cannot be."""

from __future__ import annotations

from datetime import date
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.bank import Bank
from ledger.errors import InvalidInputError
from ledger.money import MAX_AMOUNT_MINOR
from payout.payments.bank_messages import (
    MAX_BYTES,
    MAX_MOVED_MINOR,
    Line,
    Notification,
    Statement,
    Status,
    StatusReport,
    read_message,
)

OURS: Final = "DE89370400440532013000"


def refused(content: bytes) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_message(content)
    return str(caught.value)


def test_a_statement_is_read_with_its_lines() -> None:
    bank = Bank(OURS, "EUR", balance=10_000)
    bank.receive(500, "2026-01-02", reference="RF18 5390 0754 7034")
    bank.charge(7, "2026-01-02")
    message = read_message(bank.statement("2026-01-03"))
    assert isinstance(message, Statement)
    assert (message.account, message.opening_minor, message.closing_minor) == (OURS, 10_000, 10_493)
    assert message.lines == (
        Line(500, date(2026, 1, 2), references=("RF18539007547034",), bank_reference="B0", entry="B0"),
        Line(-7, date(2026, 1, 2), is_charge=True, bank_reference="B1", entry="B1"),
    )


@pytest.mark.parametrize(("currency", "minor"), [("JPY", 1234), ("KWD", 1234), ("CLF", 1234), ("EUR", 1234)])
def test_amounts_are_read_with_their_currency_s_decimals(currency: str, minor: int) -> None:
    bank = Bank(OURS, currency)
    bank.receive(minor, "2026-01-02")
    message = read_message(bank.statement("2026-01-03"))
    assert isinstance(message, Statement)
    assert message.closing_minor == minor


def test_a_status_report_is_read() -> None:
    message = read_message(Bank(OURS, "EUR").status("jan", ["jan-0000001"], "2026-01-03", code="AC01"))
    assert message == StatusReport(
        "P1", "jan", date(2026, 1, 3), (Status("jan-0000001", True, "the account number is wrong (AC01)"),)
    )


def test_bookings_that_do_not_sum_to_the_difference_are_refused() -> None:
    bank = Bank(OURS, "EUR")
    bank.receive(5, "2026-01-02")
    assert "do not sum" in refused(bank.statement("2026-01-03").replace(b">0.05<", b">0.06<", 1))


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (b'Ccy="EUR">0.05', b'Ccy="USD">0.05', "another currency"),
        (b">0.05<", b">0.005<", "an amount that EUR cannot have"),
        (b">0.05<", b">-0.05<", "an amount that EUR cannot have"),
        (b">0.05<", b">1e9<", "an amount that EUR cannot have"),
        (b"<Dt>2026-01-02</Dt>", b"<Dt>yesterday</Dt>", "has no date"),
        (b"<Cd>CLBD</Cd>", b"<Cd>XXXX</Cd>", "no CLBD balance"),
        (b"<MsgId>S1</MsgId>", b"<MsgId></MsgId>", "has no MsgId"),
        (b"CRDT", b"BOTH", "neither a credit nor a debit"),
    ],
)
def test_a_statement_that_cannot_be_is_refused(was: bytes, becomes: bytes, told: str) -> None:
    bank = Bank(OURS, "EUR")
    bank.receive(5, "2026-01-02")
    assert told in refused(bank.statement("2026-01-03").replace(was, becomes))


@pytest.mark.parametrize("kind", ["statement", "notification"])
@pytest.mark.parametrize("of", ["entries", "transactions"])
def test_what_a_file_moves_in_total_has_an_end(kind: str, of: str) -> None:
    """Each amount is one that there may be; what the bank kept of an entry may be the sum of many."""
    bank, count = Bank(OURS, "EUR"), MAX_MOVED_MINOR // MAX_AMOUNT_MINOR
    too_much = "minor units in total, and 100,000,000,000,000,000 minor units is the most"
    for most, told in ((count, ""), (count + 1, too_much)):
        credit, debit = (bank.amount(sign * MAX_AMOUNT_MINOR) for sign in (1, -1))
        if of == "entries":
            entries = [booked(amount) for amount in (credit, debit) for _ in range(most)]
        else:
            charges, parts = f"<Rcrd>{debit}</Rcrd>" * most, f"<TxDtls>{credit}</TxDtls>" * most
            entries = [booked(bank.amount(0), f"<Chrgs>{charges}</Chrgs><NtryDtls>{parts}</NtryDtls>")]
        bank.entries = entries
        content = bank.statement("2026-01-03")
        if kind == "notification":
            content = bank.notification("2026-01-03").replace(b"</Ntfctn>", "".join([*entries, "</Ntfctn>"]).encode())
        if told:
            assert told in refused(content)
        else:
            read = read_message(content)
            assert isinstance(read, Statement | Notification)
            assert sum(abs(line.amount_minor) for line in read.lines) == 2 * MAX_MOVED_MINOR


def booked(amount: str, rest: str = "") -> str:
    return f"<Ntry>{amount}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-01-02</Dt></BookgDt>{rest}</Ntry>"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"x" * (MAX_BYTES + 1), "must have at most"),
        (b'<!DOCTYPE l [<!ENTITY a "a"><!ENTITY b "&a;&a;&a;">]><l>&b;</l>', "a DTD or an entity"),
        (b'<!DOCTYPE l SYSTEM "http://127.0.0.1:1/x"><l/>', "a DTD or an entity"),
        (b"<a>" * 100_000, "levels deep"),
        (b"\xff\xfe\x00", "is not XML"),
    ],
)
def test_a_hostile_file_is_refused(content: bytes, told: str) -> None:
    assert told in refused(content)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with pytest.raises(InvalidInputError):
        read_message(content)


def entry(amount: str, details: str, *, reference: str = "B1") -> bytes:
    """A statement of one entry, a credit unless the amount begins with a minus."""
    bank = Bank(OURS, "EUR")
    minor = round(float(amount) * 100)
    bank.enter(minor, "2026-01-02", details)
    return bank.statement("2026-01-03").replace(b"<AcctSvcrRef>B0<", f"<AcctSvcrRef>{reference}<".encode())


def part(text: str) -> str:
    return f'<Amt Ccy="EUR">{text}</Amt><CdtDbtInd>CRDT</CdtDbtInd>'


SEVERAL: Final = "</TxDtls><TxDtls>"


@pytest.mark.parametrize(
    ("details", "moved"),
    [
        (part("4.00") + SEVERAL + part("6.00"), [400, 600]),
        ('<AmtDtls><TxAmt><Amt Ccy="EUR">10.00</Amt></TxAmt></AmtDtls>', [1000]),
        ('<Amt Ccy="USD">12.00</Amt><CdtDbtInd>CRDT</CdtDbtInd>', [1000]),
        (part("9.00") + SEVERAL + part("2.50") + SEVERAL + part("1.50").replace("CRDT", "DBIT"), [900, 250, -150]),
        (
            part("10.50") + '<Chrgs><Rcrd><Amt Ccy="EUR">0.50</Amt><CdtDbtInd>DBIT</CdtDbtInd></Rcrd></Chrgs>',
            [1050, -50],
        ),
    ],
)
def test_an_entry_is_read_transaction_by_transaction(details: str, moved: list[int]) -> None:
    read = read_message(entry("10.00", details))
    assert isinstance(read, Statement)
    assert [line.amount_minor for line in read.lines] == moved
    assert [line.is_charge for line in read.lines] == [amount == -50 for amount in moved]


def test_an_entry_of_nothing_is_read_though_its_transaction_has_no_amount() -> None:
    read = read_message(entry("0.00", "<Refs/>"))
    assert isinstance(read, Statement)
    assert [line.amount_minor for line in read.lines] == [0]


@pytest.mark.parametrize(
    ("details", "told"),
    [
        (part("4.00") + SEVERAL + part("5.00"), "do not sum to it"),
        (part("4.00") + SEVERAL + "<Refs/>", "one of them without an amount"),
        (part("4.00") + SEVERAL + part("6.00").replace("EUR", "USD"), "one of them without an amount"),
        (
            part("10.50") + '<Chrgs><Rcrd><Amt Ccy="USD">0.50</Amt><CdtDbtInd>DBIT</CdtDbtInd></Rcrd></Chrgs>',
            "a charge in another currency",
        ),
    ],
)
def test_an_entry_whose_transactions_cannot_be_is_refused(details: str, told: str) -> None:
    assert told in refused(entry("10.00", details))


def test_an_entry_that_is_there_twice_is_refused_and_an_absent_reference_is_none() -> None:
    bank = Bank(OURS, "EUR")
    bank.receive(5, "2026-01-02")
    bank.receive(5, "2026-01-02")
    statement = bank.statement("2026-01-03")
    assert "two entries with the 'AcctSvcrRef B0'" in refused(statement.replace(b">B1<", b">B0<"))
    anonymous = statement.replace(b">B1<", b">NONREF<").replace(b">B0<", b">NONREF<")
    assert isinstance(read_message(anonymous), Statement)


def paid(amount: str, reference: str) -> str:
    """A transaction of an entry."""
    told = f"<RmtInf><Strd><CdtrRefInf><Ref>{reference}</Ref></CdtrRefInf></Strd></RmtInf>"
    return f'<Amt Ccy="EUR">{amount}</Amt>{told}'


def test_a_notification_is_read_entry_by_entry() -> None:
    told = Bank(OURS, "EUR").notification("2026-01-02", ("B7", 1000, [paid("4.00", "RF1"), paid("6.00", "RF2")]))
    day = date(2026, 1, 2)
    assert read_message(told) == Notification(
        "N1",
        OURS,
        "EUR",
        day,
        (
            Line(400, day, references=("RF1",), bank_reference="B7", entry="B7"),
            Line(600, day, references=("RF2",), bank_reference="B7", entry="B7"),
        ),
    )
    several = told.replace(b"</Ntfctn>", b"</Ntfctn>" + told[told.index(b"<Ntfctn>") : told.index(b"</Bk")])
    assert "two entries with the 'AcctSvcrRef B7'" in refused(several)
    read = read_message(several.replace(b">B7<", b">B8<", 1))
    assert isinstance(read, Notification)
    assert [line.entry for line in read.lines] == ["B8", "B8", "B7", "B7"]


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (b"<Ntfctn>", b"<Stmt>", "is not XML"),
        (b">4.00<", b">5.00<", "do not sum to it"),
        (b'Ccy="EUR">10.00', b'Ccy="USD">10.00', "another currency"),
        (b">10.00<", b">1e1<", "an amount that EUR cannot have"),
        (b"<MsgId>N1</MsgId>", b"", "has no MsgId"),
        (
            b"</Ntfctn>",
            b"</Ntfctn><Ntfctn><Acct><Id><IBAN>X</IBAN></Id><Ccy>EUR</Ccy></Acct></Ntfctn>",
            "of one account",
        ),
        (b"<Acct>", b"<Acct>" + b"<a>" * 50 + b"</a>" * 50, "levels deep"),
        (b"<Document", b'<!DOCTYPE d [<!ENTITY e "e">]><Document', "a DTD or an entity"),
    ],
)
def test_a_notification_that_cannot_be_is_refused(was: bytes, becomes: bytes, told: str) -> None:
    sound = Bank(OURS, "EUR").notification("2026-01-02", ("B7", 1000, [paid("4.00", "RF1"), paid("6.00", "RF2")]))
    assert was in sound
    assert told in refused(sound.replace(was, becomes, 1))


def test_a_file_of_small_tags_is_refused_before_it_is_read() -> None:
    for content in (b"<a>" + b"<b/>" * 1_000_000 + b"</a>", b"<a " + b'b="" ' * 400_000 + b"/>"):
        with pytest.raises(InvalidInputError, match="tags and attributes"):
            read_message(content)
