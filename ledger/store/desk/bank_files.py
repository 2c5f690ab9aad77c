"""Files that banks sent, as they are kept at the desk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.store.desk.tables import bank_file


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a bank sent. `problem` says why it moves nothing; empty if it may."""

    file_hash: bytes
    bank_account: str | None
    name: str
    message: str
    message_id: str
    problem: str
    received_at: datetime


def keep_file(connection: sa.Connection, kept: KeptFile, sealed: bytes) -> None:
    """Keep a bank's file, encrypted."""
    connection.execute(sa.insert(bank_file).values(sealed=sealed, **asdict(kept)))


def sealed_file(connection: sa.Connection, file_hash: bytes) -> bytes | None:
    """Returns a file as it was kept; None if it was erased."""
    found = connection.execute(sa.select(bank_file.c.sealed).where(bank_file.c.file_hash == file_hash)).scalar()
    return None if found is None else bytes(found)


def list_problems(connection: sa.Connection, bank_account: str, *, limit: int = 1_000) -> list[KeptFile]:
    """Returns the files of an account that move nothing, the newest first."""
    query = _kept_files(bank_account).order_by(bank_file.c.received_at.desc()).limit(limit)
    return [_kept_file(row) for row in connection.execute(query)]


def find_problem(connection: sa.Connection, bank_account: str, message: str, message_id: str) -> KeptFile | None:
    """Returns the file of an account with a message that moves nothing; None if there is none."""
    same = (bank_file.c.message == message) & (bank_file.c.message_id == message_id)
    row = connection.execute(_kept_files(bank_account).where(same)).first()
    return _kept_file(row) if row else None


def _kept_files(bank_account: str) -> sa.Select[Any]:
    columns = [column for column in bank_file.columns if column is not bank_file.c.sealed]
    # A server of the version before, beside this one, does not say which account a file is of: it may be of any.
    of_account = (bank_file.c.bank_account == bank_account) | bank_file.c.bank_account.is_(None)
    return sa.select(*columns).where(bank_file.c.problem != "", of_account)


def _kept_file(row: Any) -> KeptFile:
    return KeptFile(bytes(row[0]), *row[1:])
