"""How to read the bodies of a pool's batches, according to their methods and memberships in the database."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

import sqlalchemy as sa

from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.pools import memberships, methods
from ledger.usage.entries import MembershipContent, UsageContent
from ledger.usage.membership import ParsedMemberships
from ledger.usage.methods import Method
from ledger.usage.reading import Reading


class Readings:
    """Returns the reading of a batch. Memberships are cached, and one thread at a time parses one."""

    def __init__(self) -> None:
        self._parsed = ParsedMemberships()
        self._lock = Lock()

    def now(self, connection: sa.Connection, pool: PoolRef, method: Method) -> Reading:
        """Returns the reading of a new batch with a method: its membership is the latest version."""
        if not method.membership:
            return Reading(method.score_rule)
        latest = memberships.get_membership(connection, pool, method.membership)
        membership = self._membership(connection, pool, latest.content)
        return Reading(method.score_rule, membership, latest.content.version)

    def then(self, connection: sa.Connection, pool: PoolRef, content: UsageContent) -> Reading:
        """Returns the reading of a batch that is in the log, as at its acceptance."""
        method = methods.get_method(connection, pool, content.method, content.method_version)
        if content.membership_version is None:
            return Reading(method.score_rule)
        found = memberships.get_membership(connection, pool, content.membership, content.membership_version)
        membership = self._membership(connection, pool, found.content)
        return Reading(method.score_rule, membership, content.membership_version)

    def _membership(self, connection: sa.Connection, pool: PoolRef, content: MembershipContent) -> Mapping[str, str]:
        with self._lock:
            remembered = self._parsed.get(content.body_sha256)
            if remembered is not None:
                return remembered
            body = log.checked_body(connection, pool, bytes.fromhex(content.body_sha256))
            return self._parsed.parse(content.body_sha256, body)
