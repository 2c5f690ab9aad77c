"""Double entry: transfers between a pool's accounts.

A transfer takes from one account what it gives to another, so a pool's balances sum to zero by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Self

from ledger.errors import InvalidInputError
from ledger.registry import require_resource_id

REVENUE: Final = "revenue"
FEES: Final = "fees"
COMMONS: Final = "commons"
ROUNDING: Final = "rounding"
"""Fractions owed to collectives and to the commons fund, which are not whole units yet."""

UNMATCHED: Final = "unmatched"
"""Received, and nobody knows whose it is."""
OUTSIDE: Final = "outside"
"""Where money comes from that no report accounts for, which is below zero: what credits and `unmatched` hold."""
COSTS: Final = "costs"
"""Bank charges, which are below zero until fees make up for them."""
WITHDRAWN: Final = "withdrawn"
"""What left the bank account for nobody's account here, such as bank charges."""

AWAITING_FEES: Final = "awaiting_fees"
AWAITING_COMMONS: Final = "awaiting_commons"
AWAITING_REVENUE: Final = "awaiting_revenue"
"""What those accounts get as what adjustments ask back is recouped."""

POOL_ACCOUNTS: Final = (
    REVENUE, FEES, COMMONS, ROUNDING, UNMATCHED, OUTSIDE, COSTS, WITHDRAWN, AWAITING_FEES, AWAITING_COMMONS,
    AWAITING_REVENUE,
)  # fmt: skip
"""Those that belong to the pool itself."""


def platform_account(platform: str) -> str:
    """The account of what the platform has reported, which is below zero."""
    return f"platform/{platform}"


def due_account(platform: str) -> str:
    """The account of what the platform has reported and not yet paid."""
    return f"due/{platform}"


def credit_account(platform: str) -> str:
    """The account of what the platform has paid beyond what it has reported."""
    return f"credit/{platform}"


def collective_account(collective: str) -> str:
    """The account of what the collective is owed."""
    return f"collective/{collective}"


def held_account(collective: str) -> str:
    """The account of what the collective would be owed if it were not suspended."""
    return f"held/{collective}"


def paying_account(collective: str) -> str:
    """The account of what the collective is being paid, and the bank has not confirmed."""
    return f"paying/{collective}"


def paid_account(collective: str) -> str:
    """The account of what the collective was paid."""
    return f"paid/{collective}"


def owing_account(collective: str) -> str:
    """The account of what an adjustment asks back of the collective, which is below zero."""
    return f"owing/{collective}"


def awaiting_account(account: str) -> str:
    """The account of what adjustments give to an account, as soon as what they ask back is recouped."""
    kind, slash, owner = account.partition("/")
    return f"awaiting/{owner}" if slash else f"awaiting_{kind}"


PLATFORM_KINDS: Final = ("platform", "due", "credit")
COLLECTIVE_KINDS: Final = ("collective", "held", "owing", "awaiting", "paying", "paid")
OWNED_KINDS: Final = (*PLATFORM_KINDS, *COLLECTIVE_KINDS)


def owner_of(account: str, field: str = "account") -> str | None:
    """Returns the platform or collective that owns this account; None for one of the pool's own.

    Raises:
        InvalidInputError: it is not an account name; the error names `field`.
    """
    if account in POOL_ACCOUNTS:
        return None
    kind, slash, owner = account.partition("/")
    if kind not in OWNED_KINDS or not slash:
        raise InvalidInputError.of(field, "is not the name of an account: %(got)r", got=account[:80])
    return require_resource_id(owner, field)


def collectives_of(accounts: Iterable[str]) -> set[str]:
    """Returns the collectives that own any of these accounts."""
    named = (account.partition("/") for account in accounts)
    return {owner for kind, slash, owner in named if slash and kind in COLLECTIVE_KINDS}


class Purpose(StrEnum):
    """Why money moved."""

    REPORT = "REPORT"
    FEE = "FEE"
    ATTRIBUTED = "ATTRIBUTED"
    COMMONS = "COMMONS"
    COMMONS_FUND = "COMMONS_FUND"
    PAYMENT = "PAYMENT"
    RELEASE = "RELEASE"
    RETURN = "RETURN"
    GRANT = "GRANT"
    ROUNDING = "ROUNDING"
    DISPUTED = "DISPUTED"
    RECEIPT = "RECEIPT"
    CREDIT = "CREDIT"
    MATCH = "MATCH"
    REVERSAL = "REVERSAL"
    CHARGEBACK = "CHARGEBACK"
    PAY_RUN = "PAY_RUN"
    UNPAID = "UNPAID"
    RETURNED = "RETURNED"
    CHARGE = "CHARGE"
    ADJUSTMENT = "ADJUSTMENT"
    RECOUPED = "RECOUPED"


class _Move(NamedTuple):
    from_account: str
    to_account: str
    amount_minor: int
    purpose: Purpose


class Transfer(_Move):
    """`amount_minor` > 0 moves from one account to another.

    A tuple, since a posting has two for each collective: a dataclass takes three times as long to make and to compare.
    """

    __slots__ = ()

    def __new__(cls, from_account: str, to_account: str, amount_minor: int, purpose: Purpose) -> Self:
        """Make one.

        Raises:
            ValueError: nothing would move.
        """
        if amount_minor <= 0 or from_account == to_account:
            raise ValueError(f"not a transfer: {from_account!r} to {to_account!r}, {amount_minor!r}")
        return tuple.__new__(cls, (from_account, to_account, amount_minor, purpose))

    def __str__(self) -> str:
        """The transfer as in the journal's lines, after leaf and ordinal."""
        return f"{self.from_account},{self.to_account},{self.amount_minor},{self.purpose.value}"


def may_be_below_zero(account: str) -> bool:
    """Whether an account may be negative.

    Those that count what came from elsewhere always are; `revenue` is after what was distributed has been taken back,
    until later money makes up for it, and `costs` until fees do.
    """
    return account in _BELOW_ZERO or account.startswith((platform_account(""), owing_account("")))


_BELOW_ZERO: Final = frozenset({REVENUE, OUTSIDE, COSTS})


_NOT_AT_THE_BANK: Final = ("platform", "due", "paid", "outside", "withdrawn")


def is_at_the_bank(account: str) -> bool:
    """Whether an account's money lies at the pool's bank: all but what is not there yet, and what has left."""
    return account.partition("/")[0] not in _NOT_AT_THE_BANK


def fold(balances: Mapping[str, int], transfers: Iterable[Transfer]) -> dict[str, int]:
    """Returns the balances after the transfers, of the accounts that they change. Absent accounts count as zero."""
    changed: dict[str, int] = {}
    for source, target, amount, _ in transfers:
        changed[source] = (changed[source] if source in changed else balances.get(source, 0)) - amount
        changed[target] = (changed[target] if target in changed else balances.get(target, 0)) + amount
    return changed
