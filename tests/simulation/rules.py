"""How usage, money, acts, rounds and checkpoints are written: in the service's order of looks, locks and writes.

Each call is a generator, and yields where another process may come in between: before each statement. What is decided
without the database is the service's own code: the tree, who is a second person, who gets what of a pot. What a call
yields that is not None is what its caller is told.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ledger.acts.entries import DecisionContent, ProposalContent
from ledger.acts.people import Key, People, Person
from ledger.errors import StateError
from ledger.log.merkle import Frontier, leaf_hash
from ledger.registry import Collective
from ledger.usage.format import AI_ONLY
from payout.policy import Policy, Rounding
from payout.rounds import distribute
from payout.weights import UsageKey, UsageSum
from tests.simulation.store import Key as Row
from tests.simulation.store import Store, TakenError, Transaction

OPERATORS: Final = ("operators/olive", "operators/otto")
POLICY: Final = Policy(fee_ppm=30_000, commons_ppm=100_000, rounding=Rounding.PLACED)
METHOD: Final = ("ngram", 1)
HEAD: Final = ("head",)

Call = Generator[Any, None, None]
Event = tuple[int, str, int]
"""An event's id, the collective that it names, and its weight."""


class Fault(StrEnum):
    """A mistake that the rules do not make, unless they are told to: each must be found."""

    CLAIMS_NOT_LOOKED_AT_AGAIN = "no second look at claims under the lock"
    SIZE_NOTED_LATE = "the log's size is noted after the first look at claims"
    NUMBERS_NOT_CHECKED = "collectives' numbers are remembered, and not checked in the transaction that writes"
    ACKNOWLEDGED_EARLY = "a receipt is given before the commit"
    HEAD_NOT_LOCKED = "leaves are appended without the lock on the head"
    ONE_IS_TWO = "who proposed may decide"
    DECIDED_TWICE = "whether a proposal is open is asked before the lock"
    OPEN_ROUND_NOT_SEEN = "whether a round is open is asked before the lock"
    POSTED_TWICE = "a round's state is asked before the lock"
    BALANCE_LOOKED_AT_EARLY = "a balance is looked at before the lock"
    POT_NOT_RESERVED = "money in an open round's pot may be taken back"
    ROW_FOR_COPY = "the signer extends the database's checkpoint, and not the copy outside"
    ROUNDS_WHILE_CONTRADICTED = "rounds are cut and posted while the log contradicts what was signed"
    REPEAT_IS_NEW = "a report with a request id that is known counts again"


class RefusedError(Exception):
    """A call that may not be made now."""


@dataclass(frozen=True)
class Receipt:
    """Where a batch or a report is."""

    index: int
    hash: bytes


@dataclass
class Server:
    """A process: what it remembers, and which mistake it makes."""

    store: Store
    faults: frozenset[Fault] = frozenset()
    numbers: dict[str, int] = field(default_factory=dict)

    def makes(self, fault: Fault) -> bool:
        """Whether it makes this mistake."""
        return fault in self.faults


@dataclass
class Outside:
    """What is kept apart from the database: the last checkpoint signed, and all that anyone was ever shown."""

    copy: tuple[int, bytes] = (0, b"")
    shown: list[tuple[int, bytes]] = field(default_factory=list)


def found_people() -> People:
    """The two founders."""
    people = People(size=1)
    for name in OPERATORS:
        people.persons[name] = Person(name, 0, alone=False)
        people.keys[name] = Key(name, name, 0, alone=False)
    return people


PEOPLE: Final = found_people()


def entry(content: Mapping[str, Any]) -> bytes:
    """The bytes of a leaf."""
    return json.dumps(content, sort_keys=True).encode()


def append(tx: Transaction, content: dict[str, Any]) -> Receipt:
    """Append a leaf; its caller has the lock on the head."""
    size, edge = tx.get(*HEAD) or (0, b"")
    frontier = Frontier.from_bytes(size, edge)
    hashed = leaf_hash(entry(content))
    frontier.append(hashed)
    tx.put("leaf", size, row=content)
    tx.put(*HEAD, row=(frontier.size, frontier.to_bytes()))
    return Receipt(size, hashed)


def log_size(tx: Transaction) -> int:
    """How many leaves there are."""
    size: int = (tx.get(*HEAD) or (0, b""))[0]
    return size


def lock_head(server: Server, tx: Transaction) -> Iterator[None]:
    """Wait for the lock on the log's head."""
    if not server.makes(Fault.HEAD_NOT_LOCKED):
        yield from tx.lock(*HEAD)


def move(tx: Transaction, source: str, target: str, amount: int) -> None:
    """Move money from an account to another."""
    for account, change in ((source, -amount), (target, amount)):
        tx.put("balance", account, row=(tx.get("balance", account) or 0) + change)


def acknowledged(server: Server, tx: Transaction, receipt: Receipt) -> Call:
    """Commit, and tell the caller where it is."""
    if server.makes(Fault.ACKNOWLEDGED_EARLY):
        yield receipt
        yield
    yield
    tx.commit()
    yield receipt


def register(tx: Transaction, name: str) -> Call:
    """Register a collective, which gets the next number."""
    yield
    yield from tx.lock("numbers")
    if tx.get("collective", name) is None:
        number = tx.get("numbers") or 0
        tx.put("numbers", row=number + 1)
        tx.put("collective", name, row=number)
        tx.put("name", number, row=name)
        yield
    tx.commit()


# Usage.


def submit(server: Server, tx: Transaction, platform: str, batch: str, events: Sequence[Event]) -> Call:
    """Record a batch: those of its events count that are not known."""
    yield
    if known := tx.get("batch", platform, batch):
        yield known
        return
    numbers = yield from _numbers(server, tx, {name for _, name, _ in events})
    size = log_size(tx)
    yield
    free = [each for each in events if tx.get("claim", platform, each[0]) is None]
    yield
    if server.makes(Fault.SIZE_NOTED_LATE):
        size = log_size(tx)
        yield
    yield from lock_head(server, tx)
    yield
    _require_still(server, tx, numbers, [("claim", platform, each[0]) for each in free], size)
    receipt = append(tx, {"usage": batch, "by": platform, "events": free})
    weights: dict[int, int] = {}
    for event_id, name, weight in free:
        tx.put("claim", platform, event_id, row=receipt.index)
        weights[numbers[name]] = weights.get(numbers[name], 0) + weight
    tx.put("weights", receipt.index, row=weights)
    yield from tx.insert("batch", platform, batch, row=receipt)
    yield from acknowledged(server, tx, receipt)


def _numbers(server: Server, tx: Transaction, names: set[str]) -> Generator[None, None, dict[str, int]]:
    found = {name: server.numbers[name] for name in names & server.numbers.keys()}
    for name in sorted(names - found.keys()):
        yield
        number = tx.get("collective", name)
        if number is None:
            raise RefusedError(name)
        found[name] = server.numbers[name] = number
    return found


def _require_still(
    server: Server, tx: Transaction, numbers: Mapping[str, int], claims: Sequence[Row], size: int
) -> None:
    """Look again, under the lock: at what was recorded since the log had this size."""
    if not server.makes(Fault.CLAIMS_NOT_LOOKED_AT_AGAIN):
        for claim in claims:
            at = tx.get(*claim)
            if at is not None and at >= size:
                raise TakenError(claim)
    if not server.makes(Fault.NUMBERS_NOT_CHECKED):
        for name, number in numbers.items():
            if tx.get("collective", name) != number:
                server.numbers.clear()
                raise TakenError(name)


# Money.


def report(server: Server, tx: Transaction, platform: str, request: str, amount: int) -> Call:
    """Take in what a platform reports, once for its request id."""
    yield
    known = tx.get("report", platform, request)
    if known and not server.makes(Fault.REPEAT_IS_NEW):
        yield known
        return
    yield from lock_head(server, tx)
    yield
    receipt = append(tx, {"report": request, "by": platform, "amount": amount})
    move(tx, f"platform/{platform}", "revenue", amount)
    if known:
        tx.put("report", platform, request, row=receipt)
    else:
        yield from tx.insert("report", platform, request, row=receipt)
    yield from acknowledged(server, tx, receipt)


def take_back(server: Server, tx: Transaction, amount: int) -> Call:
    """Take back money that was reported, as far as no open round has it in its pot."""
    yield
    yield from lock_head(server, tx)
    yield
    open_round = tx.get("open")
    reserved = open_round["pot"] if open_round and not server.makes(Fault.POT_NOT_RESERVED) else 0
    if (tx.get("balance", "revenue") or 0) - reserved < amount:
        raise RefusedError("more than there is")
    append(tx, {"taken back": amount})
    move(tx, "revenue", "platform/songbird", amount)
    yield
    tx.commit()


# Acts.


def propose(server: Server, tx: Transaction, by: str, collective: str, amount: int) -> Call:
    """Propose to pay a collective."""
    yield
    yield from lock_head(server, tx)
    yield
    act = {"proposal": "payment", "by": by, "collective": collective, "amount": amount}
    receipt = append(tx, act)
    tx.put("proposals", row=(*(tx.get("proposals") or ()), receipt.index))
    yield
    tx.commit()


def decide(server: Server, tx: Transaction, by: str, chosen: int, approve: bool) -> Call:
    """Approve the payment that was proposed at a leaf, or reject it."""
    yield
    early = tx.get("decision", chosen), _payable(tx, chosen)
    yield
    yield from lock_head(server, tx)
    yield
    decided = early[0] if server.makes(Fault.DECIDED_TWICE) else tx.get("decision", chosen)
    if decided is not None or chosen not in (tx.get("proposals") or ()):
        raise RefusedError("decided")
    proposal = tx.get("leaf", chosen)
    if not server.makes(Fault.ONE_IS_TWO):
        require_second(proposal["by"], by)
    if approve:
        payable = early[1] if server.makes(Fault.BALANCE_LOOKED_AT_EARLY) else _payable(tx, chosen)
        if payable < proposal["amount"]:
            raise RefusedError("more than there is")
        move(tx, f"collective/{proposal['collective']}", "paid", proposal["amount"])
    tx.put("decision", chosen, row=append(tx, {"decision": chosen, "by": by, "approved": approve}).index)
    yield
    tx.commit()


def _payable(tx: Transaction, chosen: int) -> int:
    proposal = tx.get("leaf", chosen) or {}
    return tx.get("balance", f"collective/{proposal.get('collective')}") or 0


def require_second(first: str, second: str) -> None:
    """Check by the service's own rule that another person decides.

    Raises:
        RefusedError: it is the same.
    """
    made = ProposalContent(effect="", content={}, rests_on={}, reason="", by=first, by_key=first, registry_size=1)
    decided = DecisionContent(subject=0, subject_hash="", decision="", reason="", by=second, by_key=second)
    try:
        PEOPLE.require_second(made, decided)
    except StateError as error:
        raise RefusedError(error.kind) from None


# Rounds.


def calculate(server: Server, tx: Transaction, by: str) -> Call:
    """Cut a round over all usage and money since the last one, unless one is open."""
    yield
    early = tx.get("open")
    yield
    yield from lock_head(server, tx)
    yield
    _require_compared(server, tx)
    if (early if server.makes(Fault.OPEN_ROUND_NOT_SEEN) else tx.get("open")) is not None:
        raise RefusedError("a round is open")
    start, end, number = tx.get("rounded") or 0, log_size(tx), (tx.get("last round") or 0) + 1
    pot = tx.get("balance", "revenue") or 0
    weights: dict[str, int] = {}
    for index in range(start, end):
        for known_as, weight in (tx.get("weights", index) or {}).items():
            name = tx.get("name", known_as)
            weights[name] = weights.get(name, 0) + weight
    if not pot or not weights:
        raise RefusedError("nothing to distribute")
    content = {"round": number, "by": by, "start": start, "end": end, "pot": pot, **shares(pot, weights)}
    receipt = append(tx, content)
    tx.put("open", row={**content, "leaf": receipt.index})
    tx.put("last round", row=number)
    yield
    tx.commit()


def shares(pot: int, weights: Mapping[str, int]) -> dict[str, Any]:
    """Who gets what of a pot, by the service's own rule."""
    names = sorted(weights)
    sums = UsageSum(len(names), 0, 0, weights, dict.fromkeys(names, 1))
    found = distribute(
        POLICY,
        pot,
        {UsageKey(*METHOD, AI_ONLY): sums},
        {METHOD: 1_000_000},
        [Collective(name, name, 10) for name in names],
    )
    return {"fee": found.fee_minor, "amounts": {line.collective: line.amount_minor for line in found.lines}}


def post(server: Server, tx: Transaction, by: str, approve: bool) -> Call:
    """Approve the open round, which moves its money; or reject it, and its usage and money are the next one's."""
    yield
    early = tx.get("open")
    if early is None:
        raise RefusedError("no round is open")
    yield
    yield from lock_head(server, tx)
    yield
    _require_compared(server, tx)
    found = early if server.makes(Fault.POSTED_TWICE) else tx.get("open")
    if found is None or found["leaf"] != early["leaf"]:
        raise RefusedError("decided")
    if not server.makes(Fault.ONE_IS_TWO):
        require_second(found["by"], by)
    append(tx, {"posted" if approve else "rejected": found["round"], "by": by})
    tx.put("open", row=None)
    if approve:
        move(tx, "revenue", "fees", found["fee"])
        for name, amount in found["amounts"].items():
            move(tx, "revenue", f"collective/{name}", amount)
        tx.put("rounded", row=found["end"])
    yield
    tx.commit()


def _require_compared(server: Server, tx: Transaction) -> None:
    """Check that the signer compared this log with the copy since the database was replaced, and found it extended."""
    noted = tx.get("noted")
    if noted not in (None, (tx.timeline, True)) and not server.makes(Fault.ROUNDS_WHILE_CONTRADICTED):
        raise RefusedError("not compared")


# Checkpoints.


def sign(server: Server, tx: Transaction, outside: Outside) -> Call:
    """Sign the log if it extends the last checkpoint: the copy outside first, then the row."""
    yield
    yield from tx.lock("signing")
    yield
    row = tx.get("checkpoint") or (0, b"")
    last = row if server.makes(Fault.ROW_FOR_COPY) else outside.copy
    size, edge = tx.get(*HEAD) or (0, b"")
    yield
    sound = size >= last[0] and (not last[0] or root_at(tx, last[0]) == last[1])
    if tx.get("noted") != (tx.timeline, sound):
        tx.put("noted", row=(tx.timeline, sound))
    if sound and size > last[0]:
        signed = size, Frontier.from_bytes(size, edge).root()
        outside.copy = signed
        outside.shown.append(signed)
        yield
        tx.put("checkpoint", row=signed)
    yield
    tx.commit()


def root_at(tx: Transaction, size: int) -> bytes:
    """The root of the log's first leaves."""
    frontier = Frontier()
    for index in range(size):
        leaf = tx.get("leaf", index)
        if leaf is None:
            return b""
        frontier.append(leaf_hash(entry(leaf)))
    return frontier.root()
