"""Commands of `moiety log` about keys and forks, all offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.audit.options import Key, KeyChanges, Out, holding, key_changes, log_key, read_file
from services.cli.base.exits import InputError
from services.cli.base.local import local_command
from services.cli.base.output import Output, details, write_file

if TYPE_CHECKING:
    from ledger.log.key_changes import KeyChange, LogKeys, Reason
    from ledger.log.note_keys import VerifierKey


@local_command
def key(
    output: Output,
    origin: Annotated[
        str,
        typer.Argument(metavar="ORIGIN", help="The deployment's permanent name, like a URL: example.com/moiety."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new file for the secret key.")],
) -> None:
    """Make the key that signs checkpoints, in a new file for MOIETY_SIGNING_KEY_FILE."""
    from services.signing.key_file import generate_key

    made = generate_key(out, origin)
    output.show(
        {"origin": origin, "file": str(out), "verifier_key": str(made.verifier_key)},
        details([("origin", origin), ("secret key in", out)]),
        "Keep the file secret and back it up. `moiety log vkey FILE` prints the public key.",
    )


@local_command
def vkey(
    output: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file with the secret key.")],
    pool: Annotated[
        str | None, typer.Argument(metavar="POOL", help="A pool's id, to print the key of its log instead.")
    ] = None,
    key_change: KeyChanges = None,
) -> None:
    """Print the deployment's public key, to publish where others trust it; every log's key follows from it.

    With --key-change, the keys before it too, and how far each signed.
    """
    from ledger.log.origins import log_origin
    from ledger.registry import require_resource_id
    from services.signing.key_file import read_key

    secret = read_key(file)
    named = secret if pool is None else secret.named(log_origin(secret.name, require_resource_id(pool, "pool")))
    public, changes = named.verifier_key, key_changes(key_change)
    chain = _chain(public, changes)
    shown: dict[str, object] = {"origin": public.name, "verifier_key": str(public)}
    if changes:
        shown["keys"] = [str(each) for each in chain.keys]
        shown["changes"] = [_change_document(change, pool) for change in chain.changes]
    output.show(shown, str(public), *(_replaced(*each, pool) for each in zip(chain.keys, chain.changes, strict=False)))


def _chain(key: VerifierKey, changes: tuple[KeyChange, ...]) -> LogKeys:
    """The keys before one, and after it.

    Raises:
        InputError: the changes are not of this key.
    """
    from ledger.errors import FormatError
    from ledger.log.key_changes import LogKeys

    try:
        return LogKeys.of(key, changes)
    except FormatError as error:
        raise InputError.of("key-change", error.reason) from None


def _change_document(change: KeyChange, pool: str | None) -> dict[str, object]:
    logs = {last.log: last.size for last in change.logs if pool in (None, last.log)}
    return {"reason": change.reason.value, "old": str(change.old), "new": str(change.new), "logs": logs}


def _replaced(key: VerifierKey, change: KeyChange, pool: str | None) -> str:
    """A key that was replaced, and how far it signed."""
    sizes = ", ".join(f"{last.log} {last.size:,}" for last in change.logs if pool in (None, last.log))
    return f"{key}  replaced ({change.reason.value}), counts up to: {sizes or 'nothing of this log'}"


@local_command
def change_key(
    output: Output,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The file with the new secret key: see `moiety log key`.")],
    old: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file with the key that signs (default: the settings').")
    ] = None,
    lost: Annotated[bool, typer.Option("--lost", help="The old key is lost: the new one signs alone.")] = False,
    stolen: Annotated[bool, typer.Option("--stolen", help="The old key was stolen.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the change to this file too, for --key-change.")
    ] = None,
) -> None:
    """Append to the registry's log that a new key signs from now on, and how far the old one signed each log.

    Run it where the signer runs, with the settings of the old key. Both keys sign the change. After a loss or theft
    only the new one does, and for whoever has the old public key it counts with a quorum of the witnesses named before.
    From then on nothing is signed with the old key: start the signer with the new one.
    """
    from ledger.log.key_changes import Reason
    from services.process.host import change_signing_key
    from services.settings import load_settings

    reason = _reason(old=old is not None, lost=lost, stolen=stolen)
    made = change_signing_key(load_settings(), reason, old, new)
    change = made.change
    if out is not None:
        write_file(out, change.to_bytes())
    notes = [f"Start the signer with the new key, and publish the new public key: {change.new}"]
    if reason is not Reason.ROTATED and not made.witnesses_named:
        notes.append("No witnesses were named before: the change counts only for whoever trusts the new public key.")
    output.show(
        {
            "reason": reason, "old": str(change.old), "new": str(change.new), "leaf_index": made.leaf_index,
            "logs": [{"log": last.log, "size": last.size, "root": last.root.hex()} for last in change.logs],
        },
        details([(last.log, f"{last.size:,} leaves under the old key") for last in change.logs]),
        *notes,
    )  # fmt: skip


def _reason(*, old: bool, lost: bool, stolen: bool) -> Reason:
    from ledger.log.key_changes import Reason

    if old + lost + stolen > 1:
        raise InputError.of("old", "cannot be combined: one of --old, --lost and --stolen")
    return Reason.LOST if lost else Reason.STOLEN if stolen else Reason.ROTATED


@local_command
def fork(
    output: Output,
    one: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint of the log.")],
    other: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Another one that contradicts it.")],
    key: Key,
    out: Out,
    consistency: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="The output of `moiety log consistency POOL OLD NEW --json` from where the newer checkpoint is; "
            "required if the sizes differ.",
        ),
    ] = None,
    tiles: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Instead, the tiles of the log with the newer checkpoint."),
    ] = None,
) -> None:
    """Make a file that proves to anyone that a log signed two checkpoints that contradict each other."""
    from ledger.files.tiles import subtree_hash
    from ledger.log.checkpoint import read_checkpoint
    from ledger.log.forks import ForkEvidence, gather_path

    notes = read_file(one, "checkpoint"), read_file(other, "checkpoint")
    with holding("fork"):
        old_size, size = sorted(read_checkpoint(note)[0].size for note in notes)
        path: tuple[bytes, ...] = ()
        if 0 < old_size < size:
            if tiles:
                folder = tiles
                path = gather_path(
                    old_size,
                    size,
                    lambda place: subtree_hash(place, size, lambda tile: read_file(folder / tile.path(), "tiles")),
                )
            elif consistency:
                path = _path_in(consistency, old_size, size)
            else:
                reason = "or --tiles is required: two notes of different sizes are a question to the log, not evidence"
                raise InputError.of("consistency", reason)
        evidence = ForkEvidence.of(*notes, path)
        evidence.verify(log_key(key, evidence.older))
    write_file(out, evidence.to_bytes())
    output.show({"file": str(out), "old_size": old_size, "new_size": size}, f"FORKED: the evidence is in {out}.")


@local_command
def verify_fork(
    output: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Evidence of a fork.")],
    key: Key,
) -> None:
    """Check evidence of a fork, offline. Exits with status 0 if the log did sign two histories."""
    from ledger.log.forks import ForkEvidence

    with holding(str(file)):
        evidence = ForkEvidence.parse(read_file(file, "file"))
        found = evidence.verify(log_key(key, evidence.older))
    older, newer = found.older, found.newer
    output.show(
        {
            "origin": older.origin,
            "old_size": older.size,
            "old_root": older.root.hex(),
            "new_size": newer.size,
            "new_root": newer.root.hex(),
            "old_root_in_new": found.older_root_in_newer.hex(),
        },
        f"FORKED: {older.origin} signed two histories.",
        details(
            [
                (f"signed of {older.size} leaves", older.root.hex()),
                (f"signed of {newer.size} leaves", newer.root.hex()),
                (f"the latter's root at {older.size}", found.older_root_in_newer.hex()),
            ]
        ),
    )


def _path_in(file: Path, old_size: int, size: int) -> tuple[bytes, ...]:
    from ledger.log.forks import contradiction_path

    try:
        found = json.loads(read_file(file, "consistency"))
        sizes = found["old_size"], found["new_size"]
        hashes = tuple(bytes.fromhex(each) for each in found["hashes"])
        old_root = bytes.fromhex(found["old_root"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError.of("consistency", f"{file} is not the output of `moiety log consistency --json`") from None
    if sizes != (old_size, size):
        raise InputError.of("consistency", f"is from {sizes[0]} to {sizes[1]}, not from {old_size} to {size}")
    return contradiction_path(old_size, hashes, old_root)
