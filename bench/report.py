"""What came out: a JSON document with a section for each part, and what docs/performance.md makes of it."""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psycopg

from bench import pictures, scale
from bench.figures import Figure, Series

LINE_MAX: Final = 116
PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"

Document = dict[str, Any]


def machine(database_url: str) -> Document:
    """What it ran on."""
    with psycopg.connect(database_url) as connection:
        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "full_page_writes")
        postgres = {name: (connection.execute(f"SHOW {name}").fetchone() or ("",))[0] for name in names}
    packages = ("grpcio", "numpy", "psycopg", "pyarrow", "sqlalchemy", "duckdb")
    return {
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "postgres": postgres,
    }


def section(measured: Sequence[Figure | Series], ran_on: Document) -> Document:
    """What one part found, as it is kept."""
    return {
        "runs": min(found.runs() for found in measured),
        "machine": ran_on,
        "figures": [found.document() for found in measured if isinstance(found, Figure)],
        "series": [found.document() for found in measured if isinstance(found, Series)],
    }


def keep(part: str, found: Document, parts: Iterable[str]) -> None:
    """Put a part's section in the place of its last one, and bring the page and its pictures in line with all.

    `parts`: all that there are, in the order of the document; a section of any other is dropped.
    """
    kept = {**scale.latest(), part: found}
    sections = {name: kept[name] for name in parts if name in kept}
    scale.RESULTS.parent.mkdir(exist_ok=True)
    scale.RESULTS.write_text(json.dumps({"parts": sections}, indent=2) + "\n")
    render(sections)
    scale.write(sections)


def render(sections: dict[str, Document]) -> None:
    """Bring the page and its pictures in line with the document."""
    figures = [figure for found in sections.values() for figure in found["figures"]]
    page = _replaced(PAGE.read_text(), "figures", f"{_table(figures)}\n{_conditions(sections)}")
    pictures.draw_figures(figures)
    for series in (series for found in sections.values() for series in found["series"]):
        page = _replaced(page, series["name"], _picture(series))
        pictures.draw_series(series)
    PAGE.write_text(page)


def _replaced(page: str, name: str, text: str) -> str:
    """The page with the text between a name's two marks. ValueError where they are not there."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{PAGE.name} has no marks for {name}")
    return f"{before}{begin}{text}{end}{after}"


def _table(figures: list[Document]) -> str:
    """Medians, and the spread of what is judged."""
    lines = [
        "| measure | ours | peer | judged: median (spread) | must | aim | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for found in figures:
        judged, times = found["judged"], "x" if found["peer"] else ""
        peer = f"{_number(found['peer']['median'])} ({found['against']})" if found["peer"] else ""
        lines.append(
            f"| {found['what']} | {_number(found['ours']['median'])} {found['unit']} | {peer} "
            f"| **{_number(judged['median'])}{times}** ({_number(judged['min'])} to {_number(judged['max'])}) "
            f"| {_number(found['must'])}{times} | {_number(found['aim'])}{times} | {found['reached']} |"
        )
    return "\n".join(lines) + "\n"


def _conditions(sections: dict[str, Document]) -> str:
    """On what, and how often: a sentence for all parts that have these in common."""
    named: dict[str, list[str]] = {}
    for name, found in sections.items():
        ran_on, postgres = found["machine"], found["machine"]["postgres"]
        said = (
            f"{ran_on['processors']} processors, {ran_on['memory_bytes'] / 2**30:.0f} GiB of memory, "
            f"Python {ran_on['python']}, Postgres {postgres['server_version']} with fsync {postgres['fsync']}, "
            f"synchronous_commit {postgres['synchronous_commit']} and {postgres['shared_buffers']} of shared buffers; "
            f"runs of each: {found['runs']}."
        )
        named.setdefault(said, []).append(name)
    lines = (f"{', '.join(names)}: {said}" for said, names in named.items())
    return (
        "\n".join(
            textwrap.fill(line, LINE_MAX, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
            for line in lines
        )
        + "\n"
    )


def _picture(series: Document) -> str:
    """The picture, and its points as a table: a row for each x."""
    cases = {name: {point["x"]: point["median"] for point in points} for name, points in series["lines"].items()}
    lines = [
        f"![{series['what']}](pictures/{pictures.path_of(series['name']).name})",
        "",
        f"| {series['x']} | {' | '.join(cases)} |",
        f"| ---: |{' ---: |' * len(cases)}",
    ]
    for x in sorted({x for points in cases.values() for x in points}):
        values = (_number(points[x]) if x in points else "" for points in cases.values())
        lines.append(f"| {x:,.0f} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
