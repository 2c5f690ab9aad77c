"""JSON as messages: the largest honest one is read, and what says too much is refused before it costs anything."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import pytest

from ledger.errors import InvalidInputError
from moiety.v1 import payments_pb2, registry_pb2, usage_pb2
from services.api.http.messages import JSON_LIST_MAX, JSON_TEXT_MAX, from_json


def events(count: int, shares: int) -> dict[str, Any]:
    each = [{"collectiveId": f"collective-{place}", "shareNano": 10**9 // shares} for place in range(shares)]
    event = {
        "workId": "urn:c2pa:1", "occurredAt": "2026-11-29T10:00:00.123456Z", "units": "1", "mode": "MODE_AI_ONLY",
        "shares": each,
    }  # fmt: skip
    return {
        "parent": "pools/folk", "batchId": "b", "methodId": "m",
        "events": [{"eventId": str(UUID(int=place)), **event} for place in range(count)],
    }  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
def test_the_largest_honest_batch_is_read(indent: int | None) -> None:
    found: Any = from_json(json.dumps(events(1_000, 64), indent=indent).encode(), usage_pb2.SubmitUsageRequest)
    assert len(found.events) == 1_000
    assert {len(event.shares) for event in found.events} == {64}


def test_bytes_may_be_as_long_as_a_bank_s_file() -> None:
    content = b"<" * 4 * 2**20
    document = {"parent": "bankAccounts/main", "content": base64.b64encode(content).decode()}
    found: Any = from_json(json.dumps(document).encode(), payments_pb2.ImportBankFileRequest)
    assert found.content == content


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a":[' + b"," * 300_000, "elements"),
        (b'{"events":[' + b"{}," * JSON_LIST_MAX + b"{}]}", "list"),
        (b'{"name":"' + b"a" * (JSON_TEXT_MAX + 1) + b'"}', "text"),
        (b'{"name":"a","name":"b"}', "twice"),
        (b'["name"]', "object"),
        (b"null", "object"),
        (b'{"name":"\xff"}', "UTF-8"),
        ('{"name":"a"}'.encode("utf-16"), "UTF-8"),
        (b'{"name":' * 2_000, "JSON"),
        (b'{"name":' + b"1" * 10_000 + b"}", "JSON"),
        (b'{"nome":"a"}', "nome"),
    ],
)
def test_what_says_too_much_or_nothing_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        from_json(raw, registry_pb2.GetPoolRequest)
