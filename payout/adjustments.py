"""Adjustments: what a posted round would have given over the corrected log, as an act.

An adjustment names the leaves that correct the log: policies, methods and collectives that were logged too late and are
taken as in force in the round. Its body has a line for each account that would have got another amount, and the lines
are a salted tree, so that a collective can be shown its own with its proof and no others. What a
collective got too much is asked back: `owing/<id>` goes below zero, and later postings recoup it. What anyone got too
little waits in an `awaiting` account, and is paid as recoupment arrives; or at once by fees or commons, which then
wait in their place.
"""

from __future__ import annotations

import hmac
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ledger.acts.act import SaltedContent
from ledger.acts.controls import Kind
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.journal import (
    COMMONS,
    FEES,
    REVENUE,
    Purpose,
    Transfer,
    awaiting_account,
    collective_account,
    fold,
    held_account,
    owing_account,
    owner_of,
)
from ledger.log.canonical import canonical, parsed
from ledger.log.leaves import AmountMinor, Past, Sha256Hex
from ledger.log.merkle import leaf_hash, root
from ledger.log.text import parse_integer
from ledger.money import require_balance
from ledger.registry import PPM, CollectiveStatus
from payout.apportionment import apportion
from payout.rounds import Line

SOURCES: Final = ("", FEES, COMMONS)
"""What may pay at once: nothing, so that payments wait for recoupment; or the fees or the commons."""
MAX_CORRECTIONS: Final = 1_000
"""Leaves that one adjustment may name."""
_SALT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What an account got by a round and its adjustments so far, and what it gets by the corrected log, in minor units.

    `revenue` gets what carries over.
    """

    account: str
    old_minor: int
    new_minor: int

    @property
    def difference_minor(self) -> int:
        """What is due more, or below zero what is asked back."""
        return self.new_minor - self.old_minor

    def document(self) -> bytes:
        """Returns the line as canonical JSON."""
        return canonical(self.as_json())

    def as_json(self) -> dict[str, str]:
        """Returns the line as it is in a body, with amounts as decimal texts."""
        return {"account": self.account, "new_minor": str(self.new_minor), "old_minor": str(self.old_minor)}


@dataclass(frozen=True, slots=True)
class AdjustedLines:
    """The body of an adjustment: its lines by account, and a random salt in hexadecimal that hides each.

    Operators and auditors read the body; a collective gets its own line with the line's salt and path in the tree.
    """

    salt: str
    lines: Sequence[Adjusted]

    def salt_at(self, position: int) -> bytes:
        """Returns the salt of a line's leaf: `HMAC-SHA256(the body's salt, its position in decimal)`."""
        return hmac.digest(bytes.fromhex(self.salt), str(position).encode(), "sha256")

    def leaves(self) -> list[bytes]:
        """Returns the hashes of the leaves, in order."""
        return [adjusted_leaf(self.salt_at(place), line.document()) for place, line in enumerate(self.lines)]

    def root(self) -> str:
        """Returns the tree's root in hexadecimal."""
        return root(self.leaves()).hex()

    def render(self) -> bytes:
        """Returns the body's bytes."""
        return canonical({"lines": [line.as_json() for line in self.lines], "salt": self.salt})


def adjusted_leaf(salt: bytes, document: bytes) -> bytes:
    """Returns the hash of a line's leaf."""
    return leaf_hash(salt + document)


class AdjustmentContent(SaltedContent):
    """An operator corrected a posted round. `amount_minor` is the sum of what is due more, and of what is asked back.

    The corrections are all that the round is to be calculated with, also those of adjustments before: leaves of the
    pool's log (policies and methods) and of the registry's (collectives).
    """

    type: ClassVar[str] = "adjustment.v1"
    kind: ClassVar[Kind | None] = Kind.MONEY

    request_id: str
    round: int
    amount_minor: AmountMinor
    lines_sha256: Sha256Hex
    lines: int
    lines_root: Sha256Hex
    """The root of the tree of the body's lines."""
    pool_leaves: list[int]
    registry_leaves: list[int]
    source: str
    reason: str

    @property
    def identity(self) -> tuple[str, ...]:
        """The id of the request."""
        return "request_id", self.type, self.request_id

    @property
    def key(self) -> Hashable:
        """The id of the request."""
        return self.request_id

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """What its lines move, with its source's help."""
        return adjustment_transfers(past.parsed(self.lines_sha256, parse_adjusted).lines, self.source, past.balance)


def parse_adjusted(body: bytes) -> AdjustedLines:
    """Returns the body of an adjustment.

    Raises:
        LedgerCorruptError: it is not canonical, or its lines do not differ, or do not balance.
    """
    try:
        document = parsed(body)
        found = AdjustedLines(document["salt"], [_line(line) for line in document["lines"]])
        kinds = {line.account.partition("/")[0] for line in found.lines}
        sound = bool(_SALT.fullmatch(found.salt)) and kinds <= _KINDS and found.render() == body
    except (InvalidInputError, ValueError, TypeError, KeyError, AttributeError):
        raise LedgerCorruptError("adjustment", "is not one") from None
    names = [line.account for line in found.lines]
    if not sound or names != sorted(set(names), key=str.encode):
        raise LedgerCorruptError("adjustment", "is not canonical")
    differences = [line.difference_minor for line in found.lines]
    if not differences or 0 in differences or sum(differences) != 0:
        raise LedgerCorruptError("adjustment", "has no differences, or they do not sum to zero")
    return found


def parse_line(document: bytes) -> Adjusted:
    """Returns a line of an adjustment.

    Raises:
        LedgerCorruptError: it is not one, or not in canonical form.
    """
    try:
        found = _line(parsed(document))
        sound = found.document() == document
    except (InvalidInputError, ValueError, TypeError, KeyError, AttributeError):
        raise LedgerCorruptError("adjustment", "has a line that is not one") from None
    if not sound:
        raise LedgerCorruptError("adjustment", "has a line that is not canonical")
    return found


def _line(document: Any) -> Adjusted:
    owner_of(document["account"])
    old, new = (require_balance(parse_integer(document[name]), name) for name in ("old_minor", "new_minor"))
    return Adjusted(document["account"], old, new)


def amount_due(lines: Iterable[Adjusted]) -> int:
    """Returns what is due more by an adjustment in all, which is also what is asked back."""
    return sum(max(0, line.difference_minor) for line in lines)


_KINDS: Final = frozenset({"collective", "held", FEES, COMMONS, REVENUE})


def account_of(line: Line, set_aside: AbstractSet[str] = frozenset()) -> str:
    """Returns the account that a line of a round is posted to."""
    is_held = line.status is CollectiveStatus.SUSPENDED or line.collective in set_aside
    return (held_account if is_held else collective_account)(line.collective)


def adjustment_transfers(lines: Sequence[Adjusted], source: str, balance: Callable[[str], int]) -> list[Transfer]:
    """Returns what an adjustment moves.

    Fees, commons and revenue give back at once what they got too much, which is shared out over those who are due more;
    collectives owe it. The rest of what is due waits, or the source gives it and waits in their place. Who then both
    owes and waits does neither, as far as the two are the same: a second adjustment can take back a first.
    """
    due = {line.account: line.difference_minor for line in lines if line.difference_minor > 0}
    back = {line.account: -line.difference_minor for line in lines if line.difference_minor < 0}
    cash = {account: amount for account, amount in back.items() if owner_of(account) is None}
    owed = {owing_account(owner): amount for account, amount in back.items() if (owner := owner_of(account))}
    at_once = dict(zip(due, apportion(sum(cash.values()), list(due.values())), strict=True)) if cash else {}
    later = {account: amount - at_once.get(account, 0) for account, amount in due.items()}
    moves = _matched(cash, at_once)
    if source and owed:
        moves += _matched({source: sum(owed.values())}, later)
        moves += _matched(owed, {awaiting_account(source): sum(owed.values())})
    else:
        moves += _matched(owed, {awaiting_account(account): amount for account, amount in later.items()})
    transfers = [Transfer(*move, Purpose.ADJUSTMENT) for move in moves]
    return transfers + _settled(lines, transfers, balance)


def _settled(lines: Iterable[Adjusted], moved: Sequence[Transfer], balance: Callable[[str], int]) -> list[Transfer]:
    """Returns what those who both owe and wait settle with themselves, after what has moved."""
    changes = fold({}, moved)
    found = []
    for owner in dict.fromkeys(owner for line in lines if (owner := owner_of(line.account))):
        owing, awaiting = owing_account(owner), awaiting_account(collective_account(owner))
        after = [balance(account) + changes.get(account, 0) for account in (owing, awaiting)]
        if (amount := min(-after[0], after[1])) > 0:
            found.append(Transfer(awaiting, owing, amount, Purpose.RECOUPED))
    return found


def _matched(givers: Mapping[str, int], takers: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Returns who gives how much to whom, in their order. What an account would give to itself stays where it is."""
    moves: list[tuple[str, str, int]] = []
    left = deque(takers.items())
    for giver, amount in givers.items():
        rest = amount
        while rest and left:
            taker, wanted = left.popleft()
            given = min(rest, wanted)
            if given and giver != taker:
                moves.append((giver, taker, given))
            rest -= given
            if wanted > given:
                left.appendleft((taker, wanted - given))
    return moves


def recouped_by(
    recoup_ppm: int, lines: Sequence[Line], set_aside: AbstractSet[str], balance: Callable[[str], int]
) -> list[Transfer]:
    """Returns what recouping moves out of what a round gives, after it is posted; `balance` is as of before.

    Each collective pays back the share at most, and what it owes; that goes on to those who wait, in proportion.
    """
    accounts = {line.collective: account_of(line, set_aside) for line in lines}
    back = []
    for line in lines:
        owing = owing_account(line.collective)
        amount = min(-balance(owing), line.amount_minor * recoup_ppm // PPM)
        if amount > 0:
            back.append(Transfer(accounts[line.collective], owing, amount, Purpose.RECOUPED))
    if not back:
        return []
    targets = {awaiting_account(account): account for account in (*accounts.values(), COMMONS, FEES, REVENUE)}
    waiting = {account: amount for account in targets if (amount := balance(account)) > 0}
    paid = apportion(sum(transfer.amount_minor for transfer in back), list(waiting.values()))
    on = zip(waiting, paid, strict=True)
    return back + [Transfer(account, targets[account], amount, Purpose.RECOUPED) for account, amount in on if amount]
