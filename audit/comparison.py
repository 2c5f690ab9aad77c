"""Two bundles or exports side by side: where their logs part, what one has that the other lacks, and whose money.

Nothing is verified here, for one of the two may well be wrong: verify each, and compare them to see where they differ.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, zip_longest
from operator import itemgetter
from typing import Any, Final

from audit.files.static_log import StaticLog
from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import (
    BALANCES,
    BALANCES_HEADER,
    CHECKPOINT,
    JOURNAL,
    REGISTRY_FOLDER,
    Files,
    body_path,
    lines_of,
    parse_journal_line,
)
from ledger.log.checkpoint import Checkpoint, read_checkpoint
from ledger.log.leaves import EncodedLeaf
from ledger.log.notes import MAX_NOTE_BYTES
from ledger.log.origins import REGISTRY_LOG, split_origin

LISTED_MAX: Final = 1_000
"""Rounds, balances and missing bodies that are listed; the others are counted."""

UNREADABLE: Final = "unreadable"
"""The kind of an entry that is not JSON with a type, and of those beyond as many kinds as are listed."""

_KIND_CHARACTERS: Final = 60

_FIGURES: Final = (
    "start", "end", "policy_version", "pot_minor", "fee_minor", "attributed_minor", "commons_minor",
    "commons_kept_minor", "carried_minor", "rounding_minor", "registry_sha256", "statement_sha256", "weights_sha256",
)  # fmt: skip


@dataclass(slots=True)
class Side:
    """One of the two: its checkpoint, its leaves from where the logs part on by kind, and what these move."""

    checkpoint: Checkpoint
    leaves: Counter[str] = field(default_factory=Counter)
    moved_minor: Counter[str] = field(default_factory=Counter)
    """By kind of leaf."""
    bodies_missing: list[str] = field(default_factory=list)
    """Paths of bodies that its leaves name and that it has not, such as those of a bundle of few rounds."""
    bodies_missing_count: int = 0


@dataclass(slots=True)
class LogComparison:
    """A log in both. `common` leaves are the same in both, from the first on."""

    name: str
    common: int
    a: Side
    b: Side

    @property
    def parts(self) -> bool:
        """Whether the logs contradict each other: both go on, and differently."""
        return self.common < min(self.a.checkpoint.size, self.b.checkpoint.size)


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a round, or the balance of an account, that differs; empty where one has none."""

    subject: str
    figure: str
    a: str
    b: str


@dataclass(slots=True)
class Comparison:
    """What differs: log by log, round by round, account by account."""

    logs: list[LogComparison] = field(default_factory=list)
    only_a: list[str] = field(default_factory=list)
    """Logs that only the first has."""
    only_b: list[str] = field(default_factory=list)
    rounds: list[Difference] = field(default_factory=list)
    balances: list[Difference] = field(default_factory=list)
    difference_count: int = 0
    """Of rounds and balances, listed or not."""
    currency: str = ""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        sizes = all(log.common == log.a.checkpoint.size == log.b.checkpoint.size for log in self.logs)
        bodies = any(side.bodies_missing_count for log in self.logs for side in (log.a, log.b))
        return sizes and not (self.only_a or self.only_b or self.difference_count or bodies)

    @property
    def parts(self) -> bool:
        """Whether the two tell two histories: their logs part, or are not those of one pool."""
        return bool(self.only_a and self.only_b) or any(log.parts for log in self.logs)

    def differs(self, into: list[Difference], found: Difference) -> None:
        """Take in a difference."""
        self.difference_count += 1
        if len(into) < LISTED_MAX:
            into.append(found)


def compare(a: Files, b: Files) -> Comparison:
    """Compare what two folders or archives hold.

    Raises:
        FormatError: a file is malformed.
        NotFoundError: a file is missing, other than a body.
    """
    found = Comparison()
    ours, theirs = _logs_of(a), _logs_of(b)
    found.only_a, found.only_b = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    for name in (name for name in ours if name in theirs):
        _compare_logs(found, name, (ours[name], a), (theirs[name], b))
    return found


@dataclass(frozen=True, slots=True)
class _Log:
    checkpoint: Checkpoint
    folder: str

    def read(self, files: Files) -> Iterator[EncodedLeaf]:
        return StaticLog("", files, self.checkpoint.size, self.folder).leaves(0, self.checkpoint.size)


def _logs_of(files: Files) -> dict[str, _Log]:
    """The logs in a folder or archive, by origin: a pool's and the registry's, or one of them."""
    found = {}
    for folder in ("", REGISTRY_FOLDER):
        try:
            note = files.read(folder + CHECKPOINT, bytes_max=MAX_NOTE_BYTES)
        except NotFoundError:
            if not folder:
                raise
            continue
        checkpoint = read_checkpoint(note)[0]
        found[checkpoint.origin] = _Log(checkpoint, folder)
    return found


def _compare_logs(found: Comparison, name: str, ours: tuple[_Log, Files], theirs: tuple[_Log, Files]) -> None:
    compared = LogComparison(name, 0, Side(ours[0].checkpoint), Side(theirs[0].checkpoint))
    found.logs.append(compared)
    tails = [_Tail(compared.a, *ours), _Tail(compared.b, *theirs)]
    same = True
    for one, other in zip_longest(ours[0].read(ours[1]), theirs[0].read(theirs[1])):
        same = same and one is not None and other is not None and one.entry == other.entry
        if same:
            compared.common += 1
        for tail, leaf in zip(tails, (one, other), strict=True):
            if leaf is not None:
                tail.take_in(leaf, common=same)
    for tail in tails:
        tail.add_moved(compared.common)
    of_registry = (split_origin(name) or ("", ""))[1] == REGISTRY_LOG
    if not of_registry:
        found.currency = tails[0].currency or tails[1].currency
        _compare_rounds(found, tails[0].rounds, tails[1].rounds)
        _compare_balances(found, ours[1], theirs[1])


@dataclass(slots=True)
class _Tail:
    """What is read of one log: its rounds, and from where the two part on, its kinds of leaves."""

    side: Side
    log: _Log
    files: Files
    rounds: dict[str, dict[str, str]] = field(default_factory=dict)
    currency: str = ""
    _round_at: dict[int, str] = field(default_factory=dict)
    _kinds: list[str] = field(default_factory=list)
    """Of the leaves from where the two part on."""
    _names: dict[str, str] = field(default_factory=dict)
    """Each kind once, for there may be millions of leaves."""

    def take_in(self, leaf: EncodedLeaf, *, common: bool) -> None:
        entry = _read(leaf.entry)
        kind = str(entry.get("type", UNREADABLE))[:_KIND_CHARACTERS]
        if not common:
            known = kind if kind in self.side.leaves or len(self.side.leaves) < LISTED_MAX else UNREADABLE
            self.side.leaves[known] += 1
            self._kinds.append(self._names.setdefault(known, known))
        for digest in _bodies_of(entry):
            self._look_for(self.log.folder + body_path(digest))
        match kind:
            case "pool.v1":
                self.currency = str(entry.get("currency"))[:3]
            case "round.v1":
                number = _shown(entry.get("number"))
                self._round_at[leaf.index] = number
                said = {figure: _shown(entry.get(figure)) for figure in _FIGURES}
                self.rounds[number] = {**said, "calculated by": _shown(entry.get("by")), "state": "CALCULATED"}
            case "decision.v1" if (number := self._round_at.get(_index(entry.get("subject")), "")) in self.rounds:
                self.rounds[number] |= {
                    "state": _shown(entry.get("decision")), "decided by": _shown(entry.get("by")),
                }  # fmt: skip
            case "posting.v1" if (number := _shown(entry.get("round"))) in self.rounds:
                self.rounds[number]["state"] = "POSTED"

    def _look_for(self, path: str) -> None:
        try:
            next(self.files.chunks(path), b"")
        except NotFoundError:
            self.side.bodies_missing_count += 1
            if len(self.side.bodies_missing) < LISTED_MAX:
                self.side.bodies_missing.append(path)

    def add_moved(self, start: int) -> None:
        """Sum what the journal says that the leaves from `start` on move, by kind."""
        if self.log.folder:
            return
        lines = lines_of(self.files.chunks(JOURNAL), JOURNAL)
        next(lines, None)
        for number, line in enumerate(lines, 2):
            leaf_index, _, transfer = parse_journal_line(line, number)
            if leaf_index >= start:
                kind = self._kinds[leaf_index - start] if leaf_index - start < len(self._kinds) else UNREADABLE
                self.side.moved_minor[kind] += transfer.amount_minor


def _compare_rounds(found: Comparison, ours: dict[str, dict[str, str]], theirs: dict[str, dict[str, str]]) -> None:
    for number in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(number, {}), theirs.get(number, {})
        for figure in dict.fromkeys([*one, *other]):
            if one.get(figure, "") != other.get(figure, ""):
                differs = Difference(f"round {number}", figure, one.get(figure, ""), other.get(figure, ""))
                found.differs(found.rounds, differs)


def _compare_balances(found: Comparison, a: Files, b: Files) -> None:
    # Account by account, for a pool may have as many as its collectives.
    for account, said in groupby(merge(_balances_of(a, "a"), _balances_of(b, "b")), key=itemgetter(0)):
        amounts = {side: amount for _, side, amount in said}
        if amounts.get("a") != amounts.get("b"):
            differs = Difference(account, "balance", amounts.get("a", ""), amounts.get("b", ""))
            found.differs(found.balances, differs)


def _balances_of(files: Files, side: str) -> Iterator[tuple[str, str, str]]:
    """Yields (account, side, amount), by account.

    Raises:
        FormatError: the file has another header, or accounts that are not in ascending order.
    """
    lines = lines_of(files.chunks(BALANCES), BALANCES)
    if next(lines, "") != BALANCES_HEADER:
        raise FormatError(f"{BALANCES} line 1", f"must be {BALANCES_HEADER}")
    before = ""
    for number, line in enumerate(lines, 2):
        account, _, amount = line.partition(",")
        if account <= before:
            raise FormatError(f"{BALANCES} line {number}", f"is not in the order of accounts: {account[:80]!r}")
        before = account
        yield account, side, amount


def _read(entry: bytes) -> dict[str, Any]:
    try:
        found = json.loads(entry)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _bodies_of(entry: dict[str, Any]) -> Iterator[bytes]:
    for name, said in entry.items():
        if name.endswith("_sha256") and isinstance(said, str) and len(said) == 2 * 32:
            try:
                yield bytes.fromhex(said)
            except ValueError:
                continue


def _index(value: object) -> int:
    return value if isinstance(value, int) else -1


def _shown(value: object) -> str:
    return "" if value is None else str(value)[:200]
