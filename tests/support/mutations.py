"""Random mutations of a bundle, on which both verifiers must agree: `python -m tests.support.mutations 10000`.

Some change bytes of the archive, some its files. The others change what a log says, and seal it again: every hash that
follows from the change is computed anew and the checkpoints are signed anew, so that only what the log says can be
found.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa

from ledger.errors import FormatError
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.note_keys import SigningKey
from tests.support.exports import KEY, ORIGIN, REGISTRY_ORIGIN, bundle_of, report_of
from tests.support.independent import verifier
from tests.support.independent.verifier import Log, archive_of, bodies_in_order, files_in_order, files_of, root_of
from tests.support.replay_history import CORRECTED, HISTORY

VKEY: Final = str(KEY.verifier_key)
TEXTS: Final = ("", "folk", "operators/olive", "COMMONS", "0", "-1", "1" * 20, "ä\u202e", "a,b", "0" * 64, "AQ==")
NUMBERS: Final = (-1, 0, 1, 2, 255, 10**6, 10**9 + 1, 2**53 - 1)


@dataclass
class Sealed:
    """The content of a bundle, in pieces."""

    pool: list[dict[str, Any]]
    registry: list[dict[str, Any]]
    files: dict[str, bytes]

    @classmethod
    def of(cls, bundle: Path) -> Sealed:
        files = files_of(bundle)
        return cls(Log.of(files, "folk").entries, Log.of(files, "registry", "registry/").entries, files)

    def seal(self) -> bytes:
        """The archive of these entries, with every hash that follows from them."""
        seal_people(self.registry, self.pool)
        registry = log_of(self.registry, seal_decision)
        pool = log_of(self.pool, lambda entry, hashes: seal_entry(entry, hashes, registry.hashes))
        files = self.files
        in_order = [
            ("checkpoint", note_of(ORIGIN, pool, KEY)),
            ("registry/checkpoint", note_of(REGISTRY_ORIGIN, registry, KEY.named(REGISTRY_ORIGIN))),
            *files_in_order(registry, "registry/"), *bodies_in_order(registry, files, "registry/"),
            *files_in_order(pool), ("journal.csv", files["journal.csv"]), ("balances.csv", files["balances.csv"]),
            *bodies_in_order(pool, files),
        ]  # fmt: skip
        return archive_of(in_order)


def log_of(entries: list[dict[str, Any]], seal: Callable[[dict[str, Any], list[bytes]], None]) -> Log:
    raw: list[bytes] = []
    hashes: list[bytes] = []
    for entry in entries:
        seal(entry, hashes)
        raw.append(json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
        hashes.append(sha256(b"\x00" + raw[-1]).digest())
    return Log(raw, hashes, entries)


def seal_people(registry: list[dict[str, Any]], pool: list[dict[str, Any]]) -> None:
    """Have every act name the last leaf about operators before it, where one was changed, added or left out."""
    keys: dict[Any, str] = {}
    about: list[int] = []
    for place, entry in enumerate(registry):
        seal_last(entry, about, place)
        with suppress(AttributeError, TypeError):  # what it says may be anything by now
            if is_about_operators(entry, keys):
                about.append(place)
    for entry in pool:
        if isinstance(entry.get("registry_size"), int):
            seal_last(entry, about, entry["registry_size"])


def is_about_operators(entry: dict[str, Any], keys: dict[Any, str]) -> bool:
    """Whether a leaf of the registry is of the chain that acts name; `keys` gets whose its keys are."""
    kind, who = entry.get("type"), str(entry.get("principal") or keys.get(entry.get("key_id"), ""))
    if kind in ("key.v1", "recovery.v1"):
        keys[entry.get("key_id")] = who or str(entry.get("operator"))
    for founder in entry.get("founders") or ():
        keys[founder.get("key_id")] = str(founder.get("operator"))
    of_operator = kind in ("principal.v1", "key.v1", "keyrevocation.v1") and who.startswith("operators/")
    return of_operator or kind in ("deployment.v1", "controls.v1", "witnesses.v1", "recovery.v1")


def seal_last(entry: dict[str, Any], about: list[int], size: int) -> None:
    last = max((place for place in about if place < size), default=0)
    if "by" in entry or entry.get("type") == "recovery.v1":
        entry.pop("people_leaf", None)
        if last:
            entry["people_leaf"] = last


def seal_decision(entry: dict[str, Any], hashes: list[bytes]) -> None:
    subject = entry.get("subject")
    if entry.get("type") == "decision.v1" and isinstance(subject, int) and 0 <= subject < len(hashes):
        entry["subject_hash"] = hashes[subject].hex()


def seal_entry(entry: dict[str, Any], hashes: list[bytes], registry: list[bytes]) -> None:
    seal_decision(entry, hashes)
    end, size = entry.get("end"), entry.get("registry_size")
    if entry.get("type") == "round.v1" and isinstance(end, int) and isinstance(size, int):
        if 0 <= end <= len(hashes):
            entry["root"] = root_of(hashes[:end]).hex()
        if 0 <= size <= len(registry):
            entry["registry_root"] = root_of(registry[:size]).hex()


def note_of(origin: str, log: Log, key: SigningKey) -> bytes:
    return sign_checkpoint(Checkpoint(origin, len(log.raw), root_of(log.hashes)), key).to_bytes()


def changed_bytes(random: Random, whole: bytes) -> bytes:
    """One change of bytes: of one, of a run, of its order, or of the length."""
    at, width = random.randrange(len(whole)), random.choice((1, 1, 1, 7, 512, 1024))
    part = whole[at : at + width]
    return random.choice(
        (
            whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :],
            whole[:at] + random.randbytes(len(part)) + whole[at + width :],
            whole[:at] + whole[at + width :],
            whole[: at + width] + part + whole[at + width :],
            whole[:at],
            whole + bytes(512 * random.randrange(1, 3)),
        )
    )


def changed_files(random: Random, files: dict[str, bytes]) -> bytes:
    """One change of the files of an archive, each of which is whole: of one's length, of their order or number."""
    listed = list(files.items())
    others = [number for number, (path, _) in enumerate(listed) if "body/" not in path]
    at = random.choice((random.choice(others), random.randrange(len(listed))))  # most files are bodies
    path, data = listed[at]
    before, after = listed[:at], listed[at + 1 :]
    shorter = data[: random.randrange(len(data))] if data else b"0"
    extra = random.choice((f"{path}0", "tile/0/001", "body/00/" + "0" * 64, "README"))
    return archive_of(
        random.choice(
            (
                [*before, (path, data + random.choice((b"0", b"\n", bytes(32)))), *after],
                [*before, (path, shorter), *after],
                [*before, *after],
                [*before, (path, data), (path, data), *after],
                [*before, *after, (path, data)],
                [*before, (path, data), (extra, data), *after],
            )
        )
    )


def changed_log(random: Random, sealed: Sealed) -> str:
    """One change of what a log says; returns which."""
    log = random.choice((sealed.pool, sealed.pool, sealed.pool, sealed.registry))
    place = random.randrange(len(log))
    how = random.choice((*HOWS, "body"))
    return changed_body(random, sealed) if how == "body" else changed_entries(random, log, place, how)


HOWS: Final = ("field", "field", "field", "field", "drop", "more", "repeat", "leave out", "swap")


def changed_entries(random: Random, log: list[dict[str, Any]], place: int, how: str) -> str:
    """One change at a place of a log, whose entries get the indexes that they then have."""
    if how == "repeat":
        log.insert(place + 1, deepcopy(log[place]))
    elif how == "leave out":
        del log[place]
    elif how == "swap":
        other = random.randrange(len(log))
        log[place], log[other] = log[other], log[place]
    else:
        holder, name = random.choice(list(fields_of(log[place])))
        if how == "drop":
            del holder[name]
        elif how == "more":
            holder[random.choice(("more", "proposal", "membership", "approval"))] = random.choice((*TEXTS, *NUMBERS))
        else:
            others = [each[name] for each in log if name in each]
            holder[name] = changed_value(random, holder[name], others)
    for index, entry in enumerate(log):
        if how != "field" or index != place:
            entry["index"] = index
    return how


def fields_of(entry: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for name, said in entry.items():
        if name not in ("index", "pool"):
            yield entry, name
        if isinstance(said, dict):
            yield from fields_of(said)


def changed_value(random: Random, value: Any, others: list[Any]) -> Any:
    """Another value in the place of one, mostly of its kind."""
    choices: list[Any] = [*others, None, True, random.choice(TEXTS), random.choice(NUMBERS)]
    if isinstance(value, int) and not isinstance(value, bool):
        choices += [value + 1, value - 1, value * 2, str(value)]
    if isinstance(value, str):
        choices += [value + "a", value[:-1], value.upper()]
        if value.lstrip("-").isdecimal():
            choices += [str(int(value) + 1), str(int(value) - 1), f"0{value}", int(value)]
    return deepcopy(random.choice(choices))


def changed_body(random: Random, sealed: Sealed) -> str:
    """Another body in the place of one, under its own hash."""
    named = [(entry, name) for entry in sealed.pool for name in entry if name.endswith("_sha256")]
    entry, name = random.choice(named)
    body = sealed.files[f"body/{entry[name][:2]}/{entry[name]}"]
    if body.startswith(b"\xff\xff\xff\xff"):
        mutant = changed_values(random, body)
    else:
        mutant = changed_bytes(random, body) if body else b"x"
    if body.isascii() and b"," in body and random.random() < 0.7:  # a table
        cells = body.decode().split(",")
        at = random.randrange(len(cells))
        cells[at] = random.choice(TEXTS) if random.random() < 0.3 else f"{cells[at]}1"
        mutant = ",".join(cells).encode()
    digest = sha256(mutant).hexdigest()
    sealed.files[f"body/{digest[:2]}/{digest}"] = mutant
    if "body_bytes" in entry:
        entry["body_bytes"] = len(mutant)
    entry[name] = digest
    return f"body {name}"


def changed_values(random: Random, body: bytes) -> bytes:
    """Another byte among the values of a batch, or another end.

    The metadata stays: it is FlatBuffers, in which readers differ in what they forgive.
    """
    *_, batch = pa.ipc.MessageReader.open_stream(body)
    end = len(body) - 8  # the end mark
    at = random.randrange(end - batch.body.size, end)
    flipped = body[:at] + bytes([body[at] ^ 1 << random.randrange(8)]) + body[at + 1 :]
    return random.choice((flipped, flipped, flipped, body[:end], body + bytes(8), body[: end - 8], b""))


def mutants(seed: int, count: int, bundles: list[Path]) -> Iterator[tuple[str, bytes]]:
    """That many mutations of bundles, the same ones for the same seed."""
    random = Random(seed)
    parts = [(bundle.read_bytes(), Sealed.of(bundle)) for bundle in bundles]
    made = 0
    while made < count:
        whole, sealed = random.choice(parts)
        kind = random.random()
        if kind < 0.2:
            mutant, how = changed_bytes(random, whole), "bytes"
        elif kind < 0.3:
            mutant, how = changed_files(random, sealed.files), "files"
        else:
            changed = deepcopy(sealed)
            how = changed_log(random, changed)
            try:
                mutant = changed.seal()
            except (KeyError, TypeError, ValueError, AssertionError, OverflowError):
                continue  # what it names is not there, so that there is no such bundle
        if mutant != whole:
            made += 1
            yield how, mutant


def disagreements(seed: int, count: int, folder: Path) -> Iterator[tuple[str, str, str, bytes]]:
    """Runs both verifiers on each; yields (how, our finding, theirs, the bundle) where they disagree."""
    bundles = [bundle_of(log, folder / f"{number}.tar") for number, log in enumerate((HISTORY, CORRECTED))]
    for how, mutant in mutants(seed, count, bundles):
        path = folder / "mutant.tar"
        path.write_bytes(mutant)
        ours, theirs = finding_of(path), refusal_of(path)
        if (ours is None) != (theirs is None):
            yield how, str(ours), str(theirs), mutant


def finding_of(path: Path) -> str | None:
    """What we find first in a bundle."""
    try:
        finding = report_of(path).finding
    except FormatError as error:  # the archive cannot even be opened, which the command tells
        return str(error)
    return None if finding is None else f"{finding} at leaf {finding.where.leaf_index} {finding.where.log}"


def refusal_of(path: Path) -> str | None:
    """Why the second verifier refuses a bundle; it refuses by whatever it stumbles over."""
    try:
        verifier.verify(path, VKEY)
    except Exception as error:  # noqa: BLE001 - as it says
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 1
    told: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for how, ours, theirs, mutant in disagreements(seed, count, Path(folder)):
            told[how] += 1
            sys.stdout.write(f"{how}: ours {ours}; theirs {theirs}\n")
            if sys.argv[3:]:
                Path(sys.argv[3], f"{sum(told.values())}.tar").write_bytes(mutant)
    sys.stdout.write(f"{count} mutations of seed {seed}: the verifiers disagree on {sum(told.values())}.\n")
    sys.exit(bool(told))


if __name__ == "__main__":
    main()
