"""How the outcome of a verification is shown: step by step, with what each checked, and the first thing found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from audit.findings import Finding
from audit.report import Report
from audit.steps import TITLES, Step
from services.cli.base.output import Output


def show(output: Output, report: Report) -> bool:
    """Print what was checked and found; True where all held."""
    output.show(document(report), "\n".join(_lines(report)))
    return report.finding is None


def document(report: Report) -> dict[str, Any]:
    """The report for machines."""
    checkpoint = report.checkpoint
    return {
        "holds": report.finding is None,
        "checkpoint": None
        if checkpoint is None
        else {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()},
        "signed_by": report.signers,
        "steps": [
            {
                "number": int(step),
                "title": TITLES[step],
                "outcome": outcome(report, step),
                "checked": report.counts.get(step, {}),
                "left_out": report.skipped.get(step, ""),
            }
            for step in Step
        ],
        "rounds": [asdict(summary) for summary in report.rounds.values()],
        "finding": None if report.finding is None else _finding_document(report.finding),
    }


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {
        "step": finding.step,
        "leaf_index": finding.where.leaf_index,
        "file": finding.where.file,
        "body": finding.where.body,
        "line": finding.where.line,
        "figure": finding.figure,
        "claimed": finding.claimed,
        "expected": finding.expected,
    }


def outcome(report: Report, step: Step) -> str:
    """HELD, FAILED, LEFT_OUT, or NOT_REACHED where an earlier leaf ended the verification."""
    if report.finding is not None:
        failed = _step_of(report.finding)
        if step is failed:
            return "FAILED"
        # From the bodies on, all steps go from leaf to leaf together.
        done = step < failed and step < Step.BODIES
        return "HELD" if done and step not in report.skipped else "NOT_REACHED"
    return "LEFT_OUT" if step in report.skipped and step not in report.counts else "HELD"


_MARKS: Final = {"HELD": "✓", "FAILED": "✗", "LEFT_OUT": "-", "NOT_REACHED": "·"}


def _lines(report: Report) -> Iterator[str]:
    if report.checkpoint is not None:
        yield f"{report.checkpoint.origin}, {report.checkpoint.size} leaves, root {report.checkpoint.root.hex()}"
        yield f"signed by {', '.join(report.signers)}"
        yield ""
    for step in Step:
        told = outcome(report, step)
        counts = ", ".join(f"{count:,} {what}" for what, count in report.counts.get(step, {}).items())
        skipped = report.skipped.get(step, "")
        what = "; ".join(part for part in (counts, skipped) if part)
        yield f"{int(step):>2}. {_MARKS[told]} {TITLES[step]:<33} {what}".rstrip()
    yield ""
    if report.finding is None:
        yield "All of it holds." if not report.skipped.keys() - {Step.CONSISTENCY} else "What was checked holds."
    else:
        yield from finding_lines(report.finding)


def finding_lines(finding: Finding) -> Iterator[str]:
    """The first thing that does not hold, for people."""
    step, where = _step_of(finding), finding.where
    yield f"Step {int(step)} does not hold: {TITLES[step]}."
    places = (
        ("leaf", str(where.leaf_index) if where.leaf_index >= 0 else ""),
        ("file", where.file),
        ("body", where.body),
        ("line", str(where.line) if where.line else ""),
        ("figure", finding.figure),
        ("expected", finding.expected),
        ("got", finding.claimed),
    )
    for name, value in places:
        if value:
            yield f"  {name:<10} {value}"


def _step_of(finding: Finding) -> Step:
    assert finding.step is not None  # noqa: S101 - every finding of a verification has one
    return finding.step
