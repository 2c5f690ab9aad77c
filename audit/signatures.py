"""Checks who signed a checkpoint: the log, and the required witnesses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from audit.findings import Finding, FoundError, Where
from audit.steps import Step
from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import SignedCheckpoint, open_checkpoint
from ledger.log.key_changes import LogKeys
from ledger.log.note_keys import VerifierKey
from ledger.log.notes import OpenedNote
from ledger.log.witness_policy import NONE, WitnessPolicy, first_unmet, witnesses_of


@dataclass(frozen=True, slots=True)
class Signer:
    """A valid signature on a checkpoint, by the log or a witness; a witness's states when it cosigned, in RFC 3339."""

    log: str
    name: str
    key_id: str
    cosigned_at: str


Open = Callable[[Sequence[VerifierKey]], SignedCheckpoint]
"""Opens a checkpoint with the keys of its witnesses, as `open_checkpoint` does."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The key of a log that is trusted, the changes of it that are known, and who must have cosigned."""

    keys: LogKeys
    policies: tuple[WitnessPolicy, ...] = ()

    @property
    def witnessed(self) -> bool:
        """Whether a quorum of witnesses is asked for."""
        return any(policy.quorum != NONE for policy in self.policies)


def signed_by(note: bytes, trust: Trust, file: str, step: Step, *, older: bool = False) -> SignedCheckpoint:
    """Returns the checkpoint in a note that the log and the witnesses have signed; `file` is its name in findings.

    Of an `older` one no cosignatures are asked for.

    Raises:
        FoundError: a signature is missing or invalid, or the note is not a checkpoint.
    """
    key = trust.keys.key_of(note)

    def opening(witnesses: Sequence[VerifierKey]) -> SignedCheckpoint:
        opened = open_checkpoint(note, key, witnesses=witnesses)
        trust.keys.require(note, opened.checkpoint, witnessed=trust.witnessed or older)
        return opened

    return checked_signatures(opening, key, file, step, () if older else trust.policies)


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
