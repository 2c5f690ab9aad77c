"""Telemetry as a table of usage, read as it is consumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from moiety.batches import USAGE_SCHEMA
from moiety.events import UsageEvent, batch_of
from moiety.ids import IdScheme
from moiety.telemetry.domains import DomainMap
from moiety.telemetry.reading import Telemetry
from moiety.telemetry.sessions import RefusedDocument, TelemetrySession, TelemetrySubmission
from moiety.telemetry.turns import Attribution, ShareBasis, turns_of

if TYPE_CHECKING:
    from moiety.v1.usage_pb2 import Receipt


class TelemetryIntake:
    """Telemetry on its way to a pool; knows, as far as it was read, what became of it.

    Raises:
        UsageFileError: the file is not there.
    """

    def __init__(
        self,
        documents: Path | str | BinaryIO | Iterable[object],
        by: ShareBasis,
        domains: DomainMap,
        id_scheme: IdScheme,
    ) -> None:
        self._telemetry = Telemetry(documents)
        self._by = by
        self._domains = domains
        self._id_scheme = id_scheme
        self._refused: list[RefusedDocument] = []
        self._session_count = 0
        self._turns: Counter[Attribution] = Counter()
        self._conflict_count = 0

    def table(self, events_per_piece: int) -> pa.RecordBatchReader:
        """Return the usage events as an Arrow stream of pieces."""
        return pa.RecordBatchReader.from_batches(USAGE_SCHEMA, self._pieces(events_per_piece))

    def result(self, receipts: list[Receipt]) -> TelemetrySubmission:
        """Say what became of what was read so far."""
        return TelemetrySubmission(
            receipts=receipts,
            refused=self._refused,
            document_count=self._telemetry.document_count,
            session_count=self._session_count,
            event_count=self._turns.total(),
            attributed_count=self._turns[Attribution.WHOLLY],
            partly_count=self._turns[Attribution.PARTLY],
            conflict_count=self._conflict_count,
        )

    def _pieces(self, size: int) -> Iterator[pa.RecordBatch]:
        events = self._events()
        while piece := list(islice(events, size)):
            yield batch_of(piece)

    def _events(self) -> Iterator[UsageEvent]:
        for found in self._telemetry:
            if isinstance(found, RefusedDocument):
                self._refused.append(found)
                continue
            self._session_count += 1
            self._conflict_count += self._conflicts(found)
            for turn in turns_of(found, by=self._by, domains=self._domains, id_scheme=self._id_scheme):
                self._turns[turn.attribution] += 1
                yield turn.event

    def _conflicts(self, session: TelemetrySession) -> int:
        contents = {(event.content_url, event.content_id) for event in session.events}
        return sum(self._domains.owner_of(*content).is_contested for content in contents)
