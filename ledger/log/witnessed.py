"""When a quorum of witnesses had cosigned a checkpoint: a time that no clock of the log's own decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import Checkpoint, read_checkpoint
from ledger.log.note_keys import VerifierKey
from ledger.log.notes import verify_signatures
from ledger.log.witness_policy import NONE, WitnessPolicy, parse_policy


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that a quorum cosigned, and the time by which the last witness that it needed had."""

    checkpoint: Checkpoint
    time: datetime


def witnessed(note: bytes, policy: WitnessPolicy, since: datetime | None = None) -> Witnessed | None:
    """Returns what a quorum cosigned, by cosignatures of `since` or later alone; None if that is no quorum.

    The note may have several cosignatures of a witness. The log's own signature is not looked at.

    Raises:
        FormatError: the bytes are not a checkpoint.
    """
    checkpoint, parsed = read_checkpoint(note)
    try:
        verified = verify_signatures(parsed, policy.witnesses.values()).verified
    except SignatureError:
        return None
    cosigned: set[VerifierKey] = set()
    for time_seconds, key in sorted(
        ((found.time_seconds or 0, found.key) for found in verified), key=lambda found: (found[0], str(found[1]))
    ):
        time = datetime.fromtimestamp(time_seconds, UTC)
        if since is None or time >= since:
            cosigned.add(key)
            if policy.is_met(cosigned):
                return Witnessed(checkpoint, time)
    return None


def timing_policy(text: str) -> WitnessPolicy | None:
    """Returns the policy of the witnesses by whom reviews are timed; None for the empty text.

    Raises:
        FormatError: it is not a policy, or asks for nobody.
    """
    if not text:
        return None
    policy = parse_policy(text.encode())
    if policy.quorum == NONE:
        raise FormatError("witness policy", "asks for no witness; the empty text is for none")
    return policy
