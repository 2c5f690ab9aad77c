"""Checkpoints and proofs of the audit service: hashes and signatures, for everyone with a key."""

from __future__ import annotations

from functools import partial
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.errors import InvalidInputError, Sentence, StateError
from ledger.log.checkpoint import read_checkpoint
from ledger.log.merkle import leaf_hash, verify_inclusion
from ledger.log.proof_files import LogProof
from ledger.log.witnessed import timing_policy
from ledger.registry import require_range
from ledger.store.logs import checkpoints, log, proofs
from ledger.store.logs.checkpoints import StoredCheckpoint
from ledger.store.logs.log import PoolRef, log_name
from ledger.store.postgres.database import Database
from ledger.store.registry.people import read_people
from moiety.v1 import audit_pb2 as pb
from services.api import convert
from services.api.names import page_limit, place_in
from services.api.pages import page_of
from services.api.resources import log_of

MAX_LOG_SIZE: Final = 2**62


class CheckpointMethods:
    """The part of the audit service that shows what was signed, and proves what follows from it."""

    _database: Database

    def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: grpc.ServicerContext) -> pb.Checkpoint:
        min_size = require_range(request.min_size, "min_size", 0, MAX_LOG_SIZE)
        if request.cosigned and min_size:
            raise InvalidInputError.of("cosigned", "cannot be combined with min_size")
        with self._database.transaction() as connection:
            pool = log_of(connection, request.parent, "parent")
            found = checkpoints.get_checkpoint(connection, pool, min_size=min_size)
            if request.cosigned and (policy := timing_policy(read_people(connection).witnesses)):
                found = checkpoints.latest_cosigned(connection, pool, found.key, policy) or found
        return convert.checkpoint_to_proto(log_name(pool), found)

    def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, context: grpc.ServicerContext
    ) -> pb.ListCheckpointsResponse:
        newest_first = request.newest_first
        limit = page_limit(request.page_size)
        (after,) = place_in(request.page_token, MAX_LOG_SIZE + 1 if newest_first else -1)
        with self._database.transaction() as connection:
            pool = log_of(connection, request.parent, "parent")
            found = checkpoints.list_checkpoints(connection, pool, after=after, limit=limit, newest_first=newest_first)
        listed, token = page_of(
            found, limit, partial(convert.checkpoint_to_proto, log_name(pool)), lambda checkpoint: (checkpoint.size,)
        )
        return pb.ListCheckpointsResponse(checkpoints=listed, next_page_token=token)

    def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, context: grpc.ServicerContext
    ) -> pb.InclusionProof:
        index = require_range(request.leaf_index, "leaf_index", 0, MAX_LOG_SIZE)
        size = require_range(request.checkpoint_size, "checkpoint_size", 0, MAX_LOG_SIZE)
        with self._database.transaction() as connection:
            pool = log_of(connection, request.parent, "parent")
            hashed = log.read_leaf(connection, pool, index).hash
            hashes, checkpoint = _inclusion(connection, pool, index, hashed, size)
        return pb.InclusionProof(
            leaf_index=index,
            leaf_hash=hashed,
            hashes=hashes,
            checkpoint=convert.checkpoint_to_proto(log_name(pool), checkpoint),
        )

    def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: grpc.ServicerContext
    ) -> pb.ConsistencyProof:
        with self._database.transaction() as connection:
            pool = log_of(connection, request.parent, "parent")
            most = log.read_head(connection, pool).size
            size = require_range(request.new_size, "new_size", 0, most)
            size = size or checkpoints.get_checkpoint(connection, pool).size
            old_size = require_range(request.old_size, "old_size", 0, size)
            proof = proofs.consistency_proof(connection, pool, old_size, size)
        return pb.ConsistencyProof(
            old_size=old_size, new_size=size, old_root=proof.old_root, new_root=proof.root, hashes=proof.hashes
        )


def _inclusion(
    connection: sa.Connection, pool: PoolRef, index: int, hashed: bytes, checkpoint_size: int = 0
) -> tuple[list[bytes], StoredCheckpoint]:
    """Returns the path from a leaf to a checkpoint's root, and that checkpoint; by default the last one signed.

    Raises:
        StateError: that checkpoint does not have the leaf yet.
        NotFoundError: there is no such checkpoint.
        ProofError: the path does not lead to the root that was signed, so something of it was changed since.
    """
    checkpoint = checkpoints.get_checkpoint(connection, pool, size=checkpoint_size)
    if index >= checkpoint.size:
        detail = Sentence(
            "is not in the checkpoint of %(size)s leaves yet; the next is signed within seconds", size=checkpoint.size
        )
        raise StateError(f"pools/{pool.name}/leaves/{index}", "NOT_IN_CHECKPOINT", detail)
    path = proofs.inclusion_proof(connection, pool, index, checkpoint.size)
    verify_inclusion(hashed, index, checkpoint.size, path, read_checkpoint(checkpoint.note)[0].root)
    return path, checkpoint


def entry_proof(connection: sa.Connection, pool: PoolRef, index: int) -> tuple[LogProof, bytes, StoredCheckpoint]:
    """Returns the proof that an entry is logged, with the entry as its extra data; the entry; and the checkpoint."""
    entry = log.read_leaf(connection, pool, index).entry
    hashes, checkpoint = _inclusion(connection, pool, index, leaf_hash(entry))
    return LogProof(index, tuple(hashes), checkpoint.cosigned_note(), entry), entry, checkpoint
