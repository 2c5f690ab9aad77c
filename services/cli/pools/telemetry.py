"""What `moiety usage submit --telemetry` does: Content Telemetry in, a summary out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from moiety import DomainMap, RefusedDocument, ShareBasis, TelemetrySubmission
from services.cli.apply.declaration import domain_map, validated
from services.cli.base.exits import InputError
from services.cli.base.output import counted, table
from services.cli.base.plain_yaml import read_yaml

REFUSED_SHOWN_MAX: Final = 20
"""How many refused documents are shown; `--json` has them all."""


class _Owner(BaseModel):
    """The domains of a collective; `moiety apply` reads the rest of its declaration."""

    model_config = ConfigDict(strict=True, frozen=True)

    domains: list[str] = Field(default_factory=list)


class _Owners(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    collectives: dict[str, _Owner] = Field(default_factory=dict)


def read_domains(path: Path) -> DomainMap:
    """Returns the domain map in a YAML file: the `domains` of the `collectives` that it declares.

    Raises:
        InputError: the file cannot be read, declares no domains, or declares something that is not a domain.
    """
    owners = validated(_Owners, read_yaml(path)).collectives
    domains = domain_map({name: owner.domains for name, owner in owners.items()})
    if not len(domains):
        raise InputError.of(str(path), "declares no domains of collectives")
    return domains


def basis_of(by: ShareBasis | None, method: str) -> ShareBasis:
    """Returns the basis of shares: what is asked for, or what the method is named after, or characters."""
    if by is not None:
        return by
    return ShareBasis(method) if method in list(ShareBasis) else ShareBasis.GROUNDED_CHARACTERS


def refused_document(refused: RefusedDocument) -> dict[str, Any]:
    """A refused document as plain data."""
    return {
        "position": refused.position,
        "line": refused.line,
        "session_id": refused.session_id,
        "violations": [{"field": item.field, "description": item.description} for item in refused.violations],
    }


def refused_table(refused: list[RefusedDocument]) -> object:
    """Returns the first refused documents, for people: a line for each problem."""
    rows = [
        (item.position if item.line is None else item.line, item.session_id, violation.field, violation.description)
        for item in refused[:REFUSED_SHOWN_MAX]
        for violation in item.violations
    ]
    place = "Line" if refused[0].line is not None else "Position"
    return table([place, "Session of the refused", "Field", "Reason"], rows, right=[place])


def summary_document(submission: TelemetrySubmission, basis: ShareBasis) -> dict[str, Any]:
    """Returns the results by document, as plain data."""
    return {
        "by": basis.value,
        "document_count": submission.document_count,
        "session_count": submission.session_count,
        "turn_count": submission.event_count,
        "attributed_count": submission.attributed_count,
        "partly_count": submission.partly_count,
        "unattributed_count": submission.unattributed_count,
        "conflict_count": submission.conflict_count,
        "refused": [refused_document(item) for item in submission.refused],
    }


def summary(submission: TelemetrySubmission, basis: ShareBasis) -> list[str]:
    """Returns the results in a few sentences, a line each."""
    documents = counted(submission.document_count, "document")
    sessions = counted(submission.session_count, "session")
    turns = counted(submission.event_count, "completed turn")
    refused = len(submission.refused)
    shown = f" (the first {REFUSED_SHOWN_MAX} are shown)" if refused > REFUSED_SHOWN_MAX else ""
    lines = [
        f"{documents} accepted, {refused:,} refused{shown}: {sessions} with {turns}.",
        (
            f"By {basis}, {submission.attributed_count:,} attributed, {submission.partly_count:,} in part,"
            f" {submission.unattributed_count:,} not at all."
        ),
    ]
    if submission.conflict_count:
        claimed = counted(submission.conflict_count, "piece")
        lines.append(f"{claimed} of content belong to nobody: domain and content id name different collectives.")
    return lines
