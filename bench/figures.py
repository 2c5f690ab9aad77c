"""What is measured: figures, each of ours and of its peer in turn and with what it must reach, and how things grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    name: a word for it. what, against: what is measured, and its peer, or "" where the limit is absolute.
    unit: of `ours` and `peer`, one value a run. must, aim: for the ratio, or for ours where there is no peer.
    lower: whether less is better. notes: other figures of the same runs.
    """

    name: str
    what: str
    against: str
    unit: str
    ours: list[float]
    peer: list[float]
    must: float
    aim: float
    lower: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    def runs(self) -> int:
        """How often it was measured."""
        return len(self.ours)

    def judged(self) -> list[float]:
        """What is compared with `must` and `aim`, one value a run."""
        if not self.peer:
            return self.ours
        return [one / other for one, other in zip(self.ours, self.peer, strict=True)]

    def reached(self) -> str:
        """`aim`, `must` or `not`: the median of the runs."""
        value = median(self.judged())
        for word, bound in (("aim", self.aim), ("must", self.must)):
            if value <= bound if self.lower else value >= bound:
                return word
        return "not"

    def summary(self) -> str:
        """The figure in a line."""
        return f"{self.name}: {median(self.judged()):.3g} ({self.reached()})"

    def document(self) -> dict[str, Any]:
        """The figure as JSON has it."""
        return {
            "name": self.name,
            "what": self.what,
            "against": self.against,
            "unit": self.unit,
            "ours": spread(self.ours),
            "peer": spread(self.peer) if self.peer else None,
            "judged": spread(self.judged()),
            "must": self.must,
            "aim": self.aim,
            "lower_is_better": self.lower,
            "reached": self.reached(),
            "notes": self.notes,
        }


Points = Sequence[tuple[float, Sequence[float]]]
"""Of a line: an x, and the y of each run."""


@dataclass(frozen=True, slots=True)
class Series:
    """How something grows: a picture of its own, with a line for each case.

    name: a word for it. what: the picture's title. x, y: what the axes are, with their units.
    """

    name: str
    what: str
    x: str
    y: str
    lines: Mapping[str, Points]

    def runs(self) -> int:
        """How often its points were measured, or the least often measured one."""
        return min(len(values) for points in self.lines.values() for _, values in points)

    def summary(self) -> str:
        """The medians of each line, in a line."""
        said = (f"{name}: {', '.join(f'{median(y):.3g}' for _, y in points)}" for name, points in self.lines.items())
        return f"{self.name} ({self.y}): {'; '.join(said)}"

    def document(self) -> dict[str, Any]:
        """The series as JSON has it."""
        lines = {name: [{"x": x, **spread(values)} for x, values in points] for name, points in self.lines.items()}
        return {"name": self.name, "what": self.what, "x": self.x, "y": self.y, "lines": lines}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Smallest, median and largest, and each run."""
    return {"min": min(values), "median": median(values), "max": max(values), "runs": list(values)}


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """A function that gives the seconds from here to the end of the block."""
    began = perf_counter()
    ended: list[float] = []
    try:
        yield lambda: (ended[0] if ended else perf_counter()) - began
    finally:
        ended.append(perf_counter())
