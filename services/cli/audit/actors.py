"""Who proposed and who approved what, as a verification tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.folds.acts import DoneAct


def acts_document(acts: Sequence[DoneAct]) -> list[dict[str, Any]]:
    """Each act for machines."""
    return [{**act._asdict(), "alone": act.alone} for act in acts]


def acts_lines(acts: Sequence[DoneAct]) -> Iterator[str]:
    """How often who did what, and who approved it, for people; nothing where nobody did anything."""
    told = Counter((act.log, act.type.rpartition(".")[0], act.by, act.approved_by, act.alone) for act in acts)
    if told:
        yield "Who did what:"
    for (log, kind, by, approved_by, alone), count in told.items():
        approved = f", approved by {approved_by}" if approved_by else ""
        yield f"  {log}: {count} {kind} by {by}{approved}{' (one person alone)' if alone else ''}"
