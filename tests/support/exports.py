"""Bundles and folders of a pool that was built in memory, signed with a key of the test's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from audit.batches.means import Means
from audit.files.archives import open_files
from audit.files.spills import SpillFolder
from audit.progress import Progress
from audit.verification.bundle import Asked, verify
from audit.verification.report import Report
from ledger.files.layout import Files
from ledger.journal import Transfer
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.note_keys import SigningKey, VerifierKey
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import LogSource
from tests.support.pool_log import PoolLog
from tests.support.registry_log import RegistryLog

ORIGIN: Final = "moiety.example/pools/folk"
REGISTRY_ORIGIN: Final = "moiety.example/registry"
KEY: Final = SigningKey(ORIGIN, bytes(range(32)))


@dataclass
class PoolSource:
    """What the service would give of a pool, at the log's size or at an earlier one."""

    log: PoolLog
    key: SigningKey = KEY
    size: int | None = None

    def registry(self) -> LogSource | None:
        return RegistrySource(self.log.registry, self.key)

    def checkpoint(self) -> bytes:
        size = self.log.size() if self.size is None else self.size
        checkpoint = Checkpoint(ORIGIN, size, bytes.fromhex(self.log.root_at(size)))
        return sign_checkpoint(checkpoint, self.key).to_bytes()

    def entries(self, start: int, end: int) -> Iterable[bytes]:
        return [leaf.entry for leaf in self.log.entries[start:end]]

    def body(self, digest: bytes) -> bytes:
        return self.log.bodies[digest]

    def transfers(self, start: int, end: int) -> Iterator[tuple[int, int, Transfer]]:
        for leaf_index in sorted(self.log.journal):
            if start <= leaf_index < end:
                for ordinal, transfer in enumerate(self.log.journal[leaf_index]):
                    yield leaf_index, ordinal, transfer

    def balances(self, size: int) -> dict[str, int]:
        moved = [transfer for _, _, transfer in PoolSource.transfers(self, 0, size)]
        accounts = {account for transfer in moved for account in (transfer.from_account, transfer.to_account)}
        return {
            account: sum(
                ((account == transfer.to_account) - (account == transfer.from_account)) * transfer.amount_minor
                for transfer in moved
            )
            for account in accounts
        }


@dataclass
class RegistrySource:
    """What the service would give of the registry."""

    log: RegistryLog
    key: SigningKey = KEY

    def registry(self) -> LogSource | None:
        return None

    def checkpoint(self) -> bytes:
        checkpoint = Checkpoint(REGISTRY_ORIGIN, self.log.size(), bytes.fromhex(self.log.root_at(self.log.size())))
        return sign_checkpoint(checkpoint, self.key.named(REGISTRY_ORIGIN)).to_bytes()

    def entries(self, start: int, end: int) -> Iterable[bytes]:
        return [leaf.entry for leaf in self.log.entries[start:end]]

    def body(self, digest: bytes) -> bytes:
        return self.log.bodies[digest]

    def transfers(self, start: int, end: int) -> Iterator[tuple[int, int, Transfer]]:  # noqa: ARG002 - the protocol's
        return iter(())

    def balances(self, size: int) -> dict[str, int]:  # noqa: ARG002 - the protocol's
        return {}


def bundle_of(log: PoolLog, file: Path, **choices: Any) -> Path:
    """The pool's bundle in a file."""
    write_bundle(PoolSource(log), file, **choices)
    return file


def report_of(files: Files | Path, key: VerifierKey = KEY.verifier_key, **asked: Any) -> Report:
    """What verification says."""
    return steps_of(files, key, **asked)[1]


def steps_of(
    files: Files | Path, key: VerifierKey = KEY.verifier_key, *, means: Means | None = None, **asked: Any
) -> tuple[list[Progress], Report]:
    """How verification goes, and what it says."""
    if isinstance(files, Path):
        opened = open_files(files)
        try:
            return steps_of(opened, key, means=means, **asked)
        finally:
            opened.close()
    with SpillFolder() as spills:
        steps = verify(files, Asked(key, **asked), means or Means(spills.new))
        told = []
        while True:
            try:
                told.append(next(steps))
            except StopIteration as end:
                report: Report = end.value
                return told, report
