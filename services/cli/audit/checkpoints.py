"""Commands of `moiety log` about what was signed of a pool's log, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.audit.options import (
    Key,
    KeyChanges,
    OptionalKey,
    Out,
    PolicyFile,
    Witnesses,
    holding,
    key_changes,
    log_key,
    read_file,
    witness_policies,
)
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document
from services.cli.base.exits import InputError
from services.cli.base.local import local_command
from services.cli.base.output import Output, counted, details, table, write_bytes, write_file

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id, or `registry`.")]


@client_command
def checkpoint(
    session: Session,
    pool: Pool,
    min_size: Annotated[
        int, typer.Option(metavar="N", min=0, help="The first checkpoint of at least N leaves (default: the last one).")
    ] = 0,
    key: OptionalKey = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it to this file (default: stdout).")] = None,
) -> None:
    """Print the last checkpoint signed of a pool's log, with its cosignatures: a C2SP signed note, byte for byte."""
    from ledger.log.checkpoint import open_checkpoint

    found = session.client.get_checkpoint(pool, min_size=min_size)
    if key:
        with holding("checkpoint"):
            open_checkpoint(found.note, log_key(key, found.note))
    if out:
        write_file(out, found.note)
    if out or session.output.as_json:
        session.output.show(document(found), f"{found.size} leaves, in {out}")
        return
    write_bytes(found.note)


@client_command
def checkpoints(session: Session, pool: Pool) -> None:
    """List the checkpoints signed of a pool's log."""
    found = [document(each) for each in session.client.list_checkpoints(pool)]
    rows = [(each["size"], each["create_time"], len(each["cosignatures"]), each["verifier_key"]) for each in found]
    session.output.show(
        found, table(["Leaves", "Signed", "Cosignatures", "Key"], rows, right=["Leaves", "Cosignatures"])
    )


@client_command
def proof(
    session: Session,
    pool: Pool,
    index: Annotated[int, typer.Argument(metavar="INDEX", min=0, help="The leaf's place in the log.")],
    out: Out,
    key: OptionalKey = None,
) -> None:
    """Write the proof that a leaf is in the log of the last checkpoint: a C2SP tlog-proof, without the entry."""
    from ledger.log.proof_files import LogProof

    found = session.client.get_inclusion_proof(pool, index)
    made = LogProof(found.leaf_index, tuple(found.hashes), found.checkpoint.note)
    if key:
        with holding("proof"):
            made.verify(found.leaf_hash, log_key(key, made.checkpoint))
    write_file(out, made.to_bytes())
    session.output.show(
        document(found),
        details([("leaf", index), ("leaf hash", found.leaf_hash.hex()), ("checkpoint", found.checkpoint.size)]),
    )


@client_command
def consistency(
    session: Session,
    pool: Pool,
    old_size: Annotated[int, typer.Argument(metavar="OLD", min=0, help="The smaller size.")],
    new_size: Annotated[
        int,
        typer.Argument(metavar="NEW", min=0, help="The larger size (default: that of the last checkpoint)."),
    ] = 0,
) -> None:
    """Print the proof that a pool's log of one size extends that of another, after checking it."""
    from ledger.log.merkle import verify_consistency

    found = session.client.get_consistency_proof(pool, old_size, new_size)
    with holding("consistency proof"):
        verify_consistency(found.old_size, found.new_size, found.old_root, found.new_root, found.hashes)
    shown = [("old size", found.old_size), ("old root", found.old_root.hex())]
    shown += [("new size", found.new_size), ("new root", found.new_root.hex())]
    hashes = [("proof" if place == 0 else "", each.hex()) for place, each in enumerate(found.hashes)]
    session.output.show(document(found), details([*shown, *hashes]))


@local_command
def verify_proof(
    output: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A C2SP tlog-proof.")],
    key: Key,
    leaf_hash: Annotated[
        str | None,
        typer.Option(
            metavar="HEX", help="The leaf's hash, as a receipt has it. Else the proof must contain the entry."
        ),
    ] = None,
    witness: Witnesses = None,
    witness_policy: PolicyFile = None,
    key_change: KeyChanges = None,
) -> None:
    """Check offline that a leaf is in the log of a signed checkpoint."""
    from ledger.log import merkle
    from ledger.log.key_changes import LogKeys
    from ledger.log.proof_files import LogProof
    from ledger.log.witness_policy import NONE, require_quorum, witnesses_of

    try:
        wanted = bytes.fromhex(leaf_hash) if leaf_hash else None
    except ValueError:
        raise InputError.of("leaf-hash", "is not hexadecimal") from None
    with holding(str(file)):
        found = LogProof.parse(read_file(file, "file"))
        trusted = log_key(key, found.checkpoint)
        policies = witness_policies(trusted, witness, witness_policy)
        if wanted is None and not found.extra:
            raise InputError.of("leaf-hash", "is required: the proof does not contain the entry")
        shown = wanted or merkle.leaf_hash(found.extra)
        if found.extra and merkle.leaf_hash(found.extra) != shown:
            raise InputError.of("leaf-hash", "is not that of the entry in the proof")
        keys = LogKeys.of(trusted, key_changes(key_change))
        signed = found.verify(shown, keys.key_of(found.checkpoint), witnesses=witnesses_of(policies))
        witnessed = any(each.quorum != NONE for each in policies)
        keys.require(found.checkpoint, signed.checkpoint, lambda _: witnessed)
        require_quorum(signed.note, policies)
    stated = signed.checkpoint
    output.show(
        {
            "index": found.index,
            "leaf_hash": shown.hex(),
            "origin": stated.origin,
            "size": stated.size,
            "root": stated.root.hex(),
            "entry": found.extra.decode(errors="replace") if found.extra else None,
        },
        f"HOLDS: leaf {found.index} is in the log {stated.origin} of {stated.size} leaves.",
    )


@local_command
def adopt(output: Output, pool: Pool) -> None:
    """Let the signer continue from the database's last checkpoint, if its folder has lost its copy.

    Only if nothing newer was ever signed: otherwise the log forks, and whoever has the newer one can prove it.
    """
    from ledger.store.logs.log import REGISTRY
    from ledger.store.pools.pools import get_pool
    from services.process.host import signing_parts
    from services.settings import load_settings

    with signing_parts(load_settings()) as (database, signing):
        with database.transaction() as connection:
            ref = REGISTRY if pool == REGISTRY.name else get_pool(connection, pool).ref
        adopted = signing.signer.adopt(ref)
    output.show(
        {"pool": pool, "size": adopted.size},
        f"The signer continues from the checkpoint of {counted(adopted.size, 'leaf', 'leaves')}.",
    )
