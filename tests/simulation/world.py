"""A world of processes and people in one thread: a seed decides who goes on, who dies, and what is lost.

A life is short, so that what goes wrong in it can be read; a run is many lives. `live` returns what went wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from ledger.log.merkle import Frontier
from tests.simulation import rules
from tests.simulation.rules import OPERATORS, Call, Event, Fault, Outside, Receipt, RefusedError, Server
from tests.simulation.store import Store, TakenError, Transaction

PLATFORMS: Final = ("songbird", "tunesmith")
COLLECTIVES: Final = ("breton", "irish", *(f"late{number}" for number in range(10)))
"""The first two are there from the beginning, and are those who are paid."""

STEPS: Final = 1_500
"""Of a life."""

AT_ONCE: Final = 8
"""Calls under way."""

QUIET_STEPS: Final = 200_000
"""How many steps may pass, once nothing dies any more, until everything is acknowledged."""


@dataclass
class Asked:
    """What a platform sends until it is acknowledged: a batch, or a report."""

    platform: str
    name: str
    said: Any
    receipt: Receipt | None = None
    under_way: bool = False

    def call(self, server: Server, tx: Transaction) -> Call:
        """The call that sends it."""
        send: Callable[..., Call] = rules.report if isinstance(self.said, int) else rules.submit
        return send(server, tx, self.platform, self.name, self.said)


@dataclass(eq=False)
class Running:
    """A call under way on a server."""

    server: int
    tx: Transaction
    call: Call
    asked: Asked | None = None


@dataclass
class World:
    """Servers on one store, platforms with what they sent, operators, a signer."""

    seed: int
    faults: frozenset[Fault] = frozenset()
    problems: list[str] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.store, self.outside = Store(), Outside()
        # The registry's log is signed before any pool's, and that is never lost here.
        self.store.commits.append({("noted",): (self.store.timeline, True)})
        self.store.rows.update(self.store.commits[0])
        self.servers = [Server(self.store, self.faults) for _ in range(2)]
        self.running: list[Running] = []
        self.book: list[Asked] = []
        self.events: list[Event] = []

    # What goes on.

    def live(self) -> list[str]:
        """Live a life, and return what was wrong in it."""
        for name in COLLECTIVES[:2]:
            self._begin(lambda _, tx, n=name: rules.register(tx, n))  # type: ignore[misc]
        while self.steps < STEPS:
            if len(self.running) < AT_ONCE:
                self._begin_something()
            self._step()
            if self.chance.random() < 0.004:
                self._break_something()
        self._come_to_rest()
        return [*self.problems, *check(self)]

    def _come_to_rest(self) -> None:
        """Let everything be acknowledged, and the log be signed once more."""
        until = self.steps + QUIET_STEPS
        while self.running or (left := [each for each in self.book if each.receipt is None]):
            if not self.running:
                self._send(self.chance.choice(left))
            self._step()
            if self.steps > until:
                self.problems.append("a call is stuck")
                return
        self._begin(lambda server, tx: rules.sign(server, tx, self.outside))
        while self.running:
            self._step()

    def _begin_something(self) -> None:
        chance = self.chance
        what = chance.random()
        if what < 0.45:
            waiting = [each for each in self.book if each.receipt is None or chance.random() < 0.02]
            self._send(chance.choice(waiting) if waiting and chance.random() < 0.5 else self._batch())
        elif what < 0.55:
            self.book.append(Asked(chance.choice(PLATFORMS), f"r{len(self.book)}", chance.randint(1, 1_000)))
            self._send(self.book[-1])
        elif what < 0.58:
            name = chance.choice(COLLECTIVES)
            self._begin(lambda _, tx: rules.register(tx, name))
        else:
            self._begin_act(what)

    def _begin_act(self, what: float) -> None:
        chance = self.chance
        by, amount = chance.choice(OPERATORS), chance.randint(1, 400)
        payee = chance.choice(COLLECTIVES[:2])
        if what < 0.66:
            self._begin(lambda server, tx: rules.calculate(server, tx, by))
        elif what < 0.78:
            approve = chance.random() < 0.7
            self._begin(lambda server, tx: rules.post(server, tx, by, approve))
        elif what < 0.83:
            most = self.store.rows.get(("balance", f"collective/{payee}"), 0)
            part = max(1, most * chance.randint(30, 110) // 100)
            self._begin(lambda server, tx: rules.propose(server, tx, by, payee, part))
        elif what < 0.92:
            if proposals := self.store.rows.get(("proposals",)):
                chosen, yes = chance.choice(proposals[-3:]), chance.random() < 0.8
                self._begin(lambda server, tx: rules.decide(server, tx, by, chosen, yes))
        elif what < 0.95:
            self._begin(lambda server, tx: rules.take_back(server, tx, amount))
        else:
            self._begin(lambda server, tx: rules.sign(server, tx, self.outside))

    def _batch(self) -> Asked:
        """A batch of a few events, some of which were sent before, and some twice at once."""
        chance, events = self.chance, []
        for _ in range(chance.randint(1, 4)):
            if self.events and chance.random() < 0.3:
                events.append(chance.choice(self.events[-6:]))
            else:
                events.append(
                    (len(self.events), chance.choice(COLLECTIVES[: 2 + len(self.events) // 8]), chance.randint(1, 9))
                )
                self.events.append(events[-1])
        asked = Asked(chance.choice(PLATFORMS), f"b{len(self.book)}", list(dict.fromkeys(events)))
        self.book.append(asked)
        return asked

    def _send(self, asked: Asked) -> None:
        self._begin(asked.call, asked)

    def _begin(self, call: Callable[[Server, Transaction], Call], asked: Asked | None = None) -> None:
        place, tx = self.chance.randrange(len(self.servers)), Transaction(self.store)
        self.running.append(Running(place, tx, call(self.servers[place], tx), asked))

    def _step(self) -> None:
        """Let one of the calls go on to its next statement."""
        self.steps += 1
        if not self.running:
            return
        one = self.chance.choice(self.running)
        commits = len(self.store.commits)
        try:
            told = next(one.call)
        except StopIteration:
            told = None
            self._end(one)
        except TakenError:
            self._end(one)
            return
        except RefusedError as error:
            self._end(one)
            if one.asked and one.asked.receipt is None:  # it names a collective that nobody has registered yet
                self._begin(lambda _, tx, n=str(error): rules.register(tx, n))  # type: ignore[misc]
            return
        except Exception as error:  # noqa: BLE001  # what nobody foresaw, which a caller would be told as INTERNAL
            self._end(one)
            self.problems.append(f"a call ended with {error!r}")
            return
        if len(self.store.commits) > commits:
            self._require_uncontradicted(self.store.commits[-1])
        if told is not None and one.asked and self.chance.random() > 0.05:  # or the answer is lost
            self._acknowledge(one.asked, told)

    def _require_uncontradicted(self, commit: dict[Any, Any]) -> None:
        """No round is cut or posted by a log that contradicts what was signed."""
        moves = any(key[0] == "leaf" and leaf.keys() & {"round", "posted"} for key, leaf in commit.items())
        size, root = self.outside.copy
        if moves and size and rules.root_at(Transaction(self.store), size) != root:
            self.problems.append(f"money moves by a log that contradicts the checkpoint of {size} leaves")

    def _acknowledge(self, asked: Asked, receipt: Receipt) -> None:
        if asked.receipt not in (None, receipt):
            self.problems.append(f"{asked.name} has two receipts: {asked.receipt}, {receipt}")
        asked.receipt = receipt

    def _end(self, one: Running) -> None:
        one.tx.abort()
        self.running.remove(one)

    # What breaks.

    def _break_something(self) -> None:
        what = self.chance.random()
        if what < 0.5:
            place = self.chance.randrange(len(self.servers))
            self._kill(one for one in self.running if one.server == place)
            self.servers[place] = Server(self.store, self.faults)
        elif what < 0.8 and self.running:
            self._kill([self.chance.choice(self.running)])
        else:
            self._fail_over()

    def _kill(self, calls: Iterable[Running]) -> None:
        for one in list(calls):
            one.call.close()
            self._end(one)

    def _fail_over(self) -> None:
        """A standby takes over that may lack the last commits; servers live on, and remember what they know."""
        self._kill(self.running)
        self.store.fail_over(self.chance.choice([0, 1, 2, 4, 8]))
        for asked in self.book:
            # What the standby lacks, its platform submits again.
            kind = "report" if isinstance(asked.said, int) else "batch"
            if asked.receipt and self.store.rows.get((kind, asked.platform, asked.name)) != asked.receipt:
                asked.receipt = None


def check(world: World) -> list[str]:
    """What must hold at the end of a life."""
    rows, problems = world.store.rows, []
    size = (rows.get(rules.HEAD) or (0, b""))[0]
    log = [rows.get(("leaf", index)) for index in range(size)]
    if None in log or ("leaf", size) in rows:
        return ["the log has a gap, or leaves beyond its head"]
    problems += _usage(world, log)
    problems += _money(world, log)
    tx = Transaction(world.store)
    if Frontier.from_bytes(*rows.get(rules.HEAD, (0, b""))).root() != rules.root_at(tx, size):
        problems.append("the head is not that of the leaves")
    problems += _signed(world)
    return problems


def _usage(world: World, log: list[Any]) -> list[str]:
    problems, counted = [], set()
    for leaf in log:
        for event_id, _, _ in leaf.get("events", ()):
            if (leaf["by"], event_id) in counted:
                problems.append(f"event {event_id} of {leaf['by']} counts twice")
            counted.add((leaf["by"], event_id))
    for asked in world.book:
        index = asked.receipt.index if asked.receipt else -1
        leaf = log[index] if 0 <= index < len(log) else {}
        if asked.name not in (leaf.get("usage"), leaf.get("report")):
            problems.append(f"{asked.name} was acknowledged at leaf {index} and is not there")
        if not isinstance(asked.said, int) and not counted.issuperset((asked.platform, e[0]) for e in asked.said):
            problems.append(f"an event of {asked.name} does not count")
    return problems


def _money(world: World, log: list[Any]) -> list[str]:
    """Fold the log anew: what each leaf moves, under the rules as they are written down."""
    problems: list[str] = []
    fold = Fold(problems)
    for index, leaf in enumerate(log):
        fold.take_in(index, leaf, log)
    stored = {key[1]: amount for key, amount in world.store.rows.items() if key[0] == "balance" and amount}
    if stored != {account: amount for account, amount in fold.balances.items() if amount}:
        problems.append(f"balances are {stored}, and the log says {fold.balances}")
    return problems


class Fold:
    """The money that a log moves, recomputed from its leaves alone."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.balances: dict[str, int] = {}
        self.reports: set[tuple[str, str]] = set()
        self.decided: set[int] = set()
        self.open: dict[str, Any] | None = None
        self.rounded = 0

    def take_in(self, index: int, leaf: dict[str, Any], log: list[Any]) -> None:
        """Take in the next leaf."""
        if "report" in leaf:
            self._once(self.reports, (leaf["by"], leaf["report"]), index)
            self._move(f"platform/{leaf['by']}", "revenue", leaf["amount"], index)
        elif "taken back" in leaf:
            self._move("revenue", "platform/songbird", leaf["taken back"], index)
            if self.open and self.balances["revenue"] < self.open["pot"]:
                self.problems.append(f"leaf {index} takes from the pot of an open round")
        elif "decision" in leaf:
            self._decide(index, leaf, log)
        elif "round" in leaf:
            self._cut(index, leaf, log)
        elif "posted" in leaf or "rejected" in leaf:
            self._close(index, leaf)

    def _once(self, seen: set[Any], key: Any, index: int) -> None:
        if key in seen:
            self.problems.append(f"leaf {index} repeats {key}")
        seen.add(key)

    def _move(self, source: str, target: str, amount: int, index: int) -> None:
        for account, change in ((source, -amount), (target, amount)):
            self.balances[account] = self.balances.get(account, 0) + change
            if self.balances[account] < 0 and not account.startswith("platform/"):
                self.problems.append(f"leaf {index} takes {account} below zero")

    def _decide(self, index: int, leaf: dict[str, Any], log: list[Any]) -> None:
        self._once(self.decided, leaf["decision"], index)
        proposal = log[leaf["decision"]]
        if proposal["by"] == leaf["by"]:
            self.problems.append(f"leaf {index} is one person's proposal and decision")
        if leaf["approved"]:
            self._move(f"collective/{proposal['collective']}", "paid", proposal["amount"], index)

    def _cut(self, index: int, leaf: dict[str, Any], log: list[Any]) -> None:
        if self.open is not None:
            self.problems.append(f"leaf {index} cuts a round while another is open")
        weights: dict[str, int] = {}
        for each in log[self.rounded : index]:
            for _, name, weight in each.get("events", ()):
                weights[name] = weights.get(name, 0) + weight
        pot = self.balances.get("revenue", 0)
        due = {"start": self.rounded, "end": index, "pot": pot, **(rules.shares(pot, weights) if weights else {})}
        if not all(leaf.get(name) == said for name, said in due.items()):
            self.problems.append(f"leaf {index} is the round {leaf}, and {due} follows from the log")
        self.open = leaf

    def _close(self, index: int, leaf: dict[str, Any]) -> None:
        number = leaf.get("posted", leaf.get("rejected"))
        if self.open is None or self.open["round"] != number:
            self.problems.append(f"leaf {index} decides round {number}, which is not open")
            return
        if self.open["by"] == leaf["by"]:
            self.problems.append(f"leaf {index} is one person's round and decision")
        if "posted" in leaf:
            self._move("revenue", "fees", self.open["fee"], index)
            for name, amount in self.open["amounts"].items():
                self._move("revenue", f"collective/{name}", amount, index)
            self.rounded = self.open["end"]
        self.open = None


def _signed(world: World) -> list[str]:
    """No two checkpoints contradict each other, and no round stands behind leaves that contradict one."""
    shown, problems = world.outside.shown, []
    tx, size = Transaction(world.store), (world.store.rows.get(rules.HEAD) or (0, b""))[0]
    if any(later[0] < earlier[0] for earlier, later in pairwise(shown)):
        problems.append("a smaller log was signed after a larger one")
    contradicted = [each for each in shown if each[0] > size or rules.root_at(tx, each[0]) != each[1]]
    if contradicted and shown[-1] not in contradicted:
        problems.append(f"the checkpoint of {contradicted[0][0]} leaves contradicts the last one")
    return problems
