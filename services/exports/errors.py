"""What can go wrong with an export, besides the service."""

from __future__ import annotations

from pathlib import Path

from ledger.errors import LedgerError


class ExportFolderError(LedgerError):
    """A folder cannot be used for the export. `path` is where, `reason` what is wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ExportValueError(LedgerError):
    """A figure does not fit its column. `leaf_index` is the leaf's, `table` the column's."""

    def __init__(self, leaf_index: int, table: str, reason: str) -> None:
        super().__init__(leaf_index, table, reason)
        self.leaf_index = leaf_index
        self.table = table
        self.reason = reason

    def __str__(self) -> str:
        return f"leaf {self.leaf_index}, table {self.table}: {self.reason}"
