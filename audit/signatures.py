"""Checks who signed a checkpoint: the log, and the required witnesses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from audit.findings import Finding, FoundError, Where
from audit.steps import Step
from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import SignedCheckpoint, open_checkpoint
from ledger.log.note_keys import VerifierKey
from ledger.log.notes import OpenedNote
from ledger.log.witness_policy import WitnessPolicy, first_unmet, witnesses_of


@dataclass(frozen=True, slots=True)
class Signer:
    """A valid signature on a checkpoint, by the log or a witness; a witness's states when it cosigned, in RFC 3339."""

    log: str
    name: str
    key_id: str
    cosigned_at: str


Open = Callable[[Sequence[VerifierKey]], SignedCheckpoint]
"""Opens a checkpoint with the keys of its witnesses, as `open_checkpoint` does."""


def signed_by(
    note: bytes, key: VerifierKey, file: str, step: Step, policies: Sequence[WitnessPolicy] = ()
) -> SignedCheckpoint:
    """Returns the checkpoint in a note that the log and the witnesses have signed; `file` is its name in findings.

    Raises:
        FoundError: a signature is missing or invalid, or the note is not a checkpoint.
    """
    return checked_signatures(lambda keys: open_checkpoint(note, key, witnesses=keys), key, file, step, policies)


def checked_signatures(
    opening: Open, key: VerifierKey, file: str, step: Step, policies: Sequence[WitnessPolicy] = ()
) -> SignedCheckpoint:
    """Returns what `opening` returns, if the log and the witnesses have signed.

    Raises:
        FoundError: a signature is missing or invalid, or the note is not a checkpoint.
    """
    where = Where(file=file)
    try:
        signed = opening(witnesses_of(policies))
    except SignatureError as error:
        claimed = f"{', '.join(error.keys)} {error.reason}"
        raise FoundError(Finding(where, "signature", claimed, f"a signature by {key}", step)) from None
    except FormatError as error:
        raise FoundError(Finding(where, error.subject, error.reason, "a signed checkpoint", step)) from None
    if unmet := first_unmet(signed.note, policies):
        claimed, expected = f"none by {', '.join(unmet.missing)}", f"by {unmet.policy}"
        raise FoundError(Finding(where, "cosignatures", claimed, expected, step))
    return signed


def signers_of(note: OpenedNote, log: str) -> list[Signer]:
    """Returns who signed a checkpoint, of those whose keys are known; `log` is `pool` or `registry`."""
    return [
        Signer(log, verified.key.name, verified.key.key_id.hex(), _time_of(verified.time_seconds))
        for verified in note.verified
    ]


def _time_of(seconds: int | None) -> str:
    """A POSIX time in RFC 3339; the number of seconds itself if calendars do not go that far."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return str(seconds)
