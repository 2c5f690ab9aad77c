"""Processes that weigh batches for a check: threads would take the interpreter from each other, and from whoever waits.

A body goes to a process through memory that it shares with this one, and what a check needs of the batch comes back the
same way; all else is a small message. Collectives are numbered in the order in which they were first named, so that
their names are sent once.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from mmap import mmap
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.ma  # loaded once here, not by every process, for `np.unique`
import numpy.typing as npt

from audit.batch_check import WeighedBatch, weighed_batch
from audit.findings import Finding, FoundError
from audit.weighing import CollectiveNumbers
from ledger.usage.batch import Int64Array
from ledger.usage.entries import UsageContent
from ledger.usage.reading import Reading
from ledger.usage.weights import BatchWeights, ModeWeights

AREA_BYTES: Final = 4 * 2**20
"""For a body, and for what comes of it. Larger ones are sent instead."""

AHEAD: Final = 4
"""Batches that a process may have at a time, one of which it weighs."""


class WeigherEndedError(Exception):
    """A process that weighs batches came to an unexpected end."""


class _Asked(NamedTuple):
    area: int
    body: int | bytes
    """Its length in the shared memory, or all of it."""
    leaf_index: int
    content: UsageContent
    reading: Reading | None
    """None if it is that of the batch before."""


class _Part(NamedTuple):
    """A month and mode of a batch's weights, without its arrays."""

    month: int
    mode: int
    events: int
    collectives: int
    unattributed: int
    attributed: int


class _Weighed(NamedTuple):
    data: int | bytes
    """The arrays one after the other: their length in the shared memory, or all of them."""
    events: int
    share_count: int
    named: int
    parts: list[_Part]
    new_names: list[str]


class Weighers:
    """So many processes, forked when this is made: before the first thread and the first connection to a database."""

    def __init__(self, count: int) -> None:
        self._names, self._turn = _Names(), 0
        self._workers: list[_Worker] = []
        for _ in range(count):
            self._workers.append(_Worker(self._names, [each.connection for each in self._workers]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()

    def weigh(
        self, read: Callable[[], bytes], leaf_index: int, content: UsageContent, reading: Reading, /
    ) -> Callable[[], WeighedBatch]:
        """Read a body here and have its batch weighed, by each process in turn; AHEAD of each may be waited for.

        Raises:
            WeigherEndedError: a process ended, as when it was killed; whoever waits may get this too.
        """
        try:
            body = read()
        except FoundError as error:
            return _raising(error)
        worker = self._workers[self._turn]
        self._turn = (self._turn + 1) % len(self._workers)
        number = worker.ask(body, leaf_index, content, reading)
        return lambda: self._taken(worker, number)

    def _taken(self, worker: _Worker, number: int) -> WeighedBatch:
        said = worker.answer(number)
        if isinstance(said, Finding):
            raise FoundError(said)
        return self._read(worker, *said)

    def _read(self, worker: _Worker, said: _Weighed, data: bytes) -> WeighedBatch:
        numbers, arrays = worker.numbers, _Arrays(data)
        event_ids, named = arrays.take("V16", said.events), arrays.take("<i8", said.named)
        by_month: dict[int, dict[int, ModeWeights]] = {}
        for part in said.parts:
            index, count, low, high = (arrays.take("<i8", part.collectives) for _ in range(4))
            of_mode = ModeWeights(part.events, numbers[index], count, low, high, part.unattributed, part.attributed)
            by_month.setdefault(part.month, {})[part.mode] = of_mode
        accepted = arrays.take("?", said.events)
        return WeighedBatch(
            event_ids, accepted, said.share_count, self._names.all, numbers[named], BatchWeights(by_month)
        )


class _Names:
    """The names of collectives, each once, in the order in which they were first heard of."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers = CollectiveNumbers()

    def places_of(self, names: Sequence[str]) -> Int64Array:
        """Returns the places of names, (n,); new ones are added at the end."""
        places = self._numbers.numbered(names, np.arange(len(names)))
        self.all += islice(self._numbers.of, len(self.all), None)
        return places


def _raising(error: FoundError) -> Callable[[], WeighedBatch]:
    def wait() -> WeighedBatch:
        raise error

    return wait


class _Arrays:
    """Arrays in some bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, dtype: str, count: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self._data, dtype, count, self._at)
        self._at += found.nbytes
        return found


@dataclass(slots=True)
class _Worker:
    """A process, seen from the one that asks it."""

    names: _Names
    inherited: list[Connection]
    connection: Connection = field(init=False)
    numbers: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The places among all names of those that it has named, in the order in which it did."""
    _memory: mmap = field(init=False)
    _process: Any = field(init=False)
    _asked: int = 0
    _answered: int = 0
    _waiting: dict[int, tuple[_Weighed, bytes] | Finding] = field(default_factory=dict)
    _reading: Reading | None = None

    def __post_init__(self) -> None:
        forking = get_context("fork")
        self._memory = mmap(-1, 2 * AHEAD * AREA_BYTES)
        self.connection, theirs = forking.Pipe()
        ours = [*self.inherited, self.connection]
        self._process = forking.Process(target=_work, args=(theirs, self._memory, ours), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, body: bytes, leaf_index: int, content: UsageContent, reading: Reading) -> int:
        """Returns the number under which the answer is waited for."""
        if self._asked - self._answered == AHEAD:
            self._receive()
        area = self._asked % AHEAD
        fits = len(body) <= AREA_BYTES
        if fits:
            begin = _begin_of(area)
            self._memory[begin : begin + len(body)] = body
        is_same = self._reading is not None and _is_same(self._reading, reading)
        self._reading = reading
        asked = _Asked(area, len(body) if fits else body, leaf_index, content, None if is_same else reading)
        try:
            self.connection.send(asked)
        except OSError:
            raise self._ended() from None
        self._asked += 1
        return self._asked - 1

    def answer(self, number: int) -> tuple[_Weighed, bytes] | Finding:
        """Wait for what was asked under a number, once."""
        while number not in self._waiting:
            self._receive()
        return self._waiting.pop(number)

    def _receive(self) -> None:
        """Take the next answer out of the shared memory, so that its area is free."""
        try:
            said: _Weighed | Finding | str = self.connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(said, str):
            raise WeigherEndedError(said)
        number, self._answered = self._answered, self._answered + 1
        if isinstance(said, Finding):
            self._waiting[number] = said
            return
        if said.new_names:
            self.numbers = np.concatenate([self.numbers, self.names.places_of(said.new_names)])
        begin = _begin_of(number % AHEAD) + AREA_BYTES
        data = said.data if isinstance(said.data, bytes) else self._memory[begin : begin + said.data]
        self._waiting[number] = said, data

    def _ended(self) -> WeigherEndedError:
        self._process.join()
        return WeigherEndedError(f"a process that weighs batches ended, with exit code {self._process.exitcode}")

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.join()
        self._memory.close()


def _begin_of(area: int) -> int:
    return 2 * area * AREA_BYTES


def _is_same(one: Reading, other: Reading) -> bool:
    """Whether two say the same; a membership may be large, and is compared by what it is."""
    return (
        one.rule == other.rule
        and one.membership is other.membership
        and one.membership_version == other.membership_version
    )


def _work(asked: Connection, memory: mmap, inherited: Sequence[Connection]) -> None:
    """Weigh batches until nobody can ask for another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that of a terminal is for who asks, whose end ends this
    for connection in inherited:
        connection.close()
    weigher = _Weigher(memory)
    while True:
        try:
            asked.send(weigher.weigh(asked.recv()))
        except (EOFError, OSError):
            return
        except Exception:  # noqa: BLE001  # nothing above this, and whoever asked must know
            asked.send(traceback.format_exc())
            return


class _Weigher:
    """What a process does."""

    def __init__(self, memory: mmap) -> None:
        self._memory = memory
        self._reading = Reading()
        self._numbers = CollectiveNumbers()

    def weigh(self, asked: _Asked) -> _Weighed | Finding:
        self._reading = asked.reading or self._reading
        begin = _begin_of(asked.area)
        body = asked.body if isinstance(asked.body, bytes) else self._memory[begin : begin + asked.body]
        try:
            found = weighed_batch(lambda: body, asked.leaf_index, asked.content, self._reading)
        except FoundError as error:
            return error.finding
        before = len(self._numbers.of)
        numbers = self._numbers.numbered(found.names, np.arange(len(found.names)))
        new_names = list(islice(self._numbers.of, before, None)) if len(self._numbers.of) > before else []
        arrays: list[npt.NDArray[Any]] = [np.ascontiguousarray(found.event_ids), numbers[found.named]]
        parts = []
        for month, by_mode in found.weights.by_month.items():
            for mode, part in by_mode.items():
                arrays += [numbers[part.index], part.count, part.low, part.high]
                parts.append(_Part(month, mode, part.events, len(part.index), part.unattributed, part.attributed()))
        arrays.append(found.accepted)
        data = self._put(arrays, begin + AREA_BYTES)
        return _Weighed(data, len(found), found.share_count, len(found.named), parts, new_names)

    def _put(self, arrays: Sequence[npt.NDArray[Any]], begin: int) -> int | bytes:
        size = sum(array.nbytes for array in arrays)
        if size > AREA_BYTES:
            return b"".join(array.tobytes() for array in arrays)
        for array in arrays:
            self._memory[begin : begin + array.nbytes] = array.view(np.uint8).data
            begin += array.nbytes
        return size
