"""Processes that weigh batches for a check: threads would take the interpreter from each other, and from whoever waits.

A process reads the bodies itself, and what a check needs of a batch comes back through memory that it shares with this
one; all else is a small message. Collectives are numbered in the order in which they were first named, so that their
names are sent once.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from mmap import mmap
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.ma  # loaded once here, not by every process, for `np.unique`
import numpy.typing as npt

from audit.batches.check import Weigh, WeighedBatch, weighed_batch
from audit.batches.weighing import CollectiveNumbers
from audit.findings import Finding, FoundError
from ledger.files.layout import MAX_FILE_BYTES
from ledger.usage.batch import Int64Array
from ledger.usage.entries import UsageContent
from ledger.usage.reading import Reading
from ledger.usage.weights import BatchWeights, ModeWeights
from services.processors import keep_to_one

AREA_BYTES: Final = 2 * 2**20
"""For what comes of a batch. What is larger is sent instead."""

AHEAD: Final = 64
"""Batches that a process may have at a time, one of which it weighs: enough for as long as a check may be busy."""

TOLD_TOGETHER: Final = 16
"""Questions, or answers, that are one message: small batches take less time than the messages about them would."""

TOGETHER_BYTES: Final = 2**20
"""Of bodies that a process reads at once, by what their leaves say: small ones take less time than a way there and
back. A larger one is read by itself. None that is read with others is longer than this, whatever leaves say."""

ReadBodies = Callable[[Any, Sequence[bytes], int], Mapping[bytes, bytes]]
"""Reads bodies of a log, named as `Weighers.of` was told, by their hashes; those that it cannot read, or that have more
than so many bytes, are left out."""


class WeigherEndedError(Exception):
    """A process that weighs batches came to an unexpected end."""


class _Claims(NamedTuple):
    """What a leaf says of its body (`BodyClaims`): the whole leaf would take longer to send."""

    body_sha256: str
    body_bytes: int
    duplicates: str

    @classmethod
    def of(cls, content: UsageContent) -> _Claims:
        return cls(content.body_sha256, content.body_bytes, content.duplicates)

    def digest(self) -> bytes:
        return bytes.fromhex(self.body_sha256)


class _Asked(NamedTuple):
    area: int
    log: Any
    body: bytes | None
    """None if the process is to read it."""
    leaf_index: int
    claims: _Claims
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
    """So many processes, forked when this is made: before the first thread and the first connection to a database.

    Each enters `reading`, and reads bodies by what that gives.
    """

    def __init__(self, count: int, reading: Callable[[], AbstractContextManager[ReadBodies]]) -> None:
        self._names, self._turn = _Names(), 0
        self._workers: list[_Worker] = []
        for place in range(count):
            others = [each.connection for each in self._workers]
            self._workers.append(_Worker(self._names, others, reading, place, count))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()

    def of(self, log: Any) -> Weigh:
        """Returns what has the batches of a log weighed, by each process in turn; AHEAD of each may be waited for.

        A body that a process cannot read is read here, so that what is wrong with it is found by who waits for it.

        Raises:
            WeigherEndedError: what this returns does, and what waits for a batch: a process ended, as if it was killed.
        """
        return partial(self._weigh, log)

    def _weigh(
        self, log: Any, read: Callable[[], bytes], leaf_index: int, content: UsageContent, reading: Reading, /
    ) -> Callable[[], WeighedBatch]:
        worker = self._workers[self._turn]
        self._turn = (self._turn + 1) % len(self._workers)
        claims = _Claims.of(content)
        number = worker.ask(log, None, leaf_index, claims, reading)

        def wait() -> WeighedBatch:
            if not worker.has_answered(number):
                for each in self._workers:  # this process is about to do nothing
                    each.tell()
            said = worker.answer(number)
            if said is None:
                said = worker.answer(worker.ask(log, read(), leaf_index, claims, reading))
            if isinstance(said, Finding):
                raise FoundError(said)
            assert said is not None  # noqa: S101  # it had the body
            return self._read(worker, *said)

        return wait

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


class _Arrays:
    """Arrays in some bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, dtype: str, count: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self._data, dtype, count, self._at)
        self._at += found.nbytes
        return found


_Answer = tuple[_Weighed, bytes] | Finding | None
"""None if the process could not read the body."""


@dataclass(slots=True)
class _Worker:
    """A process, seen from the one that asks it."""

    names: _Names
    inherited: list[Connection]
    reading: Callable[[], AbstractContextManager[ReadBodies]]
    place: int
    count: int
    connection: Connection = field(init=False)
    numbers: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The places among all names of those that it has named, in the order in which it did."""
    _memory: mmap = field(init=False)
    _process: Any = field(init=False)
    _asked: int = 0
    _answered: int = 0
    _waiting: dict[int, _Answer] = field(default_factory=dict)
    _reading: Reading | None = None
    _untold: list[_Asked] = field(default_factory=list)
    """Questions that were asked and are not sent yet."""
    _untold_bytes: int = 0

    def __post_init__(self) -> None:
        forking = get_context("fork")
        self._memory = mmap(-1, AHEAD * AREA_BYTES)
        self.connection, theirs = forking.Pipe()
        ours = [*self.inherited, self.connection]
        told = theirs, self._memory, self.reading, ours, self.place, self.count
        self._process = forking.Process(target=_work, args=told, daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, log: Any, body: bytes | None, leaf_index: int, claims: _Claims, reading: Reading) -> int:
        """Returns the number under which the answer is waited for. The question is sent with others, or by `tell`."""
        if self._asked - self._answered == AHEAD:
            self._receive()
        is_same = self._reading is not None and _is_same(self._reading, reading)
        self._reading = reading
        area = self._asked % AHEAD
        self._untold.append(_Asked(area, log, body, leaf_index, claims, None if is_same else reading))
        self._untold_bytes += claims.body_bytes
        self._asked += 1
        if len(self._untold) == TOLD_TOGETHER or self._untold_bytes >= TOGETHER_BYTES:
            self.tell()
        return self._asked - 1

    def tell(self) -> None:
        """Send what was asked."""
        if not self._untold:
            return
        try:
            self.connection.send(self._untold)
        except OSError:
            raise self._ended() from None
        self._untold, self._untold_bytes = [], 0

    def has_answered(self, number: int) -> bool:
        """Whether nobody needs to wait for what was asked under a number."""
        return number in self._waiting

    def answer(self, number: int) -> _Answer:
        """Wait for what was asked under a number, once."""
        while number not in self._waiting:
            self._receive()
        return self._waiting.pop(number)

    def _receive(self) -> None:
        """Take the next answers out of the shared memory, so that their areas are free."""
        self.tell()
        try:
            said: list[_Weighed | Finding | None] | str = self.connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(said, str):
            raise WeigherEndedError(said)
        for each in said:
            self._take(each)

    def _take(self, said: _Weighed | Finding | None) -> None:
        number, self._answered = self._answered, self._answered + 1
        if said is None or isinstance(said, Finding):
            self._waiting[number] = said
            return
        if said.new_names:
            self.numbers = np.concatenate([self.numbers, self.names.places_of(said.new_names)])
        begin = AREA_BYTES * (number % AHEAD)
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


def _is_same(one: Reading, other: Reading) -> bool:
    """Whether two say the same; a membership may be large, and is compared by what it is."""
    return (
        one.rule == other.rule
        and one.membership is other.membership
        and one.membership_version == other.membership_version
    )


def _work(
    asked: Connection,
    memory: mmap,
    reading: Callable[[], AbstractContextManager[ReadBodies]],
    inherited: Sequence[Connection],
    place: int,
    count: int,
) -> None:
    """Weigh batches until nobody can ask for another, as one of so many processes."""
    keep_to_one(place, count)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that of a terminal is for who asks, whose end ends this
    for connection in inherited:
        connection.close()
    with ExitStack() as stack:
        read: ReadBodies = _nothing
        with suppress(Exception):
            read = stack.enter_context(reading())
        weigher = _Weigher(memory, read)
        try:
            for questions in _together(_heard(asked)):
                answers = weigher.weigh_all(questions)
                while some := list(islice(answers, TOLD_TOGETHER)):
                    asked.send(some)
        except OSError:
            return
        except Exception:  # noqa: BLE001  # nothing above this, and whoever asked must know
            asked.send(traceback.format_exc())


def _heard(asked: Connection) -> SimpleQueue[list[_Asked] | None]:
    """What is asked, and None at the end. A thread listens, or two that have much to say would wait for each other."""
    questions: SimpleQueue[list[_Asked] | None] = SimpleQueue()

    def listen() -> None:
        try:
            while True:
                questions.put(asked.recv())
        except (EOFError, OSError):
            pass
        finally:
            questions.put(None)

    Thread(target=listen, daemon=True).start()
    return questions


def _together(heard: SimpleQueue[list[_Asked] | None]) -> Iterator[list[_Asked]]:
    """Yields the questions, those together that are there and whose bodies are read at once."""
    some, size = list[_Asked](), 0
    while (questions := heard.get()) is not None:
        for question in questions:
            said = max(0, question.claims.body_bytes)
            if some and size + said > TOGETHER_BYTES:
                yield some
                some, size = [], 0
            some.append(question)
            size += said
        if heard.empty():
            yield some
            some, size = [], 0
    if some:
        yield some


def _nothing(_log: Any, _digests: Sequence[bytes], _bytes_max: int) -> Mapping[bytes, bytes]:
    return {}


class _Weigher:
    """What a process does."""

    def __init__(self, memory: mmap, read: ReadBodies) -> None:
        self._memory, self._read = memory, read
        self._reading = Reading()
        self._numbers = CollectiveNumbers()

    def weigh_all(self, questions: Sequence[_Asked]) -> Iterator[_Weighed | Finding | None]:
        """Yields the answers, one by one."""
        for log, of_log in groupby(questions, lambda each: each.log):
            some = list(of_log)
            bodies = self._bodies(log, [each.claims.digest() for each in some if each.body is None])
            for each in some:
                self._reading = each.reading or self._reading
                body = bodies.get(each.claims.digest()) if each.body is None else each.body
                yield None if body is None else self._weigh(each, body)

    def _bodies(self, log: Any, digests: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Those that can be read: whoever asked reads the others too, and says what is wrong."""
        try:
            return self._read(log, digests, MAX_FILE_BYTES if len(digests) == 1 else TOGETHER_BYTES) if digests else {}
        except Exception:  # noqa: BLE001  # see above
            return {}

    def _weigh(self, asked: _Asked, body: bytes) -> _Weighed | Finding:
        try:
            found = weighed_batch(lambda: body, asked.leaf_index, asked.claims, self._reading)
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
        data = self._put(arrays, AREA_BYTES * asked.area)
        return _Weighed(data, len(found), found.share_count, len(found.named), parts, new_names)

    def _put(self, arrays: Sequence[npt.NDArray[Any]], begin: int) -> int | bytes:
        size = sum(array.nbytes for array in arrays)
        if size > AREA_BYTES:
            return b"".join(array.tobytes() for array in arrays)
        for array in arrays:
            self._memory[begin : begin + array.nbytes] = array.view(np.uint8).data
            begin += array.nbytes
        return size
