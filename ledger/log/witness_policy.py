"""Which witnesses must have cosigned a checkpoint: a quorum over named keys (C2SP tlog-policy).

A policy is a file that people write and share. Names have a meaning only within it; keys are compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger.errors import FormatError, SignatureError
from ledger.log.note_keys import SignatureType, VerifierKey
from ledger.log.notes import OpenedNote

MAX_POLICY_BYTES: Final = 2**16
"""The longest policy that is read; the specification requires room for 32 logs, witnesses and groups."""

NONE: Final = "none"
"""The quorum that needs no witness."""

_ALLOWED: Final = bytes([0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0x100)])
_MAX_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses and earlier groups, of which `threshold` must have cosigned."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """Who must have cosigned.

    Attributes:
        quorum: the name of the witness or group that must have cosigned, or `none`.
        witnesses: keys by name.
        groups: by name, each after those that it names.
        logs: the logs that it is for; empty if it is for any.
    """

    quorum: str
    witnesses: Mapping[str, VerifierKey]
    groups: Mapping[str, Group]
    logs: tuple[VerifierKey, ...] = ()

    def is_met(self, cosigned: Collection[VerifierKey]) -> bool:
        """Returns whether the cosigners meet the quorum."""
        have = {name for name, key in self.witnesses.items() if key in cosigned}
        for name, group in self.groups.items():
            if sum(member in have for member in group.members) >= group.threshold:
                have.add(name)
        return self.quorum == NONE or self.quorum in have

    @property
    def fewest(self) -> int:
        """The least number of witnesses that can meet the quorum."""
        counts = dict.fromkeys(self.witnesses, 1)
        for name, group in self.groups.items():
            counts[name] = sum(sorted(counts[member] for member in group.members)[: group.threshold])
        return counts.get(self.quorum, 0)

    def __str__(self) -> str:
        """Returns the quorum in words: `2 of (w1, w2, w3)`."""
        return self._said(self.quorum)

    def _said(self, name: str) -> str:
        group = self.groups.get(name)
        if group is None:
            return name
        of = f"{group.threshold} of " if group.threshold < len(group.members) else "all of "
        return f"{of}({', '.join(group.members)})"


def all_of(keys: Sequence[VerifierKey]) -> WitnessPolicy:
    """Returns the policy that each of these witnesses must have cosigned.

    Raises:
        FormatError: a key is not a witness's.
    """
    known = dict.fromkeys(keys)
    names = [key.name for key in known]
    witnesses = {str(key) if names.count(key.name) > 1 else key.name: _witness(key) for key in known}
    if not witnesses:
        return WitnessPolicy(NONE, {}, {})
    return WitnessPolicy("all", witnesses, {"all": Group(len(witnesses), tuple(witnesses))})


@dataclass(frozen=True, slots=True)
class Unmet:
    """A policy that is not met, and the names of its witnesses that did not cosign."""

    policy: WitnessPolicy
    missing: tuple[str, ...]


def first_unmet(note: OpenedNote, policies: Sequence[WitnessPolicy]) -> Unmet | None:
    """Returns the first policy that the verified cosignatures on a note do not meet."""
    cosigned = {verified.key for verified in note.verified}
    for policy in policies:
        if not policy.is_met(cosigned):
            return Unmet(policy, tuple(name for name, key in policy.witnesses.items() if key not in cosigned))
    return None


def require_quorum(note: OpenedNote, policies: Sequence[WitnessPolicy]) -> None:
    """Check that the verified cosignatures on a note meet every policy.

    Raises:
        SignatureError: they do not meet one; its keys are the witnesses of it that did not cosign.
    """
    if unmet := first_unmet(note, policies):
        raise SignatureError(unmet.missing, f"did not cosign this checkpoint; the quorum is {unmet.policy}")


def witnesses_of(policies: Sequence[WitnessPolicy]) -> tuple[VerifierKey, ...]:
    """The keys of all witnesses that policies name."""
    return tuple(dict.fromkeys(key for policy in policies for key in policy.witnesses.values()))


def parse_policy(data: bytes) -> WitnessPolicy:
    """Read a policy file.

    Raises:
        FormatError: it is not a policy; the error names the line.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise FormatError("witness policy", f"must have at most {MAX_POLICY_BYTES:,} bytes, got {len(data):,}")
    if data.translate(None, _ALLOWED):
        raise FormatError("witness policy", "contains a control character")
    reading = _Reading({}, {}, {})
    for number, line in enumerate(data.split(b"\n"), 1):
        # Bytes that are not ASCII are opaque: names are compared by their bytes, whatever these spell.
        words = line.decode("utf-8", errors="surrogateescape").replace("\t", " ").split(" ")
        items = [word for word in words if word]
        if items and not items[0].startswith("#"):
            try:
                reading.take(items)
            except FormatError as error:
                raise FormatError(f"witness policy line {number}", error.reason) from None
    if reading.quorum is None:
        raise FormatError("witness policy", "has no quorum line")
    return WitnessPolicy(reading.quorum, reading.witnesses, reading.groups, tuple(reading.logs.values()))


@dataclass(slots=True)
class _Reading:
    """A policy so far."""

    witnesses: dict[str, VerifierKey]
    groups: dict[str, Group]
    logs: dict[bytes, VerifierKey]
    quorum: str | None = None
    keys: set[bytes] = field(default_factory=set)
    """The witnesses' public ones."""
    grouped: set[str] = field(default_factory=set)
    """Members of groups."""

    def take(self, items: list[str]) -> None:
        match items:
            case ["log", vkey] | ["log", vkey, _]:
                self._log(VerifierKey.parse(vkey))
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._name(name)
                key = _witness(VerifierKey.parse(vkey))
                if key.public_key in self.keys:
                    raise FormatError("", f"{name} has the key of another witness")
                self.keys.add(key.public_key)
                self.witnesses[name] = key
            case ["group", name, threshold, *members] if members:
                self._name(name)
                self.groups[name] = self._group(threshold, members)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise FormatError("", "is a second quorum")
                self.quorum = name if name == NONE else self._known(name)
            case _:
                raise FormatError("", f"is not a log, witness, group or quorum: {' '.join(items)[:80]!r}")

    def _log(self, key: VerifierKey) -> None:
        if key.type is not SignatureType.ED25519:
            raise FormatError("", f"{key.name} is not the key of a log")
        if self.logs.setdefault(key.public_key, key) is not key:
            raise FormatError("", f"{key.name} has the key of another log")

    def _name(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise FormatError("", f"{name[:80]!r} is taken")

    def _known(self, name: str) -> str:
        if name not in self.witnesses and name not in self.groups:
            raise FormatError("", f"{name[:80]!r} was not defined before")
        return name

    def _group(self, threshold: str, members: list[str]) -> Group:
        for member in members:
            if self._known(member) in self.grouped:
                raise FormatError("", f"{member[:80]!r} is already in a group")
            self.grouped.add(member)
        if threshold in ("any", "all"):
            return Group(1 if threshold == "any" else len(members), tuple(members))
        if not (threshold.isascii() and threshold.isdecimal() and len(threshold) <= _MAX_DIGITS):
            raise FormatError("", f"the threshold must be any, all or a number: {threshold[:80]!r}")
        if not 1 <= int(threshold) <= len(members):
            raise FormatError("", f"the threshold must be 1 to {len(members)}, got {int(threshold)}")
        return Group(int(threshold), tuple(members))


def _witness(key: VerifierKey) -> VerifierKey:
    if key.type is not SignatureType.COSIGNATURE:
        raise FormatError("vkey", f"{key.name} is not the key of a witness, which is of type 0x04")
    return key
