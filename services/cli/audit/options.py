"""What commands that verify have in common: keys and files from the command line, and errors for what does not
verify.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.base.exits import DoesNotHoldError, InputError

if TYPE_CHECKING:
    from audit.verification.bundle import Older
    from ledger.log.key_changes import KeyChange
    from ledger.log.note_keys import VerifierKey
    from ledger.log.witness_policy import WitnessPolicy

Key = Annotated[
    str,
    typer.Option(
        metavar="VKEY",
        help="The public key of the deployment or of the pool's log, or a file with it: see `moiety log vkey`.",
    ),
]
Witnesses = Annotated[
    list[str] | None,
    typer.Option("--witness", metavar="VKEY", help="The key of a witness that must have cosigned, or a file with it."),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--witness-policy",
        metavar="FILE",
        help="The witnesses that must have cosigned, such as 2 of 3: a policy in the form of c2sp.org/tlog-policy.",
    ),
]
KeyChanges = Annotated[
    list[Path] | None,
    typer.Option(
        "--key-change",
        metavar="FILE",
        help="A change of the deployment's signing key since yours, or before: see `moiety log change-key`.",
    ),
]
OptionalKey = Annotated[
    str | None,
    typer.Option(metavar="VKEY", help="Verify it with this public key, the deployment's or that of the pool's log."),
]
Out = Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")]


def verifier_key(text: str, field: str = "key") -> VerifierKey:
    """Returns a public key from the command line, given directly or as a file.

    Raises:
        InputError: it is neither a public key nor a file that contains one.
    """
    from ledger.errors import FormatError
    from ledger.log.note_keys import VerifierKey

    given = text
    if "+" not in text:  # every vkey has one
        try:
            given = read_file(Path(text), field).decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise InputError.of(field, f"{text}: does not contain a public key") from None
    try:
        return VerifierKey.parse(given)
    except FormatError as error:
        raise InputError.of(field, error.reason) from None


def log_key(text: str, note: bytes) -> VerifierKey:
    """Returns the key of the log of a checkpoint, from the command line: the log's own, or its deployment's.

    Raises:
        InputError: the text is neither a public key nor a file that contains one.
    """
    from ledger.errors import FormatError
    from ledger.log.checkpoint import read_checkpoint

    key = verifier_key(text)
    try:
        return key.of_log(read_checkpoint(note)[0].origin)
    except FormatError:  # verifying the note reports it
        return key


def witness_policies(key: VerifierKey, witnesses: list[str] | None, file: Path | None) -> tuple[WitnessPolicy, ...]:
    """Returns who must have cosigned, according to the command line.

    Raises:
        InputError: a key is not a witness's, the file is not a policy, or the policy is not for this log.
    """
    from ledger.errors import FormatError
    from ledger.log.witness_policy import MAX_POLICY_BYTES, all_of, parse_policy

    policies = []
    try:
        if witnesses:
            policies.append(all_of([verifier_key(text, "witness") for text in witnesses]))
    except FormatError as error:
        raise InputError.of("witness", error.reason) from None
    if file is not None:
        try:
            policy = parse_policy(read_file(file, "witness-policy", MAX_POLICY_BYTES))
        except FormatError as error:
            raise InputError.of("witness-policy", f"{file}: {error.subject}: {error.reason}") from None
        if policy.logs and all(log.of_log(key.name) != key for log in policy.logs):
            raise InputError.of("witness-policy", f"{file}: is not for the log {key}")
        policies.append(policy)
    return tuple(policies)


def key_changes(files: list[Path] | None) -> tuple[KeyChange, ...]:
    """Returns the key changes in these files.

    Raises:
        InputError: a file is not one, or a signature on it is missing or invalid.
    """
    from ledger.errors import FormatError, SignatureError
    from ledger.log.key_changes import KeyChange

    found = []
    for path in files or ():
        try:
            found.append(KeyChange.parse(read_file(path, "key-change")))
        except (FormatError, SignatureError) as error:
            raise InputError.of("key-change", f"{path}: {error}") from None
    return tuple(found)


@contextmanager
def holding(subject: str) -> Iterator[None]:
    """Turn a failed check in here into the command's verdict."""
    from ledger.errors import FormatError, ProofError, SignatureError

    try:
        yield
    except (FormatError, ProofError, SignatureError) as error:
        raise DoesNotHoldError.of(subject, str(error)) from None


def read_file(path: Path, field: str, bytes_max: int | None = None) -> bytes:
    """Returns a file's bytes, at most `bytes_max` or else as many as the longest file of a log.

    Raises:
        InputError: the file cannot be read, is too long, or is a pipe or device.
    """
    from audit.files.folders import open_regular
    from ledger.files.layout import MAX_FILE_BYTES

    limit = MAX_FILE_BYTES if bytes_max is None else bytes_max
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError.of(field, f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise InputError.of(field, f"{path}: is larger than {limit:,} bytes")
    return data


def read_kept(path: Path) -> Older:
    """Returns the checkpoint in a file, or in an older bundle or folder.

    Raises:
        InputError: there is no checkpoint.
    """
    from audit.files.archives import is_archive, open_files
    from audit.verification.bundle import Older
    from ledger.errors import FormatError, NotFoundError
    from ledger.files.layout import CHECKPOINT, REGISTRY_FOLDER
    from ledger.log.notes import MAX_NOTE_BYTES

    try:
        if not path.is_dir() and not is_archive(path):
            return Older(str(path), read_file(path, "since", MAX_NOTE_BYTES))
        with closing(open_files(path)) as files:
            note = files.read(CHECKPOINT, bytes_max=MAX_NOTE_BYTES)
            return Older(str(path), note, files.read(REGISTRY_FOLDER + CHECKPOINT, bytes_max=MAX_NOTE_BYTES))
    except NotFoundError:
        raise InputError.of("since", f"{path}: does not contain a checkpoint") from None
    except FormatError as error:
        raise InputError.of("since", f"{path}: {error.subject} {error.reason}") from None
    except OSError as error:
        raise InputError.of("since", f"{path}: {error.strerror}") from None
