"""What came out: a JSON document, and the table and the picture in docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from bench.figures import Figure

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "latest.json"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "pictures" / "performance.svg"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def machine(database_url: str) -> dict[str, Any]:
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


def document(figures: list[Figure], ran_on: dict[str, Any], *, runs: int) -> dict[str, Any]:
    """Everything, as it is kept."""
    return {"runs": runs, "machine": ran_on, "figures": [figure.document() for figure in figures]}


def write(results: dict[str, Any]) -> None:
    """Keep the document, and bring the page and its picture in line with it."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(results)}{END}{after}")
    _draw(results)


def table(results: dict[str, Any]) -> str:
    """The figures as a Markdown table: medians, and the spread of what is judged."""
    lines = [
        "| measure | ours | peer | judged: median (spread) | must | aim | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for found in results["figures"]:
        judged, times = found["judged"], "x" if found["peer"] else ""
        peer = f"{_number(found['peer']['median'])} ({found['against']})" if found["peer"] else ""
        lines.append(
            f"| {found['what']} | {_number(found['ours']['median'])} {found['unit']} | {peer} "
            f"| **{_number(judged['median'])}{times}** ({_number(judged['min'])} to {_number(judged['max'])}) "
            f"| {_number(found['must'])}{times} | {_number(found['aim'])}{times} | {found['reached']} |"
        )
    ran_on = results["machine"]
    lines.append("")
    lines.append(
        f"{results['runs']} runs of each, in turn with its peer. {ran_on['processors']} processors, "
        f"Python {ran_on['python']}, Postgres {ran_on['postgres']['server_version']} with "
        f"fsync {ran_on['postgres']['fsync']} and synchronous_commit {ran_on['postgres']['synchronous_commit']}."
    )
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _draw(results: dict[str, Any]) -> None:
    """A bar for each figure: how far its median is beyond what it must reach, on a logarithmic axis."""
    import matplotlib as mpl  # noqa: PLC0415  # slow to import, and not needed for a quick run

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "moiety"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    found = results["figures"][::-1]
    beyond = [_beyond(figure, figure["judged"]["median"]) for figure in found]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(found) + 1))
    axes.barh([one["name"] for one in found], [value - 1 for value in beyond], left=1, color="#4477aa")
    for place, one in enumerate(found):
        axes.plot(_beyond(one, one["aim"]), place, marker="|", markersize=14, color="#222222")
    axes.axvline(1, color="#cc3311", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("median over what it must reach (red line); the tick is the aim")
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


def _beyond(figure: dict[str, Any], value: float) -> float:
    ratio = figure["must"] / value if figure["lower_is_better"] else value / figure["must"]
    return float(ratio)
