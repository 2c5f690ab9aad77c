"""Changes of the key that signs, as the registry's log has them: the signer's order to stop, and to begin."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ledger.acts.entries import REGISTRY_CONTENTS, KeyChangeContent
from ledger.errors import FormatError, LedgerCorruptError, SignatureError
from ledger.log.key_changes import KeyChange
from ledger.log.leaves import Leaf, decode
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY


def read_changes(connection: sa.Connection) -> list[KeyChange]:
    """Returns the changes of the key so far, the first one first.

    Raises:
        LedgerCorruptError: one cannot be read, or its keys have not signed it.
    """
    on = (t.leaf.c.pool_id == t.key_change.c.pool_id) & (t.leaf.c.leaf_index == t.key_change.c.leaf_index)
    query = sa.select(t.leaf.c.entry).join_from(t.key_change, t.leaf, on)
    of_registry = t.key_change.c.pool_id == REGISTRY.pool_id
    entries = connection.execute(query.where(of_registry).order_by(t.key_change.c.leaf_index)).scalars()
    return [_change(connection, bytes(entry)) for entry in entries]


def leaves(connection: sa.Connection, size: int) -> list[int]:
    """Returns the indexes of the changes among the first leaves of the registry's log."""
    here = (t.key_change.c.pool_id == REGISTRY.pool_id) & (t.key_change.c.leaf_index < size)
    return list(connection.execute(sa.select(t.key_change.c.leaf_index).where(here)).scalars())


def append_change(connection: sa.Connection, change: KeyChange) -> int:
    """Append a signed change to the registry's log, and return its leaf's index."""
    now = log.lock_head(connection, REGISTRY)
    listed = change.listed()
    log.put_body(connection, REGISTRY, listed)
    content = KeyChangeContent(note=change.note.decode(), logs_sha256=change.step().logs_sha256.hex())
    (leaf,) = log.append(connection, REGISTRY, [content], now)
    connection.execute(sa.insert(t.key_change).values(pool_id=REGISTRY.pool_id, leaf_index=leaf.index))
    return leaf.index


def _change(connection: sa.Connection, entry: bytes) -> KeyChange:
    leaf: Leaf[Any] = decode(entry, REGISTRY_CONTENTS)
    content: KeyChangeContent = leaf.content
    listed = log.checked_body(connection, REGISTRY, bytes.fromhex(content.logs_sha256))
    try:
        return KeyChange.read(content.note.encode(), listed)
    except (FormatError, SignatureError) as error:
        raise LedgerCorruptError(f"leaf {leaf.index} of the registry", str(error)) from None
