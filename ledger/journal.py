"""Double entry: transfers between a pool's accounts.

A transfer takes from one account what it gives to another, so a pool's balances sum to zero by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.errors import InvalidInputError
from ledger.registry import require_resource_id

REVENUE: Final = "revenue"
FEES: Final = "fees"
COMMONS: Final = "commons"
ROUNDING: Final = "rounding"
"""Fractions owed to collectives and to the commons fund, which are not whole units yet."""

POOL_ACCOUNTS: Final = (REVENUE, FEES, COMMONS, ROUNDING)
"""Those that belong to the pool itself."""


def platform_account(platform: str) -> str:
    """What the platform has paid in, below zero."""
    return f"platform/{platform}"


def collective_account(collective: str) -> str:
    """What the collective is owed."""
    return f"collective/{collective}"


def held_account(collective: str) -> str:
    """What the collective would be owed were it not suspended."""
    return f"held/{collective}"


def paid_account(collective: str) -> str:
    """What the collective was paid."""
    return f"paid/{collective}"


COLLECTIVE_KINDS: Final = ("collective", "held", "paid")
OWNED_KINDS: Final = ("platform", *COLLECTIVE_KINDS)


def owner_of(account: str, field: str = "account") -> str | None:
    """The platform or collective whose account this is; None for one of the pool's own.

    Raises:
        InvalidInputError: it is not an account name; the error names `field`.
    """
    if account in POOL_ACCOUNTS:
        return None
    kind, slash, owner = account.partition("/")
    if kind not in OWNED_KINDS or not slash:
        raise InvalidInputError.of(field, f"{account[:80]!r} is not the name of an account")
    return require_resource_id(owner, field)


def collectives_of(accounts: Iterable[str]) -> set[str]:
    """The collectives whose accounts are among these."""
    named = (account.partition("/") for account in accounts)
    return {owner for kind, slash, owner in named if slash and kind in COLLECTIVE_KINDS}


class Purpose(StrEnum):
    """Why an amount moved."""

    REVENUE = "REVENUE"
    FEE = "FEE"
    ATTRIBUTED = "ATTRIBUTED"
    COMMONS = "COMMONS"
    COMMONS_FUND = "COMMONS_FUND"
    PAYMENT = "PAYMENT"
    RELEASE = "RELEASE"
    RETURN = "RETURN"
    GRANT = "GRANT"
    ROUNDING = "ROUNDING"


@dataclass(frozen=True, slots=True)
class Transfer:
    """`amount_minor` > 0 moves from one account to another."""

    from_account: str
    to_account: str
    amount_minor: int
    purpose: Purpose

    def __post_init__(self) -> None:
        if self.amount_minor <= 0 or self.from_account == self.to_account:
            raise ValueError(f"not a transfer: {self!r}")

    def __str__(self) -> str:
        """As the journal's lines have it, after leaf and ordinal."""
        return f"{self.from_account},{self.to_account},{self.amount_minor},{self.purpose.value}"


def may_be_below_zero(account: str) -> bool:
    """Whether an account may owe: only what a platform has paid in is counted below zero."""
    return account.startswith(platform_account(""))


def fold(balances: Mapping[str, int], transfers: Iterable[Transfer]) -> dict[str, int]:
    """The balances after the transfers, of the accounts that they touch. Absent accounts count as zero."""
    changed: dict[str, int] = {}
    for transfer in transfers:
        for account, amount in (
            (transfer.from_account, -transfer.amount_minor),
            (transfer.to_account, transfer.amount_minor),
        ):
            changed[account] = changed.get(account, balances.get(account, 0)) + amount
    return changed
