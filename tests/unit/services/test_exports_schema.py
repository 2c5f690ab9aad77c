"""docs/analysis.md and the tables that are exported say the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from moiety.analysis import USAGE_KEYS, Export
from moiety.analysis.export import TABLES as ANALYSED
from services.exports.books.beancount import Beancount
from services.exports.books.books import PLACES, place_of
from services.exports.books.hledger import Hledger
from services.exports.parquet.schema import SHARES, TABLES, WEIGHT

PAGE: Final = (Path(__file__).parents[3] / "docs" / "analysis.md").read_text()
WORDS: Final = {
    pa.int64(): "int64",
    pa.int32(): "int32",
    pa.utf8(): "text",
    pa.bool_(): "bool",
    pa.date32(): "date",
    pa.binary(16): "16 bytes",
    pa.timestamp("us", tz="UTC"): "timestamp, UTC",
    WEIGHT: "decimal(38, 0)",
    SHARES: "list of (`collective` text, `share_nano` int32)",
}


def columns_on_the_page(table: str) -> list[tuple[str, str]]:
    section = PAGE.partition(f"\n### {table}\n")[2].partition("\n### ")[0]
    return re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", section, re.MULTILINE)


@pytest.mark.parametrize("table", TABLES)
def test_the_page_has_every_column_with_its_type(table: str) -> None:
    assert columns_on_the_page(table) == [(name, WORDS[kind]) for name, kind in TABLES[table].items()]


def test_the_page_has_no_other_tables() -> None:
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == list(TABLES)


def test_the_analyses_open_every_table() -> None:
    assert set(ANALYSED) == set(TABLES) == {field.name for field in fields(Export)}


def test_every_key_of_usage_is_on_the_page() -> None:
    (row,) = re.findall(r"^\| `usage_by.*$", PAGE, re.MULTILINE)
    assert all(key in row for key in USAGE_KEYS)


def test_the_page_says_where_every_kind_of_account_stands() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| `([\w:]+)` \| `([\w:]+)` \|$", PAGE, re.MULTILINE)
    assert {account.partition("/")[0] for account, _, _ in rows} == set(PLACES)
    for account, in_beancount, in_hledger in rows:
        assert Beancount.account(place_of(account)) == in_beancount
        assert Hledger.account(place_of(account)) == in_hledger


@pytest.mark.parametrize("collective", ["a", "a-1", "breton-2x", "z" * 63])
def test_ids_come_back_from_the_names_of_accounts(collective: str) -> None:
    name = Beancount.account(place_of(f"collective/{collective}"))
    assert re.fullmatch(r"[A-Z][a-z]+(:[A-Z0-9][A-Za-z0-9-]*)+", name)
    last = name.rpartition(":")[2]
    assert last[0].lower() + last[1:] == collective
