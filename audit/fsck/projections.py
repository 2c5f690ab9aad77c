"""Which rows follow from a leaf. A table that projects leaves is named here, and its rows come from `_rows`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from audit.fsck.rows import UNSAID
from audit.fsck.stored import Row
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


def rows_following(at: Followed) -> Mapping[str, Sequence[Row]]:
    """Returns the rows whose `leaf_index` names the leaf, by table; those that it has no rows in are left out."""
    found = defaultdict[str, list[Row]](list)
    for table, row in _rows(at):
        row["leaf_index"] = at.leaf.index
        found[table.name].append(row)
    return found


def _rows(at: Followed) -> Iterator[tuple[sa.Table, Row]]:
    """Yields the rows, without the leaf's index."""
    content = at.leaf.content
    for rows in (_of_usage_and_money, _of_rounds, _of_terms):
        yield from rows(at)
    if isinstance(content, Movement):
        yield lt.movement, {"request_id": content.request_id}
    if content.type in PEOPLE_KINDS:
        yield lt.people, {"principal": content.principal if isinstance(content, PrincipalContent) else None}
    for ordinal, transfer in enumerate(at.transfers):
        yield (
            lt.transfer,
            {
                "ordinal": ordinal,
                "from_account": transfer.from_account,
                "to_account": transfer.to_account,
                "amount_minor": transfer.amount_minor,
                "purpose": transfer.purpose.value,
            },
        )
    for account, amount_minor in at.balances.items():
        yield lt.balance, {"account": account, "amount_minor": amount_minor}


def _of_usage_and_money(at: Followed) -> Iterator[tuple[sa.Table, Row]]:
    """Of what came in and what was moved."""
    match at.leaf.content:
        case UsageContent(platform=platform, batch_id=batch_id, body_sha256=digest):
            yield (
                lt.batch,
                {
                    "platform_id": at.platform_id(platform),
                    "batch_id": batch_id,
                    "batch_number": UNSAID,  # what its events say is known when all were read
                    "body_sha256": bytes.fromhex(digest),
                },
            )
        case RetractionContent(platform=platform, request_id=request_id):
            unsaid = {"batch_number": UNSAID, "request_sha256": UNSAID, "weights_number": UNSAID}
            yield lt.retraction, {"platform_id": at.platform_id(platform), "request_id": request_id, **unsaid}
        case ReportContent(platform=platform, request_id=request_id, payment_reference=reference):
            said = {"request_id": request_id, "payment_reference": reference}
            yield lt.report, {"platform_id": at.platform_id(platform), **said}
        case ReceiptContent(platform=platform):
            yield lt.receipt, {"platform_id": at.payer_id(platform)}
        case MatchContent(platform=platform, receipt=receipt):
            yield lt.match, {"receipt": receipt, "platform_id": at.platform_id(platform)}
        case ReversalContent(platform=platform, reverses=reverses, amount_minor=amount_minor):
            yield (
                lt.reversal,
                {
                    "platform_id": at.payer_id(platform),
                    "reverses": reverses,
                    "amount_minor": amount_minor,
                },
            )
        case AdjustmentContent(round=number, request_id=request_id):
            yield t.adjustment, {"number": number, "request_id": request_id}
        case PayingContent(pay_run=name):
            yield t.paying, {"pay_run": name}
        case BookingContent(bank_file_leaf=bank_file_leaf):
            yield t.booking, {"bank_file_leaf": bank_file_leaf}


def _of_rounds(at: Followed) -> Iterator[tuple[sa.Table, Row]]:
    """Of rounds, and what people decide."""
    match at.leaf.content:
        case RoundContent(number=number, request_id=request_id, end=end, fire_times=times):
            last = None if times is None else datetime.fromisoformat(times.last).astimezone(UTC)
            yield t.round_, {"number": number, "request_id": request_id, "end_size": end, "last_fire_time": last}
        case ProposalContent():
            yield lt.proposal, {}
        case DecisionContent(subject=subject):
            yield lt.decision, {"subject": subject}
        case PostingContent(round=number):
            yield t.posting, {"number": number}
        case ObjectionContent(round=number, collective=collective):
            yield t.objection, {"number": number, "collective": collective}
        case AnswerContent(round=number, collective=collective):
            yield t.answer, {"number": number, "collective": collective}
        case SplitContent(round=number, collective=collective):
            yield t.split, {"number": number, "collective": collective}
        case KeyChangeContent():
            yield lt.key_change, {}


def _of_terms(at: Followed) -> Iterator[tuple[sa.Table, Row]]:
    """Of what holds in the pool."""
    match at.leaf.content:
        case PoolContent(platforms=platforms):
            yield t.policy, {"version": 1}
            for platform in platforms:
                yield lt.admission, {"platform_id": at.platform_id(platform), "admitted": True}
        case PolicyContent(version=version):
            yield t.policy, {"version": version}
        case AdmissionContent(platform=platform, admitted=admitted):
            yield lt.admission, {"platform_id": at.platform_id(platform), "admitted": admitted}
        case MethodContent(method=name, version=version):
            yield lt.method, {"name": name, "version": version}
        case MembershipContent(membership=name, version=version):
            yield lt.membership, {"name": name, "version": version}
        case IdSchemeContent(platform=platform, scheme=scheme):
            yield lt.id_scheme, {"platform_id": at.platform_id(platform), "scheme": scheme}
        case WaiverContent(period=period, platform=platform):
            yield t.waiver, {"period": period, "platform_id": at.platform_id(platform)}
        case TariffContent(platform=platform, version=version):
            yield t.tariff, {"platform": platform, "version": version}
        case ClosingContent():
            yield lt.closing, {"closed_at": at.leaf.time, "events_dropped": UNSAID}


REGISTRY_TABLES: Final = (lt.people, lt.key_change, lt.proposal, lt.decision)
"""The tables of pools whose rows follow from leaves of the registry's log."""

POOL_TABLES: Final = (
    t.policy, lt.method, lt.membership, lt.id_scheme, lt.admission, t.waiver, t.tariff, lt.closing, lt.batch,
    lt.retraction, lt.report, lt.receipt, lt.match, lt.reversal, lt.movement, t.round_, lt.proposal, lt.decision,
    t.posting, t.objection, t.answer, t.split, t.adjustment, t.paying, t.booking, lt.transfer, lt.balance,
)  # fmt: skip
