"""The operator's bank accounts: a leaf and a row for each version, and details at the desk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from ledger.acts.entries import BankAccountContent
from ledger.errors import InvalidInputError, NotFoundError, Sentence, StateError
from ledger.log.leaves import Leaf, decode
from ledger.registry import MAX_NAMED
from ledger.store import tables as lt
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.money import income
from ledger.store.pools.pools import pool_ref
from ledger.store.registry.acts import Effect, append_act
from payout.store import tables as t


@dataclass(frozen=True, slots=True)
class BankAccount:
    """A bank account as the registry's log has it."""

    leaf: Leaf[BankAccountContent]

    @property
    def name(self) -> str:
        """Its id."""
        return self.leaf.content.bank_account

    @property
    def content(self) -> BankAccountContent:
        """What its latest leaf says."""
        return self.leaf.content

    @property
    def details_hash(self) -> bytes:
        """The hash of its details."""
        return bytes.fromhex(self.leaf.content.details_hash)


def _put(connection: sa.Connection, pool: PoolRef, content: BankAccountContent, now: datetime) -> BankAccount:
    for name in content.pools:
        found = pool_ref(connection, name)
        income.require_received(found)
        if found.currency != content.currency:
            detail = Sentence(
                "is in %(pool_currency)s, and the account is in %(account_currency)s",
                pool_currency=found.currency,
                account_currency=content.currency,
            )
            raise StateError(f"pools/{name}", "OTHER_CURRENCY", detail)
    for other in list_bank_accounts(connection):
        if other.name == content.bank_account:
            _require_changeable(other.content, content)
        elif shared := sorted({*other.content.pools} & {*content.pools}):
            raise StateError(
                f"pools/{shared[0]}", "HAS_ACCOUNT", "has the bank account %(account)s already", account=other.name
            )
    leaf_index = append_act(connection, pool, content, now)
    row = {"name": content.bank_account, "details_hash": bytes.fromhex(content.details_hash), "created_at": now}
    connection.execute(sa.insert(t.bank_account).values(leaf_index=leaf_index, **row))
    return get_bank_account(connection, content.bank_account)


def _require_changeable(before: BankAccountContent, after: BankAccountContent) -> None:
    """Check that neither currency nor opening balance changes, and that no pool leaves the account.

    Raises:
        StateError: one does; statements that were taken in rest on it.
    """
    fixed = (before.currency, before.opening_minor) == (after.currency, after.opening_minor)
    if not fixed or not {*before.pools} <= {*after.pools}:
        detail = "keeps its currency, its opening balance and its pools; only pools can be added"
        raise StateError(f"bankAccounts/{before.bank_account}", "FIXED", detail)


def _standing(connection: sa.Connection, _: PoolRef, content: BankAccountContent) -> BankAccount | None:
    found = find_bank_account(connection, content.bank_account)
    return found if found and found.content.said() == content.said() else None


def _version(connection: sa.Connection, _: PoolRef, content: BankAccountContent) -> dict[str, str]:
    return {f"bankAccounts/{content.bank_account}": version_of(connection, content.bank_account)}


PUT_BANK_ACCOUNT: Final = Effect(BankAccountContent, _put, _standing, rests_on=_version)
"""Registers a bank account of the operator's, or changes it; its details are kept already. Returns a `BankAccount`.

Raises NotFoundError if a pool does not exist, StateError if one is in another currency or has another account.
"""


def version_of(connection: sa.Connection, name: str) -> str:
    """The latest leaf of an account as text."""
    found = find_bank_account(connection, name)
    return str(found.leaf.index if found else None)


def find_bank_account(connection: sa.Connection, name: str, *, before: int | None = None) -> BankAccount | None:
    """Returns the account as its latest leaf has it, or as it was before a leaf of the registry's log; None if there is
    none of that name.
    """
    for found in list_bank_accounts(connection, only=name, before=before):
        return found
    return None


def get_bank_account(connection: sa.Connection, name: str, *, before: int | None = None) -> BankAccount:
    """Returns the account as its latest leaf has it; or as it was before a leaf of the registry's log.

    Raises:
        NotFoundError: there is none.
    """
    found = find_bank_account(connection, name, before=before)
    if found is None:
        raise NotFoundError(f"bankAccounts/{name}")
    return found


def list_bank_accounts(
    connection: sa.Connection,
    *,
    after: str = "",
    limit: int | None = None,
    only: str | None = None,
    before: int | None = None,
) -> list[BankAccount]:
    """Returns accounts by name, as they are or as they were before a leaf of the registry's log."""
    name = t.bank_account.c.name.collate("C")
    on = (lt.leaf.c.pool_id == REGISTRY.pool_id) & (lt.leaf.c.leaf_index == t.bank_account.c.leaf_index)
    query = (
        sa.select(lt.leaf.c.entry)
        .select_from(t.bank_account.join(lt.leaf, on))
        .where(name > after)
        .ext(distinct_on(name))
        .order_by(name, t.bank_account.c.leaf_index.desc())
        .limit(limit)
    )
    if only is not None:
        query = query.where(t.bank_account.c.name == only)
    if before is not None:
        query = query.where(t.bank_account.c.leaf_index < before)
    return [_account(row) for row in connection.execute(query)]


def _account(row: Any) -> BankAccount:
    return BankAccount(decode(bytes(row.entry), {BankAccountContent.type: BankAccountContent}))


def require_pools(content: BankAccountContent) -> BankAccountContent:
    """Returns the account, if it pays for at least one pool, not for too many, and names each once, sorted.

    Raises:
        InvalidInputError: it does not.
    """
    if not content.pools or content.pools != sorted(set(content.pools)):
        raise InvalidInputError.of("bank_account.pools", "must name at least one pool, and each once")
    if len(content.pools) > MAX_NAMED:
        raise InvalidInputError.of(
            "bank_account.pools", "must be at most %(most)s, got %(got)s", most=MAX_NAMED, got=len(content.pools)
        )
    return content
