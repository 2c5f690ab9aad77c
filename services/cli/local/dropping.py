"""`moiety db drop-events`: when the rows of a closed pool's events may go, and their going."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from audit.files.archives import open_files
from ledger.errors import InvalidInputError, LedgerError, NotFoundError, StateError
from ledger.files.layout import CHECKPOINT
from ledger.log.checkpoint import Checkpoint, read_checkpoint
from ledger.log.notes import MAX_NOTE_BYTES
from ledger.store.logs import checkpoints
from ledger.store.logs.log import PoolRef
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from ledger.store.usage.closing import closing_leaf, drop_events
from payout.store.rounds import latest_posted, posting_leaf
from services.cli.base.output import Output


def drop(output: Output, database: Database, name: str, bundle: Path) -> int:
    """Delete the rows of a closed pool's events; gives how many there were.

    Raises:
        NotFoundError: there is no such pool.
        StateError: the pool is open, or no posted round has taken all of its usage.
        InvalidInputError: the bundle is none of this log that holds all of its usage and that round's posting.
    """
    with database.transaction() as connection:
        pool = pool_ref(connection, name)
        closed = closing_leaf(connection, pool)
        if closed is None:
            raise StateError(f"pools/{name}", "POOL_OPEN", "takes usage; close it first: moiety pool close")
        posted = latest_posted(connection, pool)
        posted_at = posting_leaf(connection, pool, posted.content.number) if posted else None
        if posted is None or posted_at is None or posted.content.end <= closed:
            detail = "has usage that no posted round has taken; calculate and post its last round first"
            raise StateError(f"pools/{name}", "USAGE_UNPAID", detail)
    _require_export(database, pool, bundle, size=posted_at + 1)
    deleted = 0
    with output.progress(f"Deleting events of {name}", None, "rows") as bar:
        for some in drop_events(database, pool):
            deleted += some
            bar.advance(some)
    return deleted


def _require_export(database: Database, pool: PoolRef, bundle: Path, *, size: int) -> None:
    checkpoint = _checkpoint_of(bundle)
    try:
        with database.transaction() as connection:
            stored = checkpoints.get_checkpoint(connection, pool, size=checkpoint.size)
        signed, _ = read_checkpoint(stored.note)
    except NotFoundError:
        signed = None
    if signed != checkpoint:
        raise InvalidInputError.of("bundle", f"{bundle}: its checkpoint is none that was signed of pools/{pool.name}")
    if checkpoint.size < size:
        detail = f"{bundle}: holds {checkpoint.size:,} leaves, and the last round is posted at leaf {size - 1:,}"
        raise InvalidInputError.of("bundle", detail)


def _checkpoint_of(bundle: Path) -> Checkpoint:
    try:
        with closing(open_files(bundle)) as files:
            checkpoint, _ = read_checkpoint(files.read(CHECKPOINT, bytes_max=MAX_NOTE_BYTES))
    except (OSError, LedgerError) as error:
        raise InvalidInputError.of("bundle", f"{bundle}: {error}") from None
    return checkpoint
