"""Which rows follow from a leaf. Add a table that projects leaves here, as one more `Projection`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from audit.fsck.rows import UNSAID, Row
from ledger.acts.entries import DecisionContent, KeyChangeContent, PrincipalContent, ProposalContent
from ledger.acts.people import PEOPLE_KINDS
from ledger.entries import BookingContent, Movement, PayingContent
from ledger.income import MatchContent, ReceiptContent, ReportContent, ReversalContent, WaiverContent
from ledger.journal import Transfer
from ledger.log.leaves import Leaf
from ledger.store import tables as lt
from ledger.usage.entries import (
    AdmissionContent,
    ClosingContent,
    IdSchemeContent,
    MembershipContent,
    MethodContent,
    RetractionContent,
    UsageContent,
)
from payout.adjustments import AdjustmentContent
from payout.entries import (
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
)
from payout.objections import AnswerContent, ObjectionContent
from payout.splits import SplitContent
from payout.store import tables as t
from payout.tariffs import TariffContent


@dataclass(frozen=True, slots=True)
class Followed:
    """A leaf that the fold took in, and what followed from it."""

    leaf: Leaf[Any]
    platform_ids: dict[str, int]
    transfers: Sequence[Transfer] = ()
    balances: dict[str, int] = field(default_factory=dict)
    """After the leaf, of the accounts that it moved money in."""

    def platform_id(self, name: str) -> object:
        """A platform's number; an unregistered platform is reported elsewhere."""
        return self.platform_ids.get(name, UNSAID)

    def payer_id(self, name: str) -> object:
        """A payer's number; None for an unknown payer, who has no name."""
        return self.platform_id(name) if name else None


@dataclass(frozen=True, slots=True)
class Projection:
    """A table, each row of which follows from the leaf that its `leaf_index` names."""

    table: sa.Table
    rows: Callable[[Followed], Iterator[Row]]


def _policies(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case PoolContent():
            yield {"version": 1, "leaf_index": at.leaf.index}
        case PolicyContent(version=version):
            yield {"version": version, "leaf_index": at.leaf.index}


def _methods(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case MethodContent(method=name, version=version):
            yield {"name": name, "version": version, "leaf_index": at.leaf.index}


def _memberships(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case MembershipContent(membership=name, version=version):
            yield {"name": name, "version": version, "leaf_index": at.leaf.index}


def _id_schemes(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case IdSchemeContent(platform=platform, scheme=scheme):
            yield {"platform_id": at.platform_id(platform), "scheme": scheme, "leaf_index": at.leaf.index}


def _admissions(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case PoolContent(platforms=platforms):
            for platform in platforms:
                row = {"leaf_index": at.leaf.index, "admitted": True}
                yield {"platform_id": at.platform_id(platform), **row}
        case AdmissionContent(platform=platform, admitted=admitted):
            row = {"leaf_index": at.leaf.index, "admitted": admitted}
            yield {"platform_id": at.platform_id(platform), **row}


def _waivers(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case WaiverContent(period=period, platform=platform):
            yield {"period": period, "platform_id": at.platform_id(platform), "leaf_index": at.leaf.index}


def _tariffs(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case TariffContent(platform=platform, version=version):
            yield {"platform": platform, "version": version, "leaf_index": at.leaf.index}


def _closings(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case ClosingContent():
            yield {"closed_at": at.leaf.time, "events_dropped": UNSAID, "leaf_index": at.leaf.index}


def _batches(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case UsageContent(platform=platform, batch_id=batch_id, body_sha256=digest):
            yield {
                "platform_id": at.platform_id(platform),
                "batch_id": batch_id,
                "batch_number": UNSAID,  # what its events say is known when all were read
                "body_sha256": bytes.fromhex(digest),
                "leaf_index": at.leaf.index,
            }


def _retractions(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case RetractionContent(platform=platform, request_id=request_id):
            yield {
                "platform_id": at.platform_id(platform),
                "request_id": request_id,
                "batch_number": UNSAID,
                "request_sha256": UNSAID,
                "weights_number": UNSAID,
                "leaf_index": at.leaf.index,
            }


def _reports(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case ReportContent(platform=platform, request_id=request_id, payment_reference=reference):
            row = {"request_id": request_id, "payment_reference": reference, "leaf_index": at.leaf.index}
            yield {"platform_id": at.platform_id(platform), **row}


def _receipts(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case ReceiptContent(platform=platform):
            yield {"platform_id": at.payer_id(platform), "leaf_index": at.leaf.index}


def _matches(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case MatchContent(platform=platform, receipt=receipt):
            yield {"receipt": receipt, "platform_id": at.platform_id(platform), "leaf_index": at.leaf.index}


def _reversals(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case ReversalContent(platform=platform, reverses=reverses, amount_minor=amount_minor):
            row = {"reverses": reverses, "amount_minor": amount_minor, "leaf_index": at.leaf.index}
            yield {"platform_id": at.payer_id(platform), **row}


def _movements(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case Movement():
            yield {"request_id": at.leaf.content.request_id, "leaf_index": at.leaf.index}


def _rounds(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case RoundContent(number=number, request_id=request_id, end=end, fire_times=fire_times):
            yield {
                "number": number,
                "request_id": request_id,
                "end_size": end,
                "last_fire_time": None
                if fire_times is None
                else datetime.fromisoformat(fire_times.last).astimezone(UTC),
                "leaf_index": at.leaf.index,
            }


def _decisions(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case DecisionContent(subject=subject):
            yield {"subject": subject, "leaf_index": at.leaf.index}


def _proposals(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case ProposalContent():
            yield {"leaf_index": at.leaf.index}


def _postings(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case PostingContent(round=number):
            yield {"number": number, "leaf_index": at.leaf.index}


def _objections(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case ObjectionContent(round=number, collective=collective):
            yield {"number": number, "collective": collective, "leaf_index": at.leaf.index}


def _answers(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case AnswerContent(round=number, collective=collective):
            yield {"number": number, "collective": collective, "leaf_index": at.leaf.index}


def _splits(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case SplitContent(round=number, collective=collective):
            yield {"number": number, "collective": collective, "leaf_index": at.leaf.index}


def _adjustments(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case AdjustmentContent(round=number, request_id=request_id):
            yield {"leaf_index": at.leaf.index, "number": number, "request_id": request_id}


def _payings(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case PayingContent(pay_run=name):
            yield {"pay_run": name, "leaf_index": at.leaf.index}


def _bookings(at: Followed) -> Iterator[Row]:
    match at.leaf.content:
        case BookingContent(bank_file_leaf=bank_file_leaf):
            yield {"bank_file_leaf": bank_file_leaf, "leaf_index": at.leaf.index}


def _transfers(at: Followed) -> Iterator[Row]:
    for ordinal, transfer in enumerate(at.transfers):
        yield {
            "leaf_index": at.leaf.index,
            "ordinal": ordinal,
            "from_account": transfer.from_account,
            "to_account": transfer.to_account,
            "amount_minor": transfer.amount_minor,
            "purpose": transfer.purpose.value,
        }


def _balances(at: Followed) -> Iterator[Row]:
    for account, amount_minor in at.balances.items():
        yield {"account": account, "leaf_index": at.leaf.index, "amount_minor": amount_minor}


def _people(at: Followed) -> Iterator[Row]:
    if at.leaf.content.type in PEOPLE_KINDS:
        content = at.leaf.content
        whose = content.principal if isinstance(content, PrincipalContent) else None
        yield {"leaf_index": at.leaf.index, "principal": whose}


def _key_changes(at: Followed) -> Iterator[Row]:
    if isinstance(at.leaf.content, KeyChangeContent):
        yield {"leaf_index": at.leaf.index}


def registry_projections() -> tuple[Projection, ...]:
    """The tables of pools whose rows follow from leaves of the registry's log."""
    return (
        Projection(lt.people, _people),
        Projection(lt.key_change, _key_changes),
        Projection(lt.proposal, _proposals),
        Projection(lt.decision, _decisions),
    )


PROJECTIONS: Final = (
    Projection(t.policy, _policies),
    Projection(lt.method, _methods),
    Projection(lt.membership, _memberships),
    Projection(lt.id_scheme, _id_schemes),
    Projection(lt.admission, _admissions),
    Projection(t.waiver, _waivers),
    Projection(t.tariff, _tariffs),
    Projection(lt.closing, _closings),
    Projection(lt.batch, _batches),
    Projection(lt.retraction, _retractions),
    Projection(lt.report, _reports),
    Projection(lt.receipt, _receipts),
    Projection(lt.match, _matches),
    Projection(lt.reversal, _reversals),
    Projection(lt.movement, _movements),
    Projection(t.round_, _rounds),
    Projection(lt.proposal, _proposals),
    Projection(lt.decision, _decisions),
    Projection(t.posting, _postings),
    Projection(t.objection, _objections),
    Projection(t.answer, _answers),
    Projection(t.split, _splits),
    Projection(t.adjustment, _adjustments),
    Projection(t.paying, _payings),
    Projection(t.booking, _bookings),
    Projection(lt.transfer, _transfers),
    Projection(lt.balance, _balances),
)
