"""Accounts at banks, of the payments service: collectives', and the operator's own."""

from __future__ import annotations

import secrets
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.acts.act import ActContent
from ledger.acts.entries import BankAccountContent, PayeeContent
from ledger.errors import InvalidInputError
from ledger.money import MAX_AMOUNT_MINOR
from ledger.registry import require_range, require_resource_id, require_text
from ledger.store.desk.vault import Vault
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.acts import Acts, look_alone
from ledger.store.registry.collectives import require_collective
from ledger.store.registry.proposals import get_proposal, waiting_acts
from moiety.v1 import payments_pb2 as pb
from payout.payments.details import AccountDetails, SaltedDetails
from payout.store import bank_accounts, payees
from services.access.keys import Role
from services.access.permissions import actor, own_id, require_own
from services.api import convert
from services.api.names import ids_in, only_id, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of
from services.api.resources import proposal_in

SALT_BYTES: Final = 32
MAX_NAME: Final = 60


class BankAccountMethods:
    """The part of the payments service that says where money goes to, and where it comes from."""

    _database: Database
    _acts: Acts
    _vault: Vault

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

    def ListPayees(self, request: pb.ListPayeesRequest, context: grpc.ServicerContext) -> pb.ListPayeesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = payees.list_payees(connection, after=after, limit=limit)
            listed, token = page_of(found, limit, convert.payee_to_proto, lambda payee: (payee.collective,))
        return pb.ListPayeesResponse(payees=listed, next_page_token=token)

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

    def GetProposedAccount(
        self, request: pb.GetProposedAccountRequest, context: grpc.ServicerContext
    ) -> pb.ProposedAccount:
        with self._database.transaction() as connection:
            pool, leaf_index = proposal_in(connection, request.name, "name")
            match self._acts.proposed_act(get_proposal(connection, pool, leaf_index)):
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
            bytes.fromhex(found.content.content["details_hash"]) for found in waiting_acts(connection, kind, **about)
        ]
        found = payees.read_details(connection, self._vault, hashes) if hashes else {}
        return next((digest.hex() for digest, known in found.items() if known == details), "")


def _collective_in(name: str, field: str) -> str:
    """The collective in a payee's name, if the caller may see or propose its account."""
    (identity,) = ids_in(name, "collectives/*/payee", field)
    collective = require_resource_id(identity, field)
    require_own(Role.COLLECTIVE, collective, name)
    return collective


def _without_details(asked: pb.BankAccount) -> pb.BankAccount:
    shown = pb.BankAccount()
    shown.CopyFrom(asked)
    shown.ClearField("details")
    return shown
