"""Memberships: which collective each source item belongs to, as canonical CSV that a log entry commits to.

Canonical means one spelling only: UTF-8, the header `source,collective`, a line feed after every line, no quotes, one
line per source by the bytes of its id.
"""

import re
from collections.abc import Mapping
from typing import Final

from ledger.batch_format import MAX_VIOLATIONS
from ledger.errors import InvalidInputError, LedgerCorruptError, Violation
from ledger.registry import require_resource_id

MAX_SOURCE_BYTES: Final = 256
"""Bytes of a source's id in UTF-8; as long as a work's."""

SOURCE_RULE: Final = (
    f"must be 1 to {MAX_SOURCE_BYTES} bytes, without commas, double quotes, control characters or line separators"
)

_COLUMNS: Final = ("source", "collective")
_HEADER: Final = ",".join(_COLUMNS)

# Surrogates have no UTF-8; U+2028 and U+2029 end a line for some readers of CSV, as U+0085 among the controls does.
_SOURCE: Final = re.compile(r'[^,"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+')


def is_source_id(text: str) -> bool:
    """Whether a text may be the id of a source: `SOURCE_RULE`."""
    return bool(_SOURCE.fullmatch(text)) and len(text.encode()) <= MAX_SOURCE_BYTES


def render_membership(membership: Mapping[str, str]) -> bytes:
    """The canonical bytes of collectives by source. InvalidInputError with the first 100 ids that cannot be one."""
    # Python orders text by code point, which is the order of its UTF-8 bytes.
    rows = sorted(membership.items())
    faults = [
        Violation("membership.source", f"{source[:80]!r} {SOURCE_RULE}")
        for source, _ in rows
        if not is_source_id(source)
    ]
    faults += [fault for collective in sorted(set(membership.values())) for fault in _collective_faults(collective)]
    if faults:
        raise InvalidInputError(faults[:MAX_VIOLATIONS], total=len(faults))
    return "".join([f"{_HEADER}\n", *(f"{source},{collective}\n" for source, collective in rows)]).encode()


def parse_membership(body: bytes) -> dict[str, str]:
    """The collectives by source, in the order of the sources. LedgerCorruptError where the body is not canonical."""
    try:
        header, *lines = body.decode().split("\n")
    except UnicodeDecodeError:
        raise LedgerCorruptError("membership", "is not UTF-8") from None
    rows = [line.split(",") for line in lines[:-1]]
    if header != _HEADER or lines[-1:] != [""] or any(len(row) != len(_COLUMNS) for row in rows):
        raise LedgerCorruptError("membership", f"is not lines of {_HEADER}")
    membership: dict[str, str] = dict(rows)
    try:
        canonical = render_membership(membership)
    except InvalidInputError as error:
        raise LedgerCorruptError("membership", str(error)) from None
    if canonical != body:
        raise LedgerCorruptError("membership", "is not sorted by source, or repeats one")
    return membership


def _collective_faults(collective: str) -> tuple[Violation, ...]:
    try:
        require_resource_id(collective, "membership.collective")
    except InvalidInputError as error:
        return error.violations
    return ()
