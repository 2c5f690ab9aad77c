"""The answer of a call that acts: what was done, or what was asked with the name of the proposal that waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from ledger.store.registry.acts import Outcome
from ledger.store.registry.proposals import proposal_name

M = TypeVar("M", bound=Message)


def told(outcome: Outcome, to_proto: Callable[[Any], M], asked: Any) -> M:
    """Returns the message of what an act did, or what was asked (our value or the caller's message) as proposed."""
    if outcome.proposal is None:
        return to_proto(outcome.done)
    message: Any = asked if isinstance(asked, Message) else to_proto(asked)
    message.proposal = proposal_name(outcome.proposal.log, outcome.proposal.leaf_index)
    return cast("M", message)
