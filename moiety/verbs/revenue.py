"""Verbs of the RevenueService: what there is to distribute."""

from __future__ import annotations

from functools import cached_property

from moiety.connection import PAGE_SIZE
from moiety.steps import Pages, Steps
from moiety.v1 import revenue_pb2 as pb
from moiety.v1.revenue_pb2_grpc import RevenueServiceStub
from moiety.verbs.base import Verbs, listing, pool_name, verb


class RevenueVerbs(Verbs):
    """Revenue, recorded exactly once. Only platforms write, each for itself."""

    @cached_property
    def _revenue(self) -> RevenueServiceStub:
        return RevenueServiceStub(self._connection.channel)

    @verb
    def record_revenue(
        self,
        pool: str,
        amount_minor: int,
        currency: str,
        *,
        request_id: str,
        note: str = "",
        validate_only: bool = False,
    ) -> Steps[pb.Revenue]:
        """Record revenue in minor units. Repeating a request id with the same content gives the first
        answer.
        """
        request = pb.RecordRevenueRequest(
            parent=pool_name(pool),
            revenue=pb.Revenue(amount_minor=amount_minor, currency=currency, note=note),
            request_id=request_id,
            validate_only=validate_only,
        )
        return self._connection.unary(self._revenue.RecordRevenue, request, repeat=True)

    @listing
    def list_revenues(self, pool: str) -> Pages[pb.Revenue]:
        """Return a pool's revenue in the order of the log. A platform sees its own."""
        request = pb.ListRevenuesRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._revenue.ListRevenues, request, lambda page: page.revenues)
