"""Compares receipts that platforms kept with the logs of a database: after a restore, what it no longer has."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ledger.errors import InvalidInputError, NotFoundError
from ledger.store.logs.log import PoolRef, read_head, read_leaf
from ledger.store.money.income import report_leaf
from ledger.store.pools.pools import pool_ref
from ledger.store.usage.batches import find_batch

RECEIPT_BYTES_MAX: Final = 2**30
"""Of one file: some millions of receipts."""

_HASH_BYTES: Final = 32


class State(StrEnum):
    """What a log has of a receipt."""

    THERE = "there"
    """The leaf that the receipt names."""
    AGAIN = "there again"
    """The same batch at another leaf: it was lost, and submitted again."""
    MISSING = "missing"
    """Neither."""


@dataclass(frozen=True, slots=True, order=True)
class KeptReceipt:
    """What a receipt says: of usage, or of a report of revenue."""

    name: str
    leaf_index: int
    leaf_hash: bytes

    @property
    def pool(self) -> str:
        """The pool's id."""
        return self.name.split("/")[1]


def read_receipts(paths: Iterable[Path]) -> list[KeptReceipt]:
    """Returns all receipts in some files, each once, in the order of their leaves.

    A file holds JSON, or a JSON document a line: what `moiety usage submit --json`, `moiety usage list --json` and the
    API print. Whatever else is in it is passed over.

    Raises:
        InvalidInputError: a file cannot be read, or has no receipt.
    """
    found: set[KeptReceipt] = set()
    for path in paths:
        of_file = {receipt for document in _documents(path) for receipt in _receipts(document)}
        if not of_file:
            raise InvalidInputError.of("receipts", f"{path} has no receipt")
        found |= of_file
    return sorted(found, key=lambda each: (each.pool, each.leaf_index, each.name))


def compare(connection: sa.Connection, receipts: Iterable[KeptReceipt]) -> Iterator[tuple[KeptReceipt, State]]:
    """Returns each receipt with what the logs have of it."""
    pools: dict[str, tuple[PoolRef, int] | None] = {}
    for receipt in receipts:
        if receipt.pool not in pools:
            pools[receipt.pool] = _pool(connection, receipt.pool)
        yield receipt, _state(connection, receipt, pools[receipt.pool])


def _pool(connection: sa.Connection, name: str) -> tuple[PoolRef, int] | None:
    try:
        pool = pool_ref(connection, name)
    except NotFoundError:
        return None
    return pool, read_head(connection, pool).size


def _state(connection: sa.Connection, receipt: KeptReceipt, found: tuple[PoolRef, int] | None) -> State:
    if found is None:
        return State.MISSING
    pool, size = found
    if receipt.leaf_index < size and read_leaf(connection, pool, receipt.leaf_index).hash == receipt.leaf_hash:
        return State.THERE
    return State.AGAIN if _recorded_again(connection, pool, receipt) else State.MISSING


def _recorded_again(connection: sa.Connection, pool: PoolRef, receipt: KeptReceipt) -> bool:
    kind, identity = receipt.name.split("/", 3)[2:]
    platform, _, own_id = identity.partition("~")
    find = {"batches": find_batch, "reports": report_leaf}.get(kind)
    if find is None:
        return False
    try:
        find(connection, pool, platform, own_id)
    except NotFoundError:
        return False
    return True


def _documents(path: Path) -> Iterator[Any]:
    try:
        if path.stat().st_size > RECEIPT_BYTES_MAX:
            raise InvalidInputError.of("receipts", f"{path} has more than {RECEIPT_BYTES_MAX:,} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError.of("receipts", f"{path} cannot be read: {error}") from None
    try:
        yield json.loads(text)
    except (ValueError, RecursionError):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    raise InvalidInputError.of("receipts", f"{path}: line {number} is not JSON") from None


def _receipts(document: Any) -> Iterator[KeptReceipt]:
    """The receipts within a document, however deep."""
    waiting = [document]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            if receipt := _receipt(each):
                yield receipt
            else:
                waiting += each.values()


def _receipt(document: dict[str, Any]) -> KeptReceipt | None:
    """Returns a receipt as the command prints it, or as the API does in JSON; None for anything else."""
    name = document.get("name")
    index = document.get("leaf_index", document.get("leafIndex", "0"))
    digest = _bytes(document.get("leaf_hash", document.get("leafHash")))
    parts = name.split("/") if isinstance(name, str) else []
    if len(parts) < 4 or parts[0] != "pools" or digest is None:  # noqa: PLR2004  # pools/POOL/KIND/ID
        return None
    try:
        return KeptReceipt("/".join(parts), int(index), digest)
    except (TypeError, ValueError):
        return None


def _bytes(text: object) -> bytes | None:
    """Returns a hash from hex, as the command prints it, or base64, as JSON of the API has it."""
    if not isinstance(text, str):
        return None
    try:
        found = bytes.fromhex(text) if len(text) == 2 * _HASH_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == _HASH_BYTES else None
