"""Checks who signed a checkpoint: the log, and the required witnesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from audit.findings import Finding, FoundError, Where
from audit.steps import Step
from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import SignedCheckpoint, open_checkpoint
from ledger.log.key_changes import KeyChange, LogKeys
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
    """The key of a log that is trusted, the changes of it that are known, and who must have cosigned.

    `before` are the policies of the witnesses who were named before a key was lost or stolen, by the change; they are
    asked for only where the key that signs came after it, and `policies` name nobody.
    """

    keys: LogKeys
    policies: tuple[WitnessPolicy, ...] = ()
    before: Mapping[KeyChange, WitnessPolicy] = field(default_factory=dict)

    @property
    def witnessed(self) -> bool:
        """Whether a quorum of witnesses is asked for in any case."""
        return any(policy.quorum != NONE for policy in self.policies)

    def vouched(self, change: KeyChange) -> bool:
        """Whether witnesses are asked for who vouch for a change after a loss or theft."""
        return self.witnessed or change in self.before

    def required(self, note: bytes) -> tuple[WitnessPolicy, ...]:
        """Returns who must have cosigned a checkpoint."""
        crossed = self.keys.unvouched(note)
        return (*self.policies, *(self.before[change] for change in crossed if change in self.before))


def signed_by(note: bytes, trust: Trust, file: str, step: Step, *, older: bool = False) -> SignedCheckpoint:
    """Returns the checkpoint in a note that the log and the witnesses have signed; `file` is its name in findings.

    Of an `older` one no cosignatures are asked for.

    Raises:
        FoundError: a signature is missing or invalid, or the note is not a checkpoint.
    """
    key = trust.keys.key_of(note)

    def opening(witnesses: Sequence[VerifierKey]) -> SignedCheckpoint:
        opened = open_checkpoint(note, key, witnesses=witnesses)
        trust.keys.require(note, opened.checkpoint, lambda change: older or trust.vouched(change))
        return opened

    return checked_signatures(opening, key, file, step, () if older else trust.required(note))


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
