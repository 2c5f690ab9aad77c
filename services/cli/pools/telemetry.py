"""What `moiety usage submit --telemetry` does: Content Telemetry sessions in, a summary out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from moiety import DomainMap, RefusedSession, ShareBasis, TelemetrySubmission
from services.cli.apply.declaration import domain_map, read_yaml, validated
from services.cli.base.exits import InputError
from services.cli.base.output import counted, table

REFUSED_SHOWN_MAX = 20
"""How many refused sessions people are shown; `--json` has them all."""


class _Owner(BaseModel):
    """A collective as far as its domains go; the rest of its declaration is `moiety apply`'s."""

    model_config = ConfigDict(strict=True, frozen=True)

    domains: list[str] = Field(default_factory=list)


class _Owners(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    collectives: dict[str, _Owner] = Field(default_factory=dict)


def read_domains(path: Path) -> DomainMap:
    """Give the domain map in a YAML file: the `domains` of the `collectives` that it declares.

    Raises:
        InputError: the file cannot be read, declares no domains, or something that is none.
    """
    owners = validated(_Owners, read_yaml(path)).collectives
    domains = domain_map({name: owner.domains for name, owner in owners.items()})
    if not len(domains):
        raise InputError.of(str(path), "declares no domains of collectives")
    return domains


def basis_of(by: ShareBasis | None, method: str) -> ShareBasis:
    """Give what shares are computed from: what is asked for, or what the method is named after, or tokens."""
    if by is not None:
        return by
    return ShareBasis(method) if method in list(ShareBasis) else ShareBasis.GROUNDED_TOKENS


def refused_document(refused: RefusedSession) -> dict[str, Any]:
    """A refused session as plain data."""
    return {
        "position": refused.position,
        "line": refused.line,
        "session_id": refused.session_id,
        "violations": [{"field": item.field, "description": item.description} for item in refused.violations],
    }


def refused_table(refused: list[RefusedSession]) -> object:
    """The first refused sessions, for people: a line for each thing that is wrong."""
    rows = [
        (item.position if item.line is None else item.line, item.session_id, violation.field, violation.description)
        for item in refused[:REFUSED_SHOWN_MAX]
        for violation in item.violations
    ]
    place = "Line" if refused[0].line is not None else "Position"
    return table([place, "Refused session", "Field", "Reason"], rows, right=[place])


def summary(submission: TelemetrySubmission, basis: ShareBasis) -> str:
    """What became of the sessions, in a sentence."""
    sessions = counted(submission.session_count, "session")
    turns = counted(submission.event_count, "completed turn")
    refused = len(submission.refused)
    shown = f" (the first {REFUSED_SHOWN_MAX} are shown)" if refused > REFUSED_SHOWN_MAX else ""
    return f"{sessions} with {turns}, shares by {basis}; {refused} refused{shown}."
