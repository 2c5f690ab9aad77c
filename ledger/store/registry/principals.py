"""Acts about who may act: operators and auditors, controls, and the witnesses of time."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from ledger.acts.entries import ControlsContent, PrincipalContent, PrincipalStatus, WitnessesContent
from ledger.acts.people import People, Person
from ledger.errors import FormatError, InvalidInputError, StateError
from ledger.log.witnessed import timing_policy
from ledger.store.logs.log import PoolRef
from ledger.store.registry.acts import Effect, append_act
from ledger.store.registry.people import read_people


def _person(connection: sa.Connection, name: str) -> Person | None:
    return read_people(connection).persons.get(name)


def _put_principal(connection: sa.Connection, pool: PoolRef, content: PrincipalContent, now: datetime) -> Person:
    if content.status not in set(PrincipalStatus):
        raise InvalidInputError.of(
            "principal.status", "must be ACTIVE or SUSPENDED, got %(got)r", got=content.status[:80]
        )
    append_act(connection, pool, content, now)
    people = read_people(connection)
    if not people.operators():
        raise StateError(content.principal, "TOO_FEW_OPERATORS", "is the last operator who may act")
    return people.persons[content.principal]


def _standing_principal(connection: sa.Connection, _: PoolRef, content: PrincipalContent) -> Person | None:
    person = _person(connection, content.principal)
    return person if person and person.status == content.status else None


def _principal_version(connection: sa.Connection, _: PoolRef, content: PrincipalContent) -> dict[str, str]:
    person = _person(connection, content.principal)
    return {content.principal: person.status.value if person else "none"}


PUT_PRINCIPAL: Final = Effect(PrincipalContent, _put_principal, _standing_principal, rests_on=_principal_version)
"""Registers an operator or auditor, or changes its status. Returns a `Person`.

Raises StateError where no operator would be left who may act: nobody could undo it.
"""


def _set_controls(connection: sa.Connection, pool: PoolRef, content: ControlsContent, now: datetime) -> People:
    content.controls.require_sound()
    append_act(connection, pool, content, now)
    return read_people(connection)


def _standing_controls(connection: sa.Connection, _: PoolRef, content: ControlsContent) -> People | None:
    people = read_people(connection)
    return people if people.controls == content.controls else None


def _set_witnesses(connection: sa.Connection, pool: PoolRef, content: WitnessesContent, now: datetime) -> str:
    try:
        timing_policy(content.policy)
    except FormatError as error:
        raise InvalidInputError.of(
            "witnesses.policy", "%(what)s %(why)s", what=error.subject, why=error.reason
        ) from None
    append_act(connection, pool, content, now)
    return content.policy


def _standing_witnesses(connection: sa.Connection, _: PoolRef, content: WitnessesContent) -> str | None:
    return content.policy if read_people(connection).witnesses == content.policy else None


def _witnesses_version(connection: sa.Connection, _: PoolRef, __: Any) -> dict[str, str]:
    return {"witnesses": sha256(read_people(connection).witnesses.encode()).hexdigest()}


SET_WITNESSES: Final = Effect(WitnessesContent, _set_witnesses, _standing_witnesses, rests_on=_witnesses_version)
"""Names the witnesses by whom reviews are timed. Returns their policy; raises InvalidInputError if it is none."""


def _controls_version(connection: sa.Connection, _: PoolRef, __: Any) -> dict[str, str]:
    return {"controls": read_people(connection).controls.model_dump_json()}


SET_CONTROLS: Final = Effect(ControlsContent, _set_controls, _standing_controls, rests_on=_controls_version)
"""Changes how many people acts need. Returns `People`; raises InvalidInputError if the controls are not valid."""
