"""The folder outside the database with a copy of the last signed checkpoint of each pool.

A copy is on disk before its row is in the database. So a database restored from an old backup does not extend the
copy, and is detected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from ledger.errors import FormatError, InvalidInputError, SignatureError, StateError, StoreUnavailableError
from ledger.log.checkpoint import Checkpoint, open_checkpoint
from ledger.log.forks import FILE_EXTENSION, ForkEvidence
from ledger.log.note_keys import VerifierKey
from ledger.store.durable import write_whole

COPY_EXTENSION: Final = ".checkpoint"


class CheckpointFolder:
    """Copies by pool, and the evidence of forks. Raises InvalidInputError if the folder cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._evidence = path / "evidence"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError.of("MOIETY_CHECKPOINT_FOLDER", f"cannot be used: {error}") from None

    def read(self, pool: str, key: VerifierKey, earlier: Sequence[VerifierKey] = ()) -> tuple[Checkpoint, bytes] | None:
        """The last checkpoint signed of a pool, and its note; None if there is no copy.

        `earlier` are keys that signed before this one, one of which may have signed it instead.

        Raises:
            StateError: the copy cannot be read, or none of the keys has signed it.
        """
        path = self._copy(pool)
        refused: Exception | None = None
        for each in (key, *earlier):
            try:
                note = path.read_bytes()
                return open_checkpoint(note, each).checkpoint, note
            except FileNotFoundError:
                return None
            except (OSError, FormatError, SignatureError) as error:
                refused = refused or error
        detail = f"the copy in {path} is not a checkpoint that {key} signed ({refused}). Put the right copy back"
        raise StateError(f"pools/{pool}/checkpoints", "COPY_UNREADABLE", detail)

    def write(self, pool: str, note: bytes) -> None:
        """Replace the copy, at once and durably.

        Raises:
            StoreUnavailableError: the folder cannot be written to, such as a full disk; the copy is as it was.
        """
        with self._written():
            write_whole(self._copy(pool), note)

    def keep_fork(self, pool: str, evidence: ForkEvidence) -> Path:
        """Keep evidence of a fork, and return where. The same evidence is kept once. Raises as `write` does."""
        content = evidence.to_bytes()
        return self._keep(f"{pool}-{sha256(content).hexdigest()[:16]}{FILE_EXTENSION}", content)

    def keep_refused(self, pool: str, size: int, witness: str, kind: str, content: bytes) -> Path:
        """Keep what a witness refused because it contradicts what it saw, and return where. Raises as `write` does."""
        name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in witness)
        return self._keep(f"{pool}-{size}-{name}.{kind}", content)

    def _keep(self, name: str, content: bytes) -> Path:
        path = self._evidence / name
        with self._written():
            self._evidence.mkdir(exist_ok=True)
            if not path.exists():
                write_whole(path, content)
        return path

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreUnavailableError(f"the folder of checkpoints {self.path}", reason) from None

    def _copy(self, pool: str) -> Path:
        return self.path / f"{pool}{COPY_EXTENSION}"
