"""Collectives' domains in Postgres: each belongs to at most one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.errors import Sentence, StateError
from ledger.registry import Collective
from ledger.store import tables as t

_MAPPED: Final = t.collective_domain.c


def of_collective() -> sa.Label[Any]:
    """The column `domains` of a query for collectives: an array, or NULL if a collective has none."""
    own = sa.select(sa.func.array_agg(_MAPPED.domain)).where(_MAPPED.collective_id == t.collective.c.collective_id)
    return own.scalar_subquery().label("domains")


def require_free(connection: sa.Connection, collective: Collective) -> None:
    """Check that no other collective has one of its domains.

    Raises:
        StateError: another collective has one of its domains.
    """
    if not collective.domains:
        return
    query = sa.select(_MAPPED.domain, t.collective.c.name).where(
        t.collective.c.collective_id == _MAPPED.collective_id,
        t.collective.c.name != collective.name,
        _is_among(collective.domains),
    )
    for row in connection.execute(query.order_by(_MAPPED.domain.collate("C")).limit(1)):
        detail = Sentence(
            "the domain %(domain)s belongs to %(owner)s", domain=row.domain, owner=f"collectives/{row.name}"
        )
        raise StateError(f"collectives/{collective.name}", "DOMAIN_TAKEN", detail)


def claim(connection: sa.Connection, number: int, collective: Collective) -> None:
    """Set the domains of the collective with this number, replacing any others.

    The caller holds the lock on the collective's row.

    Raises:
        StateError: another collective has one of its domains.
    """
    let_go = sa.update(t.collective_domain).where(_MAPPED.collective_id == number, ~_is_among(collective.domains))
    connection.execute(let_go.values(collective_id=None))
    if collective.domains:
        # The same order everywhere, so that two claims to the same domains wait for each other without a deadlock.
        rows = [{"domain": domain, "collective_id": number} for domain in sorted(collective.domains)]
        added = insert(t.collective_domain).values(rows)
        free = _MAPPED.collective_id.is_(None)
        connection.execute(
            added.on_conflict_do_update(
                index_elements=[_MAPPED.domain], set_={"collective_id": added.excluded.collective_id}, where=free
            )
        )
        # Domains of other collectives are left as they were.
        require_free(connection, collective)


def _is_among(domains: Iterable[str]) -> sa.ColumnElement[bool]:
    return _MAPPED.domain == sa.any_(sa.literal(list(domains), sa.ARRAY(sa.Text)))
