"""Changes of a deployment's signing key: signed notes that say which key comes next, and how far the old one went.

A note names the last size and root of each log under the old key, so that nothing that the old key signs later counts.
The new key signs it always; the old key too if it is at hand. That shows that whoever had the old key chose the new
one, which a thief could do as well: after a loss or theft only witnesses can tell (`Reason`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import Checkpoint
from ledger.log.note_keys import SignatureType, SigningKey, VerifierKey
from ledger.log.notes import open_note, parse_note, sign_note
from ledger.log.origins import log_origin, split_origin
from ledger.log.text import decode_decimal, decode_hash, encode_base64

_SUFFIX: Final = "/key-change"
"""What the first line of the text ends in: no log's origin does, so that no checkpoint can be taken for a change."""

_HEAD_LINES: Final = 4


class Reason(StrEnum):
    """Why a key was changed. Only a rotation is signed by the old key; the others need a quorum of witnesses."""

    ROTATED = "ROTATED"
    LOST = "LOST"
    STOLEN = "STOLEN"


@dataclass(frozen=True, slots=True)
class LastSigned:
    """The last size of a log that the old key signed, and the root there. `log` is a pool's id, or `registry`."""

    log: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The keys are the deployment's: their name is its origin. `logs` are sorted by name.

    Raises:
        FormatError: the keys are not of one deployment, or are the same; or a log is named twice or not at all.
    """

    reason: Reason
    old: VerifierKey
    new: VerifierKey
    logs: tuple[LastSigned, ...]

    def __post_init__(self) -> None:
        if self.old.name != self.new.name or self.old.public_key == self.new.public_key:
            raise FormatError("key change", "must name two different keys of one deployment")
        if {self.old.type, self.new.type} != {SignatureType.ED25519}:
            raise FormatError("key change", "must be of keys that sign logs, of type 0x01")
        names = [last.log for last in self.logs]
        if not names or names != sorted(set(names)):
            raise FormatError("key change", "must name each log once, sorted by name")

    def text(self) -> str:
        """Returns the text of the note."""
        head = (f"{self.old.name}{_SUFFIX}", self.reason.value, str(self.old), str(self.new))
        lines = [*head, *(f"{last.log} {last.size} {encode_base64(last.root)}" for last in self.logs)]
        return "".join(f"{line}\n" for line in lines)

    def sign(self, new: SigningKey, old: SigningKey | None = None) -> bytes:
        """Returns the note, signed by the new key, and for a rotation by the old one.

        Raises:
            FormatError: a key is missing, or is not one of the two.
        """
        signers = [new] if old is None else [old, new]
        if (old is not None) != (self.reason is Reason.ROTATED):
            raise FormatError("key change", "is signed by the old key if it is a rotation, and only then")
        note = sign_note(self.text(), signers).to_bytes()
        if KeyChange.parse(note) != self:
            raise FormatError("key change", "has other keys")
        return note

    @classmethod
    def parse(cls, data: bytes) -> KeyChange:
        """Reads a note, and verifies that the keys have signed that must.

        Raises:
            FormatError: it is not such a note.
            SignatureError: a signature is missing or invalid.
        """
        lines = parse_note(data).text.removesuffix("\n").split("\n")
        if len(lines) <= _HEAD_LINES or not lines[0].endswith(_SUFFIX):
            raise FormatError("key change", "is not a note that says which key comes next")
        try:
            reason = Reason(lines[1])
        except ValueError:
            raise FormatError("key change", f"has no known reason: {lines[1][:80]!r}") from None
        found = cls(reason, VerifierKey.parse(lines[2]), VerifierKey.parse(lines[3]), tuple(map(_last, lines[4:])))
        if found.old.name + _SUFFIX != lines[0]:
            raise FormatError("key change", "is of another deployment than its keys")
        required = [found.new, found.old] if reason is Reason.ROTATED else [found.new]
        opened = open_note(data, required)
        missing = [str(key) for key in required if not opened.signed_by(key)]
        if missing:
            raise SignatureError(missing, "did not sign the key change")
        return found

    def last(self, origin: str) -> Checkpoint | None:
        """What the old key signed last of the log with this origin; None if the note does not name it."""
        deployment, name = split_origin(origin) or ("", "")
        if deployment != self.old.name:
            return None
        return next((Checkpoint(origin, last.size, last.root) for last in self.logs if last.log == name), None)


def _last(line: str) -> LastSigned:
    name, _, rest = line.partition(" ")
    size, _, root = rest.partition(" ")
    if (split_origin(log_origin("d", name)) or ("", ""))[1] != name:
        raise FormatError("key change", f"names no log: {line[:80]!r}")
    return LastSigned(name, decode_decimal(size, "key change size"), decode_hash(root, "key change root"))


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys of one log, one after the other: `changes[n]` replaced `keys[n]` by `keys[n + 1]`.

    `trusted` is the place of the key that the verifier was given.
    """

    keys: tuple[VerifierKey, ...]
    changes: tuple[KeyChange, ...]
    trusted: int

    @classmethod
    def of(cls, key: VerifierKey, changes: Sequence[KeyChange]) -> LogKeys:
        """Returns the keys of the log of `key` before and after it, according to changes in any order.

        Raises:
            FormatError: the changes are not one chain that `key` is part of.
        """
        keys, chain, rest = [key], list[KeyChange](), list(changes)
        trusted = 0
        while rest:
            before = next((each for each in rest if each.new.public_key == keys[0].public_key), None)
            after = next((each for each in rest if each.old.public_key == keys[-1].public_key), None)
            if before is not None:
                keys.insert(0, VerifierKey(key.name, before.old.public_key))
                chain.insert(0, before)
                trusted += 1
            elif after is not None:
                keys.append(VerifierKey(key.name, after.new.public_key))
                chain.append(after)
            else:
                raise FormatError("key change", "is not of this key, nor of one that came before or after it")
            rest.remove(before or after or rest[0])
        if len({each.public_key for each in keys}) < len(keys):
            raise FormatError("key change", "brings back a key that was replaced")
        return cls(tuple(keys), tuple(chain), trusted)

    def signer(self, note: bytes) -> int:
        """Returns the place of the key that signs a note, by what the note says; the newest if none does."""
        try:
            claimed = {(each.name, each.key_id) for each in parse_note(note).signatures}
        except FormatError:
            return len(self.keys) - 1
        places = range(len(self.keys) - 1, -1, -1)
        named = (place for place in places if (self.keys[place].name, self.keys[place].key_id) in claimed)
        return next(named, len(self.keys) - 1)

    def key_of(self, note: bytes) -> VerifierKey:
        """Returns the key that signs a note, as `signer` says."""
        return self.keys[self.signer(note)]

    def require(self, note: bytes, checkpoint: Checkpoint, *, witnessed: bool) -> None:
        """Check that the key that signed a checkpoint may have signed it.

        `witnessed` is whether a quorum of witnesses is asked for beside it, without which a key that was not vouched
        for by the one before it does not count.

        Raises:
            SignatureError: the key was replaced before the log had this size, or nobody vouches for it.
        """
        place = self.signer(note)
        key = self.keys[place]
        for change in self.changes[self.trusted : place]:
            if change.reason is not Reason.ROTATED and not witnessed:
                reason = (
                    f"came after a key that was {change.reason.lower()}, which anyone can say: it counts with a quorum "
                    "of witnesses that you knew before (--witness-policy)"
                )
                raise SignatureError([str(key)], reason)
        if place < len(self.changes):
            last = self.changes[place].last(checkpoint.origin)
            if last is None or checkpoint.size > last.size:
                size = 0 if last is None else last.size
                raise SignatureError([str(key)], f"was replaced when the log had {size} leaves")

    def ends(self, note: bytes, origin: str) -> list[Checkpoint]:
        """Returns what each key before the one that signs a note signed last of a log: the log must extend these."""
        ended = (change.last(origin) for change in self.changes[: self.signer(note)])
        return [last for last in ended if last is not None]
