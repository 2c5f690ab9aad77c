"""The registry's log in a bundle: alone, or beside a pool's."""

from __future__ import annotations

from typing import Any

from audit.files.static_log import StaticLog
from audit.findings import at
from audit.folds.registry import RegistryFold
from audit.steps import Step
from audit.verification.books import book_findings
from audit.verification.report import Report
from ledger.acts.entries import DeploymentContent
from ledger.log.leaves import Leaf
from ledger.log.origins import REGISTRY_LOG


def check_registry_leaves(deployment: str, registry: StaticLog, report: Report) -> None:
    """Fold the registry's log where there is no pool's, and check that nothing moves in it.

    Raises:
        FoundError: a check fails.
        FormatError: a file is malformed.
    """

    def see(leaf: Leaf[Any]) -> None:
        report.count(Step.FORMS, "registry entries")
        require_origin(leaf, deployment, report)
        report.logs["registry"].see(leaf.time)
        for digest in leaf.content.bodies().values():
            report.count_body(len(registry.body(bytes.fromhex(digest))))

    fold = RegistryFold(registry, see, report.note, report.note)
    fold.finish()
    for finding in book_findings(registry, {}):
        report.note(finding)
    report.tell_acts(fold.acts.done, fold.people)
    report.take(Step.FORMS, Step.BODIES, Step.DECISIONS)


def require_origin(leaf: Leaf[Any], deployment: str, report: Report) -> None:
    """Check that the registry was founded as that of the deployment whose key signs it."""
    if isinstance(leaf.content, DeploymentContent):
        with report.noting():
            at(leaf.index, step=Step.FORMS, log=REGISTRY_LOG).same("origin", leaf.content.origin, deployment)
