"""Memberships: the collective of each source item, as canonical CSV that a log entry commits to.

Canonical means that there is one spelling: UTF-8, the header `source,collective`, a line feed after every line, no
quotes, one line per source, sorted by the bytes of its id.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ledger.errors import InvalidInputError, LedgerCorruptError, Violation
from ledger.registry import require_resource_id
from ledger.usage.format import MAX_VIOLATIONS

MAX_MEMBERSHIP_BYTES: Final = 32 * 2**20
"""Bytes of a membership: what fits in one message, as for a batch. Enough for about a million sources."""

MAX_SOURCE_BYTES: Final = 256
"""Bytes of a source's id in UTF-8, like a work's."""

SOURCE_RULE: Final = (
    f"must be 1 to {MAX_SOURCE_BYTES} bytes, without commas, double quotes, control characters or line separators"
)

_COLUMNS: Final = ("source", "collective")
_HEADER: Final = ",".join(_COLUMNS)

# Surrogates have no UTF-8; some CSV readers end a line at U+2028 and U+2029, as at the control U+0085.
_SOURCE: Final = re.compile(r'[^,"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+')


def is_source_id(text: str) -> bool:
    """Returns whether a text may be the id of a source: `SOURCE_RULE`."""
    return bool(_SOURCE.fullmatch(text)) and len(text.encode()) <= MAX_SOURCE_BYTES


def nearly_known(sources: Iterable[str], membership: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields those of some sources that a membership does not have, with the source that it has and that looks alike.

    Ids are compared by their bytes. The same letters can be other bytes: in another Unicode form, with surrounding
    space, with characters that have no width, or in another case.
    """
    for source in sources:
        if source not in membership:
            found = next((spelling for spelling in _spellings(source) if spelling in membership), None)
            if found is not None:
                yield source, found


def _spellings(source: str) -> Iterator[str]:
    bare = "".join(letter for letter in source if unicodedata.category(letter) != "Cf").strip()
    for form in ("NFC", "NFD", "NFKC"):
        text = unicodedata.normalize(form, bare)
        yield from (text, text.lower(), text.casefold(), text.upper(), text.title())


def render_membership(membership: Mapping[str, str]) -> bytes:
    """The canonical bytes of collectives by source.

    Raises:
        InvalidInputError: ids are not allowed in a membership; the error has the first 100.
    """
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
    """The collectives by source, in the order of the sources.

    Raises:
        LedgerCorruptError: the body is not canonical.
    """
    try:
        header, *lines = body.decode().split("\n")
    except UnicodeDecodeError:
        raise _not_canonical("is not UTF-8") from None
    if header != _HEADER or lines[-1:] != [""]:
        raise _not_canonical(f"does not start with the line {_HEADER}, or its last line does not end")
    # Many sources share few collectives: one text for each collective instead of one for each source.
    collectives: dict[str, str] = {}
    membership: dict[str, str] = {}
    before = ""
    for number, line in enumerate(lines[:-1], 2):
        source, _, collective = line.partition(",")
        if not source > before:
            raise _not_canonical(f"line {number}: {source[:80]!r} does not come after the source before it")
        if not is_source_id(source):
            raise _not_canonical(f"line {number}: the source {source[:80]!r} {SOURCE_RULE}")
        if collective not in collectives:
            for fault in _collective_faults(collective):
                raise _not_canonical(f"line {number}: the collective {fault.reason}")
            collectives[collective] = collective
        membership[source] = collectives[collective]
        before = source
    return membership


def _not_canonical(detail: str) -> LedgerCorruptError:
    return LedgerCorruptError("membership", detail)


class ParsedMemberships:
    """Memberships by the SHA-256 of their bodies, each parsed once while it is cached.

    The least recently used is dropped first. Not safe for several threads at once.

    Args:
        bytes_max: of the cached bodies; in memory a membership takes about three times as much.
    """

    def __init__(self, bytes_max: int = 2 * MAX_MEMBERSHIP_BYTES) -> None:
        self._bytes_max = bytes_max
        self._parsed: dict[str, tuple[int, Mapping[str, str]]] = {}

    def get(self, body_sha256: str) -> Mapping[str, str] | None:
        """Returns the membership with this body, if it is cached."""
        found = self._parsed.pop(body_sha256, None)
        if found is None:
            return None
        self._parsed[body_sha256] = found
        return found[1]

    def parse(self, body_sha256: str, body: bytes) -> Mapping[str, str]:
        """Returns the membership in a body, and caches it. The caller has checked the hash."""
        membership = parse_membership(body)
        self._parsed[body_sha256] = (len(body), membership)
        while len(self._parsed) > 1 and sum(size for size, _ in self._parsed.values()) > self._bytes_max:
            del self._parsed[next(iter(self._parsed))]
        return membership


def _collective_faults(collective: str) -> tuple[Violation, ...]:
    try:
        require_resource_id(collective, "membership.collective")
    except InvalidInputError as error:
        return error.violations
    return ()
