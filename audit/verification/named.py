"""Whom a registry's log names: the keys that signed after each other, and witnesses.

Both are asked for before the log's own signature can be checked. A change of the key carries its own signatures, and
what it and the witnesses' policies lead to is checked against the log's root like all else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from audit.files.static_log import StaticLog
from ledger.acts.entries import KeyChangeContent, WitnessesContent
from ledger.errors import FormatError, LedgerCorruptError, NotFoundError, SignatureError
from ledger.files.tiles import bundles
from ledger.log.key_changes import MAX_CHANGES, MAX_LISTED_BYTES, KeyChange
from ledger.log.leaves import decode
from ledger.log.witness_policy import WitnessPolicy
from ledger.log.witnessed import timing_policy

_KEY_CHANGE, _WITNESSES = (f'"type":"{kind.type}"'.encode() for kind in (KeyChangeContent, WitnessesContent))
"""Occur in no other entry: within a JSON string their quotes would be escaped."""


@dataclass(slots=True)
class Named:
    """Changes of the key, and where policies of witnesses are, in order; those that cannot be read are left out.

    Whoever made the files may have put any number of either there. So of changes there is a most, and of a policy no
    more is kept than its leaf until it is asked for.
    """

    registry: StaticLog | None = None
    changes: list[KeyChange] = field(default_factory=list)
    policy_leaves: list[int] = field(default_factory=list)

    def witnesses(self, size: int | None = None) -> WitnessPolicy | None:
        """Returns the policy in force after so many leaves, or after all; None where nobody is named."""
        place = len(self.policy_leaves) if size is None else bisect_left(self.policy_leaves, size)
        while place:
            place -= 1
            try:
                return self._policy(self.policy_leaves[place])
            except (FormatError, LedgerCorruptError):
                del self.policy_leaves[place]
        return None

    def _policy(self, leaf_index: int) -> WitnessPolicy | None:
        assert self.registry is not None  # noqa: S101 - it has the leaf
        (encoded,) = self.registry.leaves(leaf_index, leaf_index + 1)
        return timing_policy(decode(encoded.entry, {WitnessesContent.type: WitnessesContent}).content.policy)


def named_in(registry: StaticLog) -> Named:
    """Returns whom a registry's log names, as far as its files can be read: verifying them reports the rest."""
    named, left = Named(registry), MAX_LISTED_BYTES
    try:
        for index, entry in _marked(registry):
            if _WITNESSES in entry:
                named.policy_leaves.append(index)
            elif len(named.changes) < MAX_CHANGES and (change := _change(registry, entry, left)) is not None:
                named.changes.append(change)
                left -= len(change.listed())
    except (FormatError, NotFoundError):
        pass
    return named


def _marked(registry: StaticLog) -> Iterator[tuple[int, bytes]]:
    for bundle in bundles(registry.leaf_count):
        for index, entry in enumerate(registry.entries(bundle), bundle.start):
            if _WITNESSES in entry or _KEY_CHANGE in entry:
                yield index, entry


def _change(registry: StaticLog, entry: bytes, bytes_max: int) -> KeyChange | None:
    """Returns the change that an entry says; None where that cannot be read, or lists more than so many bytes."""
    try:
        content = decode(entry, {KeyChangeContent.type: KeyChangeContent}).content
        listed = registry.body(bytes.fromhex(content.logs_sha256), bytes_max=bytes_max)
        return KeyChange.read(content.note.encode(), listed)
    except (FormatError, LedgerCorruptError, NotFoundError, SignatureError):
        return None
