"""Sessions as a table of usage, read as it is consumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from moiety.batches import USAGE_SCHEMA
from moiety.events import UsageEvent, batch_of
from moiety.telemetry.domains import DomainMap
from moiety.telemetry.reading import sessions_in
from moiety.telemetry.sessions import RefusedSession
from moiety.telemetry.turns import ShareBasis, usage_events_of


class TelemetryIntake:
    """Sessions on their way to a pool; knows, as far as they were read, what became of them.

    Raises:
        UsageFileError: the file is not there.
    """

    def __init__(self, sessions: Path | str | BinaryIO | Iterable[object], by: ShareBasis, domains: DomainMap) -> None:
        self._found = sessions_in(sessions)
        self._by = by
        self._domains = domains
        self.refused: list[RefusedSession] = []
        self.session_count = 0
        self.event_count = 0

    def table(self, events_per_piece: int) -> pa.RecordBatchReader:
        """Give the usage events as an Arrow stream of pieces."""
        return pa.RecordBatchReader.from_batches(USAGE_SCHEMA, self._pieces(events_per_piece))

    def _pieces(self, size: int) -> Iterator[pa.RecordBatch]:
        events = self._events()
        while piece := list(islice(events, size)):
            yield batch_of(piece)

    def _events(self) -> Iterator[UsageEvent]:
        for found in self._found:
            if isinstance(found, RefusedSession):
                self.refused.append(found)
                continue
            self.session_count += 1
            for event in usage_events_of(found, by=self._by, domains=self._domains):
                self.event_count += 1
                yield event
