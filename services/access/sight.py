"""What of a log's leaves a principal may see: for watches, and for webhooks."""

from __future__ import annotations

from enum import Enum
from typing import Final

from ledger.log.leaves import Content
from payout.entries import PostingContent, RoundContent
from services.access.keys import Principal, Role

_SEE_ALL: Final = frozenset({Role.OPERATOR, Role.AUDITOR})


class Sight(Enum):
    """How much of a leaf somebody sees."""

    NOTHING = "NOTHING"
    HASH = "HASH"
    """Its index and its hash."""
    ALL = "ALL"


def sees_all(principal: Principal) -> bool:
    """Whether a principal sees every leaf of every log."""
    return principal.role in _SEE_ALL


def sight_of(principal: Principal, content: Content) -> Sight:
    """How much of a leaf of a pool's log a principal sees.

    Operators and auditors see everything. Others see every round and posting, and what is their own; of a posting that
    holds back what others get, the hash alone.
    """
    if sees_all(principal):
        return Sight.ALL
    is_shared = isinstance(content, (RoundContent, PostingContent))
    if not is_shared and principal.name not in content.parties:
        return Sight.NOTHING
    if isinstance(content, PostingContent) and not set(content.set_aside) <= {principal.id}:
        return Sight.HASH
    return Sight.ALL
