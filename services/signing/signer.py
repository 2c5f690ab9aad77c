"""The signer: signs checkpoints of each pool's log, each of which extends the one before it.

It only extends the last signed checkpoint, of which a copy is kept outside the database. The copy is written first,
then the row. So it may find one of three states:

- The row matches the copy: the log must extend it.
- The row is older than the copy: either the process ended between the two writes, and the row is added from the copy;
  or the database is older than the copy, and then the log does not extend it.
- The copy is missing or older than the row: this is not the last signer's folder, which only an operator can fix.

If the log does not extend the copy, nothing is signed for the pool, and the error says what happened.

A key signs nothing before a leaf of the registry's log names it, if another one signed before, and nothing once a leaf
has replaced it. The first checkpoint by a new key extends what the leaf says that the old one signed last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
import structlog

from ledger.errors import (
    InvalidInputError,
    LedgerCorruptError,
    LedgerError,
    ProofError,
    StateError,
    StoreUnavailableError,
)
from ledger.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.log.forks import ForkEvidence, contradiction_path
from ledger.log.key_changes import KeyChange
from ledger.log.merkle import Frontier, verify_consistency
from ledger.log.note_keys import SigningKey, VerifierKey
from ledger.log.notes import parse_note
from ledger.log.origins import log_origin
from ledger.store.logs import checkpoints, log, proofs, signing
from ledger.store.logs.checkpoints import StoredCheckpoint
from ledger.store.logs.log import REGISTRY, PoolRef, log_name
from ledger.store.pools import turns
from ledger.store.pools.each_pool import ask_each
from ledger.store.pools.turns import Turn
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.store.registry import key_changes
from ledger.store.registry.people import read_people
from services.signing.folder import CheckpointFolder

logger: Final = structlog.get_logger("moiety.signer")

REPEAT: Final = timedelta(minutes=5)
"""How often a lasting refusal is logged again."""


@dataclass(frozen=True, slots=True)
class _Last:
    """The last checkpoint signed, according to the copy."""

    checkpoint: Checkpoint
    note: bytes | None
    """None if an earlier key signed it: then this key signs the log even if it did not grow."""


_WRONG_KEY: Final = ("KEY_REPLACED", "KEY_NOT_NAMED", "KEY_OF_ANOTHER")
"""Why a signer with the wrong key signs nothing; the one with the right key may be at work all the same."""


class Signer:
    """Signs the log of every pool that has grown. Any number of processes may run one on one folder."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], key: SigningKey, folder: CheckpointFolder
    ) -> None:
        self._database = database
        self._clock = clock
        self._key = key
        self._folder = folder
        self._seen: dict[int, bytes] = {}
        self._refused: dict[str, tuple[str, datetime]] = {}

    def pool_key(self, pool: str) -> SigningKey:
        """The key that signs a pool's checkpoints: the deployment's, named after the pool's log."""
        return self._key.named(log_origin(self._key.name, pool))

    def run_once(self) -> list[Checkpoint]:
        """Check every pool once, and return the checkpoints signed. Pools that fail do not affect the others."""
        try:
            heads = ask_each(self._database, log.read_heads)
            # What was seen of these, in another database or by a signer of another version, says nothing of them here.
            again = set(ask_each(self._database, signing.uncompared).found)
            # Another signer may have refused them by its own folder, and be gone.
            again.update(ask_each(self._database, signing.refused).found)
        except LedgerError as error:
            logger.warning("cannot read logs", reason=str(error))
            return []
        for pool in heads.missed:
            logger.warning("log not read: its part of the database is unavailable", pool=pool.name)
        signed = []
        for pool, size, frontier in heads.found:
            seen = hashlib.sha256(size.to_bytes(8, "big") + frontier).digest()
            if size == 0 or (self._seen.get(pool.pool_id) == seen and pool.pool_id not in again):
                continue
            try:
                checkpoint, settled = self.sign(pool)
            except (StateError, LedgerCorruptError) as error:
                self._report(pool, error)
                if not (isinstance(error, StateError) and error.kind in _WRONG_KEY):
                    self._refuse(pool, error)
                continue
            except LedgerError as error:  # such as a database that is away: it is tried again
                logger.warning("checkpoint not signed", pool=pool.name, reason=str(error))
                continue
            except Exception:
                logger.exception("checkpoint not signed", pool=pool.name)
                continue
            self._refused.pop(pool.name, None)
            if settled == size:
                self._seen[pool.pool_id] = seen
            if checkpoint:
                logger.info("checkpoint signed", pool=pool.name, size=checkpoint.size)
                signed.append(checkpoint)
        return signed

    def sign(self, pool: PoolRef) -> tuple[Checkpoint | None, int]:
        """Sign the pool's log if it has grown. Returns the checkpoint, if any, and the size up to which all is signed.

        If another process is signing this pool, it is left alone: the size is then 0. Nothing is signed when this
        raises.

        Raises:
            StateError: the log does not extend the last checkpoint signed, or its copy cannot be trusted.
            LedgerCorruptError: the log is inconsistent.
        """
        key = self.pool_key(pool.name)
        with self._database.transaction() as connection:
            # 1. Be the only signer of this pool.
            if not turns.try_take(connection, pool, Turn.SIGNING):
                return None, 0

            # 2. Find the last checkpoint signed, from the copy and from the database, if this key may sign.
            changes = self._changes(connection, pool)
            stored = checkpoints.latest_checkpoint(connection, pool, key=key.verifier_key)
            last = self._last(connection, pool, key.verifier_key, stored, changes)

            # 3. The log extends it, and its head matches its leaves.
            head = log.read_head(connection, pool)
            require_extension(connection, pool, head.size, head.root(), last.checkpoint if last else None)
            signing.note(connection, pool, signing.which_database(connection))

            # 4. Add a row that was lost between copy and commit.
            if last and last.note and (stored is None or stored.size < last.checkpoint.size):
                self._insert(connection, pool, key.verifier_key, last.checkpoint, last.note)

            try:
                return self._sign_new(connection, pool, key, last, head)
            except StoreUnavailableError as error:
                # What was found holds: a full disk, on which nothing is signed, keeps no money from moving.
                unwritten = error
        raise unwritten

    def _sign_new(
        self, connection: sa.Connection, pool: PoolRef, key: SigningKey, last: _Last | None, head: Frontier
    ) -> tuple[Checkpoint | None, int]:
        # 5. Have the registry signed first, up to all that this log rests on.
        if last and last.note and last.checkpoint.size == head.size:
            return None, head.size
        if pool != REGISTRY and not self._registry_is_signed():
            return None, 0

        # 6. Sign what is new: the copy first, then the row.
        checkpoint = Checkpoint(key.name, head.size, head.root())
        note = sign_checkpoint(checkpoint, key).to_bytes()
        self._folder.write(pool.name, note)
        self._insert(connection, pool, key.verifier_key, checkpoint, note)
        return checkpoint, head.size

    def _registry_is_signed(self) -> bool:
        """Sign the registry's log, if it has grown; False if another process is at it.

        It is looked at each time: what was known of it before a restore says nothing of it after.

        Raises:
            StateError, LedgerCorruptError: it cannot be signed, and so nothing can that rests on it.
        """
        _, settled = self.sign(REGISTRY)
        return settled > 0

    def adopt(self, pool: PoolRef) -> Checkpoint:
        """Make the database's last checkpoint the last one signed, if the folder has none or an older one.

        It is for an operator who knows that nothing newer was ever signed.

        Raises:
            StateError: the folder has a newer one or a contradictory one, or there is nothing to adopt.
        """
        key = self.pool_key(pool.name).verifier_key
        name = f"{log_name(pool)}/checkpoints"
        with self._database.transaction() as connection:
            if not turns.try_take(connection, pool, Turn.SIGNING):
                raise StateError(name, "SIGNER_ACTIVE", "a signer is working on the pool; try again")
            stored = checkpoints.latest_checkpoint(connection, pool, key=key)
            if stored is None:
                raise StateError(name, "NOTHING_SIGNED", f"the database has no checkpoint that {key} signed")
            checkpoint = _opened(pool, stored)
            head = log.read_head(connection, pool)
            require_extension(connection, pool, head.size, head.root(), checkpoint)
            copy = self._folder.read(pool.name, key)
            if copy and copy[0].size > checkpoint.size:
                raise StateError(name, "COPY_NEWER", "the copy in the folder is newer than the database's checkpoint")
            if copy:
                require_extension(connection, pool, head.size, head.root(), copy[0])
            self._folder.write(pool.name, stored.note)
        return checkpoint

    def _changes(self, connection: sa.Connection, pool: PoolRef) -> list[KeyChange]:
        """The changes of the key that led to this one.

        Raises:
            StateError: it was replaced, or another key signs and no leaf says that this one comes next, or it does not
                have the name of this deployment, by which verifiers know it.
        """
        changes, key = key_changes.read_changes(connection), self._key.verifier_key
        name = f"{log_name(pool)}/checkpoints"
        origin = read_people(connection, 1).origin
        if origin != key.name:
            detail = f"the key is that of {key.name}, and the deployment is {origin}; `moiety log key` makes one"
            raise StateError(name, "KEY_OF_ANOTHER", detail)
        if any(change.old == key for change in changes):
            detail = f"the key {key} was replaced and signs nothing any more; start the signer with {changes[-1].new}"
            raise StateError(name, "KEY_REPLACED", detail)
        if changes and changes[-1].new == key:
            return changes
        signs = (
            changes[-1].new
            if changes
            else checkpoints.another_key(connection, pool, self.pool_key(pool.name).verifier_key)
        )
        if signs is not None:
            detail = (
                f"{signs} signs, and no leaf of the registry's log says that {key} comes next: `moiety log change-key` "
                "appends it"
            )
            raise StateError(name, "KEY_NOT_NAMED", detail)
        return changes

    def _last(
        self,
        connection: sa.Connection,
        pool: PoolRef,
        key: VerifierKey,
        stored: StoredCheckpoint | None,
        changes: list[KeyChange],
    ) -> _Last | None:
        """The last checkpoint signed.

        Raises:
            StateError: the folder's copy is not that checkpoint.
        """
        earlier = [change.old.of_log(key.name) for change in changes]
        copy = self._folder.read(pool.name, key, earlier if stored is None else ())
        if stored is None:
            ended = next((last for change in reversed(changes) if (last := change.last(key.name))), None)
            signed = None if copy is None else copy[0]
            if ended and (signed is None or signed.size <= ended.size):
                return _Last(ended, None)
            if copy and any(_is_by(copy[1], old) for old in earlier):
                detail = f"the key before this one signed {copy[0].size} leaves, more than the change of the key says"
                raise StateError(f"{log_name(pool)}/checkpoints", "LOG_CONTRADICTS_CHECKPOINT", detail)
            return _Last(*copy) if copy else None
        in_database = _opened(pool, stored)
        name = f"{log_name(pool)}/checkpoints"
        if copy is None:
            detail = (
                f"a checkpoint of {stored.size} leaves was signed, and its copy is missing in {self._folder.path}. "
                f"Nothing is signed. Put the folder back. If it is lost, and nothing newer was signed: "
                f"`moiety log adopt {pool.name}`"
            )
            raise StateError(name, "COPY_MISSING", detail)
        if copy[0].size < stored.size or (copy[0].size == stored.size and copy[0].root != in_database.root):
            self._keep_evidence(connection, pool, key, copy[1], stored)
            detail = (
                f"the database has a checkpoint of {stored.size} leaves that is not the copy's of {copy[0].size} in "
                f"{self._folder.path}: another folder or machine signs with this key. Nothing is signed. Let all "
                f"signers share one folder; then `moiety log adopt {pool.name}`"
            )
            raise StateError(name, "COPY_BEHIND", detail)
        return _Last(*copy)

    def _keep_evidence(
        self, connection: sa.Connection, pool: PoolRef, key: VerifierKey, copy: bytes, stored: StoredCheckpoint
    ) -> None:
        """Keep the evidence, if the two checkpoints contradict each other and the log can show it."""
        try:
            old_size = open_checkpoint(copy, key).checkpoint.size
            path: tuple[bytes, ...] = ()
            if old_size < stored.size:
                proof = proofs.consistency_proof(connection, pool, old_size, stored.size)
                path = contradiction_path(old_size, proof.hashes, proof.old_root)
            evidence = ForkEvidence.of(copy, stored.note, path)
            evidence.verify(key)
        except (ProofError, LedgerCorruptError, InvalidInputError):
            return
        try:
            kept: object = self._folder.keep_fork(pool.name, evidence)
        except StoreUnavailableError as error:  # which must not hide why nothing is signed
            kept = f"not kept: {error}"
        logger.error("this key has signed two logs that contradict each other", pool=pool.name, evidence=str(kept))

    def _insert(
        self, connection: sa.Connection, pool: PoolRef, key: VerifierKey, checkpoint: Checkpoint, note: bytes
    ) -> None:
        # The database's time: by a clock that is ahead, no later checkpoint would be the last one for as long.
        row = StoredCheckpoint(checkpoint.size, key, note, read_time(connection))
        checkpoints.insert_checkpoint(connection, pool, row)

    def _refuse(self, pool: PoolRef, error: LedgerError) -> None:
        """Say in the database that nothing is signed, and why: no round is cut or posted meanwhile."""
        self._seen.pop(pool.pool_id, None)
        try:
            with self._database.transaction() as connection:
                signing.note(connection, pool, signing.which_database(connection), str(error))
        except LedgerError as failed:
            logger.warning("cannot note that nothing is signed", pool=pool.name, reason=str(failed))

    def _report(self, pool: PoolRef, error: LedgerError) -> None:
        text, now = str(error), self._clock()
        said, when = self._refused.get(pool.name, ("", now))
        if said != text or now - when >= REPEAT:
            self._refused[pool.name] = (text, now)
            logger.error("nothing is signed", pool=pool.name, reason=text)


def require_extension(
    connection: sa.Connection, pool: PoolRef, size: int, root: bytes, last: Checkpoint | None
) -> None:
    """Check that the log of this size and root extends a checkpoint, with a consistency proof from its own nodes.

    Raises:
        StateError: the log does not extend it.
        LedgerCorruptError: the log's head does not match its leaves and nodes.
    """
    old_size = last.size if last else 0
    if last and size < old_size:
        raise _contradiction(pool, last, f"the log has only {size} leaves")
    proof = proofs.consistency_proof(connection, pool, old_size, size)
    if proof.root != root:
        raise LedgerCorruptError(f"the head of {log_name(pool)}", "is not that of its leaves and nodes")
    try:
        verify_consistency(old_size, size, last.root if last else proof.old_root, root, proof.hashes)
    except ProofError as error:
        assert last is not None  # noqa: S101  # every log extends the empty one
        raise _contradiction(pool, last, f"the log has other leaves ({error.reason})") from None


def _contradiction(pool: PoolRef, last: Checkpoint, what: str) -> StateError:
    detail = (
        f"a checkpoint of {last.size} leaves was signed, and {what}: an old backup was restored, or leaves were "
        f"deleted or changed. Nothing is signed, since others hold that checkpoint. Restore a backup that has all "
        f"{last.size} leaves; if there is none, announce it and found a new deployment under a new origin"
    )
    return StateError(f"{log_name(pool)}/checkpoints", "LOG_CONTRADICTS_CHECKPOINT", detail)


def _is_by(note: bytes, key: VerifierKey) -> bool:
    return any((found.name, found.key_id) == (key.name, key.key_id) for found in parse_note(note).signatures)


def _opened(pool: PoolRef, stored: StoredCheckpoint) -> Checkpoint:
    try:
        checkpoint = open_checkpoint(stored.note, stored.key).checkpoint
    except LedgerError as error:
        raise LedgerCorruptError(f"{log_name(pool)}/checkpoints/{stored.size}", str(error)) from None
    if checkpoint.size != stored.size:
        raise LedgerCorruptError(f"{log_name(pool)}/checkpoints/{stored.size}", f"states {checkpoint.size} leaves")
    return checkpoint
