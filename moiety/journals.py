"""Files that records are appended to: synced records survive any crash, and others are recognised.

A record is four bytes that say so, the length of what follows, the CRC-32 of both, and what follows. Only the last
file can be torn: one is synced whole before the next is begun.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from moiety.roots import MoietyError

logger: Final = logging.getLogger("moiety")

_SIGN: Final = b"MoEv"
_HEAD: Final = struct.Struct(">4sII")


class OutboxError(MoietyError):
    """An outbox cannot be used. `path` is the file or folder, `reason` what is wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def record_of(payload: bytes) -> bytes:
    """Return the record of a payload."""
    return _HEAD.pack(_SIGN, len(payload), _checksum(payload)) + payload


def read_records(path: Path) -> list[bytes]:
    """Return the payloads of a file's records.

    Raises:
        OutboxError: the file holds anything else.
    """
    data = path.read_bytes()
    payloads, end = _whole_records(data)
    if end < len(data):
        raise OutboxError(path, f"is damaged at byte {end}")
    return payloads


def repair(path: Path) -> int:
    """Leave nothing but whole records in the last file, and return their number.

    What several threads were writing when the machine stopped may be torn anywhere in its last part, for a disk writes
    in any order; none of it was acknowledged. A file that is damaged before whole records is copied, so that the bytes
    are there if it was something else.
    """
    data = path.read_bytes()
    payloads, end = _whole_records(data)
    if end == len(data):
        return len(payloads)
    if later := _records_after(data, end):
        write_synced(path.with_name(path.name + ".damaged"), data)
        logger.error(
            "%s: was damaged at byte %d, and has %d whole events after it; a copy is kept", path, end, len(later)
        )
    else:
        logger.warning("%s: cut off %d bytes that were being written when the process ended", path, len(data) - end)
    payloads += later
    write_synced(path, b"".join(map(record_of, payloads)))
    return len(payloads)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file so that after any crash it is there whole or not at all."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checksum(payload: bytes) -> int:
    """The CRC-32 of the length and the payload: zeros, as a disk returns for unwritten parts, are not a record."""
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(4, "big")))


def _whole_records(data: bytes, start: int = 0) -> tuple[list[bytes], int]:
    """The payloads of the whole records from `start` on, and where the last of them ends."""
    payloads = []
    while len(data) - start >= _HEAD.size:
        sign, length, checksum = _HEAD.unpack_from(data, start)
        payload = data[start + _HEAD.size : start + _HEAD.size + length]
        if sign != _SIGN or len(payload) != length or _checksum(payload) != checksum:
            break
        payloads.append(payload)
        start += _HEAD.size + length
    return payloads, start


def _records_after(data: bytes, start: int) -> list[bytes]:
    """The payloads of the whole records anywhere after `start`."""
    payloads: list[bytes] = []
    at = data.find(_SIGN, start + 1)
    while at >= 0:
        found, end = _whole_records(data, at)
        payloads += found
        at = data.find(_SIGN, max(end, at + 1))
    return payloads
