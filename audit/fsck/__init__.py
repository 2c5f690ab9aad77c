"""A check of the live database: compares every row of every pool with what follows from the pool's log.

`read_registry` reads the pools, `check_registry_log` checks the registry, `check_pool` one pool, and `check_strays`
finds rows of pools that do not exist. Call them all in one transaction that sees one state, such as
`Database.snapshot`.
"""

from __future__ import annotations

from audit.fsck.check import check_pool, registry_history
from audit.fsck.registry import Registry, check_strays, read_registry
from audit.fsck.registry_log import check_registry_log
from audit.fsck.report import LISTED_MAX, CheckReport, kind_of

__all__ = [
    "LISTED_MAX",
    "CheckReport",
    "Registry",
    "check_pool",
    "check_registry_log",
    "check_strays",
    "kind_of",
    "read_registry",
    "registry_history",
]
