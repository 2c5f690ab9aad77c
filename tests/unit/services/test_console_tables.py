"""Rounds' tables in the console: what they give, and what changed between two of them."""

from __future__ import annotations

from ledger.registry import Collective, CollectiveStatus
from payout.rounds import Line
from payout.statement import render_registry, render_statement
from services.console.tables import Move, RegistryChange, amounts_of, movers, registry_changes


def test_amounts_are_those_of_a_statements_lines() -> None:
    lines = [
        Line("breton", CollectiveStatus.ACTIVE, 1, 1, 0, 0, 1, 0, 5, 2),
        Line("irish", CollectiveStatus.SUSPENDED, 0, 0, 0, 0, 0, 0, 0, 0),
    ]
    assert amounts_of(render_statement(lines)) == {"breton": 7, "irish": 0}
    assert amounts_of(render_statement([])) == {}
    assert movers({"breton": 7, "irish": 0}, {"breton": 9, "welsh": 1}) == [
        Move("breton", 9, 7), Move("welsh", 1, 0)
    ]  # fmt: skip


def test_what_changed_of_the_registry_is_told_by_collective_and_field() -> None:
    same = [Collective(f"c{number}", "C", number) for number in range(5)]
    before = [*same, Collective("gone", "G", 1), Collective("grown", "G", 1)]
    now = [*same, Collective("grown", "G", 2, status=CollectiveStatus.SUSPENDED), Collective("new", "N", 1)]
    assert registry_changes(render_registry(now), render_registry(before)) == [
        RegistryChange("gone", "", "gone", ""),
        RegistryChange("grown", "status", "ACTIVE", "SUSPENDED"),
        RegistryChange("grown", "members", "1", "2"),
        RegistryChange("new", "", "", "new"),
    ]
    for unchanged in ([], same):
        assert registry_changes(render_registry(unchanged), render_registry(unchanged)) == []
