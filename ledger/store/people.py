"""Operators, auditors and controls in Postgres: changing and reading them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.acts.entries import ControlsContent, PrincipalContent, PrincipalStatus
from ledger.acts.people import People, Person
from ledger.errors import InvalidInputError, NotFoundError
from ledger.store.acts import Effect, append_act, read_people
from ledger.store.log import PoolRef


def _person(connection: sa.Connection, name: str) -> Person | None:
    return read_people(connection).persons.get(name)


def _put_principal(connection: sa.Connection, pool: PoolRef, content: PrincipalContent, now: datetime) -> Person:
    if content.status not in set(PrincipalStatus):
        raise InvalidInputError.of("principal.status", f"must be ACTIVE or SUSPENDED, got {content.status[:80]!r}")
    append_act(connection, pool, content, now)
    person = _person(connection, content.principal)
    if person is None:
        raise NotFoundError(content.principal)
    return person


def _standing_principal(connection: sa.Connection, _: PoolRef, content: PrincipalContent) -> Person | None:
    person = _person(connection, content.principal)
    return person if person and person.status == content.status else None


def _principal_version(connection: sa.Connection, _: PoolRef, content: PrincipalContent) -> dict[str, str]:
    person = _person(connection, content.principal)
    return {content.principal: person.status.value if person else "none"}


PUT_PRINCIPAL: Final = Effect(PrincipalContent, _put_principal, _standing_principal, rests_on=_principal_version)
"""Registers an operator or auditor, or changes its status. Returns a `Person`."""


def _set_controls(connection: sa.Connection, pool: PoolRef, content: ControlsContent, now: datetime) -> People:
    content.controls.require_sound()
    append_act(connection, pool, content, now)
    return read_people(connection)


def _standing_controls(connection: sa.Connection, _: PoolRef, content: ControlsContent) -> People | None:
    people = read_people(connection)
    return people if people.controls == content.controls else None


def _controls_version(connection: sa.Connection, _: PoolRef, __: Any) -> dict[str, str]:
    return {"controls": read_people(connection).controls.model_dump_json()}


SET_CONTROLS: Final = Effect(ControlsContent, _set_controls, _standing_controls, rests_on=_controls_version)
"""Changes how many people acts need. Returns `People`; raises InvalidInputError if the controls are not valid."""
