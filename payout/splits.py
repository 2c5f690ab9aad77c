"""Member splits: how a collective divides its amount of a round among its members, without any member in the ledger.

A split is a Merkle *sum* tree of pseudonymous lines: each node commits to the sum of the amounts below it, none of
which is negative, so its root proves that the lines sum to the amount. A leaf is salted. The collective logs the root
by an act of its own, once a round, with the rule in words; whoever has a line can verify it up to a checkpoint. Its
path shows the sums of the branches beside it, as far down as one neighbour's line, but of no line whose it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Final

from ledger.acts.act import COLLECTIVES, SaltedContent
from ledger.acts.controls import Kind
from ledger.errors import InvalidInputError, ProofError
from ledger.log.canonical import canonical, parsed
from ledger.log.leaves import AmountMinor, Sha256Hex
from ledger.log.text import parse_integer
from ledger.money import MAX_BALANCE_MINOR
from ledger.registry import require_range, require_text

MAX_RULE: Final = 2_000
MAX_PSEUDONYM: Final = 100
MAX_LINES: Final = 10_000_000


class SplitContent(SaltedContent):
    """A collective split its amount of a round among its members."""

    type: ClassVar[str] = "split.v1"
    kind: ClassVar[Kind | None] = None
    done_by: ClassVar[str] = COLLECTIVES

    round: int
    round_hash: Sha256Hex
    """The leaf hash of the round's entry."""
    collective: str
    amount_minor: AmountMinor
    lines: int
    split_root: Sha256Hex
    rule: str

    @property
    def key(self) -> Hashable:
        """The round and the collective."""
        return self.round, self.collective

    @property
    def identity(self) -> tuple[str, ...]:
        """A collective splits an amount once: two splits could tell two members different things."""
        return "collective", self.type, str(self.round), self.collective


@dataclass(frozen=True, slots=True)
class SumNode:
    """A node of a sum tree: its hash, and the sum of the amounts below it, in minor units."""

    hash: bytes
    amount_minor: int


@dataclass(frozen=True, slots=True)
class SplitLine:
    """A member's line: a pseudonym, an amount of 0 or more minor units, and a salt of 32 bytes."""

    member: str
    amount_minor: int
    salt: bytes

    def document(self) -> bytes:
        """Returns the line in RFC 8785 form."""
        return canonical({"amount_minor": str(self.amount_minor), "member": self.member})

    def leaf(self) -> SumNode:
        """Returns the line's leaf."""
        return sum_leaf(self.amount_minor, self.salt + self.document())


def sum_leaf(amount_minor: int, content: bytes) -> SumNode:
    """Returns a leaf: SHA-256(0x00 || amount as 8 bytes || content)."""
    return SumNode(sha256(b"\x00" + _amount(amount_minor) + content).digest(), amount_minor)


def sum_node(left: SumNode, right: SumNode) -> SumNode:
    """Returns the node above two: SHA-256(0x01 || left's amount, left's hash || right's amount, right's hash)."""
    parts = (_amount(left.amount_minor), left.hash, _amount(right.amount_minor), right.hash)
    together = left.amount_minor + right.amount_minor
    if together > MAX_BALANCE_MINOR:
        raise ProofError("an amount is below zero or too large")
    return SumNode(sha256(b"\x01" + b"".join(parts)).digest(), together)


def sum_root(leaves: Sequence[SumNode]) -> SumNode:
    """Returns the root over at least one leaf; the tree has the shape of RFC 6962."""
    row = list(leaves)
    while len(row) > 1:
        unpaired = row[len(row) & ~1 :]
        row = [sum_node(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)] + unpaired
    return row[0]


def sum_paths(leaves: Sequence[SumNode]) -> list[tuple[SumNode, ...]]:
    """Returns the nodes beside each leaf's way to the root, from the bottom up."""
    paths: list[list[SumNode]] = [[] for _ in leaves]
    row, below = list(leaves), [[at] for at in range(len(leaves))]
    while len(row) > 1:
        for at in range(0, len(row) - 1, 2):
            for left in below[at]:
                paths[left].append(row[at + 1])
            for right in below[at + 1]:
                paths[right].append(row[at])
        unpaired, kept = row[len(row) & ~1 :], below[len(row) & ~1 :]
        below = [below[at] + below[at + 1] for at in range(0, len(row) - 1, 2)] + kept
        row = [sum_node(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)] + unpaired
    return [tuple(path) for path in paths]


def verify_sum(leaf: SumNode, position: int, lines: int, path: Sequence[SumNode], root: SumNode) -> None:
    """Check that a leaf is at a position of the tree of so many lines with this root.

    Raises:
        ProofError: it is not.
    """
    if not 0 <= position < lines:
        raise ProofError("the line is beyond its tree")
    place, last, found = position, lines - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError("the path is too long")
        if place & 1 or place == last:
            found = sum_node(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = sum_node(found, sibling)
        place, last = place >> 1, last >> 1
    if last or found != root:
        raise ProofError("the path does not lead to the root and its sum")


def read_split(text: str) -> list[tuple[str, int]]:
    """Returns the members and their amounts of a CSV with the columns `member,amount_minor`.

    Raises:
        InvalidInputError: it has another form, a pseudonym twice, or an amount that is not a whole number of 0 or more.
    """
    header, *rows = text.removeprefix("\ufeff").replace("\r\n", "\n").removesuffix("\n").split("\n")
    if header != "member,amount_minor" or not rows:
        raise InvalidInputError.of("csv", "must have the columns member,amount_minor and at least one line")
    found: dict[str, int] = {}
    for number, row in enumerate(rows, 2):
        member, comma, amount = row.partition(",")
        if not comma or not amount.isascii() or not amount.isdecimal():
            raise InvalidInputError.of("csv", f"line {number} must be a pseudonym and a whole amount")
        require_text(member, "csv", least=1, most=MAX_PSEUDONYM)
        if member in found:
            raise InvalidInputError.of("csv", f"line {number} repeats a pseudonym")
        found[member] = require_range(int(amount), "csv", 0, MAX_BALANCE_MINOR)
    return list(found.items())


def split_lines(document: Any) -> list[SplitLine]:
    """Returns the lines of a split that `moiety split make` wrote.

    Raises:
        InvalidInputError: it is not one.
    """
    try:
        return [SplitLine(each["member"], int(each["amount_minor"]), bytes.fromhex(each["salt"])) for each in document]
    except (KeyError, TypeError, ValueError):
        raise InvalidInputError.of("split", "is not a file of `moiety split make`") from None


def parse_line(document: bytes) -> tuple[str, int]:
    """Returns the pseudonym and the amount of a line's document, which is in canonical form.

    Raises:
        ProofError: it is not a line.
    """
    try:
        said = parsed(document)
        member, amount = said["member"], parse_integer(said["amount_minor"])
    except (KeyError, TypeError, ValueError):
        raise ProofError("the line is not one") from None
    if not isinstance(member, str) or amount < 0 or SplitLine(member, amount, b"").document() != document:
        raise ProofError("the line is not in canonical form")
    return member, amount


def _amount(amount_minor: int) -> bytes:
    if not 0 <= amount_minor <= MAX_BALANCE_MINOR:
        raise ProofError("an amount is below zero or too large")
    return amount_minor.to_bytes(8, "big")
