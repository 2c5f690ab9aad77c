"""What the text of each migration keeps to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

VERSIONS: Final = Path(__file__).parents[3] / "services" / "migrations" / "versions"


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_a_migration_changes_one_thing_of_a_table_at_a_time(path: Path) -> None:
    """A cluster refuses an ALTER TABLE of several parts."""
    statements = re.findall(r"ALTER TABLE[^;]*", path.read_text("utf-8"))
    assert [each for each in statements if re.search(r",\s*\"?\s*(ADD|DROP|ALTER|RENAME)\b", each)] == []
