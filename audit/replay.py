"""Replay: recomputes a round from the log and its bodies alone, by the function that made it.

Nothing here depends on where the log is: a `LogReader` reads it, and `audit.folds.pool` checks every byte.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from audit.batches.check import weigh_by
from audit.batches.weighing import Weighing
from audit.findings import UNSOUND, Finding, FoundError, at
from audit.folds.pool import PoolFold
from audit.folds.registry import RegistryFold
from audit.folds.usage import UsageFold
from audit.lookahead import Lookahead
from audit.progress import Progress
from audit.reader import LogReader, checked_body
from ledger.acts.act import ActContent
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.income import Period
from ledger.journal import collectives_of
from ledger.log.leaves import Leaf
from ledger.registry import Collective
from ledger.work import Submit, at_once
from payout.calculation import Asked, Calculation, RegistrySnapshot, RoundInputs, calculate, counts_of, pot_of
from payout.dossiers import SALT_BYTES
from payout.entries import RoundContent
from payout.periods import PeriodUsage, Taken, closing_round, next_period, period_end
from payout.policy import Policy
from payout.rounds import Distribution, Line
from payout.statement import (
    STATEMENT_COLUMNS,
    parse_registry,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a replay ended: a match where there is no finding."""

    progress: Progress
    finding: Finding | None


def replay_round(
    log: LogReader,
    registry: LogReader,
    round_leaf: int,
    *,
    submit: Submit = at_once,
    ahead: int = 0,
    weighing: Weighing | None = None,
) -> Generator[Progress, None, Verdict]:
    """Replay the round whose `round.v1` entry is at `round_leaf`; yields progress and returns the verdict.

    `registry` is the registry's log. `submit` starts the work on a batch; `ahead` is that of `UsageFold`. `weighing` is
    where batches of shares are weighed, if it can; those that it cannot are left to `submit`.

    1. The round's own entry gives its interval.
    2. Every leaf below its end is folded: hashes, index, transfers; the bodies of its usage are weighed again.
    3. The round is distributed again and compared with its entry and its statement, figure by figure.
    4. Its registry snapshot follows from the registry's log, up to the size that it names.
    5. Every leaf after it is folded, which checks its review, decision and posting, and that whoever acted was allowed
       to.
    """
    usage = UsageFold(log, weigh=weigh_by(submit), ahead=ahead, weighing=weighing)
    fold_so_far = PoolFold(log, RegistryFold(registry), usage)
    lookahead = Lookahead(fold_so_far, weighing.begin if weighing else None)
    total = log.size()
    try:
        found = next(iter(log.leaves(round_leaf, round_leaf + 1)), None)
        if found is None:
            raise at(round_leaf).error("leaf", "nothing", f"a {RoundContent.type} entry")
        subject = fold_so_far.read(found)
        if not isinstance(subject.content, RoundContent):
            raise at(round_leaf).error("type", subject.content.type, RoundContent.type)
        content = subject.content
        at(round_leaf).holds(0 < content.end <= round_leaf, "end", content.end, "1 to the round's own index")
        for first, end in _stretches(content):
            if first:
                usage.cut()  # The round before it took only some of the months.
            for encoded, leaf in lookahead.over(log.leaves(first, end), weigh_from=content.usage_start):
                fold_so_far.fold(encoded, weigh_from=content.usage_start, read=leaf)
                yield fold_so_far.progress(total)
            if fold_so_far.frontier.size < end:
                break
        fold_so_far.require_size(content.end)
        collectives = read_registry(log, fold_so_far, subject)  # while the last batches are weighed
        usage.settle()
        check_round(log, fold_so_far, subject, collectives)
        for encoded in log.leaves(content.end, total):
            fold_so_far.fold(encoded, weigh_from=total)
            yield fold_so_far.progress(total)
        fold_so_far.require_size(total)
    except FoundError as found:
        return Verdict(fold_so_far.progress(total), fold_so_far.earliest(found.finding))
    except LedgerCorruptError as error:
        missing = at(fold_so_far.frontier.size).error("leaf", error, "a log without gaps").finding
        return Verdict(fold_so_far.progress(total), fold_so_far.earliest(missing))
    except UNSOUND as error:
        unsound = at(round_leaf).error("leaf", error, "a sound entry").finding
        return Verdict(fold_so_far.progress(total), fold_so_far.earliest(unsound))
    return Verdict(fold_so_far.progress(total), None)


def _stretches(content: RoundContent) -> list[tuple[int, int]]:
    """Returns the leaves up to a round's end, [first, end), cut where usage begins that no round took at all."""
    if content.usage_start < content.start < content.end:
        return [(0, content.start), (content.start, content.end)]
    return [(0, content.end)]


def check_round(
    log: LogReader, state: PoolFold, leaf: Leaf[Any], collectives: list[Collective] | None = None
) -> tuple[Distribution, Policy]:
    """Compare the round's entry and statement with a new calculation from what was folded.

    `collectives` are those of its registry snapshot, if that was read.
    """
    content: RoundContent = leaf.content
    policy_leaf, version, policy = state.terms.in_force(content.start)
    usage = state.usage.totals(end_of_period(leaf))
    weighed = set[str]().union(*(total.attributed for total in usage.values()))
    carried = state.rounds.carried.attributed_nano.keys() | state.rounds.carried.commons_nano.keys()
    if collectives is None:
        collectives = read_registry(log, state, leaf)
    require_registered(state, leaf, collectives, weighed | state.rounds.deficits.by_collective.keys() | carried)
    taken = Taken.by(state.rounds.posted())
    inputs = RoundInputs(
        number=state.rounds.next_number,
        previous=state.rounds.posted_number,
        start=state.rounds.posted_end,
        end=content.end,
        root=state.frontier.root(),
        policy_leaf=policy_leaf,
        policy_version=version,
        policy=policy,
        pot_minor=pot_of(state.accounts.balances),
        usage=usage,
        confidence_ppm=state.terms.confidence_ppm,
        registry=RegistrySnapshot(content.registry_size, bytes.fromhex(content.registry_root), collectives),
        deficits=state.rounds.deficits,
        carried=state.rounds.carried,
        asked=Asked(content.request_id, content.fire_times, check_salt(log, leaf)),
        usage_from=taken.since if taken.since < state.rounds.posted_end else None,
    )
    calculation = _calculated(state, inputs, leaf)
    _check_content(log, state, leaf.index, content, calculation)
    lines: Sequence[Line] = calculation.distribution.lines
    if content.statement_sha256 != calculation.content.statement_sha256:
        # It was noted, and what comes after follows from what was logged, as far as that can be read.
        with state.noting():
            lines = state.rounds.statement_lines(leaf.index, content)
    state.rounds.parsed.keep(content.statement_sha256, lines)
    return calculation.distribution, policy


def end_of_period(leaf: Leaf[Any]) -> int | None:
    """Returns the month after the period that a round says it closes; None without one."""
    try:
        return period_end(leaf.content)
    except InvalidInputError:
        raise at(leaf.index).error("period", leaf.content.period, "a period or none") from None


def _calculated(state: PoolFold, inputs: RoundInputs, leaf: Leaf[Any]) -> Calculation:
    """Returns the round again; one of a period closes the next one that may."""
    posted = state.rounds.posted()
    last = Period.parse(posted.period) if posted and posted.period else None
    period = next_period(inputs.policy, last)
    if period is None:
        return calculate(inputs)

    def usage_of(asked: Period) -> PeriodUsage:
        return state.usage.totals(asked.end), counts_of(state.usage.totals(asked.first).values())

    calculation, waiting = closing_round(inputs, period, state.books(), leaf.time, usage_of)
    if waiting:
        named = f"{waiting.period} {', '.join(waiting.platforms)}".strip()
        with state.noting():
            raise at(leaf.index).error("period", leaf.content.period, f"no round yet: {waiting.because} {named}")
    return calculation


def check_salt(log: LogReader, leaf: Leaf[Any]) -> bytes:
    """Returns the salt of a round, which is as long as it must be."""
    salt = checked_body(log, leaf.index, "salt_sha256", leaf.content.salt_sha256)
    at(leaf.index).same("bytes of salt", len(salt), SALT_BYTES)
    return salt


def read_registry(log: LogReader, state: PoolFold, leaf: Leaf[Any]) -> list[Collective]:
    """Returns the collectives of a round's registry snapshot.

    The fold compares the snapshot with the registry's log when it reaches the round's own leaf.
    """
    content: RoundContent = leaf.content
    snapshot = checked_body(log, leaf.index, "registry_sha256", content.registry_sha256)
    derived, collectives = state.rounds.registry_snapshot()
    if snapshot == derived:
        return collectives  # in less time than it takes to parse them
    try:
        return parse_registry(snapshot)
    except LedgerCorruptError as error:
        raise at(leaf.index).error("registry", error, "a canonical snapshot") from None


def require_registered(
    state: PoolFold, leaf: Leaf[Any], collectives: Iterable[Collective], needed: AbstractSet[str] = frozenset()
) -> None:
    """Check that a registry snapshot has all collectives that are needed or have an account."""
    absent = (needed | collectives_of(state.accounts.balances)) - {collective.name for collective in collectives}
    at(leaf.index).same("collectives not in the registry", sorted(absent), [])


def _check_content(
    log: LogReader, state: PoolFold, leaf_index: int, content: RoundContent, calculation: Calculation
) -> None:
    """Compare field by field, in the order of the entry."""
    for figure in (name for name in RoundContent.model_fields if name not in ActContent.model_fields):
        with state.noting():
            if figure == "statement_sha256":
                _check_statement(log, state, leaf_index, content, calculation.statement)
            else:
                at(leaf_index).same(figure, getattr(content, figure), getattr(calculation.content, figure))


def _check_statement(log: LogReader, state: PoolFold, leaf_index: int, content: RoundContent, replayed: bytes) -> None:
    """Compare byte for byte; if that fails, name the first figure that differs of each line."""
    logged = checked_body(log, leaf_index, "statement_sha256", content.statement_sha256)
    if logged == replayed:
        return
    logged_lines, replayed_lines = logged.decode(errors="replace").split("\n"), replayed.decode().split("\n")
    for line, (ours, theirs) in enumerate(zip(replayed_lines, logged_lines, strict=False), 1):
        here = at(leaf_index, line=line)
        with state.noting():
            for figure, one, other in zip(STATEMENT_COLUMNS, theirs.split(","), ours.split(","), strict=False):
                here.same(figure, one, other)
            here.same("line", theirs, ours)
    at(leaf_index).same("lines", len(logged_lines), len(replayed_lines))
