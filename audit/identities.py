"""Checks that a log contains each batch and each request only once.

Exact, and in bounded memory however many entries there are: `UniqueEvents` treats their hashes like ids of events.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import numpy as np

from audit.partitions import Spill
from audit.unique_events import UniqueEvents
from ledger.work import Submit, at_once

_ID_BYTES: Final = 16
"""Bytes of an identity's hash. Whoever makes two identities collide only gets a log that does not verify."""

_CHUNK: Final = 4096
"""Identities that are taken in together."""


@dataclass(slots=True)
class Identities:
    """Takes in the identity of each entry that has one, in log order.

    `salt` and `submit` are those of `UniqueEvents`.
    """

    new_spill: Callable[[], Spill]
    salt: int = 0
    submit: Submit = at_once
    _unique: UniqueEvents = field(init=False)
    _hashes: bytearray = field(default_factory=bytearray)
    _leaves: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._unique = UniqueEvents(self.new_spill, self.salt, self.submit)

    def add(self, leaf_index: int, identity: tuple[str, ...]) -> None:
        """Take in the identity of the entry at a leaf, if it has one."""
        self._hashes += sha256(json.dumps(identity).encode()).digest()[:_ID_BYTES]
        self._leaves.append(leaf_index)
        if len(self._leaves) >= _CHUNK:
            self._flush()

    def conflicts(self, limit: int) -> list[tuple[int, int]]:
        """Returns (leaf, earlier leaf) of the first entries that repeat an earlier one's identity."""
        self._flush()
        found = self._unique.conflicts(limit)
        return [(each.leaf_index, each.earlier[0]) for each in found if each.earlier is not None]

    def _flush(self) -> None:
        if not self._leaves:
            return
        ids = np.frombuffer(bytes(self._hashes), dtype=f"V{_ID_BYTES}")
        leaves = np.array(self._leaves, dtype=np.uint64)
        self._unique.add("", leaves, ids, np.ones(len(leaves), dtype=np.bool_))
        self._hashes, self._leaves = bytearray(), []
