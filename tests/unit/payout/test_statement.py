"""Statements and registry snapshots by example: their exact bytes, and everything that is not one of them."""

from __future__ import annotations

from typing import Final

import pytest

from ledger.errors import LedgerCorruptError
from ledger.registry import Collective, CollectiveStatus
from payout.rounds import Line
from payout.statement import parse_registry, parse_statement, render_registry, render_statement

LINES: Final = [
    Line("eire", CollectiveStatus.ACTIVE, 5, 7, 0, 0, 5_000_000, 0, 12, 3, 4, 999_999_999, 0, 8),
    Line("han", CollectiveStatus.SUSPENDED, 1, 0, 2**80, 2**70, 2**100, 0, 10**15, 0),
    Line("q-1", CollectiveStatus.ACTIVE, -2, -9, -(2**80), 4, 0, 2**90, 0, 3),
]
STATEMENT: Final = b"""\
collective,status,events,weight_ai_only,weight_human_ai,deficit_before,weight,deficit_after,attributed_minor,\
commons_minor,amount_minor,attributed_before_nano,attributed_after_nano,commons_before_nano,commons_after_nano
eire,ACTIVE,5,7,0,0,5000000,0,12,3,15,4,999999999,0,8
han,SUSPENDED,1,0,1208925819614629174706176,1180591620717411303424,1267650600228229401496703205376,0,1000000000000000,\
0,1000000000000000,0,0,0,0
q-1,ACTIVE,-2,-9,-1208925819614629174706176,4,0,1237940039285380274899124224,0,3,3,0,0,0,0
"""
COLLECTIVES: Final = [
    Collective("eire", "Éire", 300),
    Collective("han", "汉", 10**10, 10**8, CollectiveStatus.SUSPENDED),
]
REGISTRY: Final = b"""\
collective,status,members,equity_ppm
eire,ACTIVE,300,1000000
han,SUSPENDED,10000000000,100000000
"""


def test_a_statement_is_its_canonical_bytes() -> None:
    assert render_statement(LINES) == STATEMENT
    assert parse_statement(STATEMENT) == LINES


def test_a_statement_of_nobody_is_its_header() -> None:
    header = STATEMENT.splitlines(keepends=True)[0]
    assert render_statement([]) == header
    assert parse_statement(header) == []


@pytest.mark.parametrize(
    ("canonical", "other"),
    [
        (b"eire,ACTIVE,5", b"eire,ACTIVE,05"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,+5"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,--5"),
        (b"eire,ACTIVE,5,7,0", b"eire,ACTIVE,5,7,-0"),
        (b"q-1,ACTIVE,-2", b"q-1,ACTIVE,-02"),
        (b"q-1,ACTIVE,-2", b"q-1,ACTIVE,- 2"),
        (b"q-1,ACTIVE,-2", b"q-1,ACTIVE,-"),
        (b"q-1,ACTIVE,-2", b"q-1,ACTIVE,\xe2\x88\x922"),
        (b"eire,ACTIVE,5,7,0,0,", b"eire,ACTIVE,5,7,0,-1,"),
        (b"0,0,5000000,0,", b"0,0,-5000000,0,"),
        (b"0,0,5000000,0,", b"0,0,5000000,-1,"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE, 5"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,5 "),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,5.0"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,5e0"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,\xd9\xa5"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,\xc2\xb2"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE,0x5"),
        (b"eire,ACTIVE,5", b"eire,ACTIVE," + b"9" * 5000),
        (b"eire,ACTIVE,5,7,0,0,5000000", b"eire,ACTIVE,5,7,0,0,5_000_000"),
        (b"eire,ACTIVE", b'"eire",ACTIVE'),
        (b"eire,ACTIVE", b"eire ,ACTIVE"),
        (b"eire,ACTIVE", b"Eire,ACTIVE"),
        (b"eire,ACTIVE", b",ACTIVE"),
        (b"eire,ACTIVE", b"eire,active"),
        (b"eire,ACTIVE", b"eire,OTHER"),
        (b"eire,ACTIVE", b"eire"),
        (b"eire,ACTIVE", b"eire,ACTIVE,1"),
        (b"12,3,15,", b"12,3,16,"),
        (b"0,8\n", b"0,8,\n"),
        (b"0,8\n", b"0\n"),
        (b"0,8\n", b"0,8\r\n"),
        (b"0,8\n", b"0,8\n\n"),
        (b"12,3,15,", b"-3,18,15,"),
        (b",999999999,", b",1000000000,"),
        (b",999999999,", b",-1,"),
        (b"0,8\n", b"0,1000000000\n"),
        (b"eire,", b"han,"),
        (b"eire,", b"zz,"),
        (b"9124224,0,3,3,0,0,0,0\n", b"9124224,0,3,3,0,0,0,0"),
        (b"9124224,0,3,3,0,0,0,0\n", b"9124224,0,3,3,0,0,0,0\n\n"),
        (b"9124224,0,3,3,0,0,0,0\n", b"9124224,0,3,3,0,0,0,0\n\x00"),
        (b"weight_ai_only", b"weight_human_ai"),
        (b"collective,status", b"\xef\xbb\xbfcollective,status"),
        (b"collective,status", b"status,collective"),
        (b"eire", b"\xff"),
    ],
)
def test_any_other_spelling_of_a_statement_is_refused(canonical: bytes, other: bytes) -> None:
    assert STATEMENT.count(canonical) >= 1
    with pytest.raises(LedgerCorruptError) as refused:
        parse_statement(STATEMENT.replace(canonical, other, 1))
    assert refused.value.subject == "statement"


@pytest.mark.parametrize("statement", [b"", b"\n", b"eire,ACTIVE,5,0,5,0,5,0,1,1,2\n", REGISTRY])
def test_what_is_no_statement_at_all_is_refused(statement: bytes) -> None:
    with pytest.raises(LedgerCorruptError):
        parse_statement(statement)


def test_lines_stand_by_the_bytes_of_their_ids_and_once_each() -> None:
    for lines in ([LINES[1], LINES[0]], [LINES[0], LINES[0]], [LINES[0], LINES[1], LINES[0]]):
        with pytest.raises(LedgerCorruptError, match=r"^statement: is not canonical$"):
            parse_statement(render_statement(lines))


def test_a_snapshot_is_its_canonical_bytes_and_knows_no_names_for_people() -> None:
    assert render_registry(COLLECTIVES) == REGISTRY
    assert parse_registry(REGISTRY) == [
        Collective("eire", "eire", 300),
        Collective("han", "han", 10**10, 10**8, CollectiveStatus.SUSPENDED),
    ]


@pytest.mark.parametrize(
    ("canonical", "other"),
    [
        (b",300,", b",0300,"),
        (b",300,", b",-300,"),
        (b",300,", b",+300,"),
        (b",300,", b", 300,"),
        (b",300,", b",3_00,"),
        (b",300,", b",10000000001,"),
        (b",1000000\n", b",100000001\n"),
        (b",1000000\n", b",1000000\r\n"),
        (b",1000000\n", b",1000000,\n"),
        (b",1000000\n", b"\n"),
        (b"eire", b"Eire"),
        (b"eire", b""),
        (b"eire", b"zz"),
        (b"eire", b"han"),
        (b"ACTIVE", b"active"),
        (b"ACTIVE", b""),
        (b",100000000\n", b",100000000"),
        (b"members", b"equity_ppm"),
        (b"eire", b"\xc3"),
    ],
)
def test_any_other_spelling_of_a_snapshot_is_refused(canonical: bytes, other: bytes) -> None:
    assert REGISTRY.count(canonical) >= 1
    with pytest.raises(LedgerCorruptError) as refused:
        parse_registry(REGISTRY.replace(canonical, other, 1))
    assert refused.value.subject == "registry snapshot"


def test_collectives_stand_by_the_bytes_of_their_ids_and_once_each() -> None:
    for collectives in (COLLECTIVES[::-1], [*COLLECTIVES, COLLECTIVES[1]]):
        with pytest.raises(LedgerCorruptError, match=r"^registry snapshot: is not canonical$"):
            parse_registry(render_registry(collectives))
