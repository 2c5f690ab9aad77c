"""What people see: text and tables on stdout, progress bars on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDTH_MAX: Final = 100
"""Columns: longer lines are hard to read, and the tables fit."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A progress bar under way: it goes `to` so much of so much, or on `by` so much."""

    to: Callable[[int, int], None]
    by: Callable[[int], None]


class Screen:
    """A place to print on; a quiet one prints nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._out = _console(stderr=False, quiet=quiet)
        self._err = _console(stderr=True, quiet=quiet)
        self._shows_bars = self._err.is_terminal and not quiet

    def heading(self, text: str) -> None:
        """Print a heading and an empty line."""
        self._out.print(Text(text, style="bold"), "", sep="\n")

    def say(self, text: str) -> None:
        """Print a paragraph, wrapped, and an empty line."""
        # Rich would leave the spaces at which it breaks lines.
        lines = fill(text, self._out.width, break_long_words=False, break_on_hyphens=False)
        self._out.print(Text(lines), "", sep="\n", soft_wrap=True)

    def verbatim(self, text: str) -> None:
        """Print lines as they are, however long, indented, and an empty line."""
        for line in text.splitlines():
            self._out.print(f"    {line}", markup=False, soft_wrap=True)
        self._out.print()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table and an empty line. All columns but the first are aligned to the right and never cut."""
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for place, column in enumerate(columns):
            shown.add_column(column, justify="right" if place else "left", no_wrap=place > 0, vertical="bottom")
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        self._out.print(shown, "", sep="\n")

    @contextmanager
    def progress(self, label: str, unit: str = "", total: int | None = None) -> Iterator[Bar]:
        """Show a bar on stderr while something takes its time, none if stderr is not a terminal.

        Without a unit it only moves to and fro, for what cannot be counted.
        """
        counted = (MofNCompleteColumn(), TextColumn(unit)) if unit else ()
        columns = (TextColumn(label), BarColumn(), *counted, TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=True, disable=not self._shows_bars) as bars:
            task = bars.add_task("", total=total)
            yield Bar(
                to=lambda done, of: bars.update(task, completed=done, total=of),
                by=lambda more: bars.advance(task, more),
            )


def _console(*, stderr: bool, quiet: bool) -> Console:
    console = Console(stderr=stderr, quiet=quiet, highlight=False)
    console.width = min(console.width, WIDTH_MAX) if console.is_terminal else WIDTH_MAX
    return console
