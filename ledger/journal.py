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
    """The account of what the platform has paid in, which is below zero."""
    return f"platform/{platform}"


def collective_account(collective: str) -> str:
    """The account of what the collective is owed."""
    return f"collective/{collective}"


def held_account(collective: str) -> str:
    """The account of what the collective would be owed if it were not suspended."""
    return f"held/{collective}"


def paid_account(collective: str) -> str:
    """The account of what the collective was paid."""
    return f"paid/{collective}"


COLLECTIVE_KINDS: Final = ("collective", "held", "paid")
OWNED_KINDS: Final = ("platform", *COLLECTIVE_KINDS)


def owner_of(account: str, field: str = "account") -> str | None:
    """Returns the platform or collective that owns this account; None for one of the pool's own.

    Raises:
        InvalidInputError: it is not an account name; the error names `field`.
    """
    if account in POOL_ACCOUNTS:
        return None
    kind, slash, owner = account.partition("/")
    if kind not in OWNED_KINDS or not slash:
        raise InvalidInputError.of(field, f"is not the name of an account: {account[:80]!r}")
    return require_resource_id(owner, field)


def collectives_of(accounts: Iterable[str]) -> set[str]:
    """Returns the collectives that own any of these accounts."""
    named = (account.partition("/") for account in accounts)
    return {owner for kind, slash, owner in named if slash and kind in COLLECTIVE_KINDS}


class Purpose(StrEnum):
    """Why money moved."""

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
    DISPUTED = "DISPUTED"


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
        """The transfer as in the journal's lines, after leaf and ordinal."""
        return f"{self.from_account},{self.to_account},{self.amount_minor},{self.purpose.value}"


def may_be_below_zero(account: str) -> bool:
    """Whether an account may be negative: only the platforms', which count what was paid in below zero."""
    return account.startswith(platform_account(""))


def fold(balances: Mapping[str, int], transfers: Iterable[Transfer]) -> dict[str, int]:
    """Returns the balances after the transfers, of the accounts that they change. Absent accounts count as zero."""
    changed: dict[str, int] = {}
    for transfer in transfers:
        for account, amount in (
            (transfer.from_account, -transfer.amount_minor),
            (transfer.to_account, transfer.amount_minor),
        ):
            changed[account] = changed.get(account, balances.get(account, 0)) + amount
    return changed
