"""The output of a verification: step by step, with what each checked, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from audit.batches.sample import Sample, SampledEvent
from audit.findings import Finding
from audit.steps import TITLES, Step
from audit.verification.consequence import Consequence
from audit.verification.report import Outcome, Report
from ledger.log.checkpoint import Checkpoint
from services.cli.audit.actors import acts_document, acts_lines
from services.cli.audit.page import page, percents
from services.cli.audit.records import Place, is_hashed, own_ids, record_text
from services.cli.base.output import Output, counted, table, write_file


def show(
    output: Output,
    report: Report,
    sample: Sample | None = None,
    filed: PageFile | None = None,
    records: Sequence[Path] | None = None,
) -> bool:
    """Print what was checked and found, and what was drawn, and write the page; True where all held.

    Raises:
        InputError: the page cannot be written.
    """
    holds = report.finding is None
    drawn = sample.drawn() if sample is not None and holds else []
    known = own_ids(drawn, records) if records else None
    shown = {}
    if output.as_json or filed is not None:  # of many acts it is long
        shown = document(report)
        if sample is not None:
            shown["sample"] = [_event_document(event, known) for event in drawn]
    if filed is not None:
        filed.write(shown, summary(report))
    output.show(shown, *_lines(report), *_sample_lines(drawn, known))
    return holds


@dataclass(frozen=True, slots=True)
class PageFile:
    """Where a verification is written as a page, and what it was of."""

    path: Path
    bundle: Path

    def write(self, shown: dict[str, Any], verdict: str) -> None:
        """Write the page.

        Raises:
            InputError: it cannot be written.
        """
        html = page(shown, verdict, bundle=str(self.bundle), made_at=datetime.now(UTC))
        write_file(self.path, html.encode(), "report")


def _event_document(event: SampledEvent, known: Mapping[Place, str] | None) -> dict[str, Any]:
    own = None if is_hashed(event) else str(event.event_id)
    record_id = own if known is None else known.get((event.leaf_index, event.position))
    said = {"event_id": str(event.event_id), "record_id": record_id, "record": record_text(event, known)}
    return {**asdict(event), **said, "shares": dict(event.shares)}


def _sample_lines(events: list[SampledEvent], known: Mapping[Place, str] | None) -> Iterator[object]:
    if events:
        yield _sample_table(events, known)
    if known is not None and len(known) < len(events):
        yield f"Of {counted(len(events), 'event')} drawn, {len(events) - len(known):,} have no record in the list."


def _sample_table(events: list[SampledEvent], known: Mapping[Place, str] | None) -> object:
    columns = ["Platform", "Batch", "Leaf", "Position", "Event", "Record", "Work", "Units", "Shares"]
    rows = [
        (each.platform, each.batch_id, each.leaf_index, each.position, each.event_id, record_text(each, known),
         each.work_id, each.units,
         ", ".join(f"{name} {percents(share)}" for name, share in each.shares))
        for each in events
    ]  # fmt: skip
    return table(columns, rows, right=["Leaf", "Position", "Units"])


def document(report: Report) -> dict[str, Any]:
    """The report for machines."""
    return {
        "holds": report.finding is None,
        "checkpoint": _checkpoint_document(report.checkpoint),
        "pool_name": report.pool_name,
        "currency": report.currency,
        "logs": {name: asdict(log) for name, log in report.logs.items()},
        "signed_by": [asdict(signer) for signer in report.signers],
        "steps": [
            {
                "number": int(step),
                "title": TITLES[step],
                "outcome": report.outcome(step),
                "checked": report.counts.get(step, {}),
                "left_out": report.skipped.get(step, ""),
            }
            for step in Step
        ],
        "registry": _checkpoint_document(report.registry),
        "balances": report.balances,
        "acts": acts_document(report.acts),
        "warnings": report.warnings,
        "rounds": [asdict(summary) for summary in report.rounds.values()],
        "finding_count": report.finding_count,
        "findings": [
            {**_finding_document(finding), "consequence": asdict(report.consequences[finding])}
            for finding in report.findings
        ],
    }


def _checkpoint_document(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {
        "step": finding.step,
        "leaf_index": finding.where.leaf_index,
        "file": finding.where.file,
        "log": finding.where.log,
        "body": finding.where.body,
        "line": finding.where.line,
        "figure": finding.figure,
        "claimed": finding.claimed,
        "expected": finding.expected,
    }


_MARKS: Final = {
    Outcome.HELD: "✓", Outcome.FAILED: "✗", Outcome.IN_PART: "~", Outcome.LEFT_OUT: "-", Outcome.NOT_REACHED: "·",
}  # fmt: skip


def _lines(report: Report) -> Iterator[str]:
    if report.checkpoint is not None:
        yield f"{report.checkpoint.origin}, {report.checkpoint.size} leaves, root {report.checkpoint.root.hex()}"
        signers = [signer.name for signer in report.signers if signer.log == "pool"]
        yield f"signed by {', '.join(signers) or 'nobody whose signature was asked for'}"
        yield ""
    for step in Step:
        told = report.outcome(step)
        counts = ", ".join(_counted(count, what) for what, count in report.counts.get(step, {}).items())
        skipped = report.skipped.get(step, "")
        what = "; ".join(part for part in (counts, skipped) if part)
        yield f"{int(step):>2}. {_MARKS[told]} {TITLES[step]:<33} {what}".rstrip()
    yield ""
    for lines in (list(acts_lines(report.acts)), [f"Note: {warning}." for warning in report.warnings]):
        yield from [*lines, ""] if lines else []
    if report.finding is None:
        yield summary(report)
    else:
        yield from _findings(report)


def _findings(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield from finding_lines(finding)
        yield from _consequence_lines(report.consequences[finding])
    unlisted = report.finding_count - len(report.findings)
    if unlisted:
        yield f"And {unlisted:,} more like these."
    if report.keep_going:
        yield f"Findings: {report.finding_count:,}."
        if any(report.outcome(step) is Outcome.IN_PART for step in Step):
            yield "Steps marked ~ could not be checked whole because of them."


def _consequence_lines(found: Consequence) -> Iterator[str]:
    """What the finding comes to, for people who are paid."""
    if found.round:
        yield f"  {'round':<10} {found.round}"
    if found.collective:
        yield f"  {'collective':<10} {found.collective}"
    if found.claimed and found.expected:
        yield f"  {'money':<10} {found.claimed} instead of {found.expected}"
    if found.round and found.posted_at is None:
        yield f"  {'paid':<10} nobody by it: the round was not posted"
    elif found.round:
        paid = (
            f"{counted(found.payments, 'payment')} after that, {found.paid}" if found.payments else "no payment since"
        )
        yield f"  {'paid':<10} the round was posted at leaf {found.posted_at}; {paid}"


def summary(report: Report) -> str:
    """The verdict in a line: it claims no more than was checked."""
    if report.finding is not None:
        return "It does not hold: " + ("see the findings." if report.keep_going else "see the first finding.")
    if report.checkpoint is not None and report.checkpoint.size == 0:
        return "The log is empty: there is nothing to check."
    left_out = [step for step in Step if step in report.skipped and step is not Step.CONSISTENCY]
    said = "What was checked holds." if left_out else "All of it holds."
    if left_out:
        said += f" Not, or not all of, these: {'; '.join(TITLES[step] for step in left_out)}."
    if Step.CONSISTENCY in report.skipped:
        said += " Whether the log only grew was not checked: no older checkpoint was given (--since)."
    return said


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what if count != 1 else ' '.join(map(_singular, what.split()))}"


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word.removesuffix("ies") + "y"
    return word.removesuffix("es") if word.endswith("ches") else word.removesuffix("s")


def finding_lines(finding: Finding) -> Iterator[str]:
    """What does not hold, for people."""
    step, where = _step_of(finding), finding.where
    yield f"Step {int(step)} does not hold: {TITLES[step]}."
    if finding.figure == "signature":
        yield f"  Not the checkpoint's key: {where.file or 'the checkpoint'}"
    places = (
        ("log", where.log),
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
