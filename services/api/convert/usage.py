"""Receipts of usage and retractions as messages."""

from __future__ import annotations

from ledger.store.usage.batches import RecordedBatch
from ledger.store.usage.id_schemes import FixedScheme
from ledger.store.usage.retractions import RecordedRetraction
from ledger.usage.entries import decode_positions
from ledger.usage.ids import IdScheme
from moiety.v1 import usage_pb2
from services.api.convert.common import enum_name, timestamp
from services.api.names import batch_name


def receipt_to_proto(pool: str, batch: RecordedBatch, *, with_positions: bool = True) -> usage_pb2.Receipt:
    content = batch.content
    return usage_pb2.Receipt(
        name=batch_name(pool, content.platform, content.batch_id),
        leaf_index=batch.leaf_index,
        leaf_hash=batch.leaf_hash,
        body_sha256=bytes.fromhex(content.body_sha256),
        accepted_count=content.accepted,
        duplicate_count=batch.duplicate_count,
        duplicate_positions=batch.duplicate_positions().tolist() if with_positions else (),
        method=f"pools/{pool}/methods/{content.method}",
        method_version=content.method_version,
        create_time=timestamp(batch.time),
        membership=f"pools/{pool}/memberships/{content.membership}" if content.membership else "",
        membership_version=content.membership_version or 0,
        attributed_nano=str(content.ai_only.attributed + content.human_ai.attributed),
        unattributed_nano=str(content.ai_only.unattributed + content.human_ai.unattributed),
        nearly_known_sources=[
            usage_pb2.NearlyKnownSource(source=source, known=known) for source, known in batch.nearly_known
        ],
    )


def validated_to_proto(pool: str, checked: RecordedBatch) -> usage_pb2.Receipt:
    """Returns the receipt of a batch that was checked and not recorded: without name, leaf and time."""
    receipt = receipt_to_proto(pool, checked)
    receipt.name = ""
    receipt.ClearField("create_time")
    return receipt


def retraction_to_proto(pool: str, recorded: RecordedRetraction) -> usage_pb2.Retraction:
    return usage_pb2.Retraction(
        batch=batch_name(pool, recorded.content.platform, recorded.batch_id),
        leaf_index=recorded.leaf_index,
        leaf_hash=recorded.leaf_hash,
        positions=decode_positions(recorded.content.positions),
        create_time=timestamp(recorded.time),
    )


def id_scheme_from_proto(value: int) -> IdScheme:
    """Returns the scheme; OWN if it is unset.

    Raises:
        InvalidInputError: there is no such scheme.
    """
    return IdScheme(enum_name(usage_pb2.IdScheme, value, IdScheme.OWN, "id_scheme"))


def id_scheme_to_proto(platform: str, found: FixedScheme | None) -> usage_pb2.PlatformIdScheme:
    scheme = found.scheme if found else IdScheme.OWN
    return usage_pb2.PlatformIdScheme(
        platform=f"platforms/{platform}",
        id_scheme=usage_pb2.IdScheme.Value(f"ID_SCHEME_{scheme}"),
        is_fixed=found is not None,
        leaf_index=found.leaf_index if found else None,
    )
