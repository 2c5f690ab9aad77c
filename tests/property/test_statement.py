"""Statements by their rules: one spelling for each, and nothing else is one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import LedgerCorruptError
from ledger.registry import Collective, CollectiveStatus
from payout.rounds import Line
from payout.statement import lines_of, parse_registry, parse_statement, render_registry, render_statement

names = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
statuses = st.sampled_from(CollectiveStatus)
figures = st.integers(0, 10) | st.integers(0, 2**130)
amounts = st.integers(0, 10) | st.integers(0, 2**62 - 1)  # of which the two of a line are what an account may have
fractions = st.integers(0, 10) | st.integers(0, 10**9 - 1)
net = st.integers(-10, 10) | st.integers(-(2**130), 2**130)
lines = st.lists(
    st.builds(Line, names, statuses, net, net, net, *[figures] * 3, *[amounts] * 2, *[fractions] * 4),
    max_size=8,
    unique_by=lambda line: line.collective,
).map(lambda found: sorted(found, key=lambda line: line.collective.encode()))
collectives = st.lists(
    st.builds(
        lambda name, members, equity_ppm, status: Collective(name, name, members, equity_ppm, status),
        names,
        st.integers(0, 10**10),
        st.integers(0, 10**8),
        statuses,
    ),
    max_size=8,
    unique_by=lambda collective: collective.name,
).map(lambda found: sorted(found, key=lambda collective: collective.name.encode()))

written = st.binary(max_size=3) | st.sampled_from([b" ", b"0", b"-", b"+", b"_", b",", b"\n", b"\r", b'"', b"\xd9\xa5"])


@st.composite
def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with a few written over, cut out or put in, or with two lines in each other's places."""
    rows = content.split(b"\n")
    if draw(st.booleans()) and len(rows) > 2:
        first, second = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows) - 1))
        rows[first], rows[second] = rows[second], rows[first]
        return b"\n".join(rows)
    at = draw(st.integers(0, len(content)))
    cut = draw(st.integers(at, min(len(content), at + 3)))
    return content[:at] + draw(written) + content[cut:]


@given(lines)
def test_a_statement_survives_its_bytes(stated: list[Line]) -> None:
    """Rule: the statement is the whole explanation of a round."""
    statement = render_statement(stated)
    assert parse_statement(statement) == stated
    assert statement.count(b"\n") == len(stated) + 1


@given(lines, names)
def test_one_collectives_lines_are_those_that_begin_with_its_name(stated: list[Line], name: str) -> None:
    """Rule: sorted by the bytes of the id, so the lines of one lie together."""
    for sought in [name, *(line.collective for line in stated)]:
        own = [line for line in stated if line.collective == sought]
        assert lines_of(render_statement(stated), sought) == render_statement(own)


@given(lines, st.data())
def test_changed_bytes_are_refused_or_are_the_statement_of_other_lines(stated: list[Line], data: st.DataObject) -> None:
    """Rule: canonical means one spelling only."""
    statement = render_statement(stated)
    other = data.draw(changed(statement))
    try:
        found = parse_statement(other)
    except LedgerCorruptError:
        assert other != statement
        return
    assert render_statement(found) == other
    assert (found == stated) == (other == statement)
    assert all(line.amount_minor >= 0 for line in found)


@given(collectives)
def test_a_snapshot_survives_its_bytes(registered: list[Collective]) -> None:
    """Rule: the snapshot has what can reach an amount: members, equity and status."""
    assert parse_registry(render_registry(registered)) == registered


@given(collectives, st.data())
def test_changed_bytes_are_refused_or_are_the_snapshot_of_others(
    registered: list[Collective], data: st.DataObject
) -> None:
    """Rule: as above."""
    snapshot = render_registry(registered)
    other = data.draw(changed(snapshot))
    try:
        found = parse_registry(other)
    except LedgerCorruptError:
        assert other != snapshot
        return
    assert render_registry(found) == other
    assert (found == registered) == (other == snapshot)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_arbitrary_bytes_are_refused(content: bytes) -> None:
    """Rule: as above."""
    for parse in (parse_statement, parse_registry):
        try:
            parse(content)
        except LedgerCorruptError:
            continue
        raise AssertionError(content)
