"""Proposals as messages."""

from __future__ import annotations

from ledger.store.registry.proposals import Proposal, proposal_name
from moiety.v1 import acts_pb2
from services.api.convert.common import timestamp


def proposal_to_proto(found: Proposal) -> acts_pb2.Proposal:
    message = acts_pb2.Proposal(
        name=proposal_name(found.log, found.leaf_index),
        state=acts_pb2.ProposalState.Value(f"PROPOSAL_STATE_{found.state.value}"),
        effect=found.content.effect,
        rests_on=found.content.rests_on,
        reason=found.content.reason,
        proposed_by=found.content.by,
        propose_time=timestamp(found.time),
    )
    message.content.update(found.content.content)
    if found.decision:
        message.decided_by = found.decision.content.by
        message.decide_time.FromDatetime(found.decision.time)
        message.decision_reason = found.decision.content.reason
    return message
