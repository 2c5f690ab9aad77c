"""A small bank: takes payment files, and answers with statements and status reports. Tests have accounts at it too."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from defusedxml.ElementTree import fromstring

PAIN: Final = "{urn:iso:std:iso:20022:tech:xsd:pain.001.001.09}"
DECIMALS: Final = {"EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4}


@dataclass(frozen=True)
class Ordered:
    """A payment that it was asked to make."""

    end_to_end_id: str
    amount_minor: int
    run: str


@dataclass
class Bank:
    """One account at a bank.

    Attributes:
        account: its number.
        currency: its currency.
        balance: what is on it at the end of the last statement, in minor units.
    """

    account: str
    currency: str
    balance: int = 0
    ordered: dict[str, Ordered] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    moved: int = 0
    messages: int = 0

    def take(self, payment_file: bytes, *, rejected: Collection[str] = ()) -> None:
        """Pay everything in a payment file but what is rejected, and remember it all."""
        root = fromstring(payment_file)
        run = root.findtext(f".//{PAIN}MsgId") or ""
        day = root.findtext(f".//{PAIN}ReqdExctnDt/{PAIN}Dt") or ""
        for found in root.iter(f"{PAIN}CdtTrfTxInf"):
            amount = Decimal(found.findtext(f"{PAIN}Amt/{PAIN}InstdAmt") or "")
            identity = found.findtext(f"{PAIN}PmtId/{PAIN}EndToEndId") or ""
            minor = int(amount * 10 ** DECIMALS[self.currency])
            self.ordered[identity] = Ordered(identity, minor, run)
            if identity not in rejected:
                self.pay(identity, day)

    def pay(self, identity: str, day: str) -> None:
        """Debit one payment."""
        self.enter(-self.ordered[identity].amount_minor, day, f"<Refs><EndToEndId>{identity}</EndToEndId></Refs>")

    def give_back(self, identity: str, day: str, *, code: str = "AC04", kept: int = 0) -> None:
        """Credit a payment that came back, less what the bank keeps."""
        told = f"<Refs><EndToEndId>{identity}</EndToEndId></Refs>"
        reason = f"<RtrInf><Rsn><Cd>{code}</Cd></Rsn></RtrInf>"
        self.enter(self.ordered[identity].amount_minor - kept, day, told + reason)

    def receive(self, amount_minor: int, day: str, *, reference: str = "") -> None:
        """Credit what somebody pays."""
        strd = f"<RmtInf><Strd><CdtrRefInf><Ref>{reference}</Ref></CdtrRefInf></Strd></RmtInf>" if reference else ""
        self.enter(amount_minor, day, strd)

    def charge(self, amount_minor: int, day: str) -> None:
        """Debit a charge of the bank's own."""
        self.enter(-amount_minor, day, "", code="CHRG")

    def enter(self, amount_minor: int, day: str, details: str, *, code: str = "") -> None:
        """Add an entry, as it is in a statement."""
        self.moved += amount_minor
        kind = f"<BkTxCd><Domn><Cd>ACMT</Cd><Fmly><Cd>MDOP</Cd><SubFmlyCd>{code}</SubFmlyCd></Fmly></Domn></BkTxCd>"
        transaction = f"<NtryDtls><TxDtls>{details}</TxDtls></NtryDtls>" if details else ""
        self.entries.append(
            f"<Ntry>{self.amount(amount_minor)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{day}</Dt></BookgDt>"
            f"<AcctSvcrRef>B{len(self.entries)}</AcctSvcrRef>{kind if code else ''}{transaction}</Ntry>"
        )

    def amount(self, minor: int) -> str:
        """An amount with its sign."""
        decimals = DECIMALS[self.currency]
        text = f"{Decimal(abs(minor)) / 10**decimals:.{decimals}f}"
        sign = "CRDT" if minor >= 0 else "DBIT"
        return f'<Amt Ccy="{self.currency}">{text}</Amt><CdtDbtInd>{sign}</CdtDbtInd>'

    def statement(self, day: str, *, opening: int | None = None, message_id: str = "") -> bytes:
        """What happened since the last statement, as camt.053; `opening` forges another balance before."""
        before = self.balance if opening is None else opening
        after = before + self.moved
        balances = "".join(
            f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{self.amount(minor)}<Dt><Dt>{day}</Dt></Dt></Bal>"
            for code, minor in (("OPBD", before), ("CLBD", after))
        )
        self.messages += 1
        identity = message_id or f"S{self.messages}"
        body = (
            f"<BkToCstmrStmt><GrpHdr><MsgId>{identity}</MsgId><CreDtTm>{day}T23:00:00</CreDtTm></GrpHdr>"
            f"<Stmt><Id>{identity}</Id><Acct><Id><IBAN>{self.account}</IBAN></Id><Ccy>{self.currency}</Ccy></Acct>"
            f"{balances}{''.join(self.entries)}</Stmt></BkToCstmrStmt>"
        )
        if opening is None:
            self.balance, self.moved, self.entries = after, 0, []
        return _document("camt.053.001.08", body)

    def notification(self, day: str, *entries: tuple[str, int, list[str]], message_id: str = "") -> bytes:
        """What entries consist of, as camt.054: the reference of each, its amount, and its transactions' details."""
        told = "".join(
            f"<Ntry>{self.amount(minor)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{day}</Dt></BookgDt>"
            f"<AcctSvcrRef>{reference}</AcctSvcrRef>"
            f"<NtryDtls>{''.join(f'<TxDtls>{each}</TxDtls>' for each in details)}</NtryDtls></Ntry>"
            for reference, minor, details in entries
        )
        self.messages += 1
        identity = message_id or f"N{self.messages}"
        body = (
            f"<BkToCstmrDbtCdtNtfctn><GrpHdr><MsgId>{identity}</MsgId><CreDtTm>{day}T12:00:00</CreDtTm></GrpHdr>"
            f"<Ntfctn><Id>{identity}</Id><Acct><Id><IBAN>{self.account}</IBAN></Id><Ccy>{self.currency}</Ccy></Acct>"
            f"{told}</Ntfctn></BkToCstmrDbtCdtNtfctn>"
        )
        return _document("camt.054.001.08", body)

    def status(self, run: str, rejected: Collection[str], day: str, *, code: str = "AC01") -> bytes:
        """That it rejects payments of a run, as pain.002."""
        self.messages += 1
        told = "".join(
            f"<TxInfAndSts><OrgnlEndToEndId>{identity}</OrgnlEndToEndId><TxSts>RJCT</TxSts>"
            f"<StsRsnInf><Rsn><Cd>{code}</Cd></Rsn></StsRsnInf></TxInfAndSts>"
            for identity in rejected
        )
        body = (
            f"<CstmrPmtStsRpt><GrpHdr><MsgId>P{self.messages}</MsgId><CreDtTm>{day}T10:00:00</CreDtTm></GrpHdr>"
            f"<OrgnlGrpInfAndSts><OrgnlMsgId>{run}</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId>"
            f"</OrgnlGrpInfAndSts><OrgnlPmtInfAndSts><OrgnlPmtInfId>{run}</OrgnlPmtInfId>{told}</OrgnlPmtInfAndSts>"
            f"</CstmrPmtStsRpt>"
        )
        return _document("pain.002.001.10", body)


def _document(kind: str, body: str) -> bytes:
    namespace = f"urn:iso:std:iso:20022:tech:xsd:{kind}"
    return f'<?xml version="1.0" encoding="UTF-8"?><Document xmlns="{namespace}">{body}</Document>'.encode()
