"""`moiety verify`: checks a bundle offline. All its imports besides the command line are pure, without a network."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from services.cli.audit.options import (
    Key,
    KeyChanges,
    PolicyFile,
    Witnesses,
    key_changes,
    log_key,
    read_file,
    read_kept,
    witness_policies,
)
from services.cli.audit.statement import STATEMENT_BYTES, refuse_options, verify_statement
from services.cli.base.exits import Exit, InputError
from services.cli.base.output import Output, report

if TYPE_CHECKING:
    from audit.batches.means import Means
    from audit.batches.sample import Sample
    from audit.progress import Progress
    from audit.verification.bundle import Older
    from audit.verification.report import Report
    from ledger.files.layout import Files
    from ledger.log.key_changes import KeyChange
    from ledger.log.note_keys import VerifierKey
    from ledger.log.witness_policy import WitnessPolicy
    from services.cli.audit.verdict import PageFile
    from services.process.weighers import ReadBodies

T = TypeVar("T")

_ROUNDS: Final = "3,5-7"

AHEAD_EACH: Final = 3
"""Batches under way for each thread: whoever hands them out now and then has more to do than weighing one takes."""


def verify(
    bundle: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A bundle, the folder of an export, or a statement file; with --only-batch a proof."
        ),
    ],
    key: Key,
    *,
    since: Annotated[
        list[Path] | None,
        typer.Option(metavar="CHECKPOINT", help="An older checkpoint or bundle that you kept: the log must extend it."),
    ] = None,
    rounds: Annotated[
        str, typer.Option(metavar="LIST", help=f"Recompute only these rounds, such as {_ROUNDS} (default: all).")
    ] = "",
    witness: Witnesses = None,
    witness_policy: PolicyFile = None,
    key_change: KeyChanges = None,
    only_batch: Annotated[
        Path | None,
        typer.Option(metavar="BODY", help="Check your own receipt: the batch that you sent, with its proof as BUNDLE."),
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=10_000, help="Draw this many events to compare with a platform's records."
        ),
    ] = 0,
    seed: Annotated[
        str, typer.Option(metavar="TEXT", help="What they are drawn by: the same text gives anyone the same events.")
    ] = "",
    records: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST", help="A platform's own record ids, one on each line: shows which each drawn event is of."
        ),
    ] = None,
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE.html", help="Write it as a page too, to be filed or printed: all in one file."
        ),
    ] = None,
    keep_going: Annotated[
        bool | None,
        typer.Option(
            "--keep-going/--first-only",
            help="List all that does not hold, or only the first (default: the first; all with --json and --report).",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, max=16, help="Batches to weigh at the same time.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")] = False,
) -> None:
    """Check a bundle offline, with only a public key: the log only grew, nothing was left out, and every round and
    balance follows from it. Of a statement file: that a collective's line is the committed one, and follows.

    Exits with status 0 only if all checks passed, and with status 1 and what failed otherwise.
    """
    from services.cli.audit.verdict import PageFile

    output = Output(as_json)
    try:
        trust = Trust(key, witness, witness_policy, key_change)
        if is_statement(bundle):
            refuse_options(
                since=since, rounds=rounds, only_batch=only_batch, sample=sample, seed=seed, report=report_file,
                records=records,
            )  # fmt: skip
            holds = verify_statement(output, read_file(bundle, "bundle", STATEMENT_BYTES), trust)
        elif only_batch is not None:
            if report_file is not None:
                raise InputError.of("report", "is of a bundle, and not of one batch")
            holds = _check_receipt(output, bundle, only_batch, trust)
        else:
            kept = tuple(read_kept(path) for path in since or ())
            chosen = parse_rounds(rounds) if rounds else None
            drawn = _sample(sample, seed)
            if records and drawn is None:
                raise InputError.of("records", "goes with --sample")
            every = as_json or report_file is not None if keep_going is None else keep_going
            filed = None if report_file is None else PageFile(report_file, bundle)
            wanted = Wanted(kept, chosen, drawn, threads, every, filed, tuple(records or ()))
            holds = _check_bundle(output, bundle, trust, wanted)
    except InputError as error:
        raise typer.Exit(report(error, as_json=as_json)) from None
    raise typer.Exit(Exit.OK if holds else Exit.DOES_NOT_HOLD)


@dataclass(frozen=True, slots=True)
class Trust:
    """The signatures that a verification requires, as named on the command line."""

    key: str
    witnesses: list[str] | None
    witness_policy: Path | None
    key_changes: list[Path] | None

    def about(self, note: bytes) -> tuple[VerifierKey, tuple[WitnessPolicy, ...], tuple[KeyChange, ...]]:
        """Returns the key of this checkpoint's log, who must have cosigned, and the changes of the key.

        Raises:
            InputError: the command line does not name keys, or not those of this log.
        """
        key = log_key(self.key, note)
        changes = key_changes(self.key_changes)
        return key, witness_policies(key, self.witnesses, self.witness_policy), changes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks of a bundle's verification, beside its signatures."""

    since: tuple[Older, ...]
    rounds: frozenset[int] | None
    sample: Sample | None
    threads: int
    keep_going: bool
    filed: PageFile | None
    records: tuple[Path, ...]


def is_statement(path: Path) -> bool:
    """Whether a file is meant to be a statement file; what cannot be read is not."""
    from audit.files.folders import open_regular
    from audit.statements.file import is_statement_file

    try:
        with open_regular(path) as file:
            return is_statement_file(file.read(64))
    except OSError:
        return False


def _check_bundle(output: Output, bundle: Path, trust: Trust, wanted: Wanted) -> bool:
    from audit.files.archives import open_files
    from audit.findings import file_finding
    from audit.steps import Step
    from audit.verification.bundle import Asked, verify
    from audit.verification.report import Report
    from ledger.errors import FormatError
    from services.cli.audit.verdict import show

    try:
        files = open_files(bundle)
    except OSError as error:
        raise InputError.of("bundle", f"{bundle}: {error.strerror}") from None
    except FormatError as error:
        found = Report()
        found.add(file_finding(error, Step.FILES))
        return show(output, found, filed=wanted.filed)
    with (
        closing(files),
        means_of_machine(wanted.threads, partial(_reading, files), wanted.sample) as means_of,
        output.progress("Verifying", None, "leaves") as bar,
    ):
        key, witnesses, changes = trust.about(_checkpoint_note(files))
        asked = Asked(key, wanted.since, witnesses, wanted.rounds, wanted.keep_going, changes)
        found = _run(verify(files, asked, means_of(None)), lambda step: bar.set(step.leaves, step.leaf_total))
    return show(output, found, wanted.sample, wanted.filed, wanted.records)


def _reading(files: Files) -> AbstractContextManager[ReadBodies]:
    """How another process reads bodies of the files, which it has open too."""
    from ledger.errors import LedgerError
    from ledger.files.layout import body_path

    def read(_: None, digests: Sequence[bytes], bytes_max: int) -> dict[bytes, bytes]:
        found = {}
        for digest in digests:
            with suppress(LedgerError, OSError):
                found[digest] = files.read(body_path(digest), bytes_max=bytes_max)
        return found

    return nullcontext(read)


@contextmanager
def means_of_machine(
    threads: int, reading: Callable[[], AbstractContextManager[ReadBodies]], sample: Sample | None = None
) -> Iterator[Callable[[Any], Means]]:
    """What the check of a log gets of this machine: so many threads, and as many processes that weigh batches, where
    they can be forked; a folder for its records; and memory that is used again.

    The processes read bodies by what `reading` gives them, which knows a log by what is asked for here. To be entered
    before the first thread and the first connection to a database.
    """
    from audit.batches.check import weigh_by
    from audit.batches.means import Means
    from audit.files.spills import SpillFolder
    from services.process.memory import keep_freed_memory
    from services.process.unwinding import unwound
    from services.process.weighers import AHEAD, Weighers

    keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(unwound())
        weighers = None
        if sys.platform == "linux" and sample is None:  # a sample needs all of an event
            weighers = stack.enter_context(Weighers(threads, reading))
        spills, pool = stack.enter_context(SpillFolder()), stack.enter_context(ThreadPoolExecutor(threads))

        def submit(work: Callable[[], T]) -> Callable[[], T]:
            return pool.submit(work).result

        ahead, salt = AHEAD_EACH * threads, secrets.randbits(64)

        def means_of(log: Any) -> Means:
            if weighers is None:
                return Means(spills.new, submit, weigh_by(submit, reads_first=True), ahead, 0, salt, sample)
            return Means(spills.new, submit, weighers.of(log), ahead, AHEAD * threads, salt, sample)

        yield means_of


def _sample(size: int, seed: str) -> Sample | None:
    from audit.batches.sample import Sample

    if bool(size) != bool(seed):
        raise InputError.of("sample", "goes with --seed, and --seed with it")
    return Sample(size, seed) if size else None


def _checkpoint_note(files: Files) -> bytes:
    """Returns the checkpoint in the files, or nothing without one: verifying them reports it."""
    from ledger.errors import FormatError, NotFoundError
    from ledger.files.layout import CHECKPOINT
    from ledger.log.notes import MAX_NOTE_BYTES

    try:
        return files.read(CHECKPOINT, bytes_max=MAX_NOTE_BYTES)
    except (FormatError, NotFoundError):
        return b""


def _check_receipt(output: Output, proof: Path, body: Path, trust: Trust) -> bool:
    from audit.receipt import check_receipt
    from services.cli.audit.verdict import show

    data = read_file(proof, "bundle")
    key, witnesses, changes = trust.about(data.partition(b"\n\n")[2])  # a tlog-proof ends in its checkpoint
    report, _ = check_receipt(data, read_file(body, "only-batch"), key, witnesses, changes)
    return show(output, report)


def _run(steps: Generator[Progress, None, Report], progress: Callable[[Progress], None]) -> Report:
    while True:
        try:
            progress(next(steps))
        except StopIteration as end:
            found: Report = end.value
            return found


def parse_rounds(text: str) -> frozenset[int]:
    """Numbers and ranges of them: `3,5-7`."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and 0 < int(first) <= int(last or first) < 10**9):
            raise InputError.of("rounds", f"must be numbers and ranges such as {_ROUNDS}, got {text[:80]!r}")
        if int(last or first) - int(first) > 100_000:  # noqa: PLR2004
            raise InputError.of("rounds", "names too many rounds")
        chosen.update(range(int(first), int(last or first) + 1))
    return frozenset(chosen)
