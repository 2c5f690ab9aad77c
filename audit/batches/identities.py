"""Checks that a log contains each batch and each request only once.

Exact, and in bounded memory however many entries there are: `UniqueEvents` treats their hashes like ids of events.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import numpy as np

from audit.batches.partitions import Spill
from audit.batches.unique_events import UniqueEvents
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
    _leaves: array[int] = field(default_factory=lambda: array("q"))
    """Of all identities, 8 bytes each."""

    def __post_init__(self) -> None:
        self._unique = UniqueEvents(self.new_spill, self.salt, self.submit)

    def add(self, leaf_index: int, identity: tuple[str, ...]) -> None:
        """Take in the identity of the entry at a leaf, if it has one."""
        self._hashes += sha256(json.dumps(identity).encode()).digest()[:_ID_BYTES]
        self._leaves.append(leaf_index)
        if len(self._hashes) == _CHUNK * _ID_BYTES:
            self._flush()

    def conflicts(self, limit: int) -> list[tuple[int, int]]:
        """Returns (leaf, earlier leaf) of the first entries that repeat an earlier one's identity."""
        if self._hashes:
            self._flush()
        found = self._unique.conflicts(limit)
        return [
            (self._leaves[each.leaf_index + each.position], self._leaves[sum(each.earlier)])
            for each in found
            if each.earlier is not None
        ]

    def _flush(self) -> None:
        """Take in a chunk, as if it were a batch; for its leaf stands how many came before."""
        ids = np.frombuffer(bytes(self._hashes), dtype=f"V{_ID_BYTES}")
        self._unique.add("", self._unique.records, ids, np.ones(len(ids), dtype=np.bool_))
        self._hashes = bytearray()
