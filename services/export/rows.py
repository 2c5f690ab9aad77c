"""From a leaf to the rows that it adds to each table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from ledger.errors import LedgerCorruptError
from ledger.leaves import EncodedLeaf, Leaf, MethodContent, RetractionContent, UsageContent, decode_positions
from moiety.errors import DataLossError
from payout.policy import Policy, PolicyContent, PoolContent
from payout.rounds import DecisionContent, PostingContent, RoundContent
from payout.statement import STATEMENT_COLUMNS, parse_registry
from services.export.errors import ExportValueError
from services.export.events import events_table
from services.export.journal import LeafTransfers, statement_lines
from services.export.schema import SCHEMAS, TABLES
from services.export.source import PoolSource

Row = dict[str, Any]

_ROUND_FIGURES: Final = [name for name in TABLES["rounds"] if name in RoundContent.model_fields]


@dataclass(slots=True)
class LeafRows:
    """The rows of leaves taken in order."""

    source: PoolSource
    transfers: LeafTransfers

    def of(self, encoded: EncodedLeaf, leaf: Leaf[Any]) -> Iterator[tuple[str, pa.Table]]:
        """The rows of a leaf by table. ExportValueError where a figure does not fit its column."""
        for name, found in self._rows(encoded, leaf):
            if isinstance(found, pa.Table):
                yield name, found
            elif found:
                try:
                    yield name, pa.Table.from_pylist(found, schema=SCHEMAS[name])
                except (pa.ArrowException, OverflowError) as error:
                    raise ExportValueError(leaf.index, name, str(error)) from None

    def _rows(self, encoded: EncodedLeaf, leaf: Leaf[Any]) -> Iterator[tuple[str, list[Row] | pa.Table]]:
        content, place = leaf.content, {"leaf_index": leaf.index, "time": leaf.time}
        entry = {"type": content.type, "hash": encoded.hash.hex(), "entry": encoded.entry.decode()}
        yield "leaves", [{**place, **entry}]
        match content:
            case PoolContent(policy=policy):
                yield "pools", [{**place, "display_name": content.display_name, "currency": content.currency}]
                yield "policies", [{**place, "version": 1, **_terms(policy)}]
            case PolicyContent(version=version, policy=policy):
                yield "policies", [{**place, "version": version, **_terms(policy)}]
            case MethodContent():
                yield "methods", [{**place, **content.model_dump()}]
            case UsageContent():
                yield "batches", [{**place, **_batch(content)}]
                yield "events", events_table(leaf.index, content, self.source.body(content.body_sha256))
            case RetractionContent():
                yield "retractions", list(_retractions(leaf, content))
            case RoundContent():
                figures = {name: getattr(content, name) for name in _ROUND_FIGURES}
                yield "rounds", [{**place, **figures, "start_leaf": content.start, "end_leaf": content.end}]
                yield "allocations", list(self._allocations(leaf.index, content))
            case DecisionContent():
                yield "decisions", [{**place, **content.model_dump()}]
            case PostingContent():
                yield "postings", [{**place, **content.model_dump()}]
        moved = self.transfers.of(leaf)
        yield (
            "transfers",
            [
                {
                    **place,
                    "ordinal": ordinal,
                    "from_account": transfer.from_account,
                    "to_account": transfer.to_account,
                    "amount_minor": transfer.amount_minor,
                    "purpose": transfer.purpose.value,
                }
                for ordinal, transfer in enumerate(moved)
            ],
        )

    def _allocations(self, leaf_index: int, content: RoundContent) -> Iterator[Row]:
        try:
            snapshot = parse_registry(self.source.body(content.registry_sha256))
        except LedgerCorruptError as error:
            raise DataLossError(str(error)) from None
        members = {each.name: each for each in snapshot}
        for line in statement_lines(self.source, content):
            collective = members.get(line.collective)
            if collective is None:
                raise DataLossError(f"leaf {leaf_index}: {line.collective} is in the statement, not in the registry")
            yield {
                "leaf_index": leaf_index,
                "round": content.number,
                **{name: getattr(line, name) for name in STATEMENT_COLUMNS},
                "status": line.status.value,
                "members": collective.members,
                "equity_ppm": collective.equity_ppm,
            }


def _terms(policy: Policy) -> Row:
    # model_dump would make the amounts text, as they are in the log's entries.
    return {name: getattr(policy, name) for name in Policy.model_fields}


def _batch(content: UsageContent) -> Row:
    return {
        "platform": content.platform,
        "batch_id": content.batch_id,
        "method": content.method,
        "method_version": content.method_version,
        "body_sha256": content.body_sha256,
        "body_bytes": content.body_bytes,
        "accepted": content.accepted,
        "duplicates": len(_positions(content.duplicates)),
        "attributed_ai_only": content.ai_only.attributed,
        "attributed_human_ai": content.human_ai.attributed,
        "unattributed_ai_only": content.ai_only.unattributed,
        "unattributed_human_ai": content.human_ai.unattributed,
    }


def _retractions(leaf: Leaf[Any], content: RetractionContent) -> Iterator[Row]:
    for position in _positions(content.positions):
        yield {
            "leaf_index": leaf.index,
            "time": leaf.time,
            "platform": content.platform,
            "request_id": content.request_id,
            "batch_leaf": content.batch_leaf,
            "position": position,
        }


def _positions(text: str) -> list[int]:
    try:
        return decode_positions(text)
    except LedgerCorruptError as error:
        raise DataLossError(str(error)) from None
