"""Checkpoints and cosignatures: each is of this log, and signed by the key that its row names.

Missing rows cannot be detected: the signer is free to choose when it signs. Whoever has the note still has it.
"""

from __future__ import annotations

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature

from audit.fsck.report import CheckReport, shown_row
from audit.fsck.rows import LeafRows, add_extra
from audit.fsck.stored import Row, key_of
from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import open_checkpoint
from ledger.log.merkle import Frontier
from ledger.log.note_keys import VerifierKey
from ledger.log.notes import parse_note
from ledger.store import tables as lt


class CheckpointRows:
    """A pool's rows of `checkpoint` and `cosignature`, grouped by log size."""

    def __init__(self, connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
        self._report = report
        self._checkpoints = LeafRows(connection, pool_id, lt.checkpoint, report, lt.checkpoint.c.size)
        self._cosignatures = LeafRows(connection, pool_id, lt.cosignature, report, lt.cosignature.c.size)

    def check(self, frontier: Frontier) -> None:
        """Check what was signed of a log of this size against the log's root."""
        checkpoints = self._checkpoints.take(frontier.size)
        cosignatures = self._cosignatures.take(frontier.size)
        self._report.count(lt.checkpoint.name, len(checkpoints))
        self._report.count(lt.cosignature.name, len(cosignatures))
        notes = {(row["vkey"], row["size"]): row["note"] for row in checkpoints}
        for row in checkpoints:
            self._check_checkpoint(row, frontier)
        for row in cosignatures:
            self._check_cosignature(row, notes.get((row["log_vkey"], row["size"])))

    def _check_checkpoint(self, row: Row, frontier: Frontier) -> None:
        key = shown_row(row, key_of(lt.checkpoint))
        try:
            checkpoint = open_checkpoint(row["note"], VerifierKey.parse(row["vkey"])).checkpoint
        except (FormatError, SignatureError) as error:
            self._report.add(lt.checkpoint.name, key, "note", error, "a checkpoint that this key signed")
            return
        if checkpoint.size != row["size"]:
            self._report.add(lt.checkpoint.name, key, "size", row["size"], f"{checkpoint.size} in its note")
        elif row["size"] != frontier.size:
            add_extra(self._report, lt.checkpoint, row)
        elif checkpoint.root != frontier.root():
            self._report.add(lt.checkpoint.name, key, "root", checkpoint.root, frontier.root())

    def _check_cosignature(self, row: Row, note: bytes | None) -> None:
        if note is None:
            add_extra(self._report, lt.cosignature, row)
            return
        key = shown_row(row, key_of(lt.cosignature))
        try:
            time_seconds = VerifierKey.parse(row["vkey"]).verify(parse_note(note).text, row["signature"])
        except (FormatError, InvalidSignature):
            said = "a signature by this key of the checkpoint"
            self._report.add(lt.cosignature.name, key, "signature", row["signature"], said)
            return
        if time_seconds != row["time_seconds"]:
            self._report.add(lt.cosignature.name, key, "time_seconds", row["time_seconds"], time_seconds)

    def finish(self, size: int) -> None:
        """Report rows of a log that is longer than this one."""
        for rows in (self._checkpoints, self._cosignatures):
            for place, row in rows.rest():
                if place > size:
                    add_extra(self._report, rows.table, row)
