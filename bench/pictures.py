"""Pictures of results: the same results give the same bytes, whatever the day and the fonts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent.parent / "docs" / "pictures"
COLOURS: Final = ("#4477aa", "#cc6677", "#228833", "#aa7711")
"""Told apart by people who see colours differently too, after Paul Tol's bright scheme."""

FEW: Final = 100
"""Below this a logarithmic axis names its points, and not the powers of ten."""


def path_of(name: str) -> Path:
    """Where a picture is kept."""
    return FOLDER / f"{name}.svg"


def draw_figures(figures: list[dict[str, Any]]) -> None:
    """A bar for each figure: how far its median is beyond what it must reach, on a logarithmic axis."""
    found = figures[::-1]
    beyond = [_beyond(figure, figure["judged"]["median"]) for figure in found]
    with _drawn("performance", height=0.45 * len(found) + 1) as axes:
        axes.barh([one["name"] for one in found], [value - 1 for value in beyond], left=1, color=COLOURS[0])
        for place, one in enumerate(found):
            axes.plot(_beyond(one, one["aim"]), place, marker="|", markersize=14, color="#222222")
        axes.axvline(1, color="#cc3311", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel("median over what it must reach (red line); the tick is the aim")


def _beyond(figure: dict[str, Any], value: float) -> float:
    ratio = figure["must"] / value if figure["lower_is_better"] else value / figure["must"]
    return float(ratio)


def draw_series(series: dict[str, Any]) -> None:
    """A line for each case, through the medians, with the spread of the runs. Times grow on two logarithmic axes."""
    with _drawn(series["name"], height=3.6) as axes:
        for (name, points), colour in zip(series["lines"].items(), COLOURS[: len(series["lines"])], strict=True):
            x, medians = [point["x"] for point in points], [point["median"] for point in points]
            below = [point["median"] - point["min"] for point in points]
            above = [point["max"] - point["median"] for point in points]
            axes.errorbar(
                x, medians, yerr=[below, above], label=name, color=colour, marker="o", markersize=3, capsize=2
            )
        axes.set_xscale("log")
        if max(x) < FEW:
            axes.set_xticks(x, [f"{value:g}" for value in x], minor=False)
            axes.set_xticks([], minor=True)
        if series["y"] in ("s", "ms"):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter("{x:,.6g}")
        axes.set_title(series["what"], fontsize=10)
        axes.set_xlabel(series["x"])
        axes.set_ylabel(series["y"])
        axes.grid(visible=True, linewidth=0.3)
        axes.legend(fontsize=8)


@contextmanager
def _drawn(name: str, *, height: float) -> Iterator[Any]:
    """Axes to draw on, kept as a picture at the end."""
    import matplotlib as mpl  # noqa: PLC0415  # slow to import, and not needed for a quick run

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "moiety", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, height))
    yield axes
    figure.tight_layout()
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(path_of(name), metadata={"Date": None})
    plt.close(figure)
