"""Pay runs of the payments service, and what waits for one."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Final

import grpc

from ledger.acts.entries import PayRunContent
from ledger.errors import IdentityReusedError, InvalidInputError
from ledger.registry import require_resource_id
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.acts import Acts, look_alone
from ledger.store.registry.collectives import require_collective
from ledger.store.registry.proposals import proposal_name
from moiety.v1 import payments_pb2 as pb
from payout.paying import Paying
from payout.payments.credit_transfer import render_csv, render_pain001
from payout.store import pay_runs
from services.access.keys import Role
from services.access.permissions import actor, require_own
from services.api import convert
from services.api.names import only_id, page_limit, place_in
from services.api.pages import page_of
from services.api.resources import pool_of

MAX_RUN_ID: Final = 24
"""An end-to-end id is the run's with eight more, and banks take 35."""


class PayRunMethods:
    """The part of the payments service that pays."""

    _database: Database
    _acts: Acts
    _paying: Paying

    def CreatePayRun(self, request: pb.CreatePayRunRequest, context: grpc.ServicerContext) -> pb.PayRun:
        name = _run_id(request.pay_run_id, "pay_run_id")
        bank_account = only_id(request.pay_run.bank_account, "bankAccounts", "pay_run.bank_account")
        day = _day(request.pay_run.day, "pay_run.day")
        with self._database.transaction() as connection:
            look_alone(connection)
            known = pay_runs.find_leaf(connection, name)
            waiting = None if known else self._acts.waiting(connection, PayRunContent, pay_run=name)
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

    def ListUnpaid(self, request: pb.ListUnpaidRequest, context: grpc.ServicerContext) -> pb.ListUnpaidResponse:
        limit, after = page_limit(request.page_size), place_in(request.page_token, "", -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = self._paying.unpaid(connection, pool, after=after, limit=limit)
            now = read_time(connection)
        to_proto = partial(convert.unpaid_to_proto, pool.name, pool.currency, now)
        listed, token = page_of(found, limit, to_proto, lambda each: (each.owed.account, each.owed.leaf_index))
        return pb.ListUnpaidResponse(unpaid=listed, next_page_token=token)


def _run_id(text: str, field: str) -> str:
    if len(text) > MAX_RUN_ID:
        raise InvalidInputError.of(
            field, "must have at most %(most)s characters, got %(got)s", most=MAX_RUN_ID, got=len(text)
        )
    return require_resource_id(text, field)


def _day(text: str, field: str) -> date:
    try:
        if text.isascii() and date.fromisoformat(text).isoformat() == text:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidInputError.of(field, "must be a day like 2026-03-31, got %(got)r", got=text[:20])
