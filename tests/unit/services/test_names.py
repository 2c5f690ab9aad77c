"""Resource names and page tokens by example."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import pytest

from ledger.errors import InvalidInputError
from services.api.names import (
    batch_name,
    ids_in,
    only_id,
    page_limit,
    page_token,
    parse_account_name,
    parse_batch_name,
    place_in,
)


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(InvalidInputError) as error:
        call(*arguments)
    (violation,) = error.value.violations
    assert len(violation.reason) < 500
    return violation.field


def test_ids_are_taken_from_a_name_of_the_pattern() -> None:
    assert ids_in("pools/folk/rounds/3", "pools/*/rounds/*", "name") == ("folk", "3")
    assert ids_in("pools/folk/schedule", "pools/*/schedule", "name") == ("folk",)
    assert ids_in("pools//rounds/", "pools/*/rounds/*", "name") == ("", "")  # whose form is for others to judge


@pytest.mark.parametrize(
    "name",
    ["", "folk", "pools", "pools/folk", "pools/folk/rounds", "pools/folk/rounds/3/", "/pools/folk/rounds/3",
     "pool/folk/rounds/3", "Pools/folk/rounds/3", "pools/folk/round/3", "pools/folk/rounds/3/4", "pools/a/b/rounds/3",
     "x" * 100_000],
)  # fmt: skip
def test_a_name_of_another_pattern_is_refused_by_its_field(name: str) -> None:
    assert refused(ids_in, name, "pools/*/rounds/*", "parent") == "parent"


def test_a_collection_and_an_id_are_all_of_a_name() -> None:
    assert only_id("platforms/acme", "platforms", "platform") == "acme"
    for name in ("platforms/", "platforms/Acme", "platforms/a/b", "collectives/acme", "acme", "platforms/acme\0", ""):
        assert refused(only_id, name, "platforms", "platform") == "platform"


def test_a_batch_is_named_by_its_platform_and_its_id_there() -> None:
    name = batch_name("folk", "acme", "2026-01.b_7")
    assert name == "pools/folk/batches/acme~2026-01.b_7"
    assert parse_batch_name(name, "name") == ("folk", "acme", "2026-01.b_7")
    for wrong in ("acme", "acme~", "~b", "acme~b~c", "Acme~b", "acme~b c", ""):
        assert refused(parse_batch_name, f"pools/folk/batches/{wrong}", "name") == "name"


def test_an_account_may_have_a_slash_in_its_name() -> None:
    assert parse_account_name("pools/folk/accounts/revenue", "name") == ("folk", "revenue")
    assert parse_account_name("pools/folk/accounts/collective/eire", "name") == ("folk", "collective/eire")
    for wrong in ("", "pools/folk", "pools/folk/accounts/", "pools/folk/accounts", "pools/Folk/accounts/fees",
                  "pool/folk/accounts/fees", "pools/a/b/accounts/fees", "accounts/fees"):  # fmt: skip
        assert refused(parse_account_name, wrong, "name") == "name"


def test_a_page_holds_100_unless_asked_and_1000_at_most() -> None:
    assert [page_limit(size) for size in (0, 1, 999, 1000)] == [100, 1, 999, 1000]
    for size in (-1, 1001, 2**31 - 1, -(2**31)):
        assert refused(page_limit, size) == "page_size"


@pytest.mark.parametrize("place", [(5,), ("collective/eire", 7), (-1,), (2**62,), (0, 0), ("",)])
def test_a_token_carries_its_place(place: tuple[Any, ...]) -> None:
    token = page_token(*place)
    assert token.isascii()
    assert place_in(token, *(type(part)() for part in place)) == place


def test_without_a_token_the_first_place_is_meant() -> None:
    assert place_in("", "", -1) == ("", -1)


def made(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


OTHERS: Final = [
    [],
    [1, 2],
    ["1"],
    [True],
    [1.0],
    [None],
    [[1]],
    1,
    "1",
    None,
    {"1": 1},
    [2**63],
    [2**70],
    [-2],
    [-(2**63)],
]
BROKEN: Final = [b"[" * 100_000, b"[NaN]", b"[1" + b"0" * 5000 + b"]", b"\xff", b"[1"]
TOKENS: Final = ["x", "é", "====", "\0", "AAAA", "W10", *map(made, OTHERS), *map(encoded, BROKEN)]


@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
def test_a_token_that_is_not_of_this_list_is_refused(token: str) -> None:
    assert refused(place_in, token, 0) == "page_token"


@pytest.mark.parametrize("text", ["\0", "a\0", "\n", "\ud800", "é"])
def test_a_token_with_what_no_name_of_ours_holds_is_refused(text: str) -> None:
    """What Postgres cannot compare must not reach it."""
    assert refused(place_in, made([text]), "") == "page_token"


def test_a_token_of_megabytes_is_not_read() -> None:
    token = base64.urlsafe_b64encode(b"[" + b"[]," * 10**6 + b"[]]").decode()
    with pytest.raises(InvalidInputError, match="page_token"):
        place_in(token, "", -1)
