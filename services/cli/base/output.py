"""The one home of printing: tables for people on stdout, one JSON document for machines, errors on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from ledger.errors import LedgerError
from moiety.roots import MoietyError
from services.cli.base.exits import Exit, Failure, InputError, NotWrittenError, exit_code
from services.cli.base.listing import Listing
from services.printing import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

_PIPE_COLUMNS: Final = 10_000
"""The width if stdout is not a terminal: a table there is never folded or cut."""


def open_streams() -> None:
    """Make stdout and stderr write what their encoding has and escape the rest, and end well where they cannot write.

    A command whose stdout nobody reads to its end exits quietly with status 141, as one that SIGPIPE ends; Typer would
    make it 1, which means that a verification failed. Where stdout cannot be written for another reason, it says why
    and exits with status 7. What stderr cannot take is lost, and the exit code stays; the log of a server goes on once
    its disk has room again.
    """
    sys.stdout = _stream(sys.stdout, _end)
    sys.stderr = _stream(sys.stderr)


def _end(error: OSError) -> NoReturn:
    if isinstance(error, BrokenPipeError):
        raise SystemExit(Exit.NOT_READ)
    sys.stderr.write(f"stdout: {error.strerror}\n")
    raise SystemExit(Exit.NOT_WRITTEN)


def _stream(stream: TextIO | None, lost: Callable[[OSError], None] | None = None) -> TextIO:
    if stream is None:  # it was closed before Python began: then writing to it fails, and nothing else
        raw = _Stream(os.open(os.devnull, os.O_RDONLY), lost)
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")
    buffered = io.BufferedWriter(_Stream(stream.fileno(), lost))
    return io.TextIOWrapper(
        buffered, stream.encoding, "backslashreplace", line_buffering=bool(getattr(stream, "line_buffering", False))
    )


class _Stream(io.FileIO):
    """A file that is open already. It takes all, and what cannot be written is lost.

    `lost` is told of the first failure, after which nothing is written; without it, each write is tried.
    """

    def __init__(self, descriptor: int, lost: Callable[[OSError], None] | None) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._lost, self._is_lost = lost, False

    def write(self, data: ReadableBuffer, /) -> int:
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as error:
                if self._lost:
                    self._is_lost = True
                    self._lost(error)
        return memoryview(data).nbytes


class Output:
    """The output of a command. With `as_json`, one JSON document on stdout and nothing else."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, data: Any, *people: object) -> None:
        """Print `data` as JSON, or `people` one after the other: lines of text, and tables of this module."""
        if self.as_json:
            sys.stdout.write(_document(data, sys.stdout, indent=2) + "\n")
            sys.stdout.flush()  # a process that keeps running, such as `moiety up`, is also read through a pipe
            return
        console = _console(stderr=False)
        for item in people:
            shown = printable(item) if isinstance(item, str) else item
            if isinstance(shown, Listing):
                shown = shown.laid_out(console.width)
            console.print(shown, markup=False, highlight=False, emoji=False, soft_wrap=isinstance(item, str))
        console.file.flush()

    def line(self, data: Any, people: str) -> None:
        """Print one line of a list without an end: `data` as JSON, or `people`."""
        text = _document(data, sys.stdout) if self.as_json else printable(people)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    @contextmanager
    def progress(self, label: str, total: int | None, unit: str) -> Iterator[_Bar]:
        """A progress bar on stderr; none with `--json` or if stderr is not a terminal."""
        if self.as_json or not sys.stderr.isatty():
            yield _Bar(None, total, label)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        labelled = TextColumn("{task.description}", markup=False)
        columns = (labelled, BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
        with Progress(*columns, console=_console(stderr=True)) as progress:
            yield _Bar(progress, total, printable(label))


class _Bar:
    """A progress bar, or nothing."""

    def __init__(self, progress: Progress | None, total: int | None, label: str) -> None:
        self._shown = (progress, progress.add_task(label, total=total)) if progress else None

    def advance(self, count: int) -> None:
        """Advance by `count`."""
        if self._shown:
            progress, task = self._shown
            progress.advance(task, count)

    def set(self, completed: int, total: int) -> None:
        """Advance to `completed` of `total`."""
        if self._shown:
            progress, task = self._shown
            progress.update(task, completed=completed, total=total)


def write_bytes(content: bytes) -> None:
    """Write a file's bytes on stdout as they are; on a terminal as text that does it no harm."""
    if sys.stdout.isatty():
        sys.stdout.write(printable_lines(content.decode(errors="backslashreplace")))
    else:
        sys.stdout.buffer.write(content)
    sys.stdout.flush()


def write_file(path: Path, content: bytes, field: str = "out") -> None:
    """Write a whole file, which the command line names by `field`.

    Raises:
        NotWrittenError: the file cannot be written; what was there is as it was.
    """
    from ledger.store.durable import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise NotWrittenError.of(field, f"{path}: {error.strerror}") from None


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Listing:
    """A table for people. The columns in `right` hold numbers and are aligned to the right."""
    cells = tuple(tuple("" if cell is None else printable(str(cell)) for cell in row) for row in rows)
    return Listing(tuple(columns), cells, frozenset(right))


def counted(count: int, one: str, more: str = "") -> str:
    """Returns a count with its noun: `1 event`, `2 events`."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def details(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values, one pair a line, for people."""
    from rich.table import Table
    from rich.text import Text

    found = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value not in (None, ""):
            found.add_row(Text(printable(name), style="bold"), Text(printable(str(value)), overflow="fold"))
    return found


def report(error: MoietyError | LedgerError, *, as_json: bool, people: Sequence[str] | None = None) -> Exit:
    """Print an error on stderr and return the exit code.

    It prints `people`, or else a line `field: reason` for each field; or one JSON document.
    """
    code = exit_code(error)
    failure = _failure(error)
    violations = failure.violations
    if as_json:
        found: dict[str, Any] = {
            "error": {
                "code": failure.code,
                "reason": failure.reason,
                "message": str(error),
                "exit_code": int(code),
                "violations": [{"field": item.field, "description": item.description} for item in violations],
            },
            **failure.more,
        }
        sys.stderr.write(_document(found, sys.stderr, indent=2) + "\n")
    else:
        lines = people or [f"{item.field}: {item.description}" for item in violations] or [f"error: {error}"]
        sys.stderr.write("\n".join(map(printable, lines)) + "\n")
    return code


def _document(data: Any, stream: TextIO, indent: int | None = None) -> str:
    """Returns a JSON document. What the stream's encoding lacks is escaped as JSON does it, so that it stays JSON."""
    document = printable_json(json.dumps(data, indent=indent, ensure_ascii=False))
    try:
        document.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(data, indent=indent)
    return document


def _failure(error: MoietyError | LedgerError) -> Failure:
    if isinstance(error, LedgerError):
        return Failure(type(error).__name__, "", error.violations if isinstance(error, InputError) else ())
    from services.cli.base.failures import failure_of

    return failure_of(error)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_PIPE_COLUMNS)
