"""Making a key change: from the old key's folder of checkpoints, which has the last one of each log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ledger.errors import FormatError, InvalidInputError
from ledger.log.key_changes import KeyChange, LastSigned, Reason
from ledger.log.note_keys import SigningKey, VerifierKey
from ledger.log.origins import REGISTRY_LOG, log_origin
from services.signing.folder import COPY_EXTENSION, CheckpointFolder


@dataclass(frozen=True, slots=True)
class MadeChange:
    """A change of the key, and its note."""

    change: KeyChange
    note: bytes


def make_key_change(
    reason: str, old: VerifierKey, old_key: SigningKey | None, new_key: SigningKey, checkpoints: Path
) -> MadeChange:
    """Returns the change from one key to the next, signed; `old_key` is None if it is lost or stolen.

    Raises:
        InvalidInputError: the folder has no checkpoint of the registry, or the keys are not of one deployment.
        StateError: a checkpoint in it is not the old key's.
    """
    names = sorted(path.name.removesuffix(COPY_EXTENSION) for path in checkpoints.glob(f"*{COPY_EXTENSION}"))
    if REGISTRY_LOG not in names:
        raise InvalidInputError.of("checkpoints", f"{checkpoints}: has no checkpoint of the registry's log")
    folder = CheckpointFolder(checkpoints)
    last = []
    for name in names:
        found = folder.read(name, VerifierKey(log_origin(old.name, name), old.public_key))
        if found is not None:
            last.append(LastSigned(name, found[0].size, found[0].root))
    try:
        change = KeyChange(Reason(reason), old, new_key.verifier_key, tuple(last))
        return MadeChange(change, change.sign(new_key, old_key))
    except FormatError as error:
        raise InvalidInputError.of("key change", error.reason) from None
