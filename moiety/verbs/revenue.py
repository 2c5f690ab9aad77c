"""Verbs of the RevenueService: money into pools."""

from __future__ import annotations

from functools import cached_property

from moiety.connection import PAGE_SIZE
from moiety.steps import Pages, Steps
from moiety.v1 import revenue_pb2 as pb
from moiety.v1.revenue_pb2_grpc import RevenueServiceStub
from moiety.verbs.base import Verbs, listing, pool_name, verb


class RevenueVerbs(Verbs):
    """Reports by platforms, each for itself, and receipts of money by operators; all exactly once by request id."""

    @cached_property
    def _revenue(self) -> RevenueServiceStub:
        return RevenueServiceStub(self._connection.channel)

    @verb
    def report_revenue(
        self,
        pool: str,
        amount_minor: int,
        currency: str,
        *,
        request_id: str,
        period: str = "",
        note: str = "",
        income_minor: int | None = None,
        validate_only: bool = False,
    ) -> Steps[pb.Report]:
        """Report what you owe for a period (`2026-03`, `2026-Q1` or `2026`), in minor units, and your income in it if
        the pool's tariff takes a share of that.

        The report has the payment reference to pay it with. Repeating a request id with the same content gives the
        first answer.
        """
        report = pb.Report(
            amount_minor=amount_minor, currency=currency, period=period, note=note, income_minor=income_minor
        )
        request = pb.ReportRevenueRequest(
            parent=pool_name(pool), report=report, request_id=request_id, validate_only=validate_only
        )
        return self._connection.unary(self._revenue.ReportRevenue, request, repeat=True)

    @listing
    def list_reports(self, pool: str) -> Pages[pb.Report]:
        """Return a pool's reports in the order of the log. A platform sees its own."""
        request = pb.ListReportsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._revenue.ListReports, request, lambda page: page.reports)

    @verb
    def reverse_report(
        self, pool: str, platform: str, report: str, amount_minor: int, *, request_id: str, reason: str
    ) -> Steps[pb.Reversal]:
        """Take a report back, in part or whole; `report` is its request id. Money that arrived for it becomes the
        platform's credit.
        """
        request = pb.ReverseReportRequest(
            name=f"{pool_name(pool)}/reports/{platform}~{report}",
            reversal=pb.Reversal(amount_minor=amount_minor, reason=reason),
            request_id=request_id,
        )
        return self._connection.unary(self._revenue.ReverseReport, request, repeat=True)

    @verb
    def record_receipt(
        self,
        pool: str,
        amount_minor: int,
        *,
        request_id: str,
        platform: str = "",
        payment_reference: str = "",
        received_on: str = "",
        note: str = "",
    ) -> Steps[pb.MoneyReceipt]:
        """Record that money arrived, in minor units. Without a platform, the payment reference says whose it is; if no
        report has it, nobody knows yet.
        """
        receipt = pb.MoneyReceipt(
            platform=f"platforms/{platform}" if platform else "",
            amount_minor=amount_minor,
            payment_reference=payment_reference,
            received_on=received_on,
            note=note,
        )
        request = pb.RecordReceiptRequest(parent=pool_name(pool), receipt=receipt, request_id=request_id)
        return self._connection.unary(self._revenue.RecordReceipt, request, repeat=True)

    @listing
    def list_receipts(self, pool: str) -> Pages[pb.MoneyReceipt]:
        """Return a pool's receipts in the order of the log. A platform sees its own."""
        request = pb.ListReceiptsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._revenue.ListReceipts, request, lambda page: page.receipts)

    @verb
    def match_receipt(self, pool: str, receipt: str, platform: str, *, request_id: str) -> Steps[pb.MoneyReceipt]:
        """Say which platform a receipt of an unknown payer is of; `receipt` is its request id."""
        request = pb.MatchReceiptRequest(
            name=f"{pool_name(pool)}/receipts/{receipt}", platform=f"platforms/{platform}", request_id=request_id
        )
        return self._connection.unary(self._revenue.MatchReceipt, request, repeat=True)

    @verb
    def reverse_receipt(
        self, pool: str, receipt: str, amount_minor: int, *, request_id: str, reason: str, chargeback: bool = False
    ) -> Steps[pb.Reversal]:
        """Take a receipt back, in part or whole; `receipt` is its request id.

        A chargeback is one that the bank has taken back already: an open round that has reserved the money is then
        rejected. Otherwise such a round keeps its money, and this is refused until it is posted or rejected.
        """
        request = pb.ReverseReceiptRequest(
            name=f"{pool_name(pool)}/receipts/{receipt}",
            reversal=pb.Reversal(amount_minor=amount_minor, reason=reason, chargeback=chargeback),
            request_id=request_id,
        )
        return self._connection.unary(self._revenue.ReverseReceipt, request, repeat=True)

    @listing
    def list_reversals(self, pool: str) -> Pages[pb.Reversal]:
        """Return a pool's reversals in the order of the log. A platform sees those of its own money."""
        request = pb.ListReversalsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._revenue.ListReversals, request, lambda page: page.reversals)

    @verb
    def waive_report(self, pool: str, platform: str, period: str, *, reason: str) -> Steps[pb.Waiver]:
        """Have the round that closes a period not wait for a platform's report or its money: what comes falls in the
        next round.
        """
        request = pb.WaiveReportRequest(
            parent=pool_name(pool), platform=f"platforms/{platform}", period=period, reason=reason
        )
        return self._connection.unary(self._revenue.WaiveReport, request, repeat=True)

    @verb
    def set_tariff(
        self,
        pool: str,
        period_from: str,
        *,
        platform: str = "",
        share_ppm: int = 0,
        rate_minor: int = 0,
        rate_units: int = 0,
        minimum_minor: int = 0,
    ) -> Steps[pb.Tariff]:
        """Set what is due of a platform, or of all that have no tariff of their own, from a period on.

        For each period it is the largest of a share of the declared income in millionths, `rate_minor` for each
        `rate_units` units of usage, and a minimum. Amounts are in minor units.

        The tariff holds for periods as long as `period_from` (`2026-03`, `2026-Q1` or `2026`). Nothing is collected by
        it: `list_dues` shows what is due beside what was reported.
        """
        tariff = pb.Tariff(
            platform=f"platforms/{platform}" if platform else "",
            period_from=period_from,
            share_ppm=share_ppm,
            rate_minor=rate_minor,
            rate_units=rate_units,
            minimum_minor=minimum_minor,
        )
        request = pb.SetTariffRequest(parent=pool_name(pool), tariff=tariff)
        return self._connection.unary(self._revenue.SetTariff, request, repeat=True)

    @listing
    def list_tariffs(self, pool: str) -> Pages[pb.Tariff]:
        """Return a pool's tariffs in the order of the log. A platform sees its own and those of all."""
        request = pb.ListTariffsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._revenue.ListTariffs, request, lambda page: page.tariffs)

    @listing
    def list_dues(self, pool: str, period: str) -> Pages[pb.Due]:
        """Return what is due for a period under the tariffs, and what was reported. A platform sees itself alone."""
        request = pb.ListDuesRequest(parent=pool_name(pool), period=period, page_size=PAGE_SIZE)
        return self._connection.pages(self._revenue.ListDues, request, lambda page: page.dues)
