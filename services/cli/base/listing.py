"""A table for people, laid out for the width that there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

_BETWEEN: Final = 3
"""Spaces between two columns: a padding of each, and the place of a line."""

_EDGES: Final = 2


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows of cells under columns. The columns in `right` hold numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()

    def laid_out(self, width: int) -> Table:
        """Returns a line for each row; or a line for each cell, if a row's numbers and names would have to be broken.

        Text is folded between words first. A part of an amount is never in a line alone: it reads as another amount.
        """
        least = sum(self._least(place) for place in range(len(self.columns)))
        if least + _BETWEEN * (len(self.columns) - 1) + _EDGES <= width:
            return self._in_lines()
        return self._in_blocks()

    def _cells(self, place: int) -> list[str]:
        return [self.columns[place], *(row[place] for row in self.rows)]

    def _is_whole(self, place: int) -> bool:
        """Whether no cell of a column may be folded: numbers, and names without spaces."""
        return self.columns[place] in self.right or not any(" " in row[place] for row in self.rows)

    def _least(self, place: int) -> int:
        from rich.cells import cell_len

        whole = self._is_whole(place)
        return max(
            cell_len(part) for cell in self._cells(place) for part in ([cell] if whole else cell.split(" ") or [cell])
        )

    def _in_lines(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, name in enumerate(self.columns):
            justify, whole = "right" if name in self.right else "left", self._is_whole(place)
            found.add_column(name, justify=justify, overflow="fold", no_wrap=whole)  # type: ignore[arg-type]  # a literal
        for row in self.rows:
            found.add_row(*map(Text, row))
        return found

    def _in_blocks(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        found = Table.grid(padding=(0, 2))
        for row in self.rows:
            for name, cell in zip(self.columns, row, strict=True):
                if cell:
                    found.add_row(Text(name, style="bold"), Text(cell, overflow="fold"))
            found.add_row()
        return found
