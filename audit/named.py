"""Whom a registry's log names: the keys that signed after each other, and witnesses.

Both are asked for before the log's own signature can be checked. A change of the key carries its own signatures, and
what it and the witnesses' policies lead to is checked against the log's root like all else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from audit.files.static_log import StaticLog
from ledger.acts.entries import REGISTRY_CONTENTS, KeyChangeContent, WitnessesContent
from ledger.errors import FormatError, LedgerCorruptError, NotFoundError, SignatureError
from ledger.files.tiles import bundles
from ledger.log.key_changes import KeyChange
from ledger.log.leaves import decode
from ledger.log.witness_policy import WitnessPolicy
from ledger.log.witnessed import timing_policy

_MARKS: Final = tuple(f'"type":"{kind.type}"'.encode() for kind in (KeyChangeContent, WitnessesContent))
"""Occur in no other entry: within a JSON string their quotes would be escaped."""


@dataclass(frozen=True, slots=True)
class Named:
    """Changes of the key and policies of witnesses, in order; those that cannot be read are left out."""

    changes: tuple[KeyChange, ...] = ()
    policies: tuple[tuple[int, WitnessPolicy | None], ...] = ()
    """Each with its leaf; None where no witnesses are named any more."""

    def witnesses(self, size: int | None = None) -> WitnessPolicy | None:
        """Returns the policy in force after so many leaves, or after all."""
        found = [policy for leaf_index, policy in self.policies if size is None or leaf_index < size]
        return found[-1] if found else None


def named_in(registry: StaticLog) -> Named:
    """Returns whom a registry's log names, as far as its files can be read: verifying them reports the rest."""
    changes, policies = list[KeyChange](), list[tuple[int, WitnessPolicy | None]]()
    for index, content in _contents(registry):
        try:
            if isinstance(content, KeyChangeContent):
                listed = registry.body(bytes.fromhex(content.logs_sha256))
                changes.append(KeyChange.read(content.note.encode(), listed))
            elif isinstance(content, WitnessesContent):
                policies.append((index, timing_policy(content.policy)))
        except (FormatError, SignatureError, NotFoundError):
            continue
    return Named(tuple(changes), tuple(policies))


def _contents(registry: StaticLog) -> Iterator[tuple[int, Any]]:
    try:
        for bundle in bundles(registry.leaf_count):
            for index, entry in enumerate(registry.entries(bundle), bundle.start):
                if any(mark in entry for mark in _MARKS):
                    yield index, decode(entry, REGISTRY_CONTENTS).content
    except (FormatError, NotFoundError, LedgerCorruptError):
        return
