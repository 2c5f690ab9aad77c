"""Memberships: which collective each source of a pool's scores belongs to.

In Python a mapping from source to collective; in the log, and on the wire, canonical CSV: UTF-8, the line
`source,collective`, then a line for each source in the order of their bytes, with a line feed after each. A file may
have its lines in any order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moiety.errors import InvalidUsageError, UsageFileError

_COLUMNS: Final = ["source", "collective"]
_NEVER: Final = (",", '"', "\n", "\r")
"""What would need quotes; the service refuses these and names whatever else it does not take."""


MAX_FILE_BYTES: Final = 64 * 2**20
"""Twice what the service takes of it: a file may have quotes and other line ends."""


def render_membership(membership: Mapping[str, str]) -> bytes:
    """Return a membership as the bytes that the service takes.

    Raises:
        InvalidUsageError: an id is not allowed in one.
    """
    for text in (*membership, *membership.values()):
        if any(character in text for character in _NEVER):
            raise InvalidUsageError(
                "membership", None, f"{text[:80]!r} contains a comma, a double quote or a line break"
            )
    # Python orders text by code point, which is the order of its UTF-8 bytes.
    lines = [f"{source},{collective}\n" for source, collective in sorted(membership.items())]
    try:
        return "".join([",".join(_COLUMNS) + "\n", *lines]).encode()
    except UnicodeEncodeError as error:
        raise InvalidUsageError("membership", None, f"is not text: {error}") from None


def parse_membership(body: bytes) -> dict[str, str]:
    """Return the membership in bytes from the service."""
    return dict(line.split(",") for line in body.decode().split("\n")[1:-1])


def read_membership(path: Path) -> dict[str, str]:
    """Return the membership in a CSV file with the columns `source` and `collective`, its lines in any order.

    Raises:
        UsageFileError: the file cannot be read, is too long, has other columns, or names a source twice.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise UsageFileError(path, f"has more than {MAX_FILE_BYTES:,} bytes")
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        if next(lines, None) != _COLUMNS:
            raise UsageFileError(path, f"its first line is not {','.join(_COLUMNS)}")
        membership: dict[str, str] = {}
        for line in lines:
            if len(line) != len(_COLUMNS):
                raise UsageFileError(path, f"line {lines.line_num} has {len(line)} fields, not {len(_COLUMNS)}")
            source, collective = line
            if source in membership:
                raise UsageFileError(path, f"line {lines.line_num} names {source[:80]!r} again")
            membership[source] = collective
    except OSError as error:
        raise UsageFileError(path, error.strerror or str(error)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageFileError(path, f"is not CSV in UTF-8: {error}") from None
    return membership
