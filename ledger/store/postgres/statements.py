"""Statements of our own on a connection: prepared once, sent together, answered together, in binary.

They are said to libpq itself, in its pipeline mode. psycopg has pipelines too, but what it does for a statement, from
its text to a cursor with rows, takes longer than Postgres takes to run it, and a group of batches has twenty.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, Final
from weakref import proxy

import psycopg
from psycopg._preparing import PrepareManager
from psycopg.abc import PQGen
from psycopg.abc import Transformer as AnyTransformer
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.generators import fetch_many
from psycopg.pq import ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

from ledger.store.postgres.values import InBinary

Parameters = Sequence[object] | Mapping[str, object] | InBinary

_PREPARED_MAX: Final = 500
"""Statements that stay prepared on a connection; ours are fewer, with each number of rows that they insert."""


class Answer:
    """What comes of a statement, once it is asked for."""

    __slots__ = ("_results", "_statements")

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._results: list[PGresult] = []

    def fetchall(self) -> list[Any]:
        """Returns the rows as tuples, after waiting for the answers to all statements that were sent.

        Raises:
            psycopg.Error: one of those before it failed, or this one.
        """
        return self._statements.rows_of(self._awaited())

    def fetchone(self) -> Any:
        """Returns the first row; None if there is none. Raises as `fetchall` does."""
        rows = self.fetchall()
        return rows[0] if rows else None

    @property
    def rowcount(self) -> int:
        """How many rows it returned or wrote. Raises as `fetchall` does."""
        return self._awaited()[-1].command_tuples or 0

    def take(self, results: list[PGresult]) -> None:
        """Keep what Postgres answered."""
        self._results = results

    def _awaited(self) -> list[PGresult]:
        if not self._results:
            self._statements.wait()
        if not self._results:
            raise psycopg.InterfaceError("one that was sent before failed, so this was not run")
        return self._results


class _Preparing:
    """A statement that is being prepared, which takes an answer of its own."""

    __slots__ = ("_key", "_name", "_names")

    def __init__(self, names: dict[_Key, bytes], key: _Key, name: bytes) -> None:
        self._names, self._key, self._name = names, key, name

    def take(self, _: list[PGresult]) -> None:
        self._names[self._key] = self._name


_Key = tuple[str, tuple[int, ...]]
"""A statement's text, and the numbers of its parameters' types."""


class Statements:
    """Those of one connection, which has at most one thread at a time."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.observed: Callable[[str], AbstractContextManager[object]] | None = None
        """What is entered while a statement is sent, with its text."""
        # Not held, as it holds this: a connection that is let go of is closed at once.
        self._connection: psycopg.Connection[Any] = proxy(connection)
        self._pgconn = connection.pgconn
        # Without a connection, psycopg quotes bytes within arrays as if for a literal.
        self._transformer: AnyTransformer = Transformer(_Context(connection.adapters, self._connection))
        """What parameters and rows are changed by. It learns how for each type, so one is kept."""
        self._sent: deque[Answer | _Preparing] = deque()
        """What was sent since the last wait, in order."""
        self._names: dict[_Key, bytes] = {}
        self._numbers = count()

    def ask(self, query: str, parameters: Parameters = ()) -> Answer:
        """Send a statement, whose parameters are written as for psycopg: `%s`, `%b` or `%(name)s`.

        Within `pipelined` nothing is waited for; elsewhere this waits, and raises what Postgres says.

        Raises:
            psycopg.Error: it failed, or the connection is lost.
        """
        if self._pgconn.pipeline_status == PipelineStatus.OFF:
            with self.pipelined():
                return self.ask(query, parameters)
        if self.observed is None:
            return self._send(query, parameters)
        with self.observed(query):
            return self._send(query, parameters)

    @contextmanager
    def pipelined(self) -> Iterator[None]:
        """Statements within are sent without waiting for those before. All of them are answered at the end, or where an
        answer is asked for. Nothing else may use the connection meanwhile.

        Raises:
            psycopg.Error: at the end, or where an answer is asked for: a statement failed. None behind it was run.
        """
        self._pgconn.enter_pipeline_mode()
        try:
            yield
            self.wait()
        except BaseException:
            with suppress(psycopg.Error):  # what is raised is why
                self.wait()
            raise
        finally:
            self._sent.clear()
            try:
                self._pgconn.exit_pipeline_mode()
            except psycopg.OperationalError:
                self._connection.close()  # it is lost, or answers to what nobody asks any more

    def commit(self) -> None:
        """Commit, with what was sent before. Raises as `pipelined` does."""
        self._send_plainly(b"COMMIT")
        self.wait()

    def wait(self) -> None:
        """Wait for the answers to all that was sent. Raises as `pipelined` does."""
        if self._sent:
            self._connection.wait(self._answered())

    def drain(self) -> None:
        """Wait until everything is written, which else is waited for with the next answer.

        Raises:
            psycopg.OperationalError: the connection is lost.
        """
        self._connection.wait(self._written())

    def rows_of(self, results: Sequence[PGresult]) -> list[Any]:
        """Returns the rows of an answer as tuples.

        They come one by one to the first statement after one that psycopg streamed: libpq forgets that only later.
        """
        rows: list[Any] = []
        for result in results:
            if result.ntuples:
                self._transformer.set_pgresult(result, format=Format.BINARY)
                rows += self._transformer.load_rows(0, result.ntuples, tuple)
        self._transformer.set_pgresult(None)  # which it would hold until the next one
        return rows

    def _send(self, query: str, parameters: Parameters) -> Answer:
        text, names = _positional(query)
        if self._pgconn.transaction_status == TransactionStatus.IDLE and not self._connection.autocommit:
            self._send_plainly(b"BEGIN")
        dumped: Sequence[Any]
        types: tuple[int, ...]
        formats: Sequence[Format] | None
        if isinstance(parameters, InBinary):
            dumped, types = parameters
            formats = [Format.BINARY] * len(dumped)
        else:
            values = [parameters[name] for name in names] if isinstance(parameters, Mapping) else parameters
            dumped = self._transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
            types, formats = self._transformer.types or (), self._transformer.formats
        key = query, types
        name = self._names.get(key)
        if name is None:
            name = self._prepare(key, text)
        if name:
            self._pgconn.send_query_prepared(name, dumped, formats, Format.BINARY)
        else:
            self._pgconn.send_query_params(text, dumped, types, formats, Format.BINARY)
        answer = Answer(self)
        self._sent.append(answer)
        return answer

    def _prepare(self, key: _Key, text: bytes) -> bytes:
        """Send what prepares a statement; returns its name, which is empty where nothing may be prepared."""
        if self._connection.prepare_threshold is None or len(self._names) >= _PREPARED_MAX:
            return b""
        name = b"moiety_%d" % next(self._numbers)
        self._pgconn.send_prepare(name, text, key[1])
        self._sent.append(_Preparing(self._names, key, name))
        return name

    def _send_plainly(self, command: bytes) -> None:
        self._pgconn.send_query_params(command, None)
        self._sent.append(Answer(self))

    def _written(self) -> PQGen[None]:
        while self._pgconn.flush():
            ready = yield Wait.RW
            if ready & Ready.R:  # or neither side could write
                self._pgconn.consume_input()

    def _answered(self) -> PQGen[None]:
        pgconn, error = self._pgconn, None
        pgconn.pipeline_sync()
        yield from self._written()
        while self._sent:
            results = yield from fetch_many(pgconn)
            answered, last = self._sent.popleft(), results[-1]
            if last.status == ExecStatus.FATAL_ERROR:
                error = error or psycopg.errors.error_from_result(last, self._connection.info.encoding)
            elif last.status != ExecStatus.PIPELINE_ABORTED:
                answered.take(results)
        yield from fetch_many(pgconn)  # that of the end itself
        if error is not None:
            raise error


@dataclass(frozen=True, slots=True)
class _Context:
    """Whose types a transformer takes, without holding the connection."""

    adapters: AdaptersMap
    connection: psycopg.Connection[Any]


class Connection(psycopg.Connection[Any]):
    """A driver's connection that has statements of ours too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statements = Statements(self)
        self._prepared = _Kept()


class _Kept(PrepareManager):
    """What psycopg itself has prepared, which it would have Postgres forget with ours at each rollback, DROP and ALTER.

    Postgres keeps it over all of these. psycopg is afraid of objects that are made anew under the same name.
    """

    def clear(self) -> bool:
        """Keep all."""
        return False


_PLACE: Final = re.compile(r"%(?:\((\w+)\))?[sb]")


@lru_cache(maxsize=4096)
def _positional(query: str) -> tuple[bytes, tuple[str, ...]]:
    """Returns a statement with numbered parameters, and their names in this order if they have any."""
    names: dict[str, int] = {}
    numbers = count(1)

    def numbered(place: re.Match[str]) -> str:
        if place[1] is None:
            return f"${next(numbers)}"
        return f"${names.setdefault(place[1], len(names) + 1)}"

    return _PLACE.sub(numbered, query).encode(), tuple(names)
