"""Pictures in SVG: where a round's money goes, and how evenly it is spread. Colours are the style sheet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 720
FLOW_HEIGHT: Final = 46
LORENZ: Final = 300
"""The sides of the square in which a Lorenz curve stands."""

SMALLEST: Final = 1.0
"""A part that is not nothing is seen."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar."""

    name: str
    amount_minor: int
    left: float
    width: float


def flow(round_: Any) -> list[Part]:
    """Returns where a round's pot goes, as parts of a bar."""
    amounts = [
        ("attributed", round_.attributed_minor),
        ("commons", round_.commons_minor),
        ("fund", round_.commons_kept_minor),
        ("fee", round_.fee_minor),
        ("carried", round_.carried_minor + max(0, round_.rounding_minor)),
    ]
    shown = [(name, amount) for name, amount in amounts if amount > 0]
    whole = sum(amount for _, amount in shown)
    parts, left = [], 0.0
    for name, amount in shown:
        width = max(SMALLEST, WIDTH * amount / whole)
        parts.append(Part(name, amount, round(left, 2), round(width, 2)))
        left += width
    return parts


def lorenz(points: Sequence[Any]) -> str:
    """Returns the path of a Lorenz curve in a square of side LORENZ, from nobody to everybody."""
    if not points or not points[-1].collectives or not points[-1].amount_minor:
        return ""
    last = points[-1]
    places = [
        (LORENZ * each.collectives / last.collectives, LORENZ - LORENZ * each.amount_minor / last.amount_minor)
        for each in points
    ]
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
