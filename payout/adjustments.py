"""Adjustments: what a posted round would have given over the corrected log, as an act.

An adjustment names the leaves that correct the log: policies, methods and collectives that were logged too late and are
taken as in force in the round. Its body has a line for each account that would have got another amount. What a
collective got too much is asked back: `owing/<id>` goes below zero, and later postings recoup it. What anyone got too
little waits in an `awaiting` account, and is paid as recoupment arrives; or at once by fees or commons, which then
wait in their place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Final

from ledger.acts.controls import Kind
from ledger.acts.entries import SaltedContent
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
from ledger.log.leaves import DecimalInt, Past, Sha256Hex
from ledger.registry import PPM, CollectiveStatus
from payout.apportionment import apportion
from payout.rounds import Line

SOURCES: Final = ("", FEES, COMMONS)
"""What may pay at once: nothing, so that payments wait for recoupment; or the fees or the commons."""
MAX_CORRECTIONS: Final = 1_000
"""Leaves that one adjustment may name."""
COLUMNS: Final = "account,old_minor,new_minor"


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


class AdjustmentContent(SaltedContent):
    """An operator corrected a posted round. `amount_minor` is the sum of what is due more, and of what is asked back.

    The corrections are all that the round is to be calculated with, also those of adjustments before: leaves of the
    pool's log (policies and methods) and of the registry's (collectives).
    """

    type: ClassVar[str] = "adjustment.v1"
    kind: ClassVar[Kind | None] = Kind.MONEY

    request_id: str
    round: int
    amount_minor: DecimalInt
    lines_sha256: Sha256Hex
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
        return adjustment_transfers(past.parsed(self.lines_sha256, parse_adjusted), self.source, past.balance)


def render_adjusted(lines: Iterable[Adjusted]) -> bytes:
    """Returns the canonical body of an adjustment."""
    rows = (f"{line.account},{line.old_minor},{line.new_minor}\n" for line in lines)
    return (COLUMNS + "\n" + "".join(rows)).encode()


def parse_adjusted(body: bytes) -> list[Adjusted]:
    """Returns the lines of an adjustment.

    Raises:
        LedgerCorruptError: they are not canonical, do not differ, or do not balance.
    """
    try:
        header, *rows = body.decode().removesuffix("\n").split("\n")
        fields = [row.split(",") for row in rows]
        lines = [Adjusted(account, int(old), int(new)) for account, old, new in fields]
        owners = [(line.account.partition("/")[0], owner_of(line.account)) for line in lines]
    except (ValueError, InvalidInputError) as error:
        raise LedgerCorruptError("adjustment", str(error)) from None
    names = [line.account for line in lines]
    known = all(kind in _KINDS for kind, _ in owners)
    if header != COLUMNS or render_adjusted(lines) != body or names != sorted(set(names)) or not known:
        raise LedgerCorruptError("adjustment", "is not canonical")
    differences = [line.difference_minor for line in lines]
    if not lines or any(each == 0 for each in differences) or sum(differences) != 0:
        raise LedgerCorruptError("adjustment", "has no differences, or they do not sum to zero")
    return lines


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
