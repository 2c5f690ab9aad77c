"""The rest of a bundle's books: what its journal and its file of balances say beyond what the leaves moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from audit.files.static_log import StaticLog
from audit.findings import Finding, Where, file_finding
from audit.steps import Step
from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import BALANCES, balance_lines, lines_of


def book_findings(log: StaticLog, balances: Mapping[str, int]) -> Iterator[Finding]:
    """Yields what is wrong with the rest of the journal, once every leaf has taken its lines, and with the balances."""
    try:
        log.journal.finish()
    except FormatError as error:
        yield file_finding(error, Step.BALANCES)
    try:
        yield from balance_findings(log.files.chunks(BALANCES), balances)
    except (FormatError, NotFoundError) as error:
        yield file_finding(error, Step.BALANCES)


def balance_findings(claimed: Iterator[bytes], balances: Mapping[str, int]) -> Iterator[Finding]:
    """Yields a finding for each line of the balances that does not follow, and for the first that is too many.

    `claimed` is the file in pieces. It is nobody's signed word, and may be of any length.

    Raises:
        FormatError: a line is not one of such a file.
    """
    theirs = lines_of(claimed, BALANCES)
    for line, ours in enumerate((*balance_lines(balances), None), 1):
        found = next(theirs, None)
        if found != ours:
            where = Where(file=BALANCES, line=line)
            yield Finding(where, "balance", found or "nothing", ours or "nothing", Step.BALANCES)
