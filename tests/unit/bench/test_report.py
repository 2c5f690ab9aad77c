"""Results are kept by part, and what is drawn and written of them follows from them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from bench import pictures, report, scale
from bench.figures import Figure, Series

PARTS: Final = ("intake", "proofs", "gone-tomorrow")
MACHINE: Final[dict[str, Any]] = {
    "processors": 2,
    "memory_bytes": 2**34,
    "python": "3.11.0",
    "postgres": {"server_version": "18", "fsync": "on", "synchronous_commit": "on", "shared_buffers": "128MB"},
}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("figures", "growth-proofs")
    (tmp_path / "performance.md").write_text("".join(f"<!-- {n}: begin -->\n<!-- {n}: end -->\n" for n in names))
    monkeypatch.setattr(report, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "pictures")
    monkeypatch.setattr(scale, "RESULTS", tmp_path / "results" / "latest.json")
    monkeypatch.setattr(scale, "write", lambda _: None)
    return tmp_path


def _figure(rate: float) -> Figure:
    return Figure("intake", "rows in", "COPY", "events/s", [rate] * 3, [100.0] * 3, 1.0, 1.5)


def _series() -> Series:
    return Series("growth-proofs", "proofs", "leaves", "ms", {"inclusion": [(10, [1.0, 2.0]), (100, [2.0, 3.0])]})


def test_a_part_that_is_measured_again_replaces_itself_alone(kept: Path) -> None:
    report.keep("proofs", report.section([_series()], MACHINE), PARTS)
    report.keep("intake", report.section([_figure(90.0)], MACHINE), PARTS)
    proofs = scale.latest()["proofs"]
    report.keep("intake", report.section([_figure(160.0)], MACHINE), PARTS)
    assert list(scale.latest()) == ["intake", "proofs"]
    assert scale.latest()["proofs"] == proofs
    assert scale.latest()["intake"]["runs"] == 3
    page = (kept / "performance.md").read_text()
    assert "**1.6x**" in page
    assert "**0.9x**" not in page
    assert "![proofs](pictures/growth-proofs.svg)" in page
    assert "| 100 | 2.5 |" in page


def test_the_same_results_give_the_same_files(kept: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in kept.rglob("*") if path.is_file()}

    found = report.section([_series(), _figure(90.0)], MACHINE)
    report.keep("proofs", found, PARTS)
    first = files()
    report.keep("proofs", found, PARTS)
    assert files() == first


def test_a_part_that_there_is_no_more_is_dropped() -> None:
    report.keep("gone-tomorrow", report.section([_figure(90.0)], MACHINE), PARTS)
    report.keep("intake", report.section([_figure(90.0)], MACHINE), PARTS[:2])
    assert list(scale.latest()) == ["intake"]
