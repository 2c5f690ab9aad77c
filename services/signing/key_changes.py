"""Changing the key that signs: what the old key signed last of each log becomes a leaf of the registry's log.

From that leaf on the signer signs with the new key alone. While the change is made, nobody signs anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ledger.errors import FormatError, InvalidInputError, StateError
from ledger.log.checkpoint import open_checkpoint
from ledger.log.key_changes import MAX_CHANGES, MAX_LISTED_BYTES, KeyChange, LastSigned, Reason
from ledger.log.note_keys import SigningKey, VerifierKey
from ledger.log.origins import log_origin, split_origin
from ledger.log.witnessed import timing_policy
from ledger.store.logs import checkpoints, log
from ledger.store.logs.log import REGISTRY, PoolRef, log_name
from ledger.store.pools import turns
from ledger.store.pools.pools import pool_refs
from ledger.store.pools.turns import Turn
from ledger.store.postgres.database import Database
from ledger.store.registry import key_changes
from ledger.store.registry.people import read_people
from services.signing.folder import CheckpointFolder
from services.signing.signer import require_extension


@dataclass(frozen=True, slots=True)
class MadeChange:
    """A change that is logged: its leaf in the registry's log, and whether witnesses were named before it."""

    change: KeyChange
    leaf_index: int
    witnesses_named: bool


def change_key(
    database: Database, folder: CheckpointFolder, reason: Reason, old_key: SigningKey | None, new_key: SigningKey
) -> MadeChange:
    """Log that a new key signs from now on; `old_key` is None if it is lost or stolen.

    Raises:
        InvalidInputError: the keys are not of this deployment, or the same; or the old one is not the one that signs.
        StateError: nothing was ever signed; or a log does not extend what was signed of it, or its copy in the folder
            is missing or older; or there are as many changes as verifiers read.
    """
    with database.transaction() as connection:
        # No pool is signed before the registry is: with its turn, only those that are at it are left to wait for.
        turns.take(connection, REGISTRY, Turn.SIGNING)
        logs = pool_refs(connection)
        for pool in logs:
            turns.take(connection, pool, Turn.SIGNING)
        earlier = key_changes.read_changes(connection)
        old = earlier[-1].new if earlier else _signed_first(connection)
        if old_key is not None and old_key.verifier_key != old:
            raise InvalidInputError.of("old", f"is not the key that signs now, which is {old}")
        before = _Before(old, tuple(earlier), folder, reason)
        found = (before.last_signed(connection, pool) for pool in logs)
        last = sorted((each for each in found if each is not None), key=lambda each: each.log)
        try:
            change = KeyChange(reason, old, new_key.verifier_key, tuple(last)).sign(new_key, old_key)
        except FormatError as error:
            raise InvalidInputError.of("new", f"{error.subject} {error.reason}") from None
        if any(new_key.verifier_key in (each.old, each.new) for each in earlier):
            raise InvalidInputError.of("new", "signed for this deployment before, and was replaced")
        _require_room(earlier, change)
        policy = timing_policy(read_people(connection).witnesses)
        return MadeChange(change, key_changes.append_change(connection, change), policy is not None)


def _require_room(earlier: Sequence[KeyChange], change: KeyChange) -> None:
    """Check that verifiers read this change too: they refuse a log with more, whoever signs it."""
    changes = [*earlier, change]
    listed_bytes = sum(len(each.listed()) for each in changes)
    if len(changes) > MAX_CHANGES or listed_bytes > MAX_LISTED_BYTES:
        detail = (
            f"has changed its key {len(earlier):,} times; verifiers read at most {MAX_CHANGES:,} changes, and "
            f"{MAX_LISTED_BYTES:,} bytes of their lists of logs together, which would be {listed_bytes:,} with this one"
        )
        raise StateError("the deployment", "TOO_MANY_KEY_CHANGES", detail)


def _signed_first(connection: sa.Connection) -> VerifierKey:
    """The deployment's key that signs, before it was ever changed: the one that signed the registry."""
    latest = checkpoints.latest_checkpoint(connection, REGISTRY)
    if latest is None:
        detail = "nothing was signed yet: a new key needs no change, start the service with it"
        raise StateError("the deployment", "NOTHING_SIGNED", detail)
    deployment, _ = split_origin(latest.key.name) or (latest.key.name, "")
    return VerifierKey(deployment, latest.key.public_key, latest.key.type)


@dataclass(frozen=True, slots=True)
class _Before:
    """What was signed before a change: by the old key, and by those before it."""

    old: VerifierKey
    changes: tuple[KeyChange, ...]
    folder: CheckpointFolder
    reason: Reason

    def last_signed(self, connection: sa.Connection, pool: PoolRef) -> LastSigned | None:
        """What was signed last of a log: the newest of the database's checkpoint, the folder's copy and what the last
        change says, for the old key may have signed nothing since.

        Raises:
            StateError: the copy is missing or older, or the log does not extend what was signed.
        """
        origin = log_origin(self.old.name, pool.name)
        key = self.old.of_log(origin)
        stored = checkpoints.latest_checkpoint(connection, pool, key=key)
        in_database = None if stored is None else open_checkpoint(stored.note, key).checkpoint
        copy, _ = self.folder.read(pool.name, key, [each.old.of_log(origin) for each in self.changes]) or (None, b"")
        if self.reason is Reason.ROTATED and in_database and (copy is None or copy.size < in_database.size):
            detail = (
                f"the copy in {self.folder.path} of what the old key signed last is missing or older than the "
                "database's: is it the signer's folder? If the key or the folder is lost, say --lost"
            )
            raise StateError(f"{log_name(pool)}/checkpoints", "COPY_MISSING", detail)
        inherited = next((last for change in reversed(self.changes) if (last := change.last(origin))), None)
        known = [each for each in (in_database, copy, inherited) if each is not None]
        if not known:
            return None
        last = max(known, key=lambda each: each.size)
        head = log.read_head(connection, pool)
        require_extension(connection, pool, head.size, head.root(), last)
        return LastSigned(pool.name, last.size, last.root)
