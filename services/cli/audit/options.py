"""What commands that verify have in common: keys and files from the command line, and what becomes of what does not
hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.base.exits import DoesNotHoldError, InputError

if TYPE_CHECKING:
    from ledger.log.note_keys import VerifierKey

Key = Annotated[
    str,
    typer.Option(
        metavar="VKEY",
        help="The public key of the pool's log, or a file with it: see `moiety log vkey`.",
    ),
]
OptionalKey = Annotated[
    str | None,
    typer.Option(metavar="VKEY", help="Verify it with this public key of the pool's log."),
]
Out = Annotated[Path, typer.Option(metavar="FILE", help="Where to write it.")]


def verifier_key(text: str, field: str = "key") -> VerifierKey:
    """A public key from the command line, as it is or in a file.

    Raises:
        InputError: it is not a public key, and no file that holds one.
    """
    from ledger.errors import FormatError
    from ledger.log.note_keys import VerifierKey

    given = text
    if "+" not in text:  # no vkey is without
        try:
            given = read_file(Path(text), field).decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise InputError.of(field, f"{text}: holds no public key") from None
    try:
        return VerifierKey.parse(given)
    except FormatError as error:
        raise InputError.of(field, error.reason) from None


@contextmanager
def holding(subject: str) -> Iterator[None]:
    """Make what does not hold in here the command's verdict."""
    from ledger.errors import FormatError, ProofError, SignatureError

    try:
        yield
    except (FormatError, ProofError, SignatureError) as error:
        raise DoesNotHoldError.of(subject, str(error)) from None


def read_file(path: Path, field: str) -> bytes:
    """A file's bytes.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError.of(field, f"{path}: {error.strerror}") from None


def write_file(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError.of("out", f"{path}: {error.strerror}") from None
