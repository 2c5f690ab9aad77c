"""What a finding comes to: which round and collective it is about, how much money, and whether anyone was paid by it.

Nothing of this is verified. It is read from the same log as the finding, and where that cannot be read it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from audit.findings import Finding
from audit.reader import LogReader
from ledger.acts.entries import DecisionContent
from ledger.entries import CollectiveMovement, PaymentContent
from ledger.errors import FormatError, InvalidInputError, LedgerCorruptError, NotFoundError
from ledger.log.leaves import EncodedLeaf, Leaf, decode
from ledger.money import decimal_text, minor_unit_exponent
from payout.entries import CONTENTS, PoolContent, PostingContent, RoundContent

_TOLD: Final = tuple(
    f'"type":"{kind.type}"'.encode() for kind in (PoolContent, RoundContent, PostingContent, PaymentContent)
)
"""In the entries that are asked, and in no other: within a JSON string the quotes would be escaped."""

_BALANCE_OF: Final = "balance of "


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a finding is about. What does not apply is empty, 0 or None.

    Attributes:
        round: the round's number.
        collective: whose amount it is.
        claimed: the amount that was claimed, as money.
        expected: the amount that was expected, as money.
        posted_at: the leaf that posted the round, where it was posted.
        payments: payments after that leaf, to the collective or else to any.
        paid: what they sum to, as money.
    """

    round: int = 0
    collective: str = ""
    claimed: str = ""
    expected: str = ""
    posted_at: int | None = None
    payments: int = 0
    paid: str = ""


@dataclass(slots=True)
class Consequences:
    """Says what findings in a pool's log come to. The log is read once, for the first of them."""

    log: LogReader
    _rounds_and_money: list[Leaf[Any]] | None = None

    def of(self, finding: Finding) -> Consequence:
        """Returns what a finding comes to; of one in the registry's log nothing can be said."""
        try:
            return Consequence() if finding.where.log else self._of(finding)
        except FormatError:
            return Consequence()

    def _of(self, finding: Finding) -> Consequence:
        if self._rounds_and_money is None:
            self._rounds_and_money = list(_told(self.log))
        told = self._rounds_and_money
        currency = next((leaf.content.currency for leaf in told if isinstance(leaf.content, PoolContent)), "")
        leaf = _leaf_at(self.log, finding.where.leaf_index)
        number = _round_of(leaf, told)
        collective = _collective_of(finding, leaf, self.log)
        posted = next((each.index for each in told if number and _posts(each, number)), None)
        payments = [
            each.content.amount_minor
            for each in told
            if isinstance(each.content, PaymentContent)
            and posted is not None
            and each.index > posted
            and collective in ("", each.content.collective)
        ]
        is_amount = finding.figure.endswith("_minor") or finding.figure.startswith(_BALANCE_OF)
        return Consequence(
            round=number,
            collective=collective,
            claimed=_money(finding.claimed, currency) if is_amount else "",
            expected=_money(finding.expected, currency) if is_amount else "",
            posted_at=posted,
            payments=len(payments),
            paid=_money(str(sum(payments)), currency) if payments else "",
        )


def _posts(leaf: Leaf[Any], number: int) -> bool:
    return isinstance(leaf.content, PostingContent) and leaf.content.round == number


def _told(log: LogReader) -> Iterator[Leaf[Any]]:
    for encoded in log.leaves(0, log.size()):
        if any(mark in encoded.entry for mark in _TOLD) and (leaf := _read(encoded)) is not None:
            yield leaf


def _leaf_at(log: LogReader, index: int) -> Leaf[Any] | None:
    found = next(iter(log.leaves(index, index + 1)), None) if 0 <= index < log.size() else None
    return None if found is None else _read(found)


def _read(encoded: EncodedLeaf) -> Leaf[Any] | None:
    try:
        return decode(encoded.entry, CONTENTS)
    except LedgerCorruptError:
        return None


def _round_of(leaf: Leaf[Any] | None, told: list[Leaf[Any]]) -> int:
    """The round that a leaf is, decides or posts, or else the first one that covers it."""
    if leaf is None:
        return 0
    match leaf.content:
        case RoundContent(number=number):
            return number
        case PostingContent(round=number):
            return number
        case DecisionContent(subject=subject):
            return next((each.content.number for each in told if _is_round(each) and each.index == subject), 0)
    covering = (each.content for each in told if _is_round(each))
    return next((content.number for content in covering if content.start <= leaf.index < content.end), 0)


def _is_round(leaf: Leaf[Any]) -> bool:
    return isinstance(leaf.content, RoundContent)


def _collective_of(finding: Finding, leaf: Leaf[Any] | None, log: LogReader) -> str:
    if finding.figure.startswith(_BALANCE_OF):
        return finding.figure.rpartition("/")[2]
    content = leaf.content if leaf else None
    if isinstance(content, CollectiveMovement):
        return content.collective
    if not isinstance(content, RoundContent) or not finding.where.line:
        return ""
    try:
        lines = log.body(bytes.fromhex(content.statement_sha256)).split(b"\n")
    except NotFoundError:
        return ""
    line = lines[finding.where.line - 1] if finding.where.line <= len(lines) else b""
    return line.partition(b",")[0].decode(errors="replace")[:200]


def _money(minor: str, currency: str) -> str:
    """An amount as people write it; nothing where it is no whole number of minor units of a currency."""
    if not minor.removeprefix("-").isdecimal() or not minor.isascii():
        return ""
    try:
        return f"{decimal_text(int(minor), minor_unit_exponent(currency))} {currency}"
    except (InvalidInputError, ValueError):
        return ""
