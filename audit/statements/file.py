"""Statement files: one collective's line of a round, with all that it takes to verify it alone.

A file is one JSON document in RFC 8785 form. It has the line's dossier with its salt and path in the statement tree,
and the entries of the pool's and of the registry's log that the line rests on, each with its path to a signed
checkpoint. Nothing in a file is verified before `audit.statements.check` has done so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import FormatError
from ledger.log.canonical import canonical, parsed
from ledger.log.text import decode_decimal, decode_hash, encode_base64
from payout.dossiers import SALT_BYTES
from payout.splits import SumNode

FORMAT: Final = "moiety-statement.v1"

_SALT: Final = re.compile(rf"[0-9a-f]{{{2 * SALT_BYTES}}}")


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """An entry's bytes, and the hashes from its leaf to the root of its log's checkpoint."""

    entry: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LogPart:
    """A checkpoint, signed by its log alone, and some entries of the log in their order."""

    checkpoint: bytes
    entries: tuple[ProvedEntry, ...]


@dataclass(frozen=True, slots=True)
class MemberLine:
    """A member's line of the collective's split: its document and salt, its position, and its way up the sum tree."""

    document: bytes
    salt: bytes
    position: int
    path: tuple[SumNode, ...]


@dataclass(frozen=True, slots=True)
class EntryLine:
    """A line of the tree that an entry commits to: its document and salt, its position and path in the tree.

    `booking.v1` has a tree of what the bank booked, `adjustment.v1` one of what accounts get instead.
    """

    leaf_index: int
    document: bytes
    salt: bytes
    position: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StatementFile:
    """A statement file's parts: the line, what it rests on in the pool's log, and in the registry's.

    In a member's file there is also the member's line of the split of the collective's amount; `booked` is what the
    bank paid to the collective, or sent back, and `adjusted` what later adjustments made of the amount.
    """

    dossier: bytes
    salt: bytes
    path: tuple[bytes, ...]
    pool: LogPart
    registry: LogPart
    member: MemberLine | None = None
    booked: tuple[EntryLine, ...] = ()
    adjusted: tuple[EntryLine, ...] = ()

    def to_bytes(self) -> bytes:
        """Returns the file's bytes."""
        member = {} if self.member is None else {"member": _member_document(self.member)}
        listed = (("adjusted", self.adjusted), ("booked", self.booked))
        lines = {name: [_line_document(line) for line in found] for name, found in listed if found}
        return canonical(
            {
                **member,
                **lines,
                "format": FORMAT,
                "pool": _part_document(self.pool),
                "registry": _part_document(self.registry),
                "statement": {
                    "dossier": self.dossier.decode(),
                    "path": _hashes(self.path),
                    "salt": self.salt.hex(),
                },
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> StatementFile:
        """Reads a file; `to_bytes` returns the same bytes.

        Raises:
            FormatError: the bytes are not a statement file.
        """
        read = canonical_json(data, "file")
        optional = [name for name in ("adjusted", "booked", "member") if isinstance(read, dict) and name in read]
        document = _object(read, "file", "format", "pool", "registry", "statement", *optional)
        if document["format"] != FORMAT:
            raise FormatError("format", f"must be {FORMAT}")
        line = _object(document["statement"], "statement", "dossier", "path", "salt")
        return cls(
            _text(line["dossier"], "dossier").encode(),
            _salt(line["salt"]),
            _path(line["path"]),
            _part(document["pool"], "pool"),
            _part(document["registry"], "registry"),
            _member(document["member"]) if "member" in optional else None,
            *(_lines(document[name], name) if name in optional else () for name in ("booked", "adjusted")),
        )


def is_statement_file(head: bytes) -> bool:
    """Returns whether a file that begins like this is meant to be a statement file."""
    first = (f'{{"format":"{FORMAT}"', '{"booked":[{"document":', '{"adjusted":[{"document":')
    return head.startswith(tuple(each.encode() for each in first))


def checkpoint_in(data: bytes) -> bytes:
    """Returns the pool's checkpoint in a file that nobody has verified; nothing if there is none."""
    try:
        return StatementFile.parse(data).pool.checkpoint
    except FormatError:
        return b""


def canonical_json(data: bytes, subject: str) -> Any:
    """Reads a document in RFC 8785 form.

    Raises:
        FormatError: it is not JSON, or not in that form.
    """
    try:
        document = parsed(data)
        same = canonical(document) == data
    except ValueError:
        raise FormatError(subject, "is not JSON in canonical form") from None
    if not same:
        raise FormatError(subject, "is not JSON in canonical form")
    return document


def _part_document(part: LogPart) -> dict[str, Any]:
    return {
        "checkpoint": part.checkpoint.decode(),
        "entries": [{"entry": proved.entry.decode(), "path": _hashes(proved.path)} for proved in part.entries],
    }


def _hashes(path: Iterable[bytes]) -> list[str]:
    return [encode_base64(found) for found in path]


def _part(document: Any, subject: str) -> LogPart:
    said = _object(document, subject, "checkpoint", "entries")
    return LogPart(
        _text(said["checkpoint"], subject).encode(),
        tuple(_entry(each, subject) for each in _list(said["entries"], subject)),
    )


def _entry(document: Any, subject: str) -> ProvedEntry:
    said = _object(document, subject, "entry", "path")
    return ProvedEntry(_text(said["entry"], subject).encode(), _path(said["path"]))


def _path(found: Any) -> tuple[bytes, ...]:
    return tuple(decode_hash(_text(each, "path"), "path") for each in _list(found, "path"))


def _member_document(member: MemberLine) -> dict[str, Any]:
    path = [{"amount_minor": str(node.amount_minor), "hash": encode_base64(node.hash)} for node in member.path]
    return {
        "document": member.document.decode(),
        "path": path,
        "position": member.position,
        "salt": member.salt.hex(),
    }


def _member(found: Any) -> MemberLine:
    said = _object(found, "member", "document", "path", "position", "salt")
    if type(said["position"]) is not int:
        raise FormatError("member", "must have its position as a number")
    path = [_object(each, "member", "amount_minor", "hash") for each in _list(said["path"], "member")]
    return MemberLine(
        _text(said["document"], "member").encode(),
        _salt(said["salt"]),
        said["position"],
        tuple(
            SumNode(
                decode_hash(_text(each["hash"], "path"), "path"),
                decode_decimal(_text(each["amount_minor"], "path"), "path"),
            )
            for each in path
        ),
    )


def _line_document(line: EntryLine) -> dict[str, Any]:
    return {
        "document": line.document.decode(),
        "leaf": line.leaf_index,
        "path": _hashes(line.path),
        "position": line.position,
        "salt": line.salt.hex(),
    }


def _lines(found: Any, subject: str) -> tuple[EntryLine, ...]:
    lines = [_object(each, subject, "document", "leaf", "path", "position", "salt") for each in _list(found, subject)]
    if not lines or any(type(each[name]) is not int for each in lines for name in ("leaf", "position")):
        raise FormatError(subject, "must be lines with their places as numbers")
    return tuple(
        EntryLine(
            each["leaf"],
            _text(each["document"], subject).encode(),
            _salt(each["salt"]),
            each["position"],
            _path(each["path"]),
        )
        for each in lines
    )


def _salt(found: Any) -> bytes:
    salt = _text(found, "salt")
    if not _SALT.fullmatch(salt):
        raise FormatError("salt", f"must have {2 * SALT_BYTES} hexadecimal digits")
    return bytes.fromhex(salt)


def _object(found: Any, subject: str, *names: str) -> dict[str, Any]:
    if not isinstance(found, dict) or found.keys() != set(names):
        raise FormatError(subject, f"must be an object of {', '.join(names)}")
    return found


def _list(found: Any, subject: str) -> Sequence[Any]:
    if not isinstance(found, list):
        raise FormatError(subject, "must have a list here")
    return found


def _text(found: Any, subject: str) -> str:
    if not isinstance(found, str):
        raise FormatError(subject, "must have a text here")
    return found
