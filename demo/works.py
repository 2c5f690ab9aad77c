"""Generated works and their shares: what the demo's platforms report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from demo.melodies import abc_of_melody

__all__ = ["SHARE_TOTAL_NANO", "Work", "nano_shares", "work_of_melody"]

SHARE_TOTAL_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """A generated melody: its URI, its note tokens, and a share in nano of each tradition in order of their ids."""

    work_id: str
    melody: tuple[int, ...]
    shares: tuple[tuple[str, int], ...]

    @property
    def unattributed_nano(self) -> int:
        """The part that no tradition claims, in nano."""
        return SHARE_TOTAL_NANO - sum(share for _, share in self.shares)

    def abc(self, title: str) -> str:
        """Write the melody as a tune in ABC notation."""
        return abc_of_melody(self.melody, title)


def work_of_melody(melody: Sequence[int], shares: tuple[tuple[str, int], ...]) -> Work:
    """Name a work after its notes: equal melodies are one work, whoever generates them."""
    digest = sha256(",".join(map(str, melody)).encode()).hexdigest()
    return Work(f"urn:moiety-demo:melody:{digest[:32]}", tuple(melody), shares)


def nano_shares(traditions: Sequence[str], parts: Sequence[float]) -> tuple[tuple[str, int], ...]:
    """Round each tradition's part of one (at least 0, together at most 1) down to nano; leave out what comes to 0.

    The remainders stay unattributed.

    Raises:
        ValueError: the parts sum to more than one.
    """
    shares = [int(part * SHARE_TOTAL_NANO) for part in parts]
    if min(shares, default=0) < 0 or sum(shares) > SHARE_TOTAL_NANO:
        raise ValueError(f"these are not parts of one, they come to {sum(parts)}")
    return tuple((tradition, share) for tradition, share in zip(traditions, shares, strict=True) if share)
