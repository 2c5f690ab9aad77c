"""Founding a deployment: its origin, its first operators with their keys, and how many people acts need.

The database's owner does it once, before anything else; everything after it is an act of an operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.acts.controls import TWO, Controls
from ledger.acts.entries import DeploymentContent, Founder, RecoveryContent
from ledger.acts.people import RECOVERY_DELAY
from ledger.errors import FormatError, InvalidInputError, StateError
from ledger.log.origins import require_deployment
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.pools import turns
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.acts import append_act, begin
from moiety.keys import make_key
from services.access.keys import ApiKey, Principal, Role, insert_key, parse_hash

MAX_FOUNDERS: Final = 20


@dataclass(frozen=True, slots=True)
class Founding:
    """What is founded. If `controls` are None, they follow from the number of founders."""

    origin: str
    founders: Sequence[Founder]
    controls: Controls | None = None
    keys_made_together: bool = False

    def content(self) -> DeploymentContent:
        """Returns the first leaf of the registry's log.

        Raises:
            InvalidInputError: no deployment may have the origin; there are too few or too many founders, one is named
                twice or is not an operator, or two have one key; or the controls are not valid, or require two people
                although there is one founder.
        """
        try:
            require_deployment(self.origin)
        except FormatError as error:
            raise InvalidInputError.of("origin", error.reason) from None
        names = [founder.operator for founder in self.founders]
        if not 1 <= len(names) <= MAX_FOUNDERS:
            raise InvalidInputError.of("operators", f"must be 1 to {MAX_FOUNDERS}, got {len(names)}")
        if len(set(names)) < len(names):
            raise InvalidInputError.of("operators", "names an operator twice")
        if len({founder.key_id for founder in self.founders}) < len(names):
            raise InvalidInputError.of("operators", "names a key twice: everyone makes one of their own")
        if any(Principal.parse(name).role is not Role.OPERATOR for name in names):
            raise InvalidInputError.of("operators", "must all be operators")
        controls = self.controls or (Controls.of_two() if len(names) >= TWO else Controls.of_one())
        if controls.require_sound().ask_for_two() and len(names) < TWO:
            raise InvalidInputError.of("controls", "require two people, but there is one founder")
        return DeploymentContent(
            origin=self.origin,
            controls=controls,
            founders=list(self.founders),
            keys_made_together=self.keys_made_together,
        )


def is_founded(connection: sa.Connection) -> bool:
    """Returns whether this deployment has a registry."""
    return connection.execute(sa.select(sa.exists().where(t.pool.c.pool_id == REGISTRY.pool_id))).scalar_one()


def found(connection: sa.Connection, founding: Founding) -> None:
    """Start the registry's log.

    Raises:
        InvalidInputError: as `Founding.content` does.
        StateError: it was already founded.
    """
    content = founding.content()
    if is_founded(connection):
        raise StateError("the deployment", "FOUNDED", "was already founded")
    now = read_time(connection)
    row = {"pool_id": REGISTRY.pool_id, "name": REGISTRY.name, "display_name": "Registry", "currency": ""}
    row["distribute"] = ""
    connection.execute(sa.insert(t.pool).values(created_at=now, **row))
    log.open_log(connection, REGISTRY.pool_id)
    turns.open_turns(connection, REGISTRY.pool_id)
    leaf_index = append_act(connection, REGISTRY, content, now)
    for founder in content.founders:
        key = ApiKey(founder.key_id, founder.operator, now)
        insert_key(connection, key, founder.secret_hash, leaf_index)


def found_with_new_keys(connection: sa.Connection, origin: str, operators: Sequence[str]) -> dict[str, str]:
    """Found a deployment by operators whose keys are made here, for trying; returns the keys by the operators' names.

    Raises:
        InvalidInputError, StateError: as `found` does.
    """
    made = {operator: make_key() for operator in operators}
    founders = []
    for operator, key in made.items():
        key_id, secret_hash = parse_hash(key.hash, "operators")
        founders.append(Founder(operator=operator, key_id=key_id, secret_hash=secret_hash))
    found(connection, Founding(origin, founders, keys_made_together=len(founders) > 1))
    return {operator: key.text for operator, key in made.items()}


def recover(connection: sa.Connection, operator: str, key_id: str, secret_hash: str) -> datetime:
    """Give an operator a key because all keys were lost; returns the time from which it works.

    Raises:
        InvalidInputError: the principal is not an operator, or the key was issued before.
    """
    if Principal.parse(operator).role is not Role.OPERATOR:
        raise InvalidInputError.of("operator", "must be an operator")
    people, now = begin(connection, REGISTRY)
    if key_id in people.keys:
        raise InvalidInputError.of("operator", f"names key {key_id}, which was issued before: make a new one")
    content = RecoveryContent(operator=operator, key_id=key_id, secret_hash=secret_hash, people_leaf=people.last_leaf)
    leaf_index = append_act(connection, REGISTRY, content, now)
    begins = now + RECOVERY_DELAY
    insert_key(connection, ApiKey(key_id, operator, now, begins_at=begins), secret_hash, leaf_index)
    return begins
