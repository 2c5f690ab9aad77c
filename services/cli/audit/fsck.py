"""`moiety db fsck`: the check of the live database, in one snapshot, and its output."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from audit.batches.means import Means
from audit.findings import Finding
from audit.fsck import (
    CheckReport,
    Registry,
    check_pool,
    check_registry_log,
    check_strays,
    kind_of,
    read_registry,
    registry_history,
)
from audit.fsck.pages import broken_page, locate
from audit.progress import Progress
from ledger.errors import LedgerCorruptError, NotFoundError
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.logs.objects import open_bodies
from ledger.store.postgres.database import Address, Database
from services.cli.audit.verify import means_of_machine
from services.cli.base.output import Output
from services.process.weighers import ReadBodies

THREADS: Final = 2
"""That weigh batches and match events, as `moiety verify` has by default."""


def check_pools(
    output: Output, database: Database, bodies_url: str, names: Sequence[str], *, every: bool
) -> list[CheckReport]:
    """Yields a report for each of these pools, or of `registry`; by default for all, and for rows of no pool.

    With `every` each report lists all findings.

    Raises:
        NotFoundError: a named pool does not exist.
    """
    check = _Check(output, database, bodies_url, names, every=every)
    while not check.is_done:
        check.go_on()
    return list(check.reports.values())


_IS_CLUSTER: Final = sa.text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")


class _Check:
    """The check of the chosen pools, and if none was named, of rows that are of no pool.

    It goes on after a page that a disk broke, in another snapshot: what broke ended the first one.
    """

    def __init__(
        self, output: Output, database: Database, bodies_url: str, names: Sequence[str], *, every: bool
    ) -> None:
        self._every = every
        self._output, self._database, self._names = output, database, names
        self._bodies, self._reading = open_bodies(bodies_url), partial(_reading, database.address, bodies_url)
        self.reports: dict[str, CheckReport] = {}
        """By pool; the empty name has the rows of no pool."""
        self.is_done = False
        self._at = ""

    def go_on(self) -> None:
        """Check what has no report yet, up to the end or to a broken page, which is then the report."""
        try:
            with (
                means_of_machine(THREADS, self._reading) as means_of,
                self._database.snapshot() as connection,
                self._beside(connection) as beside,
            ):
                try:
                    self._all(connection, beside, means_of)
                except BaseException:
                    for each in (connection, beside):  # they have more to say, and nobody else should wait for it
                        if each is not None:
                            each.invalidate()
                    raise
        except LedgerCorruptError as error:
            said = broken_page(error.__cause__)
            if said is None or self._at in self.reports:
                raise
            with self._database.transaction() as connection:
                page = locate(connection, said)
            report = self.reports[self._at] = CheckReport(self._at, unfollowed_from=0)
            report.add(page.table or "database", page.place, "page", page.said, "a page that Postgres can read")

    def _beside(self, connection: sa.Connection) -> AbstractContextManager[sa.Connection | None]:
        """Another connection that sees the same; on a cluster no two do."""
        is_cluster = connection.execute(_IS_CLUSTER).scalar_one()
        return nullcontext() if is_cluster else self._database.snapshot(like=connection)

    def _all(
        self, connection: sa.Connection, beside: sa.Connection | None, means_of: Callable[[PoolRef], Means]
    ) -> None:
        registry = read_registry(connection, partial(_read_now, self._database))
        history = registry_history(connection, self._bodies)
        for pool in _chosen(registry.pools, self._names):
            self._at = pool.name
            if pool.name in self.reports:
                continue
            with self._output.progress(f"Checking {pool.name}", None, "leaves") as bar:
                if pool == REGISTRY:
                    steps = check_registry_log(connection, registry, self._bodies, every=self._every)
                else:
                    steps = check_pool(
                        connection, pool, registry, self._bodies, means_of(pool), history=history, beside=beside,
                        every=self._every,
                    )  # fmt: skip
                found = _run(steps, lambda step, bar=bar: bar.set(step.leaves, step.leaf_total))
            self.reports[pool.name] = found
        self._at = ""
        if not self._names and self._at not in self.reports:
            self.reports[self._at] = _check_strays(self._output, connection, registry, every=self._every)
        self.is_done = True


@contextmanager
def _reading(address: Address, bodies_url: str) -> Iterator[ReadBodies]:
    """How another process reads bodies of pools, on a connection of its own. No body changes, whoever reads it when."""
    bodies, database = open_bodies(bodies_url), Database(address.url, role=address.role, pooler=address.pooler)
    with closing(database):
        yield partial(bodies.read_all, database)


def _read_now(database: Database) -> Registry:
    with database.snapshot() as connection:
        return read_registry(connection)


def _chosen(pools: Sequence[PoolRef], names: Sequence[str]) -> list[PoolRef]:
    known = {pool.name: pool for pool in (REGISTRY, *pools)}
    for name in names:
        if name not in known:
            raise NotFoundError(f"pools/{name}")
    return [known[name] for name in names] if names else list(known.values())


def _run(steps: Generator[Progress, None, CheckReport], progress: Any) -> CheckReport:
    while True:
        try:
            progress(next(steps))
        except StopIteration as end:
            report: CheckReport = end.value
            return report


def _check_strays(output: Output, connection: sa.Connection, registry: Registry, *, every: bool) -> CheckReport:
    report = CheckReport(every=every)
    with output.progress("Looking for rows of pools that do not exist", None, "tables") as bar:
        for _ in check_strays(connection, registry, report):
            bar.advance(1)
    return report


def show(output: Output, reports: Sequence[CheckReport]) -> bool:
    """Print what was checked and found; returns whether nothing was found."""
    found = sum(report.finding_count for report in reports)
    summary = "Every row follows from its log." if not found else f"Findings: {found:,}."
    document = {"holds": not found, "finding_count": found, "reports": [_document(report) for report in reports]}
    output.show(document, *(line for report in reports for line in _lines(report)), summary)
    return not found


def _document(report: CheckReport) -> dict[str, Any]:
    return {
        "pool": report.pool,
        "leaves": report.leaves,
        "events": report.events,
        "rows": report.rows,
        "finding_count": report.finding_count,
        "unfollowed_from": report.unfollowed_from,
        "findings": [_finding_document(finding) for finding in report.findings],
    }


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {
        "leaf_index": finding.where.leaf_index if finding.where.leaf_index >= 0 else None,
        "table": finding.where.table,
        "key": finding.where.key,
        "figure": finding.figure,
        "claimed": finding.claimed,
        "expected": finding.expected,
    }


def _lines(report: CheckReport) -> Iterator[str]:
    if report.pool:
        rows = sum(report.rows.values())
        yield f"{report.pool}: {report.leaves:,} leaves, {report.events:,} events, {rows:,} rows"
    for findings, unlisted in report.by_kind():
        for finding in findings:
            yield from _finding_lines(finding)
        if unlisted:
            yield f"  and {unlisted:,} more like these: {' '.join(kind_of(findings[0]))} (--all lists them)"
    if report.unfollowed_from is not None:
        yield f"  From leaf {report.unfollowed_from} on it cannot be told what follows: these rows were not checked."


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"  {finding.where.table} {finding.where.key}".rstrip()
    yield f"    {finding}"
