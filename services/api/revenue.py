"""The revenue service: reports, receipts and reversals."""

from __future__ import annotations

from functools import partial
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.errors import InvalidInputError, Sentence
from ledger.income import (
    MatchContent,
    Period,
    ReceiptContent,
    ReportContent,
    ReversalContent,
    WaiverContent,
    payment_reference,
    require_date,
)
from ledger.money import MAX_AMOUNT_MINOR, require_amount
from ledger.registry import MAX_NOTE, require_range, require_request_id, require_resource_id, require_text
from ledger.store.logs.log import PoolRef
from ledger.store.money import income
from moiety.v1 import revenue_pb2 as pb
from moiety.v1 import revenue_pb2_grpc
from payout.store import rounds, tariffs
from payout.store.policies import latest_policy
from services.access.keys import Role
from services.access.permissions import actor, caller, own_id
from services.api import convert
from services.api.names import ids_in, only_id, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of
from services.api.resources import pool_of
from services.parts import Parts

MAX_REFERENCE: Final = 35
"""What a bank statement has room for (ISO 20022 Max35Text)."""


class RevenueService(revenue_pb2_grpc.RevenueServiceServicer):
    """Money into pools."""

    def __init__(self, parts: Parts) -> None:
        self._database, self._acts, self._heavy = parts.database, parts.acts, parts.heavy

    def ReportRevenue(self, request: pb.ReportRevenueRequest, context: grpc.ServicerContext) -> pb.Report:
        asked, platform = request.report, caller().id
        if asked.period:
            Period.parse(asked.period, "report.period")
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            if asked.currency != pool.currency:
                reason = Sentence(
                    "must be %(currency)s, the pool's, got %(got)r", currency=pool.currency, got=asked.currency[:20]
                )
                raise InvalidInputError.of("report.currency", reason)
            if not asked.period and latest_policy(connection, pool).policy.period.months:
                raise InvalidInputError.of("report.period", "is required in a pool with periods, like 2026-03")
            request_id = require_request_id(request.request_id, "request_id")
            content = ReportContent(
                platform=platform,
                request_id=request_id,
                period=asked.period,
                amount_minor=require_amount(asked.amount_minor, "report.amount_minor"),
                currency=asked.currency,
                distribute=pool.distribute,
                payment_reference=payment_reference(pool.name, platform, request_id),
                note=require_text(asked.note, "report.note", most=MAX_NOTE),
                income_minor=_income(asked),
            )
            if request.validate_only:
                return asked
            size = rounds.distributed_size(connection, pool)
            return convert.report_to_proto(income.record_report(connection, pool, content, distributed_size=size))

    def ListReports(self, request: pb.ListReportsRequest, context: grpc.ServicerContext) -> pb.ListReportsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = income.list_reports(connection, pool, platform=own_id(Role.PLATFORM), after=after, limit=limit)
        reports, token = page_of(found, limit, convert.report_to_proto, lambda each: (each.recorded.leaf.index,))
        return pb.ListReportsResponse(reports=reports, next_page_token=token)

    def ReverseReport(self, request: pb.ReverseReportRequest, context: grpc.ServicerContext) -> pb.Reversal:
        pool_id, both = ids_in(request.name, "pools/*/reports/*", "name")
        platform, _, report_id = both.partition("~")
        require_resource_id(platform, "name")
        require_request_id(report_id, "name")
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            place = income.report_leaf(connection, pool, platform, report_id)
            return self._reverse(connection, pool, place, request)

    def RecordReceipt(self, request: pb.RecordReceiptRequest, context: grpc.ServicerContext) -> pb.MoneyReceipt:
        asked = request.receipt
        platform = only_id(asked.platform, "platforms", "receipt.platform") if asked.platform else ""
        reference = require_text(asked.payment_reference, "receipt.payment_reference", most=MAX_REFERENCE)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            if reference and not platform:
                platform = income.platform_of_reference(connection, pool, "".join(reference.split()).upper())
            content = ReceiptContent(
                request_id=require_request_id(request.request_id, "request_id"),
                platform=platform,
                amount_minor=require_amount(asked.amount_minor, "receipt.amount_minor"),
                payment_reference=reference,
                received_on=require_date(asked.received_on, "receipt.received_on"),
                note=require_text(asked.note, "receipt.note", most=MAX_NOTE),
            )
            outcome = self._acts.perform(connection, pool, content, actor())
        return told(outcome, convert.money_receipt_to_proto, asked)

    def ListReceipts(self, request: pb.ListReceiptsRequest, context: grpc.ServicerContext) -> pb.ListReceiptsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = income.list_receipts(connection, pool, platform=own_id(Role.PLATFORM), after=after, limit=limit)
        receipts, token = page_of(
            found, limit, convert.money_receipt_to_proto, lambda each: (each.recorded.leaf.index,)
        )
        return pb.ListReceiptsResponse(receipts=receipts, next_page_token=token)

    def MatchReceipt(self, request: pb.MatchReceiptRequest, context: grpc.ServicerContext) -> pb.MoneyReceipt:
        pool_id, receipt_id = ids_in(request.name, "pools/*/receipts/*", "name")
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            place = income.receipt_leaf(connection, pool, require_request_id(receipt_id, "name"))
            found = income.find_income(connection, pool, place)
            content = MatchContent(
                request_id=require_request_id(request.request_id, "request_id"),
                receipt=place,
                platform=only_id(request.platform, "platforms", "platform"),
                amount_minor=found.left_minor,
            )
            outcome = self._acts.perform(connection, pool, content, actor())
        return told(outcome, convert.money_receipt_to_proto, convert.money_receipt_to_proto(found))

    def ReverseReceipt(self, request: pb.ReverseReceiptRequest, context: grpc.ServicerContext) -> pb.Reversal:
        pool_id, receipt_id = ids_in(request.name, "pools/*/receipts/*", "name")
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            place = income.receipt_leaf(connection, pool, require_request_id(receipt_id, "name"))
            return self._reverse(connection, pool, place, request)

    def _reverse(
        self,
        connection: sa.Connection,
        pool: PoolRef,
        place: int,
        request: pb.ReverseReportRequest | pb.ReverseReceiptRequest,
    ) -> pb.Reversal:
        asked, found = request.reversal, income.find_income(connection, pool, place)
        content = ReversalContent(
            request_id=require_request_id(request.request_id, "request_id"),
            amount_minor=require_amount(asked.amount_minor, "reversal.amount_minor"),
            reverses=place,
            of=found.content.type,
            platform=found.platform,
            distribute=pool.distribute,
            chargeback=asked.chargeback,
            reason=require_text(asked.reason, "reversal.reason", least=1, most=MAX_NOTE),
        )
        return told(self._acts.perform(connection, pool, content, actor()), convert.reversal_to_proto, asked)

    def WaiveReport(self, request: pb.WaiveReportRequest, context: grpc.ServicerContext) -> pb.Waiver:
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            content = WaiverContent(
                platform=only_id(request.platform, "platforms", "platform"),
                period=str(Period.parse(request.period)),
                reason=require_text(request.reason, "reason", least=1, most=MAX_NOTE),
            )
            outcome = self._acts.perform(connection, pool, content, actor())
        return told(outcome, convert.waiver_to_proto, content)

    def SetTariff(self, request: pb.SetTariffRequest, context: grpc.ServicerContext) -> pb.Tariff:
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            content = convert.tariff_from_proto(request.tariff)
            outcome = self._acts.perform(connection, pool, content, actor())
        return told(outcome, convert.tariff_to_proto, request.tariff)

    def ListTariffs(self, request: pb.ListTariffsRequest, context: grpc.ServicerContext) -> pb.ListTariffsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            platform = own_id(Role.PLATFORM)
            found = tariffs.list_tariffs(connection, pool, platform=platform, after=after, limit=limit)
        listed, token = page_of(found, limit, convert.tariff_to_proto, lambda each: (each.leaf.index,))
        return pb.ListTariffsResponse(tariffs=listed, next_page_token=token)

    def ListDues(self, request: pb.ListDuesRequest, context: grpc.ServicerContext) -> pb.ListDuesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        platform = own_id(Role.PLATFORM)
        with self._heavy.passed(caller().name), self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            dues = tariffs.read_dues(connection, pool, Period.parse(request.period))
        mine = [each for each in dues.platforms if platform in (None, each.platform) and each.platform > after]
        to_proto = partial(convert.due_to_proto, pool.currency, dues)
        listed, token = page_of(mine[:limit], limit, to_proto, lambda each: (each.platform,))
        return pb.ListDuesResponse(dues=listed, next_page_token=token)

    def ListReversals(
        self, request: pb.ListReversalsRequest, context: grpc.ServicerContext
    ) -> pb.ListReversalsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = income.list_reversals(connection, pool, platform=own_id(Role.PLATFORM), after=after, limit=limit)
        reversals, token = page_of(found, limit, convert.reversal_to_proto, lambda each: (each.leaf.index,))
        return pb.ListReversalsResponse(reversals=reversals, next_page_token=token)


def _income(asked: pb.Report) -> int | None:
    if not asked.HasField("income_minor"):
        return None
    return require_range(asked.income_minor, "report.income_minor", 0, MAX_AMOUNT_MINOR)
