"""How large a batch may be: its body, and what is in it.

What exceeds a size is refused as an InvalidInputError.
"""

from __future__ import annotations

from typing import Final

from ledger.errors import InvalidInputError
from ledger.usage.batch import Batch
from ledger.usage.format import MAX_BODY_BYTES, MAX_EVENTS, MAX_SHARES
from ledger.usage.schema import Kind

_refuse: Final = InvalidInputError.of


def require_sizes(body: bytes, columns: Batch, kind: Kind) -> None:
    """Check the sizes of a body that was written from columns and is not read again.

    Raises:
        InvalidInputError: the body, or the columns, exceed what `read_columns` would accept.
    """
    require_body_size(body)
    require_events(len(columns.units))
    require_amounts(len(columns.amounts), kind)
    require_names(len(columns.names), kind)


def require_body_size(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise _refuse("arrow_stream", f"has {len(body):,} bytes, more than {MAX_BODY_BYTES:,}")


def require_events(count: int) -> None:
    if not 1 <= count <= MAX_EVENTS:
        raise _refuse("events", f"must contain 1 to {MAX_EVENTS:,} events, got {count:,}")


def require_amounts(count: int, kind: Kind) -> None:
    if count > MAX_SHARES:
        raise _refuse(kind.amounts, f"must be at most {MAX_SHARES:,} in a batch, got {count:,}")


def require_names(count: int, kind: Kind) -> None:
    if count > kind.max_names:
        raise _refuse(kind.names, f"must have at most {kind.max_names:,} different ids in a batch, got {count:,}")
