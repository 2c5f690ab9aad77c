"""Money in, transfers and what operators move by hand as messages."""

from __future__ import annotations

from ledger.entries import GrantContent, PaymentContent, ReleaseContent
from ledger.income import Period, ReversalContent, WaiverContent
from ledger.journal import Purpose
from ledger.store.money.income import Income
from ledger.store.money.journal import PlacedTransfer
from ledger.store.money.movements import RecordedLeaf
from moiety.v1 import accounts_pb2, revenue_pb2
from payout.adjustments import Adjusted
from payout.store.adjustments import Adjustment
from payout.store.tariffs import Dues
from payout.tariffs import PlatformDue, TariffContent
from services.api.convert.common import timestamp
from services.api.names import only_id


def report_to_proto(found: Income) -> revenue_pb2.Report:
    content, leaf = found.content, found.recorded.leaf
    return revenue_pb2.Report(
        name=f"pools/{leaf.pool}/reports/{content.platform}~{content.request_id}",
        platform=f"platforms/{content.platform}",
        period=content.period,
        amount_minor=content.amount_minor,
        reversed_minor=found.reversed_minor,
        currency=content.currency,
        payment_reference=content.payment_reference,
        note=content.note,
        income_minor=content.income_minor,
        leaf_index=leaf.index,
        leaf_hash=found.recorded.hash,
        create_time=timestamp(leaf.time),
    )


def money_receipt_to_proto(found: Income) -> revenue_pb2.MoneyReceipt:
    content, leaf = found.content, found.recorded.leaf
    return revenue_pb2.MoneyReceipt(
        name=f"pools/{leaf.pool}/receipts/{content.request_id}",
        platform=f"platforms/{found.platform}" if found.platform else "",
        amount_minor=content.amount_minor,
        reversed_minor=found.reversed_minor,
        payment_reference=content.payment_reference,
        received_on=content.received_on,
        note=content.note,
        leaf_index=leaf.index,
        create_time=timestamp(leaf.time),
    )


def reversal_to_proto(recorded: RecordedLeaf) -> revenue_pb2.Reversal:
    content: ReversalContent = recorded.leaf.content
    return revenue_pb2.Reversal(
        name=f"pools/{recorded.leaf.pool}/reversals/{content.request_id}",
        reverses=content.reverses,
        platform=f"platforms/{content.platform}" if content.platform else "",
        amount_minor=content.amount_minor,
        chargeback=content.chargeback,
        reason=content.reason,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def waiver_to_proto(content: WaiverContent) -> revenue_pb2.Waiver:
    return revenue_pb2.Waiver(platform=f"platforms/{content.platform}", period=content.period)


def tariff_from_proto(asked: revenue_pb2.Tariff) -> TariffContent:
    return TariffContent(
        platform=only_id(asked.platform, "platforms", "tariff.platform") if asked.platform else "",
        version=0,
        period_from=str(Period.parse(asked.period_from, "tariff.period_from")),
        share_ppm=asked.share_ppm,
        rate_minor=asked.rate_minor,
        rate_units=asked.rate_units,
        minimum_minor=asked.minimum_minor,
    ).require_sound()


def tariff_to_proto(recorded: RecordedLeaf) -> revenue_pb2.Tariff:
    content: TariffContent = recorded.leaf.content
    return revenue_pb2.Tariff(
        platform=f"platforms/{content.platform}" if content.platform else "",
        version=content.version,
        period_from=content.period_from,
        share_ppm=content.share_ppm,
        rate_minor=content.rate_minor,
        rate_units=content.rate_units,
        minimum_minor=content.minimum_minor,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def due_to_proto(currency: str, dues: Dues, found: PlatformDue) -> revenue_pb2.Due:
    tariff, due = found.tariff, found.due
    return revenue_pb2.Due(
        platform=f"platforms/{found.platform}",
        period=str(found.period),
        currency=currency,
        units=found.units,
        income_minor=found.reports.income_minor,
        reported_minor=found.reports.reported_minor,
        tariff_version=tariff.version if tariff else 0,
        tariff_leaf=dues.tariff_leaves[tariff] if tariff else None,
        tariff_period_from=tariff.period_from if tariff else "",
        share_minor=due.share_minor if due else None,
        usage_minor=due.usage_minor if due else None,
        minimum_minor=due.minimum_minor if due else None,
        due_minor=due.due_minor if due else None,
        difference_minor=found.short_minor,
        log_size=dues.log_size,
    )


def payment_to_proto(recorded: RecordedLeaf) -> accounts_pb2.Payment:
    content: PaymentContent = recorded.leaf.content
    return accounts_pb2.Payment(
        name=f"pools/{recorded.leaf.pool}/payments/{content.request_id}",
        collective=f"collectives/{content.collective}",
        amount_minor=content.amount_minor,
        reference=content.reference,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def release_to_proto(recorded: RecordedLeaf) -> accounts_pb2.Release:
    content: ReleaseContent = recorded.leaf.content
    return accounts_pb2.Release(
        name=f"pools/{recorded.leaf.pool}/releases/{content.request_id}",
        collective=f"collectives/{content.collective}",
        amount_minor=content.amount_minor,
        to_commons=content.to_commons,
        reason=content.reason,
        decided_by=content.by,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def grant_to_proto(recorded: RecordedLeaf) -> accounts_pb2.Grant:
    content: GrantContent = recorded.leaf.content
    return accounts_pb2.Grant(
        name=f"pools/{recorded.leaf.pool}/grants/{content.request_id}",
        collective=f"collectives/{content.collective}",
        amount_minor=content.amount_minor,
        reason=content.reason,
        decided_by=content.by,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def adjusted_to_proto(line: Adjusted) -> accounts_pb2.AdjustedLine:
    return accounts_pb2.AdjustedLine(account=line.account, old_minor=line.old_minor, new_minor=line.new_minor)


def adjustment_to_proto(found: Adjustment) -> accounts_pb2.Adjustment:
    content, leaf = found.recorded.leaf.content, found.recorded.leaf
    return accounts_pb2.Adjustment(
        name=f"pools/{leaf.pool}/adjustments/{content.request_id}",
        round=f"pools/{leaf.pool}/rounds/{content.round}",
        pool_leaves=content.pool_leaves,
        registry_leaves=content.registry_leaves,
        source=content.source,
        reason=content.reason,
        amount_minor=content.amount_minor,
        lines=map(adjusted_to_proto, found.lines),
        decided_by=content.by,
        leaf_index=leaf.index,
        create_time=timestamp(leaf.time),
    )


def transfer_to_proto(placed: PlacedTransfer) -> accounts_pb2.Transfer:
    return accounts_pb2.Transfer(
        leaf_index=placed.leaf_index,
        ordinal=placed.ordinal,
        from_account=placed.transfer.from_account,
        to_account=placed.transfer.to_account,
        amount_minor=placed.transfer.amount_minor,
        purpose=purpose_to_proto(placed.transfer.purpose),
    )


def purpose_to_proto(purpose: Purpose) -> accounts_pb2.TransferPurpose.ValueType:
    return accounts_pb2.TransferPurpose.Value(f"TRANSFER_PURPOSE_{purpose.value}")
