"""`moiety usage`: submitting usage files, and finding events."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from moiety import IdScheme, MoietyError, ShareBasis, count_events, event_id_of, ordered_event_id_of, read_usage
from moiety.sizes import EVENTS_PER_BATCH, EVENTS_PER_BATCH_MAX
from moiety.v1.usage_pb2 import Receipt
from services.cli.audit.options import OptionalKey, Out, holding, log_key
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.exits import Exit, InputError
from services.cli.base.output import counted, details, report, table, write_file
from services.cli.pools.submissions import failure_lines

app = typer.Typer(help="Usage of generated works.", no_args_is_help=True)

_STANDARD_INPUT: Final = Path("-")
_PANEL: Final = "Content Telemetry"

_EVENT: Final = "by its UUID, or the id in your file; where ids are ordered, ID@TIME with its occurred_at"

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]


@app.command("submit")
@client_command
def submit(
    session: Session,
    pool: Pool,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Arrow, Parquet, CSV, NDJSON or JSON; text may be compressed (gz, bz2, zst). - is standard input.",
        ),
    ],
    method: Annotated[str, typer.Option(metavar="METHOD", help="The id of the method that computed the shares.")],
    batch_id: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="Name batches PREFIX-0, PREFIX-1 and so on.")
    ] = None,
    events_per_batch: Annotated[
        int, typer.Option(metavar="N", min=1, max=EVENTS_PER_BATCH_MAX, help="Events in a batch.")
    ] = EVENTS_PER_BATCH,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Have the service check everything and record nothing.")
    ] = False,
    telemetry: Annotated[
        bool, typer.Option("--telemetry", help="The file contains Content Telemetry.", rich_help_panel=_PANEL)
    ] = False,
    domains: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="A file with the domains of each collective (default: those that the service has).",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    by: Annotated[
        ShareBasis | None,
        typer.Option(
            help="What shares are computed from (default: what METHOD is named after, or grounded-characters).",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
) -> None:
    """Submit a file of usage events in batches. Safe to repeat: an event with the same id is recorded once.

    The id is the event_id of a row, or made of its id (`moiety usage ids` says how).

    With --telemetry, a file of Content Telemetry 1.0 (sessions, events, event batches): a usage event for each
    completed turn. Invalid documents are refused and the others recorded; the command then exits with status 2.
    """
    if telemetry:
        _submit_telemetry(session, pool, file, method, (batch_id, events_per_batch, dry_run), domains, by)
        return
    for name, value in (("domains", domains), ("by", by)):
        if value is not None:
            raise InputError.of(name, "needs --telemetry")
    with _reported(session, "row"):
        total = count_events(file) if file.is_file() else None  # counting would consume the start of a pipe
        with session.output.progress(file.name, total, "events") as bar:
            receipts = session.client.submit_usage(
                pool,
                read_usage(_input(file)),
                method,
                events_per_batch=events_per_batch,
                batch_id=batch_id,
                validate_only=dry_run,
                progress=bar.advance,
            )
    session.output.show(
        _receipts_document(receipts, dry_run),
        *([_receipts(receipts)] if receipts and not dry_run else []),
        _receipts_summary(receipts, dry_run),
        *_unclaimed(receipts),
    )


def _submit_telemetry(
    session: Session,
    pool: str,
    file: Path,
    method: str,
    batches: tuple[str | None, int, bool],
    domains: Path | None,
    by: ShareBasis | None,
) -> None:
    from services.cli.pools import telemetry

    batch_id, events_per_batch, dry_run = batches
    basis = telemetry.basis_of(by, method)
    with _reported(session, "turn"), session.output.progress(file.name, None, "turns") as bar:
        submitted = session.client.submit_telemetry(
            pool,
            _input(file),
            method,
            by=basis,
            domains=telemetry.read_domains(domains) if domains else None,
            events_per_batch=events_per_batch,
            batch_id=batch_id,
            validate_only=dry_run,
            progress=bar.advance,
        )
    session.output.show(
        {
            **telemetry.summary_document(submitted, basis),
            **_receipts_document(submitted.receipts, dry_run),
        },
        *([_receipts(submitted.receipts)] if submitted.receipts and not dry_run else []),
        *([telemetry.refused_table(submitted.refused)] if submitted.refused else []),
        *telemetry.summary(submitted, basis),
        _receipts_summary(submitted.receipts, dry_run),
        *_unclaimed(submitted.receipts),
    )
    if submitted.refused:
        raise typer.Exit(Exit.BAD_INPUT)


@app.command("retract")
@client_command
def retract(
    session: Session,
    pool: Pool,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="Your own id for the request; a repeat changes nothing.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    batch: Annotated[str, typer.Option(metavar="BATCH_ID", help="A batch of yours to retract as a whole.")] = "",
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT", help=f"An event to retract, {_EVENT}; repeatable."),
    ] = None,
) -> None:
    """Retract a batch, or single events. Their weight is subtracted in the round that the retraction falls in."""
    event_ids = [_event_id(session, pool, text) for text in event or ()]
    found = session.client.retract_usage(
        pool, request_id=request_id, reason=reason, batch_id=batch, event_ids=event_ids
    )
    rows = [(identity(each.batch), each.leaf_index, len(each.positions)) for each in found]
    count = sum(len(each.positions) for each in found)
    session.output.show(
        [document(each) for each in found],
        *([table(["Batch", "Leaf", "Events"], rows, right=["Leaf", "Events"])] if found else []),
        f"{counted(count, 'event')} retracted."
        if found
        else "Nothing to retract: all of these events were already retracted.",
    )


@app.command("proof")
@client_command
def proof(
    session: Session,
    pool: Pool,
    batch: Annotated[str, typer.Argument(metavar="PLATFORM~BATCH_ID", help="The batch, as named in its receipt.")],
    out: Out,
    key: OptionalKey = None,
) -> None:
    """Write the proof that a batch is in the log of the last checkpoint: a C2SP tlog-proof with its entry."""
    from ledger.log.merkle import leaf_hash
    from ledger.log.proof_files import LogProof

    platform, _, batch_id = batch.partition("~")
    found = session.client.get_batch_proof(pool, platform, batch_id)
    if key:
        with holding("proof"):
            proof = LogProof.parse(found.tlog_proof)
            proof.verify(leaf_hash(found.entry), log_key(key, proof.checkpoint))
    write_file(out, found.tlog_proof)
    shown = [("leaf", found.leaf_index), ("leaf hash", leaf_hash(found.entry).hex())]
    session.output.show(document(found), details([*shown, ("checkpoint", found.checkpoint_size), ("proof in", out)]))


@app.command("find")
@client_command
def find(
    session: Session,
    pool: Pool,
    event: Annotated[str, typer.Argument(metavar="EVENT", help=f"The event, {_EVENT}.")],
    platform: Annotated[
        str | None, typer.Option(metavar="PLATFORM", help="The event's platform; platforms may leave it out.")
    ] = None,
) -> None:
    """Find the batch that recorded an event, and the event in it."""
    found = session.client.find_event(pool, _event_id(session, pool, event, platform), platform=platform)
    shown = document(found.event)
    shares = [(share.collective_id, share.share_nano) for share in found.event.shares]
    session.output.show(
        document(found),
        details(
            [
                ("batch", identity(found.batch)),
                ("leaf", found.leaf_index),
                ("position", found.position),
                *((name, shown[name]) for name in ("event_id", "work_id", "occurred_at", "units", "mode")),
            ]
        ),
        table(["Collective", "Share (billionths)"], shares, right=["Share (billionths)"]),
    )


@app.command("list")
@client_command
def list_(session: Session, pool: Pool) -> None:
    """List a pool's batches in log order. A platform sees its own."""
    receipts = list(session.client.list_batches(pool))
    session.output.show([document(receipt) for receipt in receipts], _receipts(receipts))


@app.command("refused")
@client_command
def refused(
    session: Session,
    pool: Pool,
    platform: Annotated[
        str | None, typer.Option(metavar="PLATFORM", help="The platform; platforms may leave it out.")
    ] = None,
) -> None:
    """List the batches that were refused in the last 30 days, and why, the latest first."""
    found = [document(each) for each in session.client.list_refused_batches(pool, platform=platform)]
    rows = [(each["batch_id"], each["refused_count"], each["refuse_time"], each["error"]["message"]) for each in found]
    session.output.show(found, table(["Batch", "Times", "Last", "Why"], rows, right=["Times"]))


@app.command("ids")
@client_command
def ids(
    session: Session,
    pool: Pool,
    fix: Annotated[
        IdScheme | None,
        typer.Option(
            "--set", case_sensitive=False, show_default=False, help="Fix it for ever, before the first batch."
        ),
    ] = None,
    platform: Annotated[
        str | None, typer.Option(metavar="PLATFORM", help="The platform; platforms may leave it out.")
    ] = None,
) -> None:
    """Show, or fix, what the ids of a platform's events in a pool are made from.

    OWN (default): its own id alone, so that the same id with another time is a duplicate. ORDERED: its own id and
    the time to the millisecond, which costs the service less; the same id with another time then counts twice.
    """
    if fix is None:
        found = session.client.get_id_scheme(pool, platform=platform)
    else:
        found = session.client.set_id_scheme(pool, fix)
    shown = document(found)
    names = ("platform", "id_scheme", "is_fixed", "leaf_index")
    session.output.show(shown, details([(name.replace("_", " "), shown[name]) for name in names]))


def _event_id(session: Session, pool: str, text: str, platform: str | None = None) -> str:
    """Returns the id that the service knows an event by, given one of the forms in `_EVENT`."""
    if session.client.id_scheme(pool, platform=platform) is IdScheme.OWN:
        return str(event_id_of(text))
    own_id, _, time = text.rpartition("@")
    if not own_id:
        return text
    try:
        return str(ordered_event_id_of(own_id, datetime.fromisoformat(time)))
    except ValueError as error:
        raise InputError.of("event", f"{text!r} is not in the form ID@TIME: {error}") from None


def _input(file: Path) -> Path | BinaryIO:
    """Returns the named file, or standard input for `-`."""
    return sys.stdin.buffer if file == _STANDARD_INPUT else file


@contextmanager
def _reported(session: Session, unit: str) -> Iterator[None]:
    """Report what a failed submission recorded, and what is wrong in which row."""
    try:
        yield
    except MoietyError as error:
        lines = failure_lines(error, unit)
        raise typer.Exit(report(error, as_json=session.output.as_json, people=lines)) from None


def _receipts_document(receipts: list[Receipt], dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "accepted_count": sum(receipt.accepted_count for receipt in receipts),
        "duplicate_count": sum(receipt.duplicate_count for receipt in receipts),
        "batches": [document(receipt) for receipt in receipts],
    }


def _receipts_summary(receipts: list[Receipt], dry_run: bool) -> str:
    accepted = sum(receipt.accepted_count for receipt in receipts)
    duplicates = sum(receipt.duplicate_count for receipt in receipts)
    batches = counted(len(receipts), "batch", "batches")
    if dry_run:
        return (
            f"{counted(accepted, 'event')} would be accepted, {counted(duplicates, 'duplicate')} left out; {batches}."
            " Nothing was recorded."
        )
    return f"{counted(accepted, 'event')} accepted, {counted(duplicates, 'duplicate')} left out; {batches}."


def _unclaimed(receipts: list[Receipt]) -> Iterator[str]:
    """What fell to nobody, and which sources a membership has in another spelling."""
    nobody = sum(int(receipt.unattributed_nano or 0) for receipt in receipts)
    total = nobody + sum(int(receipt.attributed_nano or 0) for receipt in receipts)
    if 2_000 * nobody >= total > 0:  # what a rounded share leaves over is not worth a line
        yield f"{100 * nobody / total:.1f} % of it is nobody's."
    nearly = {each.source: each.known for receipt in receipts for each in receipt.nearly_known_sources}
    for source, known in nearly.items():
        yield f"The source {source!a} is nobody's; the membership has {known!a}, which is another spelling of it."


def _receipts(receipts: list[Receipt]) -> object:
    rows = [
        (
            identity(receipt.name),
            receipt.leaf_index,
            receipt.accepted_count,
            receipt.duplicate_count,
            f"{identity(receipt.method)} v{receipt.method_version}",
            document(receipt)["create_time"],
        )
        for receipt in receipts
    ]
    columns = ["Batch", "Leaf", "Accepted", "Duplicates", "Method", "Logged"]
    return table(columns, rows, right=["Leaf", "Accepted", "Duplicates"])
