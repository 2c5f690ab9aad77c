"""Bodies: each body that a leaf names exists and has its hash, and no other body exists."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import sqlalchemy as sa

from audit.findings import Finding
from audit.fsck.report import CheckReport
from audit.fsck.stored import columns_of, stored_rows
from audit.store.snapshot_log import SnapshotLog
from ledger.errors import NotFoundError
from ledger.log.leaves import Content
from ledger.log.merkle import HASH_BYTES
from ledger.store import tables as lt
from ledger.usage.entries import UsageContent


class BodyRows:
    """A pool's rows of `body` and `body_object`. It keeps the hashes that leaves name, 32 bytes each."""

    def __init__(self, log: SnapshotLog, report: CheckReport) -> None:
        self._log, self._report = log, report
        self._named = bytearray()

    def follow(self, content: Content) -> None:
        """Take in which bodies a leaf names, and check those that the fold does not read."""
        for digest in named_by(content):
            self._named += digest
            if not isinstance(content, UsageContent):
                self._check(digest)

    def _check(self, digest: bytes) -> None:
        try:
            body = self._log.body(digest)
        except NotFoundError:
            self.add_missing(digest)
        else:
            self._require_hash(digest, body)

    def _require_hash(self, digest: bytes, body: bytes) -> None:
        if sha256(body).digest() != digest:
            self.add_other(digest, sha256(body).hexdigest())

    def add_missing(self, digest: bytes) -> None:
        """Report a body that a leaf names and that is missing."""
        self._report.add(lt.body.name, f"sha256={digest.hex()}", "row", "none", "a row: a leaf names it")

    def add_other(self, digest: bytes, actual: str) -> None:
        """Report a body that has another hash than the one it is stored under."""
        self._report.add(
            lt.body.name, f"sha256={digest.hex()}", "bytes", f"SHA-256 {actual}", f"SHA-256 {digest.hex()}"
        )

    def takes(self, finding: Finding) -> bool:
        """Returns whether a finding of the fold is about a body; if so, adds it as the finding of a row."""
        try:
            digest = bytes.fromhex(finding.claimed)
        except ValueError:
            return False
        if not finding.figure.endswith("_sha256") or len(digest) != HASH_BYTES:
            return False
        if finding.figure == "weights_sha256":
            # That is what a round says of its weights; whether the body has this hash is checked separately.
            return False
        try:
            self.add_other(digest, bytes.fromhex(finding.expected).hex())
        except ValueError:
            self.add_missing(digest)
        return True

    def finish(self, connection: sa.Connection, pool_id: int) -> None:
        """Report bodies that no leaf names, and bodies stored elsewhere whose mark disagrees with the leaves."""
        named = np.unique(np.frombuffer(bytes(self._named), dtype=f"S{HASH_BYTES}")) if self._named else None
        query = sa.select(lt.body.c.sha256).where(lt.body.c.pool_id == pool_id)
        for row in stored_rows(connection, query, self._report):
            self._report.count(lt.body.name)
            digest = row["sha256"]
            if not _is_among(digest, named):
                self._report.add(lt.body.name, f"sha256={digest.hex()}", "row", "a row", "none: no leaf names it")
        for digest, body in self._log.rows_behind():
            self._require_hash(digest, body)
        query = sa.select(*columns_of(lt.body_object)).where(lt.body_object.c.pool_id == pool_id)
        for row in stored_rows(connection, query, self._report):
            self._report.count(lt.body_object.name)
            digest, key = row["sha256"], f"sha256={row['sha256'].hex()}"
            is_named = _is_among(digest, named)
            if row["is_named"] and not is_named:
                self._report.add(lt.body_object.name, key, "is_named", True, "False: no leaf names it")
            if is_named and not row["is_named"] and not _is_row(connection, pool_id, digest):
                self._report.add(lt.body_object.name, key, "is_named", False, "True: a leaf names it")


def _is_row(connection: sa.Connection, pool_id: int, digest: bytes) -> bool:
    here = (lt.body.c.pool_id == pool_id) & (lt.body.c.sha256 == digest)
    return bool(connection.execute(sa.select(sa.exists().where(here))).scalar_one())


def _is_among(digest: bytes, named: Any) -> bool:
    if named is None:
        return False
    wanted = np.array([digest], dtype=named.dtype)
    place = int(np.searchsorted(named, wanted)[0])
    return len(digest) == HASH_BYTES and place < len(named) and bool(named[place] == wanted[0])


def named_by(content: Content) -> list[bytes]:
    """The hashes of the bodies that a leaf's content commits to."""
    return [bytes.fromhex(digest) for digest in content.bodies().values()]
