"""Changes of a deployment's signing key: which key comes next, and how far the old one signed each log.

A change is a signed note, which is short however many logs there are, and the list of logs that it names by its hash.
The new key signs the note always; the old key too if it is at hand. That shows that whoever had the old key chose the
new one, which a thief could do as well: after a loss or theft only witnesses can tell (`Reason`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import Checkpoint
from ledger.log.note_keys import SignatureType, SigningKey, VerifierKey
from ledger.log.notes import open_note, parse_note, sign_note
from ledger.log.origins import REGISTRY_LOG, split_origin
from ledger.log.text import decode_decimal, decode_hash, decode_utf8, encode_base64
from ledger.registry import is_resource_id

_SUFFIX: Final = "/key-change"
"""What the first line of the text ends in: no log's origin does, so that no checkpoint can be taken for a change."""

MAX_CHANGES: Final = 1_000
"""Changes of a deployment's key that are read: one a day for three years. All are read before any signature holds."""

MAX_LISTED_BYTES: Final = 2**24
"""Bytes of the lists of logs of all changes together that are read then: those of ten changes with 15,000 pools."""

_LINES: Final = 5

_SUBJECT: Final = "key change"


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
class KeyStep:
    """From one key of a deployment to the next: what the note of a change says.

    The keys are the deployment's: their name is its origin. `logs_sha256` is the hash of the list of its logs.

    Raises:
        FormatError: the keys are not of one deployment, are the same, or are no keys that sign logs.
    """

    reason: Reason
    old: VerifierKey
    new: VerifierKey
    logs_sha256: bytes

    def __post_init__(self) -> None:
        if self.old.name != self.new.name or self.old.public_key == self.new.public_key:
            raise FormatError(_SUBJECT, "must name two different keys of one deployment")
        if {self.old.type, self.new.type} != {SignatureType.ED25519}:
            raise FormatError(_SUBJECT, "must be of keys that sign logs, of type 0x01")

    def text(self) -> str:
        """Returns the text of the note."""
        lines = (self.old.name + _SUFFIX, self.reason, str(self.old), str(self.new), encode_base64(self.logs_sha256))
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, note: bytes) -> KeyStep:
        """Reads a note, and verifies that just the keys have signed that must.

        Raises:
            FormatError: it is not such a note.
            SignatureError: a signature is missing or invalid.
        """
        parsed = parse_note(note)
        lines = parsed.text.removesuffix("\n").split("\n")
        if len(lines) != _LINES or not lines[0].endswith(_SUFFIX):
            raise FormatError(_SUBJECT, "is not a note that says which key comes next")
        try:
            reason = Reason(lines[1])
        except ValueError:
            raise FormatError(_SUBJECT, f"has no known reason: {lines[1][:80]!r}") from None
        hashed = decode_hash(lines[4], "key change hash of the logs")
        found = cls(reason, VerifierKey.parse(lines[2]), VerifierKey.parse(lines[3]), hashed)
        if found.old.name + _SUFFIX != lines[0]:
            raise FormatError(_SUBJECT, "is of another deployment than its keys")
        required = [found.old, found.new] if reason is Reason.ROTATED else [found.new]
        opened = open_note(note, required)
        missing = [str(key) for key in required if not opened.signed_by(key)]
        if missing:
            raise SignatureError(missing, "did not sign the key change")
        if len(parsed.signatures) != len(required):
            raise FormatError(_SUBJECT, "has other signatures than those of its keys")
        return found


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A change of the key with the logs that it names, sorted by name; its note is signed, or to be signed.

    Raises:
        FormatError: as `KeyStep` does; or a log is named twice or not at all.
    """

    reason: Reason
    old: VerifierKey
    new: VerifierKey
    logs: tuple[LastSigned, ...]
    note: bytes = b""

    def __post_init__(self) -> None:
        names = [last.log for last in self.logs]
        if not names or names != sorted(set(names)):
            raise FormatError(_SUBJECT, "must name each log once, sorted by name")
        self.step()

    def step(self) -> KeyStep:
        """What its note says."""
        return KeyStep(self.reason, self.old, self.new, sha256(self.listed()).digest())

    def listed(self) -> bytes:
        """The list of logs: a line for each, of its name, its size and its root in base64."""
        return "".join(f"{last.log} {last.size} {encode_base64(last.root)}\n" for last in self.logs).encode()

    def sign(self, new: SigningKey, old: SigningKey | None = None) -> KeyChange:
        """Returns the change with its note, signed by the new key, and for a rotation by the old one.

        Raises:
            FormatError: a key is missing, or is not one of the two.
        """
        signers = [new] if old is None else [old, new]
        if (old is not None) != (self.reason is Reason.ROTATED):
            raise FormatError(_SUBJECT, "is signed by the old key if it is a rotation, and only then")
        if [key.verifier_key for key in signers] != [self.old, self.new][-len(signers) :]:
            raise FormatError(_SUBJECT, "has other keys")
        return KeyChange.read(sign_note(self.step().text(), signers).to_bytes(), self.listed())

    @classmethod
    def read(cls, note: bytes, listed: bytes) -> KeyChange:
        """Reads a note and the list of logs that it names.

        Raises:
            FormatError: the note is not of a change, or the list is another.
            SignatureError: a signature is missing or invalid.
        """
        step = KeyStep.parse(note)
        if sha256(listed).digest() != step.logs_sha256:
            raise FormatError(_SUBJECT, "names another list of logs")
        lines = decode_utf8(listed, "key change logs").split("\n")
        if lines.pop() != "":
            raise FormatError(_SUBJECT, "has a list that does not end in a line feed")
        return cls(step.reason, step.old, step.new, tuple(map(_last, lines)), note)

    def to_bytes(self) -> bytes:
        """Returns a file of it: the list, an empty line, and the note."""
        return self.listed() + b"\n" + self.note

    @classmethod
    def parse(cls, data: bytes) -> KeyChange:
        """Reads a file; `to_bytes` returns the same bytes.

        Raises:
            FormatError, SignatureError: as `read` does.
        """
        listed, _, note = data.partition(b"\n\n")
        return cls.read(note, listed + b"\n")

    def last(self, origin: str) -> Checkpoint | None:
        """What the old key signed last of the log with this origin; None if the change does not name it."""
        deployment, name = split_origin(origin) or ("", "")
        if deployment != self.old.name:
            return None
        return next((Checkpoint(origin, last.size, last.root) for last in self.logs if last.log == name), None)


def _last(line: str) -> LastSigned:
    name, _, rest = line.partition(" ")
    size, _, root = rest.partition(" ")
    if name != REGISTRY_LOG and not is_resource_id(name):
        raise FormatError(_SUBJECT, f"names no log: {line[:80]!r}")
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
        deployment = (split_origin(key.name) or (key.name, ""))[0]
        if any(change.old.name != deployment for change in changes):
            raise FormatError(_SUBJECT, f"is not of {deployment}")
        by_new = {change.new.public_key: change for change in changes}
        by_old = {change.old.public_key: change for change in changes}
        earlier, later, end = list[KeyChange](), list[KeyChange](), key.public_key
        while (change := by_new.pop(end, None)) is not None:
            earlier.append(change)
            end = change.old.public_key
        end = key.public_key
        while (change := by_old.pop(end, None)) is not None:
            later.append(change)
            end = change.new.public_key
        chain = [*reversed(earlier), *later]
        if len(chain) < len(changes):
            raise FormatError(_SUBJECT, "is not of this key, nor of one that came before or after it")
        public = [*(change.old.public_key for change in chain[: len(earlier)]), key.public_key]
        public += [change.new.public_key for change in later]
        if len(set(public)) < len(public):
            raise FormatError(_SUBJECT, "brings back a key that was replaced")
        keys = tuple(VerifierKey(key.name, each) for each in public)
        return cls(keys, tuple(chain), len(earlier))

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

    def unvouched(self, note: bytes) -> list[KeyChange]:
        """Returns the changes from the trusted key to the one that signs a note that the key before cannot vouch for.

        After a loss or theft only witnesses tell the owner's change from a thief's.
        """
        changes = self.changes[self.trusted : self.signer(note)]
        return [change for change in changes if change.reason is not Reason.ROTATED]

    def require(self, note: bytes, checkpoint: Checkpoint, vouched: Callable[[KeyChange], bool]) -> None:
        """Check that the key that signed a checkpoint may have signed it.

        `vouched` is whether witnesses are asked for who vouch for a change after a loss or theft.

        Raises:
            SignatureError: the key was replaced before the log had this size, or nobody vouches for it.
        """
        place = self.signer(note)
        key = self.keys[place]
        for change in self.unvouched(note):
            if not vouched(change):
                reason = (
                    f"came after a key that was {change.reason.lower()}, which anyone can say: it counts with a quorum "
                    "of witnesses that were named before (--witness-policy)"
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
