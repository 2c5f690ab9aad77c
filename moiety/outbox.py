"""An outbox: usage events kept on disk until they are receipted, for services that produce one event at a time.

In its folder, `N.events` takes events as they come. To be delivered it becomes batches, `N-0.batch` and so on, each the
very bytes that are sent, which are removed once the service has given a receipt. Whatever is interrupted is done again
with the same bytes and thus the same batch id, so that nothing is lost and nothing is recorded twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from threading import Lock, RLock
from typing import IO, Any, Final, Self
from uuid import UUID

from moiety.batches import decode, encode, record_batches
from moiety.errors import BatchRefusal, EventViolation
from moiety.events import Mode, UsageEvent, batch_of, event_to_message
from moiety.journals import OutboxError, read_records, record_of, repair, sync_folder, write_synced
from moiety.sizes import EVENTS_PER_BATCH, EVENTS_PER_BATCH_MAX
from moiety.v1 import usage_pb2 as pb

BYTES_PER_FILE: Final = 8 * 2**20
"""How large a file of events becomes: its batch is well within what the service takes."""


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that the service refused, and why. It is set aside in the outbox's folder `refused`."""

    event: UsageEvent
    violations: tuple[EventViolation, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a delivery: the receipts of what is recorded, and the events that were refused."""

    receipts: Sequence[pb.Receipt]
    refused: Sequence[RefusedEvent]


class Outbox:
    """A folder of usage events that wait for their receipts. Safe to use from several threads, by one process.

        outbox = moiety.Outbox("/var/lib/tunes/outbox", "folk", "melody-ngram")
        outbox.put(event)            # on disk once this returns
        client.deliver(outbox)       # now and then; or `await` that of an AsyncClient

    Args:
        folder: where the events are kept; made if it is not there.
        pool: the id of the pool that they are for.
        method: the id of the method that computed their shares.

    Raises:
        OutboxError: another process uses the folder, it is of another pool or method, or a file in it is damaged.
        OSError: the folder cannot be made, read or written.
    """

    def __init__(self, folder: Path | str, pool: str, method: str) -> None:
        self.folder: Final = Path(folder)
        self.pool: Final = pool
        self.method: Final = method
        self._counts: dict[str, int] = {}
        """How many events each file has, by its name."""
        self._open: IO[bytes] | None = None
        self._appending = RLock()
        self._syncing = Lock()
        self._appended = self._synced = 0
        self._failed = False
        self._process: Final = os.getpid()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder)
        try:
            self._require_same()
            self._next_number = self._recover()
        except BaseException:
            self._lock.close()
            raise

    def put(self, *events: UsageEvent) -> None:
        """Keep events. Once this returns they survive a crash of the process and of the machine.

        Threads that put at the same time share one sync of the disk. In an event loop, call it by
        `asyncio.to_thread`.

        Raises:
            InvalidUsageError: a value is not of its type, or a time has no zone; none of the events is kept.
            OutboxError: the outbox is closed, or the disk failed before; open it again then. Or it was opened before
                the process was forked.
            OSError: the disk is full or failed; whether the events are kept is then not known, and putting them again
                is safe.
        """
        messages = [event_to_message(event, place) for place, event in enumerate(events)]
        records = b"".join(record_of(message.SerializeToString()) for message in messages)
        self._require_own()
        with self._appending:
            file = self._writable()
            start = file.tell()
            try:
                _write_all(file, records)
            except OSError:
                self._failed = True  # unless what was written of it can be taken back
                file.truncate(start)
                file.seek(start)
                self._failed = False
                raise
            self._appended += 1
            ticket = self._appended
            name = Path(file.name).name
            self._counts[name] = self._counts.get(name, 0) + len(events)
        self._sync(ticket)

    def __len__(self) -> int:
        """How many events wait."""
        with self._appending:
            return sum(self._counts.values())

    def close(self) -> None:
        """Let the folder go. What is in it stays."""
        with self._appending:
            try:
                if not self._failed:
                    self._end_file()
            finally:
                if self._open:
                    self._open.close()
                    self._open = None
                self._lock.close()
                self._failed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sealed(self) -> list[Path]:
        """Make batches of all events, and return their files, the oldest first.

        Raises:
            OutboxError: a file is damaged, or the outbox was opened before the process was forked.
        """
        self._require_own()
        with self._appending:
            self._end_file()
            for path in sorted(self.folder.glob("*.events")):
                self._seal(path)
            return sorted(self.folder.glob("*.batch"), key=_place)

    def remove(self, path: Path) -> None:
        """Remove a batch that has its receipt."""
        with self._appending:
            path.unlink(missing_ok=True)
            sync_folder(self.folder)
            self._counts.pop(path.name, None)

    def set_aside(self, path: Path, refusal: BatchRefusal) -> list[RefusedEvent]:
        """Take the events that the service refused out of a batch, and keep the others for the next delivery.

        Returns none where the refusal names no event: then all of the batch stays.
        """
        reasons: dict[int, list[EventViolation]] = {}
        for violation in refusal.events:
            reasons.setdefault(violation.position - refusal.first_position, []).append(violation)
        if not reasons:
            return []
        events = list(_events_in(path.read_bytes()))
        refused = [RefusedEvent(events[place], tuple(found)) for place, found in sorted(reasons.items())]
        others = [event for place, event in enumerate(events) if place not in reasons]
        with self._appending:
            aside = self.folder / "refused"
            aside.mkdir(exist_ok=True)
            documents = json.dumps([_document(item) for item in refused], indent=2)
            write_synced(aside / f"{path.stem}.json", documents.encode())
            sync_folder(self.folder)
            if others:
                self._write_batches(f"{path.stem}-0", others)
            self.remove(path)
        return refused

    def _require_own(self) -> None:
        """Check that this process opened the outbox. A child of it has the same open file, which the parent removes
        once it is delivered: what the child puts would be lost.

        Raises:
            OutboxError: it is such a child.
        """
        if os.getpid() != self._process:
            raise OutboxError(self.folder, "was opened before this process was forked; open one in each process")

    def _writable(self) -> IO[bytes]:
        """The file that takes events: the one that did, or the next."""
        if self._failed:
            raise OutboxError(self.folder, "is closed, or its disk failed")
        if self._open and (
            self._open.tell() >= BYTES_PER_FILE or self._counts[Path(self._open.name).name] >= EVENTS_PER_BATCH
        ):
            self._end_file()
        if self._open is None:
            path = self.folder / f"{self._next_number:012}.events"
            self._next_number += 1
            self._open = path.open("xb", buffering=0)
            self._counts[path.name] = 0
            sync_folder(self.folder)
        return self._open

    def _end_file(self) -> None:
        """Sync and close the file that takes events."""
        if self._open is None:
            return
        with self._syncing:
            self._fsync()
            self._open.close()
            self._open = None

    def _sync(self, ticket: int) -> None:
        """Wait until what was appended up to a ticket is on the disk."""
        with self._syncing:
            if self._synced < ticket:
                self._fsync()

    def _fsync(self) -> None:
        appended = self._appended
        if self._failed:
            raise OutboxError(self.folder, "is closed, or its disk failed")
        if self._open is None:
            return
        try:
            os.fsync(self._open.fileno())
        except OSError:
            self._failed = True  # what the kernel still has of it may be gone, whatever it says the next time
            raise
        self._synced = appended

    def _seal(self, path: Path) -> None:
        """Make batches of a file of events. Interrupted, it makes the same ones again."""
        if messages := [pb.UsageEvent.FromString(record) for record in read_records(path)]:
            self._write_batches(path.stem, [_event_of(message) for message in messages])
        path.unlink()
        sync_folder(self.folder)
        self._counts.pop(path.name, None)

    def _write_batches(self, stem: str, events: Sequence[UsageEvent]) -> None:
        for place, batch in enumerate(record_batches(batch_of(events), events_per_batch=EVENTS_PER_BATCH_MAX)):
            path = self.folder / f"{stem}-{place}.batch"
            write_synced(path, encode(batch))
            self._counts[path.name] = batch.num_rows

    def _require_same(self) -> None:
        """Check that the folder is of this pool and method, or make it so."""
        path = self.folder / "outbox.json"
        wanted = {"format": 1, "pool": self.pool, "method": self.method}
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            write_synced(path, json.dumps(wanted).encode())
            return
        except ValueError:
            raise OutboxError(path, "is not JSON") from None
        if found != wanted:
            raise OutboxError(path, f"says {json.dumps(found)}, not {json.dumps(wanted)}")

    def _recover(self) -> int:
        """Clear away what was interrupted, count what waits, and return the number of the next file."""
        for path in self.folder.glob("*.new"):
            path.unlink()
        files = sorted(self.folder.glob("*.events"))
        for path in files[:-1]:
            self._counts[path.name] = len(read_records(path))
        for path in files[-1:]:
            self._counts[path.name] = repair(path)
        for path in self.folder.glob("*.batch"):
            if f"{_number(path):012}.events" in self._counts:
                path.unlink()  # not sent before all batches of the file were made: they are made again
            else:
                self._counts[path.name] = decode(path.read_bytes()).num_rows
        numbers = [_number(path) for path in (*self.folder.glob("*.events"), *self.folder.glob("*.batch"))]
        aside = [_number(path) for path in self.folder.glob("refused/*.json")]
        return max([*numbers, *aside], default=0) + 1


def _locked(folder: Path) -> IO[bytes]:
    """A file whose lock this process has until it closes it or ends."""
    import fcntl  # noqa: PLC0415 - Windows has none, and may import the rest of this package

    file = (folder / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OutboxError(folder, "is in use by another process or another Outbox") from None
    return file


def _write_all(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _number(path: Path) -> int:
    return int(path.stem.partition("-")[0])


def _place(path: Path) -> list[int]:
    """A batch's place among the others: the number of its file of events, and its own in it."""
    return [int(part) for part in path.stem.split("-")]


def _event_of(message: pb.UsageEvent) -> UsageEvent:
    return UsageEvent(
        event_id=UUID(message.event_id),
        occurred_at=message.occurred_at.ToDatetime(tzinfo=UTC),
        units=message.units,
        mode=Mode(message.mode),
        shares={share.collective_id: share.share_nano for share in message.shares},
        work_id=message.work_id if message.HasField("work_id") else None,
    )


def _events_in(data: bytes) -> Iterator[UsageEvent]:
    """The events in the bytes of a batch."""
    for row in decode(data).to_pylist():
        yield UsageEvent(
            event_id=UUID(bytes=row["event_id"]),
            occurred_at=row["occurred_at"],
            units=row["units"],
            mode=Mode(row["mode"]),
            shares=dict(zip(row["collectives"], row["shares"], strict=True)),
            work_id=row["work_id"],
        )


def _document(refused: RefusedEvent) -> Mapping[str, Any]:
    event = refused.event
    return {
        "event_id": str(event.event_id),
        "work_id": event.work_id,
        "occurred_at": event.occurred_at.isoformat(),
        "units": event.units,
        "mode": event.mode.name,
        "shares": dict(event.shares),
        "violations": [f"{found.field}: {found.description}" for found in refused.violations],
    }
