"""What does not fit a column stops an export, and is named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.log.leaves import Leaf, encode
from payout.entries import RoundContent
from services.exports.errors import ExportValueError
from services.exports.parquet.rows import LeafRows
from services.exports.past import Past


class NoSource:
    """A source that has nothing: what is tested here does not ask it."""

    pool = "folk"


def round_leaf(weight: int) -> Leaf[Any]:
    digest = "ab" * 32
    content = RoundContent(
        number=1, previous=0, start=0, end=3, root=digest, policy_leaf=0, policy_version=1, registry_root=digest,
        registry_sha256=digest, statement_sha256=digest, weights_sha256=digest, salt_sha256=digest,
        statement_root=digest, statement_lines=0,
        events=0, retracted=0, weight=weight, weight_unattributed=0,
        deficit_unattributed=0, pot_minor=0, fee_minor=0, attributed_minor=0, commons_minor=0, commons_kept_minor=0,
        carried_minor=0, rounding_minor=0, kept_after_nano=0, by="scheduler", request_id="", fire_times=None,
    )  # fmt: skip
    return Leaf("folk", 3, datetime(2026, 1, 1, tzinfo=UTC), content)


def rows_of(leaf: Leaf[Any]) -> dict[str, Any]:
    """The tables that come before a body is asked for."""
    source: Any = NoSource()
    found = {}
    for table, rows in LeafRows(source, Past(source)).of(encode(leaf), leaf):
        found[table] = rows.to_pylist()
        if table == "rounds":
            break
    return found


def test_the_largest_whole_number_is_exact() -> None:
    assert rows_of(round_leaf(10**38 - 1))["rounds"][0]["weight"] == 10**38 - 1


def test_a_weight_beyond_38_digits_is_refused_with_its_leaf() -> None:
    with pytest.raises(ExportValueError) as caught:
        rows_of(round_leaf(10**38))
    assert (caught.value.leaf_index, caught.value.table) == (3, "rounds")
    assert str(caught.value).startswith("leaf 3, table rounds: ")
