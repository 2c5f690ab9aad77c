"""The supervisor of `moiety serve`'s workers, where the machine starts no more processes for a while."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from typing import Final

import pytest

from services.metrics import SHARED_FOLDER
from services.process import workers

ADDRESS: Final = "127.0.0.1:1"


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    starts = 0
    back = Event()

    def start(_: int, address: str, __: object) -> subprocess.Popen[bytes]:
        nonlocal starts
        starts += 1
        if starts in (2, 3):
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        if starts > 3:
            back.set()
        return subprocess.Popen(
            [sys.executable, "-c", f"import sys; print({address!r}, flush=True); sys.stdin.read(1)"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    monkeypatch.setattr(workers, "_start", start)
    monkeypatch.setattr(workers, "FIRST_PAUSE_SECONDS", 0.01)
    told = Event()
    slot = workers._Slot(0, ADDRESS, told, {SHARED_FOLDER: str(tmp_path)})
    thread = Thread(target=slot.keep_up)
    try:
        assert slot.answers()
        thread.start()
        slot.process.kill()
        assert back.wait(240)
    finally:
        told.set()
        slot.stop()
        if thread.ident:
            thread.join()  # it reads what the last process prints: the pipes are closed after it
        workers._drain([slot])
    assert starts == 4
