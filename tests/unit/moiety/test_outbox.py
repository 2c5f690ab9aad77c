"""An outbox: what was put is there after any crash, and is delivered once."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from google.rpc import code_pb2, status_pb2

from moiety import (
    AsyncClient,
    BatchRefusedError,
    Client,
    InvalidUsageError,
    Mode,
    Outbox,
    OutboxError,
    UsageEvent,
    batches,
    outbox,
)
from moiety.journals import read_records
from moiety.v1 import usage_pb2
from tests.support.far_end import GIVEN_UP, NOON, UNAVAILABLE, FarEnd, bad_request, listening, status


def event(number: int, **changes: Any) -> UsageEvent:
    values: dict[str, Any] = {"units": 1, "mode": Mode.AI_ONLY, "shares": {"irish": 600_000_000}, **changes}
    return UsageEvent(UUID(int=number), NOON, **values)


def opened(folder: Path) -> Outbox:
    return Outbox(folder, "folk", "ngram")


def numbers_in(far_end: FarEnd) -> list[int]:
    """The numbers of the events that the far end has, in the order in which they came."""
    found: list[int] = []
    for data in far_end.batches.values():
        found += [int.from_bytes(event_id, "big") for event_id in batches.decode(data).column("event_id").to_pylist()]
    return found


def test_what_was_put_is_delivered_once_and_in_order(tmp_path: Path, client: Client, far_end: FarEnd) -> None:
    with opened(tmp_path) as box:
        for number in range(25):
            box.put(event(number, work_id=f"urn:tune:{number}"))
        box.put(event(25), event(26))
        assert len(box) == 27
        delivery = client.deliver(box)
        assert (len(delivery.receipts), delivery.refused, len(box)) == (1, (), 0)
        assert client.deliver(box).receipts == ()
    assert numbers_in(far_end) == list(range(27))
    row = batches.decode(*far_end.batches.values()).to_pylist()[7]
    assert (row["work_id"], row["occurred_at"], row["units"], row["mode"]) == ("urn:tune:7", NOON, 1, 1)
    assert (row["collectives"], row["shares"]) == (["irish"], [600_000_000])


def test_events_wait_for_another_process_to_deliver_them(tmp_path: Path, client: Client, far_end: FarEnd) -> None:
    for start in (0, 10, 20):
        with opened(tmp_path) as box:
            box.put(*(event(number) for number in range(start, start + 10)))
    with opened(tmp_path) as box:
        assert len(box) == 30
        assert len(client.deliver(box).receipts) == 3
    assert numbers_in(far_end) == list(range(30))


def test_an_outbox_goes_on_in_a_new_file_before_one_is_too_large(
    tmp_path: Path, client: Client, far_end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "EVENTS_PER_BATCH", 4)
    with opened(tmp_path) as box:
        for number in range(10):
            box.put(event(number))
        monkeypatch.setattr(outbox, "BYTES_PER_FILE", 1)
        box.put(event(10))
        assert len(client.deliver(box).receipts) == 4
    assert numbers_in(far_end) == list(range(11))


def test_an_interrupted_delivery_is_made_with_the_same_batches(tmp_path: Path, client: Client, far_end: FarEnd) -> None:
    def answer(_: usage_pb2.AppendUsageRequest) -> None:
        far_end.failures = [UNAVAILABLE]  # the next batch finds the service away

    far_end.answer_batch = answer
    for start in (0, 10, 20):
        with opened(tmp_path) as box:
            box.put(*(event(number) for number in range(start, start + 10)))
    with opened(tmp_path) as box:
        far_end.failures = [UNAVAILABLE] * 100_000
        with pytest.raises(GIVEN_UP):
            client.deliver(box, timeout_seconds=0.3)
        assert len(box) == 30
        box.put(event(30))
    with opened(tmp_path) as box:
        far_end.failures = []
        assert len(client.deliver(box).receipts) == 4
    assert sorted(numbers_in(far_end)) == list(range(31))
    assert len(set(far_end.received)) == 4


def test_a_batch_that_was_recorded_and_not_removed_is_sent_again_as_it_was(
    tmp_path: Path, client: Client, far_end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as box:
        box.put(*(event(number) for number in range(5)))
        with monkeypatch.context() as crashing:
            crashing.setattr(box, "remove", lambda _: sys.exit("killed"))
            with pytest.raises(SystemExit):
                client.deliver(box)
    with opened(tmp_path) as box:
        assert len(box) == 5
        client.deliver(box)
    assert numbers_in(far_end) == list(range(5))
    assert len(far_end.received) == 2


def test_an_event_that_is_refused_is_set_aside_and_the_others_are_recorded(
    tmp_path: Path, client: Client, far_end: FarEnd
) -> None:
    def answer(request: usage_pb2.AppendUsageRequest) -> status_pb2.Status | None:
        units = batches.decode(request.arrow_stream).column("units").to_pylist()
        wrong = [
            (f"events[{place}].units", "must be 1 to 1000000000") for place, found in enumerate(units) if not found
        ]
        return status(code_pb2.INVALID_ARGUMENT, "refused", bad_request(*wrong[:2])) if wrong else None

    far_end.answer_batch = answer
    with opened(tmp_path) as box:
        box.put(*(event(number, units=int(number % 7 > 0)) for number in range(20)))
        delivery = client.deliver(box)
        assert [item.event.event_id.int for item in delivery.refused] == [0, 7, 14]
        assert delivery.refused[1].violations[0].description == "must be 1 to 1000000000"
        assert len(box) == 0
    assert numbers_in(far_end) == [number for number in range(20) if number % 7]
    kept = [item for path in (tmp_path / "refused").glob("*.json") for item in json.loads(path.read_bytes())]
    assert sorted(UUID(item["event_id"]).int for item in kept) == [0, 7, 14]
    assert kept[0]["violations"] == ["units: must be 1 to 1000000000"]


def test_a_batch_that_is_refused_as_a_whole_stays(tmp_path: Path, client: Client, far_end: FarEnd) -> None:
    too_large = status(code_pb2.INVALID_ARGUMENT, "refused", bad_request(("arrow_stream", "is too large")))
    far_end.answer_batch = lambda _: too_large
    with opened(tmp_path) as box:
        box.put(event(1))
        with pytest.raises(BatchRefusedError):
            client.deliver(box)
        assert len(box) == 1


def test_an_asyncio_client_delivers_too(tmp_path: Path, far_end: FarEnd) -> None:
    async def main(address: str) -> None:
        async with AsyncClient(address, "secret") as awaited:
            await asyncio.gather(*(asyncio.to_thread(box.put, event(number)) for number in range(20)))
            assert len((await awaited.deliver(box)).receipts) == 1

    with listening(far_end) as address, opened(tmp_path) as box:
        asyncio.run(main(address))
    assert sorted(numbers_in(far_end)) == list(range(20))


def test_threads_put_while_another_delivers(tmp_path: Path, client: Client, far_end: FarEnd) -> None:
    with opened(tmp_path) as box, ThreadPoolExecutor(8) as threads:
        puts = [threads.submit(box.put, event(number)) for number in range(300)]
        while not all(put.done() for put in puts):
            client.deliver(box)
        for put in puts:
            put.result()
        client.deliver(box)
        assert len(box) == 0
    assert sorted(numbers_in(far_end)) == list(range(300))


def test_an_end_that_is_torn_anywhere_is_cut_off_and_nothing_before_it(tmp_path: Path) -> None:
    with opened(tmp_path / "whole") as box:
        box.put(event(0))
        box.put(event(1))
    (path,) = (tmp_path / "whole").glob("*.events")
    whole = path.read_bytes()
    assert len(read_records(path)) == 2
    first = len(whole) // 2
    for length in range(first, len(whole)):
        for rest in (b"", bytes(len(whole) - length)):  # cut short, or in blocks that were never written
            path.write_bytes(whole[:length] + rest)
            with opened(tmp_path / "whole") as box:
                assert len(box) == 1
                box.put(event(2))
                assert len(box) == 2
            assert path.read_bytes() == whole[:first]
            (tmp_path / "whole" / f"{2:012}.events").unlink()


def test_events_after_a_torn_one_are_kept_and_so_are_the_bytes(tmp_path: Path, client: Client, far_end: FarEnd) -> None:
    with opened(tmp_path) as box:
        for number in range(3):
            box.put(event(number))
    (path,) = tmp_path.glob("*.events")
    whole = path.read_bytes()
    record = len(whole) // 3
    for at in range(record, 2 * record):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        with opened(tmp_path) as box:
            assert len(box) == 2
        assert path.read_bytes() == whole[:record] + whole[2 * record :]
        assert path.with_name(path.name + ".damaged").read_bytes() == damaged
    with opened(tmp_path) as box:
        client.deliver(box)
    assert numbers_in(far_end) == [0, 2]


def test_a_file_that_was_synced_whole_is_never_shortened(tmp_path: Path) -> None:
    for number in range(2):
        with opened(tmp_path) as box:
            box.put(event(number))
    first, _ = sorted(tmp_path.glob("*.events"))
    whole = first.read_bytes()
    for damaged in (whole[:-1], whole + b"\0", b"x" + whole[1:]):
        first.write_bytes(damaged)
        with pytest.raises(OutboxError, match="is damaged at byte"):
            opened(tmp_path)
        assert first.read_bytes() == damaged


def test_a_folder_is_used_by_one_outbox_at_a_time_and_is_of_one_pool_and_method(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(OutboxError, match="in use"):
        opened(tmp_path)
    for pool, method in (("jazz", "ngram"), ("folk", "votes")):
        with pytest.raises(OutboxError, match=r"says \{.*, not "):
            Outbox(tmp_path, pool, method)
    opened(tmp_path).close()


def test_what_cannot_be_sent_is_refused_when_it_is_put(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        for wrong in ({"units": 2**70}, {"shares": {"irish": -(2**40)}}, {"shares": {"irish": 0.5}}, {"mode": 300}):
            with pytest.raises(InvalidUsageError):
                box.put(event(1), event(2, **wrong))
        with pytest.raises(InvalidUsageError, match="time zone"):
            box.put(UsageEvent(UUID(int=1), NOON.replace(tzinfo=None), 1, Mode.AI_ONLY, {}))
        assert len(box) == 0
        box.put(event(3))
        assert len(box) == 1


def test_a_disk_that_is_full_keeps_nothing_of_an_event_and_the_outbox_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, data: bytes) -> None:
        file.write(data[:10])
        raise OSError(errno.ENOSPC, "no space left on device")

    with opened(tmp_path) as box:
        box.put(event(1))
        with monkeypatch.context() as filling:
            filling.setattr(outbox, "_write_all", full)
            with pytest.raises(OSError, match="no space"):
                box.put(event(2))
        box.put(event(3))
        assert len(box) == 2
    (path,) = tmp_path.glob("*.events")
    assert len(read_records(path)) == 2


def test_a_disk_that_failed_to_sync_is_not_trusted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    box = opened(tmp_path)
    box.put(event(1))
    with monkeypatch.context() as breaking:
        breaking.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="input/output"):
            box.put(event(2))
    with pytest.raises(OutboxError, match="disk failed"):
        box.put(event(3))
    with pytest.raises(OutboxError, match="disk failed"):
        box.sealed()
    box.close()
    with opened(tmp_path) as again:
        assert len(again) == 2


PUTTING: Final = """
import sys
from datetime import UTC, datetime
from uuid import UUID
import moiety

box = moiety.Outbox(sys.argv[1], "folk", "ngram")
number = int(sys.argv[2])
while True:
    number += 1
    box.put(moiety.UsageEvent(UUID(int=number), datetime(2026, 3, 1, tzinfo=UTC), 1, moiety.Mode.AI_ONLY, {"irish": 1}))
    print(number, flush=True)
    if number % 7 == 0:
        box.sealed()
"""


def test_whatever_was_acknowledged_before_a_kill_is_there_once(tmp_path: Path, client: Client, far_end: FarEnd) -> None:
    acknowledged: set[int] = set()
    kills = ((0, 1), (1000, 20), (2000, 33), (3000, 50))
    for first, wanted in kills:
        command = [sys.executable, "-c", PUTTING, str(tmp_path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            killer = threading.Timer(60, process.kill)
            killer.start()
            for line in process.stdout:
                acknowledged.add(int(line))
                if int(line) >= first + wanted:
                    process.send_signal(signal.SIGKILL)
            killer.cancel()
    with opened(tmp_path) as box:
        client.deliver(box)
    found = numbers_in(far_end)
    assert len(found) == len(set(found))
    assert len(acknowledged) >= sum(wanted for _, wanted in kills)
    assert acknowledged <= set(found)
    assert len(set(found) - acknowledged) <= len(kills)  # put, and killed before it was told


FORKING: Final = """\
import os
import sys
from tests.unit.moiety.test_outbox import OutboxError, event, opened

box = opened(sys.argv[1])
box.put(event(1))
if os.fork() == 0:
    for use in (lambda: box.put(event(2)), box.sealed, lambda: box.put(event(3))):
        try:
            use()
        except OutboxError as error:
            print(error.reason, flush=True)
    os._exit(0)
os.wait()
box.put(event(4))
"""


def test_a_forked_child_is_refused_since_its_parent_removes_the_file_that_it_has(tmp_path: Path) -> None:
    command = (sys.executable, "-c", FORKING, tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == 3 * "was opened before this process was forked; open one in each process\n"
    with opened(tmp_path) as box:
        assert len(box) == 2


@pytest.mark.parametrize("changes", [{"mode": 7}, {"work_id": "\ud800"}])
def test_an_event_that_could_not_be_sent_is_not_kept(tmp_path: Path, changes: dict[str, Any]) -> None:
    with opened(tmp_path) as box:
        with pytest.raises(InvalidUsageError, match=r"^events\[1\]"):
            box.put(event(1), event(2, **changes))
        assert (len(box), box.sealed()) == (0, [])
