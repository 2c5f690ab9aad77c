"""From a leaf to the rows that it adds to each table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pydantic import BaseModel

from ledger.acts.entries import DecisionContent
from ledger.entries import BookingContent
from ledger.income import MatchContent, ReceiptContent, ReportContent, ReversalContent, WaiverContent
from ledger.log.leaves import EncodedLeaf, Leaf
from ledger.payments import parse_pool_bookings
from ledger.usage.entries import (
    MembershipContent,
    MethodContent,
    RetractionContent,
    UsageContent,
    decode_positions,
)
from payout.entries import (
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
)
from payout.statement import STATEMENT_COLUMNS, parse_registry, parse_statement
from payout.tariffs import TariffContent
from services.exports.errors import ExportValueError
from services.exports.parquet.events import events_table
from services.exports.parquet.schema import SCHEMAS, TABLES
from services.exports.past import Past
from services.exports.source import PoolSource

Row = dict[str, Any]

_MONEY_IN: Final[Mapping[Any, str]] = {
    ReportContent: "reports",
    ReceiptContent: "receipts",
    MatchContent: "matches",
    ReversalContent: "reversals",
    WaiverContent: "waivers",
    TariffContent: "tariffs",
}
"""The table of each entry about money that comes in."""


@dataclass(slots=True)
class LeafRows:
    """The rows of leaves taken in order."""

    source: PoolSource
    past: Past

    def of(self, encoded: EncodedLeaf, leaf: Leaf[Any]) -> Iterator[tuple[str, pa.Table]]:
        """The rows of a leaf by table.

        Raises:
            ExportValueError: a figure does not fit its column.
        """
        self.past.take_in(leaf)
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
                yield "policies", [{**place, "version": 1, **_figures("policies", policy)}]
            case PolicyContent(version=version, policy=policy):
                yield "policies", [{**place, "version": version, **_figures("policies", policy)}]
            case MethodContent():
                yield "methods", [{**place, **_figures("methods", content)}]
            case MembershipContent():
                yield "memberships", [{**place, **_figures("memberships", content)}]
            case UsageContent():
                yield "batches", [{**place, **_batch(content)}]
                yield "events", events_table(leaf.index, content, self.past.usage(leaf.index, content))
            case RetractionContent():
                yield "retractions", list(_retractions(leaf, content))
            case _ if table := _MONEY_IN.get(type(content)):
                yield table, [{**place, **_figures(table, content)}]
            case BookingContent():
                yield "bookings", list(self._bookings(leaf, content))
            case RoundContent():
                interval = {"start_leaf": content.start, "end_leaf": content.end}
                yield "rounds", [{**place, **interval, **_figures("rounds", content)}]
                yield "registry", list(self._registry(leaf.index, content))
                yield "allocations", list(self._allocations(leaf.index, content))
            case DecisionContent():
                number = self.past.round_at(content.subject)
                yield "decisions", [{**place, "round": number, **_figures("decisions", content)}]
            case PostingContent():
                yield "postings", [{**place, **_figures("postings", content)}]
        moved = self.past.transfers(leaf)
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

    def _bookings(self, leaf: Leaf[Any], content: BookingContent) -> Iterator[Row]:
        found = parse_pool_bookings(self.source.body(bytes.fromhex(content.bookings_sha256)))
        place = {"leaf_index": leaf.index, "time": leaf.time, "bank_file_leaf": content.bank_file_leaf}
        for ordinal, booking in enumerate(found.bookings):
            yield {**place, "ordinal": ordinal, **_figures("bookings", booking)}

    def _registry(self, leaf_index: int, content: RoundContent) -> Iterator[Row]:
        for each in parse_registry(self.source.body(bytes.fromhex(content.registry_sha256))):
            yield {
                "leaf_index": leaf_index,
                "round": content.number,
                "collective": each.name,
                "status": each.status.value,
                "members": each.members,
                "equity_ppm": each.equity_ppm,
            }

    def _allocations(self, leaf_index: int, content: RoundContent) -> Iterator[Row]:
        for line in parse_statement(self.source.body(bytes.fromhex(content.statement_sha256))):
            figures = {name: getattr(line, name) for name in STATEMENT_COLUMNS}
            yield {"leaf_index": leaf_index, "round": content.number, **figures, "status": line.status.value}


def _figures(table: str, values: BaseModel) -> Row:
    """Returns the values that a table has columns for; `model_dump` would turn the larger integers into text."""
    return {name: getattr(values, name) for name in TABLES[table] if name in type(values).model_fields}


def _batch(content: UsageContent) -> Row:
    return {
        **_figures("batches", content),
        "duplicates": len(decode_positions(content.duplicates)),
        "attributed_ai_only": content.ai_only.attributed,
        "attributed_human_ai": content.human_ai.attributed,
        "unattributed_ai_only": content.ai_only.unattributed,
        "unattributed_human_ai": content.human_ai.unattributed,
    }


def _retractions(leaf: Leaf[Any], content: RetractionContent) -> Iterator[Row]:
    for position in decode_positions(content.positions):
        yield {
            "leaf_index": leaf.index,
            "time": leaf.time,
            "platform": content.platform,
            "request_id": content.request_id,
            "batch_leaf": content.batch_leaf,
            "position": position,
        }
