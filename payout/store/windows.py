"""The review of a round as witnesses time it: between two notes that a quorum of them cosigned, in Postgres."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from ledger.log.note_keys import VerifierKey
from ledger.log.witness_policy import WitnessPolicy
from ledger.log.witnessed import Witnessed, timing_policy, witnessed
from ledger.store.logs import checkpoints
from ledger.store.logs.checkpoints import StoredCheckpoint, StoredCosignature
from ledger.store.logs.log import PoolRef
from ledger.store.registry.people import read_people
from payout.policy import Policy
from payout.store.rounds import RoundRecord, with_open_round


@dataclass(frozen=True, slots=True)
class Window:
    """A review that witnesses time.

    Attributes:
        began: the note that a quorum cosigned first of the log with the round; None before there is one.
        ends: when the review ends, by the witnesses' clocks; None before it began.
        ended: a note that a quorum cosigned then or later; None before there is one.
    """

    began: bytes | None = None
    ends: datetime | None = None
    ended: bytes | None = None


def find_window(connection: sa.Connection, pool: PoolRef, record: RoundRecord, policy: Policy) -> Window | None:
    """Returns the window of a round's review, so far; None if no witnesses time it."""
    named = timing_policy(read_people(connection, record.content.registry_size).witnesses)
    if named is None or not policy.review_seconds:
        return None
    began = _first(checkpoints.cosigned_since(connection, pool, named, record.leaf_index + 1, 0), named)
    if began is None:
        return Window()
    note, seen = began
    ends = seen.time + timedelta(seconds=policy.review_seconds)
    later = checkpoints.cosigned_since(connection, pool, named, seen.checkpoint.size, int(ends.timestamp()))
    ended = _first(later, named, ends)
    return Window(note, ends, ended[0] if ended else None)


def timed_rounds(connection: sa.Connection, pools: Sequence[PoolRef]) -> list[PoolRef]:
    """Returns those of these pools that have a round whose review waits for witnesses to say that time has passed."""
    return with_open_round(connection, pools) if read_people(connection).witnesses else []


def _of(stored: StoredCheckpoint, since: datetime | None) -> StoredCheckpoint:
    """Returns the checkpoint with the first cosignature of each witness, or the first of `since` or later."""
    first: dict[VerifierKey, StoredCosignature] = {}
    for found in stored.cosignatures:
        if since is None or found.time_seconds >= since.timestamp():
            first.setdefault(found.key, found)
    return replace(stored, cosignatures=tuple(first.values()))


def _first(
    found: Generator[StoredCheckpoint, None, None], policy: WitnessPolicy, since: datetime | None = None
) -> tuple[bytes, Witnessed] | None:
    with closing(found):
        for stored in found:
            note = _of(stored, since).cosigned_note()
            if (seen := witnessed(note, policy, since)) is not None:
                return note, seen
    return None
