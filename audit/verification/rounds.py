"""What the end of each round in a bundle needs: the same calculated again, or as much of it as can be checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from audit.files.static_log import StaticLog
from audit.findings import Finding, FoundError, at
from audit.folds.pool import PoolFold
from audit.reader import checked_body
from audit.replay import check_round, check_salt, end_of_period, read_registry, require_registered
from audit.steps import Step
from audit.verification.report import Report, RoundSummary, in_body
from ledger.acts.entries import Decision
from ledger.errors import LedgerCorruptError
from ledger.journal import ROUNDING
from ledger.log.leaves import Leaf
from ledger.log.merkle import root
from payout.calculation import pot_of
from payout.dossiers import Figures, render_dossiers, statement_leaves
from payout.entries import RoundContent
from payout.policy import Policy
from payout.statement import carried_of


@dataclass(slots=True)
class RoundsCheck:
    """Checks rounds as they end, from what was folded until then."""

    log: StaticLog
    fold: PoolFold
    report: Report
    note: Callable[[Finding], None]
    """Called with what is found, which the check goes on after if it returns."""
    latest: RoundContent | None = None
    """The round that was calculated last."""

    def checks(self, leaf: Leaf[Any], *, recomputed: bool) -> list[Callable[[], None]]:
        """Returns what is to be checked at the end of a round, in this order."""
        content: RoundContent = leaf.content
        return [
            partial(self._require_no_open_round, leaf.index, content),
            partial(self._check_bodies, leaf.index, content),
            partial(self._recompute, leaf) if recomputed else partial(self._check_place, leaf),
            partial(self._check_conservation, leaf.index, content),
        ]

    def end(self, leaf: Leaf[Any], *, recomputed: bool) -> None:
        """Take the round in as the latest one."""
        self.latest = leaf.content
        self.report.rounds[leaf.content.number] = RoundSummary.of(leaf, recomputed=recomputed)

    def _require_no_open_round(self, leaf_index: int, content: RoundContent) -> None:
        at(leaf_index).same("number", content.number, self.fold.rounds.next_number)
        if self.latest is None:
            return
        number = self.latest.number
        decision = self.fold.rounds.decisions.get(number, "")
        closed = decision == Decision.REJECTED or self.fold.rounds.posted_number == number
        at(leaf_index).holds(closed, "end", content.end, f"a place after round {number} was posted or rejected")

    def _check_bodies(self, leaf_index: int, content: RoundContent) -> None:
        for figure in ("registry_sha256", "statement_sha256", "weights_sha256", "salt_sha256"):
            digest = getattr(content, figure)
            try:
                body = checked_body(self.log, leaf_index, figure, digest)
            except FoundError as found:
                self.note(in_body(found.finding, digest))
            else:
                self.report.count_body(len(body))

    def _recompute(self, leaf: Leaf[Any]) -> None:
        check_round(self.log, self.fold, leaf)
        self.report.count(Step.ROUNDS, "rounds")
        self.report.count(
            Step.ROUNDS, "statement lines", len(self.fold.rounds.statement_lines(leaf.index, leaf.content))
        )

    def _check_place(self, leaf: Leaf[Any]) -> None:
        """Check what can be checked of a round whose usage is not here."""
        content: RoundContent = leaf.content
        policy_leaf, version, policy = self.fold.terms.in_force(content.start)
        end = end_of_period(leaf)
        pot = pot_of(self.fold.accounts.balances) if end is None else self.fold.books().pot(end)
        for figure, replayed in (
            ("start", self.fold.rounds.posted_end),
            ("previous", self.fold.rounds.posted_number),
            ("root", self.fold.frontier.root().hex()),
            ("policy_leaf", policy_leaf),
            ("policy_version", version),
            ("pot_minor", pot),
        ):
            with self.fold.noting():
                at(leaf.index).same(figure, getattr(content, figure), replayed)
        self._check_dossiers(leaf, policy)
        self.report.count(Step.ROUNDS, "rounds not recomputed")

    def _check_dossiers(self, leaf: Leaf[Any], policy: Policy) -> None:
        """Check that the tree of dossiers is that of the round's statement, weights and registry."""
        leaf_index, content = leaf.index, leaf.content
        lines = self.fold.rounds.statement_lines(leaf_index, content)
        collectives = read_registry(self.log, self.fold, leaf)
        require_registered(self.fold, leaf, collectives)
        weights = checked_body(self.log, leaf_index, "weights_sha256", content.weights_sha256)
        figures = Figures.of(content, policy, self.fold.terms.confidence_ppm)
        try:
            dossiers = list(render_dossiers(figures, lines, collectives, weights))
        except (LedgerCorruptError, ValueError, KeyError) as error:
            raise at(leaf_index).error("weights", error, "those of the statement's collectives") from None
        leaves = statement_leaves(check_salt(self.log, leaf), lines, dossiers)
        at(leaf_index).same("statement_root", content.statement_root, root(leaves).hex())
        at(leaf_index).same("statement_lines", content.statement_lines, len(lines))

    def _check_conservation(self, leaf_index: int, content: RoundContent) -> None:
        here = at(leaf_index, step=Step.CONSERVATION)
        lines = self.fold.rounds.statement_lines(leaf_index, content)
        parts = {
            "attributed_minor": sum(line.attributed_minor for line in lines),
            "commons_minor": sum(line.commons_minor for line in lines),
        }
        for figure, total in parts.items():
            with self.fold.noting():
                here.same(figure, getattr(content, figure), total)
        carried = carried_of(lines, content.kept_after_nano)
        covered = self.fold.accounts.balances.get(ROUNDING, 0)
        with self.fold.noting():
            here.same("rounding_minor", content.rounding_minor, carried.whole_minor() - covered)
        kept_over = content.commons_kept_minor + content.carried_minor + content.rounding_minor
        with self.fold.noting():
            here.same("pot_minor", content.pot_minor, content.fee_minor + sum(parts.values()) + kept_over)
        for figure in ("fee_minor", "commons_kept_minor", "carried_minor"):
            with self.fold.noting():
                here.holds(getattr(content, figure) >= 0, figure, getattr(content, figure), "0 or more")
        self.report.count(Step.CONSERVATION, "rounds")

    def require_latest(self, leaf_index: int, number: int) -> None:
        """Check that a round is the one calculated last, the only one that may be decided and posted."""
        if self.latest is None or self.latest.number != number:
            found = "none" if self.latest is None else str(self.latest.number)
            raise at(leaf_index).error("round", number, found)
