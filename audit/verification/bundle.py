"""Verification: checks everything that a bundle claims with one public key and nothing else.

The entries are read first, for the root and to know where rounds end. Then one fold over them checks all the rest: a
batch's body is read once, and once more for each retraction from it. Nothing here opens a file: `Files` provides them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Final

from audit.batches.means import Means
from audit.files.in_order import InOrder
from audit.files.static_log import StaticLog
from audit.findings import Finding, FoundError, Where, file_finding
from audit.progress import Progress
from audit.signatures import Trust, signed_by, signers_of
from audit.steps import Step
from audit.verification.consequence import Consequences
from audit.verification.entries import EntryPass
from audit.verification.leaves import Scene, check_leaves
from audit.verification.named import Named, named_in
from audit.verification.registry import check_registry_leaves
from audit.verification.report import Report
from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import (
    CHECKPOINT,
    REGISTRY_FOLDER,
    ArchivedFiles,
    Files,
)
from ledger.log.checkpoint import Checkpoint, read_checkpoint
from ledger.log.key_changes import KeyChange, LogKeys, Reason
from ledger.log.note_keys import VerifierKey
from ledger.log.notes import MAX_NOTE_BYTES
from ledger.log.origins import REGISTRY_LOG, log_origin, split_origin
from ledger.log.witness_policy import WitnessPolicy


@dataclass(frozen=True, slots=True)
class Older:
    """A checkpoint that was kept: its note, what people call it, such as its file, and the registry's, if any."""

    name: str
    note: bytes
    registry_note: bytes | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What to verify a bundle with.

    Attributes:
        key: the log's own; its name is the log's origin. The registry's key is the same under another name.
        since: older checkpoints.
        witnesses: policies about who must have cosigned the checkpoint; none for those that the registry's log names.
        rounds: the rounds to recompute, None for all of them.
        keep_going: whether to go on after a finding, as far as what is left can be checked.
        changes: changes of the deployment's key that are known beside those in the registry's log.
    """

    key: VerifierKey
    since: tuple[Older, ...] = ()
    witnesses: tuple[WitnessPolicy, ...] = ()
    rounds: frozenset[int] | None = None
    keep_going: bool = False
    changes: tuple[KeyChange, ...] = ()

    def trust(self, key: VerifierKey, named: Named) -> Trust:
        """Returns what is known of the keys of a log, and who must have cosigned.

        Raises:
            FormatError: the changes that were given are not one chain that the key is part of.
        """
        changes = list(dict.fromkeys((*self.changes, *named.changes)))
        try:
            keys = LogKeys.of(key, changes)
        except FormatError:
            keys = LogKeys.of(key, self.changes)  # those in the log are of another key: the signature shows it
        if self.witnesses:
            return Trust(keys, self.witnesses)
        latest = named.witnesses()
        before = {change: self._named_before(change, named) for change in changes}
        known = {change: policy for change, policy in before.items() if policy is not None}
        return Trust(keys, () if latest is None else (latest,), known)

    def kept_before(self, change: KeyChange) -> int | None:
        """The largest size of the registry's log, of those that were kept, that the old key signed; None without."""
        last = change.last(log_origin(change.old.name, REGISTRY_LOG))
        kept = [] if last is None else [size for size in self._kept_sizes() if size <= last.size]
        return max(kept, default=None)

    def _named_before(self, change: KeyChange, named: Named) -> WitnessPolicy | None:
        """The witnesses in force when a key was lost or stolen: a thief may have named others since."""
        last = change.last(log_origin(change.old.name, REGISTRY_LOG))
        kept = self.kept_before(change)
        return named.witnesses((last.size if last else 0) if kept is None else kept)

    def _kept_sizes(self) -> Iterator[int]:
        for each in self.since:
            for note in (each.note, each.registry_note or b""):
                try:
                    checkpoint, _ = read_checkpoint(note)
                except FormatError:
                    continue
                if (split_origin(checkpoint.origin) or ("", ""))[1] == REGISTRY_LOG:
                    yield checkpoint.size


def verify(files: Files, asked: Asked, means: Means) -> Generator[Progress, None, Report]:
    """Check a bundle step by step (`Step`); yields progress, and returns what was checked and found."""
    report = Report(keep_going=asked.keep_going)
    reading = Step.SIGNATURES
    log: StaticLog | None = None
    try:
        # 2. The checkpoints are the log's and the registry's.
        named = _named(files)
        trust = asked.trust(asked.key, named)
        report.checkpoint = checkpoint = _signed_checkpoint(files, CHECKPOINT, trust, report)
        deployment, pool = _log_in(checkpoint)
        if pool == REGISTRY_LOG:
            _tell_changes(files, CHECKPOINT, trust, named, asked, report)
            yield from _verify_registry(files, deployment, checkpoint, trust, asked, report)
            report.finish(None)
            return report
        registry_trust = asked.trust(replace(asked.key, name=log_origin(deployment, REGISTRY_LOG)), named)
        path = REGISTRY_FOLDER + CHECKPOINT
        report.registry = registry_checkpoint = _signed_checkpoint(files, path, registry_trust, report)
        _tell_changes(files, path, registry_trust, named, asked, report)
        report.take(Step.SIGNATURES)

        # 3. and 4. They extend the older ones, and their roots are those of the entries: none is missing or changed.
        reading = Step.CONSISTENCY
        notes = [(each.name, each.note) for each in asked.since]
        older = _older_checkpoints(files, CHECKPOINT, notes, checkpoint, trust, report)
        notes = [(each.name, each.registry_note) for each in asked.since if each.registry_note is not None]
        registry_older = _older_checkpoints(files, path, notes, registry_checkpoint, registry_trust, report)
        reading = Step.ENTRIES
        log = StaticLog(pool, files, checkpoint.size)
        registry = StaticLog(REGISTRY_LOG, files, registry_checkpoint.size, REGISTRY_FOLDER)
        order = _order_of(files, report)
        yield from EntryPass(registry, registry_checkpoint, registry_older, report, order).run()
        rounds = yield from EntryPass(log, checkpoint, older, report, order).run()
        _take_entries(asked, report)

        # 5. to 14. What they say, leaf by leaf.
        scene = Scene(deployment, log, registry, order)
        yield from check_leaves(scene, rounds, asked.rounds, means, report)

        # 1. Nothing else is in the archive: only now is it known which files belong there.
        _end_files(order, asked, report)
    except FoundError as found:
        report.add(found.finding)
    except (FormatError, NotFoundError) as error:
        report.add(file_finding(error, reading))
    report.finish(Consequences(log) if log is not None else None)
    return report


def _verify_registry(
    files: Files, deployment: str, checkpoint: Checkpoint, trust: Trust, asked: Asked, report: Report
) -> Generator[Progress, None, None]:
    """Check a bundle of the registry's log alone: the steps that it has."""
    report.registry = checkpoint
    report.take(Step.SIGNATURES)
    notes = [(each.name, each.note) for each in asked.since]
    older = _older_checkpoints(files, CHECKPOINT, notes, checkpoint, trust, report)
    log = StaticLog(REGISTRY_LOG, files, checkpoint.size)
    order = _order_of(files, report)
    yield from EntryPass(log, checkpoint, older, report, order).run()
    _take_entries(asked, report)
    check_registry_leaves(deployment, log, report)
    for step in _OF_POOLS:
        report.skipped[step] = "the registry has none"
    _end_files(order, asked, report)


_OF_POOLS: Final = (
    Step.BATCHES, Step.WEIGHTS, Step.EVENTS, Step.ROUNDS, Step.POSTINGS, Step.BALANCES, Step.CONSERVATION,
)  # fmt: skip
"""What only pools' logs have."""


def _order_of(files: Files, report: Report) -> InOrder | None:
    """The order of an archive's files, of which the checkpoint is the first; a folder has none."""
    if not isinstance(files, ArchivedFiles):
        return None
    order = InOrder(files)
    with report.noting():
        order.take(CHECKPOINT)
    return order


def _take_entries(asked: Asked, report: Report) -> None:
    report.take(Step.ENTRIES)
    if asked.since:
        report.take(Step.CONSISTENCY)
    else:
        report.skipped[Step.CONSISTENCY] = "no older checkpoint was given"


def _log_in(checkpoint: Checkpoint) -> tuple[str, str]:
    """The deployment's origin and the name of the pool, or the registry's."""
    found = split_origin(checkpoint.origin)
    if found is None:
        expected = "one that names a pool or the registry"
        raise FoundError(Finding(Where(file=CHECKPOINT), "origin", checkpoint.origin, expected, Step.SIGNATURES))
    return found


def _end_files(order: InOrder | None, asked: Asked, report: Report) -> None:
    if order is None:
        report.skipped[Step.FILES] = "a folder may contain other files too"
        return
    if asked.rounds is None:
        with report.noting():
            order.finish()
    else:
        report.skipped[Step.FILES] = "the order of bodies needs all rounds"
    report.count(Step.FILES, "files", order.count)
    report.take(Step.FILES)


def _named(files: Files) -> Named:
    """Whom the registry's log names, which lies in a folder beside a pool's."""
    for folder in (REGISTRY_FOLDER, ""):
        try:
            size = read_checkpoint(files.read(folder + CHECKPOINT, bytes_max=MAX_NOTE_BYTES))[0].size
        except (FormatError, NotFoundError):
            continue
        return named_in(StaticLog(REGISTRY_LOG, files, size, folder))
    return Named()


def _signed_checkpoint(files: Files, path: str, trust: Trust, report: Report) -> Checkpoint:
    note = files.read(path, bytes_max=MAX_NOTE_BYTES)
    try:
        opened = signed_by(note, trust, path, Step.SIGNATURES)
    except FoundError as found:
        report.note(found.finding)
        return _unsigned(note, found)
    is_pools = path == CHECKPOINT
    counted = "signatures" if is_pools else "registry signatures"
    report.signers += signers_of(opened.note, "pool" if is_pools else "registry")
    report.count(Step.SIGNATURES, counted, len(opened.note.verified))
    if opened.note.unknown:
        report.count(Step.SIGNATURES, "unknown signatures", len(opened.note.unknown))
    return opened.checkpoint


def _tell_changes(files: Files, path: str, trust: Trust, named: Named, asked: Asked, report: Report) -> None:
    """Check that the registry's log has the changes that led to the key that signs it, and say which there were."""
    place, logged = trust.keys.signer(files.read(path, bytes_max=MAX_NOTE_BYTES)), set(named.changes)
    if path != CHECKPOINT and trust.keys.signer(files.read(CHECKPOINT, bytes_max=MAX_NOTE_BYTES)) > place:
        key, expected = str(trust.keys.keys[place]), "the key that signed the pool's log, or a later one"
        report.note(Finding(Where(file=path), "signature", f"one by {key}", expected, Step.SIGNATURES))
    for number, change in enumerate(trust.keys.changes[:place]):
        if change not in logged:
            expected = f"a leaf of the registry's log that names {change.new}"
            report.note(Finding(Where(file=path), "keychange.v1", "none", expected, Step.SIGNATURES))
        said = f"the signing key {change.old.key_id.hex()} was replaced by {change.new.key_id.hex()} ({change.reason})"
        if number >= trust.keys.trusted and change.reason is Reason.ROTATED and not trust.witnessed:
            said += ", by the word of the old key alone: whoever had stolen it could have done so too"
        if number >= trust.keys.trusted and change in trust.before and asked.kept_before(change) is None:
            said += ", by the word of witnesses whom this log itself names: compare it with a bundle from before"
        report.warnings.append(said)


def _unsigned(note: bytes, found: FoundError) -> Checkpoint:
    """What a note says that was not signed as it must be: the rest is checked against it all the same."""
    try:
        return read_checkpoint(note)[0]
    except FormatError:
        raise found from None


def _older_checkpoints(
    files: Files, path: str, notes: list[tuple[str, bytes]], checkpoint: Checkpoint, trust: Trust, report: Report
) -> list[tuple[str, Checkpoint]]:
    """The checkpoints that this log must extend: those in these notes, and the last ones of keys that were replaced.

    `path` is that of its own checkpoint. Each is given with the name of its file.
    """
    kept = []
    for name, note in notes:
        with report.noting():
            older = signed_by(note, trust, name, Step.CONSISTENCY, older=True).checkpoint
            _require_room(name, older, checkpoint)
            kept.append((name, older))
    note = files.read(path, bytes_max=MAX_NOTE_BYTES)
    for last in trust.keys.ends(note, checkpoint.origin):
        with report.noting():
            _require_room("key change", last, checkpoint)
            kept.append(("key change", last))
    return kept


def _require_room(name: str, older: Checkpoint, checkpoint: Checkpoint) -> None:
    if older.size > checkpoint.size:
        expected = f"{older.size} leaves or more: this bundle is older than the checkpoint"
        raise FoundError(Finding(Where(file=name), "size", f"{checkpoint.size} leaves", expected, Step.CONSISTENCY))
