"""What people see: text and tables on stdout, progress bars on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDTH_MAX: Final = 100
"""Columns: lines longer than this are hard to read, and the tables fit."""

INDENT: Final = 2


class Screen:
    """A place to print on; a quiet one prints nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._out = _console(stderr=False, quiet=quiet)
        self._err = _console(stderr=True, quiet=quiet)

    def heading(self, text: str) -> None:
        """Print a heading, with room above."""
        self._out.print()
        self._out.print(Text(text, style="bold"))

    def say(self, text: str) -> None:
        """Print a paragraph, wrapped."""
        self._out.print(Padding(Text(text), (0, 0, 0, INDENT)))

    def verbatim(self, text: str, *, indent: int = 2 * INDENT) -> None:
        """Print lines as they are, however long."""
        for line in text.splitlines():
            self._out.print(" " * indent + line, markup=False, highlight=False, soft_wrap=True)

    def gap(self) -> None:
        """Print an empty line."""
        self._out.print()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
        """Print a table; all but the first `left` columns hold numbers and are aligned to the right."""
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for place, column in enumerate(columns):
            shown.add_column(column, justify="left" if place < left else "right", no_wrap=True)
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        self._out.print(Padding(shown, (1, 0, 1, INDENT)))

    @contextmanager
    def progress(self, label: str, unit: str, total: int | None = None) -> Iterator[Bar]:
        """Show a progress bar on stderr while something takes its time; none where stderr is no terminal."""
        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=True, disable=not self._err.is_terminal) as bars:
            task = bars.add_task("", total=total)
            yield Bar(
                to=lambda done, of: bars.update(task, completed=done, total=of),
                by=lambda more: bars.advance(task, more),
            )


class Bar:
    """A progress bar under way: moved `to` so many of so many, or on `by` so many."""

    def __init__(self, to: Callable[[int, int], None], by: Callable[[int], None]) -> None:
        self.to = to
        self.by = by


def _console(*, stderr: bool, quiet: bool) -> Console:
    console = Console(stderr=stderr, quiet=quiet, highlight=False)
    console.width = min(console.width, WIDTH_MAX) if console.is_terminal else WIDTH_MAX
    return console
