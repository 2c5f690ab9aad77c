"""The peer of verification: reads, hashes and decompresses the bodies of a bundle, and does nothing else with them."""

from __future__ import annotations

import sys
import tarfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pyarrow as pa


def read(bundle: Path, threads: int) -> int:
    """How many bodies there are, all of which were read by so many threads."""
    waiting: deque[Future[None]] = deque()
    count = 0
    with tarfile.open(bundle) as members, ThreadPoolExecutor(threads) as pool:
        for member in members:
            if not member.name.startswith("body/"):
                continue
            file = members.extractfile(member)
            assert file is not None
            waiting.append(pool.submit(_read_one, file.read(), Path(member.name).name))
            count += 1
            if len(waiting) > threads:
                waiting.popleft().result()
        for each in waiting:
            each.result()
    return count


def _read_one(body: bytes, digest: str) -> None:
    if sha256(body).hexdigest() != digest:
        raise AssertionError(f"{digest} is not the hash of its bytes")
    with pa.ipc.open_stream(pa.py_buffer(body), options=pa.ipc.IpcReadOptions(use_threads=False)) as stream:
        stream.read_next_batch()


if __name__ == "__main__":
    print(read(Path(sys.argv[1]), int(sys.argv[2])))
