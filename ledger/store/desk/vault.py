"""Encryption of what lies at the desk, by the keys in a file: Fernet, which is AES with a MAC and a time.

The file has a key a line. The first encrypts, and all of them decrypt, so that a new key is put in front, `moiety db
rotate` encrypts everything anew, and the old one is then removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ledger.errors import InvalidInputError, LedgerCorruptError, StateError, UnwritableError
from ledger.store.desk import tables as desk
from ledger.store.durable import OWNER_ONLY, write_whole

_SEALED: Final = (desk.account_details, desk.bank_file, desk.webhook_details)


class Vault:
    """Encrypts and decrypts; without keys it refuses both.

    Args:
        keys: the lines of the file; None where no file is set.
    """

    def __init__(self, keys: list[str] | None = None) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def seal(self, text: bytes) -> bytes:
        """Returns the text encrypted.

        Raises:
            StateError: no key is set.
        """
        return self._keys().encrypt(text)

    def open(self, sealed: bytes, subject: str) -> bytes:
        """Returns what was encrypted.

        Raises:
            StateError: no key is set.
            LedgerCorruptError: none of the keys decrypts it, or it was changed.
        """
        try:
            return self._keys().decrypt(sealed)
        except InvalidToken:
            detail = "was changed, or is encrypted with a key that MOIETY_PAYEE_KEY_FILE does not have"
            raise LedgerCorruptError(subject, detail) from None

    def seal_anew(self, connection: sa.Connection) -> int:
        """Encrypt everything at the desk with the first key; returns how many rows. Safe to repeat.

        Raises:
            StateError, LedgerCorruptError: as `open` does.
        """
        done = 0
        for table in _SEALED:
            (key,) = table.primary_key.columns
            for row in connection.execute(sa.select(key, table.c.sealed)).all():
                sealed = self.seal(self.open(bytes(row.sealed), f"a row of {table.fullname}"))
                connection.execute(sa.update(table).where(key == row[0]).values(sealed=sealed))
                done += 1
        return done

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            detail = "is not set; make a key with `moiety key payees FILE`, and start every server with it"
            raise StateError("MOIETY_PAYEE_KEY_FILE", "NO_PAYEE_KEY", detail)
        return self._fernet


def read_vault(path: Path) -> Vault:
    """Returns the vault of a file's keys.

    Raises:
        InvalidInputError: the file cannot be read, has no key, or a line is not a key; the error quotes none.
    """
    try:
        keys = path.read_text(encoding="ascii").split()
        vault = Vault(keys)
    except OSError as error:
        raise InvalidInputError.of("MOIETY_PAYEE_KEY_FILE", f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidInputError.of("MOIETY_PAYEE_KEY_FILE", f"{path} has a line that is no key") from None
    if not keys:
        raise InvalidInputError.of("MOIETY_PAYEE_KEY_FILE", f"{path} has no key")
    return vault


def add_key(path: Path) -> None:
    """Put a new key in front of a file's keys, or into a new file that only its owner can read.

    Raises:
        InvalidInputError: the file cannot be read, or is no file of keys.
        UnwritableError: it cannot be written.
    """
    if path.exists():
        read_vault(path)
    try:
        before = path.read_bytes() if path.exists() else b""
        write_whole(path, Fernet.generate_key() + b"\n" + before, mode=OWNER_ONLY)
    except OSError as error:
        raise UnwritableError.of("FILE", f"{path} cannot be read or written: {error.strerror}") from None
