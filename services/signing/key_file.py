"""The file with the deployment's signing key: one line, the secret text form of C2SP signed-note."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from ledger.errors import FormatError, InvalidInputError, UnwritableError
from ledger.log.note_keys import KEY_BYTES, SigningKey
from ledger.log.origins import require_deployment
from ledger.store.durable import OWNER_ONLY, write_whole

DEFAULT_ORIGIN: Final = "localhost/moiety"
"""The origin of a deployment that has not been given a name of its own."""


def generate_key(path: Path, origin: str) -> SigningKey:
    """Make a signing key for a deployment with this origin, in a new file that only its owner can read.

    Raises:
        InvalidInputError: the origin is not valid, or the file exists.
        UnwritableError: the file cannot be written.
    """
    try:
        key = SigningKey(require_deployment(origin), secrets.token_bytes(KEY_BYTES))
    except FormatError as error:
        raise InvalidInputError.of("origin", error.reason) from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{key.to_text()}\n".encode(), mode=OWNER_ONLY, is_new=True)
    except OSError as error:
        kind = InvalidInputError if isinstance(error, FileExistsError) else UnwritableError
        raise kind.of("signing key file", f"{path} cannot be made: {error.strerror}") from None
    return key


def read_key(path: Path) -> SigningKey:
    """Returns the signing key in a file.

    Raises:
        InvalidInputError: the file does not contain a key; the error does not quote it.
    """
    try:
        return SigningKey.parse(path.read_text(encoding="utf-8").removesuffix("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError.of("MOIETY_SIGNING_KEY_FILE", f"cannot be read: {error}") from None
    except FormatError as error:
        raise InvalidInputError.of("MOIETY_SIGNING_KEY_FILE", f"{path} has no signing key: {error}") from None
