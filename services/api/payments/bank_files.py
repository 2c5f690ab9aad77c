"""Banks' files of the payments service: what their lines are of, and whether the books agree with them."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.acts.entries import BankFileContent, BankMatchContent
from ledger.errors import InvalidInputError
from ledger.registry import require_resource_id, require_text
from ledger.store.desk.bank_files import KeptFile, list_problems
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from ledger.store.registry.acts import Acts, look_alone
from ledger.store.registry.proposals import proposal_name
from moiety.v1 import payments_pb2 as pb
from payout.banking import Banking
from payout.paying import Paying
from payout.payments.bank_messages import read_message
from payout.payments.lines import Part
from payout.reconciling import reconcile, told_of
from payout.store import bank_accounts, bank_files, bank_lines
from payout.store.bookings import bookings_of
from services.access.permissions import actor
from services.api import convert
from services.api.names import ids_in, only_id, page_limit, place_in
from services.api.pages import page_of

MAX_FILENAME: Final = 200

MAX_PAYS: Final = 10_000
"""Payments that one debit can be said to have paid: more than the runs of this size that banks book as one."""


class BankFileMethods:
    """The part of the payments service that takes in what banks say."""

    _database: Database
    _acts: Acts
    _paying: Paying
    _banking: Banking

    def ImportBankFile(self, request: pb.ImportBankFileRequest, context: grpc.ServicerContext) -> pb.BankFile:
        bank_account = only_id(request.parent, "bankAccounts", "parent")
        filename = require_text(request.filename, "filename", most=MAX_FILENAME)
        message = read_message(request.content)
        self._paying.settle(bank_account)
        with self._database.transaction() as connection:
            look_alone(connection)
            about = {"bank_account": bank_account, "message": message.kind, "message_id": message.message_id}
            if waiting := self._acts.waiting(connection, BankFileContent, **about):
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
            bank_accounts.get_bank_account(connection, bank_account)
            found = bank_files.list_files(connection, bank_account=bank_account, after=after, limit=limit)
            kept = [] if request.page_token else self._kept(connection, bank_account)
        listed, token = page_of(found, limit, convert.bank_file_to_proto, lambda leaf: (leaf.index,))
        only_kept = [convert.kept_file_to_proto(bank_account, each) for each in kept]
        return pb.ListBankFilesResponse(bank_files=[*only_kept, *listed], next_page_token=token)

    def _kept(self, connection: sa.Connection, bank_account: str) -> list[KeptFile]:
        """Files that move nothing, without those that were taken in later, when it was known what they are of."""
        known = bank_files.message_ids(connection, bank_account)
        kept = list_problems(connection, bank_account)
        return [each for each in kept if (each.message, each.message_id) not in known]

    def ListBankLines(
        self, request: pb.ListBankLinesRequest, context: grpc.ServicerContext
    ) -> pb.ListBankLinesResponse:
        bank_account = only_id(request.parent, "bankAccounts", "parent")
        limit, after = page_limit(request.page_size), place_in(request.page_token, -1, -1)
        with self._database.transaction() as connection:
            account = bank_accounts.get_bank_account(connection, bank_account)
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
            raise InvalidInputError.of(
                "pays", "must have at most %(most)s, got %(got)s", most=MAX_PAYS, got=len(request.pays)
            )
        with self._database.transaction() as connection:
            look_alone(connection)
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


_LINE: Final = re.compile("[0-9]{1,18}-[0-9]{1,18}")


def _line_in(name: str, field: str) -> tuple[str, str]:
    """The account and the id of a line."""
    identity, line = ids_in(name, "bankAccounts/*/lines/*", field)
    if not _LINE.fullmatch(line):
        raise InvalidInputError.of(field, "must end with a leaf and a place, like 12-3, got %(got)r", got=line[:40])
    return require_resource_id(identity, field), line
