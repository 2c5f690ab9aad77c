"""Random mutations of statement files, on which both verifiers must agree:
`python -m tests.support.statement_mutations 10000`.

Some change bytes of the file. The others change what a log or the dossier says, and seal it again, as whoever has the
deployment's key could: every hash that follows is computed anew and the checkpoints are signed anew.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Any, Final

import rfc8785

from audit.statements.check import check_statement
from audit.statements.file import EntryLine, LogPart, MemberLine, ProvedEntry, StatementFile
from ledger.log.merkle import inclusion_proof, root
from payout.dossiers import statement_leaf
from payout.entries import RoundContent
from payout.policy import CommonsRule, Policy, Rounding, Tempering
from tests.support.exports import KEY, ORIGIN, REGISTRY_ORIGIN
from tests.support.independent.verifier import Log
from tests.support.mutations import (
    HOWS,
    VKEY,
    changed_bytes,
    changed_entries,
    changed_value,
    fields_of,
    log_of,
    note_of,
    seal_decision,
    seal_people,
)
from tests.support.pool_log import PoolLog
from tests.support.statement_files import (
    adjusted_log,
    checked_by_node,
    dossiers_of,
    guarded_log,
    small_log,
    statement_file,
)

Entry = dict[str, Any]

BATCH: Final = 500
"""Files that one Node checks."""

MUCH: Final = Policy(
    fee_ppm=50_000, fee_cap_minor=7, commons_ppm=100_000, commons_rule=CommonsRule.EQUITY, tempering=Tempering.SQRT,
    floor_minor=3, cap_minor=400, rounding=Rounding.PLACED,
)  # fmt: skip


@dataclass
class Sealed:
    """What a statement file follows from, in pieces. The entries in `shown` are the same objects as in the logs."""

    pool: list[Entry]
    registry: list[Entry]
    shown: list[Entry]
    dossier: Entry
    leaves: list[bytes]
    """Of the statement tree."""
    place: int
    """The line's among them."""
    salt: bytes
    member: MemberLine | None
    booked: tuple[EntryLine, ...]
    adjusted: tuple[EntryLine, ...]

    @classmethod
    def of(cls, log: PoolLog, collective: str, member: MemberLine | None = None) -> Sealed:
        """The first round's line of a collective."""
        file = statement_file(log, 1, collective)
        pool, registry = ([json.loads(leaf.entry) for leaf in each.entries] for each in (log, log.registry))
        shown = []
        for entries, part in ((pool, file.pool), (registry, file.registry)):
            chosen = {json.loads(proved.entry)["index"] for proved in part.entries}
            shown += [entry for entry in entries if entry["index"] in chosen]
        dossier = json.loads(file.dossier)
        _, leaves, _ = dossiers_of(log, log.placed(RoundContent)[0][1])
        place = dossier["position"]
        return cls(pool, registry, shown, dossier, leaves, place, file.salt, member, file.booked, file.adjusted)

    def seal(self) -> bytes:
        """The file, with every hash that follows."""
        dossier, leaves = rfc8785.dumps(self.dossier), list(self.leaves)
        leaves[self.place] = statement_leaf(self.salt, dossier)
        seal_people(self.registry, self.pool)
        registry = log_of(self.registry, seal_decision)

        def seal(entry: Entry, hashes: list[bytes]) -> None:
            seal_decision(entry, hashes)
            if entry.get("type") == "round.v1":
                entry["statement_root"] = root(leaves).hex()
            for at, found in enumerate(self.pool[: len(hashes)]):
                if "round_hash" in entry and found.get("type") == "round.v1":
                    entry["round_hash"] = hashes[at].hex()

        pool = log_of(self.pool, seal)
        return StatementFile(
            dossier,
            self.salt,
            tuple(inclusion_proof(self.place, leaves)),
            self._part(note_of(ORIGIN, pool, KEY), self.pool, pool),
            self._part(note_of(REGISTRY_ORIGIN, registry, KEY.named(REGISTRY_ORIGIN)), self.registry, registry),
            self.member,
            self.booked,
            self.adjusted,
        ).to_bytes()

    def _part(self, note: bytes, entries: Sequence[Entry], log: Log) -> LogPart:
        shown = {id(entry) for entry in self.shown}
        places = [place for place, entry in enumerate(entries) if id(entry) in shown]
        proved = (ProvedEntry(log.raw[place], tuple(inclusion_proof(place, log.hashes))) for place in places)
        return LogPart(note, tuple(proved))


def changed(random: Random, sealed: Sealed) -> str:
    """One change of what a file follows from; returns which."""
    log = random.choice((sealed.pool, sealed.registry))
    how = random.choice((*HOWS, "dossier", "dossier", "show", "hide", "booked", "adjusted"))
    if how == "booked":
        sealed.booked = changed_lines(random, sealed, sealed.booked)
        return how
    if how == "adjusted":
        sealed.adjusted = changed_lines(random, sealed, sealed.adjusted)
        return how
    if how == "dossier":
        holder, name = random.choice(list(fields_of(sealed.dossier)))
        if name == "weights" and sealed.dossier[name]:
            holder = random.choice(sealed.dossier["weights"])
            name = random.choice(list(holder))
        holder[name] = changed_value(random, holder[name], [1, "1"])
        return how
    if how == "hide":
        sealed.shown.remove(random.choice(sealed.shown))
        return how
    if how == "show":
        sealed.shown.append(random.choice(log))
        return how
    places = [place for place, entry in enumerate(log) if entry in sealed.shown]
    place = random.choice(places) if random.random() < 0.9 else random.randrange(len(log))
    changed_entries(random, log, place, how)
    if how == "repeat" and random.random() < 0.7:
        sealed.shown.append(log[place + 1])
    return how


def changed_lines(random: Random, sealed: Sealed, found: Sequence[EntryLine]) -> tuple[EntryLine, ...]:
    """Another line of an entry's in the place of one, or one more or less."""
    lines = list(found)
    line = random.choice(lines)
    said = json.loads(line.document)
    name = random.choice(list(said))
    said[name] = changed_value(random, said[name], [1, "1"])
    others = [
        replace(line, document=rfc8785.dumps(said)),
        replace(line, position=changed_value(random, line.position, [])),
        replace(line, leaf_index=random.choice([entry["index"] for entry in sealed.shown])),
        line,
    ]
    place = random.randrange(len(lines))
    lines[place : place + random.choice((0, 1))] = [random.choice(others)] * random.choice((0, 1, 1, 1))
    return tuple(lines)


def mutants(seed: int, count: int, sources: Sequence[Sealed]) -> Iterator[tuple[str, bytes]]:
    """That many mutations of files, the same ones for the same seed."""
    random = Random(seed)
    wholes = [(source.seal(), source) for source in sources]
    made = 0
    while made < count:
        whole, source = random.choice(wholes)
        if random.random() < 0.2:
            mutant, how = changed_bytes(random, whole), "bytes"
        else:
            copy = deepcopy(source)
            try:
                how = changed(random, copy)
                mutant = copy.seal()
            except (KeyError, TypeError, ValueError, AssertionError, OverflowError, AttributeError, IndexError):
                continue  # what it names is not there, so that there is no such file
        if mutant != whole:
            made += 1
            yield how, mutant


def sources() -> list[Sealed]:
    """Files to change: of a pool in which all takes two people, and of one in which nothing does."""
    guarded, small, adjusted = guarded_log(), small_log(MUCH), adjusted_log()
    return [
        Sealed.of(guarded, "eire"), Sealed.of(guarded, "han"), Sealed.of(small, "eire"), Sealed.of(small, "quebec"),
        Sealed.of(adjusted, "eire"),
    ]  # fmt: skip


def verdicts(seed: int, count: int) -> Iterator[tuple[str, bool, str, str, bytes]]:
    """Runs both verifiers on each; yields (how, do both hold it or not, our verdict, theirs, the file)."""
    found = mutants(seed, count, sources())
    while batch := list(islice(found, BATCH)):
        theirs = checked_by_node([file for _, file in batch], VKEY)
        for (how, file), said in zip(batch, theirs, strict=True):
            ours = check_statement(file, KEY.verifier_key)
            same = ours.holds == said["holds"] and (not ours.holds or ours.facts == said["facts"])
            yield how, same, f"{ours.failed}: {ours.reason}", f"{said['failed']}: {said['reason']}", file


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 1
    told: Counter[str] = Counter()
    held = 0
    for how, same, ours, theirs, _ in verdicts(seed, count):
        held += same and ours.startswith("None")
        if not same:
            told[how] += 1
            sys.stdout.write(f"{how}: ours {ours}; theirs {theirs}\n")
    disagree = sum(told.values())
    sys.stdout.write(f"{count} mutations of seed {seed}: {held} hold; the verifiers disagree on {disagree}.\n")
    sys.exit(bool(told))


if __name__ == "__main__":
    main()
