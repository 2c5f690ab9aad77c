"""A statement file as its check has read it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.statements.acts import ShownRegistry
from audit.statements.file import StatementFile
from ledger.log.checkpoint import Checkpoint
from ledger.log.key_changes import KeyChange
from ledger.log.leaves import Leaf
from ledger.log.note_keys import VerifierKey
from ledger.log.witness_policy import WitnessPolicy
from payout.dossiers import Dossier

Entry = dict[str, Any]


class RefusedError(Exception):
    """The file is not what it must be, for a reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Reading:
    """What is known of a file so far; each step of its check adds to it."""

    key: VerifierKey
    data: bytes
    facts: dict[str, Any]
    witnesses: tuple[WitnessPolicy, ...]
    changes: tuple[KeyChange, ...]
    file: StatementFile = field(init=False)
    dossier: Dossier = field(init=False)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    deployment: str = ""
    pool: list[Entry] = field(default_factory=list)
    registry: list[Entry] = field(default_factory=list)
    leaves: dict[str, list[Leaf[Any]]] = field(default_factory=dict)
    """By log."""
    hashes: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Of the entries, by log and index."""
    acting: ShownRegistry = field(init=False)
    round: Entry = field(default_factory=dict)


def require(holds: bool, reason: str) -> None:
    """Refuse the file for a reason, unless something holds."""
    if not holds:
        raise RefusedError(reason)


def of_kind(entries: Sequence[Entry], kind: str, **said: Any) -> list[Entry]:
    """Returns the entries of a kind that say this."""
    return [entry for entry in entries if entry["type"] == kind and all(entry[name] == said[name] for name in said)]


def only(entries: Sequence[Entry], kind: str, **said: Any) -> Entry:
    """Returns the entry of a kind that says this."""
    found = of_kind(entries, kind, **said)
    require(len(found) == 1, f"the file must have one {kind} entry that says {said}, and has {len(found)}")
    return found[0]
