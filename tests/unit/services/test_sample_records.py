"""`moiety verify --sample --records`: which of a platform's own records each drawn event is of."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from audit.batches.sample import SampledEvent
from ledger.usage.ids import IdScheme
from moiety.ids import event_id_of, ordered_event_id_of, uuid7
from services.cli.app import main
from services.cli.audit.records import HASHED, UNKNOWN, own_ids, record_text
from services.cli.base.exits import InputError
from tests.support.exports import KEY, bundle_of
from tests.support.replay_history import HISTORY

ULID: Final = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
AT: Final = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)


def drawn(event_id: UUID, position: int, scheme: IdScheme = IdScheme.OWN) -> SampledEvent:
    return SampledEvent("acme", "b-1", 7, position, scheme, event_id, None, 0, 1, 1, ())


def test_an_event_is_told_with_the_record_that_its_id_is_made_of(tmp_path: Path) -> None:
    uuid = uuid7()
    events = [
        drawn(uuid, 0),
        drawn(event_id_of(ULID), 1),
        drawn(event_id_of("play 1"), 2),
        drawn(ordered_event_id_of("play é", AT), 3, IdScheme.ORDERED),
        drawn(ordered_event_id_of("play é", AT + timedelta(days=1)), 4, IdScheme.ORDERED),
        drawn(event_id_of("play 2"), 5),
    ]
    lists = [tmp_path / "acme", tmp_path / "zen"]
    lists[0].write_bytes(f"{uuid}\r\n\nplay 1\n{'other ' * 100}\n".encode())
    lists[1].write_text(f"{ULID}\nplay é")
    known = own_ids(events, lists)
    assert [record_text(event, known) for event in events] == [
        str(uuid), ULID, "play 1", "play é", "play é", UNKNOWN,
    ]  # fmt: skip
    assert [record_text(event, None) for event in events] == [str(uuid), str(event_id_of(ULID)), *[HASHED] * 4]


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    for content in (b"play\xff\n", b"x" * 70_000):
        path.write_bytes(b"play 1\n" + content)
        with pytest.raises(InputError, match="line 2"):
            own_ids([drawn(uuid7(), 0)], [path])
    os.mkfifo(tmp_path / "pipe")
    for absent in (tmp_path / "absent", tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError):
            own_ids([], [absent])


def test_the_command_says_how_many_have_no_record_and_the_page_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, records, html = bundle_of(HISTORY, tmp_path / "folk.tar"), tmp_path / "records", tmp_path / "folk.html"
    command = ["verify", str(bundle), "--key", str(KEY.verifier_key), "--sample", "3", "--seed", "x"]
    with pytest.raises(SystemExit):
        main([*command, "--json"])
    sample = json.loads(capsys.readouterr().out)["sample"]
    assert [each["record_id"] for each in sample] == [each["event_id"] for each in sample]
    records.write_text(f"{sample[1]['event_id'].upper()}\n")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--records", str(records), "--report", str(html)])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    missing = sum(each["event_id"] != sample[1]["event_id"] for each in sample)
    assert f"Of 3 events drawn, {missing} have no record in the list." in out
    assert sample[1]["event_id"].upper() in html.read_text()
    assert html.read_text().count(UNKNOWN) == missing
    with pytest.raises(SystemExit) as refused:
        main([*command[:4], "--records", str(records)])
    assert refused.value.code == 2
    assert capsys.readouterr().err.startswith("records: ")
