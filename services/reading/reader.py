"""What a reader does: it reads one usage file within its limits, and says what it found.

A file says how much is to be allocated for it: a few kilobytes of Parquet, Arrow or zstd are gigabytes once they are
read, in so many ways that no check of ours would know them all. And a long row occupies a whole process of Python for
as long as it is decoded. So a reader is a process: the kernel holds it to its memory and its time, others run beside
it, and if a file ends it, nothing else ends.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from moiety.batches import encode, record_batches
from moiety.errors import InvalidUsageError, UsageFileError
from moiety.files import read_usage
from moiety.ids import IdScheme
from services.reading.frames import Batch, End, Wrong, send

READER_BYTES: Final = 384 * 2**20
"""Memory that reading a file may take, beside the program itself. The largest batch, of 1,500,000 scores, takes 270 MB
while it is made."""

BATCH_SECONDS: Final = 60
"""Processor time that a reader may take until it has the next batch, which takes it about a tenth of a second."""

ROW_BYTES_MAX: Final = 8 * 2**20
"""The longest row of a text file: as many sources as a batch may name, with their scores."""

NICENESS: Final = 10
"""How far readers stand back behind the server where the processor is short."""

BEGINNINGS: Final = {"parquet": b"PAR1", "arrow": b"ARROW1", "stream": b""}
"""How a file of a type begins that is read at any place; others are read as they come, by their content."""

TOO_LARGE: Final = (
    f"takes more than {READER_BYTES >> 20} MiB of memory to be read;"
    " write it in smaller pieces (row groups, record batches)"
)

_OPEN_FILES_MAX: Final = 64


def read(said: socket.socket, source: int) -> None:
    """Read the file at a descriptor, by what the first line on the socket says of it."""
    kind, _, scheme = said.makefile("rb").readline().decode().strip().partition(" ")
    _limit()
    threading.Thread(target=_end_with, args=(said,), daemon=True).start()
    with suppress(OSError):  # whoever asked has gone
        try:
            for batch in _batches(source, kind, IdScheme(scheme)):
                send(said, batch)
                _limit_time()
            send(said, End())
        except InvalidUsageError as error:
            send(said, Wrong(error.path, error.reason))
        except UsageFileError as error:
            send(said, Wrong("body", TOO_LARGE if isinstance(error.__context__, MemoryError) else error.reason))
        except MemoryError:
            send(said, Wrong("body", TOO_LARGE))
        except (pa.ArrowException, ValueError, RecursionError) as error:
            send(said, Wrong("body", f"cannot be read: {error}"))


def _batches(source: int, kind: str, scheme: IdScheme) -> Iterator[Batch]:
    usage = read_usage(_file(source, kind), row_bytes_max=ROW_BYTES_MAX)
    for batch in record_batches(usage, id_scheme=scheme):
        yield Batch(batch.num_rows, encode(batch))


def _file(source: int, kind: str) -> Path | BinaryIO:
    if not (beginning := BEGINNINGS[kind]):
        return os.fdopen(source, "rb", buffering=0)
    if os.pread(source, len(beginning), 0) != beginning:
        raise UsageFileError(Path("-"), f"is not the {kind} file that its content-type says")
    return Path(f"/dev/fd/{source}")


def _limit() -> None:
    """Hold this process to its limits. What cannot be limited on a system is not: macOS has no bound of memory."""
    pa.set_cpu_count(1)
    with suppress(OSError):
        os.nice(NICENESS)
    with suppress(OSError):  # where memory ends all the same, a reader ends first
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES_MAX, _OPEN_FILES_MAX))
    most = _data_bytes() + READER_BYTES
    if sys.platform.startswith("linux"):
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    _limit_time()


def _limit_time() -> None:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    used = int(spent.ru_utime + spent.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + BATCH_SECONDS, resource.RLIM_INFINITY))


def _data_bytes() -> int:
    """What counts against the limit of memory before anything is read; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[5]) * resource.getpagesize()
    except OSError:
        return 0


def _end_with(said: socket.socket) -> None:
    """End when whoever asked has gone, whatever is being read."""
    gone = select.poll()
    gone.register(said, 0)
    gone.poll()
    os._exit(0)
