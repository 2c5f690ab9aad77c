"""A pool's books in the form of other people's tools: a transaction for each leaf that moved money.

The transactions follow from the log; the balances asserted at the end are the service's own, so a tool that accepts
the books has compared the two.

These tools count debits as positive, while Moiety's balances are credits less debits: every sign is reversed. What
platforms reported less what is still due, and what collectives were paid, are the two sides of the cash that the pool
has, what is owed is a liability, and the fee is the operator's income.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol

from ledger.errors import LedgerCorruptError
from ledger.journal import (
    COMMONS,
    COSTS,
    FEES,
    OUTSIDE,
    REVENUE,
    ROUNDING,
    UNMATCHED,
    WITHDRAWN,
    Transfer,
)
from ledger.log.leaves import EncodedLeaf, Leaf
from ledger.money import decimal_text, minor_unit_exponent
from ledger.store.durable import whole_file
from payout.entries import PoolContent
from services.exports.past import Past
from services.exports.source import PoolSource

PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "platform": ("assets", "reported"),
    "paid": ("assets", "paid"),
    OUTSIDE: ("assets", "outside"),
    COSTS: ("expenses", "costs"),
    "owing": ("assets", "owing"),
    "awaiting": ("liabilities", "awaiting"),
    "awaiting_fees": ("liabilities", "recouping", "fees"),
    "awaiting_commons": ("liabilities", "recouping", "commons"),
    "awaiting_revenue": ("liabilities", "recouping", "revenue"),
    "due": ("liabilities", "due"),
    "credit": ("liabilities", "credit"),
    UNMATCHED: ("liabilities", "unmatched"),
    REVENUE: ("liabilities", "revenue"),
    COMMONS: ("liabilities", "commons"),
    ROUNDING: ("liabilities", "rounding"),
    "collective": ("liabilities", "collective"),
    "held": ("liabilities", "held"),
    "paying": ("liabilities", "paying"),
    WITHDRAWN: ("assets", "withdrawn"),
    FEES: ("income", "fees"),
}
"""The place of each kind of account in a chart of accounts."""


def place_of(account: str) -> tuple[str, ...]:
    """Returns the parts of its name in a chart of accounts: `collective/irish` is liabilities, collective, irish.

    Raises:
        LedgerCorruptError: there is no such account.
    """
    kind, _, owner = account.partition("/")
    if kind not in PLACES:
        raise LedgerCorruptError(f"the account {account}", "is of a kind that this version does not know")
    return (*PLACES[kind], owner) if owner else PLACES[kind]


@dataclass(frozen=True, slots=True)
class Posting:
    """An amount debited to an account, or credited if it is negative."""

    place: tuple[str, ...]
    amount: str
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a leaf moved. The postings sum to zero."""

    day: date
    time: datetime
    leaf_index: int
    leaf_hash: str
    kind: str
    postings: tuple[Posting, ...]


@dataclass(frozen=True, slots=True)
class Title:
    """Whose books these are, and of which time."""

    pool: str
    display_name: str
    currency: str
    exponent: int
    log_size: int
    log_root: str

    def amount(self, balance_minor: int) -> str:
        """Returns a balance of Moiety's as a debit."""
        return decimal_text(-balance_minor, self.exponent)


class Dialect(Protocol):
    """How a tool writes books."""

    suffix: str

    def opening(self, title: Title) -> str:
        """What comes before the transactions."""

    def transaction(self, title: Title, found: Transaction) -> str:
        """A transaction."""

    def closing(self, title: Title, accounts: Mapping[str, int], first: date, last: date) -> str:
        """The accounts with their balances; transactions lie between the two days, both included."""


@dataclass(slots=True)
class _Days:
    first: date = date.max
    last: date = date.min

    def take(self, day: date) -> None:
        self.first, self.last = min(self.first, day), max(self.last, day)


@dataclass(frozen=True, slots=True)
class Written:
    """The written books: the file, its transactions, and the balances it asserts."""

    path: Path
    transactions: int
    balances: int


def export_books(
    source: PoolSource,
    balances: Mapping[str, int],
    folder: Path,
    dialects: tuple[Dialect, ...],
    progress: Callable[[int], None] = lambda _: None,
) -> list[Written]:
    """Write a pool's books in each dialect, as `<pool><suffix>` in the folder, in one pass over the log.

    `balances` are those of the service at the log's size, by account. `progress` is called with the numbers of leaves
    read.

    Raises:
        OSError: the folder cannot be written to.
        LedgerCorruptError: the service's log is inconsistent.
    """
    past = Past(source)
    days, count = _Days(), 0
    title = _title(source)
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        files = [stack.enter_context(_book(folder, source.pool, dialect)) for dialect in dialects]
        for file in files:
            file.write(file.dialect.opening(title))
        for encoded, leaf in source.leaves(0):
            past.take_in(leaf)
            transfers = past.transfers(leaf)
            days.take(leaf.time.astimezone(UTC).date())
            if transfers:
                count += 1
                found = _transaction(title, encoded, leaf, transfers)
                for file in files:
                    file.write(file.dialect.transaction(title, found))
            progress(1)
        for file in files:
            file.write(file.dialect.closing(title, balances, days.first, days.last))
    return [Written(file.path, count, len(balances)) for file in files]


def _title(source: PoolSource) -> Title:
    content = source.leaf(0).content
    if not isinstance(content, PoolContent):
        raise LedgerCorruptError(f"the log of pools/{source.pool}", "does not start with its pool")
    return Title(
        source.pool, content.display_name, content.currency, minor_unit_exponent(content.currency),
        source.size, source.root.hex(),
    )  # fmt: skip


def _transaction(title: Title, encoded: EncodedLeaf, leaf: Leaf[Any], transfers: Sequence[Transfer]) -> Transaction:
    given: dict[str, int] = {}
    for transfer in transfers:
        given[transfer.from_account] = given.get(transfer.from_account, 0) - transfer.amount_minor
    taken = ((transfer.to_account, transfer.amount_minor, transfer.purpose.value) for transfer in transfers)
    postings = [Posting(place_of(account), title.amount(amount)) for account, amount in given.items()]
    postings += [Posting(place_of(account), title.amount(amount), purpose) for account, amount, purpose in taken]
    time = leaf.time.astimezone(UTC)
    return Transaction(time.date(), time, leaf.index, encoded.hash.hex(), leaf.content.type, tuple(postings))


@dataclass(frozen=True, slots=True)
class _Book:
    """A file of books in progress."""

    path: Path
    dialect: Dialect
    file: IO[bytes]

    def write(self, text: str) -> None:
        self.file.write(text.encode())


@contextmanager
def _book(folder: Path, pool: str, dialect: Dialect) -> Iterator[_Book]:
    path = folder / f"{pool}{dialect.suffix}"
    with whole_file(path) as file:
        yield _Book(path, dialect, file)
