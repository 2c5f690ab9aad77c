"""What a request would propose, where an open proposal says the same already: a repeat must not propose it again."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from ledger.acts.act import ActContent
from ledger.store.logs.log import REGISTRY
from ledger.store.registry.proposals import Proposal, list_proposals


def waiting_act(connection: sa.Connection, kind: type[ActContent], **about: str) -> Proposal | None:
    """Returns the first open proposal of a kind of act of the registry whose content says this; None without one."""
    return next(waiting_acts(connection, kind, **about), None)


def waiting_acts(connection: sa.Connection, kind: type[ActContent], **about: str) -> Iterator[Proposal]:
    """Gives all open proposals of a kind of act of the registry whose content says this."""
    for found in list_proposals(connection, REGISTRY, only_open=True):
        made = found.content
        if made.effect == kind.type and all(made.content[field] == value for field, value in about.items()):
            yield found
