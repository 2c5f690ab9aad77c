"""Verbs of the ActsService: what waits for a second operator."""

from __future__ import annotations

from functools import cached_property

from moiety.connection import PAGE_SIZE
from moiety.steps import Pages, Steps
from moiety.v1 import acts_pb2 as pb
from moiety.v1.acts_pb2_grpc import ActsServiceStub
from moiety.verbs.base import Verbs, listing, pool_name, verb


class ActsVerbs(Verbs):
    """Proposals, by their names: `pools/{pool}/proposals/{leaf}`, or `registry/proposals/{leaf}`."""

    @cached_property
    def _acts(self) -> ActsServiceStub:
        return ActsServiceStub(self._connection.channel)

    @verb
    def get_proposal(self, name: str) -> Steps[pb.Proposal]:
        """Give one proposal."""
        return self._connection.unary(self._acts.GetProposal, pb.GetProposalRequest(name=name), repeat=True)

    @listing
    def list_proposals(self, pool: str | None = None, *, only_open: bool = False) -> Pages[pb.Proposal]:
        """Return the proposals about a pool, or without one those about the registry, oldest first."""
        parent = "registry" if pool is None else pool_name(pool)
        request = pb.ListProposalsRequest(parent=parent, only_open=only_open, page_size=PAGE_SIZE)
        return self._connection.pages(self._acts.ListProposals, request, lambda page: page.proposals)

    @verb
    def approve_proposal(self, name: str) -> Steps[pb.Proposal]:
        """Approve a proposal and carry it out.

        Raises:
            AbortedError: what it rests on has changed since.
        """
        return self._connection.unary(self._acts.ApproveProposal, pb.ApproveProposalRequest(name=name), repeat=False)

    @verb
    def reject_proposal(self, name: str, reason: str) -> Steps[pb.Proposal]:
        """Reject a proposal, with a reason."""
        request = pb.RejectProposalRequest(name=name, reason=reason)
        return self._connection.unary(self._acts.RejectProposal, request, repeat=True)

    @verb
    def withdraw_proposal(self, name: str, reason: str) -> Steps[pb.Proposal]:
        """Take back what the caller proposed, with a reason."""
        request = pb.WithdrawProposalRequest(name=name, reason=reason)
        return self._connection.unary(self._acts.WithdrawProposal, request, repeat=True)
