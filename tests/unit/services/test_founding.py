"""A deployment is founded under a name that keys can have, by people with a key each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from ledger.acts.entries import Founder
from ledger.errors import InvalidInputError
from services.access.founding import Founding
from services.signing.key_file import generate_key

ALICE: Final = Founder(operator="operators/alice", key_id="a" * 16, secret_hash="a" * 64)
BOB: Final = Founder(operator="operators/bob", key_id="b" * 16, secret_hash="b" * 64)


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("", "must not be empty"),
        ("example.com moiety", "must not be empty or contain spaces"),
        ("example.com+moiety", "must not be empty or contain spaces"),
        ("example.com\nmoiety", "must not be empty or contain spaces"),
        ("example.com/registry", "is that of the log registry of the deployment example.com"),
        ("example.com/pools/main", "is that of the log main of the deployment example.com"),
    ],
)
def test_an_origin_that_no_key_can_have_founds_nothing(origin: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=f"origin: {reason}"):
        Founding(origin, [ALICE, BOB]).content()
    with pytest.raises(InvalidInputError, match=f"origin: {reason}"):
        generate_key(tmp_path / "signing.key", origin)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("origin", ["example.com/moiety", "localhost/moiety", "log.example", "example.com/moiety/2"])
def test_an_origin_that_a_key_can_have_founds(origin: str) -> None:
    assert Founding(origin, [ALICE, BOB]).content().origin == origin


def test_two_founders_do_not_share_a_key() -> None:
    shared = Founder(operator=BOB.operator, key_id=ALICE.key_id, secret_hash=ALICE.secret_hash)
    with pytest.raises(InvalidInputError, match="names a key twice"):
        Founding("log.example", [ALICE, shared]).content()
