"""JSON as messages: the largest honest one is read, and what says too much is refused before it costs anything."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import pytest

from ledger.errors import InvalidInputError
from moiety.v1 import audit_pb2, payments_pb2, registry_pb2, revenue_pb2, usage_pb2
from services.api.http.json_messages import JSON_LIST_MAX, JSON_TEXT_MAX, from_json


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


@pytest.mark.parametrize(
    "amount", ['"1_000"', '"٣"', '"+5"', '"5\\n"', '" 5"', '"1.000"', '"1e3"', '""', "1.5", "1e400", "true", "[]", "{}",
               '"9223372036854775808"', "9223372036854775808", "9007199254740994.0"],
)  # fmt: skip
def test_a_whole_number_is_written_in_one_way(amount: str) -> None:
    raw = f'{{"parent":"pools/folk","report":{{"currency":"EUR","amountMinor":{amount}}}}}'.encode()
    with pytest.raises(InvalidInputError) as caught:
        from_json(raw, revenue_pb2.ReportRevenueRequest)
    (violation,) = caught.value.violations
    assert violation.field in ("report.amount_minor", "request")


@pytest.mark.parametrize(
    ("amount", "found"), [('"1000"', 1000), ("1000", 1000), ("1e3", 1000), ("1000.0", 1000), ('"-7"', -7), ("null", 0)]
)
def test_a_whole_number_may_be_text_or_a_number(amount: str, found: int) -> None:
    raw = f'{{"report":{{"amountMinor":{amount}}}}}'.encode()
    read: Any = from_json(raw, revenue_pb2.ReportRevenueRequest)
    assert read.report.amount_minor == found


def test_a_wrong_number_is_named_by_its_place() -> None:
    document = json.loads(json.dumps(events(2, 2)))
    document["events"][1]["shares"][0]["shareNano"] = "0x10"
    with pytest.raises(InvalidInputError, match=r"^events\[1\]\.shares\[0\]\.share_nano: .*'0x10'"):
        from_json(json.dumps(document).encode(), usage_pb2.SubmitUsageRequest)


def test_a_field_is_there_under_one_of_its_names_and_a_repeated_one_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"^page_size: is there twice, as pageSize and page_size"):
        from_json(b'{"pageSize":1,"page_size":2}', audit_pb2.ListLeavesRequest)
    with pytest.raises(InvalidInputError, match="'name' twice"):
        from_json(b'{"name":"a","name":"b"}', registry_pb2.GetPoolRequest)
