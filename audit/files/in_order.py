"""Checks that an archive contains the files of one log, in the one specified order, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audit.findings import Finding, FoundError, Where
from audit.steps import Step
from ledger.errors import NotFoundError
from ledger.files.layout import ArchivedFiles, body_path


@dataclass(slots=True)
class InOrder:
    """Takes the paths in the order specified for an archive, and finds the first file out of place.

    It keeps one offset, however many files there are.
    """

    files: ArchivedFiles
    count: int = 0
    _at: int = 0
    _lost: bool = False
    """Whether a file was out of place: the order of those after it tells nothing."""

    def take(self, path: str) -> None:
        """Check that a file is the next one. A missing file is left for its reader to find.

        Raises:
            FoundError: another file is in its place.
        """
        try:
            place = self.files.place(path)
        except NotFoundError:
            return
        if not self._lost:
            self._take(path, *place)

    def take_bodies(self, digests: Sequence[bytes], folder: str = "") -> None:
        """Check that the bodies that a leaf names come next, except for those that an earlier leaf named.

        `folder` is what their paths begin with.

        Raises:
            FoundError: another file is in the place of one.
        """
        for path in (folder + body_path(digest) for digest in sorted(set(digests))):
            try:
                offset, end = self.files.place(path)
            except NotFoundError:
                continue
            if offset >= self._at and not self._lost:
                self._take(path, offset, end)

    def _take(self, path: str, offset: int, end: int) -> None:
        if offset != self._at:
            raise self._misplaced(path)
        self._at = end
        self.count += 1

    def lose(self) -> None:
        """Give up: it cannot be told which files come next."""
        self._lost = True

    def finish(self) -> None:
        """Check that no file is left.

        Raises:
            FoundError: there is a file that nothing names.
        """
        if not self._lost and self.files.name_at(self._at) is not None:
            raise self._misplaced("the end of the archive")

    def _misplaced(self, expected: str) -> FoundError:
        self.lose()
        found = self.files.name_at(self._at) or "the end of the archive"
        return FoundError(Finding(Where(file=found), "order", found, expected, Step.FILES))
