"""The check of the live database: a row that anyone edits, deletes or inserts by hand is found, and named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.conftest import Deployment
from tests.fsck_scene import build, check, findings


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> None:
    build(shared_deployment)


@pytest.fixture
def tampering(scene: None, shared_owner: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction of the database's owner, of which nothing stays."""
    with shared_owner.connect() as connection:
        yield connection
        connection.rollback()


def test_a_sound_database_has_no_findings(tampering: sa.Connection) -> None:
    folk, other, strays = check(tampering)
    assert [folk.findings, other.findings, strays.findings] == [[], [], []]
    assert folk.unfollowed_from is None
    print(folk)
