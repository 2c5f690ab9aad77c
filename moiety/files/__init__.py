"""Usage files: Arrow IPC (file or stream), Parquet, CSV and JSON, read piece by piece in bounded memory.

The columns are those of `moiety.batches`. What a row means depends on that row alone: nothing is guessed from the rows
before it.

- CSV: the first line names the columns. `collectives` and `shares` (or `sources` and `scores`) are lists separated by
  `;`, an empty cell is an empty list (or no work id).
- JSON: an object per line (NDJSON), or one array of objects. Each has the fields of its columns; `work_id` may be left
  out, and an event without collectives has empty lists.
- In both, ids and times are text, and a whole number may be written `5`, `5.0` or `"5"`.

A file's name says its format; the content says it where the name does not, and for what is read from a pipe. Text files
and Arrow streams may be compressed with gzip, bzip2 or zstd, which the content says.
"""

from __future__ import annotations

from moiety.files.reading import count_events, read_usage

__all__ = ["count_events", "read_usage"]
