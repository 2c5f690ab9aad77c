"""Keys that were just looked up, over a real database."""

from __future__ import annotations

from typing import Final

import pytest
import sqlalchemy as sa

from ledger.acts.entries import KeyKind
from ledger.store.postgres.database import Database
from ledger.store.tables import api_key
from moiety.keys import make_key
from services.access import keys
from services.access.keyring import MAX_REMEMBERED, REMEMBERED_SECONDS, KeyRing
from services.access.keys import Caller, Principal, Role, UnauthenticatedError
from tests.support.deployment import START

pytestmark = pytest.mark.surface

KIM: Final = Principal(Role.AUDITOR, "kim")


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def issued(database: Database) -> tuple[str, str]:
    made = make_key()
    key_id, secret_hash = keys.parse_hash(made.hash, "hash")
    with database.transaction() as connection:
        keys.insert_key(connection, keys.ApiKey(key_id, KIM.name, START), secret_hash, 0)
    return key_id, made.text


def revoke(database: Database, key_id: str) -> None:
    with database.transaction() as connection:
        row = sa.update(api_key).where(api_key.c.key_id == key_id)
        connection.execute(row.values(revoked_at=START))


def test_a_key_revoked_by_another_server_holds_for_a_second_and_no_longer(database: Database) -> None:
    key_id, secret = issued(database)
    seconds = Seconds()
    ring = KeyRing(database, lambda: START, seconds)
    assert ring.caller(secret).principal == KIM
    revoke(database, key_id)
    seconds.now += REMEMBERED_SECONDS / 2
    assert ring.caller(secret).principal == KIM
    seconds.now += REMEMBERED_SECONDS / 2
    with pytest.raises(UnauthenticatedError):
        ring.caller(secret)


def test_a_key_revoked_here_ends_at_once(database: Database) -> None:
    key_id, secret = issued(database)
    ring = KeyRing(database, lambda: START, Seconds())
    assert ring.caller(secret).principal == KIM
    revoke(database, key_id)
    ring.forget()
    with pytest.raises(UnauthenticatedError):
        ring.caller(secret)


def test_a_remembered_key_costs_no_query(database: Database) -> None:
    _, secret = issued(database)
    ring = KeyRing(database, lambda: START, Seconds())
    queries: list[str] = []
    sa.event.listen(database._reading, "before_cursor_execute", lambda _c, _u, statement, *_: queries.append(statement))
    assert [ring.caller(secret).principal for _ in range(3)] == [KIM] * 3
    assert sum("api_key" in query for query in queries) == 1


def test_an_unknown_key_is_asked_about_each_time_and_not_remembered(database: Database) -> None:
    ring = KeyRing(database, lambda: START, Seconds())
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            ring.caller("moiety_0123456789abcdef_" + "A" * 43)
    assert not ring._known


def test_what_is_remembered_is_bounded(database: Database) -> None:
    _, secret = issued(database)
    ring = KeyRing(database, lambda: START, Seconds())
    ring._known = {(KeyKind.SECRET, str(number)): (Caller(KIM, ""), 200.0) for number in range(MAX_REMEMBERED)}
    assert ring.caller(secret).principal == KIM
    assert list(ring._known) == [(KeyKind.SECRET, secret)]
