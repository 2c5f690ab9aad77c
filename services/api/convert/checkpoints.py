"""Checkpoints as messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.store.logs.checkpoints import StoredCheckpoint
from moiety.v1 import audit_pb2
from services.api.convert.common import timestamp


def checkpoint_to_proto(log: str, checkpoint: StoredCheckpoint) -> audit_pb2.Checkpoint:
    return audit_pb2.Checkpoint(
        name=f"{log}/checkpoints/{checkpoint.size}",
        size=checkpoint.size,
        note=checkpoint.cosigned_note(),
        verifier_key=str(checkpoint.key),
        cosignatures=[
            audit_pb2.Cosignature(verifier_key=str(found.key), cosign_time=Timestamp(seconds=found.time_seconds))
            for found in checkpoint.cosignatures
        ],
        create_time=timestamp(checkpoint.created_at),
    )
