"""Payees, pay runs and banks' files as messages and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from ledger.acts.entries import BankFileContent
from ledger.log.leaves import Leaf
from ledger.money import require_amount
from ledger.payments import Booking, BookingKind, Bookings, PlannedPayment
from ledger.store.desk.bank_files import KeptFile
from moiety.v1 import payments_pb2 as pb
from payout.paying import KnownPayment, Unpaid
from payout.payments.details import AccountDetails
from payout.payments.lines import BookedLine, Part, opened_by
from payout.payments.matching import Sent
from payout.reconciling import Position, Told
from payout.store.bank_accounts import BankAccount
from payout.store.pay_runs import Event, PayRun
from payout.store.payees import Payee
from services.api.convert.common import timestamp
from services.api.names import only_id


def details_from_proto(message: pb.AccountDetails) -> AccountDetails:
    return AccountDetails(
        holder=message.holder,
        town=message.town,
        country=message.country,
        currency=message.currency,
        street=message.street,
        building=message.building,
        postcode=message.postcode,
        iban=message.iban,
        account=message.account,
        bic=message.bic,
        smallest_minor=message.smallest_minor or 1,
    )


def details_to_proto(details: AccountDetails) -> pb.AccountDetails:
    return pb.AccountDetails(
        holder=details.holder,
        street=details.street,
        building=details.building,
        postcode=details.postcode,
        town=details.town,
        country=details.country,
        iban=details.iban,
        account=details.account,
        bic=details.bic,
        currency=details.currency,
        smallest_minor=details.smallest_minor,
    )


def proposed_account_to_proto(standing: AccountDetails | None, proposed: AccountDetails | None) -> pb.ProposedAccount:
    return pb.ProposedAccount(
        standing=None if standing is None else details_to_proto(standing),
        proposed=None if proposed is None else details_to_proto(proposed),
    )


def payee_to_proto(payee: Payee, details: AccountDetails | None = None) -> pb.Payee:
    return pb.Payee(
        name=f"collectives/{payee.collective}/payee",
        details=None if details is None else details_to_proto(details),
        details_hash=payee.details_hash,
        leaf_index=payee.leaf_index,
        create_time=timestamp(payee.created_at),
        payable_time=timestamp(payee.payable_from),
    )


def bank_account_to_proto(account: BankAccount) -> pb.BankAccount:
    content = account.content
    return pb.BankAccount(
        name=f"bankAccounts/{account.name}",
        display_name=content.display_name,
        pools=[f"pools/{pool}" for pool in content.pools],
        opening_minor=content.opening_minor,
        currency=content.currency,
        leaf_index=account.leaf.index,
    )


def proposed_run_to_proto(name: str, proposal: str, bank_account: str, day: str) -> pb.PayRun:
    return pb.PayRun(
        name=f"payRuns/{name}",
        bank_account=f"bankAccounts/{bank_account}",
        day=day,
        state=pb.PAY_RUN_STATE_PROPOSED,
        proposal=proposal,
    )


def pay_run_to_proto(run: PayRun, sent: Mapping[str, Sent] | None = None, events: Sequence[Event] = ()) -> pb.PayRun:
    """A run; with its payments where `sent` is given."""
    content = run.content
    last = {event.end_to_end_id: event for event in events}
    payments = [] if sent is None else [_planned_to_proto(run, each, sent, last) for each in run.plan.payments]
    left_out = [] if sent is None else [
        pb.LeftOut(collective=f"collectives/{each.collective}", amount_minor=each.amount_minor, reason=each.why)
        for each in run.plan.not_paid
    ]  # fmt: skip
    return pb.PayRun(
        name=f"payRuns/{content.pay_run}",
        bank_account=f"bankAccounts/{content.bank_account}",
        day=content.day,
        state=pb.PAY_RUN_STATE_ANSWERING if run.waiting else pb.PAY_RUN_STATE_READY,
        amount_minor=content.amount_minor,
        payment_count=content.payments,
        currency=content.currency,
        payments=payments,
        left_out=left_out,
        waiting=[f"pools/{pool}" for pool in run.waiting],
        leaf_index=run.leaf.index,
        create_time=timestamp(run.leaf.time),
    )


def _planned_to_proto(
    run: PayRun, planned: PlannedPayment, sent: Mapping[str, Sent], last: Mapping[str, Event]
) -> pb.RunPayment:
    known = sent.get(planned.end_to_end_id)
    if known is None:
        return pb.RunPayment(
            end_to_end_id=planned.end_to_end_id,
            collective=f"collectives/{planned.collective}",
            short_minor=0 if run.waiting else planned.amount_minor,
            pay_run=f"payRuns/{run.content.pay_run}",
            currency=run.content.currency,
        )
    message = _sent_to_proto(known, run.content.currency, last.get(planned.end_to_end_id))
    message.short_minor = 0 if run.waiting else planned.amount_minor - known.amount_minor
    return message


def _sent_to_proto(sent: Sent, currency: str, last: Event | None) -> pb.RunPayment:
    return pb.RunPayment(
        end_to_end_id=sent.end_to_end_id,
        collective=f"collectives/{sent.collective}",
        amount_minor=sent.amount_minor,
        state=pb.PaymentState.Value(f"PAYMENT_STATE_{sent.state.value}"),
        day=last.day if last else "",
        reference=last.reference if last else "",
        reason=last.reason if last else "",
        pay_run=f"payRuns/{sent.run}",
        currency=currency,
        pools=[pb.PoolPart(pool=f"pools/{part.pool}", amount_minor=part.amount_minor) for part in sent.pools],
    )


def known_payment_to_proto(numbered: tuple[int, KnownPayment]) -> pb.RunPayment:
    _, known = numbered
    return _sent_to_proto(known.sent, known.run.content.currency, known.events[-1] if known.events else None)


def booking_to_proto(booking: Booking, line: str = "") -> pb.BankBooking:
    of_payer = booking.kind in (BookingKind.RECEIVED, BookingKind.TAKEN_BACK, BookingKind.FREED)
    whose = "platforms" if of_payer else "collectives"
    return pb.BankBooking(
        kind=booking.kind,
        amount_minor=booking.amount_minor,
        end_to_end_id=booking.end_to_end_id,
        day=booking.day,
        reference=booking.reference,
        reason=booking.reason,
        subject=f"{whose}/{booking.subject}" if booking.subject else "",
        line=line,
    )


def _lines_to_proto(bank_account: str, leaf_index: int, bookings: Bookings) -> Iterator[pb.BankBooking]:
    for place, booking in enumerate(bookings.bookings):
        opened = opened_by(leaf_index, place, booking)
        yield booking_to_proto(booking, line_to_name(bank_account, opened.name) if opened else "")


def line_to_name(bank_account: str, line: str) -> str:
    return f"bankAccounts/{bank_account}/lines/{line}"


def line_to_proto(
    bank_account: str,
    currency: str,
    line: BookedLine,
    leaf_index: int,
    *,
    told: Mapping[str, Sequence[Told]] = MappingProxyType({}),
) -> pb.BankLine:
    return pb.BankLine(
        name=line_to_name(bank_account, line.name),
        amount_minor=line.amount_minor,
        open_minor=line.open_minor,
        parts=map(_part_to_proto, line.parts),
        payment_reference=line.payment_reference,
        day=line.day,
        reference=line.reference,
        leaf_index=leaf_index,
        currency=currency,
        details=map(_told_to_proto, told.get(line.name, ())),
    )


def _told_to_proto(told: Told) -> pb.BankLineDetail:
    booking, debt = told.booking, told.debt
    return pb.BankLineDetail(
        amount_minor=booking.amount_minor,
        end_to_end_id=booking.end_to_end_id,
        payment_reference=booking.payment_reference,
        reason=booking.reason,
        pool=f"pools/{debt.pool}" if debt else "",
        platform=f"platforms/{debt.platform}" if debt else "",
    )


def _part_to_proto(part: Part) -> pb.BankLinePart:
    return pb.BankLinePart(
        pool=f"pools/{part.pool}",
        platform=f"platforms/{part.platform}" if part.platform else "",
        amount_minor=part.amount_minor,
    )


def part_from_proto(message: pb.BankLinePart) -> Part:
    return Part(
        only_id(message.pool, "pools", "parts.pool"),
        only_id(message.platform, "platforms", "parts.platform") if message.platform else "",
        require_amount(message.amount_minor, "parts.amount_minor"),
    )


def unpaid_to_proto(pool: str, currency: str, now: datetime, unpaid: Unpaid) -> pb.Unpaid:
    owed = unpaid.owed
    return pb.Unpaid(
        pool=f"pools/{pool}",
        collective=f"collectives/{owed.collective}",
        amount_minor=owed.amount_minor,
        currency=currency,
        reason=unpaid.why,
        round=owed.round,
        since_time=timestamp(owed.since),
        days=(now - owed.since).days,
        bank_reason=unpaid.bank_reason,
    )


def bank_file_to_proto(leaf: Leaf[BankFileContent], bookings: Bookings | None = None) -> pb.BankFile:
    message = proposed_file_to_proto(leaf.content, "")
    message.leaf_index = leaf.index
    message.create_time.FromDatetime(leaf.time)
    if bookings:
        message.bookings.extend(_lines_to_proto(leaf.content.bank_account, leaf.index, bookings))
    return message


def proposed_file_to_proto(content: BankFileContent, proposal: str) -> pb.BankFile:
    return pb.BankFile(
        bank_account=f"bankAccounts/{content.bank_account}",
        message=content.message,
        message_id=content.message_id,
        day=content.day,
        opening_minor=content.opening_minor,
        closing_minor=content.closing_minor,
        proposal=proposal,
    )


def kept_file_to_proto(bank_account: str, kept: KeptFile) -> pb.BankFile:
    return pb.BankFile(
        bank_account=f"bankAccounts/{bank_account}",
        message=kept.message,
        message_id=kept.message_id,
        problem=kept.problem,
        create_time=timestamp(kept.received_at),
    )


def position_to_proto(position: Position) -> pb.BankPosition:
    content = position.statement.content
    return pb.BankPosition(
        message_id=content.message_id,
        day=content.day,
        closing_minor=content.closing_minor or 0,
        books_minor=position.books_minor,
        difference_minor=position.difference_minor,
        without_partner=map(booking_to_proto, position.without_partner),
        leaf_index=position.statement.index,
    )
