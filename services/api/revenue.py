"""The revenue service."""

from __future__ import annotations

import grpc

from ledger.entries import RevenueContent
from ledger.errors import InvalidInputError
from ledger.money import require_amount
from ledger.registry import MAX_NOTE, require_request_id, require_text
from ledger.store import journal
from moiety.v1 import revenue_pb2 as pb
from moiety.v1 import revenue_pb2_grpc
from services.access.keys import Role
from services.access.permissions import caller, own_id
from services.api import convert
from services.api.names import page_limit, place_in
from services.api.pages import page_of
from services.api.registry import pool_of
from services.parts import Parts


class RevenueService(revenue_pb2_grpc.RevenueServiceServicer):
    """Revenue into pools."""

    def __init__(self, parts: Parts) -> None:
        self._database = parts.database

    def RecordRevenue(self, request: pb.RecordRevenueRequest, context: grpc.ServicerContext) -> pb.Revenue:
        content = RevenueContent(
            platform=caller().id,
            request_id=require_request_id(request.request_id, "request_id"),
            amount_minor=require_amount(request.revenue.amount_minor, "revenue.amount_minor"),
            currency=request.revenue.currency,
            note=require_text(request.revenue.note, "revenue.note", most=MAX_NOTE),
        )
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            if content.currency != pool.currency:
                reason = f"must be {pool.currency}, the pool's, got {content.currency[:20]!r}"
                raise InvalidInputError.of("revenue.currency", reason)
            if request.validate_only:
                return request.revenue
            return convert.revenue_to_proto(journal.record_revenue(connection, pool, content))

    def ListRevenues(self, request: pb.ListRevenuesRequest, context: grpc.ServicerContext) -> pb.ListRevenuesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = journal.list_revenues(connection, pool, platform=own_id(Role.PLATFORM), after=after, limit=limit)
        revenues, token = page_of(found, limit, convert.revenue_to_proto, lambda revenue: (revenue.leaf.index,))
        return pb.ListRevenuesResponse(revenues=revenues, next_page_token=token)
