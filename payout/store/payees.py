"""Where collectives' money goes: a leaf and a row for each account, and its details at the desk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from ledger.acts.entries import PayeeContent
from ledger.errors import LedgerCorruptError, NotFoundError, StateError
from ledger.store.desk import tables as desk
from ledger.store.desk.vault import Vault
from ledger.store.logs.log import PoolRef
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.collectives import require_collective
from payout.payments.details import AccountDetails, SaltedDetails
from payout.store import tables as t

COOLING: Final = timedelta(days=3)
"""How long a new account waits before anything is paid to it, so that its owner can notice one that is not its own."""


@dataclass(frozen=True, slots=True)
class Payee:
    """An account of a collective, as the registry's log has it."""

    collective: str
    details_hash: bytes
    leaf_index: int
    created_at: datetime

    @property
    def payable_from(self) -> datetime:
        """When its cooling period is over."""
        return self.created_at + COOLING


def put_details(connection: sa.Connection, vault: Vault, owner: str, salted: SaltedDetails, now: datetime) -> str:
    """Keep an account's details, encrypted, at the desk; returns their hash in hexadecimal.

    Raises:
        StateError: no key for payees is set.
    """
    row = {"details_hash": salted.hash(), "owner": owner, "sealed": vault.seal(salted.to_bytes()), "created_at": now}
    connection.execute(insert(desk.account_details).values(row).on_conflict_do_nothing())
    return salted.hash().hex()


def read_details(connection: sa.Connection, vault: Vault, hashes: list[bytes]) -> dict[bytes, AccountDetails]:
    """Returns details by their hashes, without those that were erased.

    Raises:
        StateError: no key for payees is set.
        LedgerCorruptError: something at the desk is not what a log has the hash of.
    """
    table = desk.account_details
    among = table.c.details_hash == sa.any_(sa.literal(hashes, sa.ARRAY(sa.LargeBinary)))
    found = {}
    for row in connection.execute(sa.select(table.c.details_hash, table.c.owner, table.c.sealed).where(among)):
        subject = f"the account of {row.owner}"
        salted = SaltedDetails.from_bytes(vault.open(bytes(row.sealed), subject))
        if salted.hash() != bytes(row.details_hash):
            raise LedgerCorruptError(subject, "is not the one that the registry's log has the hash of")
        found[salted.hash()] = salted.details
    return found


def kept_details(connection: sa.Connection, hashes: Iterable[bytes]) -> set[bytes]:
    """Returns which of these details are at the desk and were not erased."""
    column = desk.account_details.c.details_hash
    among = column == sa.any_(sa.literal(list(hashes), sa.ARRAY(sa.LargeBinary)))
    return {bytes(found) for found in connection.execute(sa.select(column).where(among)).scalars()}


def _put_payee(connection: sa.Connection, pool: PoolRef, content: PayeeContent, now: datetime) -> Payee:
    require_collective(connection, content.collective)
    details_hash = bytes.fromhex(content.details_hash)
    table = desk.account_details
    if not connection.execute(sa.select(table.c.owner).where(table.c.details_hash == details_hash)).first():
        raise StateError(f"collectives/{content.collective}", "DETAILS_ERASED", "the account's details were erased")
    leaf_index = append_act(connection, pool, content, now)
    row = {"collective": content.collective, "details_hash": details_hash, "created_at": now}
    connection.execute(sa.insert(t.payee).values(leaf_index=leaf_index, **row))
    return Payee(content.collective, details_hash, leaf_index, now)


def _standing_payee(connection: sa.Connection, _: PoolRef, content: PayeeContent) -> Payee | None:
    found = latest(connection, content.collective)
    return found if found and found.details_hash.hex() == content.details_hash else None


def _payee_version(connection: sa.Connection, _: PoolRef, content: PayeeContent) -> dict[str, str]:
    found = latest(connection, content.collective)
    return {f"collectives/{content.collective}/payee": str(found.leaf_index if found else None)}


PUT_PAYEE: Final = Effect(PayeeContent, _put_payee, _standing_payee, rests_on=_payee_version)
"""Sets where a collective's money goes; its details are kept already. Returns a `Payee`.

Raises NotFoundError if there is no such collective, StateError if the details were erased meanwhile.
"""


def latest(connection: sa.Connection, collective: str) -> Payee | None:
    """Returns a collective's latest account."""
    for found in list_payees(connection, only=collective):
        return found
    return None


def get_payee(connection: sa.Connection, collective: str) -> Payee:
    """Returns a collective's latest account.

    Raises:
        NotFoundError: it has none.
    """
    found = latest(connection, collective)
    if found is None:
        raise NotFoundError(f"collectives/{collective}/payee")
    return found


def list_payees(
    connection: sa.Connection, *, after: str = "", limit: int | None = None, only: str | None = None
) -> list[Payee]:
    """Returns the latest account of each collective that has one, by collective."""
    collective = t.payee.c.collective.collate("C")
    query = (
        sa.select(t.payee)
        .where(collective > after)
        .ext(distinct_on(collective))
        .order_by(collective, t.payee.c.leaf_index.desc())
        .limit(limit)
    )
    if only is not None:
        query = query.where(t.payee.c.collective == only)
    return [_payee(row) for row in connection.execute(query)]


def same_details(connection: sa.Connection, vault: Vault, payee: Payee | None, details: AccountDetails) -> str:
    """Returns the hash of a payee's account in hexadecimal if it has just these details; else nothing."""
    if payee is None or read_details(connection, vault, [payee.details_hash]).get(payee.details_hash) != details:
        return ""
    return payee.details_hash.hex()


def _payee(row: Any) -> Payee:
    return Payee(row.collective, bytes(row.details_hash), row.leaf_index, row.created_at)


def at_leaves(connection: sa.Connection, leaves: list[int]) -> list[Payee]:
    """Returns the accounts at leaves of the registry's log."""
    among = t.payee.c.leaf_index == sa.any_(sa.literal(leaves, sa.ARRAY(sa.BigInteger)))
    return [_payee(row) for row in connection.execute(sa.select(t.payee).where(among))]


def require_details(details: Mapping[bytes, AccountDetails], digest: bytes, subject: str) -> AccountDetails:
    """Returns an account's details among those that were read.

    Raises:
        StateError: they were erased.
    """
    if digest not in details:
        raise StateError(subject, "DETAILS_ERASED", "has no account any more: its details were erased")
    return details[digest]
