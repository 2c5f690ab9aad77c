"""The file with the deployment's signing key: one line, the secret text form of C2SP signed-note."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from ledger.errors import FormatError, InvalidInputError
from ledger.log.note_keys import KEY_BYTES, SigningKey

DEFAULT_ORIGIN: Final = "localhost/moiety"
"""The origin of a deployment that has not been given a name of its own."""

_OWNER_ONLY: Final = 0o600


def generate_key(path: Path, origin: str) -> SigningKey:
    """Make a signing key for a deployment with this origin, in a new file that only its owner can read.

    Raises:
        InvalidInputError: the origin is not valid, or the file exists or cannot be written.
    """
    try:
        key = SigningKey(origin, secrets.token_bytes(KEY_BYTES))
    except FormatError as error:
        raise InvalidInputError.of("origin", error.reason) from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as file:
            file.write(key.to_text() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InvalidInputError.of("signing key file", f"{path} cannot be made: {error.strerror}") from None
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
