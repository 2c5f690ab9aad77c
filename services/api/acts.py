"""The acts service: what operators proposed, and what others decide."""

from __future__ import annotations

import grpc

from ledger.acts.entries import Decision
from ledger.store.registry.acts import Ruling
from ledger.store.registry.proposals import get_proposal, list_proposals
from moiety.v1 import acts_pb2 as pb
from moiety.v1 import acts_pb2_grpc
from services.access.permissions import actor
from services.api import convert
from services.api.names import page_limit, place_in
from services.api.pages import page_of
from services.api.resources import log_of, proposal_in
from services.parts import Parts


class ActsService(acts_pb2_grpc.ActsServiceServicer):
    """Proposals: looked at and decided."""

    def __init__(self, parts: Parts) -> None:
        self._database = parts.database
        self._acts = parts.acts
        self._keyring = parts.keyring

    def GetProposal(self, request: pb.GetProposalRequest, context: grpc.ServicerContext) -> pb.Proposal:
        with self._database.transaction() as connection:
            pool, leaf_index = proposal_in(connection, request.name, "name")
            return convert.proposal_to_proto(get_proposal(connection, pool, leaf_index))

    def ListProposals(
        self, request: pb.ListProposalsRequest, context: grpc.ServicerContext
    ) -> pb.ListProposalsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = log_of(connection, request.parent, "parent")
            found = list(list_proposals(connection, pool, only_open=request.only_open, after=after, limit=limit))
        listed, token = page_of(found, limit, convert.proposal_to_proto, lambda proposal: (proposal.leaf_index,))
        return pb.ListProposalsResponse(proposals=listed, next_page_token=token)

    def ApproveProposal(self, request: pb.ApproveProposalRequest, context: grpc.ServicerContext) -> pb.Proposal:
        return self._decide(request.name, Ruling(Decision.APPROVED, actor()))

    def RejectProposal(self, request: pb.RejectProposalRequest, context: grpc.ServicerContext) -> pb.Proposal:
        return self._decide(request.name, Ruling(Decision.REJECTED, actor(), request.reason))

    def WithdrawProposal(self, request: pb.WithdrawProposalRequest, context: grpc.ServicerContext) -> pb.Proposal:
        return self._decide(request.name, Ruling(Decision.WITHDRAWN, actor(), request.reason))

    def _decide(self, name: str, ruling: Ruling) -> pb.Proposal:
        with self._database.transaction() as connection:
            pool, leaf_index = proposal_in(connection, name, "name")
            self._acts.decide(connection, pool, leaf_index, ruling)
            found = get_proposal(connection, pool, leaf_index)
        # The decision may have been about keys.
        self._keyring.forget()
        return convert.proposal_to_proto(found)
