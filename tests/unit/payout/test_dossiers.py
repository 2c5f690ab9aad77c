"""Dossiers: what they say, that they are canonical, and that a round commits to each of them."""

from __future__ import annotations

import json
from typing import Final

import pytest
import rfc8785

from ledger.errors import LedgerCorruptError
from ledger.log.merkle import inclusion_proof, root, verify_inclusion
from payout.dossiers import (
    Dossier,
    Figures,
    line_salt,
    render_dossiers,
    statement_leaf,
    statement_leaves,
    weights_by_collective,
)
from payout.entries import RoundContent
from payout.policy import CommonsRule, Policy, Rounding, Tempering
from payout.statement import WEIGHTS_COLUMNS, parse_registry, parse_statement
from tests.support.pool_log import PoolLog
from tests.support.statement_files import calculated_log

POLICIES: Final = (
    Policy(),
    Policy(fee_ppm=50_000, commons_ppm=100_000, tempering=Tempering.SQRT, floor_minor=3, cap_minor=400),
    Policy(rounding=Rounding.PLACED, commons_ppm=333_333),
    Policy(floor_minor=10**6),
)


def a_round(policy: Policy) -> tuple[PoolLog, RoundContent, list[bytes]]:
    """A calculated round of three collectives, with its dossiers."""
    log = calculated_log(policy)
    ((_, content),) = log.placed(RoundContent)
    statement, weights, registry = (
        log.bodies[bytes.fromhex(digest)]
        for digest in (content.statement_sha256, content.weights_sha256, content.registry_sha256)
    )
    figures = Figures.of(content, policy, log.confidence())
    return log, content, list(render_dossiers(figures, parse_statement(statement), parse_registry(registry), weights))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_dossier_is_canonical_and_has_the_whole_of_its_line(policy: Policy) -> None:
    log, content, dossiers = a_round(policy)
    lines = parse_statement(log.bodies[bytes.fromhex(content.statement_sha256)])
    assert len(dossiers) == len(lines) == content.statement_lines
    for position, (document, line) in enumerate(zip(dossiers, lines, strict=True)):
        dossier = Dossier.parse(document)
        assert rfc8785.dumps(json.loads(document)) == document
        said = dossier.line
        assert {name: getattr(said, name) for name in type(said).model_fields} == {
            name: getattr(line, name) for name in type(said).model_fields
        }
        assert (dossier.position, dossier.terms.policy, dossier.totals.round) == (position, policy, content.number)
        assert sum(each.weight for each in dossier.weights) == line.weight_ai_only + line.weight_human_ai


def test_a_round_commits_to_each_of_its_dossiers() -> None:
    log, content, dossiers = a_round(Policy())
    salt = log.bodies[bytes.fromhex(content.salt_sha256)]
    lines = parse_statement(log.bodies[bytes.fromhex(content.statement_sha256)])
    leaves = statement_leaves(salt, lines, dossiers)
    assert root(leaves).hex() == content.statement_root
    for position, (line, dossier) in enumerate(zip(lines, dossiers, strict=True)):
        leaf = statement_leaf(line_salt(salt, line.collective), dossier)
        verify_inclusion(leaf, position, len(lines), inclusion_proof(position, leaves), root(leaves))


@pytest.mark.parametrize("size", [0, 1, 32, 63, 64, 65, 200])
def test_the_salts_of_all_lines_are_those_of_each(size: int) -> None:
    """Whatever the salt's length: a log that is verified may have another one than ours."""
    log, content, dossiers = a_round(Policy())
    salt = bytes(range(size))
    lines = parse_statement(log.bodies[bytes.fromhex(content.statement_sha256)])
    assert statement_leaves(salt, lines, dossiers) == [
        statement_leaf(line_salt(salt, line.collective), dossier) for line, dossier in zip(lines, dossiers, strict=True)
    ]


def test_a_dossier_does_not_change_when_the_registry_grows_before_the_round_is_logged() -> None:
    """A round that is calculated while others are registered is logged with a later size of the registry's log."""
    _, content, dossiers = a_round(Policy())
    assert content.registry_root.encode() not in b"".join(dossiers)
    assert not any("registry_size" in json.loads(document)["totals"] for document in dossiers)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"round":1', b'"round": 1'),
        (b'"round":1', b'"round":"1"'),
        (b'"position":0', b'"position":0.0'),
        (b'"commons_k":"0/1"', b'"commons_k":"0/2"'),
        (b'"commons_k":"0/1"', b'"commons_k":"0/0"'),
        (b'"commons_k":"0/1"', b'"commons_k":"1"'),
        (b'"status":"ACTIVE"', b'"status":"DEAD"'),
        (b'"members":300', b'"members":300,"more":1'),
        (b'{"line"', b'{"line":{},"line"'),
    ],
)
def test_another_spelling_is_refused(before: bytes, after: bytes) -> None:
    document = a_round(Policy(commons_rule=CommonsRule.FUND))[2][0]
    assert before in document
    with pytest.raises(LedgerCorruptError):
        Dossier.parse(document.replace(before, after))


@pytest.mark.parametrize("row", [",m,1,1,5", ",m,1,1,1,5,7", "eire,m,1,1,5", "eire,m,1,1,1,5,7", "eire"])
def test_a_row_of_weights_with_more_or_fewer_fields_is_refused(row: str) -> None:
    """Also where it is of nobody, so that no dossier shows it."""
    table = f"{','.join(WEIGHTS_COLUMNS)}\n{row}\n".encode()
    with pytest.raises(ValueError, match="unpack"):
        weights_by_collective(table, {("m", 1): 1})
