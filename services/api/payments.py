"""The payments service: payees, pay runs and banks' files."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.acts.entries import (
    ActContent,
    BankAccountContent,
    BankFileContent,
    BankMatchContent,
    PayeeContent,
    PayRunContent,
)
from ledger.errors import IdentityReusedError, InvalidInputError
from ledger.money import MAX_AMOUNT_MINOR
from ledger.registry import require_range, require_resource_id, require_text
from ledger.store import desk
from ledger.store.acts import REGISTRY, Proposal, look_alone, proposal_name
from ledger.store.collectives import require_collective
from ledger.store.desk import KeptFile
from ledger.store.transactions import read_time
from moiety.v1 import payments_pb2 as pb
from moiety.v1 import payments_pb2_grpc
from payout.payments.bank_messages import read_message
from payout.payments.credit_transfer import render_csv, render_pain001
from payout.payments.details import AccountDetails, SaltedDetails
from payout.payments.lines import Part
from payout.reconciling import reconcile, told_of
from payout.store import bank_accounts, bank_files, bank_lines, pay_runs, payees
from payout.store.bookings import bookings_of
from services.access.keys import Role
from services.access.permissions import actor, own_id, require_own
from services.api import convert
from services.api.names import ids_in, only_id, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of
from services.api.resources import pool_of, proposal_in
from services.parts import Parts

SALT_BYTES: Final = 32
MAX_NAME: Final = 60
MAX_FILENAME: Final = 200

MAX_PAYS: Final = 10_000
"""Payments that one debit can be said to have paid: more than the runs of this size that banks book as one."""

MAX_RUN_ID: Final = 24
"""An end-to-end id is the run's with eight more, and banks take 35."""


class PaymentsService(payments_pb2_grpc.PaymentsServiceServicer):
    """Where money goes."""

    def __init__(self, parts: Parts) -> None:
        self._database, self._acts, self._vault = parts.database, parts.acts, parts.vault
        self._paying, self._banking = parts.paying, parts.banking

    def SetPayee(self, request: pb.SetPayeeRequest, context: grpc.ServicerContext) -> pb.Payee:
        collective = _collective_in(request.payee.name, "payee.name")
        details = convert.details_from_proto(request.payee.details)
        with self._database.transaction() as connection:
            look_alone(connection)
            require_collective(connection, collective)
            now = read_time(connection)
            known = payees.same_details(connection, self._vault, payees.latest(connection, collective), details)
            known = known or self._proposed_hash(connection, PayeeContent, details, collective=collective)
            details_hash = known or payees.put_details(
                connection,
                self._vault,
                f"collectives/{collective}",
                SaltedDetails(secrets.token_bytes(SALT_BYTES), details),
                now,
            )
            content = PayeeContent(collective=collective, details_hash=details_hash)
            outcome = self._acts.perform(connection, REGISTRY, content, actor(), request.reason)
        return told(outcome, lambda done: convert.payee_to_proto(done, details), request.payee)

    def GetPayee(self, request: pb.GetPayeeRequest, context: grpc.ServicerContext) -> pb.Payee:
        collective = _collective_in(request.name, "name")
        with self._database.transaction() as connection:
            found = payees.get_payee(connection, collective)
            if own_id(Role.AUDITOR) is not None:  # who checks amounts needs nobody's account number
                return convert.payee_to_proto(found)
            details = payees.read_details(connection, self._vault, [found.details_hash])
            return convert.payee_to_proto(found, details.get(found.details_hash))

    def GetProposedAccount(
        self, request: pb.GetProposedAccountRequest, context: grpc.ServicerContext
    ) -> pb.ProposedAccount:
        with self._database.transaction() as connection:
            pool, leaf_index = proposal_in(connection, request.name, "name")
            match self._acts.proposed_act(self._acts.get_proposal(connection, pool, leaf_index)):
                case PayeeContent(collective=collective, details_hash=proposed):
                    payee = payees.latest(connection, collective)
                    standing = payee.details_hash if payee else None
                case BankAccountContent(bank_account=name, details_hash=proposed):
                    account = bank_accounts.find_bank_account(connection, name)
                    standing = account.details_hash if account else None
                case _:
                    raise InvalidInputError.of("name", "must be of a proposal for a payee or a bank account")
            hashes = [bytes.fromhex(proposed), *([standing] if standing else [])]
            details = payees.read_details(connection, self._vault, hashes)
        return convert.proposed_account_to_proto(
            details.get(standing) if standing else None, details.get(bytes.fromhex(proposed))
        )

    def _proposed_hash(
        self, connection: sa.Connection, kind: type[ActContent], details: AccountDetails, **about: str
    ) -> str:
        """The hash by which these details are proposed already; empty if they are not."""
        hashes = [
            bytes.fromhex(found.content.content["details_hash"])
            for found in self._open_proposals(connection, kind, about)
        ]
        found = payees.read_details(connection, self._vault, hashes) if hashes else {}
        return next((digest.hex() for digest, known in found.items() if known == details), "")

    def ListPayees(self, request: pb.ListPayeesRequest, context: grpc.ServicerContext) -> pb.ListPayeesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = payees.list_payees(connection, after=after, limit=limit)
            listed, token = page_of(found, limit, convert.payee_to_proto, lambda payee: (payee.collective,))
        return pb.ListPayeesResponse(payees=listed, next_page_token=token)

    # Pay runs.

    def SetBankAccount(self, request: pb.SetBankAccountRequest, context: grpc.ServicerContext) -> pb.BankAccount:
        asked = request.bank_account
        name = only_id(asked.name, "bankAccounts", "bank_account.name")
        details = convert.details_from_proto(asked.details)
        with self._database.transaction() as connection:
            look_alone(connection)
            before = bank_accounts.find_bank_account(connection, name)
            known = payees.read_details(connection, self._vault, [before.details_hash]) if before else {}
            proposed = self._proposed_hash(connection, BankAccountContent, details, bank_account=name)
            if before and known.get(before.details_hash) == details:
                details_hash = before.content.details_hash
            elif proposed:
                details_hash = proposed
            else:
                salted = SaltedDetails(secrets.token_bytes(SALT_BYTES), details)
                now = read_time(connection)
                details_hash = payees.put_details(connection, self._vault, f"bankAccounts/{name}", salted, now)
            content = BankAccountContent(
                bank_account=name,
                display_name=require_text(asked.display_name, "bank_account.display_name", least=1, most=MAX_NAME),
                currency=details.currency,
                pools=sorted(only_id(pool, "pools", "bank_account.pools") for pool in asked.pools),
                opening_minor=require_range(
                    asked.opening_minor, "bank_account.opening_minor", -MAX_AMOUNT_MINOR, MAX_AMOUNT_MINOR
                ),
                details_hash=details_hash,
            )
            outcome = self._acts.perform(
                connection, REGISTRY, bank_accounts.require_pools(content), actor(), request.reason
            )
        return told(outcome, convert.bank_account_to_proto, _without_details(asked))

    def ListBankAccounts(
        self, request: pb.ListBankAccountsRequest, context: grpc.ServicerContext
    ) -> pb.ListBankAccountsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = bank_accounts.list_bank_accounts(connection, after=after, limit=limit)
        listed, token = page_of(found, limit, convert.bank_account_to_proto, lambda account: (account.name,))
        return pb.ListBankAccountsResponse(bank_accounts=listed, next_page_token=token)

    def CreatePayRun(self, request: pb.CreatePayRunRequest, context: grpc.ServicerContext) -> pb.PayRun:
        name = _run_id(request.pay_run_id, "pay_run_id")
        bank_account = only_id(request.pay_run.bank_account, "bankAccounts", "pay_run.bank_account")
        day = _day(request.pay_run.day, "pay_run.day")
        with self._database.transaction() as connection:
            look_alone(connection)
            known = pay_runs.find_leaf(connection, name)
            waiting = None if known else self._open_proposal(connection, PayRunContent, pay_run=name)
            found = (
                known.content if known else PayRunContent.model_validate(waiting.content.content) if waiting else None
            )
            if found is not None and (found.bank_account, found.day) != (bank_account, day.isoformat()):
                raise IdentityReusedError.of("pay_run_id", "names a run of another account or day")
            if waiting is not None:
                place = proposal_name(REGISTRY, waiting.leaf_index)
                return convert.proposed_run_to_proto(name, place, bank_account, day.isoformat())
            if known is None:
                content = self._paying.plan(connection, name, bank_account, day)
                outcome = self._acts.perform(connection, REGISTRY, content, actor(), request.reason)
                if outcome.proposal is not None:
                    place = proposal_name(REGISTRY, outcome.proposal.leaf_index)
                    return convert.proposed_run_to_proto(name, place, bank_account, day.isoformat())
        self._paying.settle(bank_account)
        return self._run(name)

    def GetPayRun(self, request: pb.GetPayRunRequest, context: grpc.ServicerContext) -> pb.PayRun:
        return self._run(_run_id(only_id(request.name, "payRuns", "name"), "name"))

    def _run(self, name: str) -> pb.PayRun:
        with self._database.transaction() as connection:
            run = pay_runs.get_pay_run(connection, name)
            sent = pay_runs.sent_of(connection, run)
            events = pay_runs.events_of(connection, list(sent))
        return convert.pay_run_to_proto(run, sent, events)

    def _open_proposal(self, connection: sa.Connection, kind: type[ActContent], **about: str) -> Proposal | None:
        """An open proposal of a kind whose content says this; a repeat must not propose the same again."""
        return next(self._open_proposals(connection, kind, about), None)

    def _open_proposals(
        self, connection: sa.Connection, kind: type[ActContent], about: Mapping[str, str]
    ) -> Iterator[Proposal]:
        for found in self._acts.list_proposals(connection, REGISTRY, only_open=True):
            made = found.content
            if made.effect == kind.type and all(made.content[field] == value for field, value in about.items()):
                yield found

    def ListPayRuns(self, request: pb.ListPayRunsRequest, context: grpc.ServicerContext) -> pb.ListPayRunsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            leaves = pay_runs.list_leaves(connection, after=after, limit=limit)
            found = [pay_runs.pay_run_of(connection, leaf) for leaf in leaves]
        listed, token = page_of(found, limit, convert.pay_run_to_proto, lambda run: (run.leaf.index,))
        return pb.ListPayRunsResponse(pay_runs=listed, next_page_token=token)

    def CreatePayRunFile(self, request: pb.CreatePayRunFileRequest, context: grpc.ServicerContext) -> pb.PayRunFile:
        name = _run_id(only_id(request.name, "payRuns", "name"), "name")
        with self._database.transaction() as connection:
            file = self._paying.file(connection, name)
        if request.format == pb.PAYMENT_FILE_FORMAT_CSV:
            return pb.PayRunFile(content=render_csv(file), filename=f"{name}.csv")
        return pb.PayRunFile(content=render_pain001(file), filename=f"{name}.xml")

    def ListCollectivePayments(
        self, request: pb.ListCollectivePaymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListCollectivePaymentsResponse:
        collective = only_id(request.parent, "collectives", "parent")
        require_own(Role.COLLECTIVE, collective, request.parent)
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, 0)
        with self._database.transaction() as connection:
            require_collective(connection, collective)
            found = self._paying.payments_of(connection, collective)
        numbered = list(enumerate(found, 1))[after : after + limit]
        listed, token = page_of(numbered, limit, convert.known_payment_to_proto, lambda each: (each[0],))
        return pb.ListCollectivePaymentsResponse(payments=listed, next_page_token=token)

    # Banks' files.

    def ImportBankFile(self, request: pb.ImportBankFileRequest, context: grpc.ServicerContext) -> pb.BankFile:
        bank_account = only_id(request.parent, "bankAccounts", "parent")
        filename = require_text(request.filename, "filename", most=MAX_FILENAME)
        message = read_message(request.content)
        self._paying.settle(bank_account)
        with self._database.transaction() as connection:
            look_alone(connection)
            about = {"bank_account": bank_account, "message": message.kind, "message_id": message.message_id}
            if waiting := self._open_proposal(connection, BankFileContent, **about):
                asked = BankFileContent.model_validate(waiting.content.content)
                place = proposal_name(REGISTRY, waiting.leaf_index)
                self._banking.require_same(connection, asked, request.content, waits_as=place)
                return convert.proposed_file_to_proto(asked, place)
            taken = self._banking.read(connection, message, request.content, bank_account, filename)
            if isinstance(taken, KeptFile):
                return convert.kept_file_to_proto(bank_account, taken)
            if isinstance(taken, BankFileContent):
                outcome = self._acts.perform(connection, REGISTRY, taken, actor(), request.reason)
                if outcome.proposal is not None:
                    return convert.proposed_file_to_proto(taken, proposal_name(REGISTRY, outcome.proposal.leaf_index))
                taken = outcome.done
            bookings = bookings_of(connection, taken.content)
        self._paying.settle(bank_account)
        return convert.bank_file_to_proto(taken, bookings)

    def ListBankFiles(
        self, request: pb.ListBankFilesRequest, context: grpc.ServicerContext
    ) -> pb.ListBankFilesResponse:
        bank_account = only_id(request.parent, "bankAccounts", "parent")
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            found = bank_files.list_files(connection, bank_account=bank_account, after=after, limit=limit)
            kept = [] if request.page_token else self._kept(connection, bank_account)
        listed, token = page_of(found, limit, convert.bank_file_to_proto, lambda leaf: (leaf.index,))
        only_kept = [convert.kept_file_to_proto(bank_account, each) for each in kept]
        return pb.ListBankFilesResponse(bank_files=[*only_kept, *listed], next_page_token=token)

    def _kept(self, connection: sa.Connection, bank_account: str) -> list[KeptFile]:
        """Files that move nothing, without those that were taken in later, when it was known what they are of."""
        known = bank_files.message_ids(connection, bank_account)
        kept = desk.list_problems(connection, bank_account)
        return [each for each in kept if (each.message, each.message_id) not in known]

    def ListBankLines(
        self, request: pb.ListBankLinesRequest, context: grpc.ServicerContext
    ) -> pb.ListBankLinesResponse:
        bank_account = only_id(request.parent, "bankAccounts", "parent")
        limit, after = page_limit(request.page_size), place_in(request.page_token, -1, -1)
        with self._database.transaction() as connection:
            account = bank_accounts.find_bank_account(connection, bank_account)
            if account is None:
                return pb.ListBankLinesResponse()
            found = bank_lines.list_lines(
                connection, bank_account, only_open=request.only_open, after=after, limit=limit
            )
            told = told_of(connection, bank_account, (line for line, _ in found))
        to_proto = partial(convert.line_to_proto, bank_account, account.content.currency, told=told)
        listed, token = page_of(
            found, limit, lambda each: to_proto(*each), lambda each: (*map(int, each[0].name.split("-")),)
        )
        return pb.ListBankLinesResponse(bank_lines=listed, next_page_token=token)

    def MatchBankLine(self, request: pb.MatchBankLineRequest, context: grpc.ServicerContext) -> pb.BankLine:
        bank_account, line = _line_in(request.name, "name")
        parts = sorted(map(convert.part_from_proto, request.parts), key=lambda part: (part.pool, part.platform))
        if bool(parts) + bool(request.takes_back) + bool(request.charge_of) + bool(request.pays) != 1:
            raise InvalidInputError.of("parts", "or takes_back, charge_of or pays is required, and one of them alone")
        if len(request.pays) > MAX_PAYS:
            raise InvalidInputError.of("pays", f"must have at most {MAX_PAYS:,}, got {len(request.pays):,}")
        with self._database.transaction() as connection:
            look_alone(connection)
            if waiting := self._open_proposal(connection, BankMatchContent, bank_account=bank_account, line=line):
                place = proposal_name(REGISTRY, waiting.leaf_index)
                return pb.BankLine(name=convert.line_to_name(bank_account, line), proposal=place)
            content = self._word(connection, bank_account, line, parts, request)
            if content is not None:
                outcome = self._acts.perform(connection, REGISTRY, content, actor(), request.reason)
                if outcome.proposal is not None:
                    place = proposal_name(REGISTRY, outcome.proposal.leaf_index)
                    return pb.BankLine(name=convert.line_to_name(bank_account, line), proposal=place)
            account = bank_accounts.get_bank_account(connection, bank_account)
            found, leaf_index = bank_lines.get_line(connection, bank_account, line)
        self._paying.settle(bank_account)
        return convert.line_to_proto(bank_account, account.content.currency, found, leaf_index)

    def _word(
        self,
        connection: sa.Connection,
        bank_account: str,
        line: str,
        parts: list[Part],
        request: pb.MatchBankLineRequest,
    ) -> BankMatchContent | None:
        if parts:
            return self._banking.match(connection, bank_account, line, parts)
        if request.pays:
            return self._banking.settle_debit(connection, bank_account, line, pays=request.pays)
        if request.charge_of:
            pool = only_id(request.charge_of, "pools", "charge_of")
            return self._banking.settle_debit(connection, bank_account, line, charge_of=pool)
        other, takes_back = _line_in(request.takes_back, "takes_back")
        if other != bank_account:
            raise InvalidInputError.of("takes_back", "is of another account")
        return self._banking.settle_debit(connection, bank_account, line, takes_back=takes_back)

    def ListUnpaid(self, request: pb.ListUnpaidRequest, context: grpc.ServicerContext) -> pb.ListUnpaidResponse:
        limit, after = page_limit(request.page_size), place_in(request.page_token, "", -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = self._paying.unpaid(connection, pool, after=after, limit=limit)
            now = read_time(connection)
        to_proto = partial(convert.unpaid_to_proto, pool.name, pool.currency, now)
        listed, token = page_of(found, limit, to_proto, lambda each: (each.owed.account, each.owed.leaf_index))
        return pb.ListUnpaidResponse(unpaid=listed, next_page_token=token)

    def GetReconciliation(
        self, request: pb.GetReconciliationRequest, context: grpc.ServicerContext
    ) -> pb.Reconciliation:
        (identity,) = ids_in(request.name, "bankAccounts/*/reconciliation", "name")
        bank_account = require_resource_id(identity, "name")
        self._paying.settle(bank_account)
        with self._database.transaction() as connection:
            account = bank_accounts.get_bank_account(connection, bank_account)
            found = reconcile(connection, bank_account)
            positions = [convert.position_to_proto(each) for each in found.positions]
        return pb.Reconciliation(
            bank_account=f"bankAccounts/{bank_account}",
            currency=account.content.currency,
            positions=positions,
            announced=map(convert.booking_to_proto, found.announced),
        )


def _without_details(asked: pb.BankAccount) -> pb.BankAccount:
    shown = pb.BankAccount()
    shown.CopyFrom(asked)
    shown.ClearField("details")
    return shown


_LINE: Final = re.compile("[0-9]{1,18}-[0-9]{1,18}")


def _line_in(name: str, field: str) -> tuple[str, str]:
    """The account and the id of a line."""
    identity, line = ids_in(name, "bankAccounts/*/lines/*", field)
    if not _LINE.fullmatch(line):
        raise InvalidInputError.of(field, f"must end with a leaf and a place, like 12-3, got {line[:40]!r}")
    return require_resource_id(identity, field), line


def _run_id(text: str, field: str) -> str:
    if len(text) > MAX_RUN_ID:
        raise InvalidInputError.of(field, f"must have at most {MAX_RUN_ID} characters, got {len(text)}")
    return require_resource_id(text, field)


def _day(text: str, field: str) -> date:
    try:
        if text.isascii() and date.fromisoformat(text).isoformat() == text:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidInputError.of(field, f"must be a day like 2026-03-31, got {text[:20]!r}")


def _collective_in(name: str, field: str) -> str:
    """The collective in a payee's name, if the caller may see or propose its account."""
    (identity,) = ids_in(name, "collectives/*/payee", field)
    collective = require_resource_id(identity, field)
    require_own(Role.COLLECTIVE, collective, name)
    return collective
